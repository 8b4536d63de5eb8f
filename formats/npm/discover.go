package npm

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"larder/formats"
)

// Names by which CodeArtifact knows the role of the default registry.
const (
	defaultName  = "public:npmjs"
	defaultStore = "npm-store"
)

// Options of a discovered registry that say how to reach it. The composer of
// the configuration turns them into the connection's own keys.
const (
	optToken      = "token"       // bearer token
	optClientCert = "client_cert" // PEM file
	optClientKey  = "client_key"  // PEM file
	optCAFile     = "ca_file"     // PEM file
	optProxy      = "proxy"       // egress proxy's URL
)

const example = `[[connection]]
name = "public:npmjs"
format = "npm"
url = "https://registry.example/"

[[repository]]
name = "npm-store"
connection = "public:npmjs"
`

// Setup is the line that points npm, pnpm and Bun at an endpoint. Yarn 4 wants
// npmRegistryServer instead.
func (f *Format) Setup(base string) string {
	return "npm config set registry " + strings.TrimSuffix(base, "/") + "/"
}

// Discover reads npm's effective configuration in npm's own order: environment,
// user, global and builtin npmrc, then the default in npm's installed files. A
// project's .npmrc is passed over: a server's working directory is no project.
// Only if files do not tell, npm, pnpm or Yarn is started.
func (f *Format) Discover(ctx context.Context, m formats.Machine) formats.Finding {
	s := readSettings(m)
	where, address := s.registry()
	if address == "" {
		where, address = builtinDefault(m, s.root)
	}
	if address == "" {
		where, address = askClient(ctx, m)
	}
	if address == "" {
		return formats.Finding{
			Missing: "no npm, pnpm, Yarn or Bun on this machine says which registry it uses",
			Example: example,
		}
	}
	scopes := s.scopes(address)
	names := slices.Sorted(maps.Keys(scopes))
	main := s.describe(formats.Registry{Name: defaultName, Store: defaultStore, URL: address})
	if len(names) > 0 {
		main.Options[optOtherScopes] = strings.Join(names, ",")
	}
	found := formats.Finding{Registries: []formats.Registry{main}, Where: where}
	for _, scope := range names {
		r := s.describe(formats.Registry{
			Name:  "npm:" + storeWord(scope),
			Store: "npm-" + storeWord(scope) + "-store",
			URL:   scopes[scope],
		})
		r.Options[optScope] = scope
		found.Registries = append(found.Registries, r)
	}
	return found
}

// layer is one source of settings.
type layer struct {
	where string
	rc    npmrc
}

// settings are all sources, the strongest first.
type settings struct {
	m      formats.Machine
	root   string // npm's own folder, "" if npm is not installed
	layers []layer
}

// readSettings reads npm's files in the order in which each may move the next
// (@npmcli/config: user before global, builtin beneath).
func readSettings(m formats.Machine) *settings {
	s := &settings{m: m, root: npmRoot(m)}
	read := func(path string) npmrc {
		if path == "" {
			return nil
		}
		b, err := m.ReadFile(path)
		if err != nil {
			return nil
		}
		return parseNpmrc(b, m.Getenv)
	}
	var builtin npmrc
	if s.root != "" {
		builtin = read(filepath.Join(s.root, "npmrc"))
	}
	user := read(cmp.Or(s.env("userconfig"), builtin["userconfig"], filepath.Join(m.Home(), ".npmrc")))
	prefix := cmp.Or(s.env("prefix"), user["prefix"], builtin["prefix"], nodePrefix(m))
	global := cmp.Or(s.env("globalconfig"), user["globalconfig"], builtin["globalconfig"])
	if global == "" && prefix != "" {
		global = filepath.Join(prefix, "etc", "npmrc")
	}
	s.layers = []layer{{"user npmrc", user}, {"global npmrc", read(global)}, {"builtin npmrc", builtin}}
	return s
}

// env reads npm_config_KEY in the spellings that are in use; npm itself ignores
// case.
func (s *settings) env(key string) string {
	return cmp.Or(s.m.Getenv("npm_config_"+key), s.m.Getenv("NPM_CONFIG_"+strings.ToUpper(key)),
		s.m.Getenv("npm_config_"+strings.ToUpper(key)), s.m.Getenv("NPM_CONFIG_"+key))
}

