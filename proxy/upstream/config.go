package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is what a Client runs with. The zero value is usable and has no
// connections.
type Config struct {
	// Offline: no connection is ever dialled or looked up; every request fails
	// with ErrOffline. Default false.
	Offline bool `toml:"offline"`
	// UserAgent is sent with every request that brings none of its own.
	// Default "larder".
	UserAgent string `toml:"user_agent"`
	// Proxy is the egress proxy of connections that name none: an http, https,
	// socks5 or socks5h URL, which may carry the proxy's own user information.
	// "" takes HTTP_PROXY, HTTPS_PROXY and NO_PROXY from the environment,
	// "none" goes out directly. Default "".
	Proxy string `toml:"proxy"`
	// CAFile is a PEM file of certificates trusted in addition to the
	// system's, for connections that name none. Default none.
	CAFile string `toml:"ca_file"`
	// Internal lists address blocks (CIDR) of this site that look public but
	// are not, such as its own IPv6 prefix or NAT64 prefix. They are dialled
	// only for hosts that a connection names. Default none.
	Internal []string `toml:"internal"`
	// Connections are the registries outside. Names are unique.
	Connections []Connection `toml:"connection"`

	// What follows is wiring, taken by New and ignored by Reload.

	// Logger receives breaker and pause events. nil: none.
	Logger *slog.Logger `toml:"-"`
	// Observer receives one call per attempt and per body. nil: none.
	Observer Observer `toml:"-"`
	// Now is the clock. nil: time.Now.
	Now func() time.Time `toml:"-"`
	// Random returns a number in [0,1) for jitter. nil: math/rand/v2.
	Random func() float64 `toml:"-"`
	// Resolver looks up host names. nil: net.DefaultResolver.
	Resolver Resolver `toml:"-"`
	// Dial opens a connection to an IP address and port that has passed the
	// address guard. nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `toml:"-"`
	// Getenv reads the environment. nil: os.Getenv.
	Getenv func(string) string `toml:"-"`
	// ReadFile reads certificates and secrets. nil: os.ReadFile.
	ReadFile func(string) ([]byte, error) `toml:"-"`
}

// Resolver is the part of net.Resolver that is used.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Connection is one external connection: a registry outside.
type Connection struct {
	// Name is how requests and messages call it ("public:npmjs"). Required.
	Name string `toml:"name"`
	// URL is the registry's base, http or https, without query or fragment.
	// User information in it is the same as Username and Password. Required.
	// Its scheme, host and port are the only place credentials are sent to; its
	// host may have a private or loopback address.
	URL string `toml:"url"`

	// Username and Password are sent as Basic authentication. At most one of
	// Password, PasswordFile and PasswordEnv; of files the first line counts,
	// and a file is read again when it changes.
	Username     string `toml:"username"`
	Password     string `toml:"password"`
	PasswordFile string `toml:"password_file"`
	PasswordEnv  string `toml:"password_env"`
	// Token is sent as "Authorization: Bearer". At most one of Token, TokenFile
	// and TokenEnv, and not together with Username.
	Token     string `toml:"token"`
	TokenFile string `toml:"token_file"`
	TokenEnv  string `toml:"token_env"`
	// Header are further secret header fields, such as a raw Authorization or
	// an API key. HeaderFile and HeaderEnv take the values from files and
	// environment variables.
	Header     map[string]string `toml:"header"`
	HeaderFile map[string]string `toml:"header_file"`
	HeaderEnv  map[string]string `toml:"header_env"`

	// Hosts are further hosts that redirects and metadata may name, without
	// credentials: "files.registry.example" (default port of the scheme),
	// "host:8443", "host:*" (any port), "*.cdn.example" (names below it), "*"
	// (any public host). Only an entry that spells the host out admits an
	// address that is not public. Missing: "*". An empty list: none. From https
	// only https is followed, whatever is listed.
	Hosts []string `toml:"hosts"`

	// Proxy is the egress proxy of this connection, as Config.Proxy; "" is what
	// Config.Proxy says, except for a url on loopback.
	Proxy string `toml:"proxy"`
	// CAFile is a PEM file of certificates trusted in addition to the
	// system's. Default: Config.CAFile.
	CAFile string `toml:"ca_file"`
	// ClientCert and ClientKey are PEM files of the certificate shown to the
	// connection's own host, and to no other. Both or none.
	ClientCert string `toml:"client_cert"`
	ClientKey  string `toml:"client_key"`

	// ConnectTimeout bounds lookup and TCP connect together, and the TLS
	// handshake once more. Default 5s.
	ConnectTimeout time.Duration `toml:"connect_timeout"`
	// HeaderTimeout bounds the wait for a complete response header after the
	// request was written. Default 30s.
	HeaderTimeout time.Duration `toml:"header_timeout"`
	// IdleTimeout bounds every wait for further bytes of a body. Default 60s.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// MaxConcurrent is the number of bulk bodies (Request.Identity) on the wire
	// at once; further requests wait. Documents have as many places of their
	// own, so that a checksum never waits for the file it belongs to.
	// Default 32.
	MaxConcurrent int `toml:"max_concurrent"`
	// Retries is the number of further attempts of a GET or HEAD after the
	// first; -1 is none. Default 2.
	Retries int `toml:"retries"`
	// MaxWait is the longest that one request waits in all: between attempts
	// and for a Retry-After. One that would wait longer fails at once instead.
	// Default 5s.
	MaxWait time.Duration `toml:"max_wait"`
	// BreakerFailures is the number of attempts in a row that must fail before
	// a host is no longer asked; -1 is never. Default 5.
	BreakerFailures int `toml:"breaker_failures"`
	// BreakerPause is the first time for which it is not asked; each failed
	// probe doubles it, up to 16 times. Default 5s.
	BreakerPause time.Duration `toml:"breaker_pause"`

	// Offline: this connection is never dialled. Default false.
	Offline bool `toml:"offline"`
}

