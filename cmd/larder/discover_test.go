package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"larder/formats"
)

// fakeFormat finds what it is told to, when it is told to.
type fakeFormat struct {
	formats.Format
	id      string
	finding formats.Finding
	wait    <-chan struct{}
}

func (f fakeFormat) ID() string { return f.id }

func (f fakeFormat) Discover(ctx context.Context, _ formats.Machine) formats.Finding {
	if f.wait == nil {
		return f.finding
	}
	select {
	case <-f.wait:
		return f.finding
	case <-ctx.Done():
		return formats.Finding{Missing: "the search was ended"}
	}
}

func (f fakeFormat) Setup(base string) string { return f.id + " config " + base }

type mute struct{ formats.Format } // a format that discovers nothing

func registries(names ...string) formats.Finding {
	f := formats.Finding{Where: "a file"}
	for _, n := range names {
		f.Registries = append(f.Registries, formats.Registry{Name: "public:" + n, Store: n + "-store", URL: "https://" + n + ".example/"})
	}
	return f
}

func TestDiscoverGivesSlowClientsLater(t *testing.T) {
	release := make(chan struct{})
	fs := []formats.Format{
		fakeFormat{id: "npm", finding: registries("slow"), wait: release},
		mute{},
		fakeFormat{id: "pypi", finding: registries("quick")},
	}
	early, late := discoverWithin(context.Background(), &machine{}, fs, 50*time.Millisecond)
	if len(early) != 1 || early[0].Format != "pypi" {
		t.Fatalf("early are %+v, want pypi only", early)
	}
	close(release)
	found := <-late
	if found.Format != "npm" || len(found.Registries) != 1 {
		t.Errorf("late is %+v, want npm", found)
	}
	if _, open := <-late; open {
		t.Error("late stays open after the last finding")
	}

	cfg := DefaultConfig()
	cfg.Apply(early)
	cfg.Apply(append(early, found))
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := cfg.Repository[0].Upstreams; !slices.Equal(got, []string{"slow-store", "quick-store"}) {
		t.Errorf("main gathers %v, want the order of the formats whatever came first", got)
	}
	if len(cfg.Connection) != 2 || len(cfg.Repository) != 3 {
		t.Errorf("a second Apply must replace the first: %+v", cfg)
	}
}

func TestDiscoverEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	fs := []formats.Format{fakeFormat{id: "aa", wait: make(chan struct{})}}
	_, late := discoverWithin(ctx, &machine{}, fs, 0)
	cancel()
	if found := <-late; found.Missing == "" {
		t.Errorf("a cancelled search found %+v", found)
	}
}

func TestApplyNumbersNamesThatAreTaken(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Apply([]Found{{Format: "npm", Finding: registries("npm", "npm", "npm", "MAIN")}, {Format: "pypi", Order: 1, Finding: registries("npm")}})
	var conns, repos []string
	for _, c := range cfg.Connection {
		conns = append(conns, c.Name)
	}
	for _, r := range cfg.Repository {
		repos = append(repos, r.Name)
	}
	if want := []string{"public:npm", "public:npm-2", "public:npm-3", "public:MAIN", "public:npm-4"}; !slices.Equal(conns, want) {
		t.Errorf("connections are %v, want %v", conns, want)
	}
	if want := []string{"main", "npm-store", "npm-store-2", "npm-store-3", "MAIN-store", "npm-store-4"}; !slices.Equal(repos, want) {
		t.Errorf("repositories are %v, want %v", repos, want)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// TestApplyGathersMany: a repository has at most ten upstreams, and a machine may
// use more registries than that.
func TestApplyGathersMany(t *testing.T) {
	for _, n := range []int{10, 11, 19, 20, 24} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("reg%d", i))
		}
		found := []Found{{Format: "npm", Finding: registries(names...)}}
		cfg := DefaultConfig()
		cfg.Apply(found)
		cfg.Apply(found)
		if err := cfg.Validate(); err != nil {
			t.Fatalf("%d registries: %v", n, err)
		}
		site, err := cfg.site()
		if err != nil {
			t.Fatalf("%d registries: %v", n, err)
		}
		var got []string
		for _, c := range site.Graph.Connections("main", "npm") {
			got = append(got, strings.TrimPrefix(c.Name, "public:"))
		}
		// The search ends after 25 repositories, the gathering ones included.
		if want := names[:min(n, 22)]; !slices.Equal(got, want) {
			t.Errorf("%d registries: main reaches %v, want %v", n, got, want)
		}
		written, err := parseConfig("larder.toml", []byte(renderConfig(found)))
		if err != nil {
			t.Fatalf("%d registries: %v", n, err)
		}
		if _, err := written.site(); err != nil {
			t.Errorf("%d registries, written down: %v", n, err)
		}
	}
}

// TestNamesThatValidateStart: what Validate accepts, the rooms below accept.
func TestNamesThatValidateStart(t *testing.T) {
	for _, name := range []string{"public:npmjs", "a.b_c-d", "npm:@corp", "-a", "a b", "x", strings.Repeat("a", 100), strings.Repeat("a", 101)} {
		cfg := DefaultConfig()
		cfg.Connection = []Connection{connectionOf("npm", formats.Registry{Name: name, URL: "https://registry.example/"})}
		cfg.Repository[0].Connection = name
		valid := cfg.Validate()
		if _, err := cfg.site(); (err == nil) != (valid == nil) {
			t.Errorf("connection %q: Validate says %v, the graph %v", name, valid, err)
		}
	}
	cfg := DefaultConfig()
	for i := range 11 {
		name := fmt.Sprintf("r%d", i)
		cfg.Repository = append(cfg.Repository, Repository{Name: name})
		cfg.Repository[0].Upstreams = append(cfg.Repository[0].Upstreams, name)
	}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "at most 10") {
		t.Errorf("eleven upstreams: Validate says %v", err)
	}
}

func TestPrintFindingsShowsNoSecret(t *testing.T) {
	found := []Found{
		{Format: "npm", Setup: fakeFormat{id: "npm"}.Setup, Finding: formats.Finding{Where: "user .npmrc",
			Registries: []formats.Registry{{Name: "public:npm", Store: "npm-store", URL: "https://ci:sesame@registry.example/"}}}},
		{Format: "pypi", Setup: fakeFormat{id: "pypi"}.Setup, Finding: formats.Finding{Missing: "pip is absent", Example: "[[connection]]\nformat = \"pypi\"\n"}},
	}
	var out bytes.Buffer
	printFindings(&out, "http://127.0.0.1:5273", found)
	for _, want := range []string{"npm config http://127.0.0.1:5273/npm/main", "registry.example", "user .npmrc", "pip is absent", "[[connection]]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	if text := out.String() + renderConfig(found); strings.Contains(text, "sesame") {
		t.Errorf("a secret is shown:\n%s", text)
	}
}

func TestRenderConfigIsValidAndKeepsSecretsOut(t *testing.T) {
	found := []Found{
		{Format: "npm", Finding: formats.Finding{Where: "a \"file\"\nwith lines", Registries: []formats.Registry{
			{Name: "public:npm", Store: "npm-store", URL: "https://ci:sesame@registry.example/a%20b/",
				Options: map[string]string{"ca_file": "/a \"b\"\\c.pem", "proxy": "http://u:sesame@proxy.example:3128", "other_scopes": "@a,@b"}},
			{Name: "npm:a", Store: "npm-a-store", URL: "https://a.example/", Options: map[string]string{"token": "sesame", "scope": "@a"}},
		}}},
		{Format: "pypi", Order: 1, Finding: formats.Finding{Missing: "pip is absent", Example: "[[connection]]\nformat = \"pypi\"\n"}},
		{Format: "cargo", Order: 2, Finding: formats.Finding{Where: "config.toml", Registries: []formats.Registry{
			{Name: "public:crates", Store: "crates-store", URL: "https://crates.example/", Options: map[string]string{"token": "sesame"}}}}},
	}
	text := renderConfig(found)
	if strings.Contains(text, "sesame") {
		t.Error("a secret is written")
	}
	got, err := parseConfig("larder.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := DefaultConfig()
	want.Apply(found)
	if len(got.Connection) != 3 || got.Connection[0].CAFile != want.Connection[0].CAFile || got.Connection[0].URL != want.Connection[0].URL ||
		got.Connection[0].PasswordEnv != "LARDER_PUBLIC_NPM_PASSWORD" || got.Connection[1].TokenEnv != "LARDER_NPM_A_TOKEN" ||
		got.Connection[2].HeaderEnv["Authorization"] != "LARDER_PUBLIC_CRATES_AUTHORIZATION" {
		t.Errorf("connections are %+v", got.Connection)
	}
	if a, b := got.Connection[0].Options(), got.Connection[1].Options(); a["other_scopes"] != "@a,@b" || b["scope"] != "@a" || len(a)+len(b) != 2 {
		t.Errorf("the npm format gets %v and %v, want the scopes and no secret", a, b)
	}
	if notes := secretNotes(found); len(notes) != 3 {
		t.Errorf("%d notes about secrets, want 3: %q", len(notes), notes)
	}
	main := got.Repository[len(got.Repository)-1]
	if main.Name != "main" || !slices.Equal(main.Upstreams, want.Repository[0].Upstreams) {
		t.Errorf("main is %+v, want upstreams %v", main, want.Repository[0].Upstreams)
	}
}

func TestInitNeverWritesOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "larder.toml")
	if err := os.WriteFile(file, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := cmdInit(context.Background(), []string{file}, stdio{out: &out, err: &out}); code != exitWrong {
		t.Errorf("init over a file returns %d", code)
	}
	if err := writeNew(file, "x", nil); err == nil {
		t.Error("writeNew wrote over a file")
	}
	if text, _ := os.ReadFile(file); string(text) != "# mine\n" {
		t.Errorf("the file is now %q", text)
	}
	fresh := filepath.Join(t.TempDir(), "new.toml")
	if err := writeNew(fresh, "x", nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new config has mode %v, want 0600 (%v)", info.Mode(), err)
	}
}

func TestMachineReadsWithinBounds(t *testing.T) {
	m := &machine{}
	defer m.Close()
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, machineFileMax+1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadFile(big); err == nil {
		t.Error("a file over the bound was read")
	}
	if _, err := m.ReadFile("/dev/zero"); err == nil {
		t.Error("a device was read")
	}
	if _, err := m.ReadFile(dir); err == nil {
		t.Error("a directory was read")
	}
	if got := m.Glob("["); got != nil {
		t.Errorf("a bad pattern matches %v", got)
	}
	temp := m.TempDir()
	if info, err := os.Stat(temp); err != nil || !info.IsDir() || m.TempDir() != temp {
		t.Errorf("TempDir is %s (%v), then %s", temp, err, m.TempDir())
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Error("Close leaves the temporary directory")
	}
}

func TestMachineRun(t *testing.T) {
	m := &machine{}
	defer m.Close()
	out, err := m.Run(context.Background(), []string{"LARDER_TEST=yes"}, "sh", "-c", "echo $LARDER_TEST; pwd; echo err >&2; exit 3")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Run returns %v, want exit status 3", err)
	}
	if want := "yes\n" + m.TempDir() + "\nerr\n"; out != want {
		t.Errorf("Run gives %q, want %q", out, want)
	}
	if out, _ := m.Run(context.Background(), nil, "sh", "-c", "yes | head -c 3000000"); len(out) != machineOutMax {
		t.Errorf("Run keeps %d bytes, want %d", len(out), machineOutMax)
	}
}

// TestMachineRunKillsGrandchildren: a client's children hold its output open;
// they must not outlive the search.
func TestMachineRunKillsGrandchildren(t *testing.T) {
	m := &machine{}
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	pidFile := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		_, err := m.Run(ctx, nil, "sh", "-c", "sleep 600 & echo $! > "+pidFile+".tmp; mv "+pidFile+".tmp "+pidFile+"; wait")
		done <- err
	}()
	var pid int
	waitFor(t, func() bool {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return false
		}
		pid = atoi(t, strings.TrimSpace(string(text)))
		return true
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returns %v, want the context's error", err)
	}
	waitFor(t, func() bool { return gone(pid) })
}

// gone reports whether a process has ended; one that nobody has waited for yet
// counts as ended.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
