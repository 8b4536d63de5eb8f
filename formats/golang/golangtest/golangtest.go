// Package golangtest is a module proxy and a checksum database in memory, for
// tests. It serves real modules that the go command builds, answers with
// validators and ranges, and panics when a version is given other bytes.
//
// It refuses to be a proxy for anything outside: it knows what was added.
package golangtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	modzip "golang.org/x/mod/zip"
)

// SumDBName is the name of the private checksum database.
const SumDBName = "sumdb.registry.example"

// Registry is a module proxy with its checksum database. Its methods may be
// called while it serves.
type Registry struct {
	db   *database
	sums *sumdb.Server
	key  string // verifier key

	mu       sync.Mutex
	modules  map[string]*mod
	queries  map[string]string // "path@branch" -> version
	relays   bool              // whether /sumdb/ is offered
	bare     bool              // see Bare
	private  map[string]bool   // module paths that the database must never be asked for
	requests map[string]int    // by path
	leaked   []string
}

type mod struct {
	versions map[string]*release
	latest   string // version that @latest names, "" for 404
	times    bool   // whether the list has a time column
}

type release struct {
	info, mod, zip []byte
	at             time.Time
}

// New returns a registry with a small default content; see content.go.
func New() *Registry {
	r := Empty()
	addDefaults(r)
	return r
}

// Empty returns a registry without modules.
func Empty() *Registry {
	secret, verifier := keys(SumDBName)
	signer, err := note.NewSigner(secret)
	if err != nil {
		panic(fmt.Sprintf("golangtest: make the database's key: %v", err))
	}
	db := &database{signer: signer, ids: make(map[module.Version]int64)}
	return &Registry{
		db: db, sums: sumdb.NewServer(db), key: verifier, relays: true,
		modules: make(map[string]*mod), queries: make(map[string]string),
		private: make(map[string]bool), requests: make(map[string]int),
	}
}

// SumDBKey is the database's verifier key: GOSUMDB's first field.
func (r *Registry) SumDBKey() string { return r.key }

// SumDB is the database at an address of its own: GOSUMDB's second field.
func (r *Registry) SumDB() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, rq *http.Request) {
		r.count("sumdb:" + rq.URL.Path)
		r.watch(rq.URL.Path)
		r.sums.ServeHTTP(w, rq)
	})
}

// Relay says whether the proxy offers the database below /sumdb/; New does.
func (r *Registry) Relay(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = on
}

// Private marks a module that no client may ask the database for; see Leaked.
func (r *Registry) Private(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.private[path] = true
}

// Leaked lists private modules that the database was asked for.
func (r *Registry) Leaked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.leaked)
}

// Requests returns how often a path was asked for, "sumdb:" before the paths of
// the database's own address.
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

func (r *Registry) count(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[path]++
}

