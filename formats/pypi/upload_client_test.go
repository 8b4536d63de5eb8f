package pypi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/pypi/pypitest"
)

// dist writes the files of packages into a directory and returns their paths.
func dist(t *testing.T, dir string, packages ...pypitest.Package) []string {
	t.Helper()
	var out []string
	for _, p := range packages {
		reg := pypitest.New()
		reg.Add(p)
		for _, file := range reg.Files(p.Name) {
			path := filepath.Join(dir, file)
			write(t, path, string(reg.File(file)))
			out = append(out, path)
		}
	}
	return out
}

func hosted(one string) []pypitest.Package {
	return []pypitest.Package{
		{Name: one, Version: "1.0", RequiresPython: ">=3.8", Requires: []string{"host-two>=2"}, Source: true},
		{Name: "host-two", Version: "2.0+local.1", Summary: "two"},
	}
}

func twineEnv(t *testing.T) []string {
	return []string{"TWINE_USERNAME=" + hostUser, "TWINE_PASSWORD=" + hostPassword, "TWINE_NON_INTERACTIVE=1", "HOME=" + t.TempDir(), "COLUMNS=300", "NO_COLOR=1",
		"PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring"}
}

// TestTwineUploads uploads with twine; pip and uv install what came.
func TestTwineUploads(t *testing.T) {
	twine, pip := client(t, "twine"), client(t, "pip")
	t.Parallel()
	h, srv := newHost(t)
	dir := t.TempDir()
	files := dist(t, filepath.Join(dir, "dist"), hosted("Host.Ed_One")...)
	upload := append([]string{"upload", "--disable-progress-bar", "--verbose", "--repository-url", srv.URL + "/pypi/main/"}, files...)
	must(t, dir, twineEnv(t), twine, upload...)
	must(t, dir, twineEnv(t), twine, upload...) // the same bytes
	index := srv.URL + "/pypi/main/simple/"
	must(t, dir, pipEnv(t, index), pip, "install", "--target", "wheels", "Host_Ed.One")
	must(t, dir, pipEnv(t, index), pip, "install", "--target", "sources", "--no-binary", "host-ed-one", "host.ed.one==1.0")
	for _, target := range []string{"wheels", "sources"} {
		for _, info := range []string{"Host_Ed_One-1.0.dist-info", "host_two-2.0+local.1.dist-info"} {
			if _, err := os.Stat(filepath.Join(dir, target, info)); err != nil {
				t.Errorf("not installed: %v", err)
			}
		}
	}
	// Other bytes under the name.
	other := dist(t, filepath.Join(dir, "other"), pypitest.Package{Name: "host-two", Version: "2.0+local.1", Summary: "other"})
	again := []string{"upload", "--disable-progress-bar", "--verbose", "--repository-url", srv.URL + "/pypi/main", other[0]}
	out, err := run(t, dir, twineEnv(t), twine, again...)
	if err == nil || !strings.Contains(out, "409") || !strings.Contains(out, "other bytes are published") {
		t.Errorf("twine says of other bytes (%v):\n%s", err, out)
	}
	env := append(twineEnv(t), "TWINE_PASSWORD=wrong")
	if out, err = run(t, dir, env, twine, again...); err == nil || !strings.Contains(out, "401") || !strings.Contains(out, "publishing needs a token") {
		t.Errorf("twine says of a wrong password (%v):\n%s", err, out)
	}
	h.mu.Lock()
	h.deny = formats.Refuse(formats.Blocked, "policy says no to host-two")
	h.mu.Unlock()
	if out, err = run(t, dir, twineEnv(t), twine, again...); err == nil || !strings.Contains(out, "403") || !strings.Contains(out, "policy says no to host-two") {
		t.Errorf("twine says of a policy (%v):\n%s", err, out)
	}
}

