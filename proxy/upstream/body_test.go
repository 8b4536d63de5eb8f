package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

// raw is a handler that writes a body under header fields.
func raw(code int, body string, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		rw.WriteHeader(code)
		io.WriteString(rw, body)
	}
}

func TestBodies(t *testing.T) {
	bomb := zipped(strings.Repeat("\x00", 4<<20)) // 4 MiB in about 4 KiB
	long := strings.Repeat("x", 1000)
	for _, tc := range []struct {
		name   string
		rq     Request
		serve  http.HandlerFunc
		body   string
		length int64
		fails  string // part of the error
	}{
		{"plain", Request{}, raw(200, "plain"), "plain", 5, ""},
		{"gzip", Request{}, raw(200, zipped("text"), "Content-Encoding", "gzip"), "text", -1, ""},
		{"x-gzip", Request{}, raw(200, zipped("text"), "Content-Encoding", "X-Gzip"), "text", -1, ""},
		{"gzip of two members", Request{}, raw(200, zipped("te")+zipped("xt"), "Content-Encoding", "gzip"), "text", -1, ""},
		{"identity named", Request{}, raw(200, "plain", "Content-Encoding", "identity"), "plain", 5, ""},
		{"empty gzip", Request{}, raw(200, "", "Content-Encoding", "gzip"), "", -1, ""},
		{"gzip cut short", Request{}, raw(200, zipped("text")[:20], "Content-Encoding", "gzip"), "text", -1, "unexpected EOF"},
		{"gzip header cut short", Request{}, raw(200, "\x1f\x8b", "Content-Encoding", "gzip"), "", -1, "unexpected EOF"},
		{"gzip by name only", Request{}, raw(200, "<html><title>Sign in", "Content-Encoding", "gzip"), "", -1, "invalid header"},
		{"gzip then rubbish", Request{}, raw(200, zipped("text")+"rubbish", "Content-Encoding", "gzip"), "text", -1, "decode gzip"},
		{"bomb", Request{MaxBytes: 1000}, raw(200, bomb, "Content-Encoding", "gzip"), strings.Repeat("\x00", 1000), -1, "larger than allowed"},
		{"br", Request{}, raw(200, "x", "Content-Encoding", "br"), "", 0, "was not asked for"},
		{"twice", Request{}, raw(200, "x", "Content-Encoding", "gzip, gzip"), "", 0, "was not asked for"},
		{"bulk keeps the coding", Request{Identity: true}, raw(200, "\x1f\x8bxx", "Content-Encoding", "gzip"), "\x1f\x8bxx", 4, ""},
		{"limit exact", Request{MaxBytes: 1000}, raw(200, long), long, 1000, ""},
		{"limit by one, announced", Request{MaxBytes: 999}, raw(200, long), "", 0, "1000 bytes announced"},
		{"limit by one, chunked", Request{MaxBytes: 999}, func(rw http.ResponseWriter, rq *http.Request) {
			rw.(http.Flusher).Flush()
			io.WriteString(rw, long)
		}, long[:999], -1, "larger than allowed"},
		{"endless", Request{Identity: true, MaxBytes: 1 << 20}, func(rw http.ResponseWriter, rq *http.Request) {
			for {
				if _, err := io.WriteString(rw, long); err != nil {
					return
				}
			}
		}, strings.Repeat("x", 1<<20), -1, "larger than allowed"},
		{"cut short", Request{Identity: true}, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "10")
			io.WriteString(rw, "abc")
		}, "abc", 10, "after 3 bytes: unexpected EOF"},
		{"head", Request{Method: "HEAD"}, raw(200, "", "Content-Length", "77"), "", 77, ""},
		{"head gzip", Request{Method: "HEAD"}, raw(200, "", "Content-Length", "77", "Content-Encoding", "gzip"), "", -1, ""},
		{"204", Request{}, raw(204, ""), "", 0, ""},
		{"post", Request{Method: "POST", Body: strings.NewReader("question")}, func(rw http.ResponseWriter, rq *http.Request) {
			b, _ := io.ReadAll(rq.Body)
			fmt.Fprint(rw, rq.ContentLength, string(b))
		}, "8question", 9, ""},
		{"post with length", Request{Method: "POST", Body: io.MultiReader(strings.NewReader("question")), Length: 8}, func(rw http.ResponseWriter, rq *http.Request) {
			fmt.Fprint(rw, rq.ContentLength)
		}, "8", 1, ""},
		{"post again", Request{Method: "POST", GetBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("q")), nil }}, func(rw http.ResponseWriter, rq *http.Request) {
			io.Copy(rw, rq.Body)
		}, "q", 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				w.serve(home, tc.serve)
				c := w.one(Connection{Retries: -1})
				tc.rq.Connection, tc.rq.URL = "r", "p"
				resp, err := c.Do(context.Background(), tc.rq)
				var body []byte
				if err == nil {
					if resp.ContentLength != tc.length {
						t.Errorf("ContentLength %d, want %d", resp.ContentLength, tc.length)
					}
					if resp.ContentLength == -1 && resp.Header.Get("Content-Length") != "" {
						t.Error("a length of the coded body survived")
					}
					body, err = io.ReadAll(resp.Body)
					if _, again := resp.Body.Read(make([]byte, 1)); again == nil || err != nil && again != err {
						t.Errorf("a second read after %v says %v", err, again)
					}
					resp.Body.Close()
				}
				if string(body) != tc.body {
					t.Errorf("body %q, want %q", clip(string(body), 50), clip(tc.body, 50))
				}
				if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("error %v, want %q", err, tc.fails)
				}
				if strings.Contains(tc.fails, "larger") != errors.Is(err, ErrTooLarge) && !strings.Contains(tc.fails, "announced") {
					t.Errorf("error %v: wrong kind", err)
				}
				if n := c.Status()[0].Running; n != 0 {
					t.Errorf("%d places are still taken", n)
				}
			})
		})
	}
}

