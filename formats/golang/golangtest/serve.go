package golangtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// ServeHTTP answers the module proxy protocol and /sumdb/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, rq *http.Request) {
	path := strings.TrimPrefix(rq.URL.Path, "/")
	r.count("/" + path)
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if rest, ok := strings.CutPrefix(path, "sumdb/"); ok {
		r.serveSumDB(w, rq, rest)
		return
	}
	escaped, file, ok := strings.Cut(path, "/@")
	name, err := module.UnescapePath(escaped)
	if !ok || err != nil {
		http.Error(w, "not found: no such path", http.StatusNotFound)
		return
	}
	data, at, contentType := r.lookup(name, file)
	if data == nil {
		http.Error(w, fmt.Sprintf("not found: module %s: no matching versions", name), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data))[:32]))
	http.ServeContent(w, rq, "", at, bytes.NewReader(data))
}

// lookup finds what follows "/@": "v/list", "v/VERSION.EXT" or "latest".
func (r *Registry) lookup(name, file string) (data []byte, at time.Time, contentType string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.modules[name]
	if m == nil {
		return nil, at, ""
	}
	switch file {
	case "v/list":
		return m.list(r.bare), at, "text/plain; charset=UTF-8"
	case "latest":
		if rel := m.versions[m.latest]; rel != nil && !r.bare {
			return rel.info, time.Time{}, "application/json"
		}
		return nil, at, ""
	}
	file, ok := strings.CutPrefix(file, "v/")
	dot := strings.LastIndexByte(file, '.')
	if !ok || dot < 0 {
		return nil, at, ""
	}
	version, err := module.UnescapeVersion(file[:dot])
	if err != nil {
		return nil, at, ""
	}
	ext := file[dot+1:]
	if target, ok := r.queries[name+"@"+version]; ok && ext == "info" {
		version = target
	}
	rel := m.versions[version]
	if rel == nil {
		return nil, at, ""
	}
	contentType = map[string]string{"info": "application/json", "mod": "text/plain; charset=UTF-8", "zip": "application/zip"}[ext]
	return rel.file(ext), rel.at, contentType
}

// list is never nil: a module with pseudo-versions only has an empty list.
func (m *mod) list(pseudo bool) []byte {
	var names []string
	for v := range m.versions {
		if pseudo || !module.IsPseudoVersion(v) {
			names = append(names, v)
		}
	}
	slices.SortFunc(names, semver.Compare)
	out := []byte{}
	for _, v := range names {
		out = append(out, v...)
		if m.times {
			out = append(out, " "+m.versions[v].at.Format(time.RFC3339)...)
		}
		out = append(out, '\n')
	}
	return out
}

// serveSumDB relays the database, and no other.
func (r *Registry) serveSumDB(w http.ResponseWriter, rq *http.Request, path string) {
	r.mu.Lock()
	relays := r.relays
	r.mu.Unlock()
	rest, mine := strings.CutPrefix(path, SumDBName+"/")
	switch {
	case !relays || !mine:
		http.Error(w, "not found: this checksum database is not relayed", http.StatusNotFound)
	case rest == "supported":
		w.WriteHeader(http.StatusOK)
	default:
		r.watch("/" + rest)
		inner := rq.Clone(rq.Context())
		inner.URL.Path = "/" + rest
		r.sums.ServeHTTP(w, inner)
	}
}

// watch notes lookups of private modules.
func (r *Registry) watch(path string) {
	lookup, ok := strings.CutPrefix(path, "/lookup/")
	if !ok {
		return
	}
	escaped, _, _ := strings.Cut(lookup, "@")
	name, err := module.UnescapePath(escaped)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.private[name] {
		r.leaked = append(r.leaked, lookup)
	}
}
