package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// echo says how a request came.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s tls=%v %d %s", r.Proto, r.TLS != nil, len(body), r.Host)
}

// One port number carries all three protocols, each with the same bounds.
func TestOnePort(t *testing.T) {
	d, pool := site(t)
	l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true, MaxHeaderBytes: 16 << 10}, echo)
	if !l.HTTP3() || !strings.HasPrefix(l.URL(), "https://127.0.0.1:") {
		t.Fatalf("URL %s, HTTP3 %v", l.URL(), l.HTTP3())
	}
	port := l.Addr().(*net.TCPAddr).Port
	for _, c := range clients(t, pool) {
		t.Run(c.proto, func(t *testing.T) {
			ctx := t.Context()
			body := bytes.Repeat([]byte("x"), 1<<20)
			resp, text, err := c.do(ctx, "POST", l.URL()+"/", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%s tls=true %d %s", c.proto, len(body), l.Addr()); text != want || resp.Proto != c.proto {
				t.Errorf("got %q by %s, want %q", text, resp.Proto, want)
			}
			want := fmt.Sprintf(`h3=":%d"; ma=3600`, port)
			if c.proto == "HTTP/3.0" {
				want = ""
			}
			if got := resp.Header.Get("Alt-Svc"); got != want {
				t.Errorf("Alt-Svc %q, want %q", got, want)
			}
			rq, err := http.NewRequestWithContext(ctx, "GET", l.URL()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			rq.Header.Set("X-Large", strings.Repeat("x", 32<<10))
			if resp, err := c.RoundTrip(rq); err == nil {
				resp.Body.Close()
				if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
					t.Errorf("a header of 32 KiB got %s", resp.Status)
				}
			}
			// The protocol goes on, on this connection or the next.
			if _, text, err := c.do(ctx, "GET", l.URL()+"/", nil); err != nil || !strings.HasPrefix(text, c.proto) {
				t.Errorf("after that: %q %v", text, err)
			}
		})
	}
}

// A plain address beside TLS serves HTTP/1.1, says no word of HTTP/3, and does
// not take HTTP/2 away from the other one.
func TestPlain(t *testing.T) {
	d, pool := site(t)
	l, served := start(t, Config{Certificate: certificate(t, d), HTTP3: true, Plain: "127.0.0.1:0"}, echo)
	c := client{RoundTripper: http.DefaultTransport}
	resp, text, err := c.do(t.Context(), "GET", l.PlainURL(), nil)
	if err != nil || !strings.HasPrefix(text, "HTTP/1.1 tls=false") || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("%q %v %v", text, err, resp)
	}
	if _, text, err := clients(t, pool)[1].do(t.Context(), "GET", l.URL(), nil); err != nil || !strings.HasPrefix(text, "HTTP/2.0") {
		t.Errorf("%q %v", text, err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	closed(t, served)
	for _, addr := range []string{l.Addr().String(), strings.TrimPrefix(l.PlainURL(), "http://")} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
	if _, err := New(Config{Address: "127.0.0.1:0", Plain: "127.0.0.1:0"}); !errors.Is(err, ErrPlain) {
		t.Errorf("two plain addresses: %v", err)
	}
}

// Without a certificate everything is as it always was.
func TestPlainOnly(t *testing.T) {
	l, _ := start(t, Config{HTTP3: true}, echo)
	c := client{RoundTripper: http.DefaultTransport}
	resp, text, err := c.do(t.Context(), "GET", l.URL(), nil)
	if err != nil || !strings.HasPrefix(text, "HTTP/1.1 tls=false") || resp.Header.Get("Alt-Svc") != "" || l.HTTP3() || l.PlainURL() != "" {
		t.Errorf("%q %v, HTTP3 %v", text, err, l.HTTP3())
	}
	if !strings.HasPrefix(l.URL(), "http://127.0.0.1:") {
		t.Errorf("URL %s", l.URL())
	}
}

// Where the UDP port is taken the node serves the rest and promises nothing.
func TestUDPTaken(t *testing.T) {
	d, pool := site(t)
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var log logBuffer
	l, _ := start(t, Config{Address: taken.LocalAddr().String(), Certificate: certificate(t, d), HTTP3: true, Logger: log.logger()}, echo)
	if l.HTTP3() || log.count("event=http3_unavailable") != 1 {
		t.Errorf("HTTP3 %v, %d warnings", l.HTTP3(), log.count("event=http3_unavailable"))
	}
	resp, _, err := clients(t, pool)[0].do(t.Context(), "GET", l.URL(), nil)
	if err != nil || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("Alt-Svc %q, %v", resp.Header.Get("Alt-Svc"), err)
	}
}

