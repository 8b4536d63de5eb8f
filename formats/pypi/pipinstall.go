package pypi

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"larder/formats"
)

// indexModule is where pip keeps the address of its default index.
const indexModule = "pip/_internal/models/index.py"

// python is the Python installation that answers to "pip" on this machine.
type python struct {
	prefixes []string // in the order in which their pip would be found
	others   []string // further places where a pip may lie
}

// findPython works out installation prefixes from the environment and from the
// files that "pip" and "python3" lead to, without starting any of them.
func findPython(m formats.Machine) python {
	var p python
	add := func(prefix string) {
		if prefix = filepath.Clean(prefix); prefix != "/" && prefix != "." && !slices.Contains(p.prefixes, prefix) {
			p.prefixes = append(p.prefixes, prefix)
		}
	}
	if venv := m.Getenv("VIRTUAL_ENV"); venv != "" {
		add(venv)
	}
	for _, name := range [...]string{"pip", "pip3", "python3", "python"} {
		found, err := m.LookPath(name)
		if err != nil {
			continue
		}
		if root, ok := pyenvRoot(found); ok {
			for _, v := range pyenvVersions(m, root) {
				add(filepath.Join(root, "versions", v))
			}
			p.others = append(p.others, filepath.Join(root, "versions", "*"))
			continue
		}
		if strings.HasPrefix(name, "pip") {
			if interpreter := shebang(m, found); interpreter != "" {
				add(filepath.Dir(filepath.Dir(interpreter)))
			}
		}
		add(filepath.Dir(filepath.Dir(found)))
	}
	for _, root := range []string{m.Getenv("CONDA_PREFIX"), "/usr/local", "/usr"} {
		if root != "" {
			p.others = append(p.others, root)
		}
	}
	p.others = append(p.others, filepath.Join(m.Home(), ".local"))
	return p
}

func pyenvRoot(found string) (string, bool) {
	dir := filepath.Dir(found)
	return filepath.Dir(dir), filepath.Base(dir) == "shims"
}

func pyenvVersions(m formats.Machine, root string) []string {
	text := strings.ReplaceAll(m.Getenv("PYENV_VERSION"), ":", "\n")
	if strings.TrimSpace(text) == "" {
		raw, err := m.ReadFile(filepath.Join(root, "version"))
		if err != nil {
			return nil
		}
		text = string(raw)
	}
	var out []string
	for _, v := range strings.Fields(text) {
		if cleanSegment(v) && v != "system" {
			out = append(out, v)
		}
	}
	return out
}

// shebang returns the interpreter that a script names.
func shebang(m formats.Machine, script string) string {
	text, err := m.ReadFile(script)
	if err != nil || !bytes.HasPrefix(text, []byte("#!")) {
		return ""
	}
	line, _, _ := bytes.Cut(text[2:], []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) == 0 || !strings.Contains(filepath.Base(words[len(words)-1]), "python") {
		return ""
	}
	if path.Base(words[0]) == "env" {
		found, err := m.LookPath(words[len(words)-1])
		if err != nil {
			return ""
		}
		return found
	}
	return words[0]
}

// builtinIndex learns pip's default index: from pip's own module, then from the
// copy that Python bundles to make virtual environments with, then from what
// the clients print about themselves.
func builtinIndex(ctx context.Context, m formats.Machine, p python) setting {
	for _, prefix := range slices.Concat(p.prefixes, p.others) {
		for _, lib := range [...]string{"lib/python3*/site-packages", "lib/python3/dist-packages", "local/lib/python3*/dist-packages", "lib/python2*/site-packages", "Lib/site-packages"} {
			for _, file := range newestFirst(m.Glob(filepath.Join(prefix, lib, indexModule))) {
				if text, err := m.ReadFile(file); err == nil {
					if u := indexInModule(text); u != "" {
						return setting{u, "pip's built-in default (" + file + ")"}
					}
				}
			}
		}
	}
	for _, prefix := range slices.Concat(p.prefixes, p.others) {
		for _, lib := range [...]string{"share/python-wheels", "lib/python3*/ensurepip/_bundled"} {
			for _, file := range newestFirst(m.Glob(filepath.Join(prefix, lib, "pip-*.whl"))) {
				if text, err := m.ReadFile(file); err == nil {
					if u := indexInWheel(text); u != "" {
						return setting{u, "pip's built-in default (" + file + ")"}
					}
				}
			}
		}
	}
	return askedIndex(ctx, m)
}

func newestFirst(files []string) []string {
	slices.Reverse(files)
	return files
}

// indexInModule finds the assignment to PyPI and derives the simple index from
// the registry's root as pip does.
func indexInModule(text []byte) string {
	i := bytes.Index(append([]byte("\n"), text...), []byte("\nPyPI = "))
	if i < 0 {
		return ""
	}
	words := strings.FieldsFunc(string(text[i:min(len(text), i+512)]), func(r rune) bool { return r == '"' || r == '\'' })
	if len(words) < 2 {
		return ""
	}
	root, err := url.Parse(words[1])
	if err != nil {
		return ""
	}
	return root.ResolveReference(&url.URL{Path: "simple"}).String()
}

func indexInWheel(text []byte) string {
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return ""
	}
	f, err := z.Open(indexModule)
	if err != nil {
		return ""
	}
	defer f.Close()
	module, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	return indexInModule(module)
}

// askedIndex starts the clients, slowest last resort: their help names the
// default.
func askedIndex(ctx context.Context, m formats.Machine) setting {
	for _, command := range [...][]string{
		{"pip", "install", "--help"},
		{"pip3", "install", "--help"},
		{"python3", "-m", "pip", "install", "--help"},
		{"uv", "pip", "install", "--help"},
	} {
		if _, err := m.LookPath(command[0]); err != nil {
			continue
		}
		env := []string{"COLUMNS=2000", "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "NO_COLOR=1"}
		text, err := m.Run(ctx, env, command[0], command[1:]...)
		if err != nil {
			continue
		}
		if u := indexInHelp(text); u != "" {
			return setting{u, "built-in default, as " + strings.Join(command, " ") + " prints it"}
		}
	}
	return setting{}
}

// indexInHelp finds "default URL" in the description of an index option: pip
// writes "(default URL)", uv "(by default: <URL>)".
func indexInHelp(text string) string {
	words := strings.Fields(text)
	for i, w := range words[:max(len(words)-1, 0)] {
		if strings.TrimRight(strings.TrimLeft(w, "("), ":") != "default" {
			continue
		}
		next := strings.Trim(words[i+1], "<>().,")
		if u, err := url.Parse(next); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
			return next
		}
	}
	return ""
}
