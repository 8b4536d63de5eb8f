package golang

import (
	"context"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"larder/formats"
	"larder/formats/golang/golangtest"
)

// machine is a computer made of maps.
type machine struct {
	env   map[string]string
	files map[string]string
	bin   map[string]string // command -> resolved path
	out   string            // what every command prints
	runs  []string
}

func (m *machine) Getenv(key string) string { return m.env[key] }
func (m *machine) Home() string             { return "/home/u" }
func (m *machine) Glob(string) []string     { return nil }
func (m *machine) TempDir() string          { return "/tmp/empty" }

func (m *machine) ReadFile(path string) ([]byte, error) {
	text, ok := m.files[filepath.ToSlash(path)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (m *machine) LookPath(name string) (string, error) {
	if p, ok := m.bin[name]; ok {
		return p, nil
	}
	return "", exec.ErrNotFound
}

func (m *machine) Run(_ context.Context, env []string, name string, args ...string) (string, error) {
	m.runs = append(m.runs, strings.Join(append(append(env, name), args...), " "))
	if m.out == "" {
		return "", errors.New("exit status 1")
	}
	return m.out, nil
}

// A key in the shape that the toolchain's source has it.
var wellKnownKey = golangtest.New().SumDBKey()

func toolchainFiles() map[string]string {
	return map[string]string{
		"/usr/go/go.env": "# comment\nGOPROXY=https://registry.example/go,direct\nGOSUMDB=" + golangtest.SumDBName + "\nGOTOOLCHAIN=local\n",
		"/usr/go/src/cmd/go/internal/modfetch/key.go": "package modfetch\n\nvar known = map[string]string{\n\t\"" + golangtest.SumDBName + "\": \"" + wellKnownKey +
			"\",\n\t\"liar.example\": \"" + wellKnownKey + "\",\n\t\"broken.example\": \"broken.example+00000000+AAAA\",\n}\n",
		"/usr/go/src/cmd/go/internal/modfetch/sumdb.go": "package modfetch\n\nfunc dbDial() {\n\tgosumdb := cfg.GOSUMDB\n\tif gosumdb == \"alias.example\" {\n\t\tgosumdb = \"" +
			golangtest.SumDBName + " https://alias.example\"\n\t}\n\tif gosumdb == \"off\" {\n\t\treturn\n\t}\n}\n",
	}
}

func TestDiscover(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the paths of this test are those of Linux")
	}
	bin := map[string]string{"go": "/usr/go/bin/go"}
	base := formats.Registry{Name: "public:go-proxy", Store: "go-store", URL: "https://registry.example/go/", Options: map[string]string{OptSumDB: wellKnownKey}}
	with := func(change func(r *formats.Registry)) []formats.Registry {
		r := base
		r.Options = map[string]string{OptSumDB: wellKnownKey}
		change(&r)
		return []formats.Registry{r}
	}
	for _, tc := range []struct {
		name    string
		env     map[string]string
		files   map[string]string // beside the toolchain's
		noRoot  bool
		bin     map[string]string
		out     string
		want    []formats.Registry
		where   string
		missing string
		runs    int
	}{
		{name: "toolchain's defaults", bin: bin, want: with(func(*formats.Registry) {}), where: "the toolchain's go.env"},
		{name: "GOROOT without the command", env: map[string]string{"GOROOT": "/usr/go"}, want: with(func(*formats.Registry) {}), where: "the toolchain's go.env"},
		{name: "go env -w", bin: bin, files: map[string]string{"/home/u/.config/go/env": "GOPROXY=http://mirror.example/x\nGOSUMDB=off\n"}, where: "the file of go env -w",
			want: with(func(r *formats.Registry) {
				r.URL, r.Options = "http://mirror.example/x/", map[string]string{OptSumDB: "off"}
			})},
		{name: "GOENV=off", bin: bin, env: map[string]string{"GOENV": "off"}, files: map[string]string{"/home/u/.config/go/env": "GOPROXY=http://mirror.example/x\n"},
			want: with(func(*formats.Registry) {}), where: "the toolchain's go.env"},
		{name: "GOENV", bin: bin, env: map[string]string{"GOENV": "/etc/goenv"}, files: map[string]string{"/etc/goenv": "GOPROXY=http://mirror.example/y/\r\n"},
			want: with(func(r *formats.Registry) { r.URL = "http://mirror.example/y/" }), where: "the file of go env -w"},
		{name: "XDG_CONFIG_HOME", bin: bin, env: map[string]string{"XDG_CONFIG_HOME": "/cfg"}, files: map[string]string{"/cfg/go/env": "GOPROXY=http://mirror.example/z\n"},
			want: with(func(r *formats.Registry) { r.URL = "http://mirror.example/z/" }), where: "the file of go env -w"},
		{name: "environment wins, empty is unset", bin: bin, where: "the environment",
			env:   map[string]string{"GOPROXY": "http://env.example", "GOSUMDB": "", "GONOSUMDB": "corp.example/*", "GOPRIVATE": "x.example"},
			files: map[string]string{"/home/u/.config/go/env": "GOPROXY=http://mirror.example/x\nGOSUMDB=" + golangtest.SumDBName + " http://db.example\n"},
			want: with(func(r *formats.Registry) {
				r.URL = "http://env.example/"
				r.Options[OptSumDBURL], r.Options[OptNoSumDB] = "http://db.example", "corp.example/*"
			})},
		{name: "GOPRIVATE", bin: bin, env: map[string]string{"GOPRIVATE": "x.example"}, where: "the toolchain's go.env",
			want: with(func(r *formats.Registry) { r.Options[OptNoSumDB] = "x.example" })},
		{name: "alias", bin: bin, env: map[string]string{"GOSUMDB": "alias.example"}, where: "the toolchain's go.env",
			want: with(func(r *formats.Registry) { r.Options[OptSumDBURL] = "https://alias.example" })},
		{name: "name without a key", bin: bin, env: map[string]string{"GOSUMDB": "liar.example"}, where: "the toolchain's go.env",
			want: with(func(r *formats.Registry) { r.Options[OptSumDB] = "liar.example" })},
		{name: "several", bin: bin, env: map[string]string{"GOPROXY": "https://a.example|http://b.example/x,file:///srv,https://a.example/,direct,https://c.example"}, where: "the environment",
			want: append(with(func(r *formats.Registry) { r.URL = "https://a.example/" }),
				with(func(r *formats.Registry) {
					r.Name, r.Store, r.URL = "public:go-proxy-2", "go-store-2", "http://b.example/x/"
				})...)},
		{name: "host without scheme, credentials", bin: bin, env: map[string]string{"GOPROXY": "mirror.example:8443/go"}, where: "the environment",
			files: map[string]string{"/home/u/.netrc": "machine other.example login a password b\nmachine mirror.example\n login me\n password s3cr:et@\ndefault login x password y\n"},
			want:  with(func(r *formats.Registry) { r.URL = "https://me:s3cr%3Aet%40@mirror.example:8443/go/" })},
		{name: "credentials in the URL", bin: bin, env: map[string]string{"GOPROXY": "https://u:p@mirror.example/go"}, where: "the environment",
			files: map[string]string{"/home/u/.netrc": "machine mirror.example login me password x\n"},
			want:  with(func(r *formats.Registry) { r.URL = "https://u:p@mirror.example/go/" })},
		{name: "direct", bin: bin, env: map[string]string{"GOPROXY": "direct"}, missing: "direct ends the list"},
		{name: "off", bin: bin, env: map[string]string{"GOPROXY": "off"}, missing: "off ends the list"},
		{name: "file", bin: bin, env: map[string]string{"GOPROXY": "file:///srv/proxy"}, missing: "not a registry"},
		{name: "old toolchain", bin: bin, noRoot: true, runs: 1, where: "go env",
			out:  "go: warning\n{\n\t\"GOPROXY\": \"https://registry.example/go,direct\",\n\t\"GOSUMDB\": \"" + golangtest.SumDBName + "\"\n}\n",
			want: with(func(r *formats.Registry) { r.Options[OptSumDB] = golangtest.SumDBName })},
		{name: "broken go", bin: bin, noRoot: true, runs: 1, missing: "GOPROXY is not set"},
		{name: "no go", noRoot: true, missing: "no go command"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &machine{env: tc.env, files: map[string]string{}, bin: tc.bin, out: tc.out}
			if !tc.noRoot {
				m.files = toolchainFiles()
			}
			for name, text := range tc.files {
				m.files[name] = text
			}
			got := New().Discover(t.Context(), m)
			if !reflect.DeepEqual(got.Registries, tc.want) {
				t.Errorf("registries\n%+v, want\n%+v", got.Registries, tc.want)
			}
			if !strings.HasSuffix(got.Where, tc.where) || !strings.Contains(got.Missing, tc.missing) || (got.Missing != "") != (tc.missing != "") {
				t.Errorf("where %q, missing %q; want %q and %q", got.Where, got.Missing, tc.where, tc.missing)
			}
			if (got.Example != "") != (tc.missing != "") {
				t.Errorf("example %q with missing %q", got.Example, got.Missing)
			}
			if len(m.runs) != tc.runs {
				t.Errorf("started %q, want %d commands", m.runs, tc.runs)
			}
		})
	}
}

