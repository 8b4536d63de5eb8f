package main

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"time"

	"larder/formats"
	"larder/proxy/upstream"
)

// Connection is an external connection: a registry outside. All but the first
// group and the formats' own settings are handed to proxy/upstream as they are.
type Connection struct {
	Name        string   `toml:"name"`
	Format      string   `toml:"format"`
	URL         string   `toml:"url"`
	MetadataTTL Duration `toml:"metadata_ttl"` // how long a document is served without asking again
	Offline     bool     `toml:"offline"`      // never dial this one
	Shared      bool     `toml:"shared"`       // the API may associate it although it has a credential

	// One credential: a username with one of the passwords, or one of the
	// tokens, or header fields.
	Username     string            `toml:"username"`
	Password     string            `toml:"password"`
	PasswordFile string            `toml:"password_file"`
	PasswordEnv  string            `toml:"password_env"`
	Token        string            `toml:"token"`
	TokenFile    string            `toml:"token_file"`
	TokenEnv     string            `toml:"token_env"`
	Header       map[string]string `toml:"header"`
	HeaderFile   map[string]string `toml:"header_file"`
	HeaderEnv    map[string]string `toml:"header_env"`

	// Hosts are further hosts that redirects and metadata may name. "*" is any
	// public host; an empty list is none but the registry's own.
	Hosts      []string `toml:"hosts"`
	Proxy      string   `toml:"proxy"` // egress proxy; "": [upstream], "none": direct
	CAFile     string   `toml:"ca_file"`
	ClientCert string   `toml:"client_cert"`
	ClientKey  string   `toml:"client_key"`

	ConnectTimeout  Duration `toml:"connect_timeout"`
	HeaderTimeout   Duration `toml:"header_timeout"`
	IdleTimeout     Duration `toml:"idle_timeout"`
	MaxConcurrent   int      `toml:"max_concurrent"`
	Retries         int      `toml:"retries"`
	MaxWait         Duration `toml:"max_wait"`
	BreakerFailures int      `toml:"breaker_failures"` // 0: never
	BreakerPause    Duration `toml:"breaker_pause"`

	Sumdb       string `toml:"sumdb"`        // go only
	SumdbURL    string `toml:"sumdb_url"`    // go only
	NoSumdb     string `toml:"nosumdb"`      // go only
	Scope       string `toml:"scope"`        // npm only
	OtherScopes string `toml:"other_scopes"` // npm only
}

// private reports whether a connection carries a credential that only declared
// repositories may use.
func (c *Connection) private() bool {
	secret := c.Username + c.Token + c.TokenFile + c.TokenEnv + c.ClientCert
	return !c.Shared && (secret != "" || len(c.Header)+len(c.HeaderFile)+len(c.HeaderEnv) > 0)
}

// defaultConnection holds the default of every key of a [[connection]].
func defaultConnection() Connection {
	return Connection{
		MetadataTTL:     Duration{5 * time.Minute},
		Hosts:           []string{"*"},
		ConnectTimeout:  Duration{5 * time.Second},
		HeaderTimeout:   Duration{30 * time.Second},
		IdleTimeout:     Duration{60 * time.Second},
		MaxConcurrent:   32,
		Retries:         2,
		MaxWait:         Duration{5 * time.Second},
		BreakerFailures: 5,
		BreakerPause:    Duration{5 * time.Second},
	}
}

// fillDefaults gives each connection the default of every key that doc does
// not have.
func fillDefaults(conns []Connection, doc *document) {
	def := reflect.ValueOf(defaultConnection())
	for i := range conns {
		v := reflect.ValueOf(&conns[i]).Elem()
		for f := range v.NumField() {
			key := v.Type().Field(f).Tag.Get("toml")
			if !doc.has(at("connection", i, key)) {
				v.Field(f).Set(def.Field(f))
			}
		}
	}
}

// formatKey is a setting that only one format understands.
type formatKey struct {
	key, format string
	value       *string
}

