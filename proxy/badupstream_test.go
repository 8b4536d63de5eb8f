package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats/formattest"
	"larder/formats/pypi/pypitest"
	"larder/proxy/upstream"
)

// stranger is a host that nothing may reach, with content that a client would
// take.
func stranger(t *testing.T, e *ecosystem) *formattest.Upstream {
	return formattest.Serve(t, e.registry)
}

func portOf(u *formattest.Upstream) string {
	parsed, _ := url.Parse(u.URL)
	return parsed.Port()
}

// names answers look-ups from a table, each time the next entry; the last stays.
type names struct {
	mu sync.Mutex
	m  map[string][]string
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.m[host]
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(all) > 1 {
		n.m[host] = all[1:]
	}
	return []netip.Addr{netip.MustParseAddr(all[0])}, nil
}

// Redirects of a listing and of a file to places that the connection does not
// name: refused in the dialect, and nobody is asked there.
func TestRedirectsOutside(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			other := stranger(t, e)
			port := portOf(other)
			var mu sync.Mutex
			var dialled []string
			// The first look-up gives a public address, all later ones loopback.
			dns := &names{m: map[string][]string{"rebind.example": {"203.0.113.9", "127.0.0.1"}, "inside.example": {"127.0.0.1"}, "mapped.example": {"::ffff:127.0.0.1"},
				"metadata.example": {"169.254.169.254"}, "private.example": {"10.0.0.1"}, "shared.example": {"100.64.0.1"}, "nat64.example": {"64:ff9b::7f00:1"}, "zero.example": {"0.0.0.0"}}}
			w := newMixedWorld(t, []*ecosystem{e}, func(w *world) {
				w.dialler = func(cfg *upstream.Config) {
					cfg.Resolver = dns
					cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
						mu.Lock()
						dialled = append(dialled, addr)
						mu.Unlock()
						if !strings.HasPrefix(addr, "127.") {
							return nil, errors.New("this network has no way out")
						}
						var d net.Dialer
						return d.DialContext(ctx, network, addr)
					}
				}
			})
			for _, to := range []string{
				"http://127.0.0.1:" + port + "/x", "http://localhost:" + port + "/x", "//127.0.0.1:" + port + "/x", "http://127.1:" + port + "/x", "http://127.0.0.2:" + port + "/x",
				"http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]:" + port + "/x", "http://[::1]:" + port + "/x", "http://[::]:" + port + "/x",
				"http://2130706433:" + port + "/x", "http://0x7f000001:" + port + "/x", "http://0177.0.0.1:" + port + "/x", "http://0:" + port + "/x", "http://0.0.0.0:" + port + "/x",
				"http://[64:ff9b::7f00:1]:" + port + "/x", "http://10.0.0.1/", "http://100.64.0.1/", "http://[fe80::1%25eth0]/",
				"http://rebind.example:" + port + "/x", "http://inside.example:" + port + "/x", "http://mapped.example:" + port + "/x", "http://metadata.example/", "http://private.example/", "http://shared.example/",
				"http://nat64.example:" + port + "/x", "http://zero.example:" + port + "/x", "http://printer.local/", "http://intranet/",
				"file:///etc/passwd", "ftp://127.0.0.1:" + port + "/x", "gopher://127.0.0.1:" + port + "/x", "data:text/html,hello", "javascript:alert(1)", "unix:///run/x.sock",
				"http://user:secret@127.0.0.1:" + port + "/x", "http:///x", "http://", "https:opaque", "\x01", "http://a b/", "http://evil.example\r\nX-Evil: 1/", "http://127.0.0.1:" + port + "\\@x/", "http://[", "",
				"http://127.0.0.1:0/", "http://127.0.0.1:99999/", strings.Repeat("a/", 8<<10),
			} {
				for match, path := range map[string]string{"any": e.unknown, "asset": e.asset} {
					on := e.onAsset
					if match == "any" {
						on = formattest.OnAny()
					} else {
						w.want(w.fetch(e, e.listing), 200)
					}
					e.up.Break(on, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
						rw.Header()["Location"] = []string{to}
						rw.WriteHeader(http.StatusFound)
					})
					a := w.fetch(e, path)
					if msg := w.refused(e, a); a.status < 500 {
						t.Errorf("%.80q of %s: %d %s", to, path, a.status, msg)
					}
					for _, bad := range []string{"root:", "secret", "X-Evil"} {
						if strings.Contains(a.body, bad) || a.header.Get("X-Evil") != "" {
							t.Errorf("%.80q of %s: the answer holds %q: %s", to, path, bad, a.body)
						}
					}
					e.up.Heal()
				}
			}
			if n := other.Total(); n != 0 {
				t.Errorf("the other host was asked %d times: %+v", n, other.Requests())
			}
			mu.Lock()
			for _, addr := range dialled {
				if !strings.HasSuffix(e.up.URL, addr) && !strings.HasPrefix(addr, "203.0.113.9:") {
					t.Errorf("%s was dialled", addr)
				}
			}
			mu.Unlock()
			w.works(e)
		})
	}
}

