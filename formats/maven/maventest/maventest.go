// Package maventest owns a fake Maven repository for tests: an http.Handler
// that serves tiny real artifacts in the Maven 2 layout, with checksum files,
// three levels of metadata, conditional requests and ranges. It polices
// immutability (other bytes under a path panic) and needs nothing from outside:
// a Maven plugin of its own makes the real mvn resolve a project's dependencies.
package maventest

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"larder/formats"
)

// Registry is a fake Maven repository. Configure the exported fields before it
// serves; the methods are safe for concurrent use.
type Registry struct {
	// Checksums are the checksum files that are served beside each file; nil:
	// md5 and sha1, as most repositories have them.
	Checksums []formats.Alg
	// ChecksumHeaders also sends X-Checksum-Sha1 and X-Checksum-Md5.
	ChecksumHeaders bool

	mu        sync.Mutex
	files     map[string]file
	artifacts map[string]*artifact // "group:artifact"
	plugins   map[string][]plugin  // group
	requests  []string
}

type file struct {
	body     []byte
	modified time.Time
}

// artifact is what artifact-level metadata is made from.
type artifact struct {
	versions []string // in order of publication
	updated  time.Time
	builds   map[string][]snapshotFile // snapshot version -> files
}

type plugin struct{ prefix, artifact string }

type snapshotFile struct {
	classifier, extension, value string
	at                           time.Time
	number                       int
}

// Empty returns a repository without content.
func Empty() *Registry {
	return &Registry{files: map[string]file{}, artifacts: map[string]*artifact{}, plugins: map[string][]plugin{}}
}

// Put publishes a file. Other bytes under a path that exists panic.
func (r *Registry) Put(p string, body []byte, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.files[p]; ok && !bytes.Equal(old.body, body) {
		panic("maventest: " + p + " is published already with other bytes")
	}
	r.files[p] = file{body, at.UTC().Truncate(time.Second)}
}

// Mutate replaces a file's bytes, which a repository must never do.
func (r *Registry) Mutate(p string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.files[p]
	if !ok {
		panic("maventest: " + p + " is not published")
	}
	r.files[p] = file{body, f.modified.Add(time.Hour)}
}

// Remove withdraws a file.
func (r *Registry) Remove(p string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, p)
}

// RemoveVersion withdraws a version: its files and its line in the metadata.
func (r *Registry) RemoveVersion(group, art, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := Dir(group, art, version)
	for p := range r.files {
		if strings.HasPrefix(p, dir) {
			delete(r.files, p)
		}
	}
	if a := r.artifacts[group+":"+art]; a != nil {
		a.versions = slices.DeleteFunc(a.versions, func(v string) bool { return v == version })
	}
}

// Dir returns "group/path/artifact/version/".
func Dir(group, art, version string) string {
	return strings.ReplaceAll(group, ".", "/") + "/" + art + "/" + version + "/"
}

// Paths lists all published files, sorted, without metadata and checksums.
func (r *Registry) Paths() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for p := range r.files {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// File returns the bytes at a path, made metadata and checksums included.
func (r *Registry) File(p string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.lookup(p)
	return f.body, ok
}

// Requests lists "METHOD path" of every request since the last Reset.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Count says how often a path was asked for by GET since the last Reset.
func (r *Registry) Count(p string) int {
	n := 0
	for _, rq := range r.Requests() {
		if rq == "GET /"+p {
			n++
		}
	}
	return n
}

// Reset forgets the requests.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// ServeHTTP serves the repository at the root.
func (r *Registry) ServeHTTP(w http.ResponseWriter, rq *http.Request) {
	p := strings.TrimPrefix(rq.URL.Path, "/")
	r.mu.Lock()
	r.requests = append(r.requests, rq.Method+" /"+p)
	f, ok := r.lookup(p)
	r.mu.Unlock()
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		http.Error(w, "read only", http.StatusMethodNotAllowed)
		return
	}
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(p))
	sum := sha1.Sum(f.body)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	if r.ChecksumHeaders {
		h.Set("X-Checksum-Sha1", digest(formats.SHA1, f.body))
		h.Set("X-Checksum-Md5", digest(formats.MD5, f.body))
	}
	http.ServeContent(w, rq, path.Base(p), f.modified, bytes.NewReader(f.body))
}

func contentType(p string) string {
	switch path.Ext(p) {
	case ".pom", ".xml":
		return "text/xml"
	case ".jar":
		return "application/java-archive"
	}
	if strings.HasPrefix(path.Ext(p), ".sha") || path.Ext(p) == ".md5" {
		return "text/plain"
	}
	return "application/octet-stream"
}

