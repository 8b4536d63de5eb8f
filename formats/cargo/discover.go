package cargo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"larder/formats"
)

// OptToken is a registry's credential as cargo sends it: the whole value of the
// Authorization header, without a scheme word.
const OptToken = "token"

// cratesIO is cargo's name for its default source.
const cratesIO = "crates-io"

// example is what to write when nothing was found.
const example = `[[connection]]
name = "public:crates-io"
format = "cargo"
url = "https://registry.example/index/"
`

// Setup appends source replacement to cargo's configuration. Tables at the end
// of the file are safe wherever the file ends; lockfiles do not change. The
// replacement is a registry, not a source, so that cargo search and cargo info
// work with --registry larder.
func (*Format) Setup(base string) string {
	return `printf '\n[source.crates-io]\nreplace-with = "larder"\n[registries.larder]\nindex = "sparse+` +
		strings.TrimSuffix(base, "/") + `/"\ncredential-provider = "cargo:token"\n' >> "${CARGO_HOME:-$HOME/.cargo}/config.toml"`
}

// configFile is the part of cargo's configuration that names registries (The
// Cargo Book, "Configuration" and "Source Replacement").
type configFile struct {
	Source     map[string]sourceTable   `toml:"source"`
	Registries map[string]registryTable `toml:"registries"`
}

type sourceTable struct {
	ReplaceWith   string `toml:"replace-with"`
	Registry      string `toml:"registry"`
	LocalRegistry string `toml:"local-registry"`
	Directory     string `toml:"directory"`
	Git           string `toml:"git"`
}

type registryTable struct {
	Index    string `toml:"index"`
	Protocol string `toml:"protocol"`
	Token    string `toml:"token"`
}

// Discover reads cargo's configuration and environment; the default source's
// address, which stands in no file, is what cargo itself tries to reach.
func (f *Format) Discover(ctx context.Context, m formats.Machine) formats.Finding {
	finding := formats.Finding{Example: example}
	config, where, err := readConfigFiles(m)
	if err != nil {
		finding.Missing = err.Error()
		return finding
	}
	addEnvironment(m, &config)
	index, name, err := resolve(config)
	var missing []string
	if err != nil {
		missing = append(missing, err.Error())
	} else if index == "" {
		index, err = askCargo(ctx, m)
		where = "the index that cargo asks for by default"
		if err != nil {
			missing = append(missing, err.Error())
		}
	}
	if index != "" {
		if base, err := sparseBase(index); err != nil {
			missing = append(missing, err.Error())
		} else {
			finding.Registries = append(finding.Registries, registryOf("public:crates-io", "crates-store", base, config.Registries[name].Token))
		}
	}
	for _, other := range sortedKeys(config.Registries) {
		table := config.Registries[other]
		if other == name || other == cratesIO || table.Index == "" {
			continue
		}
		base, err := sparseBase(table.Index)
		if err != nil {
			missing = append(missing, fmt.Sprintf("registry %s: %v", other, err))
			continue
		}
		finding.Registries = append(finding.Registries, registryOf("public:cargo-"+other, "cargo-"+other+"-store", base, table.Token))
	}
	if len(finding.Registries) == 0 {
		finding.Missing = strings.Join(missing, "; ")
		return finding
	}
	finding.Where, finding.Example = where, ""
	return finding
}

func registryOf(name, store, base, token string) formats.Registry {
	r := formats.Registry{Name: name, Store: store, URL: base}
	if token != "" {
		r.Options = map[string]string{OptToken: token}
	}
	return r
}

// home is $CARGO_HOME, else ~/.cargo.
func home(m formats.Machine) string {
	if dir := m.Getenv("CARGO_HOME"); dir != "" {
		return dir
	}
	if m.Home() == "" {
		return ""
	}
	return filepath.Join(m.Home(), ".cargo")
}

// readConfigFiles reads config and credentials of the cargo home. Where both
// spellings of a file exist, cargo takes the one without extension. The files
// of project directories do not speak for the machine and are left alone.
func readConfigFiles(m formats.Machine) (configFile, string, error) {
	config := configFile{Source: map[string]sourceTable{}, Registries: map[string]registryTable{}}
	dir := home(m)
	if dir == "" {
		return config, "", nil
	}
	data, path := readEither(m, filepath.Join(dir, "config"))
	if err := toml.Unmarshal(data, &config); err != nil {
		return config, "", fmt.Errorf("cargo's %s could not be parsed", filepath.Base(path))
	}
	data, path = readEither(m, filepath.Join(dir, "credentials"))
	var credentials configFile
	if err := toml.Unmarshal(data, &credentials); err != nil {
		return config, "", fmt.Errorf("cargo's %s could not be parsed", filepath.Base(path))
	}
	for name, secret := range credentials.Registries {
		if table, ok := config.Registries[name]; ok && secret.Token != "" {
			table.Token = secret.Token
			config.Registries[name] = table
		}
	}
	return config, "cargo's configuration in the cargo home", nil
}

