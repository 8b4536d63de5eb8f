package upstream

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// egressProxy is a forward proxy that writes down all it can read.
type egressProxy struct {
	w    *world
	mu   sync.Mutex
	seen []string
}

func (p *egressProxy) note(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, s)
}

func (p *egressProxy) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.seen, "; ")
}

func (p *egressProxy) ServeHTTP(rw http.ResponseWriter, rq *http.Request) {
	if rq.TLS != nil && len(rq.TLS.PeerCertificates) > 0 {
		p.note("client certificate")
	}
	p.note(fmt.Sprint(rq.Method, " ", rq.RequestURI, " auth=", rq.Header.Get("Proxy-Authorization"), leaks(rq.Header)))
	if rq.Method != http.MethodConnect {
		io.WriteString(rw, "by proxy")
		return
	}
	host, port, _ := net.SplitHostPort(rq.RequestURI)
	ips, err := p.w.LookupNetIP(rq.Context(), "ip", host)
	if err != nil {
		rw.WriteHeader(502)
		return
	}
	out, err := p.w.dial(rq.Context(), "tcp", net.JoinHostPort(ips[0].String(), port))
	if err != nil {
		rw.WriteHeader(502)
		return
	}
	in, buf, _ := rw.(http.Hijacker).Hijack()
	io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { defer out.Close(); io.Copy(out, buf) }()
	defer in.Close()
	io.Copy(in, bufio.NewReader(out))
}

func egressWorld(t *testing.T, w *world) (*egressProxy, *recorder, *authority) {
	ca := newAuthority(t)
	w.file("ca", ca.pem)
	cert, key := ca.issue(t, "larder.example")
	w.file("cert", cert)
	w.file("key", key)
	w.name("registry.example", "93.184.216.34")
	w.name("proxy.corp", "10.0.0.3")
	p := &egressProxy{w: w}
	w.serve("10.0.0.3:3128", p)
	tc := ca.server(t, "proxy.corp")
	tc.NextProtos = []string{"http/1.1"}
	w.serveTLS("10.0.0.3:3129", p, tc)
	origin := &recorder{}
	tc = ca.server(t, "registry.example")
	w.serveTLS("93.184.216.34:443", origin, tc)
	w.serve(home, origin)
	w.serve("127.0.0.1:80", origin)
	return p, origin, ca
}

func TestEgress(t *testing.T) {
	for _, tc := range []struct {
		name    string
		k       Connection
		general string            // Config.Proxy
		env     map[string]string // environment
		url     string
		proxied string // what the proxy must have seen; "" nothing
		fails   string
	}{
		{"none", Connection{Proxy: "none"}, "http://proxy.corp:3128", nil, "p", "", ""},
		{"https", Connection{Proxy: "http://proxy.corp:3128", Token: tooth}, "", nil, "p", "CONNECT registry.example:443 auth=", ""},
		{"proxy's own credential", Connection{Proxy: "http://me:pw@proxy.corp:3128", Token: tooth}, "", nil, "p", "CONNECT registry.example:443 auth=Basic bWU6cHc=", ""},
		{"https proxy", Connection{Proxy: "https://proxy.corp:3129", Token: tooth, ClientCert: "cert", ClientKey: "key"}, "", nil, "p", "CONNECT registry.example:443 auth=", ""},
		{"general", Connection{}, "http://proxy.corp:3128", nil, "p", "CONNECT registry.example:443 auth=", ""},
		{"environment", Connection{}, "", map[string]string{"https_proxy": "proxy.corp:3128"}, "p", "CONNECT registry.example:443 auth=", ""},
		{"environment's exception", Connection{}, "", map[string]string{"HTTPS_PROXY": "proxy.corp:3128", "NO_PROXY": ".example"}, "p", "", ""},
		{"plain http", Connection{URL: "http://registry.example/", Proxy: "http://proxy.corp:3128"}, "", nil, "p", "GET http://registry.example/p auth=", ""},
		{"plain http with credential", Connection{URL: "http://registry.example/", Token: tooth}, "", map[string]string{"HTTP_PROXY": "http://proxy.corp:3128"}, "p", "", "would read the credentials"},
		{"loopback is not proxied", Connection{URL: "http://127.0.0.1/", Token: tooth}, "http://proxy.corp:3128", nil, "p", "", ""},
		{"inside by literal", Connection{Proxy: "http://proxy.corp:3128"}, "", nil, "https://10.0.0.1/", "", "not public"},
		{"inside by name", Connection{Proxy: "http://proxy.corp:3128"}, "", nil, "https://metadata.google.internal/", "", "not a public one"},
		{"single label", Connection{Proxy: "http://proxy.corp:3128"}, "", nil, "https://wiki/", "", "not a public one"},
		{"bad environment", Connection{Retries: -1}, "", map[string]string{"HTTPS_PROXY": "http://u:" + tooth + "@[::1"}, "p", "", "is not a proxy's URL"},
		{"proxy is dead", Connection{Retries: -1, Proxy: "http://proxy.corp:1"}, "", nil, "p", "", "connection refused"},
		{"proxy cannot", Connection{Retries: -1, URL: "https://gone.example/", Proxy: "http://proxy.corp:3128"}, "", nil, "p", "CONNECT gone.example:443 auth=", "Bad Gateway"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				p, _, _ := egressWorld(t, w)
				for k, v := range tc.env {
					w.setenv(k, v)
				}
				tc.k.Name, tc.k.CAFile = "r", "ca"
				if tc.k.URL == "" {
					tc.k.URL = "https://registry.example/"
				}
				c := w.client(Config{Proxy: tc.general, Connections: []Connection{tc.k}})
				_, body, err := get(c, tc.url)
				if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("body %q, error %v, want %q", body, err, tc.fails)
				}
				if err != nil && strings.Contains(err.Error(), tooth) {
					t.Errorf("secret in %v", err)
				}
				if got := p.lines(); got != tc.proxied {
					t.Errorf("proxy saw %q, want %q", got, tc.proxied)
				}
			})
		})
	}
}