// A credential and a custom authentication field are seen by the connection's
// own host and by no other, not even when the other sends the request back.
func TestCredentialsStayHome(t *testing.T) {
	secrets := func(rq formattest.Asked) string {
		return rq.Header.Get("Authorization") + rq.Header.Get("X-Api-Key") + rq.Header.Get("Cookie") + rq.Header.Get("Proxy-Authorization")
	}
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			other := stranger(t, e)
			w := newMixedWorld(t, []*ecosystem{e}, func(w *world) {
				k := &w.conns[0]
				k.Header = map[string]string{"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret"}
				k.Hosts = []string{"127.0.0.1:" + portOf(other)}
			})
			for _, code := range []int{301, 302, 303, 307, 308} {
				e.up.Break(e.onAsset, func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
					rw.Header().Set("Set-Cookie", "session=s3cret")
					http.Redirect(rw, rq, other.URL+rq.URL.Path, code)
				})
				w.works(e)
				e.up.Heal()
				w.close()
				w.fs = newMemFS()
				w.open()
			}
			if other.Total() < 5 {
				t.Errorf("the other host was asked %d times, want at least 5", other.Total())
			}
			for _, rq := range other.Requests() {
				if s := secrets(rq); s != "" {
					t.Errorf("the other host saw %q", s)
				}
			}
			for _, rq := range e.up.Requests() {
				if secrets(rq) != "Bearer s3crets3cret" {
					t.Errorf("%s %s came without the credential", rq.Method, rq.Path)
				}
			}
			// And back home, without it.
			e.up.Reset()
			other.Break(formattest.OnAny(), func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
				http.Redirect(rw, rq, e.up.URL+rq.URL.Path+"?back", http.StatusFound)
			})
			e.up.Break(func(rq *http.Request) bool { return e.onAsset(rq) && rq.URL.RawQuery == "" }, func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
				http.Redirect(rw, rq, other.URL+rq.URL.Path, http.StatusFound)
			})
			w.works(e)
			back := 0
			for _, rq := range e.up.Requests() {
				if rq.Query == "back" {
					back++
					if s := secrets(rq); s != "" {
						t.Errorf("a credential came back from elsewhere: %q", s)
					}
				}
			}
			if back == 0 {
				t.Error("the request never came back")
			}
		})
	}
}

// A forwarded POST is never redirected: its body is not for somebody else.
func TestRedirectedPost(t *testing.T) {
	e := ecosystems(t)[0]
	other := stranger(t, e)
	w := newMixedWorld(t, []*ecosystem{e}, func(w *world) { w.conns[0].Hosts = []string{"127.0.0.1:" + portOf(other)} })
	for _, code := range []int{301, 302, 303, 307, 308} {
		e.up.Break(formattest.OnSuffix("/advisories/bulk"), formattest.Redirect(code, other.URL+"/advisories/bulk"))
		rq, _ := http.NewRequest("POST", w.srv.URL+auditPath, strings.NewReader(`{"tiny-left":["1.0.0"]}`))
		resp, err := http.DefaultTransport.RoundTrip(rq)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		w.refused(e, answer{status: resp.StatusCode, header: resp.Header, body: string(body)})
	}
	if other.Total() != 0 {
		t.Errorf("the other host was asked: %+v", other.Requests())
	}
	e.up.Heal()
	w.works(e)
}

// elsewhere answers as the registry does, with its own address replaced.
func elsewhere(from, to string) formattest.Fault {
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		rq.Header.Del("Accept-Encoding")
		next.ServeHTTP(rec, rq)
		maps.Copy(rw.Header(), rec.Result().Header)
		rw.Header().Del("Content-Length")
		rw.Header().Del("Etag")
		rw.WriteHeader(rec.Code)
		rw.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte(from), []byte(to)))
	}
}

// Metadata that names files on another host: refused unless the connection
// names that host, and never with the credential.
func TestMetadataNamesAnotherHost(t *testing.T) {
	for _, e := range ecosystems(t) {
		if e.format == "maven" || e.format == "go" {
			continue // their metadata holds no addresses
		}
		t.Run(e.format, func(t *testing.T) {
			other := stranger(t, e)
			w := newMixedWorld(t, []*ecosystem{e}, func(w *world) { w.conns[0].Token = "s3cret" })
			for _, to := range []string{other.URL, "http://169.254.169.254", "http://[::ffff:127.0.0.1]:" + portOf(other), "http://2130706433:" + portOf(other), "file://", "http://user:pw@127.0.0.1:" + portOf(other)} {
				if p, ok := e.registry.(*pypitest.Registry); ok {
					p.FilesBase(to)
				}
				e.up.Break(func(rq *http.Request) bool { return e.onList(rq) || strings.HasSuffix(rq.URL.Path, "/config.json") }, elsewhere(e.up.URL, to))
				// An address that is none may be passed over for the registry's own.
				if a := w.fetch(e, e.asset); a.status != 200 || a.body != string(e.bytes()) || strings.HasPrefix(to, "http://1") {
					if msg := w.refused(e, a); a.status < 500 || strings.Contains(msg, "pw@") {
						t.Errorf("%s: %d %s", to, a.status, msg)
					}
				}
				if a := w.fetch(e, e.listing); strings.Contains(a.body, to) {
					t.Errorf("%s: the listing names it: %.300s", to, a.body)
				}
				w.close()
				w.fs = newMemFS()
				w.open()
			}
			if other.Total() != 0 {
				t.Errorf("the other host was asked: %+v", other.Requests())
			}
			// Named, it is asked, without the credential.
			w.close()
			w.conns[0].Hosts = []string{"127.0.0.1:" + portOf(other)}
			w.open()
			if p, ok := e.registry.(*pypitest.Registry); ok {
				p.FilesBase(other.URL)
			}
			e.up.Heal()
			e.up.Break(func(rq *http.Request) bool { return e.onList(rq) || strings.HasSuffix(rq.URL.Path, "/config.json") }, elsewhere(e.up.URL, other.URL))
			if a := w.want(w.fetch(e, e.asset), 200); a.body != string(e.bytes()) {
				t.Error("bytes differ")
			}
			if other.Total() == 0 {
				t.Error("the other host was not asked")
			}
			for _, rq := range other.Requests() {
				if rq.Header.Get("Authorization") != "" {
					t.Error("the other host saw the credential")
				}
			}
		})
	}
}

