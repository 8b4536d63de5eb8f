package pypi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"larder/formats"
)

// projectStatus is the status marker of a project (PEP 792).
type projectStatus struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
}

// document is a view made ready for either rendering.
type document struct {
	view   *formats.View
	extra  []member // package-level members that pass on unchanged
	meta   []member // members of "meta" beside api-version
	status projectStatus
	listed []string // "versions" as upstream spelled and ordered them
	// versions are the view's, without those of a quarantined project.
	versions []*formats.Version
	entries  []entry
}

// Render writes the page of v.Name in the negotiated variant, or the project
// JSON document. URLs of files are relative to the page, so that the same text
// is right under any address; only provenance, which PEP 740 wants absolute,
// names the base.
func (f *Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	d, err := newDocument(v)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", v.Name.Canon, err)
	}
	var b bytes.Buffer
	switch t.Variant {
	case variantProject, variantRelease:
		err = d.writeProject(&b, t)
	case variantHTML, variantV1HTML:
		d.writeHTML(&b)
	default:
		d.writeJSON(&b)
	}
	if err != nil {
		return nil, err
	}
	h := http.Header{"Content-Type": {contentType(t.Variant)}, "X-Content-Type-Options": {"nosniff"}}
	if t.Variant != variantProject && t.Variant != variantRelease {
		h.Set("Vary", "Accept")
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("write page of %s: %w", v.Name.Canon, err)
	}
	return h, nil
}

func newDocument(v *formats.View) (*document, error) {
	d := &document{view: v}
	owner := true
	for _, layer := range v.Layers {
		if layer.Head == nil || len(layer.Head.Raw) == 0 {
			continue // published here: nothing is said beyond the files
		}
		if err := d.readHead(layer.Head.Raw, owner); err != nil {
			return nil, fmt.Errorf("read head of %s: %w", layer.Place, err)
		}
		owner = false
	}
	d.quarantine()
	for _, version := range d.versions {
		for i := range version.Assets {
			a := &version.Assets[i]
			if _, _, companion := companionOf(a.File); companion {
				continue
			}
			e := entry{version: version, asset: a}
			if h, ok := version.Held[a.File]; ok {
				e.held = &h
			}
			var err error
			if len(a.Raw) == 0 {
				e.file = heldFile(a, e.held)
			} else if e.file, err = decodeFile(a.Raw); err != nil {
				return nil, fmt.Errorf("read row of %s: %w", a.File, err)
			}
			d.entries = append(d.entries, e)
		}
	}
	return d, nil
}

// quarantine takes out what a quarantined project may not offer: all files of
// its index. What was published here is not in that index and stays, and then
// the page is not that project's alone.
func (d *document) quarantine() {
	d.versions = d.view.Versions
	if d.status.Status != "quarantined" {
		return
	}
	d.versions = nil
	for _, v := range d.view.Versions {
		if v.Hosting != nil && v.Hosting.Origin == formats.OriginInternal {
			d.versions = append(d.versions, v)
		}
	}
	if len(d.versions) > 0 {
		d.status = projectStatus{}
		d.extra = slices.DeleteFunc(d.extra, func(m member) bool { return m.key == keyStatus })
	}
}

// keyStatus is the member of a page that marks a project (PEP 792).
const keyStatus = "project-status"

// readHead takes the package-level members; those beside the version list
// belong to the first place that has any.
func (d *document) readHead(raw []byte, owner bool) error {
	ms, err := members(raw)
	if err != nil {
		return err
	}
	for _, m := range ms {
		switch m.key {
		case "versions":
			var listed []string
			if err := json.Unmarshal(m.raw, &listed); err != nil {
				return err
			}
			d.listed = append(d.listed, listed...)
			continue
		case "name", "files":
			continue
		}
		if !owner {
			continue
		}
		switch m.key {
		case "meta":
			all, err := members(m.raw)
			if err != nil {
				return err
			}
			for _, x := range all {
				if x.key != "api-version" && !holdsURL(x.raw) {
					d.meta = append(d.meta, x)
				}
			}
		case keyStatus:
			// An index that says it otherwise than PEP 792 says nothing.
			if json.Unmarshal(m.raw, &d.status) == nil {
				d.extra = append(d.extra, m)
			}
		default:
			if !holdsURL(m.raw) {
				d.extra = append(d.extra, m)
			}
		}
	}
	return nil
}

func (d *document) provenance(e *entry) (string, bool) {
	if !e.companion(provenanceSuffix) {
		return "", false
	}
	return d.view.Base + "/" + href(d.view.Name.Canon, e.version.V, e.asset.File+provenanceSuffix), true
}

// apiVersion is the least version that defines all that the page holds; below
// 1.1, since that makes sizes compulsory, where a size is unknown.
func (d *document) apiVersion() string {
	version := "1.1"
	for i := range d.entries {
		if d.entries[i].size() < 0 {
			return "1.0"
		}
		if d.entries[i].companion(provenanceSuffix) {
			version = "1.3"
		}
	}
	if d.status.Status != "" {
		return "1.4"
	}
	return version
}