// Limits that are not worth a setting.
const (
	maxRedirects    = 5
	maxURL          = 8 << 10          // bytes of a request URL or Location
	maxHeaderBytes  = 256 << 10        // bytes of one response header
	maxRetryAfter   = 5 * time.Minute  // cap on what an upstream may ask for
	maxDocument     = 512 << 20        // bytes of a decoded document when Request.MaxBytes is 0
	credentialCheck = 5 * time.Second  // how often a secret's file is looked at
	idleConnTime    = 90 * time.Second // how long an unused connection is kept
	dialStagger     = 250 * time.Millisecond
)

// withDefaults fills what is not set.
func (k Connection) withDefaults(cfg *Config) Connection {
	if k.Proxy == "" && !onLoopback(k.URL) {
		k.Proxy = cfg.Proxy
	}
	if k.CAFile == "" {
		k.CAFile = cfg.CAFile
	}
	if k.Hosts == nil {
		k.Hosts = []string{"*"}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&k.ConnectTimeout, 5 * time.Second},
		{&k.HeaderTimeout, 30 * time.Second},
		{&k.IdleTimeout, 60 * time.Second},
		{&k.MaxWait, 5 * time.Second},
		{&k.BreakerPause, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&k.MaxConcurrent, 32}, {&k.Retries, 2}, {&k.BreakerFailures, 5}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return k
}

// onLoopback reports a URL on this machine, which no egress proxy can reach.
func onLoopback(base string) bool {
	u, _, err := parseBase(base)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// String says nothing of secrets; see Connection.String.
func (cfg Config) String() string {
	return fmt.Sprintf("upstream configuration of %d connections", len(cfg.Connections))
}

// GoString is String, for %#v.
func (cfg Config) GoString() string { return cfg.String() }

// LogValue is String, for slog.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// String names the connection without its secrets, so that printing a
// configuration cannot leak them.
func (k Connection) String() string { return "connection " + k.Name }

// GoString is String, for %#v.
func (k Connection) GoString() string { return k.String() }

// LogValue is String, for slog.
func (k Connection) LogValue() slog.Value { return slog.StringValue(k.String()) }
