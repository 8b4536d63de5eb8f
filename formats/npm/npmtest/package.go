package npmtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Package describes one version to add.
type Package struct {
	Name, Version string
	Published     time.Time // zero: an hour after the one added before
	Tag           string    // dist-tag to set; "" is latest, but for prereleases

	Dependencies, OptionalDependencies, PeerDependencies, DevDependencies map[string]string

	Bin        map[string]string // command -> file
	Scripts    map[string]string
	Files      map[string]string // further files; index.js is made up if absent
	Deprecated string
	Attested   bool
	Old        bool           // published before 2017: a SHA-1 and nothing else
	Extra      map[string]any // further members of package.json ("os", "engines", ...)
}

// Add publishes a version. It panics if other bytes are known under the name
// and version; the same bytes again change nothing.
func (r *Registry) Add(p Package) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.mu.packages[p.Name]; at != nil {
		if rel := at.versions[p.Version]; rel != nil {
			if bytes.Equal(rel.tgz, tarball(p)) {
				return
			}
			panic(fmt.Sprintf("npmtest: %s@%s is already published with other bytes", p.Name, p.Version))
		}
		if _, taken := at.times[p.Version]; taken {
			panic(fmt.Sprintf("npmtest: %s@%s was taken back and cannot be published again", p.Name, p.Version))
		}
	}
	r.publish(p)
}

// Mutate publishes a version in place of a known one, metadata and bytes: what
// a registry must never do.
func (r *Registry) Mutate(p Package) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(p.Name, p.Version) // must exist
	r.publish(p)
}

// Corrupt makes the tarball's URL give bytes other than its metadata promises;
// the length stays.
func (r *Registry) Corrupt(name, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rel := r.release(name, version)
	rel.served = bytes.Clone(rel.tgz)
	rel.served[len(rel.served)/2] ^= 0x55
}

// Unpublish takes a version back; its time stays in the packument. Tags that
// named it go to the newest version left.
func (r *Registry) Unpublish(name, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(name, version)
	p := r.mu.packages[name]
	delete(p.versions, version)
	p.order = slices.DeleteFunc(p.order, func(v string) bool { return v == version })
	p.modified = r.tick()
	for tag, v := range p.tags {
		if v == version {
			delete(p.tags, tag)
			if len(p.order) > 0 {
				p.tags[tag] = p.order[len(p.order)-1]
			}
		}
	}
}

// Remove forgets a whole package: it is 404 from now on.
func (r *Registry) Remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.packages, name)
}

// SetTag points a dist-tag at a version.
func (r *Registry) SetTag(name, tag, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(name, version)
	p := r.mu.packages[name]
	p.tags[tag], p.modified = version, r.tick()
}

// Deprecate sets or, with "", clears a version's deprecation.
func (r *Registry) Deprecate(name, version, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(name, version).Deprecated = message
	r.mu.packages[name].modified = r.tick()
}

// Scatter moves a package's tarballs to URLs that do not follow the canonical
// layout.
func (r *Registry) Scatter(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.packages[name].scattered = true
}

// Tarball returns the published bytes of a version.
func (r *Registry) Tarball(name, version string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.release(name, version).tgz)
}

// release finds a version or panics. The caller holds the lock.
func (r *Registry) release(name, version string) *release {
	if p := r.mu.packages[name]; p != nil && p.versions[version] != nil {
		return p.versions[version]
	}
	panic(fmt.Sprintf("npmtest: %s@%s is not published", name, version))
}

// tick moves the registry's own clock. The caller holds the lock.
func (r *Registry) tick() time.Time {
	r.mu.clock = r.mu.clock.Add(time.Hour)
	return r.mu.clock
}

// publish adds or replaces a version. The caller holds the lock.
func (r *Registry) publish(in Package) {
	p := r.mu.packages[in.Name]
	if p == nil {
		p = &pkg{name: in.Name, versions: map[string]*release{}, tags: map[string]string{}, times: map[string]time.Time{}}
		r.mu.packages[in.Name] = p
	}
	rel := &release{Package: in, tgz: tarball(in), published: in.Published}
	if rel.published.IsZero() {
		rel.published = r.tick()
	}
	rel.served = rel.tgz
	rel.manifest = r.manifest(in, rel.tgz)
	if p.versions[in.Version] == nil {
		p.order = append(p.order, in.Version)
	}
	p.versions[in.Version] = rel
	p.times[in.Version] = rel.published
	if rel.published.After(p.modified) {
		p.modified = rel.published
	}
	switch {
	case in.Tag != "":
		p.tags[in.Tag] = in.Version
		if p.tags["latest"] == "" {
			p.tags["latest"] = in.Version
		}
	case p.tags["latest"] == "" || !strings.Contains(in.Version, "-"):
		p.tags["latest"] = in.Version
	}
}

