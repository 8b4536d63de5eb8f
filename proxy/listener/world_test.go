package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// logBuffer holds what a logger wrote.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(text))
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// site makes an authority and a certificate for the loopback.
func site(t testing.TB) (Directory, *x509.CertPool) {
	t.Helper()
	d := DirectoryAt(filepath.Join(t.TempDir(), "tls"))
	names, err := ParseNames([]string{"localhost", "127.0.0.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("test", names, Scope{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return d, trust(t, d)
}

func trust(t testing.TB, d Directory) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("the authority's certificate is not PEM")
	}
	return pool
}

func certificate(t testing.TB, d Directory) *Certificate {
	t.Helper()
	c, err := NewCertificate(CertificateConfig{CertFile: d.Cert, KeyFile: d.Key})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start serves h until the test ends; the channel gives what Serve returned.
func start(t testing.TB, cfg Config, h http.HandlerFunc) (*Listener, <-chan error) {
	t.Helper()
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	served := make(chan error, 1)
	go func() { served <- l.Serve(h) }()
	return l, served
}

// client speaks one protocol only.
type client struct {
	proto string
	http.RoundTripper
	close func()
}

// clients are one of each protocol over TLS.
func clients(t testing.TB, pool *x509.CertPool) []client {
	conf := func() *tls.Config { return &tls.Config{RootCAs: pool} }
	one := &http.Transport{TLSClientConfig: conf(), Protocols: new(http.Protocols)}
	one.Protocols.SetHTTP1(true)
	two := &http.Transport{TLSClientConfig: conf(), Protocols: new(http.Protocols)}
	two.Protocols.SetHTTP2(true)
	three := &http3.Transport{TLSClientConfig: conf()}
	out := []client{
		{"HTTP/1.1", one, one.CloseIdleConnections},
		{"HTTP/2.0", two, two.CloseIdleConnections},
		{"HTTP/3.0", three, func() { three.Close() }},
	}
	for _, c := range out {
		t.Cleanup(c.close)
	}
	return out
}

// do sends one request and reads the whole answer.
func (c client) do(ctx context.Context, method, url string, body io.Reader) (*http.Response, string, error) {
	rq, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.RoundTrip(rq)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func closed(t *testing.T, served <-chan error) {
	t.Helper()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want http.ErrServerClosed", err)
	}
}