func TestConditions(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rq     Request
		serve  http.HandlerFunc
		sent   map[string]string
		status int
		fails  string
	}{
		{"both validators", Request{ETag: `W/"a"`, LastModified: "Sat, 01 Jan 2000 00:00:00 GMT"}, raw(304, ""),
			map[string]string{"If-None-Match": `W/"a"`, "If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT", "Accept-Encoding": "gzip", "Range": ""}, 304, ""},
		{"304 unasked", Request{}, raw(304, ""), map[string]string{"If-None-Match": ""}, 0, "nothing was compared"},
		{"bulk", Request{Identity: true}, raw(200, "x"), map[string]string{"Accept-Encoding": "identity", "Range": "", "If-Range": ""}, 200, ""},
		{"range", Request{From: 5, Validator: `"v"`}, raw(206, "x", "Content-Range", "bytes 5-5/6"),
			map[string]string{"Range": "bytes=5-", "If-Range": `"v"`, "Accept-Encoding": "identity"}, 206, ""},
		{"range without validator", Request{From: 5}, raw(206, "x", "Content-Range", "Bytes 5-5/*"), map[string]string{"Range": "bytes=5-", "If-Range": ""}, 206, ""},
		{"weak validator", Request{From: 5, Validator: `W/"v"`, Identity: true}, raw(200, "x"), map[string]string{"Range": "", "If-Range": ""}, 200, ""},
		{"changed", Request{From: 5, Validator: `"v"`}, raw(200, "abcdefgh"), nil, 200, ""},
		{"416", Request{From: 5}, raw(416, ""), nil, 416, ""},
		{"206 unasked", Request{Identity: true}, raw(206, "x", "Content-Range", "bytes 0-0/5"), nil, 0, "not the range asked for"},
		{"206 elsewhere", Request{From: 5}, raw(206, "x", "Content-Range", "bytes 4-5/6"), nil, 0, "not the range asked for"},
		{"206 without range", Request{From: 5}, raw(206, "x"), nil, 0, "not the range asked for"},
		{"206 multipart", Request{From: 5}, raw(206, "x", "Content-Type", "multipart/byteranges; boundary=x"), nil, 0, "not the range asked for"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				h := &recorder{Handler: tc.serve}
				w.serve(home, h)
				c := w.one(Connection{Retries: -1})
				tc.rq.URL = "p"
				resp, _, err := do(c, tc.rq)
				if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want %q", err, tc.fails)
				}
				if err == nil && resp.Status != tc.status {
					t.Errorf("status %d, want %d", resp.Status, tc.status)
				}
				for name, want := range tc.sent {
					if got := h.requests()[0].Header.Get(name); got != want {
						t.Errorf("%s: sent %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

// What is not HTTP, or too much of it, is an error without a crash and within
// bounded memory.
func TestMalformedAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, answer, fails string
	}{
		{"not http", "SSH-2.0-OpenSSH_9\r\n", "malformed HTTP"},
		{"nothing", "", "EOF"},
		{"bare CR in a field", "HTTP/1.1 200 OK\r\nETag: \"a\rX-Evil: 1\"\r\nContent-Length: 0\r\n\r\n", "malformed MIME header"},
		{"NUL in a field", "HTTP/1.1 200 OK\r\nETag: \"a\x00\"\r\nContent-Length: 0\r\n\r\n", "malformed MIME header"},
		{"bad status", "HTTP/1.1 999 Hm\r\nContent-Length: 0\r\n\r\n", "unknown status"},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "none of a response"},
		{"long nonsense", strings.Repeat("<html>", 10_000) + "\r\n", "malformed HTTP"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "Content-Length"},
		{"endless header", "endless", "headers exceeded"},
		{"endless fields", "fields", "headers exceeded"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "invalid byte in chunk length"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.name("registry.example", "93.184.216.34")
				var sent atomic.Int64
				w.serveRaw(home, func(c net.Conn, _ *http.Request) {
					if tc.answer != "endless" && tc.answer != "fields" {
						io.WriteString(c, tc.answer)
						return
					}
					_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nA: ")
					var n int
					for i := 0; err == nil && sent.Load() < 64<<20; i++ {
						block := strings.Repeat("a", 4096)
						if tc.answer == "fields" {
							block += "\r\nA" + strconv.Itoa(i) + ": "
						}
						n, err = io.WriteString(c, block)
						sent.Add(int64(n))
					}
				})
				c := w.one(Connection{Retries: -1})
				_, _, err := get(c, "p")
				var u *Unavailable
				if !errors.As(err, &u) || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("error %v, want Unavailable with %q", err, tc.fails)
				}
				if len(err.Error()) > 1000 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
				c.Close()
				if sent.Load() > 2*maxHeaderBytes {
					t.Errorf("took %d bytes of header", sent.Load())
				}
			})
		})
	}
}