// lookup finds a published file, makes metadata, or makes a checksum of either.
func (r *Registry) lookup(p string) (file, bool) {
	if f, ok := r.files[p]; ok {
		return f, true
	}
	if dir, ok := strings.CutSuffix(p, "/maven-metadata.xml"); ok {
		return r.metadata(dir)
	}
	algs := r.Checksums
	if algs == nil {
		algs = []formats.Alg{formats.MD5, formats.SHA1}
	}
	for _, alg := range algs {
		base, ok := strings.CutSuffix(p, "."+string(alg))
		if !ok {
			continue
		}
		if f, ok := r.lookup(base); ok {
			return file{[]byte(digest(alg, f.body)), f.modified}, true
		}
	}
	return file{}, false
}

func digest(alg formats.Alg, body []byte) string {
	h := alg.New()
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

const stamp = "20060102150405"

// metadata makes the maven-metadata.xml of a directory: a group's, an
// artifact's or a snapshot version's.
func (r *Registry) metadata(dir string) (file, bool) {
	segs := strings.Split(dir, "/")
	n := len(segs)
	if n >= 2 {
		if a := r.artifacts[strings.Join(segs[:n-1], ".")+":"+segs[n-1]]; a != nil && len(a.versions) > 0 {
			return artifactMetadata(strings.Join(segs[:n-1], "."), segs[n-1], a), true
		}
	}
	if n >= 3 {
		key := strings.Join(segs[:n-2], ".") + ":" + segs[n-2]
		if a := r.artifacts[key]; a != nil && len(a.builds[segs[n-1]]) > 0 {
			return snapshotMetadata(strings.Join(segs[:n-2], "."), segs[n-2], segs[n-1], a.builds[segs[n-1]]), true
		}
	}
	if ps := r.plugins[strings.Join(segs, ".")]; len(ps) > 0 {
		return groupMetadata(ps), true
	}
	return file{}, false
}

func artifactMetadata(group, art string, a *artifact) file {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata>\n  <groupId>%s</groupId>\n  <artifactId>%s</artifactId>\n  <versioning>\n", group, art)
	fmt.Fprintf(&b, "    <latest>%s</latest>\n", a.versions[len(a.versions)-1])
	for i := len(a.versions) - 1; i >= 0; i-- {
		if !strings.HasSuffix(a.versions[i], "SNAPSHOT") {
			fmt.Fprintf(&b, "    <release>%s</release>\n", a.versions[i])
			break
		}
	}
	b.WriteString("    <versions>\n")
	for _, v := range a.versions {
		fmt.Fprintf(&b, "      <version>%s</version>\n", v)
	}
	fmt.Fprintf(&b, "    </versions>\n    <lastUpdated>%s</lastUpdated>\n  </versioning>\n</metadata>\n", a.updated.Format(stamp))
	return file{b.Bytes(), a.updated}
}

func snapshotMetadata(group, art, version string, files []snapshotFile) file {
	last := files[len(files)-1]
	newest := map[string]snapshotFile{}
	var order []string
	for _, f := range files {
		k := f.classifier + "\x00" + f.extension
		if _, ok := newest[k]; !ok {
			order = append(order, k)
		}
		newest[k] = f
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata modelVersion=\"1.1.0\">\n  <groupId>%s</groupId>\n  <artifactId>%s</artifactId>\n  <version>%s</version>\n", group, art, version)
	fmt.Fprintf(&b, "  <versioning>\n    <snapshot>\n      <timestamp>%s</timestamp>\n      <buildNumber>%d</buildNumber>\n    </snapshot>\n    <lastUpdated>%s</lastUpdated>\n    <snapshotVersions>\n",
		last.at.Format("20060102.150405"), last.number, last.at.Format(stamp))
	for _, k := range order {
		f := newest[k]
		b.WriteString("      <snapshotVersion>\n")
		if f.classifier != "" {
			fmt.Fprintf(&b, "        <classifier>%s</classifier>\n", f.classifier)
		}
		fmt.Fprintf(&b, "        <extension>%s</extension>\n        <value>%s</value>\n        <updated>%s</updated>\n      </snapshotVersion>\n", f.extension, f.value, f.at.Format(stamp))
	}
	b.WriteString("    </snapshotVersions>\n  </versioning>\n</metadata>\n")
	return file{b.Bytes(), last.at}
}

func groupMetadata(ps []plugin) file {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata>\n  <plugins>\n")
	for _, p := range ps {
		fmt.Fprintf(&b, "    <plugin>\n      <name>%s</name>\n      <prefix>%s</prefix>\n      <artifactId>%s</artifactId>\n    </plugin>\n", p.artifact, p.prefix, p.artifact)
	}
	b.WriteString("  </plugins>\n</metadata>\n")
	return file{b.Bytes(), Epoch}
}