// The version of TLS is held, and early data is not taken.
func TestVersions(t *testing.T) {
	d, pool := site(t)
	for min, ok := range map[uint16]bool{0: true, tls.VersionTLS13: false} {
		l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true, MinVersion: min}, echo)
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12})
		if (err == nil) != ok {
			t.Errorf("minimum %#x: TLS 1.2 gives %v", min, err)
		}
		if err == nil {
			conn.Close()
		}
		if conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}); err == nil {
			conn.Close()
			t.Errorf("minimum %#x: TLS 1.1 was taken", min)
		}
		cache := tls.NewLRUClientSessionCache(1)
		for range 2 {
			c, err := quic.DialAddrEarly(t.Context(), l.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h3"}, ClientSessionCache: cache}, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-c.HandshakeComplete()
			if c.ConnectionState().Used0RTT {
				t.Error("early data was taken")
			}
			c.CloseWithError(0, "")
		}
	}
}

// Running requests end whole on every protocol, new ones are not taken, and an
// idle connection does not hold the end up.
func TestDrain(t *testing.T) {
	d, pool := site(t)
	for i, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		t.Run(proto, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			large := bytes.Repeat([]byte("0123456789abcdef"), 128<<10)
			l, served := start(t, Config{Certificate: certificate(t, d), HTTP3: true}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/idle" {
					return
				}
				w.Write(large[:1000])
				http.NewResponseController(w).Flush()
				close(begun)
				<-release
				w.Write(large[1000:])
			})
			for _, c := range clients(t, pool) { // connections without a request
				if _, _, err := c.do(t.Context(), "GET", l.URL()+"/idle", nil); err != nil {
					t.Fatal(err)
				}
			}
			c := clients(t, pool)[i]
			type answer struct {
				text string
				err  error
			}
			got := make(chan answer, 1)
			go func() {
				_, text, err := c.do(context.Background(), "GET", l.URL()+"/", nil)
				got <- answer{text, err}
			}()
			<-begun
			ended := make(chan error, 1)
			go func() { ended <- l.Shutdown(context.Background()) }()
			closed(t, served)
			for {
				fresh := clients(t, pool)[i]
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, _, err := fresh.do(ctx, "GET", l.URL()+"/idle", nil)
				cancel()
				if err != nil {
					break // as soon as the socket is closed
				}
			}
			close(release)
			if a := <-got; a.err != nil || a.text != string(large) {
				t.Errorf("%d of %d bytes, %v", len(a.text), len(large), a.err)
			}
			if err := <-ended; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
	}
}

// A request that outlasts the limit is cut off, and a client does not take half
// an answer for a whole one.
func TestDrainGivesUp(t *testing.T) {
	d, pool := site(t)
	for _, c := range clients(t, pool) {
		t.Run(c.proto, func(t *testing.T) {
			begun := make(chan struct{})
			l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true}, func(w http.ResponseWriter, r *http.Request) {
				w.Write([]byte("half"))
				http.NewResponseController(w).Flush()
				close(begun)
				<-r.Context().Done()
			})
			got := make(chan error, 1)
			go func() {
				_, _, err := c.do(context.Background(), "GET", l.URL()+"/", nil)
				got <- err
			}()
			<-begun
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := l.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown = %v", err)
			}
			l.Close()
			if err := <-got; err == nil {
				t.Error("half an answer came as a whole one")
			}
		})
	}
}

// A header that does not arrive in time ends the request; what stands beside it
// on the connection goes on.
func TestSlowHeader(t *testing.T) {
	d, pool := site(t)
	l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true, HeaderTimeout: 300 * time.Millisecond}, echo)

	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: larder"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 && !bytes.Contains(rest, []byte(" 408 ")) {
		t.Errorf("HTTP/1.1: %q %v", rest, err)
	}

	tr := &http3.Transport{}
	q, err := quic.DialAddr(t.Context(), l.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := tr.NewClientConn(q)
	str, err := q.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A HEADERS frame (type 1) of 100 bytes, of which one comes.
	if _, err := str.Write(append(quicvarint.Append([]byte{1}, 100), 0)); err != nil {
		t.Fatal(err)
	}
	var reset *quic.StreamError
	if _, err := io.ReadAll(str); !errors.As(err, &reset) || reset.ErrorCode != quic.StreamErrorCode(http3.ErrCodeRequestIncomplete) {
		t.Errorf("HTTP/3: %v", err)
	}
	// A body may take longer than the header on the same connection.
	pr, pw := io.Pipe()
	rq, err := http.NewRequestWithContext(t.Context(), "POST", l.URL()+"/", pr)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(600 * time.Millisecond) // twice the header's time; more does no harm
		io.WriteString(pw, "late")
		pw.Close()
	}()
	resp, err := h.RoundTrip(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), " 4 ") {
		t.Errorf("%q %v", text, err)
	}
	q.CloseWithError(0, "")
}