// get finds a setting; keys that begin with "//" keep their case in the
// environment.
func (s *settings) get(key string) string {
	if strings.HasPrefix(key, "//") {
		if v := cmp.Or(s.m.Getenv("npm_config_"+key), s.m.Getenv("NPM_CONFIG_"+key)); v != "" {
			return v
		}
	} else if v := s.env(strings.ReplaceAll(key, "-", "_")); v != "" {
		return v
	}
	for _, l := range s.layers {
		if v := l.rc[key]; v != "" {
			return v
		}
	}
	return ""
}

// registry returns the first usable registry address that is configured, by
// npm or by another client, and where.
func (s *settings) registry() (where, address string) {
	if a := registryURL(s.env("registry")); a != "" {
		return "npm config (environment npm_config_registry)", a
	}
	for _, l := range s.layers {
		if a := registryURL(l.rc["registry"]); a != "" {
			return "npm config (" + l.where + ")", a
		}
	}
	for _, key := range [...]string{"YARN_NPM_REGISTRY_SERVER", "YARN_REGISTRY", "BUN_CONFIG_REGISTRY"} {
		if a := registryURL(s.m.Getenv(key)); a != "" {
			return "environment " + key, a
		}
	}
	for _, c := range otherConfigs() {
		b, err := s.m.ReadFile(filepath.Join(s.m.Home(), c.file))
		if err != nil {
			continue
		}
		if hit := c.pattern.FindSubmatch(b); hit != nil {
			if a := registryURL(string(hit[1])); a != "" {
				return "user " + c.file, a
			}
		}
	}
	return "", ""
}

// otherConfig is a home file of another client and the line of it that names
// the default registry.
type otherConfig struct {
	file    string
	pattern *regexp.Regexp
}

func otherConfigs() []otherConfig {
	return []otherConfig{
		{".yarnrc.yml", regexp.MustCompile(`(?m)^npmRegistryServer:\s*["']?([^"'\s]+)`)},
		{".yarnrc", regexp.MustCompile(`(?m)^registry\s+["']?([^"'\s]+)`)},
		{".bunfig.toml", regexp.MustCompile(`(?m)^\s*registry\s*=\s*["']([^"'\s]+)["']`)},
	}
}

// scopes returns the registries of scopes that differ from the default one.
func (s *settings) scopes(main string) map[string]string {
	out := map[string]string{}
	for _, l := range slices.Backward(s.layers) {
		for key, val := range l.rc {
			scope, ok := strings.CutSuffix(key, ":registry")
			if !ok || !strings.HasPrefix(scope, "@") || !validPart(scope[1:]) {
				continue
			}
			if a := registryURL(val); a != "" {
				out[scope] = a
			}
		}
	}
	maps.DeleteFunc(out, func(_, a string) bool { return a == main })
	return out
}

// describe adds what is needed to reach a registry: user and password as the
// URL's user information, everything else as options.
func (s *settings) describe(r formats.Registry) formats.Registry {
	r.Options = map[string]string{}
	set := func(key, val string) {
		if val != "" {
			r.Options[key] = val
		}
	}
	set(optCAFile, s.get("cafile"))
	proxy := cmp.Or(s.get("https-proxy"), s.get("proxy"))
	if u, err := url.Parse(proxy); err == nil && u.Host != "" {
		set(optProxy, proxy)
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.User != nil {
		return r
	}
	c := credentialFor(u.Host, u.Path, s.get)
	set(optToken, c.token)
	set(optClientCert, c.certFile)
	set(optClientKey, c.keyFile)
	if c.user != "" {
		u.User = url.UserPassword(c.user, c.password)
		r.URL = u.String()
	}
	return r
}

// registryURL normalises a registry address; "" if it is none, or if it is an
// npm endpoint of a larder on this machine, which the Setup line leaves behind
// and which would make the node its own upstream.
func registryURL(s string) string {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return ""
	}
	if h := u.Hostname(); strings.HasPrefix(u.Path, "/"+ID+"/") {
		if ip := net.ParseIP(h); h == "localhost" || ip != nil && ip.IsLoopback() {
			return ""
		}
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/", ""
	return u.String()
}

// storeWord makes a scope fit the names of a connection and a repository, which
// have letters, digits and a few signs, at most 100.
func storeWord(scope string) string {
	word := strings.Trim(strings.Map(func(r rune) rune {
		if r < 0x80 && alnum(byte(r)) {
			return r
		}
		return '-'
	}, strings.ToLower(scope)), "-")
	return word[:min(len(word), 80)]
}
