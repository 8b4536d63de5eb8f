package pypi_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/pypi"
	"larder/formats/pypi/pypitest"
)

// machine is a machine made of text.
type machine struct {
	env   map[string]string
	files map[string]string
	bin   map[string]string // name -> resolved path
	out   map[string]string // command line -> output
	ran   []string
}

func (m *machine) Getenv(key string) string { return m.env[key] }
func (m *machine) Home() string             { return "/home/me" }
func (m *machine) TempDir() string          { return "/scratch" }

func (m *machine) ReadFile(p string) ([]byte, error) {
	text, ok := m.files[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (m *machine) Glob(pattern string) []string {
	var out []string
	for p := range m.files {
		if ok, _ := path.Match(pattern, p); ok {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func (m *machine) LookPath(name string) (string, error) {
	if p, ok := m.bin[name]; ok {
		return p, nil
	}
	return "", errors.New("not found")
}

func (m *machine) Run(_ context.Context, _ []string, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	m.ran = append(m.ran, line)
	out, ok := m.out[line]
	if !ok {
		return "", errors.New("exit status 1")
	}
	return out, nil
}

const (
	module    = "import urllib.parse\n\n\nclass PackageIndex:\n    pass\n\n\nPyPI = PackageIndex(\"https://default.registry.example/\", file_storage_domain=\"files.registry.example\")\nTestPyPI = PackageIndex(\n    \"https://test.registry.example/\"\n)\n"
	modPath   = "/_internal/models/index.py"
	installed = "/usr/lib/python3/dist-packages/pip" + modPath
	builtin   = "https://default.registry.example/simple/"
)

func TestDiscover(t *testing.T) {
	both := func(m machine) machine {
		if m.files == nil {
			m.files = map[string]string{}
		}
		m.files[installed] = module
		return m
	}
	for _, c := range []struct {
		name  string
		m     machine
		urls  string // space-separated
		where string // part of Where
	}{
		{"bare machine", machine{}, "", ""},
		{"installed pip", both(machine{}), builtin, installed},
		{"environment", both(machine{env: map[string]string{"PIP_INDEX_URL": "https://env.example/simple", "PIP_EXTRA_INDEX_URL": " https://a.example/x/simple/\nhttps://env.example/simple/ "}}),
			"https://env.example/simple/ https://a.example/x/simple/", "PIP_INDEX_URL"},
		{"user over global", both(machine{files: map[string]string{
			"/etc/pip.conf": "[global]\nindex-url = https://etc.example/simple\n", "/etc/xdg/pip/pip.conf": "[global]\nindex-url=https://xdg.example/simple",
			"/home/me/.pip/pip.conf": "[global]\nindex_url: https://old.example/simple", "/home/me/.config/pip/pip.conf": "# c\n[GLOBAL]\nindex-url=x\n[global]\nindex-url = https://user.example/simple\n"}}),
			"https://user.example/simple/", "/home/me/.config/pip/pip.conf"},
		{"etc over xdg, install over global of a nearer file", both(machine{files: map[string]string{
			"/etc/pip.conf": "[install]\nindex-url = https://install.example/simple\nextra-index-url =\n  https://one.example/simple\n  ; comment\n  https://two.example/simple\n", "/home/me/.config/pip/pip.conf": "[global]\nindex-url = https://user.example/simple\n"}}),
			"https://install.example/simple/ https://one.example/simple/ https://two.example/simple/", "/etc/pip.conf"},
		{"virtual environment over user", both(machine{env: map[string]string{"VIRTUAL_ENV": "/venv"}, files: map[string]string{
			"/venv/pip.conf": "[global]\nindex-url = https://venv.example/simple\n", "/home/me/.config/pip/pip.conf": "[global]\nindex-url = https://user.example/simple\n"}}),
			"https://venv.example/simple/", "/venv/pip.conf"},
		{"named file stands in for the user's", both(machine{env: map[string]string{"PIP_CONFIG_FILE": "/my.conf"}, files: map[string]string{
			"/my.conf": "[global]\ntimeout = 3\n", "/home/me/.config/pip/pip.conf": "[global]\nindex-url = https://user.example/simple\n"}}),
			builtin, "built-in"},
		{"named file that is not there changes nothing", both(machine{env: map[string]string{"PIP_CONFIG_FILE": "/my.conf"}, files: map[string]string{
			"/home/me/.config/pip/pip.conf": "[global]\nindex-url = https://user.example/simple\n"}}),
			"https://user.example/simple/", "/home/me/.config"},
		{"files switched off", both(machine{env: map[string]string{"PIP_CONFIG_FILE": "/dev/null"}, files: map[string]string{
			"/etc/pip.conf": "[global]\nindex-url = https://etc.example/simple\n"}}), builtin, "built-in"},
		{"empty value", both(machine{files: map[string]string{"/etc/pip.conf": "[global]\nindex-url =\n"}}), builtin, "built-in"},
		{"this node itself is not an upstream", both(machine{files: map[string]string{"/etc/pip.conf": "[global]\nindex-url = http://127.0.0.1:5273/pypi/main/simple/\n"}}), builtin, "built-in"},
		{"a directory is not a registry", both(machine{env: map[string]string{"PIP_INDEX_URL": "/srv/simple"}}), builtin, "built-in"},
		{"credentials stay", both(machine{env: map[string]string{"PIP_INDEX_URL": "https://me:secret@env.example/simple?x=y#z"}}), "https://me:secret@env.example/simple/", "PIP_INDEX_URL"},
		{"no index", both(machine{env: map[string]string{"PIP_NO_INDEX": "1"}}), "", ""},
		{"uv beside pip", both(machine{env: map[string]string{"PIP_INDEX_URL": "https://env.example/simple", "UV_DEFAULT_INDEX": "mine=https://uv.example/simple", "UV_INDEX": "torch=https://torch.example/whl"}}),
			"https://env.example/simple/ https://uv.example/simple/ https://torch.example/whl/", "PIP_INDEX_URL"},
		{"uv's file", machine{files: map[string]string{"/home/me/.config/uv/uv.toml": "offline = true\n[[index]]\nname = \"x\"\nurl = \"https://x.example/simple\"\n[[index]]\nurl = \"https://d.example/simple\"\ndefault = true\n"}},
			"https://d.example/simple/ https://x.example/simple/", "uv.toml"},
		{"pyenv", machine{bin: map[string]string{"pip": "/home/me/.pyenv/shims/pip"}, files: map[string]string{
			"/home/me/.pyenv/shims/pip": "#!/usr/bin/env bash\n", "/home/me/.pyenv/version": "3.12.1\n",
			"/home/me/.pyenv/versions/3.9.1/lib/python3.9/site-packages/pip" + modPath:   "PyPI = PackageIndex('https://wrong.example/')",
			"/home/me/.pyenv/versions/3.12.1/lib/python3.12/site-packages/pip" + modPath: module}}, builtin, "3.12.1"},
		{"pyenv, version not installed", machine{bin: map[string]string{"pip": "/home/me/.pyenv/shims/pip"}, files: map[string]string{
			"/home/me/.pyenv/versions/3.12.1/lib/python3.12/site-packages/pip" + modPath: module}}, builtin, "3.12.1"},
		{"interpreter of the script", machine{bin: map[string]string{"pip3": "/opt/bin/pip3"}, files: map[string]string{
			"/opt/bin/pip3": "#!/opt/python/bin/python3.13\nx", "/opt/python/lib/python3.13/site-packages/pip" + modPath: module}}, builtin, "/opt/python"},
		{"through env", machine{bin: map[string]string{"pip": "/opt/bin/pip", "python3": "/opt/py/bin/python3.13"}, files: map[string]string{
			"/opt/bin/pip": "#!/usr/bin/env python3\nx", "/opt/py/lib/python3.13/site-packages/pip" + modPath: module}}, builtin, "/opt/py"},
		{"bundled wheel", machine{files: map[string]string{"/usr/share/python-wheels/pip-23.0.1-py3-none-any.whl": string(pypitest.Zip([]string{"pip" + modPath}, map[string][]byte{"pip" + modPath: []byte(module)}))}},
			builtin, "python-wheels"},
		{"asked of pip", machine{bin: map[string]string{"pip": "/opt/bin/pip"}, out: map[string]string{"pip install --help": "  -i, --index-url <url>  Base URL (default\n   https://help.example/simple). This should point\n  --timeout <sec> (default 15 seconds)."}},
			"https://help.example/simple/", "pip install --help"},
		{"asked of uv", machine{bin: map[string]string{"uv": "/opt/bin/uv"}, out: map[string]string{"uv pip install --help": "default text\n The default package index (by default: <https://uvhelp.example/simple>) [env: UV_DEFAULT_INDEX]"}},
			"https://uvhelp.example/simple/", "uv pip install --help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := pypi.New().Discover(t.Context(), &c.m)
			var urls []string
			for i, r := range got.Registries {
				urls = append(urls, r.URL)
				if r.Name == "" || r.Store == "" || (i == 0) != (r.Name == "public:pypi") || (i == 0) != (r.Store == "pypi-store") {
					t.Errorf("registry %d is %s, %s", i, r.Name, r.Store)
				}
			}
			if s := strings.Join(urls, " "); s != c.urls || !strings.Contains(got.Where, c.where) {
				t.Errorf("found %q in %q, want %q in %q", s, got.Where, c.urls, c.where)
			}
			if (len(urls) == 0) != (got.Missing != "" && strings.Contains(got.Example, "registry.example")) {
				t.Errorf("missing %q, example %q with %d registries", got.Missing, got.Example, len(urls))
			}
			if len(c.m.out) == 0 && len(c.m.bin) == 0 && len(c.m.ran) > 0 {
				t.Errorf("started %v", c.m.ran)
			}
		})
	}
}

func TestSetup(t *testing.T) {
	f := pypi.New()
	for base, want := range map[string]string{
		"http://127.0.0.1:5273/pypi/main":   "pip config set global.index-url http://127.0.0.1:5273/pypi/main/simple/",
		"https://larder.example/pypi/main/": "pip config set global.index-url https://larder.example/pypi/main/simple/",
		"http://larder.example/pypi/main":   "pip config set global.index-url http://larder.example/pypi/main/simple/ && pip config set global.trusted-host larder.example",
	} {
		if got := f.Setup(base); got != want {
			t.Errorf("Setup(%s) = %s, want %s", base, got, want)
		}
	}
}

var _ formats.Machine = (*machine)(nil)
