// Package pypitest is a Python package index in memory: tiny real wheels and
// source distributions, pages shaped as a large public index shapes them, and
// switches for the ways in which other indexes differ. It polices immutability:
// other bytes under a known file name panic unless Mutate puts them there. It
// is for tests only and takes no uploads.
package pypitest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Registry is the index. Its base for pip is URL/simple/. All methods are safe
// for concurrent use; those that change it panic on misuse, since only a test
// can misuse them.
type Registry struct {
	mu struct {
		sync.Mutex
		projects  map[string]*project
		files     map[string]*dist // by path
		requests  []Request
		htmlOnly  bool
		filesBase string
		user, key string
		serial    int
	}
}

// Request is one request that the registry saw.
type Request struct {
	Method, Path, Accept, Range string
	Status                      int
}

// project is one name with its files in upload order.
type project struct {
	name           string // normalised
	status, reason string
	changed        time.Time
	dists          []*dist
}

// dist is one distribution file.
type dist struct {
	project  string
	version  string
	file     string
	path     string
	body     []byte
	declared string // SHA-256 that pages promise
	metadata []byte // nil: not offered beside the file
	requires string
	yanked   bool
	reason   string
	proven   bool
	uploaded time.Time
}

// New returns a registry with the default content (see content.go).
func New() *Registry {
	r := Empty()
	addDefaults(r)
	return r
}

// Empty returns a registry without content.
func Empty() *Registry {
	r := &Registry{}
	r.mu.projects = make(map[string]*project)
	r.mu.files = make(map[string]*dist)
	return r
}

// Add builds and publishes a package. Adding files under an existing version is
// legal; the same file with other bytes panics.
func (r *Registry) Add(p Package) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := p.At
	if at.IsZero() {
		at = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC).Add(time.Duration(r.mu.serial) * time.Hour)
	}
	if !p.NoWheel {
		file, body, meta := p.wheel()
		if p.Bare {
			meta = nil
		}
		r.publish(p, file, body, meta, at)
	}
	if p.Source || p.NoWheel {
		file, body := p.source()
		r.publish(p, file, body, nil, at.Add(time.Second))
	}
}

func (r *Registry) publish(p Package, file string, body, metadata []byte, at time.Time) {
	r.mu.serial++
	name := normalize(p.Name)
	proj := r.mu.projects[name]
	if proj == nil {
		proj = &project{name: name, status: "active"}
		r.mu.projects[name] = proj
	}
	proj.changed = at
	sum := digest(body)
	path := "/packages/" + sum[:2] + "/" + sum[2:4] + "/" + sum[4:64] + "/" + file
	for _, d := range proj.dists {
		if d.file == file {
			if d.declared != sum {
				panic(fmt.Sprintf("pypitest: %s is published already with other bytes", file))
			}
			return
		}
	}
	d := &dist{project: name, version: p.Version, file: file, path: path, body: body, declared: sum, metadata: metadata,
		requires: p.RequiresPython, yanked: p.Yanked, reason: p.YankedReason, proven: p.Proven, uploaded: at}
	proj.dists = append(proj.dists, d)
	r.mu.files[path] = d
}

// HTMLOnly makes the index answer in HTML whatever is asked, with relative
// links below a base element and without sizes or times, as old servers do.
func (r *Registry) HTMLOnly(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.htmlOnly = on
}

// FilesBase makes pages name files on another host: "http://host:port".
func (r *Registry) FilesBase(base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.filesBase = base
}

// RequireBasic makes every request need this user and password.
func (r *Registry) RequireBasic(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.user, r.mu.key = user, password
}

// Yank marks every file of a version; Unyank takes the mark away.
func (r *Registry) Yank(name, version, reason string) { r.yank(name, version, true, reason) }

// Unyank undoes Yank.
func (r *Registry) Unyank(name, version string) { r.yank(name, version, false, "") }

func (r *Registry) yank(name, version string, on bool, reason string) {
	r.change(name, func(p *project) {
		for _, d := range p.dists {
			if d.version == version {
				d.yanked, d.reason = on, reason
			}
		}
	})
}

// SetStatus sets a project's status marker. A quarantined project offers no
// files.
func (r *Registry) SetStatus(name, status, reason string) {
	r.change(name, func(p *project) { p.status, p.reason = status, reason })
}

// Remove deletes a version with its files, or the whole project for "".
func (r *Registry) Remove(name, version string) {
	r.change(name, func(p *project) {
		p.dists = slices.DeleteFunc(p.dists, func(d *dist) bool {
			if version != "" && d.version != version {
				return false
			}
			delete(r.mu.files, d.path)
			return true
		})
		if version == "" {
			delete(r.mu.projects, p.name)
		}
	})
}

// Mutate puts other bytes under a known file: pages promise the new digest.
func (r *Registry) Mutate(file string, body []byte) {
	r.changeFile(file, func(d *dist) { d.body, d.declared = body, digest(body) })
}

// Corrupt puts other bytes under a known file while pages promise the old ones.
func (r *Registry) Corrupt(file string) {
	r.changeFile(file, func(d *dist) {
		d.body = slices.Clone(d.body)
		d.body[len(d.body)/2] ^= 0xff
	})
}

func (r *Registry) changeFile(file string, fn func(*dist)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.mu.files {
		if d.file == file {
			fn(d)
			r.mu.serial++
			return
		}
	}
	panic("pypitest: no file " + file)
}

func (r *Registry) change(name string, fn func(*project)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.mu.projects[normalize(name)]
	if p == nil {
		panic("pypitest: no project " + name)
	}
	fn(p)
	r.mu.serial++
	p.changed = p.changed.Add(time.Minute)
}

// File returns the bytes served under a file name, nil if there are none.
func (r *Registry) File(file string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.mu.files {
		if d.file == file {
			return d.body
		}
	}
	return nil
}

// Files lists the file names of a project in upload order.
func (r *Registry) Files(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	if p := r.mu.projects[normalize(name)]; p != nil {
		for _, d := range p.dists {
			out = append(out, d.file)
		}
	}
	return out
}

// Requests returns what was asked so far, in order.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mu.requests)
}

// Count returns how many requests had part in their path.
func (r *Registry) Count(part string) int {
	n := 0
	for _, q := range r.Requests() {
		if strings.Contains(q.Path, part) {
			n++
		}
	}
	return n
}

// Forget empties the request log.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.requests = nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func normalize(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("-_.", r) })
	return strings.Join(words, "-")
}

var _ http.Handler = (*Registry)(nil)
