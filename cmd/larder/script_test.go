package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this test binary as "larder", so that what they
// drive is the program built with the flags of the test.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"larder": main})
}

// TestScripts runs testdata/script: the real program and the real clients over
// real HTTP against fake registries inside this process.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("scripts with real clients do not run with -short")
	}
	runScripts(t, filepath.Join("..", "..", "testdata", "script"))
}

// TestLive runs testdata/live against the registries of this machine: make live.
// It needs the outside world, so it runs only when asked.
func TestLive(t *testing.T) {
	if os.Getenv("LARDER_LIVE") != "1" {
		return // not a skip: no check is missing without it
	}
	runScripts(t, filepath.Join("..", "..", "testdata", "live"))
}

func runScripts(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s (%v)", dir, err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Setup:               func(env *testscript.Env) error { return scriptSetup(t, env) },
		Condition:           scriptCondition,
		Cmds:                scriptCommands(),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// scriptSetup gives each script a home of its own, in which no client finds
// settings, caches or proxies of the machine.
func scriptSetup(t testing.TB, env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	tools, err := filepath.Abs(filepath.Join("..", "..", ".tools", "bin"))
	if err != nil {
		return err
	}
	env.Setenv("PATH", tools+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", home)
	env.Setenv("LANG", "C.UTF-8")
	for key, value := range map[string]string{
		// The toolchains stay where they are, what they download does not.
		"RUSTUP_HOME":  fromHome("RUSTUP_HOME", ".rustup"),
		"PYENV_ROOT":   fromHome("PYENV_ROOT", ".pyenv"),
		"CARGO_HOME":   filepath.Join(home, ".cargo"),
		"GOPATH":       filepath.Join(home, "go"),
		"GOMODCACHE":   filepath.Join(home, "gomod"),
		"GOCACHE":      goCache(),
		"GOENV":        "off",
		"GOTOOLCHAIN":  "local",
		"GOFLAGS":      "-modcacherw", // else the work directory cannot be removed
		"GONOSUMCHECK": "",

		// Java takes the home directory from the password file.
		"MAVEN_OPTS":       "-Duser.home=" + home,
		"GRADLE_OPTS":      "-Duser.home=" + home,
		"GRADLE_USER_HOME": filepath.Join(home, ".gradle"),
		"JAVA_HOME":        os.Getenv("JAVA_HOME"),

		// Nothing asks the outside world by itself.
		"npm_config_update_notifier":    "false",
		"PIP_DISABLE_PIP_VERSION_CHECK": "1",
		"PIP_NO_INPUT":                  "1",
		"UV_PYTHON_DOWNLOADS":           "never",
		"YARN_ENABLE_TELEMETRY":         "0",
		"DO_NOT_TRACK":                  "1",
		"POETRY_VIRTUALENVS_IN_PROJECT": "true",
		"POETRY_NO_INTERACTION":         "1",
	} {
		if value != "" {
			env.Setenv(key, value)
		}
	}
	w := &world{t: t, work: env.WorkDir, base: append([]string(nil), env.Vars...), upstreams: map[string]*fakeUpstream{}}
	env.Values[worldKey{}] = w
	env.Defer(w.close)
	return nil
}

// fromHome is a variable, or its default below the real home if that is there.
func fromHome(key, dir string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(home, dir)); err != nil {
		return ""
	}
	return filepath.Join(home, dir)
}

// goCache is where this machine keeps compiled packages; it holds nothing that
// was downloaded.
func goCache() string {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// scriptCondition answers [client:NAME]: is this package manager here? A script
// whose client is absent is skipped with a word; where every client must be
// there (LARDER_E2E_REQUIRE=1) it fails instead. [since:NAME:MAJOR.MINOR] asks
// for its version.
func scriptCondition(cond string) (bool, error) {
	if spec, ok := strings.CutPrefix(cond, "since:"); ok {
		return clientSince(spec)
	}
	if spec, ok := strings.CutPrefix(cond, "option:"); ok {
		return hasOption(spec)
	}
	name, ok := strings.CutPrefix(cond, "client:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if _, err := os.Stat(filepath.Join("..", "..", ".tools", "bin", name)); err == nil {
		return true, nil
	}
	if _, err := exec.LookPath(name); err == nil {
		return true, nil
	}
	if os.Getenv("LARDER_E2E_REQUIRE") == "1" {
		return false, fmt.Errorf("%s is not installed, and LARDER_E2E_REQUIRE=1 forbids to go without it (.ci/run installs it)", name)
	}
	fmt.Fprintf(os.Stderr, "\n*** %s is not installed: its script does not run. .ci/run installs every client. ***\n\n", name)
	return false, nil
}

// clientSince reports whether a client is at least as new as "NAME:MAJOR.MINOR".
func clientSince(spec string) (bool, error) {
	name, want, ok := strings.Cut(spec, ":")
	if !ok {
		return false, fmt.Errorf("want [since:NAME:MAJOR.MINOR], not %q", spec)
	}
	path := filepath.Join("..", "..", ".tools", "bin", name)
	if _, err := os.Stat(path); err != nil {
		path = name
	} else if path, err = filepath.Abs(path); err != nil {
		return false, err
	}
	cmd := exec.Command(path, "--version")
	cmd.Dir = os.TempDir() // no project's settings
	out, err := cmd.Output()
	if err != nil {
		return false, fmt.Errorf("ask %s for its version: %w", name, err)
	}
	var has, least [2]int
	if _, err := fmt.Sscanf(string(out), "%d.%d", &has[0], &has[1]); err != nil {
		return false, fmt.Errorf("%s says that its version is %q", name, out)
	}
	if _, err := fmt.Sscanf(want, "%d.%d", &least[0], &least[1]); err != nil {
		return false, fmt.Errorf("bad version in %q", spec)
	}
	if has[0] > least[0] || has[0] == least[0] && has[1] >= least[1] {
		return true, nil
	}
	fmt.Fprintf(os.Stderr, "\n*** %s is older than %s: a check of what it cannot do does not run. ***\n\n", name, want)
	return false, nil
}
