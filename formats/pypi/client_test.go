package pypi_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"larder/formats/pypi/pypitest"
)

// client finds a real client. Its absence is reported loudly; .ci/run sets
// LARDER_REQUIRE_CLIENTS, which forbids such skips.
func client(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real clients are left out of short runs")
	}
	p, err := exec.LookPath(name)
	if err == nil {
		return p
	}
	if os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%s is not installed, and LARDER_REQUIRE_CLIENTS is set", name)
	}
	t.Skipf("SKIPPED: the real client %s is not installed; nothing was checked", name)
	return ""
}

func run(t *testing.T, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := run(t, dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func pipEnv(t *testing.T, index string) []string {
	return []string{"PIP_INDEX_URL=" + index, "PIP_CONFIG_FILE=/dev/null", "PIP_CACHE_DIR=" + t.TempDir(),
		"PIP_FIND_LINKS=", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_EXTRA_INDEX_URL=", "PIP_NO_INPUT=1"}
}

var wanted = []string{"larder-cherry", "larder.elder", "larder-fig", "larder-honey", "larder-grape==1.0+seedless"}

func checkInstalled(t *testing.T, dir string) {
	t.Helper()
	for _, stem := range []string{"larder_apple-1.1", "Larder_Berry-1.0", "larder_cherry-1.0", "larder_date-1.1",
		"larder_elder-1.0", "larder_fig-1.0", "larder_grape-1.0+seedless", "larder_honey-1.0", "larder_sugar-1.0"} {
		// Installers spell the directory as the wheel does.
		if _, err := os.Stat(filepath.Join(dir, stem+".dist-info", "METADATA")); err != nil {
			t.Errorf("%s is not installed: %v", stem, err)
		}
	}
}

// TestPipThroughTheFormat installs cold, then with the upstream gone; what is
// not held gets a quick no.
func TestPipThroughTheFormat(t *testing.T) {
	pip := client(t, "pip")
	t.Parallel()
	reg := pypitest.New()
	up := httptest.NewServer(reg)
	defer up.Close()
	n, srv := newNode(t, up.URL+"/simple/")
	index := srv.URL + "/pypi/main/simple/"
	dir := t.TempDir()
	must(t, dir, pipEnv(t, index), pip, append([]string{"install", "--target", "cold"}, wanted...)...)
	checkInstalled(t, filepath.Join(dir, "cold"))
	up.Close()
	n.goOffline()
	must(t, dir, pipEnv(t, index), pip, append([]string{"install", "--target", "warm"}, wanted...)...)
	checkInstalled(t, filepath.Join(dir, "warm"))
	if out, err := run(t, dir, pipEnv(t, index), pip, "download", "--no-deps", "larder-apple==1.0"); err == nil {
		t.Errorf("a version that is not held installs offline:\n%s", out)
	}
	if reg.Count("larder_fig-1.0-py3-none-any.whl.metadata") > 0 {
		t.Error("metadata was asked of an index that does not offer it")
	}
}

func TestUVThroughTheFormat(t *testing.T) {
	uv, python := client(t, "uv"), client(t, "python3")
	t.Parallel()
	reg := pypitest.New()
	up := httptest.NewServer(reg)
	defer up.Close()
	n, srv := newNode(t, up.URL+"/simple/")
	index := srv.URL + "/pypi/main/simple/"
	dir := t.TempDir()
	env := func() []string {
		return []string{"UV_DEFAULT_INDEX=" + index, "UV_CACHE_DIR=" + t.TempDir(), "UV_NO_CONFIG=1", "UV_PYTHON_DOWNLOADS=never", "UV_FIND_LINKS=", "UV_INDEX_URL="}
	}
	install := func(target string) {
		must(t, dir, env(), uv, append([]string{"pip", "install", "--python", python, "--target", target}, wanted...)...)
		checkInstalled(t, filepath.Join(dir, target))
	}
	install("cold")
	// A lock made through us, installed with the page of no project read.
	reg.Forget()
	project := filepath.Join(dir, "project")
	write(t, filepath.Join(project, "pyproject.toml"), "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"larder-cherry\"]\n[tool.uv]\nexclude-newer = \"2026-06-01T00:00:00Z\"\n")
	e := append(env(), "UV_PYTHON="+python)
	must(t, project, e, uv, "lock")
	lock, err := os.ReadFile(filepath.Join(project, "uv.lock"))
	if err != nil || !strings.Contains(string(lock), index) || strings.Contains(string(lock), up.URL) || !strings.Contains(string(lock), "upload-time") {
		t.Errorf("uv.lock (%v) does not lead to %s with upload times:\n%s", err, index, lock)
	}
	must(t, project, append(env(), "UV_PYTHON="+python), uv, "sync", "--frozen", "--no-install-project")
	up.Close()
	n.goOffline()
	install("warm")
	must(t, project, append(env(), "UV_PYTHON="+python), uv, "sync", "--frozen", "--no-install-project", "--reinstall")
}

func TestPoetryThroughTheFormat(t *testing.T) {
	poetry := client(t, "poetry")
	t.Parallel()
	reg := pypitest.New()
	up := httptest.NewServer(reg)
	defer up.Close()
	n, srv := newNode(t, up.URL+"/simple/")
	index := srv.URL + "/pypi/main/simple/"
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pyproject.toml"), `[project]
name = "app"
version = "1"
requires-python = ">=3.9,<4"
dependencies = ["larder-cherry", "larder-fig"]
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "larder"
url = "`+index+`"
priority = "primary"
`)
	env := func() []string {
		return []string{"POETRY_CACHE_DIR=" + t.TempDir(), "POETRY_VIRTUALENVS_IN_PROJECT=true", "POETRY_NO_INTERACTION=1",
			"PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring", "POETRY_CONFIG_DIR=" + t.TempDir(), "PIP_FIND_LINKS="}
	}
	must(t, dir, env(), poetry, "lock")
	must(t, dir, env(), poetry, "sync")
	if err := os.RemoveAll(filepath.Join(dir, ".venv")); err != nil {
		t.Fatal(err)
	}
	up.Close()
	n.goOffline()
	must(t, dir, env(), poetry, "sync")
	found, err := filepath.Glob(filepath.Join(dir, ".venv/lib/python3*/site-packages/larder_fig-1.0.dist-info"))
	if err != nil || len(found) != 1 {
		t.Errorf("larder-fig is not installed: %v, %v", found, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