// What an upstream sends in place of a file: never served whole, nothing kept,
// and a good answer afterwards is taken.
func TestBadFiles(t *testing.T) {
	for _, e := range ecosystems(t) {
		size := len(e.bytes())
		w := newMixedWorld(t, []*ecosystem{e}, func(w *world) { w.limits = smallLimits })
		for _, c := range []struct {
			name  string
			fault formattest.Fault
			ok    bool // the right bytes can be told from the fault
		}{
			{"a page with 200", formattest.HTML(), false},
			{"truncated, right length", formattest.Truncate(size / 2), false},
			{"one byte short, right length", formattest.Truncate(size - 1), false},
			{"nothing, right length", formattest.Truncate(0), false},
			{"shorter", formattest.Shorten(size / 2), false},
			{"empty", formattest.Shorten(0), false},
			{"longer", formattest.Lengthen(10), false},
			{"more than announced", formattest.Overrun(1000), true},
			{"first bit", formattest.Corrupt(0), false},
			{"last bit", formattest.Corrupt(-1), false},
			{"other bytes", formattest.Replace([]byte("something else")), false},
			{"endless", formattest.Endless([]byte("larder "), "Content-Type", "application/octet-stream"), false},
			{"reset", formattest.Reset(), false},
			{"redirect loop", formattest.RedirectLoop(), false},
			{"304 to a plain question", formattest.Status(304), false},
			{"206 to a plain question", formattest.Status(206, "Content-Range", "bytes 0-3/4"), false},
			{"204", formattest.Status(204), false},
			{"418", formattest.Status(418), false},
			{"401", formattest.Status(401, "WWW-Authenticate", "Basic"), false},
			{"403", formattest.Status(403), false},
			{"429", formattest.Status(429, "Retry-After", "100000"), false},
			{"503", formattest.Status(503, "Retry-After", "yesterday"), false},
			{"500", formattest.Status(500), false},
			{"false length", rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"), false},
			{"length and chunks", rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), false},
			{"not HTTP", rawAnswer("SSH-2.0-x\r\n\r\n"), false},
			{"header without end", rawAnswer("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 4<<20)), false},
			{"false coding", rawAnswer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"), false},
		} {
			t.Run(e.format+"/"+c.name, func(t *testing.T) {
				w.t = t
				defer e.up.Heal()
				w.want(w.fetch(e, e.listing), 200)
				e.up.Break(e.onAsset, c.fault)
				before := e.up.Total()
				for range 2 {
					a := w.fetch(e, e.asset)
					switch {
					case c.ok:
						if w.want(a, 200).body != string(e.bytes()) {
							t.Error("bytes differ")
						}
					case a.status == 200 && a.err == nil && a.body == string(e.bytes()):
						// A broken body was taken up where it broke.
						if !strings.Contains(c.name, "right length") {
							t.Errorf("the right bytes came out of a fault")
						}
					case a.err == nil:
						w.refused(e, a)
						fallthrough
					default: // or the connection broke before the last byte
						if a.status == 404 {
							t.Errorf("a fault was told as an absence: %s", a.body)
						}
						if strings.Contains(a.body, "Sign in") {
							t.Errorf("the page came through: %s", a.body)
						}
					}
				}
				if n := e.up.Total() - before; n > 30 {
					t.Errorf("%d upstream requests for two questions", n)
				}
				e.up.Heal()
				w.clock.add(6 * time.Minute)                          // beyond what a Retry-After may ask for
				if c.ok || strings.Contains(c.name, "right length") { // kept: forget it
					w.close()
					w.fs = newMemFS()
					w.open()
				}
			})
		}
		w.t = t
		w.works(e)
	}
}

// rawAnswer sends bytes as they are and ends the connection.
func rawAnswer(text string) formattest.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()
		fmt.Fprint(buf, text)
		buf.Flush()
	}
}
