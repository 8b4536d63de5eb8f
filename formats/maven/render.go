package maven

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"

	"larder/formats"
)

// Render writes the maven-metadata.xml that t asks for, or, for a Variant that
// names a digest, the hex digest of that very document. The document depends on
// the rows alone (not on the base URL, not on the time), so that the checksum
// file a client fetches next belongs to the document it has.
func (f *Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	doc, err := compose(v, t)
	if err != nil {
		return nil, err
	}
	if t.Variant != "" {
		sum := formats.Alg(t.Variant).New()
		if sum == nil {
			return nil, formats.Refuse(formats.NotFound, "%s has no checksum of kind %q", metadataFile, t.Variant)
		}
		if err := doc.write(sum); err != nil {
			return nil, fmt.Errorf("hash %s: %w", metadataFile, err)
		}
		if _, err := io.WriteString(w, hex.EncodeToString(sum.Sum(nil))); err != nil {
			return nil, fmt.Errorf("write checksum: %w", err)
		}
		return http.Header{"Content-Type": {checksumType}}, nil
	}
	if err := doc.write(w); err != nil {
		return nil, fmt.Errorf("write %s: %w", metadataFile, err)
	}
	h := http.Header{"Content-Type": {"application/xml"}}
	// Only what upstream said unchanged may carry upstream's time: a client
	// that sends it back must not be told "not modified" of a filtered view.
	if at := doc.m.time(); !at.IsZero() && len(v.Layers) == 1 && !v.Layers[0].Local && !v.Offline && len(v.Hidden) == 0 {
		h.Set("Last-Modified", at.UTC().Format(http.TimeFormat))
	}
	return h, nil
}

// document is one maven-metadata.xml ready to be written.
type document struct {
	m        metadata
	versions []string
}

// compose unites the layers of a view.
func compose(v *formats.View, t formats.Target) (*document, error) {
	var heads []*metadata
	for _, l := range v.Layers {
		// A head of this site is that of the name; its snapshots are rows.
		if l.Head == nil || len(l.Head.Raw) == 0 || l.Local && t.Doc != "" {
			continue
		}
		m, err := scan(bytes.NewReader(l.Head.Raw), nil, nil)
		if err != nil {
			return nil, fmt.Errorf("read kept head of %s: %w", l.Place, err)
		}
		heads = append(heads, m)
	}
	if t.Doc != "" {
		return composeSnapshot(v, t, heads)
	}
	return composeArtifact(v, heads)
}

// composeArtifact makes the artifact-level and the group-level document, which
// may be one: both have the path group/artifact.
func composeArtifact(v *formats.View, heads []*metadata) (*document, error) {
	d := &document{m: united(heads)}
	hosted := false
	for _, row := range v.Versions {
		d.versions = append(d.versions, directory(row.V))
		hosted = hosted || isInternal(row)
	}
	d.versions = sortVersions(d.versions)
	if len(d.versions) == 0 && len(d.m.plugins) == 0 {
		switch {
		case len(v.Hidden) > 0:
			return nil, formats.Refuse(formats.Blocked, "every version of %s is blocked here: %s", v.Name.Show(), v.Hidden[0].Reason)
		case v.Offline:
			return nil, formats.Refuse(formats.NotHeld, "no version of %s is held here, and this repository is offline", v.Name.Show())
		case len(heads) == 0:
			return nil, formats.Refuse(formats.NotFound, "%s is not known here", v.Name.Show())
		}
	}
	if len(d.versions) > 0 {
		d.m.versioned = true
		d.m.group, d.m.artifact = coordinates(v.Name)
	}
	if hosted {
		for _, l := range v.Layers {
			if l.Local && l.Head != nil && !l.Head.Modified.IsZero() {
				d.m.updated = max(d.m.updated, l.Head.Modified.UTC().Format(stampLayout))
			}
		}
	}
	d.repoint(len(heads) == 1 && !hosted)
	return d, nil
}

// isInternal reports whether a version was published here. One that was only
// retained is still what its upstream's document speaks of.
func isInternal(row *formats.Version) bool {
	return row.Hosting != nil && row.Hosting.Origin == formats.OriginInternal
}

