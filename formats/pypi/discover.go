package pypi

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"larder/formats"
)

const exampleConfig = `[[connection]]
name = "public:pypi"
format = "pypi"
url = "https://registry.example/simple/"

[[repository]]
name = "pypi-store"
connection = "public:pypi"
`

// Discover learns which indexes this machine's pip uses, and uv where it has
// settings of its own. The first found is the index, the rest are further ones.
func (f *Format) Discover(ctx context.Context, m formats.Machine) formats.Finding {
	py := findPython(m)
	pip := readPipConfig(m, py.prefixes)
	uv := readUV(m)
	var candidates []setting
	if !truthy(pip.noIndex.value) {
		candidates = append(candidates, pip.index)
	}
	candidates = append(candidates, uv.index, hint(m, "PIPENV_PYPI_MIRROR"), hint(m, "PDM_PYPI_URL"))
	var finding formats.Finding
	skipped := ""
	for _, c := range candidates {
		base, why := indexBase(c.value)
		if base == "" {
			if c.value != "" {
				skipped = c.where + " " + why
			}
			continue
		}
		finding.Where = c.where
		finding.Registries = []formats.Registry{{Name: "public:pypi", Store: "pypi-store", URL: base}}
		break
	}
	if len(finding.Registries) == 0 && !truthy(pip.noIndex.value) {
		c := builtinIndex(ctx, m, py)
		if base, _ := indexBase(c.value); base != "" {
			finding.Where = c.where
			finding.Registries = []formats.Registry{{Name: "public:pypi", Store: "pypi-store", URL: base}}
		}
	}
	// What the other client uses besides counts as a further index.
	further := append(strings.Fields(pip.extra.value), uv.index.value)
	for _, c := range append(further, uv.extra...) {
		finding.Registries = addExtra(finding.Registries, c)
	}
	if len(finding.Registries) == 0 {
		finding.Example = exampleConfig
		switch {
		case truthy(pip.noIndex.value):
			finding.Missing = "pip is told to use no index: " + pip.noIndex.where
		case skipped != "":
			finding.Missing = skipped + ", and no installed pip told another"
		default:
			finding.Missing = "neither pip nor uv is installed or configured here"
		}
	}
	return finding
}

// Setup is the line that points pip at an endpoint. Plain HTTP to another
// machine needs pip's consent as well.
func (f *Format) Setup(base string) string {
	base = strings.TrimRight(base, "/")
	line := "pip config set global.index-url " + base + "/simple/"
	if u, err := url.Parse(base); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		line += " && pip config set global.trusted-host " + u.Hostname()
	}
	return line
}

func hint(m formats.Machine, env string) setting {
	return setting{strings.TrimSpace(m.Getenv(env)), "environment (" + env + ")"}
}

// indexBase makes a base that a project's name can be appended to; "" with the
// reason for what is no index to fetch from.
func indexBase(text string) (base, why string) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", "names no http index"
	}
	if strings.HasPrefix(u.Path, "/pypi/") && loopback(u.Hostname()) {
		return "", "points at this node already"
	}
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/", ""
	return u.String(), ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// addExtra appends a further index, named after its address so that the name
// stays when others come and go.
func addExtra(list []formats.Registry, text string) []formats.Registry {
	base, _ := indexBase(text)
	if base == "" || slices.ContainsFunc(list, func(r formats.Registry) bool { return bare(r.URL) == bare(base) }) {
		return list
	}
	if len(list) == 0 {
		return append(list, formats.Registry{Name: "public:pypi", Store: "pypi-store", URL: base})
	}
	slug := slugOf(base)
	if slices.ContainsFunc(list, func(r formats.Registry) bool { return r.Name == "public:pypi-"+slug }) {
		return list
	}
	return append(list, formats.Registry{Name: "public:pypi-" + slug, Store: "pypi-" + slug + "-store", URL: base})
}

func bare(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.User = nil
	return u.String()
}

func slugOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "extra"
	}
	words := strings.FieldsFunc(strings.ToLower(u.Host+"/"+strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/simple")), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	})
	slug := strings.Join(words, "-")
	return strings.Trim(slug[:min(len(slug), 60)], "-")
}

// uvConfig is what uv would use instead of pip's settings, which it ignores.
type uvConfig struct {
	index setting
	extra []string
}

type uvFile struct {
	IndexURL string    `toml:"index-url"`
	Extra    []string  `toml:"extra-index-url"`
	Index    []uvIndex `toml:"index"`
	Pip      struct {
		IndexURL string   `toml:"index-url"`
		Extra    []string `toml:"extra-index-url"`
	} `toml:"pip"`
}

type uvIndex struct {
	URL     string `toml:"url"`
	Default bool   `toml:"default"`
}

func readUV(m formats.Machine) uvConfig {
	var c uvConfig
	for _, env := range [...]string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if h := hint(m, env); h.value != "" && c.index.value == "" {
			h.value = unnamed(h.value)
			c.index = h
		}
	}
	for _, env := range [...]string{"UV_INDEX", "UV_EXTRA_INDEX_URL"} {
		for _, text := range strings.Fields(m.Getenv(env)) {
			c.extra = append(c.extra, unnamed(text))
		}
	}
	for _, file := range uvFiles(m) {
		text, err := m.ReadFile(file)
		if err != nil {
			continue
		}
		var u uvFile
		if toml.Unmarshal(text, &u) != nil {
			continue
		}
		index := u.IndexURL
		for _, i := range u.Index {
			if i.Default && index == "" {
				index = i.URL
			} else {
				c.extra = append(c.extra, i.URL)
			}
		}
		if index == "" {
			index = u.Pip.IndexURL
		}
		if index != "" && c.index.value == "" {
			c.index = setting{index, "uv configuration (" + file + ")"}
		}
		c.extra = append(append(c.extra, u.Extra...), u.Pip.Extra...)
	}
	return c
}

// uvFiles are uv's files, the most specific first.
func uvFiles(m formats.Machine) []string {
	if file := m.Getenv("UV_CONFIG_FILE"); file != "" {
		return []string{file}
	}
	config := m.Getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(m.Home(), ".config")
	}
	dirs := m.Getenv("XDG_CONFIG_DIRS")
	if dirs == "" {
		dirs = "/etc/xdg"
	}
	files := []string{filepath.Join(config, "uv", "uv.toml")}
	for _, dir := range filepath.SplitList(dirs) {
		files = append(files, filepath.Join(dir, "uv", "uv.toml"))
	}
	return append(files, "/etc/uv/uv.toml")
}

// unnamed strips uv's "name=" before an index address.
func unnamed(text string) string {
	if name, rest, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, ":/") {
		return rest
	}
	return text
}
