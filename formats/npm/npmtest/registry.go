// Package npmtest is a small npm registry in memory for tests: real tarballs
// that real clients install, documents shaped as the public registry shapes
// them, and a log of what was asked.
//
// It polices its own rules: adding other bytes under a known name and version
// panics, unless it is done through Mutate. It is not a registry to publish to.
package npmtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Registry is a fake npm registry. It is safe for concurrent use.
type Registry struct {
	// Prefix is the path under which the registry is mounted, without a
	// trailing slash; requests carry it and URLs in documents get it. Set it
	// before the first request.
	Prefix string

	signer signer

	mu struct {
		sync.Mutex
		token    string
		packages map[string]*pkg
		clock    time.Time
		log      []Request
		advice   map[string][]Advisory
	}
}

// Request is one entry of the log.
type Request struct {
	Method, Path, Accept, Authorization string
	Status                              int
}

// pkg is one package. Guarded by Registry.mu.
type pkg struct {
	name      string
	versions  map[string]*release
	order     []string // in order of publication
	tags      map[string]string
	times     map[string]time.Time // of versions taken back too
	modified  time.Time
	scattered bool
}

type release struct {
	Package
	tgz       []byte
	manifest  map[string]any // without dist.tarball and dist.attestations.url
	published time.Time
	served    []byte // what the tarball's URL gives; tgz but for Corrupt
}

// New returns an empty registry.
func New() *Registry {
	r := &Registry{signer: newSigner()}
	r.mu.packages = make(map[string]*pkg)
	r.mu.advice = make(map[string][]Advisory)
	r.mu.clock = time.Date(2024, 3, 1, 9, 0, 0, 123e6, time.UTC)
	return r
}

// RequireToken makes every request need "Authorization: Bearer token" or the
// token as a Basic password; "" opens the registry again.
func (r *Registry) RequireToken(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.token = token
}

// Requests returns what was asked so far, in order.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mu.log)
}

// Count returns how many requests had a path that contains part.
func (r *Registry) Count(part string) (n int) {
	for _, q := range r.Requests() {
		if strings.Contains(q.Path, part) {
			n++
		}
	}
	return n
}

// Forget empties the log.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.log = nil
}

// ServeHTTP answers as the registry does.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	r.serve(rec, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.log = append(r.mu.log, Request{q.Method, q.URL.Path, q.Header.Get("Accept"), q.Header.Get("Authorization"), rec.status})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *Registry) serve(w http.ResponseWriter, q *http.Request) {
	if !r.admitted(q) {
		fail(w, http.StatusUnauthorized, "bad or missing token")
		return
	}
	raw, ok := strings.CutPrefix(q.URL.EscapedPath(), r.Prefix+"/")
	if !ok {
		fail(w, http.StatusNotFound, "Not found")
		return
	}
	path, err := url.PathUnescape(raw)
	if err != nil {
		fail(w, http.StatusBadRequest, "bad path")
		return
	}
	if rest, ok := strings.CutPrefix(path, "-/"); ok {
		r.service(w, q, rest)
		return
	}
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		fail(w, http.StatusMethodNotAllowed, "read only")
		return
	}
	if hash, ok := strings.CutPrefix(path, "blobs/"); ok {
		r.blob(w, q, hash)
		return
	}
	name, rest := cutName(path)
	switch {
	case rest == "":
		r.packument(w, q, name)
	case strings.HasPrefix(rest, "-/"):
		r.tarball(w, q, name, rest[2:])
	default:
		r.version(w, q, name, rest)
	}
}

func (r *Registry) admitted(q *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.token == "" || q.Header.Get("Authorization") == "Bearer "+r.mu.token {
		return true
	}
	_, password, _ := q.BasicAuth()
	return password == r.mu.token
}

// cutName splits "name/rest" and "@scope/name/rest".
func cutName(path string) (name, rest string) {
	n := 1
	if strings.HasPrefix(path, "@") {
		n = 2
	}
	parts := strings.SplitN(path, "/", n+1)
	if len(parts) <= n {
		return path, ""
	}
	return strings.Join(parts[:n], "/"), parts[n]
}

// base is the registry's URL as this client spelled it.
func (r *Registry) base(q *http.Request) string {
	scheme := "http"
	if q.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + q.Host + r.Prefix
}

func (r *Registry) packument(w http.ResponseWriter, q *http.Request, name string) {
	r.mu.Lock()
	p := r.mu.packages[name]
	if p == nil {
		r.mu.Unlock()
		fail(w, http.StatusNotFound, "Not found")
		return
	}
	abbreviated := strings.Contains(q.Header.Get("Accept"), "application/vnd.npm.install-v1+json")
	body := p.document(r.base(q), abbreviated)
	modified := p.modified
	r.mu.Unlock()
	kind := "application/json"
	if abbreviated {
		kind = "application/vnd.npm.install-v1+json"
	}
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	send(w, q, kind, modified, body)
}

func (r *Registry) version(w http.ResponseWriter, q *http.Request, name, want string) {
	r.mu.Lock()
	p := r.mu.packages[name]
	var body []byte
	var at time.Time
	if p != nil {
		if v, ok := p.tags[want]; ok {
			want = v
		}
		if rel := p.versions[want]; rel != nil {
			body, at = encode(p.complete(rel, r.base(q))), p.modified
		}
	}
	r.mu.Unlock()
	switch {
	case p == nil:
		fail(w, http.StatusNotFound, "Not found")
	case body == nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		w.Write(encode("version not found: " + want))
	default:
		send(w, q, "application/json", at, body)
	}
}

func (r *Registry) tarball(w http.ResponseWriter, q *http.Request, name, file string) {
	r.mu.Lock()
	var rel *release
	if p := r.mu.packages[name]; p != nil && !p.scattered {
		for _, x := range p.versions {
			if tarballFile(name, x.Version) == file {
				rel = x
			}
		}
	}
	r.mu.Unlock()
	serveTarball(w, q, rel)
}

// blob serves the tarballs of scattered packages, which lie by digest.
func (r *Registry) blob(w http.ResponseWriter, q *http.Request, hash string) {
	r.mu.Lock()
	var rel *release
	for _, p := range r.mu.packages {
		for _, x := range p.versions {
			if p.scattered && blobPath(x) == hash {
				rel = x
			}
		}
	}
	r.mu.Unlock()
	serveTarball(w, q, rel)
}

func serveTarball(w http.ResponseWriter, q *http.Request, rel *release) {
	if rel == nil {
		fail(w, http.StatusNotFound, "Not found")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, immutable, max-age=31557600")
	w.Header().Set("ETag", etag(rel.served))
	http.ServeContent(w, q, "", rel.published, bytes.NewReader(rel.served))
}

// send answers with a document, compressed if the client can take it.
func send(w http.ResponseWriter, q *http.Request, kind string, modified time.Time, body []byte) {
	tag := etag(body)
	if strings.Contains(q.Header.Get("Accept-Encoding"), "gzip") {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		zw.Write(body)
		zw.Close()
		body = z.Bytes()
		tag = tag[:len(tag)-1] + `-gzip"`
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("ETag", tag)
	http.ServeContent(w, q, "", modified, bytes.NewReader(body))
}

func etag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(encode(map[string]string{"error": message}))
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("npmtest: encode: %v", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func tarballFile(name, version string) string {
	if _, base, ok := strings.Cut(name, "/"); ok {
		name = base
	}
	return name + "-" + version + ".tgz"
}

func blobPath(rel *release) string {
	sum := sha256.Sum256(rel.tgz)
	return hex.EncodeToString(sum[:])
}

// Names returns all package names, sorted.
func (r *Registry) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.mu.packages))
}
