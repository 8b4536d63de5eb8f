package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"larder/proxy/listener"
)

// TLSConfig makes the node speak TLS.
type TLSConfig struct {
	CertFile    string `toml:"cert_file"`    // PEM: the certificate, then intermediates; "": plain HTTP
	KeyFile     string `toml:"key_file"`     // PEM: its private key
	MinVersion  string `toml:"min_version"`  // oldest version accepted: "1.2" or "1.3"
	HTTP3       bool   `toml:"http3"`        // QUIC on the UDP port of the same number
	ListenPlain string `toml:"listen_plain"` // a second address, for plain HTTP; "": none
}

// On reports whether a certificate is configured.
func (t TLSConfig) On() bool { return t.CertFile != "" }

// fixed is what only a restart can change: all but the paths of a certificate
// that is there before and after.
func (t TLSConfig) fixed() TLSConfig {
	t.KeyFile = ""
	if t.On() {
		t.CertFile = "on"
	}
	return t
}

// keptFrom is t with what only a restart can change taken from was.
func (t TLSConfig) keptFrom(was TLSConfig) TLSConfig {
	if t.On() && was.On() {
		was.CertFile, was.KeyFile = t.CertFile, t.KeyFile
	}
	return was
}

// checkTLS checks the keys; what stands in the files is left to checkFiles.
func (c *Config) checkTLS(faults *ConfigError) {
	fault := c.reporter(faults)
	oneOf(fault, "tls.min_version", c.TLS.MinVersion, "1.2", "1.3")
	if c.TLS.CertFile != "" && c.TLS.KeyFile == "" {
		fault("tls.cert_file", "tls.cert_file and tls.key_file go together: key_file is missing")
	}
	if c.TLS.KeyFile != "" && c.TLS.CertFile == "" {
		fault("tls.key_file", "tls.cert_file and tls.key_file go together: cert_file is missing")
	}
	if c.TLS.ListenPlain == "" {
		return
	}
	checkAddress(fault, "tls.listen_plain", c.TLS.ListenPlain)
	_, port, _ := net.SplitHostPort(c.TLS.ListenPlain)
	switch {
	case !c.TLS.On() && c.TLS.KeyFile == "":
		fault("tls.listen_plain", "tls.listen_plain needs cert_file and key_file; without them listen itself is plain HTTP")
	case c.TLS.ListenPlain == c.Listen && port != "0":
		fault("tls.listen_plain", "tls.listen_plain %q is the address of listen", c.TLS.ListenPlain)
	}
}

// checkFiles reads the certificate and its key: whether they are there, belong
// together and are in their time.
func (c *Config) checkFiles(now time.Time) error {
	if !c.TLS.On() {
		return nil
	}
	pair, err := listener.LoadPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err == nil {
		if cause := listener.ValidAt(pair.Leaf, now); cause != nil {
			err = &listener.PairError{File: c.TLS.CertFile, Err: cause}
		}
	}
	if err != nil {
		return c.pairFault(err)
	}
	return nil
}

// pairFault says which key of the config names the file at fault.
func (c *Config) pairFault(err error) error {
	faults := &ConfigError{}
	if c.doc != nil {
		faults.File = c.doc.file
	}
	key := "tls.cert_file"
	if pair, ok := errors.AsType[*listener.PairError](err); ok && pair.Key {
		key = "tls.key_file"
	}
	faults.add(c.doc.lineOf(key), "%s: %s", key, err)
	return faults
}

// listen binds the node's sockets; the certificate is nil for plain HTTP.
func (c *Config) listen(log *slog.Logger) (*listener.Listener, *listener.Certificate, error) {
	var cert *listener.Certificate
	if c.TLS.On() {
		var err error
		if cert, err = listener.NewCertificate(listener.CertificateConfig{CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, Logger: log}); err != nil {
			return nil, nil, c.pairFault(err)
		}
	}
	version := uint16(tls.VersionTLS12)
	if c.TLS.MinVersion == "1.3" {
		version = tls.VersionTLS13
	}
	ln, err := listener.New(listener.Config{
		Address: c.Listen, Plain: c.TLS.ListenPlain, Certificate: cert, MinVersion: version, HTTP3: c.TLS.HTTP3,
		HeaderTimeout: c.Limits.RequestHeaderTimeout.Duration, IdleTimeout: c.Limits.IdleTimeout.Duration,
		MaxHeaderBytes: 64 << 10, Logger: log,
	})
	return ln, cert, err
}

// watchCertificate lets an alarm know the end of a certificate before clients
// do.
func watchCertificate(reg *prometheus.Registry, cert *listener.Certificate) {
	if cert == nil {
		return
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "larder_tls_certificate_not_after_seconds",
		Help: "When the certificate in use ends, in seconds since 1970.",
	}, func() float64 { return float64(cert.Leaf().NotAfter.Unix()) }))
}
