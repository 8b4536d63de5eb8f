package main

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"larder/policy"
)

// Config is the whole of larder.toml. Every key has a default, so an empty file
// is a good one. config.example.toml shows each key with its default.
type Config struct {
	// Listen is the address to serve on, HOST:PORT. Port 0 picks a free one.
	Listen string `toml:"listen"`
	// Data is the directory of the store. Made if absent.
	Data string `toml:"data"`
	// Mode is "online", or "offline": never dial an upstream.
	Mode string `toml:"mode"`
	// Domain names the default domain, Owner its 12-digit account number.
	Domain string `toml:"domain"`
	Owner  string `toml:"owner"`
	// Site is the name that all nodes of a site share: tokens of one are good at
	// the others. Region stands in ARNs.
	Site   string `toml:"site"`
	Region string `toml:"region"`
	// LocalTags lets a dist-tag that was set here win over the upstream's of the
	// same name.
	LocalTags bool `toml:"local_tags"`
	// ExternalURL lists the base URLs under which clients reach this node. The
	// one whose host is the request's Host wins, else the first. Empty: scheme
	// and host of the request itself.
	ExternalURL []string `toml:"external_url"`
	// TrustedProxies are addresses or networks whose Forwarded and X-Forwarded-*
	// headers are believed.
	TrustedProxies []string `toml:"trusted_proxies"`

	TLS        TLSConfig          `toml:"tls"`
	Cache      CacheConfig        `toml:"cache"`
	Limits     LimitsConfig       `toml:"limits"`
	Access     AccessConfig       `toml:"access"`
	Log        LogConfig          `toml:"log"`
	Upstream   UpstreamConfig     `toml:"upstream"`
	Events     EventsConfig       `toml:"events"`
	User       []User             `toml:"user"`
	Policy     []PolicyConfig     `toml:"policy"`
	Role       []Role             `toml:"role"`
	Provider   []IdentityProvider `toml:"identity_provider"`
	Block      []policy.Block     `toml:"block"`
	Connection []Connection       `toml:"connection"`
	Repository []Repository       `toml:"repository"`

	doc *document // where each key stands; nil without a file
}

// CacheConfig sizes the tiers.
type CacheConfig struct {
	Memory     Size `toml:"memory"`      // hot tier; 0 switches it off
	Disk       Size `toml:"disk"`        // all of the store; 0: all but Reserve
	Reserve    Size `toml:"reserve"`     // free space never used; 0: 1 GiB or 5 %, the smaller
	InlineMax  Size `toml:"inline_max"`  // largest blob kept beside its index entry
	BlockCache Size `toml:"block_cache"` // memory for the store's own blocks
}

// LimitsConfig bounds what a request or an upstream may cost.
type LimitsConfig struct {
	MetadataMax          Size     `toml:"metadata_max"`           // largest upstream document, decoded
	ArtifactMax          Size     `toml:"artifact_max"`           // largest artifact; 0: none
	RevalidateBudget     Duration `toml:"revalidate_budget"`      // how long a client waits before the stale answer
	NegativeTTL          Duration `toml:"negative_ttl"`           // how long "no such package" is kept
	RequestHeaderTimeout Duration `toml:"request_header_timeout"` // to receive a request's header
	IdleTimeout          Duration `toml:"idle_timeout"`           // keep-alive connections
	Drain                Duration `toml:"drain"`                  // for running requests after SIGTERM
}

// AccessConfig says who may read.
type AccessConfig struct {
	// Anonymous is "loopback" (open only if listening on loopback), "read" or
	// "none".
	Anonymous string        `toml:"anonymous"`
	Token     []AccessToken `toml:"token"`
}

// AccessToken is a robot credential. Only its SHA-256 is written down.
type AccessToken struct {
	Name     string   `toml:"name"`
	SHA256   string   `toml:"sha256"`   // 64 hex digits: printf %s "$TOKEN" | sha256sum
	Policies []string `toml:"policies"` // names; none: read
}

// User is somebody whose access keys "larder credential" makes, with the
// policies that say what they may do.
type User struct {
	Name     string   `toml:"name"`
	Account  string   `toml:"account"`  // 12 digits; "": owner
	Policies []string `toml:"policies"` // admin, publish, read, or names of [[policy]]
}

// Role is what a build job assumes with a token of its identity provider.
type Role struct {
	Name       string   `toml:"name"`
	Account    string   `toml:"account"`
	Policies   []string `toml:"policies"`
	MaxSession Duration `toml:"max_session"` // 15m to 12h
	Trust      []Trust  `toml:"trust"`       // any one suffices
}

// Trust is what a token must say so that its bearer may assume a role.
type Trust struct {
	Issuer string              `toml:"issuer"` // url of an [[identity_provider]]
	Claims map[string][]string `toml:"claims"` // all must match; * and ? in values
}

