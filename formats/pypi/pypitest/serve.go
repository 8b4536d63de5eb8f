package pypitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	jsonType = "application/vnd.pypi.simple.v1+json"
	htmlType = "text/html; charset=UTF-8"
)

// ServeHTTP answers /simple/NAME/, /packages/... with Range and conditional
// requests, and /integrity/NAME/VERSION/FILE/provenance.
func (r *Registry) ServeHTTP(w http.ResponseWriter, rq *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	r.serve(rec, rq)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.requests = append(r.mu.requests, Request{rq.Method, rq.URL.Path, rq.Header.Get("Accept"), rq.Header.Get("Range"), rec.status})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *Registry) serve(w http.ResponseWriter, rq *http.Request) {
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if !r.admitted(rq) {
		w.Header().Set("WWW-Authenticate", `Basic realm="pypi"`)
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.TrimPrefix(rq.URL.Path, "/"), "/")
	switch {
	case parts[0] == "simple" && len(parts) == 2 && parts[1] != "":
		http.Redirect(w, rq, "/simple/"+normalize(parts[1])+"/", http.StatusMovedPermanently)
	case parts[0] == "simple" && len(parts) == 3 && parts[2] == "":
		if n := normalize(parts[1]); n != parts[1] {
			http.Redirect(w, rq, "/simple/"+n+"/", http.StatusMovedPermanently)
			return
		}
		r.page(w, rq, parts[1])
	case parts[0] == "packages":
		r.file(w, rq)
	case parts[0] == "integrity" && len(parts) == 5 && parts[4] == "provenance":
		r.provenance(w, rq, parts[1], parts[3])
	default:
		http.NotFound(w, rq)
	}
}

func (r *Registry) admitted(rq *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, key, _ := rq.BasicAuth()
	return r.mu.user == "" || user == r.mu.user && key == r.mu.key
}

func (r *Registry) file(w http.ResponseWriter, rq *http.Request) {
	p := rq.URL.Path
	r.mu.Lock()
	d := r.mu.files[strings.TrimSuffix(p, ".metadata")]
	var body []byte
	var at time.Time
	if d != nil {
		body, at = d.body, d.uploaded
		if strings.HasSuffix(p, ".metadata") {
			body = d.metadata
		}
	}
	r.mu.Unlock()
	if body == nil {
		http.NotFound(w, rq)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "max-age=365000000, immutable, public")
	h.Set("ETag", `"`+digest(body)[:32]+`"`)
	http.ServeContent(w, rq, path.Base(p), at, bytes.NewReader(body))
}

// provenance answers with an object of the right shape whose signatures verify
// nothing.
func (r *Registry) provenance(w http.ResponseWriter, rq *http.Request, name, file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.mu.projects[name]
	if p == nil || !slices.ContainsFunc(p.dists, func(d *dist) bool { return d.file == file && d.proven }) {
		http.NotFound(w, rq)
		return
	}
	body := `{"attestation_bundles":[{"attestations":[{"envelope":{"signature":"AAAA","statement":"AAAA"},` +
		`"verification_material":{"certificate":"AAAA","transparency_entries":[]},"version":1}],` +
		`"publisher":{"kind":"Example","repository":"larder/honey","workflow":"release.yml"}}],"version":1}`
	w.Header().Set("Content-Type", "application/vnd.pypi.integrity.v1+json")
	http.ServeContent(w, rq, "", time.Time{}, strings.NewReader(body))
}

