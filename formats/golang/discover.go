package golang

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"larder/formats"
)

// example is what to write when nothing was found.
const example = `[[connection]]
name = "public:go-proxy"
format = "go"
url = "https://registry.example/"

[connection.options]
sumdb = "registry.example"
`

// Setup points go at an endpoint. GOSUMDB stays as it is: go asks the database
// through the proxy, which relays the one that was discovered.
func (*Format) Setup(base string) string { return "go env -w GOPROXY=" + strings.TrimSuffix(base, "/") }

// setting is the value of one go environment variable and where it was read.
type setting struct{ value, where string }

// Discover reads GOPROXY, GOSUMDB and their relatives with the precedence of
// the go command (cmd/go/internal/cfg): environment, the file that go env -w
// writes, $GOROOT/go.env; then what go env itself says.
func (f *Format) Discover(ctx context.Context, m formats.Machine) formats.Finding {
	finding := formats.Finding{Example: example}
	env := environment{m: m, goroot: findRoot(m)}
	env.user = parseEnv(env.read(userEnvFile(m)))
	env.root = parseEnv(env.read(rootFile(env.goroot, "go.env")))
	proxy, ok := env.lookup("GOPROXY")
	if !ok {
		env.asked = askGo(ctx, m)
		proxy, ok = env.lookup("GOPROXY")
	}
	if !ok {
		finding.Missing = "GOPROXY is not set, and there is no go command to ask"
		return finding
	}
	finding.Where = "GOPROXY in " + proxy.where
	urls, skipped := splitProxies(proxy.value)
	if len(urls) == 0 {
		finding.Missing = fmt.Sprintf("GOPROXY in %s names no proxy (%s)", proxy.where, strings.Join(skipped, "; "))
		return finding
	}
	options := databaseOptions(m, &env)
	credentials := readNetrc(m)
	for i, u := range urls {
		if login, ok := credentials[u.Hostname()]; ok && u.User == nil {
			u.User = url.UserPassword(login.user, login.password)
		}
		registry := formats.Registry{Name: "public:go-proxy", Store: "go-store", URL: u.String(), Options: options}
		if i > 0 {
			registry.Name = fmt.Sprintf("%s-%d", registry.Name, i+1)
			registry.Store = fmt.Sprintf("%s-%d", registry.Store, i+1)
		}
		finding.Registries = append(finding.Registries, registry)
	}
	finding.Example = ""
	return finding
}

// environment is the go command's view of its settings.
type environment struct {
	m      formats.Machine
	goroot string
	user   map[string]string // file written by go env -w
	root   map[string]string // $GOROOT/go.env
	asked  map[string]string // go env -json
}

func (e *environment) read(path string) []byte {
	if path == "" {
		return nil
	}
	data, err := e.m.ReadFile(path)
	if err != nil {
		return nil // an absent file is the usual case
	}
	return data
}

// lookup treats an empty variable as unset, as go does.
func (e *environment) lookup(key string) (setting, bool) {
	if v := e.m.Getenv(key); v != "" {
		return setting{v, "the environment"}, true
	}
	if v := e.user[key]; v != "" {
		return setting{v, "the file of go env -w"}, true
	}
	if v := e.root[key]; v != "" {
		return setting{v, "the toolchain's go.env"}, true
	}
	if v := e.asked[key]; v != "" {
		return setting{v, "go env"}, true
	}
	return setting{}, false
}

// userEnvFile is $GOENV, or go/env in the user's configuration directory
// (os.UserConfigDir).
func userEnvFile(m formats.Machine) string {
	switch file := m.Getenv("GOENV"); file {
	case "off":
		return ""
	case "":
	default:
		return file
	}
	dir := m.Getenv("XDG_CONFIG_HOME")
	switch runtime.GOOS {
	case "windows":
		dir = m.Getenv("AppData")
	case "darwin", "ios":
		dir = filepath.Join(m.Home(), "Library", "Application Support")
	default:
		if dir == "" && m.Home() != "" {
			dir = filepath.Join(m.Home(), ".config")
		}
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "go", "env")
}

// findRoot is $GOROOT, or the directory above the one that holds the go command.
func findRoot(m formats.Machine) string {
	if root := m.Getenv("GOROOT"); root != "" {
		return root
	}
	bin, err := m.LookPath("go")
	if err != nil || filepath.Base(filepath.Dir(bin)) != "bin" {
		return ""
	}
	return filepath.Dir(filepath.Dir(bin))
}

func rootFile(goroot string, elem ...string) string {
	if goroot == "" {
		return ""
	}
	return filepath.Join(append([]string{goroot}, elem...)...)
}

// parseEnv reads KEY=VALUE lines; "#" begins a comment line and values are not
// quoted (cmd/go/internal/cfg, readEnvFile).
func parseEnv(data []byte) map[string]string {
	out := make(map[string]string)
	for line := range strings.SplitSeq(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" || key[0] < 'A' || key[0] > 'Z' {
			continue
		}
		out[key] = value
	}
	return out
}