func (c *Connection) formatKeys() []formatKey {
	return []formatKey{
		{"sumdb", "go", &c.Sumdb}, {"sumdb_url", "go", &c.SumdbURL}, {"nosumdb", "go", &c.NoSumdb},
		{"scope", "npm", &c.Scope}, {"other_scopes", "npm", &c.OtherScopes},
	}
}

// Options are the format's own settings, for formats.Connection.
func (c Connection) Options() map[string]string {
	out := map[string]string{}
	for _, k := range c.formatKeys() {
		if *k.value != "" {
			out[k.key] = *k.value
		}
	}
	return out
}

// dialer is the part of the connection that proxy/upstream needs. There 0 means
// the default and less means none; here every number means itself.
func (c Connection) dialer() upstream.Connection {
	none := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	return upstream.Connection{
		Name: c.Name, URL: c.URL, Offline: c.Offline,
		Username: c.Username, Password: c.Password, PasswordFile: c.PasswordFile, PasswordEnv: c.PasswordEnv,
		Token: c.Token, TokenFile: c.TokenFile, TokenEnv: c.TokenEnv,
		Header: c.Header, HeaderFile: c.HeaderFile, HeaderEnv: c.HeaderEnv,
		Hosts: c.hosts(), Proxy: c.Proxy, CAFile: c.CAFile, ClientCert: c.ClientCert, ClientKey: c.ClientKey,
		ConnectTimeout: c.ConnectTimeout.Duration, HeaderTimeout: c.HeaderTimeout.Duration, IdleTimeout: c.IdleTimeout.Duration,
		MaxConcurrent: c.MaxConcurrent, Retries: none(c.Retries), MaxWait: c.MaxWait.Duration,
		BreakerFailures: none(c.BreakerFailures), BreakerPause: c.BreakerPause.Duration,
	}
}

// hosts are the further hosts of a connection; a checksum database that is
// written beside a Go proxy is spelled out, so it may be anywhere.
func (c Connection) hosts() []string {
	u, err := url.Parse(c.SumdbURL)
	if c.SumdbURL == "" || err != nil || u.Host == "" {
		return c.Hosts
	}
	if c.Hosts == nil {
		return []string{"*", u.Host}
	}
	return append(slices.Clone(c.Hosts), u.Host)
}

// dialer is the configuration of the only code that dials registries; logger
// and observer are the caller's to add.
func (c *Config) dialer() upstream.Config {
	agent := c.Upstream.UserAgent
	if agent == "" {
		agent = "larder/" + version()
	}
	out := upstream.Config{Offline: c.Offline(), UserAgent: agent, Proxy: c.Upstream.Proxy, CAFile: c.Upstream.CAFile, Internal: c.Upstream.Internal}
	for _, conn := range c.Connection {
		out.Connections = append(out.Connections, conn.dialer())
	}
	return out
}

// connectionOf turns a registry that a client uses into a connection: user
// information of the URL becomes a credential bound to the registry, and the
// options that are keys of a connection become those keys.
func connectionOf(format string, reg formats.Registry) Connection {
	conn := defaultConnection()
	conn.Name, conn.Format, conn.URL = reg.Name, format, reg.URL
	if u, err := url.Parse(reg.URL); err == nil && u.User != nil {
		conn.Username = u.User.Username()
		conn.Password, _ = u.User.Password()
		u.User = nil
		conn.URL = u.String()
	}
	options := maps.Clone(reg.Options)
	if token := options["token"]; token != "" && format == "cargo" {
		// Cargo's token is the whole header value, without a scheme word.
		conn.Header = map[string]string{"Authorization": token}
		delete(options, "token")
	}
	v := reflect.ValueOf(&conn).Elem()
	for f := range v.NumField() {
		key := v.Type().Field(f).Tag.Get("toml")
		if value, ok := options[key]; ok && v.Field(f).Kind() == reflect.String && !slices.Contains([]string{"name", "format", "url"}, key) {
			v.Field(f).SetString(value)
		}
	}
	return conn
}
