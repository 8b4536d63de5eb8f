// Package cargotest is a sparse crate registry in memory, for tests. It serves
// real crates that cargo builds, answers with validators and ranges, and panics
// when a version is given other bytes.
//
// It refuses to publish over HTTP and to be a mirror of anything: it knows what
// was added.
package cargotest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// IndexPath is where the index lies below the server's root; downloads and the
// web API lie elsewhere, so that only config.json leads to them.
const IndexPath = "/index/"

// Registry is a crate registry. Its methods may be called while it serves.
type Registry struct {
	mu       sync.Mutex
	crates   map[string]*crate // by lower-cased name
	dl       string            // template below the server's root
	noAPI    bool
	requests map[string]int
	modified time.Time
}

type crate struct {
	name     string
	releases []*release
	modified time.Time
}

type release struct {
	version string
	line    entry
	archive []byte
}

// Dep is a dependency of a crate.
type Dep struct {
	Name      string // as the code names it
	Package   string // the crate's name where it differs
	Req       string
	Features  []string
	Optional  bool
	NoDefault bool
	Kind      string // "" is normal; "dev", "build"
	Target    string // "" is all
}

// Crate is one version to add.
type Crate struct {
	Name, Version string
	Deps          []Dep
	Features      map[string][]string
	Lib           string // src/lib.rs
	Main          string // src/main.rs, "" for none
	Published     time.Time
	NoTime        bool // leave pubtime out
	Yanked        bool
}

// entry is an index line in the order in which real indexes write it.
type entry struct {
	Name        string              `json:"name"`
	Vers        string              `json:"vers"`
	Deps        []indexDep          `json:"deps"`
	Cksum       string              `json:"cksum"`
	Features    map[string][]string `json:"features"`
	Yanked      bool                `json:"yanked"`
	PubTime     string              `json:"pubtime,omitempty"`
	RustVersion string              `json:"rust_version,omitempty"`
	V           int                 `json:"v"`
	Later       string              `json:"x_field_of_a_later_cargo"`
}

type indexDep struct {
	Name            string   `json:"name"`
	Req             string   `json:"req"`
	Features        []string `json:"features"`
	Optional        bool     `json:"optional"`
	DefaultFeatures bool     `json:"default_features"`
	Target          *string  `json:"target"`
	Kind            string   `json:"kind"`
	Registry        *string  `json:"registry"`
	Package         *string  `json:"package,omitempty"`
}

// New returns a registry with a small default content; see content.go.
func New() *Registry {
	r := Empty()
	addDefaults(r)
	return r
}