// listing lists the page's versions as upstream spelled and ordered them;
// those it did not list follow in PEP 440 order.
func (d *document) listing() []string {
	out := []string{}
	open := make(map[string]string, len(d.versions)) // key -> text
	for _, v := range d.versions {
		if key := versionKey(v.V); open[key] == "" {
			open[key] = v.V
		}
	}
	for _, text := range d.listed {
		if key := versionKey(text); open[key] != "" {
			delete(open, key)
			out = append(out, text)
		}
	}
	rest := make([]string, 0, len(open))
	for _, text := range open {
		rest = append(rest, text)
	}
	slices.SortFunc(rest, compareVersions)
	return append(out, rest...)
}

// writeJSON writes the page as PEP 691 has it. Every member of a file that is
// not about where to fetch goes out byte for byte as it came in.
func (d *document) writeJSON(b *bytes.Buffer) {
	b.WriteString(`{"meta":{"api-version":"` + d.apiVersion() + `"`)
	for _, m := range d.meta {
		writeMember(b, m.rawKey, m.raw)
	}
	b.WriteString(`},"name":`)
	b.Write(quote(d.view.Name.Canon))
	for _, m := range d.extra {
		writeMember(b, m.rawKey, m.raw)
	}
	b.WriteString(`,"versions":[`)
	for i, text := range d.listing() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(text))
	}
	b.WriteString(`],"files":[`)
	for i := range d.entries {
		if i > 0 {
			b.WriteByte(',')
		}
		d.writeFile(b, &d.entries[i])
	}
	b.WriteString("]}")
}

// writeFile writes one file, keeping the order of upstream's members.
// dist-info-metadata is left out: pip 22.3 to 23.0 fail on it in JSON, which is
// why PEP 714 renamed it.
func (d *document) writeFile(b *bytes.Buffer, e *entry) {
	b.WriteByte('{')
	first := true
	write := func(rawKey, raw []byte) {
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.Write(rawKey)
		b.WriteByte(':')
		b.Write(raw)
	}
	own := [...]string{keyFilename, keyHashes, keyRequires, keySize, keyUploadTime, keyURL, keyMetadata}
	var done [len(own)]bool
	for _, m := range e.file.members {
		if raw := d.value(e, m); raw != nil {
			write(m.rawKey, raw)
			if i := slices.Index(own[:], m.key); i >= 0 {
				done[i] = true
			}
		}
	}
	for i, key := range own {
		if done[i] {
			continue
		}
		if raw := d.missing(e, key); raw != nil {
			write(quote(key), raw)
		}
	}
	b.WriteByte('}')
}

// value is what goes out for a member that upstream sent; nil leaves it out.
func (d *document) value(e *entry, m member) []byte {
	switch m.key {
	case keyURL:
		return quote(e.link())
	case keyFilename, keyRequires, keyYanked, keyUploadTime:
		return m.raw
	case keySize:
		if e.file.size < 0 {
			return nil // null; filled in below where the store knows it
		}
		return m.raw
	case keyHashes:
		if len(e.hashes()) == len(e.file.hashes) && !isNull(m.raw) {
			return m.raw
		}
		return encodeHashes(e.hashes())
	case keyMetadata:
		hashes, ok := e.metadata()
		if !ok {
			return []byte("false")
		}
		if e.file.metadata && len(hashes) == len(e.file.metadataHashes) && sameHashes(hashes, e.file.metadataHashes) {
			return m.raw
		}
		return encodeMetadata(hashes)
	case keyOldMeta, keyOldestMeta:
		return nil
	case keyProvenance:
		if url, ok := d.provenance(e); ok {
			return quote(url)
		}
		return []byte("null")
	case keySignature:
		if e.file.signature && !e.companion(signatureSuffix) {
			return nil
		}
		return m.raw
	}
	if holdsURL(m.raw) {
		return nil
	}
	return m.raw
}

// missing is what goes out for a member that upstream did not send.
func (d *document) missing(e *entry, key string) []byte {
	switch key {
	case keyFilename:
		return quote(e.asset.File)
	case keyURL:
		return quote(e.link())
	case keyHashes:
		return encodeHashes(e.hashes())
	case keyRequires:
		if e.file.requiresPython != "" && len(e.file.members) == 0 {
			return quote(e.file.requiresPython)
		}
	case keySize:
		if n := e.size(); n >= 0 {
			return strconv.AppendInt(nil, n, 10)
		}
	case keyUploadTime:
		if e.file.uploadTime != "" && len(e.file.members) == 0 {
			return quote(e.file.uploadTime)
		}
	case keyMetadata:
		if hashes, ok := e.metadata(); ok {
			return encodeMetadata(hashes)
		}
	}
	return nil
}