// askGo starts the go command, for toolchains before 1.21, which have no go.env
// file. It must not fetch another toolchain for that.
func askGo(ctx context.Context, m formats.Machine) map[string]string {
	if _, err := m.LookPath("go"); err != nil {
		return nil
	}
	out, err := m.Run(ctx, []string{"GOTOOLCHAIN=local"}, "go", "env", "-json", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOROOT")
	start, end := strings.IndexByte(out, '{'), strings.LastIndexByte(out, '}')
	if err != nil || start < 0 || end < start {
		return nil
	}
	var values map[string]string
	if json.Unmarshal([]byte(out[start:end+1]), &values) != nil {
		return nil
	}
	return values
}

// splitProxies takes GOPROXY apart (go.dev/ref/mod, "Module cache and proxies").
// "direct" and "off" end the list; an entry without a scheme is a host for
// https, unless it is a path.
func splitProxies(list string) (urls []*url.URL, skipped []string) {
	seen := make(map[string]bool)
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '|' }) {
		entry = strings.TrimSpace(entry)
		switch entry {
		case "":
			continue
		case "direct", "off":
			return urls, append(skipped, entry+" ends the list")
		case "noproxy":
			skipped = append(skipped, entry+" is not a proxy")
			continue
		}
		if !strings.Contains(entry, ":/") && !filepath.IsAbs(entry) {
			entry = "https://" + entry
		}
		u, err := url.Parse(entry)
		switch {
		case err != nil:
			skipped = append(skipped, "an entry is not a URL")
			continue
		case u.Scheme == "file":
			skipped = append(skipped, "file:// is a directory of this machine, not a registry")
			continue
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			skipped = append(skipped, fmt.Sprintf("%q is neither http nor https", u.Redacted()))
			continue
		}
		u.RawQuery, u.Fragment = "", ""
		if !strings.HasSuffix(u.Path, "/") {
			u = u.JoinPath("/")
		}
		if !seen[u.String()] {
			seen[u.String()] = true
			urls = append(urls, u)
		}
	}
	return urls, skipped
}

// databaseOptions turns GOSUMDB, GONOSUMDB and GOPRIVATE into connection
// options. A bare well-known name gets its verifier key from the toolchain.
func databaseOptions(m formats.Machine, env *environment) map[string]string {
	options := make(map[string]string)
	private, ok := env.lookup("GONOSUMDB")
	if !ok {
		private, ok = env.lookup("GOPRIVATE")
	}
	if ok {
		options[OptNoSumDB] = private.value
	}
	sumdb, ok := env.lookup("GOSUMDB")
	if !ok {
		return options
	}
	known := knownDatabases(m, env.goroot)
	value := sumdb.value
	if alias, ok := known.aliases[value]; ok {
		value = alias
	}
	fields := strings.Fields(value)
	if len(fields) == 0 || len(fields) > 2 {
		return options
	}
	if key, ok := known.keys[fields[0]]; ok {
		fields[0] = key
	}
	options[OptSumDB] = fields[0]
	if len(fields) == 2 {
		options[OptSumDBURL] = fields[1]
	}
	return options
}

type login struct{ user, password string }

// readNetrc reads $NETRC or ~/.netrc, from which go takes credentials for
// proxies (go.dev/ref/mod, "Passing credentials to private proxies").
func readNetrc(m formats.Machine) map[string]login {
	name := ".netrc"
	if runtime.GOOS == "windows" {
		name = "_netrc"
	}
	file := m.Getenv("NETRC")
	if file == "" && m.Home() != "" {
		file = filepath.Join(m.Home(), name)
	}
	if file == "" {
		return nil
	}
	data, err := m.ReadFile(file)
	if err != nil {
		return nil // no such file, the usual case
	}
	return parseNetrc(string(data))
}

// parseNetrc reads "machine H login U password P"; a macro runs to the next
// blank line.
func parseNetrc(text string) map[string]login {
	out := make(map[string]login)
	host, inMacro := "", false
	var current login
	flush := func() {
		if host != "" && current.user != "" {
			if _, dup := out[host]; !dup {
				out[host] = current
			}
		}
		host, current = "", login{}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if inMacro {
			inMacro = strings.TrimSpace(line) != ""
			continue
		}
		fields := strings.Fields(line)
		for i := 0; i < len(fields); i++ {
			word := fields[i]
			if word == "default" {
				flush() // go does not use it
				continue
			}
			if i+1 == len(fields) {
				break
			}
			switch word {
			case "machine":
				flush()
				host = fields[i+1]
			case "login":
				current.user = fields[i+1]
			case "password":
				current.password = fields[i+1]
			case "macdef":
				inMacro = true
			default:
				continue
			}
			i++
		}
	}
	flush()
	return out
}
