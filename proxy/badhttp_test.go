package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats/formattest"
	"larder/proxy"
)

const auditPath = "/npm/main/-/npm/v1/security/advisories/bulk"

// smuggled is a second request hidden in a first one's body. An answer to it is
// an answer that the front proxy would hand to somebody else.
const smuggled = "GET /npm/main/no-such-name HTTP/1.1\r\nHost: node.example\r\nX-Smuggled: 1\r\n\r\n"

// The rows of the group "HTTP" that are about the framing of a request. Each
// gets at most one answer, and the hidden request none.
func TestBadFraming(t *testing.T) {
	all := ecosystems(t)[:1]
	w := newMixedWorld(t, all, nil)
	post := "POST " + auditPath + " HTTP/1.1\r\nHost: node.example\r\nContent-Type: application/json\r\n"
	get := "GET " + all[0].path(all[0].listing) + " HTTP/1.1\r\nHost: node.example\r\n"
	for _, c := range []struct{ name, text string }{
		{"length and chunks", post + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(smuggled)) + smuggled},
		{"length and chunks on GET", get + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(smuggled)) + smuggled},
		{"two lengths", post + "Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + smuggled},
		{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled},
		{"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled},
		{"coding with a vertical tab", post + "Transfer-Encoding: \vchunked\r\nContent-Length: 4\r\n\r\n1\r\nZ\r\nQ" + smuggled},
		{"space before the colon", post + "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}" + smuggled},
		{"bare LF after a chunk size", post + "Transfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n" + smuggled},
		{"bare LF in a chunk extension", post + "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n" + smuggled},
		{"bare LF after a chunk", post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n" + smuggled},
		{"huge chunk size", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n" + smuggled},
		{"negative length", post + "Content-Length: -1\r\n\r\n" + smuggled},
		{"length with a plus", post + "Content-Length: +2\r\n\r\n{}" + smuggled},
		{"CR in a header value", get + "X-A: b\rX-Smuggled: 1\r\n\r\n"},
		{"LF in a header name", get + "X-A\nb: c\r\n\r\n"},
		{"NUL in a header value", get + "X-A: b\x00c\r\n\r\n"},
		{"folded header", get + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
		{"no host", "GET / HTTP/1.1\r\n\r\n"},
		{"CRLF in the target", "GET /npm/main/x\r\nX-Smuggled: 1 HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"oversize header", get + "X-A: " + strings.Repeat("a", 2<<20) + "\r\n\r\n"},
		{"many headers", get + strings.Repeat("X-A: b\r\n", 200_000) + "\r\n"},
		{"oversize target", "GET /npm/main/" + strings.Repeat("a", 2<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.srv.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				io.WriteString(conn, c.text)
				conn.(*net.TCPConn).CloseWrite()
			}()
			got := answers(conn)
			<-sent
			if len(got) > 1 {
				t.Errorf("%d answers: %d %.200s", len(got), got[1].status, got[1].body)
			}
			for _, a := range got {
				if a.header.Get("X-Smuggled") != "" || strings.Contains(a.body, "no-such-name") {
					t.Errorf("the hidden request was answered: %v %.200s", a.header, a.body)
				}
			}
		})
	}
	w.t = t
	w.works(all[0])
}

// answers reads what arrives until the connection ends.
func answers(conn net.Conn) []answer {
	var out []answer
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(resp.Body)
		out = append(out, answer{resp.StatusCode, resp.Header, string(body), err})
	}
}

// A client that sends the beginning of a body and then nothing is answered and
// let go: no request waits for ever.
func TestSlowRequestBody(t *testing.T) {
	all := ecosystems(t)[:1]
	w := newMixedWorld(t, all, limitsOf(func(l *proxy.Limits) { l.RequestBodyTimeout = 50 * time.Millisecond }))
	for _, head := range []string{"Content-Length: 1000\r\n\r\n{\"a", "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n"} {
		// raw leaves the connection open and returns when the node closes it.
		got := w.raw("POST " + auditPath + " HTTP/1.1\r\nHost: node.example\r\nContent-Type: application/json\r\n" + head)
		if len(got) != 1 || got[0].status != http.StatusRequestTimeout {
			t.Fatalf("%q: %+v", head, got)
		}
		w.refused(all[0], got[0])
	}
	if n := all[0].up.Total(); n != 0 {
		t.Errorf("%d upstream requests", n)
	}
	w.works(all[0])
}

func TestRanges(t *testing.T) {
	all := ecosystems(t)
	w := newMixedWorld(t, all, nil)
	for _, e := range all {
		size := len(e.bytes())
		good := string(e.bytes())
		for _, held := range []bool{false, true} {
			for _, rg := range []string{
				"bytes=18446744073709551616-", "bytes=0-18446744073709551615", "bytes=9223372036854775807-9223372036854775807", "bytes=9223372036854775808-",
				"bytes=-9223372036854775809", "bytes=-18446744073709551616", "bytes=--1", "bytes=-0", "bytes=5-4", "bytes=0-0,0-0", "bytes=", "bytes", "lines=1-2",
				"bytes=0-" + strings.Repeat("9", 1000), "bytes=" + strings.Repeat("0-0,", 1000) + "0-0", "bytes=" + strings.Repeat("0-,", 1000) + "-1", fmt.Sprintf("bytes=%d-", size), fmt.Sprintf("bytes=%d-%d", size-1, size+10),
			} {
				a := w.get(e.path(e.asset), "Range", rg)
				switch {
				case a.err != nil:
					t.Errorf("%s held=%v %.40s: %v", e.format, held, rg, a.err)
				case a.status == 200 && a.body == good, a.status == 416 && a.body == "":
				case a.status == 206 && len(a.body) < size && strings.Contains(good, a.body):
				case a.status == 206 && a.body == good && strings.HasPrefix(a.header.Get("Content-Range"), fmt.Sprintf("bytes 0-%d/%d", size-1, size)):
				default:
					t.Errorf("%s held=%v %.40s: %d, %d bytes, %v", e.format, held, rg, a.status, len(a.body), a.header)
				}
			}
			w.works(e)
		}
	}
}

// What a stranger claims about this node's address reaches no other client, and
// nothing that could break out of a URL reaches anybody.
func TestSpoofedHosts(t *testing.T) {
	all := ecosystems(t)
	w := newMixedWorld(t, all, nil)
	for _, e := range all {
		docs := []string{e.listing}
		if e.format == "cargo" {
			docs = append(docs, "config.json")
		}
		for _, doc := range docs {
			own := func() string {
				a := w.want(w.rawGet(e.path(doc), "Accept: "+e.accept), 200)
				return a.body
			}
			before := own()
			for _, h := range []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil", "Forwarded: host=evil.example;proto=https",
				"X-Original-URL: /npm/main/evil", "X-Rewrite-URL: /npm/main/evil", "X-Host: evil.example", "X-Forwarded-Server: evil.example", "X-HTTP-Method-Override: DELETE"} {
				if a := w.rawGet(e.path(doc), "Accept: "+e.accept, h); a.status != 200 || a.body != before {
					t.Errorf("%s %s: %s changed the answer: %d %.300s", e.format, doc, h, a.status, a.body)
				}
			}
			for _, host := range []string{`evil"><script>`, "evil/path", "evil?x=", "evil#", "ev il", "evil\\x", "a@evil.example", "evil:port", "evil:99999999", "[::1", "%65vil", strings.Repeat("a", 5000)} {
				got := w.raw("GET " + e.path(doc) + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: " + e.accept + "\r\nConnection: close\r\n\r\n")
				if len(got) != 1 || got[0].status != 400 {
					t.Errorf("%s: Host %.40q: %+v", e.format, host, got)
				}
			}
			w.want(w.raw("GET http://evil.example" + e.path(doc) + " HTTP/1.1\r\nHost: node.example\r\nAccept: " + e.accept + "\r\nConnection: close\r\n\r\n")[0], 200)
			w.want(w.raw("GET " + e.path(doc) + " HTTP/1.1\r\nHost: evil.example\r\nAccept: " + e.accept + "\r\nConnection: close\r\n\r\n")[0], 200)
			if after := own(); after != before || strings.Contains(after, "evil") {
				t.Errorf("%s %s: another client's host stayed: %.300s", e.format, doc, after)
			}
		}
	}
}

// A body is forwarded as it came, packed or not, and bounded.
func TestPackedAudit(t *testing.T) {
	var seen bytes.Buffer
	var encoding string
	all := ecosystems(t)[:1]
	e := all[0]
	w := newMixedWorld(t, all, nil)
	var mu sync.Mutex
	e.up.Break(formattest.OnSuffix("/advisories/bulk"), func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		seen.Reset()
		io.Copy(&seen, rq.Body)
		encoding = rq.Header.Get("Content-Encoding")
		for k := range rq.Header {
			if strings.HasPrefix(k, "X-") || k == "Authorization" || k == "Cookie" {
				rw.WriteHeader(500)
				return
			}
		}
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, "{}")
	})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"tiny-left":["1.0.0"]}`)
	z.Close()
	bomb := packedZeros(128 << 20)
	for _, c := range []struct {
		name   string
		body   []byte
		coding string
		status int
	}{
		{"packed", packed.Bytes(), "gzip", 200},
		{"plain", []byte(`{}`), "", 200},
		{"bomb", bomb, "gzip", 400},
		{"not gzip", []byte("xx"), "gzip", 400},
		{"too large", make([]byte, 17<<20), "", 413},
	} {
		rq, _ := http.NewRequest("POST", w.srv.URL+auditPath, bytes.NewReader(c.body))
		rq.Header.Set("Content-Type", "application/json")
		rq.Header.Set("Cookie", "secret=1")
		rq.Header.Set("X-Evil", "1")
		if c.coding != "" {
			rq.Header.Set("Content-Encoding", c.coding)
		}
		resp, err := http.DefaultTransport.RoundTrip(rq)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %.200s", c.name, resp.StatusCode, body)
		}
		mu.Lock()
		// It leaves unpacked, since names that must stay are taken out of it.
		want := c.body
		if c.coding != "" {
			want = []byte(`{"tiny-left":["1.0.0"]}`)
		}
		if c.status == 200 && (!bytes.Equal(seen.Bytes(), want) || encoding != "") {
			t.Errorf("%s: the upstream got %d bytes coded %q", c.name, seen.Len(), encoding)
		}
		mu.Unlock()
		if c.status != 200 {
			w.refused(e, answer{status: resp.StatusCode, header: resp.Header, body: string(body)})
		}
	}
	w.works(e)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A client that leaves while its file is on the way costs nobody anything.
func TestDisconnectMidMiss(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			w := newMixedWorld(t, []*ecosystem{e}, nil)
			w.want(w.fetch(e, e.listing), 200)
			f, release := formattest.HangBody(10)
			defer release()
			e.up.Break(e.onAsset, f)
			began := make(chan struct{})
			var once sync.Once
			e.up.Break(e.onAsset, func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
				once.Do(func() { close(began) })
				f(rw, rq, next)
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.srv.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node.example\r\n\r\n", e.path(e.asset))
			<-began
			conn.(*net.TCPConn).SetLinger(0) // a reset, not a goodbye
			conn.Close()
			release()
			w.works(e)
			n := 0
			for _, rq := range e.up.Requests() {
				probe, _ := http.NewRequest("GET", rq.Path, nil)
				if e.onAsset(probe) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the upstream was asked %d times for the file", n)
			}
		})
	}
}

// Methods that are nobody's are refused in the dialect, with Allow; a write without a
// credential is asked for one before anything of it is read.
func TestBadMethods(t *testing.T) {
	all := ecosystems(t)
	w := newMixedWorld(t, all, nil)
	for _, e := range all {
		for _, method := range []string{"PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"} {
			for _, p := range []string{e.listing, e.asset} {
				a := w.do(method, e.path(p))
				w.refused(e, a)
				if a.status != 405 && a.status != 501 && a.status != 400 && a.status != 404 && a.status != 403 && a.status != 401 {
					t.Errorf("%s %s %s: %d %.100s", e.format, method, p, a.status, a.body)
				}
			}
		}
		if n := e.up.Total(); n != 0 {
			t.Errorf("%s: %d upstream requests: %+v", e.format, n, e.up.Requests())
		}
		w.works(e)
	}
}
