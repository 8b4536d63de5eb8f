package pypi

import (
	"bufio"
	"bytes"
	"path/filepath"
	"strings"

	"larder/formats"
)

// pipConfig is what pip would take from its files and environment.
type pipConfig struct {
	index   setting
	extra   setting
	noIndex setting
}

type setting struct{ value, where string }

// pipLayer is one configuration file, section.key -> value.
type pipLayer struct {
	where  string
	values map[string]string
}

// readPipConfig follows pip's order: files from the least to the most specific,
// each key on its own; then [install] over [global] whatever the file; then
// PIP_* over all. Empty values do not count.
func readPipConfig(m formats.Machine, prefixes []string) pipConfig {
	merged := make(map[string]setting)
	for _, layer := range pipLayers(m, prefixes) {
		for key, val := range layer.values {
			merged[key] = setting{val, "pip configuration (" + layer.where + ")"}
		}
	}
	get := func(names ...string) setting {
		for _, name := range names {
			env := "PIP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
			if val := strings.TrimSpace(m.Getenv(env)); val != "" {
				return setting{val, "environment (" + env + ")"}
			}
		}
		for _, section := range [...]string{"install.", "download.", "global."} {
			for _, name := range names {
				if s := merged[section+name]; strings.TrimSpace(s.value) != "" {
					return s
				}
			}
		}
		return setting{}
	}
	return pipConfig{
		index:   get("index-url", "pypi-url"),
		extra:   get("extra-index-url"),
		noIndex: get("no-index"),
	}
}

func pipLayers(m formats.Machine, prefixes []string) []pipLayer {
	explicit := m.Getenv("PIP_CONFIG_FILE")
	if explicit == "/dev/null" || strings.EqualFold(explicit, "nul") {
		return nil // pip's way to switch all files off
	}
	var paths []string
	dirs := m.Getenv("XDG_CONFIG_DIRS")
	if dirs == "" {
		dirs = "/etc/xdg"
	}
	for _, dir := range filepath.SplitList(dirs) {
		paths = append(paths, filepath.Join(dir, "pip", "pip.conf"))
	}
	paths = append(paths, "/Library/Application Support/pip/pip.conf", "/etc/pip.conf")
	if dir := m.Getenv("ProgramData"); dir != "" {
		paths = append(paths, filepath.Join(dir, "pip", "pip.ini"))
	}
	replaced := false // a named file that exists stands in for the user's own
	if explicit != "" {
		_, err := m.ReadFile(explicit)
		replaced = err == nil
	}
	if !replaced {
		paths = append(paths, userConfig(m)...)
	}
	for i := len(prefixes) - 1; i >= 0; i-- {
		paths = append(paths, filepath.Join(prefixes[i], "pip.conf"))
	}
	if explicit != "" {
		paths = append(paths, explicit)
	}
	var out []pipLayer
	for _, path := range paths {
		if text, err := m.ReadFile(path); err == nil {
			out = append(out, pipLayer{path, parseINI(text)})
		}
	}
	return out
}

func userConfig(m formats.Machine) []string {
	home := m.Home()
	config := m.Getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(home, ".config")
	}
	paths := []string{
		filepath.Join(home, ".pip", "pip.conf"),
		filepath.Join(config, "pip", "pip.conf"),
		filepath.Join(home, "Library", "Application Support", "pip", "pip.conf"),
	}
	if dir := m.Getenv("APPDATA"); dir != "" {
		paths = append(paths, filepath.Join(dir, "pip", "pip.ini"))
	}
	return paths
}

// parseINI reads the dialect of Python's configparser as pip uses it: sections,
// "key = value" or "key: value", indented continuation lines, whole-line
// comments. Keys are lower-cased and "_" becomes "-".
func parseINI(text []byte) map[string]string {
	out := make(map[string]string)
	section, key := "", ""
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
			continue
		case line[0] == ' ' || line[0] == '\t':
			if key != "" {
				out[key] = strings.TrimSpace(out[key] + "\n" + trimmed)
			}
			continue
		case trimmed[0] == '[':
			section, _, _ = strings.Cut(trimmed[1:], "]")
			key = ""
			continue
		}
		name, val := trimmed, ""
		if i := strings.IndexAny(trimmed, "=:"); i >= 0 {
			name, val = trimmed[:i], trimmed[i+1:]
		}
		name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
		key = section + "." + strings.TrimPrefix(name, "--")
		out[key] = strings.TrimSpace(val)
	}
	return out
}

// truthy reads a flag as pip does.
func truthy(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "y", "yes", "t", "true", "on", "1":
		return true
	}
	return false
}
