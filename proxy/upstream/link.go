package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/http/httpproxy"
)

// link is one connection at work: its settings, what it read from files, and
// its open connections.
type link struct {
	client *Client
	cfg    Connection // with defaults
	agent  string
	base   *url.URL
	own    origin
	rules  []hostRule
	fence  *fence
	cred   *credential
	egress egress
	proxy  func(*url.URL) (*url.URL, error) // from egress; nil goes out directly
	tally  *tally

	trust    *x509.CertPool // nil: the system's
	cert     []tls.Certificate
	material []byte // digest of every file and secret that was read

	bulk, documents places
	gunzip          sync.Pool // of *gzip.Reader

	transports struct {
		sync.Mutex
		m map[transportKey]*http.Transport
	}
	gates struct {
		sync.Mutex
		m map[origin]*gate
	}
}

// egress says how a connection leaves the site.
type egress struct {
	fixed *url.URL
	env   *httpproxy.Config
}

// environment is the choice that the environment's variables make; nil when
// they name no proxy. A wrong variable must not stop the start, since it may be
// none of larder's business: it fails the requests that would use it.
func (e *egress) environment() func(*url.URL) (*url.URL, error) {
	if e.env.HTTPProxy == "" && e.env.HTTPSProxy == "" {
		return nil
	}
	for _, v := range []string{e.env.HTTPProxy, e.env.HTTPSProxy} {
		if v != "" && !strings.Contains(v, "://") {
			v = "http://" + v
		}
		if v != "" && checkProxy(v) != nil {
			return func(*url.URL) (*url.URL, error) { return nil, errEgress }
		}
	}
	return e.env.ProxyFunc()
}

func newLink(c *Client, k Connection, agent string, f *fence, t *tally) (*link, error) {
	base, user, err := parseBase(k.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	own, err := originOf(base)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	l := &link{client: c, cfg: k, agent: agent, base: base, own: own, fence: f, tally: t,
		bulk: newPlaces(k.MaxConcurrent), documents: newPlaces(k.MaxConcurrent)}
	l.transports.m = map[transportKey]*http.Transport{}
	l.gates.m = map[origin]*gate{}
	for _, h := range k.Hosts {
		r, err := parseHostRule(h)
		if err != nil {
			return nil, fmt.Errorf("hosts: %q: %w", h, err)
		}
		l.rules = append(l.rules, r)
	}
	if l.cred, err = newCredential(&l.cfg, user, &c.env); err != nil {
		return nil, err
	}
	if err := l.readCertificates(); err != nil {
		return nil, err
	}
	return l, l.chooseEgress()
}

func (l *link) chooseEgress() error {
	switch l.cfg.Proxy {
	case "none":
	case "":
		get := func(a, b string) string {
			if v := l.client.env.getenv(a); v != "" {
				return v
			}
			return l.client.env.getenv(b)
		}
		l.egress.env = &httpproxy.Config{
			HTTPProxy:  get("HTTP_PROXY", "http_proxy"),
			HTTPSProxy: get("HTTPS_PROXY", "https_proxy"),
			NoProxy:    get("NO_PROXY", "no_proxy"),
		}
		l.proxy = l.egress.environment()
	default:
		u, err := parseProxy(l.cfg.Proxy)
		if err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
		if l.own.scheme == "http" && !l.cred.empty() {
			return errors.New("proxy: the credentials of an http url would be readable by the egress proxy; use https, or proxy = \"none\"")
		}
		l.egress.fixed = u
		l.proxy = func(*url.URL) (*url.URL, error) { return u, nil }
	}
	return nil
}

func (l *link) readCertificates() error {
	sum := sha256.New()
	for _, name := range sortedHeader(l.cred.mu.built) {
		fmt.Fprintf(sum, "%s: %q\n", name, l.cred.mu.built[name])
	}
	if l.cfg.CAFile != "" {
		pem, err := l.client.env.readFile(l.cfg.CAFile)
		if err != nil {
			return fmt.Errorf("ca_file: read certificates: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca_file: %s holds no PEM certificate", l.cfg.CAFile)
		}
		l.trust = pool
		sum.Write(pem)
	}
	if l.cfg.ClientCert != "" {
		certPEM, err := l.client.env.readFile(l.cfg.ClientCert)
		if err != nil {
			return fmt.Errorf("client_cert: read certificate: %w", err)
		}
		keyPEM, err := l.client.env.readFile(l.cfg.ClientKey)
		if err != nil {
			return fmt.Errorf("client_key: read key: %w", err)
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return fmt.Errorf("client_cert: %w", err)
		}
		l.cert = []tls.Certificate{pair}
		sum.Write(certPEM)
		sum.Write(keyPEM)
	}
	l.material = sum.Sum(nil)
	return nil
}

func sortedHeader(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// permit decides whether the connection may ask o. The error is a reason for a
// person.
func (l *link) permit(o origin) error {
	if o == l.own {
		return nil
	}
	if l.own.scheme == "https" && o.scheme == "http" {
		return errors.New("https is never left for http")
	}
	admitted, named := false, false
	for _, r := range l.rules {
		ok, exact := r.match(o)
		admitted, named = admitted || ok, named || exact
	}
	if !admitted {
		return errors.New("its host is not among the connection's hosts")
	}
	if named {
		return nil
	}
	if a, ok := o.literal(); ok {
		if !l.fence.public(a) {
			return errors.New("its address is not public and the connection does not name it")
		}
		return nil
	}
	if insideName(o.host) {
		return errors.New("its host name is not a public one and the connection does not name it")
	}
	return nil
}

// names reports whether the connection spells out this host and port.
func (l *link) names(host string, port uint16) bool {
	if host == l.own.host && port == l.own.port {
		return true
	}
	for _, r := range l.rules {
		if r.host != "" && r.host == host && (r.anyPort || r.port == port || r.port == 0 && (port == 80 || port == 443)) {
			return true
		}
	}
	return false
}

func (l *link) closeIdle() {
	l.transports.Lock()
	defer l.transports.Unlock()
	for _, t := range l.transports.m {
		t.CloseIdleConnections()
	}
}

// places is a counting semaphore.
type places chan struct{}

func newPlaces(n int) places { return make(places, n) }