func readEither(m formats.Machine, path string) ([]byte, string) {
	for _, p := range []string{path, path + ".toml"} {
		if data, err := m.ReadFile(p); err == nil {
			return data, p
		}
	}
	return nil, path
}

// addEnvironment applies CARGO_REGISTRIES_NAME_INDEX, _TOKEN and _PROTOCOL.
// Names come from the files, since an environment variable spells "-" as "_";
// source tables have no environment variables (The Cargo Book, "source").
func addEnvironment(m formats.Machine, config *configFile) {
	for _, name := range append(sortedKeys(config.Registries), cratesIO) {
		prefix := "CARGO_REGISTRIES_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_"
		table := config.Registries[name]
		for suffix, field := range map[string]*string{"INDEX": &table.Index, "TOKEN": &table.Token, "PROTOCOL": &table.Protocol} {
			if v := m.Getenv(prefix + suffix); v != "" {
				*field = strings.TrimSpace(v)
			}
		}
		if table != (registryTable{}) {
			config.Registries[name] = table
		}
	}
}

// resolve follows source replacement from the default source. index is "" where
// nothing replaces it; name is the registry whose token goes with it.
func resolve(config configFile) (index, name string, err error) {
	name = cratesIO
	for range 16 {
		source, ok := config.Source[name]
		switch {
		case ok && source.ReplaceWith != "":
			name = source.ReplaceWith
		case ok && source.Registry != "":
			return source.Registry, name, nil
		case ok && (source.Directory != "" || source.LocalRegistry != "" || source.Git != ""):
			return "", name, fmt.Errorf("crates-io is replaced with %s, which is not a sparse registry", name)
		case name == cratesIO:
			if config.Registries[cratesIO].Protocol == "git" {
				return "", name, errors.New("cargo is configured to use the git index of crates-io, which larder does not read")
			}
			return "", "", nil
		default:
			if index := config.Registries[name].Index; index != "" {
				return index, name, nil
			}
			return "", name, fmt.Errorf("crates-io is replaced with %s, which is not defined", name)
		}
	}
	return "", name, errors.New("source replacement of crates-io is circular")
}

// sparseBase turns "sparse+URL" into the URL with a trailing slash.
func sparseBase(index string) (string, error) {
	rest, ok := strings.CutPrefix(index, "sparse+")
	if !ok {
		return "", errors.New("its index is a git repository; only sparse indexes are read")
	}
	u, err := url.Parse(rest)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("its index is not an http or https URL")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u.String(), nil
}

// configURLPattern finds the address of config.json in cargo's complaint.
const configURLPattern = `(https?://[^\s` + "`" + `'"]+/)config\.json`

// askCargo lets cargo try to read its default index through a proxy that is not
// there, in an empty home. It fails at once and names the URL that it wanted.
func askCargo(ctx context.Context, m formats.Machine) (string, error) {
	if _, err := m.LookPath("cargo"); err != nil {
		return "", errors.New("no cargo command, and nothing in its configuration")
	}
	env := []string{
		"CARGO_HOME=" + m.TempDir(),
		"CARGO_HTTP_PROXY=http://127.0.0.1:9",
		"CARGO_NET_RETRY=0",
		"CARGO_NET_OFFLINE=false",
		"CARGO_REGISTRY_DEFAULT=" + cratesIO,
		"CARGO_TERM_COLOR=never",
		"RUSTUP_AUTO_INSTALL=0",
	}
	out, err := m.Run(ctx, env, "cargo", "search", "larder")
	if match := regexp.MustCompile(configURLPattern).FindStringSubmatch(out); match != nil {
		return "sparse+" + match[1], nil
	}
	if strings.Contains(out, "git") && strings.Contains(out, "fetch") {
		return "", errors.New("this cargo reads the git index by default; larder reads sparse indexes, which cargo has since 1.68")
	}
	if err != nil {
		return "", errors.New("cargo did not name its default index")
	}
	return "", errors.New("cargo answered without its default index")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