func TestResponseHeader(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.name("files.example", "93.184.216.1")
		w.serve(home, raw(302, "", "Location", "http://files.example/a/b?X-Signature=1"))
		w.serve("93.184.216.1:80", raw(200, "x", "Set-Cookie", "a=b", "ETag", `"e"`, "Keep-Alive", "timeout=5", "Connection", "X-Hop", "Last-Modified", "yesterday"))
		c := w.one(Connection{})
		resp, _, err := get(c, "p?q=1")
		if err != nil {
			t.Fatal(err)
		}
		if h := resp.Header; h.Get("ETag") != `"e"` || h.Get("Last-Modified") != "yesterday" || h.Get("Set-Cookie")+h.Get("Keep-Alive")+h.Get("Connection") != "" {
			t.Errorf("header %v", resp.Header)
		}
		if resp.URL != "http://files.example/a/b" {
			t.Errorf("URL %s", resp.URL)
		}
		if resp, _, _ := get(c, "http://files.example/c?v=1#f"); resp.URL != "http://files.example/c?v=1" {
			t.Errorf("URL without redirect %s", resp.URL)
		}
	})
}

func TestObserver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.name("registry.example", "93.184.216.34")
		w.serve(home, script(raw(503, ""), raw(200, zipped("hello"), "Content-Encoding", "gzip")))
		ob := &attempts{}
		c := w.client(Config{Observer: ob, Connections: []Connection{{Name: "r", URL: "http://registry.example/"}}})
		get(c, "p")
		want := fmt.Sprintf("[r http://registry.example:80 GET 503 true r http://registry.example:80 GET 200 false body r %d <nil>]", len(zipped("hello")))
		if fmt.Sprint(ob.log) != want {
			t.Errorf("saw  %v\nwant %s", ob.log, want)
		}
		if st := c.Status()[0]; st.Requests != 2 || st.Failed != 1 || st.Bytes != int64(len(zipped("hello"))) || st.LastError == "" || st.LastGood.IsZero() {
			t.Errorf("status %+v", st)
		}
	})
}

type attempts struct {
	noObserver
	log []string
}

func (o *attempts) Attempt(conn, host, method string, status int, _ time.Duration, err error) {
	o.log = append(o.log, fmt.Sprint(conn, " ", host, " ", method, " ", status, " ", err != nil))
}

func (o *attempts) Body(conn string, n int64, _ time.Duration, err error) {
	o.log = append(o.log, fmt.Sprint("body ", conn, " ", n, " ", err))
}