// Empty returns a registry without crates.
func Empty() *Registry {
	return &Registry{
		crates: make(map[string]*crate), requests: make(map[string]int),
		dl:       "/files/{lowerprefix}/{crate}/{crate}-{version}.crate",
		modified: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Template sets where downloads lie below the server's root, with cargo's
// markers or without any.
func (r *Registry) Template(dl string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dl = dl
}

// NoAPI leaves the web API out of config.json.
func (r *Registry) NoAPI() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noAPI = true
}

// Add publishes a version.
func (r *Registry) Add(c Crate) {
	archive, err := build(c)
	if err != nil {
		panic(fmt.Sprintf("cargotest: add %s %s: %v", c.Name, c.Version, err))
	}
	line := entry{Name: c.Name, Vers: c.Version, Deps: []indexDep{}, Features: c.Features, Yanked: c.Yanked, V: 2, RustVersion: "1.56",
		Cksum: sum(archive), Later: "kept as it is"}
	if line.Features == nil {
		line.Features = map[string][]string{}
	}
	if !c.NoTime {
		line.PubTime = c.Published.UTC().Format("2006-01-02T15:04:05Z")
	}
	for _, d := range c.Deps {
		line.Deps = append(line.Deps, d.index())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.ToLower(c.Name)
	known := r.crates[key]
	if known == nil {
		known = &crate{name: c.Name}
		r.crates[key] = known
	}
	for _, old := range known.releases {
		if old.version == c.Version {
			if !bytes.Equal(old.archive, archive) {
				panic(fmt.Sprintf("cargotest: %s %s is immutable; use Mutate", c.Name, c.Version))
			}
			return
		}
	}
	known.releases = append(known.releases, &release{c.Version, line, archive})
	r.touch(known)
}

// touch moves Last-Modified forward. The caller holds mu.
func (r *Registry) touch(c *crate) {
	r.modified = r.modified.Add(time.Second)
	c.modified = r.modified
}

func (d Dep) index() indexDep {
	out := indexDep{Name: d.Name, Req: d.Req, Features: d.Features, Optional: d.Optional, DefaultFeatures: !d.NoDefault, Kind: d.Kind}
	if out.Features == nil {
		out.Features = []string{}
	}
	if out.Kind == "" {
		out.Kind = "normal"
	}
	if d.Target != "" {
		out.Target = &d.Target
	}
	if d.Package != "" {
		out.Package = &d.Package
	}
	return out
}

// find returns a version. The caller holds mu.
func (r *Registry) find(name, version string) *release {
	known := r.crates[strings.ToLower(name)]
	if known == nil {
		return nil
	}
	for _, rel := range known.releases {
		if rel.version == version {
			return rel
		}
	}
	return nil
}

// Yank sets or clears the yanked flag.
func (r *Registry) Yank(name, version string, yanked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find(name, version).line.Yanked = yanked
	r.touch(r.crates[strings.ToLower(name)])
}

// Mutate changes the bytes of a crate behind its checksum, as an attacker or a
// broken mirror would.
func (r *Registry) Mutate(name, version string, archive []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find(name, version).archive = archive
}

// MutateIndex changes the checksum in the index too.
func (r *Registry) MutateIndex(name, version string, archive []byte) {
	r.Mutate(name, version, archive)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find(name, version).line.Cksum = sum(archive)
	r.touch(r.crates[strings.ToLower(name)])
}

// Withdraw removes a version's line and archive.
func (r *Registry) Withdraw(name, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.crates[strings.ToLower(name)]
	known.releases = slices.DeleteFunc(known.releases, func(rel *release) bool { return rel.version == version })
	r.touch(known)
}

// Archive returns the bytes of a crate.
func (r *Registry) Archive(name, version string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(name, version).archive
}

// Index returns the bytes of a crate's index file.
func (r *Registry) Index(name string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.crates[strings.ToLower(name)].index()
}

// index writes one line a version.
func (c *crate) index() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for _, rel := range c.releases {
		if err := enc.Encode(rel.line); err != nil {
			panic(fmt.Sprintf("cargotest: write index of %s: %v", c.name, err))
		}
	}
	return out.Bytes()
}

// Requests returns how often a path was asked for.
func (r *Registry) Requests(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[path]
}

// Total returns the number of requests so far.
func (r *Registry) Total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.requests {
		n += c
	}
	return n
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// build packs a .crate: a gzipped tar below NAME-VERSION/.
func build(c Crate) ([]byte, error) {
	files := []struct{ name, text string }{{"Cargo.toml", manifest(c)}, {"src/lib.rs", c.Lib}}
	if c.Main != "" {
		files = append(files, struct{ name, text string }{"src/main.rs", c.Main})
	}
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, f := range files {
		h := &tar.Header{Name: c.Name + "-" + c.Version + "/" + f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: time.Unix(1, 0), Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(tw, f.text); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := gz.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// manifest is the Cargo.toml as cargo package would normalise it.
func manifest(c Crate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[package]\nname = %q\nversion = %q\nedition = \"2021\"\ndescription = \"a test crate\"\nlicense = \"CC0-1.0\"\n", c.Name, c.Version)
	for _, d := range c.Deps {
		section := "dependencies"
		if d.Kind != "" {
			section = d.Kind + "-dependencies"
		}
		if d.Target != "" {
			section = "target." + fmt.Sprintf("%q", d.Target) + "." + section
		}
		fmt.Fprintf(&b, "\n[%s.%s]\nversion = %q\n", section, d.Name, d.Req)
		if d.Package != "" {
			fmt.Fprintf(&b, "package = %q\n", d.Package)
		}
		if d.Optional {
			b.WriteString("optional = true\n")
		}
		if d.NoDefault {
			b.WriteString("default-features = false\n")
		}
		if len(d.Features) > 0 {
			fmt.Fprintf(&b, "features = %s\n", tomlList(d.Features))
		}
	}
	if len(c.Features) > 0 {
		b.WriteString("\n[features]\n")
		names := make([]string, 0, len(c.Features))
		for name := range c.Features {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(&b, "%s = %s\n", name, tomlList(c.Features[name]))
		}
	}
	return b.String()
}

func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var _ http.Handler = (*Registry)(nil)