func TestTLS(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, origin, ca := egressWorld(t, w)
		w.name("files.example", "93.184.216.1")
		away := &recorder{}
		w.serveTLS("93.184.216.1:443", away, ca.server(t, "files.example"))
		c := w.client(Config{Connections: []Connection{
			{Name: "r", URL: "https://registry.example/", CAFile: "ca", ClientCert: "cert", ClientKey: "key"},
			{Name: "untrusting", URL: "https://registry.example/"},
		}})
		for _, url := range []string{"a", "b", "https://files.example/f"} {
			if _, _, err := get(c, url); err != nil {
				t.Fatal(err)
			}
		}
		rq := origin.requests()[0]
		if rq.ProtoMajor != 2 || len(rq.TLS.PeerCertificates) != 1 {
			t.Errorf("home saw %s and %d certificates, want HTTP/2.0 and one", rq.Proto, len(rq.TLS.PeerCertificates))
		}
		if n := len(away.requests()[0].TLS.PeerCertificates); n != 0 {
			t.Error("the client certificate was shown to another host")
		}
		if c.Dials() != 2 {
			t.Errorf("%d dials, want 2", c.Dials())
		}
		_, err := c.Do(t.Context(), Request{Connection: "untrusting", URL: "p"})
		var u *Unavailable
		var bad *tls.CertificateVerificationError
		if !errors.As(err, &u) || !errors.As(err, &bad) || c.Dials() != 3 {
			t.Errorf("unknown authority: %v after %d dials, want one more", err, c.Dials())
		}
	})
}

// The timeouts hold over HTTP/2, too.
func TestHTTP2Hangs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ca := newAuthority(t)
		w.file("ca", ca.pem)
		w.name("registry.example", "93.184.216.34")
		w.serveTLS("93.184.216.34:443", http.HandlerFunc(func(rw http.ResponseWriter, rq *http.Request) {
			if rq.URL.Path == "/body" {
				io.WriteString(rw, "abc")
				rw.(http.Flusher).Flush()
			}
			<-rq.Context().Done()
		}), ca.server(t, "registry.example"))
		c := w.one(Connection{URL: "https://registry.example/", CAFile: "ca"})
		for url, want := range map[string]string{"header": "timeout awaiting response headers", "body": "after 3 bytes: no bytes of the body in time"} {
			if _, _, err := get(c, url); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", url, err, want)
			}
		}
	})
}