// IdentityProvider issues OIDC tokens that roles trust.
type IdentityProvider struct {
	URL        string   `toml:"url"`        // "iss", compared byte by byte
	Audiences  []string `toml:"audiences"`  // what "aud" may be
	Algorithms []string `toml:"algorithms"` // none: RS256 and ES256
	JWKSFile   string   `toml:"jwks_file"`  // key set of a cut-off site; "": by discovery
	CAFile     string   `toml:"ca_file"`    // PEM, trusted besides the system's
}

// PolicyConfig is an identity policy.
type PolicyConfig struct {
	Name     string `toml:"name"`
	Document string `toml:"document"` // IAM JSON
	File     string `toml:"file"`     // or a file that holds it
}

// EventsConfig says where package version events go, as JSON lines.
type EventsConfig struct {
	File            string `toml:"file"` // appended to
	Stdout          bool   `toml:"stdout"`
	Webhook         string `toml:"webhook"`           // URL, POSTed one by one
	WebhookTokenEnv string `toml:"webhook_token_env"` // variable with a bearer token for it
}

// LogConfig says what is logged and how. Logs go to standard error.
type LogConfig struct {
	Level  string `toml:"level"`  // debug, info, warn, error
	Format string `toml:"format"` // text, json
	Access string `toml:"access"` // stderr, off, or a file to append to
}

// UpstreamConfig holds what all connections share unless they say otherwise.
type UpstreamConfig struct {
	Proxy     string   `toml:"proxy"`      // egress proxy; "": environment, "none": direct
	CAFile    string   `toml:"ca_file"`    // PEM file, trusted besides the system's
	UserAgent string   `toml:"user_agent"` // "": larder and its version
	Internal  []string `toml:"internal"`   // networks of this site that look public
}

// Repository is a named place in the domain: it fronts one connection, or
// gathers upstream repositories in order.
type Repository struct {
	Name        string   `toml:"name"`
	Description string   `toml:"description"`
	Upstreams   []string `toml:"upstreams"`
	Connection  string   `toml:"connection"`
	Offline     bool     `toml:"offline"`
	Anonymous   string   `toml:"anonymous"` // "": as [access] says; "read", "none"

	found bool // entered by Apply, not by a person
}

// DefaultConfig is what larder runs with when nothing is written: the domain
// main with the empty repository main, which Apply fills from discovery.
func DefaultConfig() *Config {
	return &Config{
		Listen: "127.0.0.1:5273",
		Data:   "larder-data",
		Mode:   "online",
		Domain: "main",
		Owner:  "000000000000",
		Site:   "larder",
		Region: "local",
		Cache: CacheConfig{
			Memory:     256 << 20,
			InlineMax:  256 << 10,
			BlockCache: 128 << 20,
		},
		TLS: TLSConfig{MinVersion: "1.2", HTTP3: true},
		Limits: LimitsConfig{
			MetadataMax:          256 << 20,
			RevalidateBudget:     Duration{time.Second},
			NegativeTTL:          Duration{30 * time.Second},
			RequestHeaderTimeout: Duration{10 * time.Second},
			IdleTimeout:          Duration{2 * time.Minute},
			Drain:                Duration{30 * time.Second},
		},
		Access:     AccessConfig{Anonymous: "loopback"},
		Log:        LogConfig{Level: "info", Format: "text", Access: "stderr"},
		Repository: []Repository{{Name: "main", Description: "everything this node can reach"}},
	}
}

// StoreDir is where the store lives inside the data directory.
func (c *Config) StoreDir() string { return storeDir(c.Data) }

func storeDir(data string) string { return filepath.Join(data, "store") }

// Discovers reports whether the registries are to be learned from this machine:
// nothing is written about connections or repositories.
func (c *Config) Discovers() bool {
	return c.doc == nil || !c.doc.has("connection[0]") && !c.doc.has("repository[0]")
}

// Offline reports whether no upstream may ever be dialled.
func (c *Config) Offline() bool { return c.Mode == "offline" }

// OpenTo reports whether a repository may be read without a credential.
func (c *Config) OpenTo(r Repository) bool {
	switch r.Anonymous {
	case "read":
		return true
	case "none":
		return false
	}
	return c.OpenRead()
}

// OpenRead reports whether reading needs no credential where a repository does
// not say otherwise.
func (c *Config) OpenRead() bool {
	return c.Access.Anonymous == "read" || c.Access.Anonymous == "loopback" && isLoopback(c.Listen) &&
		(c.TLS.ListenPlain == "" || isLoopback(c.TLS.ListenPlain))
}

// Proxies parses TrustedProxies; Validate has checked them.
func (c *Config) Proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range c.TrustedProxies {
		if p, err := parseNetwork(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// parseNetwork accepts a CIDR prefix or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// isLoopback reports whether a listen address can be reached from this machine
// only.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}
