package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a network in memory: a resolver, listeners by "ip:port" and a log of
// what was dialled. Run inside a synctest bubble it has a clock of its own, so
// that no test sleeps.
type world struct {
	t  testing.TB
	mu struct {
		sync.Mutex
		names     map[string][][]string // host -> answers in turn, the last one for ever
		listeners map[string]*listener
		dialled   []string
		files     map[string]string
		vars      map[string]string
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t}
	w.mu.names = map[string][][]string{}
	w.mu.listeners = map[string]*listener{}
	w.mu.files = map[string]string{}
	w.mu.vars = map[string]string{}
	return w
}

// inWorld runs fn in a bubble.
func inWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// Runs last: a TLS connection that is closed under a blocked peer says
		// goodbye for up to five seconds of the bubble's time.
		t.Cleanup(func() { time.Sleep(time.Minute) })
		fn(t, newWorld(t))
	})
}

// name gives a host its addresses; several calls are answers in turn.
func (w *world) name(host string, ips ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.names[host] = append(w.mu.names[host], ips)
}

func (w *world) file(name, content string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.files[name] = content
}

func (w *world) setenv(name, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.vars[name] = value
}

func (w *world) dials() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.mu.dialled...)
}

// LookupNetIP makes world a Resolver.
func (w *world) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answers := w.mu.names[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.mu.names[host] = answers[1:]
	}
	var out []netip.Addr
	for _, s := range answers[0] {
		out = append(out, netip.MustParseAddr(s))
	}
	return out, nil
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.mu.dialled = append(w.mu.dialled, addr)
	l := w.mu.listeners[addr]
	w.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial tcp %s: connection refused", addr)
	}
	if l.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial tcp %s: connection refused", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type listener struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	silent bool // accepts nothing, refuses nothing
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return memAddr(l.addr) }

type memAddr string

func (memAddr) Network() string  { return "tcp" }
func (a memAddr) String() string { return string(a) }

func (w *world) listen(addr string) *listener {
	l := &listener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.listeners[addr] = l
	return l
}

// serve runs h at addr until the test ends.
func (w *world) serve(addr string, h http.Handler) { w.serveTLS(addr, h, nil) }

func (w *world) serveTLS(addr string, h http.Handler, cfg *tls.Config) {
	l := w.listen(addr)
	srv := &http.Server{Handler: h, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cfg != nil {
			srv.ServeTLS(l, "", "")
		} else {
			srv.Serve(l)
		}
	}()
	w.t.Cleanup(func() { srv.Close(); <-done })
}

// serveRaw answers each connection at addr with fn, which sees the request
// header that was read.
func (w *world) serveRaw(addr string, fn func(c net.Conn, rq *http.Request)) {
	l := w.listen(addr)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				rq, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					fn(c, rq)
				}
			})
		}
	})
	w.t.Cleanup(func() { l.Close(); wg.Wait() })
}

// client builds a client in this world that is closed when the test ends.
func (w *world) client(cfg Config) *Client {
	w.t.Helper()
	c, err := w.open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) open(cfg Config) (*Client, error) {
	cfg.Resolver, cfg.Dial = w, w.dial
	cfg.Random = func() float64 { return 0 }
	cfg.Getenv = func(k string) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.mu.vars[k]
	}
	cfg.ReadFile = func(name string) ([]byte, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s, ok := w.mu.files[name]; ok {
			return []byte(s), nil
		}
		return nil, errors.New("no such file")
	}
	c, err := New(cfg)
	if err == nil {
		w.t.Cleanup(c.Close)
	}
	return c, err
}

// one builds a client with one connection called "r".
func (w *world) one(k Connection) *Client {
	w.t.Helper()
	k.Name = "r"
	if k.URL == "" {
		k.URL = "http://registry.example/"
	}
	return w.client(Config{Connections: []Connection{k}})
}

// get asks connection "r" and reads the body.
func get(c *Client, url string) (*Response, string, error) {
	return do(c, Request{URL: url})
}

func do(c *Client, rq Request) (*Response, string, error) {
	rq.Connection = "r"
	resp, err := c.Do(context.Background(), rq)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// recorder is a handler that keeps the requests it saw.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	http.Handler
}

func (r *recorder) ServeHTTP(rw http.ResponseWriter, rq *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, rq)
	r.mu.Unlock()
	if r.Handler != nil {
		r.Handler.ServeHTTP(rw, rq)
		return
	}
	io.WriteString(rw, "ok")
}

func (r *recorder) requests() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*http.Request(nil), r.seen...)
}

// redirectTo answers everything with a redirect.
func redirectTo(status int, location string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header()["Location"] = []string{location}
		rw.WriteHeader(status)
	})
}

// authority issues certificates that hold in the bubble's year 2000 and now.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue returns a certificate for hosts, for servers and clients, as PEM.
func (a *authority) issue(t testing.TB, hosts ...string) (certPEM, keyPEM string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

func (a *authority) server(t testing.TB, hosts ...string) *tls.Config {
	c, k := a.issue(t, hosts...)
	pair, err := tls.X509KeyPair([]byte(c), []byte(k))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
		NextProtos: []string{"h2", "http/1.1"}}
}