func TestUVPublishes(t *testing.T) {
	uv, python := client(t, "uv"), client(t, "python3")
	t.Parallel()
	h, srv := newHost(t)
	dir := t.TempDir()
	index := srv.URL + "/pypi/main/simple/"
	env := func() []string {
		return []string{"UV_DEFAULT_INDEX=" + index, "UV_CACHE_DIR=" + t.TempDir(), "UV_NO_CONFIG=1", "UV_PYTHON_DOWNLOADS=never", "UV_FIND_LINKS=", "UV_INDEX_URL=",
			"UV_PUBLISH_USERNAME=" + hostUser, "UV_PUBLISH_PASSWORD=" + hostPassword, "UV_KEYRING_PROVIDER=disabled"}
	}
	// uv passes over files whose names are not normalised.
	files := dist(t, filepath.Join(dir, "dist"), hosted("host_ed_one")...)
	publish := append([]string{"publish", "--trusted-publishing", "never", "--publish-url", srv.URL + "/pypi/main/legacy/"}, files...)
	must(t, dir, env(), uv, publish...)
	must(t, dir, env(), uv, publish...) // the same bytes
	must(t, dir, env(), uv, "pip", "install", "--python", python, "--target", "wheels", "host.ed-one")
	for _, info := range []string{"host_ed_one-1.0.dist-info", "host_two-2.0+local.1.dist-info"} {
		if _, err := os.Stat(filepath.Join(dir, "wheels", info)); err != nil {
			t.Errorf("not installed: %v", err)
		}
	}
	h.mu.Lock()
	h.seen = nil
	h.mu.Unlock()
	out := must(t, dir, env(), uv, append(publish, "--check-url", index)...)
	if len(h.seen) > 0 || !strings.Contains(out, "already exists") {
		t.Errorf("uv uploads what --check-url shows:\n%s", out)
	}
	other := dist(t, filepath.Join(dir, "other"), pypitest.Package{Name: "host-two", Version: "2.0+local.1", Summary: "other"})
	again := []string{"publish", "--trusted-publishing", "never", "--publish-url", srv.URL + "/pypi/main", other[0]}
	out, err := run(t, dir, env(), uv, again...)
	if err == nil || !strings.Contains(out, "409") || !strings.Contains(out, "other bytes are published") {
		t.Errorf("uv says of other bytes (%v):\n%s", err, out)
	}
	out, err = run(t, dir, append(env(), "UV_PUBLISH_PASSWORD=wrong"), uv, again...)
	if err == nil || !strings.Contains(out, "publishing needs a token") {
		t.Errorf("uv says of a wrong password (%v):\n%s", err, out)
	}
	h.mu.Lock()
	h.deny = formats.Refuse(formats.Blocked, "policy says no to host-two")
	h.mu.Unlock()
	out, err = run(t, dir, env(), uv, again...)
	if err == nil || !strings.Contains(out, "403") || !strings.Contains(out, "policy says no to host-two") {
		t.Errorf("uv says of a policy (%v):\n%s", err, out)
	}
}

func TestPoetryPublishes(t *testing.T) {
	poetry := client(t, "poetry")
	t.Parallel()
	_, srv := newHost(t)
	dir := t.TempDir()
	env := func() []string {
		return []string{"POETRY_CACHE_DIR=" + t.TempDir(), "POETRY_VIRTUALENVS_IN_PROJECT=true", "POETRY_NO_INTERACTION=1",
			"PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring", "POETRY_CONFIG_DIR=" + t.TempDir(), "PIP_FIND_LINKS=",
			"POETRY_REPOSITORIES_LARDER_URL=" + srv.URL + "/pypi/main/", "POETRY_HTTP_BASIC_LARDER_USERNAME=" + hostUser, "POETRY_HTTP_BASIC_LARDER_PASSWORD=" + hostPassword}
	}
	project := filepath.Join(dir, "project")
	pyproject := func(description string) {
		write(t, filepath.Join(project, "pyproject.toml"), "[project]\nname = \"Poe.Try\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\ndescription = \""+description+
			"\"\ndependencies = []\n[tool.poetry]\npackages = [{include = \"poe_try\"}]\n[build-system]\nrequires = [\"poetry-core\"]\nbuild-backend = \"poetry.core.masonry.api\"\n")
	}
	pyproject("one")
	write(t, filepath.Join(project, "poe_try", "__init__.py"), "x = 1\n")
	must(t, project, env(), poetry, "publish", "--build", "-r", "larder")
	must(t, project, env(), poetry, "publish", "-r", "larder")
	app := filepath.Join(dir, "app")
	write(t, filepath.Join(app, "pyproject.toml"), "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.9,<4\"\ndependencies = [\"poe-try\"]\n[tool.poetry]\npackage-mode = false\n"+
		"[[tool.poetry.source]]\nname = \"larder\"\nurl = \""+srv.URL+"/pypi/main/simple/\"\npriority = \"primary\"\n")
	must(t, app, env(), poetry, "lock")
	must(t, app, env(), poetry, "sync")
	found, err := filepath.Glob(filepath.Join(app, ".venv/lib/python3*/site-packages/poe_try-0.1.0.dist-info"))
	if err != nil || len(found) != 1 {
		t.Errorf("poe-try is not installed: %v, %v", found, err)
	}
	pyproject("two")
	if err := os.RemoveAll(filepath.Join(project, "dist")); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, project, env(), poetry, "publish", "--build", "-r", "larder")
	if err == nil || !strings.Contains(out, "409") || !strings.Contains(out, "other bytes are published") {
		t.Errorf("poetry says of other bytes (%v):\n%s", err, out)
	}
	must(t, project, env(), poetry, "publish", "--skip-existing", "-r", "larder")
}
