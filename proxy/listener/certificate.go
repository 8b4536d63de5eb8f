package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// CertificateConfig names the two PEM files of a certificate. Both are required.
type CertificateConfig struct {
	// CertFile holds the server's certificate and then its intermediates, KeyFile
	// the private key.
	CertFile, KeyFile string
	// Every is how often a handshake looks whether the files have changed. 0 is
	// 10 s.
	Every time.Duration
	// Now and Stat are for tests; nil is the system's.
	Now  func() time.Time
	Stat func(path string) (fs.FileInfo, error)
	// Logger gets the outcome of reloads that a handshake has caused. nil
	// discards.
	Logger *slog.Logger
}

// Errors of a certificate that is well formed and of no use now.
var (
	ErrExpired     = errors.New("the certificate has expired")
	ErrNotYetValid = errors.New("the certificate is not valid yet")
)

// PairError says which of the two files is at fault.
type PairError struct {
	Key  bool   // the key's file, else the certificate's
	File string // its path
	Err  error
}

func (e *PairError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *PairError) Unwrap() error { return e.Err }

// Certificate is a certificate that follows its files. No goroutine watches
// them: a handshake looks, at most every so often. Its methods may be called
// from any goroutine.
type Certificate struct {
	cfg     CertificateConfig
	current atomic.Pointer[tls.Certificate]
	looked  atomic.Int64 // when a handshake last looked, in Unix nanoseconds

	mu     sync.Mutex // held while files are read
	seen   [2]fs.FileInfo
	failed string // what the last reload complained about; "" if it went well
}

// NewCertificate reads the pair. A pair that cannot be used at all is an error;
// one that has expired is served, with a warning, since a client that still
// takes it is better off than one without an answer.
func NewCertificate(cfg CertificateConfig) (*Certificate, error) {
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Stat == nil {
		cfg.Stat = os.Stat
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Certificate{cfg: cfg}
	seen := c.stat()
	pair, err := LoadPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	if err := ValidAt(pair.Leaf, cfg.Now()); err != nil {
		cfg.Logger.Warn("clients will refuse the certificate", "event", "tls_certificate_invalid", "file", cfg.CertFile, "error", err)
	}
	c.seen = seen
	c.current.Store(pair)
	c.looked.Store(cfg.Now().UnixNano())
	return c, nil
}

// Leaf is the certificate in use. It must not be changed.
func (c *Certificate) Leaf() *x509.Certificate { return c.current.Load().Leaf }

// Reload reads the pair from these files now and follows them from then on. On
// an error the former pair and files stay.
func (c *Certificate) Reload(certFile, keyFile string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.cfg
	c.cfg.CertFile, c.cfg.KeyFile = certFile, keyFile
	if err := c.load(c.stat()); err != nil {
		c.cfg = was
		return err
	}
	return nil
}

// get is the hook of a handshake.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := c.cfg.Now().UnixNano()
	looked := c.looked.Load()
	// The second half is for a clock that was set back.
	if since := now - looked; since >= int64(c.cfg.Every) || since < 0 {
		if c.looked.CompareAndSwap(looked, now) {
			c.look()
		}
	}
	return c.current.Load(), nil
}

// look reloads the pair if one of its files is another than before. Only the
// handshake that looks waits for it.
func (c *Certificate) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.stat()
	if same(seen[0], c.seen[0]) && same(seen[1], c.seen[1]) {
		return
	}
	before := c.failed
	if err := c.load(seen); err != nil {
		// A half-written pair is tried again at the next look, and complained
		// about once.
		if c.failed != before {
			c.cfg.Logger.Error("the former certificate stays in use", "event", "tls_reload_failed", "error", err)
		}
		return
	}
	c.cfg.Logger.Info("certificate reloaded", "event", "tls_reloaded", "file", c.cfg.CertFile, "not_after", c.Leaf().NotAfter)
}

// load puts the pair of the files into use. A pair that is out of its time never
// takes the place of one that is not.
func (c *Certificate) load(seen [2]fs.FileInfo) error {
	pair, err := LoadPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err == nil && ValidAt(c.Leaf(), c.cfg.Now()) == nil {
		if cause := ValidAt(pair.Leaf, c.cfg.Now()); cause != nil {
			err = &PairError{File: c.cfg.CertFile, Err: cause}
		}
	}
	if err != nil {
		c.failed = err.Error()
		return err
	}
	c.failed, c.seen = "", seen
	c.current.Store(pair)
	return nil
}

// stat looks before the files are read, so that a change in between is seen at
// the next look.
func (c *Certificate) stat() [2]fs.FileInfo {
	var out [2]fs.FileInfo
	for i, name := range []string{c.cfg.CertFile, c.cfg.KeyFile} {
		if info, err := c.cfg.Stat(name); err == nil { // else reading it says what is wrong
			out[i] = info
		}
	}
	return out
}

// same reports whether a file is the one that it was, also behind a symbolic
// link that now leads elsewhere.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// ValidAt returns ErrExpired or ErrNotYetValid, with the date, for a certificate
// that is out of its time.
func ValidAt(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w: it ended on %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w: it begins on %s", ErrNotYetValid, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// LoadPair reads a certificate and its key. Its error is a *PairError.
func LoadPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, &PairError{File: certFile, Err: err}
	}
	keyPEM, err := readFile(keyFile)
	if err != nil {
		return nil, &PairError{Key: true, File: keyFile, Err: err}
	}
	pair, key, err := parsePair(certPEM, keyPEM)
	if err != nil && key {
		return nil, &PairError{Key: true, File: keyFile, Err: err}
	} else if err != nil {
		return nil, &PairError{File: certFile, Err: err}
	}
	return pair, nil
}

// parsePair decodes a pair; key reports that an error is the key's.
func parsePair(certPEM, keyPEM []byte) (pair *tls.Certificate, key bool, err error) {
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return nil, false, err
	}
	out, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, true, fmt.Errorf("not the key of this certificate: %w", err)
	}
	out.Leaf = chain[0]
	return &out, false, nil
}

// parseCertificates decodes every certificate of a PEM file, at least one.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return chain, nil
}

// maxPEM bounds what is read as a certificate or key, should the path be wrong.
const maxPEM = 1 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if n, err := io.Copy(&b, io.LimitReader(f, maxPEM+1)); err != nil {
		return nil, plain(err)
	} else if n > maxPEM {
		return nil, fmt.Errorf("more than %d bytes", maxPEM)
	}
	return b.Bytes(), nil
}

// plain takes the path out of an error whose reader names it.
func plain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