// Add publishes a version. files are paths inside the module and must include
// go.mod, unless the version is +incompatible.
func (r *Registry) Add(modPath, version string, at time.Time, files map[string]string) {
	rel, err := build(modPath, version, at, files)
	if err != nil {
		panic(fmt.Sprintf("golangtest: add %s@%s: %v", modPath, version, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.modules[modPath]
	if m == nil {
		m = &mod{versions: make(map[string]*release)}
		r.modules[modPath] = m
	}
	if old := m.versions[version]; old != nil && !(bytes.Equal(old.zip, rel.zip) && bytes.Equal(old.info, rel.info)) {
		panic(fmt.Sprintf("golangtest: %s@%s is immutable; use Mutate", modPath, version))
	}
	m.versions[version] = rel
	if err := r.db.add(module.Version{Path: modPath, Version: version}, rel); err != nil {
		panic(fmt.Sprintf("golangtest: record %s@%s: %v", modPath, version, err))
	}
	if m.latest == "" || better(version, m.latest) {
		m.latest = version
	}
}

// better orders versions for @latest: releases, prereleases, pseudo-versions.
func better(a, b string) bool {
	rank := func(v string) int {
		switch {
		case module.IsPseudoVersion(v):
			return 0
		case semver.Prerelease(v) != "":
			return 1
		}
		return 2
	}
	if rank(a) != rank(b) {
		return rank(a) > rank(b)
	}
	return semver.Compare(a, b) > 0
}

// Mutate changes the bytes of a version's file ("info", "mod" or "zip"), as an
// attacker or a careless mirror would. The database keeps the old checksum.
func (r *Registry) Mutate(modPath, version, ext string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.modules[modPath].versions[version]
	changed := *old
	switch ext {
	case "info":
		changed.info = data
	case "mod":
		changed.mod = data
	case "zip":
		changed.zip = data
	default:
		panic("golangtest: mutate " + ext)
	}
	r.modules[modPath].versions[version] = &changed
}

// Tamper replaces a version's zip by a valid one with a file more; the database
// keeps the old checksum.
func (r *Registry) Tamper(modPath, version string) {
	mod := r.File(modPath, version, "mod")
	rel, err := build(modPath, version, time.Time{}, map[string]string{"go.mod": string(mod), "tampered.go": "package tampered\n"})
	if err != nil {
		panic(fmt.Sprintf("golangtest: tamper with %s@%s: %v", modPath, version, err))
	}
	r.Mutate(modPath, version, "zip", rel.zip)
}

// Grow appends n records to the database, of modules that nobody can download,
// as other people's releases do.
func (r *Registry) Grow(n int) error { return r.db.grow(n) }

// Withdraw removes a version, as if its tag had never been.
func (r *Registry) Withdraw(modPath, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.modules[modPath].versions, version)
}

// Branch lets {module}/@v/{name}.info answer with version.
func (r *Registry) Branch(modPath, name, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries[modPath+"@"+name] = version
}

// Times adds the time column to a module's list.
func (r *Registry) Times(modPath string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.modules[modPath].times = true
}

// Bare makes it answer as plain mirrors do: no @latest, and lists that name
// pseudo-versions.
func (r *Registry) Bare(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bare = on
}

// File returns the bytes of a version's file ("info", "mod" or "zip").
func (r *Registry) File(modPath, version, ext string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.modules[modPath]; m != nil && m.versions[version] != nil {
		return m.versions[version].file(ext)
	}
	return nil
}

func (rel *release) file(ext string) []byte {
	return map[string][]byte{"info": rel.info, "mod": rel.mod, "zip": rel.zip}[ext]
}

// build makes the three files of a version.
func build(modPath, version string, at time.Time, files map[string]string) (*release, error) {
	if err := module.Check(modPath, version); err != nil {
		return nil, err
	}
	rel := &release{at: at.UTC()}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
		Origin  map[string]string
	}{version, rel.at, map[string]string{"VCS": "git", "URL": "https://" + modPath, "Ref": "refs/tags/" + version}})
	if err != nil {
		return nil, err
	}
	rel.info = info
	rel.mod = []byte(files["go.mod"])
	if len(rel.mod) == 0 {
		rel.mod = []byte("module " + modPath + "\n")
	}
	var entries []modzip.File
	for name, text := range files {
		entries = append(entries, entry{name, text})
	}
	slices.SortFunc(entries, func(a, b modzip.File) int { return strings.Compare(a.Path(), b.Path()) })
	var buf bytes.Buffer
	if err := modzip.Create(&buf, module.Version{Path: modPath, Version: version}, entries); err != nil {
		return nil, err
	}
	rel.zip = buf.Bytes()
	return rel, nil
}

// entry is one file of a module.
type entry struct{ name, text string }

func (e entry) Path() string { return e.name }

func (e entry) Lstat() (os.FileInfo, error) { return fileInfo(e), nil }

func (e entry) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(e.text)), nil }

type fileInfo entry

func (f fileInfo) Name() string     { return path.Base(f.name) }
func (f fileInfo) Size() int64      { return int64(len(f.text)) }
func (fileInfo) Mode() os.FileMode  { return 0o644 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }
