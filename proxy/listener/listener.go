// Package listener owns the sockets of a node: HTTP/1.1 and HTTP/2 over TLS,
// plain HTTP, HTTP/3 over QUIC on the same port number, the certificate with its
// reload, the local authority that a site without one is given, and the orderly
// end of all of them. It refuses to know what is served: it takes a handler, and
// looks at no path, no credential and no body.
package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config says where to listen and within which bounds. Address is required.
type Config struct {
	// Address is HOST:PORT. Port 0 picks one that is free for TCP, and for UDP
	// where HTTP3 asks for it.
	Address string
	// Plain is a second address, served by plain HTTP. Only beside a Certificate.
	Plain string
	// Certificate turns TLS on; nil serves plain HTTP.
	Certificate *Certificate
	// MinVersion is the oldest TLS version that is accepted, such as
	// tls.VersionTLS13. 0 is TLS 1.2. QUIC knows 1.3 only.
	MinVersion uint16
	// HTTP3 listens for QUIC on the UDP port of the same number. Without a
	// Certificate it does nothing.
	HTTP3 bool
	// HeaderTimeout bounds the handshake and the arrival of a request's header,
	// for all three protocols. 0 is 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection without a request is kept. 0 is 2 min.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's header. 0 is 64 KiB.
	MaxHeaderBytes int
	// Logger gets what clients do wrong at level debug, and the loss of HTTP/3 as
	// a warning. nil discards.
	Logger *slog.Logger
}

// withDefaults fills the zero values.
func (c Config) withDefaults() Config {
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if c.HeaderTimeout == 0 {
		c.HeaderTimeout = 10 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 2 * time.Minute
	}
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = 64 << 10
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ErrPlain is returned for a second plain address beside a plain first one.
var ErrPlain = errors.New("a second plain address needs a certificate for the first one")

// Listener holds bound sockets. Its methods may be called from any goroutine;
// Serve is called once.
type Listener struct {
	cfg   Config
	main  net.Listener
	plain net.Listener // nil without Config.Plain
	quic  *quicServer  // nil unless QUIC really listens
	srv   *http.Server
}

// New binds the sockets, so that a port that is taken shows before anything
// else starts. Clients that connect before Serve wait. The caller must Close.
func New(cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	if cfg.Plain != "" && cfg.Certificate == nil {
		return nil, ErrPlain
	}
	l := &Listener{cfg: cfg}
	if err := l.bind(); err != nil {
		return nil, err
	}
	if cfg.Plain != "" {
		ln, err := net.Listen("tcp", cfg.Plain)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen for plain HTTP: %w", err)
		}
		l.plain = ln
	}
	l.srv = &http.Server{
		ReadHeaderTimeout: cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	if cfg.Certificate != nil {
		l.srv.TLSConfig = l.tlsConfig()
		// Named here, so that HTTP/2 is set up whichever of the two addresses
		// net/http happens to serve first.
		l.srv.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	return l, nil
}

// tlsConfig is what TCP and QUIC have in common.
func (l *Listener) tlsConfig() *tls.Config {
	return &tls.Config{GetCertificate: l.cfg.Certificate.get, MinVersion: l.cfg.MinVersion}
}

// bind takes the TCP port and, for HTTP/3, the UDP port of the same number.
// HTTP/3 is a faster way to what TCP serves as well: where its port cannot be
// had, the node goes on without it and says so.
func (l *Listener) bind() error {
	for attempt := 1; ; attempt++ {
		ln, err := net.Listen("tcp", l.cfg.Address)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if l.cfg.Certificate == nil || !l.cfg.HTTP3 {
			l.main = ln
			return nil
		}
		q, err := newQUIC(l.cfg, l.tlsConfig(), ln.Addr())
		if err == nil {
			l.main, l.quic = ln, q
			return nil
		}
		if _, port, _ := net.SplitHostPort(l.cfg.Address); port == "0" && attempt < 16 {
			ln.Close() // somebody else has that UDP port; another number may be free
			continue
		}
		l.cfg.Logger.Warn("HTTP/3 is not served", "event", "http3_unavailable", "address", ln.Addr().String(), "error", err)
		l.main = ln
		return nil
	}
}

// Addr is the bound address, with the port that was picked.
func (l *Listener) Addr() net.Addr { return l.main.Addr() }

// URL is the base URL of the bound address: "https://127.0.0.1:5273".
func (l *Listener) URL() string {
	scheme := "http://"
	if l.cfg.Certificate != nil {
		scheme = "https://"
	}
	return scheme + l.main.Addr().String()
}

// PlainURL is the base URL of the plain second address, "" without one.
func (l *Listener) PlainURL() string {
	if l.plain == nil {
		return ""
	}
	return "http://" + l.plain.Addr().String()
}

// HTTP3 reports whether QUIC really listens.
func (l *Listener) HTTP3() bool { return l.quic != nil }

// Serve answers with h on all sockets until one fails or the listener is shut
// down or closed, which gives http.ErrServerClosed. Requests of all TLS
// protocols have TLS set, HTTP/3 included.
func (l *Listener) Serve(h http.Handler) error {
	l.srv.Handler = l.announce(h)
	failed := make(chan error, 3)
	go func() {
		if l.cfg.Certificate == nil {
			failed <- l.srv.Serve(l.main)
			return
		}
		failed <- l.srv.ServeTLS(l.main, "", "")
	}()
	if l.plain != nil {
		go func() { failed <- l.srv.Serve(l.plain) }()
	}
	if l.quic != nil {
		go func() { failed <- l.quic.serve(h) }()
	}
	return <-failed
}

// announce tells clients that came by TLS over TCP that HTTP/3 is spoken on the
// same port (RFC 7838). An hour keeps the word short-lived, should QUIC be
// switched off.
func (l *Listener) announce(h http.Handler) http.Handler {
	if l.quic == nil {
		return h
	}
	value := []string{fmt.Sprintf(`h3=":%d"; ma=3600`, l.main.Addr().(*net.TCPAddr).Port)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			w.Header()["Alt-Svc"] = value
		}
		h.ServeHTTP(w, r)
	})
}

// Shutdown takes no new connections and requests and lets running ones end. It
// returns the error of ctx when that ends first; Close then cuts them off.
func (l *Listener) Shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	var tcp, udp error
	wg.Go(func() { tcp = l.srv.Shutdown(ctx) })
	if l.quic != nil {
		wg.Go(func() { udp = l.quic.shutdown(ctx) })
	}
	wg.Wait()
	return errors.Join(tcp, udp)
}

// Close closes every socket and connection at once. It may be called again,
// before Serve and after Shutdown.
func (l *Listener) Close() {
	if l.srv != nil {
		l.srv.Close()
	}
	l.main.Close()
	if l.plain != nil {
		l.plain.Close()
	}
	if l.quic != nil {
		l.quic.close()
	}
}
