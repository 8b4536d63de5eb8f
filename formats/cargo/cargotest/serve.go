package cargotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ServeHTTP answers the index below IndexPath, downloads where the template
// says, and the web API's search.
func (r *Registry) ServeHTTP(w http.ResponseWriter, rq *http.Request) {
	r.mu.Lock()
	r.requests[rq.URL.Path]++
	r.mu.Unlock()
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		fail(w, http.StatusMethodNotAllowed, "this registry is read only")
		return
	}
	switch path := rq.URL.Path; {
	case path == IndexPath+"config.json":
		r.serveConfig(w, rq)
	case strings.HasPrefix(path, IndexPath):
		r.serveIndex(w, rq, strings.TrimPrefix(path, IndexPath))
	case path == "/web/api/v1/crates":
		r.serveSearch(w, rq)
	default:
		r.serveArchive(w, rq)
	}
}

func fail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"detail": detail}}})
}

func (r *Registry) serveConfig(w http.ResponseWriter, rq *http.Request) {
	scheme := "http://"
	if rq.TLS != nil {
		scheme = "https://"
	}
	r.mu.Lock()
	config := map[string]any{"dl": scheme + rq.Host + r.dl, "api": scheme + rq.Host + "/web"}
	if r.noAPI {
		delete(config, "api")
	}
	r.mu.Unlock()
	body, err := json.Marshal(config)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	serve(w, rq, "application/json", time.Time{}, body)
}

func serve(w http.ResponseWriter, rq *http.Request, contentType string, at time.Time, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("ETag", `"`+sum(body)[:32]+`"`)
	http.ServeContent(w, rq, "", at, bytes.NewReader(body))
}

// prefix is the directory of an index file.
func prefix(name string) string {
	switch len(name) {
	case 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

func (r *Registry) serveIndex(w http.ResponseWriter, rq *http.Request, path string) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	r.mu.Lock()
	known := r.crates[name] // lower case only, as real indexes
	var body []byte
	var at time.Time
	if known != nil && path == prefix(name)+"/"+name && len(known.releases) > 0 {
		body, at = known.index(), known.modified
	}
	r.mu.Unlock()
	if body == nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	serve(w, rq, "text/plain; charset=utf-8", at, body)
}

// serveArchive finds the crate whose download URL this is.
func (r *Registry) serveArchive(w http.ResponseWriter, rq *http.Request) {
	r.mu.Lock()
	var body []byte
	for _, known := range r.crates {
		for _, rel := range known.releases {
			if r.location(known.name, rel) == rq.URL.Path {
				body = rel.archive
			}
		}
	}
	r.mu.Unlock()
	if body == nil {
		fail(w, http.StatusNotFound, "crate or version does not exist")
		return
	}
	serve(w, rq, "application/gzip", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), body)
}

// location fills the download template. The caller holds mu.
func (r *Registry) location(name string, rel *release) string {
	template := r.dl
	if !strings.Contains(template, "{") {
		template += "/{crate}/{version}/download"
	}
	return strings.NewReplacer("{crate}", name, "{version}", rel.version, "{prefix}", prefix(name),
		"{lowerprefix}", prefix(strings.ToLower(name)), "{sha256-checksum}", rel.line.Cksum).Replace(template)
}

func (r *Registry) serveSearch(w http.ResponseWriter, rq *http.Request) {
	type hit struct {
		Name        string `json:"name"`
		MaxVersion  string `json:"max_version"`
		Description string `json:"description"`
	}
	hits := []hit{}
	r.mu.Lock()
	for key, known := range r.crates {
		if strings.Contains(key, strings.ToLower(rq.URL.Query().Get("q"))) && len(known.releases) > 0 {
			hits = append(hits, hit{known.name, known.releases[len(known.releases)-1].version, "a test crate"})
		}
	}
	r.mu.Unlock()
	slices.SortFunc(hits, func(a, b hit) int { return strings.Compare(a.Name, b.Name) })
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"crates": hits, "meta": map[string]int{"total": len(hits)}})
}
