package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// uncommented turns the manual's "#key = value" lines into settings; prose has
// a space after "#".
func uncommented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if len(line) > 1 && line[0] == '#' && line[1] != ' ' && line[1] != '\n' {
			line = line[1:]
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestExampleConfigIsTheDefault(t *testing.T) {
	got, err := parseConfig("config.example.toml", []byte(exampleConfig))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Discovers() {
		t.Error("the example as it stands must leave the registries to discovery")
	}
	got.doc = nil
	// As text, an empty list is the same as none.
	if got, want := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", *DefaultConfig()); got != want {
		t.Errorf("config.example.toml decodes to\n%s\nthe default is\n%s", got, want)
	}
}

func TestExampleConfigHasEveryKey(t *testing.T) {
	text := uncommented(exampleConfig)
	doc, err := indexDocument("config.example.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(typ reflect.Type, prefix string)
	walk = func(typ reflect.Type, prefix string) {
		for _, key := range keysOf(typ) {
			path := join(prefix, key)
			if sub, ok := tableOf(typ, key); ok {
				if f, _ := fieldOf(typ, key); f.Kind() == reflect.Slice {
					path = at(path, 0, "")
				}
				walk(sub, path)
			} else if !doc.has(path) && !doc.has(strings.Replace(path, "[0]", "[1]", 1)) {
				t.Errorf("config.example.toml lacks %s", path)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")

	cfg, err := parseConfig("config.example.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConnection()
	want.Name, want.Format, want.URL = "public:npm", "npm", "https://registry.example/"
	if got, want := fmt.Sprintf("%+v", cfg.Connection[0]), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("the example's connection is\n%s\nthe default is\n%s", got, want)
	}
}

// TestRootExampleIsTheManual keeps the file that people look for at the top of
// the checkout the same as the one inside the program.
func TestRootExampleIsTheManual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != exampleConfig {
		t.Error("config.example.toml at the root differs from cmd/larder/config.example.toml; make it a link")
	}
}

// TestReadmeConfigs: every TOML block of the documents is a good config.
func TestReadmeConfigs(t *testing.T) {
	for _, name := range []string{"README.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			cfg, err := parseConfig(fmt.Sprintf("%s, block %d", name, i+1), []byte(block[1]))
			if err == nil {
				err = cfg.Validate()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestConfigFaults(t *testing.T) {
	const conn = "[[connection]]\nname = \"public:npm\"\nformat = \"npm\"\nurl = \"https://registry.example/\"\n"
	const repo = "[[repository]]\nname = \"main\"\nconnection = \"public:npm\"\n"
	tests := []struct {
		name, text string
		want       []string // "LINE: fragment", in order, nothing else
	}{
		{"unknown key", "lisen = \"127.0.0.1:1\"\n", []string{`1: unknown key "lisen" (did you mean "listen"?)`}},
		{"unknown key in a table", "[cache]\n\nmemmory = \"1GiB\"\n", []string{`3: unknown key "memmory" in [cache] (did you mean "memory"?)`}},
		{"key of another table", "inline_max = \"4KiB\"\n", []string{`1: unknown key "inline_max" (did you mean "inline_max" in [cache]?)`}},
		{"far key", "qqqqqqqqqqqq = 1\n", []string{`1: unknown key "qqqqqqqqqqqq" (valid keys here: listen, data, mode`}},
		{"unknown table", "[chache]\nmemory = \"1MiB\"\n", []string{`1: unknown key "chache" (did you mean "cache"?)`}},
		{"unknown key in the second connection", conn + strings.Replace(conn, "url", "ulr", 1) + repo,
			[]string{`8: unknown key "ulr" in [connection] (did you mean "url"?)`}},
		{"bad size", "[cache]\nmemory = \"512M\"\n", []string{`2: cache.memory: bad size "512M": unit "M" is not one of KiB, MiB, GiB, TiB, KB, MB, GB, TB (did you mean "512MiB"?)`}},
		{"bad size sign", "[cache]\nmemory = \"-1GiB\"\n", []string{`2: cache.memory: bad size "-1GiB"`}},
		{"negative size", "[cache]\nmemory = -1\n", []string{`2: cache.memory: -1 is negative`}},
		{"bad duration", "[limits]\nnegative_ttl = \"7days\"\n", []string{`2: limits.negative_ttl: bad duration "7days": unit "days" is not one of ms, s, m, h, d (did you mean "168h" or "7d"?)`}},
		{"number for a duration", "[limits]\nnegative_ttl = 30\n", []string{`2: limits.negative_ttl: want a duration in quotes, such as "30s" or "5m"`}},
		{"number for a text", "listen = 5273\n", []string{`1: listen: want text in quotes`}},
		{"text for a list", "external_url = \"https://larder.example\"\n", []string{`1: external_url: want a list of texts`}},
		{"table for tables", "[connection]\nname = \"x\"\n", []string{`1: connection: want tables, each under its own [[connection]]`}},
		{"several", "[limits]\nnegative_ttl = \"7days\"\ndrain = 5\n[cache]\ndisk = \"1XB\"\nfoo = 1\n",
			[]string{`2: limits.negative_ttl`, `3: limits.drain`, `5: cache.disk`, `6: unknown key "foo" in [cache]`}},
		{"syntax", "listen = \"a\nmode = 1\n", []string{`1: `}},
		{"key twice", "data = \"a\"\ndata = \"b\"\n", []string{`2: `}},
		{"bad mode", "mode = \"ofline\"\n", []string{`1: mode "ofline": want "online", "offline" (did you mean "offline"?)`}},
		{"bad listen", "listen = \"5273\"\n", []string{`1: listen "5273": want HOST:PORT`}},
		{"bad proxy network", "trusted_proxies = [\"10.0.0.0/40\"]\n", []string{`1: trusted_proxies: "10.0.0.0/40" is not`}},
		{"bad external url", "external_url = [\"larder.example\"]\n", []string{`1: external_url "larder.example": want http:// or https://`}},
		{"connection without format and url", "[[connection]]\nname = \"public:npm\"\n" + repo,
			[]string{`1: format is missing`, `1: connection "public:npm": url is missing`}},
		{"unknown format", strings.Replace(conn, `"npm"`, `"nmp"`, 1) + repo, []string{`3: format "nmp" is not one of npm, pypi, maven, go, cargo (did you mean "npm"?)`}},
		{"url with a secret", strings.Replace(conn, "https://", "https://u:sesame@", 1) + repo, []string{`4: connection "public:npm": url "https://u:xxxxx@registry.example/": credentials do not belong into a URL`}},
		{"setting of another format", conn + "sumdb = \"off\"\n" + repo, []string{`5: connection "public:npm": sumdb is a setting of format "go" only`}},
		{"two secrets", conn + "token = \"a\"\ntoken_env = \"B\"\n" + repo, []string{`6: connection "public:npm": give only one of token, token_env`}},
		{"password without a user", conn + "password = \"a\"\n" + repo, []string{`5: connection "public:npm": password needs a username`}},
		{"connection twice", conn + conn + repo, []string{`6: connection "public:npm": the name is taken by line 2`}},
		{"connection that nothing uses", conn, []string{`1: no [[repository]] uses a connection`}},
		{"repository twice", conn + repo + repo, []string{`9: name "main" is taken by line 6`}},
		{"missing connection", conn + "[[repository]]\nname = \"main\"\nconnection = \"public:nmp\"\n",
			[]string{`7: repository "main": there is no connection "public:nmp" (did you mean "public:npm"?)`}},
		{"unknown upstream", "[[repository]]\nname = \"main\"\nupstreams = [\"mian\"]\n",
			[]string{`3: repository "main": there is no upstream repository "mian" (did you mean "main"?)`}},
		{"connection as upstream", conn + "[[repository]]\nname = \"main\"\nupstreams = [\"public:npm\"]\n",
			[]string{`7: repository "main": there is no upstream repository "public:npm" ("public:npm" is a connection`}},
		{"upstreams and connection", conn + repo + "upstreams = [\"other\"]\n[[repository]]\nname = \"other\"\n",
			[]string{`7: repository "main": has upstreams and a connection`}},
		{"circle", "[[repository]]\nname = \"aa\"\nupstreams = [\"bb\"]\n[[repository]]\nname = \"bb\"\nupstreams = [\"cc\"]\n[[repository]]\nname = \"cc\"\nupstreams = [\"aa\"]\n",
			[]string{`3: upstreams go round in a circle: aa -> bb -> cc -> aa`}},
		{"own upstream", "[[repository]]\nname = \"aa\"\nupstreams = [\"aa\"]\n", []string{`3: upstreams go round in a circle: aa -> aa`}},
		{"short digest", "[[access.token]]\nname = \"ci\"\nsha256 = \"abcd\"\n", []string{`3: sha256: want 64 hex digits`}},
		{"empty token", "[[access.token]]\nname = \"ci\"\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n",
			[]string{`3: sha256: this is the digest of an empty token`}},
		{"block without a name", "[[block]]\nformat = \"npm\"\n", []string{`1: name is missing`}},
		{"bad block pattern", "[[block]]\nformat = \"npm\"\nname = \"[\"\n", []string{`3: name "[" is not a pattern`}},
		{"bad log level", "[log]\nlevel = \"warning\"\n", []string{`2: log.level "warning": want "debug", "info", "warn", "error" (did you mean "warn"?)`}},
		{"certificate without a key", "[tls]\ncert_file = \"a.pem\"\n", []string{`2: tls.cert_file and tls.key_file go together: key_file is missing`}},
		{"key without a certificate", "[tls]\n\nkey_file = \"a.pem\"\n", []string{`3: tls.cert_file and tls.key_file go together: cert_file is missing`}},
		{"bad TLS version", "[tls]\nmin_version = \"1.1\"\n", []string{`2: tls.min_version "1.1": want "1.2", "1.3" (did you mean "1.2"?)`}},
		{"TLS version as a number", "[tls]\nmin_version = 1.3\n", []string{`2: tls.min_version: want text in quotes`}},
		{"HTTP/3 as a text", "[tls]\nhttp3 = \"yes\"\n", []string{`2: tls.http3: want true or false`}},
		{"unknown key of TLS", "[tls]\ncertfile = \"a.pem\"\n", []string{`2: unknown key "certfile" in [tls] (did you mean "cert_file"?)`}},
		{"plain beside plain", "[tls]\nlisten_plain = \"127.0.0.1:80\"\n", []string{`2: tls.listen_plain needs cert_file and key_file`}},
		{"bad plain address", "[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nlisten_plain = \"80\"\n", []string{`4: tls.listen_plain "80": want HOST:PORT`}},
		{"one address twice", "listen = \"127.0.0.1:80\"\n[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nlisten_plain = \"127.0.0.1:80\"\n",
			[]string{`5: tls.listen_plain "127.0.0.1:80" is the address of listen`}},
		{"inline table", "connection = [ { name = \"public:npm\", format = \"npm\",\n url = \"ftp://registry.example\" } ]\n" + repo,
			[]string{`2: connection "public:npm": url "ftp://registry.example": want http:// or https://`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig("x.toml", []byte(tt.text))
			if err == nil {
				t.Fatalf("no error for\n%s", tt.text)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d faults, want %d:\n%s", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], "x.toml:"+want) {
					t.Errorf("fault %d is\n%s\nwant\nx.toml:%s", i, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), "sesame") {
				t.Errorf("a secret is shown: %s", err)
			}
		})
	}
}

func TestExposure(t *testing.T) {
	const token = "[[access.token]]\nname = \"ci\"\nsha256 = \"00000000000000000000000000000000000000000000000000000000000000ab\"\n"
	tests := []struct {
		text string
		ok   bool
		open bool
	}{
		{"listen = \"127.0.0.1:0\"\n", true, true},
		{"listen = \"[::1]:0\"\n", true, true},
		{"listen = \"localhost:0\"\n", true, true},
		{"listen = \"0.0.0.0:80\"\n", false, false},
		{"listen = \":80\"\n", false, false},
		{"listen = \"192.0.2.1:80\"\n[access]\nanonymous = \"none\"\n", true, false},
		{"listen = \":80\"\n[access]\nanonymous = \"read\"\n", true, true},
		{"listen = \":80\"\n" + token, true, false},
		{"listen = \"127.0.0.1:80\"\n[access]\nanonymous = \"none\"\n" + token, true, false},
		{"tls.listen_plain = \"192.0.2.1:80\"\ntls.cert_file = \"a\"\ntls.key_file = \"b\"\n", false, false},
		{"tls.listen_plain = \"192.0.2.1:80\"\ntls.cert_file = \"a\"\ntls.key_file = \"b\"\n" + token, true, false},
		{"tls.listen_plain = \"[::1]:80\"\ntls.cert_file = \"a\"\ntls.key_file = \"b\"\n", true, true},
	}
	for _, tt := range tests {
		cfg, err := parseConfig("x.toml", []byte(tt.text))
		if err != nil {
			t.Fatalf("%s: %v", tt.text, err)
		}
		err = cfg.Validate()
		if tt.ok != (err == nil) {
			t.Errorf("%q: Validate = %v, want ok %v", tt.text, err, tt.ok)
		}
		first, _, _ := strings.Cut(tt.text, " ")
		if err != nil && (!strings.Contains(err.Error(), `anonymous = "read"`) || !strings.HasPrefix(err.Error(), "x.toml:1: "+first)) {
			t.Errorf("%q: the error must name the line and what to write, got %s", tt.text, err)
		}
		if cfg.OpenRead() != tt.open {
			t.Errorf("%q: OpenRead = %v, want %v", tt.text, cfg.OpenRead(), tt.open)
		}
	}
}

func TestConnectionDefaults(t *testing.T) {
	cfg, err := parseConfig("x.toml", []byte(`
[[connection]]
name = "public:npm"
format = "npm"
url = "https://registry.example/"
retries = 0
hosts = []
metadata_ttl = "0s"

[[repository]]
name = "main"
connection = "public:npm"
`))
	if err != nil {
		t.Fatal(err)
	}
	conn := cfg.Connection[0]
	if conn.Retries != 0 || conn.Hosts == nil || len(conn.Hosts) != 0 || conn.MetadataTTL.Duration != 0 {
		t.Errorf("written zeroes must stay: %+v", conn)
	}
	if conn.MaxConcurrent != 32 || conn.ConnectTimeout.Duration != 5*time.Second {
		t.Errorf("missing keys must have defaults: %+v", conn)
	}
	if cfg.Discovers() {
		t.Error("a written repository must switch discovery off")
	}
}

func TestLoadConfigRefusesWhatIsNoFile(t *testing.T) {
	if _, err := LoadConfig(t.TempDir()); err == nil {
		t.Error("a directory was read as a config")
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "absent.toml")); err == nil {
		t.Error("an absent file was read as a config")
	}
}

// FuzzConfig: any text gives a checked config or a list of faults with lines
// inside the text, never a panic.
func FuzzConfig(f *testing.F) {
	f.Add(exampleConfig)
	f.Add(uncommented(exampleConfig))
	f.Add("[[connection]]\nname = 1\n[connection.header]\na = 2\n")
	f.Add("connection = [{name = \"a\"}, 3]\n[repository]\n")
	f.Add("a.b.c = [[{d = 1}]]\n[x.y]\nz = '''\n\n'''\n")
	f.Add("cache.memory = \"1GiB\"\n[cache]\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseConfig("x.toml", []byte(text))
		if (cfg == nil) == (err == nil) {
			t.Fatalf("parseConfig = %v, %v", cfg, err)
		}
		if faults, ok := err.(*ConfigError); ok {
			for _, fault := range faults.Faults {
				if fault.Line > strings.Count(text, "\n")+1 || fault.Message == "" {
					t.Errorf("fault %+v for %q", fault, text)
				}
			}
		}
		if cfg != nil {
			_ = cfg.Validate()
		}
	})
}