func (r *Registry) page(w http.ResponseWriter, rq *http.Request, name string) {
	r.mu.Lock()
	p := r.mu.projects[name]
	if p == nil {
		r.mu.Unlock()
		http.NotFound(w, rq)
		return
	}
	scheme := "http"
	if rq.TLS != nil {
		scheme = "https"
	}
	base := scheme + "://" + rq.Host
	files := base
	if r.mu.filesBase != "" {
		files = r.mu.filesBase
	}
	accept := rq.Header.Get("Accept")
	var body []byte
	kind := jsonType
	switch {
	case r.mu.htmlOnly:
		body, kind = p.oldHTML(files), htmlType
	case strings.HasPrefix(accept, jsonType):
		body = p.json(base, files, r.mu.serial)
	case accept == "" || strings.Contains(accept, "html") || strings.Contains(accept, "*/*"):
		body, kind = p.html(base, files), htmlType
	}
	serial, at := r.mu.serial, p.changed
	r.mu.Unlock()
	if body == nil {
		http.Error(w, "Not Acceptable", http.StatusNotAcceptable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Cache-Control", "max-age=600, public")
	h.Set("X-PyPI-Last-Serial", strconv.Itoa(serial))
	h.Set("ETag", `"`+digest(body)[:22]+`"`)
	http.ServeContent(w, rq, "", at, bytes.NewReader(body))
}

// offered are the files that pages list.
func (p *project) offered() []*dist {
	if p.status == "quarantined" {
		return nil
	}
	return p.dists
}

// json is the page as PEP 691, 700, 740 and 792 have it, with the extra
// members of the large public index.
func (p *project) json(base, files string, serial int) []byte {
	entries, versions := []any{}, []string{}
	for _, d := range p.offered() {
		if !slices.Contains(versions, d.version) {
			versions = append(versions, d.version)
		}
		var metadata any = false
		if d.metadata != nil {
			metadata = map[string]string{"sha256": digest(d.metadata)}
		}
		var requires, provenance any
		if d.requires != "" {
			requires = d.requires
		}
		if d.proven {
			provenance = base + d.integrity()
		}
		var yanked any = d.yanked
		if d.yanked && d.reason != "" {
			yanked = d.reason
		}
		entries = append(entries, map[string]any{
			"core-metadata": metadata, "data-dist-info-metadata": metadata, "filename": d.file,
			"hashes": map[string]string{"sha256": d.declared}, "provenance": provenance, "requires-python": requires,
			"size": len(d.body), "upload-time": stamp(d.uploaded), "url": files + d.url(), "yanked": yanked,
		})
	}
	status := map[string]string{"status": p.status}
	if p.reason != "" {
		status["reason"] = p.reason
	}
	return encode(map[string]any{
		"alternate-locations": []string{}, "files": entries,
		"meta": map[string]any{"_last-serial": serial, "api-version": "1.4"},
		"name": p.name, "project-status": status, "versions": versions,
	})
}

// url is the file's path, escaped.
func (d *dist) url() string {
	return path.Dir(d.path) + "/" + strings.ReplaceAll(url.PathEscape(d.file), "+", "%2B")
}

func (d *dist) integrity() string {
	return "/integrity/" + d.project + "/" + d.version + "/" + url.PathEscape(d.file) + "/provenance"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// html is the page as PEP 503 has it, with today's attributes.
func (p *project) html(base, files string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n  <head>\n    <meta name=\"pypi:repository-version\" content=\"1.4\">\n"+
		"<meta name=\"pypi:project-status\" content=\"%s\">    <title>Links for %s</title>\n  </head>\n  <body>\n    <h1>Links for %s</h1>\n",
		p.status, p.name, p.name)
	for _, d := range p.offered() {
		fmt.Fprintf(&b, `<a href="%s#sha256=%s"%s`, files+d.url(), d.declared, d.attributes())
		if d.proven {
			fmt.Fprintf(&b, ` data-provenance="%s"`, base+d.integrity())
		}
		fmt.Fprintf(&b, " >%s</a><br />\n", html.EscapeString(d.file))
	}
	b.WriteString("</body>\n</html>\n<!--SERIAL 1-->")
	return b.Bytes()
}

// oldHTML is the page of a server that knows only PEP 503 and 592.
func (p *project) oldHTML(files string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<html><head><title>Simple index</title><base href=%q></head><body>\n<a href=\"../../\">up</a>\n", files+"/packages/")
	for _, d := range p.offered() {
		old := *d
		old.metadata = nil
		fmt.Fprintf(&b, "<a href=%q%s rel='internal'>%s</a>\n", strings.TrimPrefix(d.url(), "/packages/")+"#sha256="+d.declared, old.attributes(), html.EscapeString(d.file))
	}
	b.WriteString("</body></html>\n")
	return b.Bytes()
}

func (d *dist) attributes() string {
	var b strings.Builder
	if d.requires != "" {
		fmt.Fprintf(&b, ` data-requires-python="%s"`, html.EscapeString(d.requires))
	}
	if d.yanked {
		fmt.Fprintf(&b, ` data-yanked="%s"`, html.EscapeString(d.reason))
	}
	if d.metadata != nil {
		sum := digest(d.metadata)
		fmt.Fprintf(&b, ` data-dist-info-metadata="sha256=%s" data-core-metadata="sha256=%s"`, sum, sum)
	}
	return b.String()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