// A connection without a request is closed after its time, also one that never
// had any, though it answers pings.
func TestIdle(t *testing.T) {
	d, pool := site(t)
	l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true, IdleTimeout: 200 * time.Millisecond}, echo)
	for _, requests := range []int{0, 2} {
		conf := &tls.Config{RootCAs: pool, NextProtos: []string{"h3"}}
		q, err := quic.DialAddr(t.Context(), l.Addr().String(), conf, &quic.Config{KeepAlivePeriod: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		c := client{RoundTripper: (&http3.Transport{}).NewClientConn(q)}
		for range requests {
			if _, _, err := c.do(t.Context(), "GET", l.URL(), nil); err != nil {
				t.Error(err)
			}
		}
		<-q.Context().Done()
		var app *quic.ApplicationError
		if cause := context.Cause(q.Context()); !errors.As(cause, &app) || !app.Remote || app.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeNoError) {
			t.Errorf("after %d requests: %v", requests, cause)
		}
	}
}

// A second Shutdown, and Close after it, change nothing.
func TestShutdownAgain(t *testing.T) {
	d, pool := site(t)
	l, served := start(t, Config{Certificate: certificate(t, d), HTTP3: true}, echo)
	for _, c := range clients(t, pool) {
		if _, _, err := c.do(t.Context(), "GET", l.URL(), nil); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := l.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
	}
	wg.Wait()
	closed(t, served)
	l.Close()
	l.Close()
	unserved, err := New(Config{Address: "127.0.0.1:0", Certificate: certificate(t, d), HTTP3: true})
	if err != nil {
		t.Fatal(err)
	}
	unserved.Close()
}

// A panic ends one request and no other.
func TestAbort(t *testing.T) {
	d, pool := site(t)
	l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true}, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("half"))
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
	})
	for _, c := range clients(t, pool) {
		if _, _, err := c.do(t.Context(), "GET", l.URL()+"/abort", nil); err == nil {
			t.Errorf("%s: an aborted answer came as a whole one", c.proto)
		}
		if _, text, err := c.do(t.Context(), "GET", l.URL()+"/", nil); err != nil || text != "half" {
			t.Errorf("%s: after an abort: %q %v", c.proto, text, err)
		}
	}
}

// Two nodes in one process have sockets and certificates of their own.
func TestTwoListeners(t *testing.T) {
	for i := range 2 {
		d, pool := site(t)
		l, _ := start(t, Config{Certificate: certificate(t, d), HTTP3: true}, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, i) })
		for _, c := range clients(t, pool) {
			if _, text, err := c.do(t.Context(), "GET", l.URL(), nil); err != nil || text != fmt.Sprint(i) {
				t.Errorf("%s: node %d answers %q, %v", c.proto, i, text, err)
			}
		}
		_, foreign := site(t)
		for _, c := range clients(t, foreign) {
			if _, _, err := c.do(t.Context(), "GET", l.URL(), nil); err == nil {
				t.Errorf("%s: a foreign authority was enough", c.proto)
			}
		}
	}
}

// BenchmarkWarm measures a small warm answer by each protocol on one
// connection, and how many bytes a second a large one has.
func BenchmarkWarm(b *testing.B) {
	d, pool := site(b)
	body := map[string][]byte{"small": bytes.Repeat([]byte("x"), 4<<10), "large": bytes.Repeat([]byte("x"), 8<<20)}
	handler := func(w http.ResponseWriter, r *http.Request) {
		text := body[strings.TrimPrefix(r.URL.Path, "/")]
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.Write(text)
	}
	secure, _ := start(b, Config{Certificate: certificate(b, d), HTTP3: true, Plain: "127.0.0.1:0"}, handler)
	all := append([]client{{"plain", &http.Transport{}, nil}}, clients(b, pool)...)
	for _, size := range []string{"small", "large"} {
		for _, c := range all {
			base := secure.URL()
			if c.proto == "plain" {
				base = secure.PlainURL()
			}
			b.Run(size+"/"+c.proto, func(b *testing.B) {
				b.SetBytes(int64(len(body[size])))
				for b.Loop() {
					rq, err := http.NewRequest("GET", base+"/"+size, nil)
					if err != nil {
						b.Fatal(err)
					}
					resp, err := c.RoundTrip(rq)
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(body[size])) {
						b.Fatal(n, err)
					}
					resp.Body.Close()
				}
			})
		}
	}
}