// packageJSON is what the tarball holds.
func packageJSON(p Package) map[string]any {
	m := map[string]any{
		"name": p.Name, "version": p.Version, "main": "index.js", "license": "MIT",
		"description": "Test package " + p.Name, "keywords": []string{"tiny", "test"},
		"author": map[string]string{"name": "Ada Example"},
	}
	for key, deps := range map[string]map[string]string{
		"dependencies": p.Dependencies, "optionalDependencies": p.OptionalDependencies,
		"peerDependencies": p.PeerDependencies, "devDependencies": p.DevDependencies,
		"bin": p.Bin, "scripts": p.Scripts,
	} {
		if len(deps) > 0 {
			m[key] = deps
		}
	}
	maps.Copy(m, p.Extra)
	return m
}

// manifest is what the registry says of a version: package.json and what the
// registry and the publishing client add.
func (r *Registry) manifest(p Package, tgz []byte) map[string]any {
	m := packageJSON(p)
	if len(p.OptionalDependencies) > 0 { // npm lists optional ones under both
		all := maps.Clone(p.OptionalDependencies)
		maps.Copy(all, p.Dependencies)
		m["dependencies"] = all
	}
	user := map[string]string{"name": "ada", "email": "ada@example.org"}
	maps.Copy(m, map[string]any{
		"_id": p.Name + "@" + p.Version, "gitHead": "0123456789abcdef0123456789abcdef01234567",
		"_nodeVersion": "20.11.0", "_npmVersion": "10.2.4", "_npmUser": user,
		"maintainers": []map[string]string{user}, "directories": map[string]string{}, "_hasShrinkwrap": false,
		"_npmOperationalInternal": map[string]string{"host": "s3://packages.example", "tmp": "tmp/" + tarballFile(p.Name, p.Version)},
	})
	short := sha1.Sum(tgz)
	dist := map[string]any{"shasum": hex.EncodeToString(short[:])}
	if !p.Old {
		long := sha512.Sum512(tgz)
		integrity := "sha512-" + base64.StdEncoding.EncodeToString(long[:])
		dist["integrity"] = integrity
		dist["fileCount"] = len(files(p))
		dist["unpackedSize"] = unpackedSize(p)
		dist["signatures"] = []map[string]string{r.signer.sign(p.Name + "@" + p.Version + ":" + integrity)}
	}
	m["dist"] = dist
	return m
}

// files returns the contents of the tarball by name inside "package/".
func files(p Package) map[string]string {
	out := map[string]string{
		"package.json": string(encode(packageJSON(p))),
		"index.js":     fmt.Sprintf("module.exports = %q;\n", p.Name+"@"+p.Version),
	}
	for command, file := range p.Bin {
		out[strings.TrimPrefix(file, "./")] = fmt.Sprintf("#!/usr/bin/env node\nconsole.log(%q);\n", command+" "+p.Version)
	}
	maps.Copy(out, p.Files)
	return out
}

func unpackedSize(p Package) (n int) {
	for _, body := range files(p) {
		n += len(body)
	}
	return n
}

// tarball packs a version; the same input gives the same bytes.
func tarball(p Package) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed) // packing thousands must not take seconds
	if err != nil {
		panic(fmt.Sprintf("npmtest: pack %s: %v", p.Name, err))
	}
	t := tar.NewWriter(z)
	all := files(p)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		mode := int64(0o644)
		for _, file := range p.Bin {
			if strings.TrimPrefix(file, "./") == name {
				mode = 0o755
			}
		}
		err := t.WriteHeader(&tar.Header{
			Name: "package/" + name, Mode: mode, Size: int64(len(all[name])),
			// The date every npm client stamps on packed files.
			ModTime: time.Date(1985, 10, 26, 8, 15, 0, 0, time.UTC), Format: tar.FormatUSTAR,
		})
		if err == nil {
			_, err = t.Write([]byte(all[name]))
		}
		if err != nil {
			panic(fmt.Sprintf("npmtest: pack %s: %v", p.Name, err))
		}
	}
	t.Close()
	z.Close()
	return b.Bytes()
}