func TestKeysFromBinary(t *testing.T) {
	for _, image := range []string{
		"\x00junkstrings" + wellKnownKey + "morestrings\x00",
		wellKnownKey + wellKnownKey,
	} {
		keys := make(map[string]string)
		keysFromBinary([]byte(image), keys)
		if keys[golangtest.SumDBName] != wellKnownKey || len(keys) != 1 {
			t.Errorf("keys of %q: %v", image, keys)
		}
	}
}

// TestThisToolchain learns from the toolchain that runs the test.
func TestThisToolchain(t *testing.T) {
	m := osMachine{}
	bin, err := m.LookPath("go")
	if err != nil {
		t.Skip("SKIPPED: no go command on this machine")
	}
	root := findRoot(m)
	known := knownDatabases(m, root)
	if _, err := os.Stat(filepath.Join(root, "src/cmd/go/internal/modfetch/key.go")); err == nil && len(known.keys) == 0 {
		t.Errorf("no key learned from the source below %s", root)
	}
	image, err := m.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	keysFromBinary(image, keys)
	for name, key := range known.keys {
		if keys[name] != key {
			t.Errorf("key of %s: source has %s, the command itself %q", name, key, keys[name])
		}
		if _, err := note.NewVerifier(key); err != nil {
			t.Error(err)
		}
	}
	finding := New().Discover(t.Context(), m)
	if len(finding.Registries) == 0 && finding.Missing == "" {
		t.Errorf("Discover on this machine: %+v", finding)
	}
}