// repoint makes latest and release name versions of this document. A sole
// upstream's own choice (also its silence) stands while the version is listed;
// otherwise latest is the last version in Maven's order and release the last
// that is no snapshot.
func (d *document) repoint(sole bool) {
	last, released := "", ""
	for _, v := range d.versions {
		last = v
		if !isSnapshot(v) {
			released = v
		}
	}
	choose := func(tag, otherwise string) string {
		if sole && (tag == "" || slices.Contains(d.versions, tag)) {
			return tag
		}
		return otherwise
	}
	d.m.latest, d.m.release = choose(d.m.latest, last), choose(d.m.release, released)
}

// united merges everything but the version list. Elements that the model does
// not name survive only where one upstream speaks, since nothing is known of
// how they would merge.
func united(heads []*metadata) metadata {
	if len(heads) == 1 {
		return *heads[0]
	}
	var u metadata
	type key struct{ prefix, artifact string }
	seen := map[key]bool{}
	for _, m := range heads {
		u.updated = max(u.updated, m.updated)
		u.model = max(u.model, m.model)
		u.versioned = u.versioned || m.versioned
		if u.group == "" && u.artifact == "" {
			u.group, u.artifact = m.group, m.artifact
		}
		for _, p := range m.plugins {
			if k := (key{p.prefix, p.artifact}); !seen[k] {
				seen[k] = true
				p.extra = nil
				u.plugins = append(u.plugins, p)
			}
		}
	}
	return u
}

// write writes the document, indented by two spaces as Maven writes it.
func (d *document) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 16<<10)
	p := printer{b}
	p.line(0, `<?xml version="1.0" encoding="UTF-8"?>`)
	if d.m.model != "" {
		p.open(0, `metadata modelVersion="`+escape(d.m.model)+`"`)
	} else {
		p.open(0, "metadata")
	}
	p.element(1, "groupId", d.m.group)
	p.element(1, "artifactId", d.m.artifact)
	p.element(1, "version", d.m.version)
	if d.m.versioned {
		d.writeVersioning(p)
	}
	if len(d.m.plugins) > 0 {
		p.open(1, "plugins")
		for _, pl := range d.m.plugins {
			p.open(2, "plugin")
			p.element(3, "name", pl.name)
			p.element(3, "prefix", pl.prefix)
			p.element(3, "artifactId", pl.artifact)
			p.fragments(3, pl.extra)
			p.line(2, "</plugin>")
		}
		p.line(1, "</plugins>")
	}
	p.fragments(1, d.m.extra)
	p.line(0, "</metadata>")
	return b.Flush()
}

func (d *document) writeVersioning(p printer) {
	p.open(1, "versioning")
	p.element(2, "latest", d.m.latest)
	p.element(2, "release", d.m.release)
	if s := d.m.snap; s != nil {
		p.open(2, "snapshot")
		p.element(3, "timestamp", s.timestamp)
		if s.number > 0 {
			p.element(3, "buildNumber", fmt.Sprint(s.number))
		}
		if s.localCopy {
			p.element(3, "localCopy", "true")
		}
		p.line(2, "</snapshot>")
	}
	if len(d.versions) > 0 {
		p.open(2, "versions")
		for _, v := range d.versions {
			p.element(3, "version", v)
		}
		p.line(2, "</versions>")
	}
	p.element(2, "lastUpdated", d.m.updated)
	if len(d.m.builds) > 0 {
		p.open(2, "snapshotVersions")
		for _, sv := range d.m.builds {
			p.open(3, "snapshotVersion")
			p.element(4, "classifier", sv.classifier)
			p.element(4, "extension", sv.extension)
			p.element(4, "value", sv.value)
			p.element(4, "updated", sv.updated)
			p.line(3, "</snapshotVersion>")
		}
		p.line(2, "</snapshotVersions>")
	}
	p.fragments(2, d.m.versioningExtra)
	p.line(1, "</versioning>")
}

// printer writes indented lines; errors stay in the bufio.Writer.
type printer struct{ b *bufio.Writer }

func (p printer) line(indent int, s string) {
	for range indent {
		p.b.WriteString("  ")
	}
	p.b.WriteString(s)
	p.b.WriteByte('\n')
}

func (p printer) open(indent int, tag string) { p.line(indent, "<"+tag+">") }

// element writes nothing for an empty text.
func (p printer) element(indent int, tag, text string) {
	if text != "" {
		p.line(indent, "<"+tag+">"+escape(text)+"</"+tag+">")
	}
}

func (p printer) fragments(indent int, fragments [][]byte) {
	for _, f := range fragments {
		p.line(indent, string(f))
	}
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer does not fail
	return b.String()
}
