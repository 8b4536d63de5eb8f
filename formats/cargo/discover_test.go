package cargo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"larder/formats"
)

// machine is a computer made of maps.
type machine struct {
	env   map[string]string
	files map[string]string
	cargo bool
	out   string // what cargo prints
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
	if m.cargo && name == "cargo" {
		return "/usr/bin/cargo", nil
	}
	return "", exec.ErrNotFound
}

func (m *machine) Run(_ context.Context, env []string, name string, args ...string) (string, error) {
	m.runs = append(m.runs, strings.Join(append(append(env, name), args...), " "))
	return m.out, errors.New("exit status 101")
}

const complaint = "    Updating the index\nerror: download of config.json failed\n\nCaused by:\n  failed to download from `https://index.example/config.json`\n\nCaused by:\n  [7] Could not connect to server\n"

func TestDiscover(t *testing.T) {
	one := func(url, token string) []formats.Registry {
		r := formats.Registry{Name: "public:crates-io", Store: "crates-store", URL: url}
		if token != "" {
			r.Options = map[string]string{OptToken: token}
		}
		return []formats.Registry{r}
	}
	const config = "/home/u/.cargo/config.toml"
	for _, tc := range []struct {
		name    string
		env     map[string]string
		files   map[string]string
		cargo   bool
		out     string
		want    []formats.Registry
		where   string
		missing string
		runs    int
	}{
		{name: "default", cargo: true, out: complaint, runs: 1, want: one("https://index.example/", ""), where: "by default"},
		{name: "config without registries", cargo: true, out: complaint, runs: 1, want: one("https://index.example/", ""), where: "by default",
			files: map[string]string{config: "[build]\njobs = 2\n"}},
		{name: "source replacement", cargo: true, want: one("https://mirror.example/index/", ""), where: "configuration",
			files: map[string]string{config: "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://mirror.example/index\"\n"}},
		{name: "source replacement twice, inline", want: one("http://mirror.example/", ""), where: "configuration",
			files: map[string]string{config: `source = { crates-io = { replace-with = "a" }, a = { replace-with = "b" }, b = { registry = "sparse+http://mirror.example/" } }`}},
		{name: "replacement by a registry with a token", want: one("https://corp.example/", "Bearer x"), where: "configuration",
			files: map[string]string{
				config:                            "[source.crates-io]\nreplace-with = \"corp\"\n[registries.corp]\nindex = \"sparse+https://corp.example/\"\n",
				"/home/u/.cargo/credentials.toml": "[registry]\ntoken = \"publish-only\"\n[registries.corp]\ntoken = \"Bearer x\"\n"}},
		{name: "CARGO_HOME, file without extension first", env: map[string]string{"CARGO_HOME": "/ch"}, want: one("https://old.example/", ""), where: "configuration",
			files: map[string]string{
				"/ch/config":      "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"sparse+https://old.example/\"\n",
				"/ch/config.toml": "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"sparse+https://new.example/\"\n"}},
		{name: "further registries and the environment", cargo: true, out: complaint, runs: 1, where: "by default",
			env:   map[string]string{"CARGO_REGISTRIES_MY_CORP_INDEX": "sparse+https://env.example/x/", "CARGO_REGISTRIES_MY_CORP_TOKEN": "secret\n"},
			files: map[string]string{config: "[registries.my-corp]\nindex = \"sparse+https://file.example/\"\n[registries.old]\nindex = \"https://git.example/index\"\n"},
			want: append(one("https://index.example/", ""), formats.Registry{Name: "public:cargo-my-corp", Store: "cargo-my-corp-store", URL: "https://env.example/x/",
				Options: map[string]string{OptToken: "secret"}})},
		{name: "git replacement", cargo: true, missing: "git repository",
			files: map[string]string{config: "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"https://git.example/index\"\n"}},
		{name: "vendored", cargo: true, missing: "not a sparse registry",
			files: map[string]string{config: "[source.crates-io]\nreplace-with = \"v\"\n[source.v]\ndirectory = \"vendor\"\n"}},
		{name: "git protocol", cargo: true, missing: "git index", files: map[string]string{config: "[registries.crates-io]\nprotocol = \"git\"\n"}},
		{name: "git protocol by environment", cargo: true, missing: "git index", env: map[string]string{"CARGO_REGISTRIES_CRATES_IO_PROTOCOL": "git"}},
		{name: "undefined replacement", cargo: true, missing: "not defined", files: map[string]string{config: "[source.crates-io]\nreplace-with = \"x\"\n"}},
		{name: "circle", cargo: true, missing: "circular",
			files: map[string]string{config: "[source.crates-io]\nreplace-with = \"x\"\n[source.x]\nreplace-with = \"crates-io\"\n"}},
		{name: "broken file", cargo: true, missing: "could not be parsed", files: map[string]string{config: "[source"}},
		{name: "old cargo", cargo: true, runs: 1, missing: "git index", out: "error: failed to fetch `https://git.example/index`\n"},
		{name: "silent cargo", cargo: true, runs: 1, missing: "did not name"},
		{name: "no cargo", missing: "no cargo command"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &machine{env: tc.env, files: tc.files, cargo: tc.cargo, out: tc.out}
			got := New().Discover(t.Context(), m)
			if !reflect.DeepEqual(got.Registries, tc.want) {
				t.Errorf("registries\n%+v, want\n%+v", got.Registries, tc.want)
			}
			if !strings.Contains(got.Where, tc.where) || !strings.Contains(got.Missing, tc.missing) || (got.Missing != "") != (tc.missing != "") {
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

// realMachine is this machine with an empty home.
type realMachine struct{ dir string }

func (m realMachine) Getenv(string) string                 { return "" }
func (m realMachine) Home() string                         { return m.dir }
func (m realMachine) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }
func (m realMachine) Glob(string) []string                 { return nil }
func (m realMachine) TempDir() string                      { return m.dir }
func (m realMachine) LookPath(name string) (string, error) { return exec.LookPath(name) }

func (m realMachine) Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestRealCargoNamesItsIndex asks the installed cargo; nothing is dialled but a
// closed port of this machine.
func TestRealCargoNamesItsIndex(t *testing.T) {
	m := realMachine{t.TempDir()}
	if _, err := m.LookPath("cargo"); err != nil {
		t.Skip("SKIPPED: no cargo on this machine; its default index was not learned")
	}
	got := New().Discover(t.Context(), m)
	if len(got.Registries) != 1 || !strings.HasPrefix(got.Registries[0].URL, "https://") || !strings.HasSuffix(got.Registries[0].URL, "/") {
		t.Errorf("Discover = %+v", got)
	}
}