// osMachine is this machine.
type osMachine struct{}

func (osMachine) Getenv(key string) string             { return os.Getenv(key) }
func (osMachine) Home() string                         { h, _ := os.UserHomeDir(); return h }
func (osMachine) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }
func (osMachine) Glob(pattern string) []string         { m, _ := filepath.Glob(pattern); return m }
func (osMachine) TempDir() string                      { return os.TempDir() }

func (osMachine) LookPath(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(p)
}

func (osMachine) Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSetup runs the printed line with the real client.
func TestSetup(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	server := httptest.NewServer(&bridge{o: o})
	defer server.Close()
	client := newGoClient(t, "", "")
	env := client.env[:0:0]
	for _, e := range client.env {
		if !strings.HasPrefix(e, "GOPROXY=") && !strings.HasPrefix(e, "GOENV=") && !strings.HasPrefix(e, "GOSUMDB=") {
			env = append(env, e)
		}
	}
	client.env = append(env, "GOENV="+filepath.Join(client.dir, "env"), "GOSUMDB="+o.SumDBKey())
	line := strings.Fields(New().Setup(server.URL + "/go/main/"))
	client.mustRun(t, nil, line[1:]...)
	if out := client.mustRun(t, nil, "env", "GOPROXY"); strings.TrimSpace(out) != server.URL+"/go/main" {
		t.Errorf("after %q GOPROXY is %q", line, out)
	}
	client.mustRun(t, map[string]string{"go.mod": "module x.example/x\n\ngo 1.21\n"}, "get", golangtest.Capital+"@v0.3.0")
	if o.Requests("/sumdb/"+golangtest.SumDBName+"/supported") == 0 {
		t.Error("go did not ask the database through the proxy")
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine a.example login u password p\nmacdef x\n machine b.example\n\nmachine c.example login v")
	f.Add("default login x password y")
	f.Fuzz(func(t *testing.T, text string) {
		for host, l := range parseNetrc(text) {
			if host == "" || l.user == "" {
				t.Errorf("%q: host %q, user %q", text, host, l.user)
			}
		}
	})
}
