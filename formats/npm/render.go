package npm

import (
	"io"
	"net/http"
	"slices"
	"time"

	"larder/formats"
)

// Render writes the packument, one version's document or the dist-tags of v.
//
// No Last-Modified is sent: upstream's date does not move when policy or the
// offline filter changes what a document holds.
func (f *Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	out := &output{w: w, base: v.Base}
	h := http.Header{"Content-Type": {mediaFull}}
	var err error
	switch t.Variant {
	case variantTags:
		tags := mendTags(v)
		if err = unlisted(v); err == nil {
			out.tags(tags)
		}
	case variantVersion:
		err = out.versionDocument(v, t.Version)
	default:
		h.Set("Vary", "Accept")
		if t.Variant == variantAbbreviated {
			h.Set("Content-Type", mediaAbbreviated)
		}
		if err = unlisted(v); err == nil {
			out.packument(v, t.Variant)
		}
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// unlisted refuses a package of which nothing may be shown, with the reason. A
// package whose versions upstream itself took back is shown empty, since its
// times say so.
func unlisted(v *formats.View) error {
	name := v.Name.Show()
	switch {
	case listed(v.Versions) > 0:
		return nil
	case len(v.Hidden) > 0:
		return formats.Refuse(formats.Blocked, "every version of %s is blocked here: %s", name, restrictionText(v.Hidden))
	case v.Offline && (v.Missing > 0 || len(v.Versions) > 0):
		return formats.Refuse(formats.NotHeld, "%s: none of its versions is held here, and this node is offline", name)
	case !slices.ContainsFunc(v.Layers, func(l formats.Layer) bool { return !l.Local }):
		return formats.Refuse(formats.NotFound, "%s has no version here", name) // all were unpublished
	}
	return nil
}

// listed counts the versions that have a manifest. One known only through a
// held tarball has none and cannot stand in a packument.
func listed(vs []*formats.Version) (n int) {
	for _, v := range vs {
		if len(v.Raw) > 0 {
			n++
		}
	}
	return n
}

// output collects a document and hands it on in large pieces.
type output struct {
	w    io.Writer
	buf  []byte
	base string // endpoint URL
	err  error  // first write error
}

const outputPiece = 128 << 10

func (o *output) drain() {
	if len(o.buf) < outputPiece {
		return
	}
	o.flush()
}

func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
	return o.err
}

func (o *output) str(s string)    { o.buf = append(o.buf, s...) }
func (o *output) raw(b []byte)    { o.buf = append(o.buf, b...) }
func (o *output) quoted(s string) { o.buf = appendString(o.buf, s) }

// packument writes the document that lists all versions of v. Rows come in the
// order of the upstream document and are copied byte for byte.
func (o *output) packument(v *formats.View, variant string) {
	o.buf = make([]byte, 0, outputPiece+32<<10)
	abbreviated := variant == variantAbbreviated
	head := mergeHeads(v.Layers)
	o.str("{")
	if abbreviated {
		o.str(`"name":`)
		o.quoted(v.Name.Show())
	} else {
		o.headMembers(v.Name.Show(), head.Raw, variant == variantWrite)
	}
	if variant == variantWrite {
		o.str(`,"_rev":`)
		o.quoted(revision(v))
	}
	o.str(`,"dist-tags":`)
	o.tags(mendTags(v))
	o.str(`,"versions":{`)
	url := newTarballs(o.base, v.Name.Canon)
	first := true
	for _, row := range v.Versions {
		if len(row.Raw) == 0 {
			continue
		}
		if !first {
			o.str(",")
		}
		first = false
		o.quoted(row.V)
		o.str(":")
		o.manifest(row.V, row.Raw, url, abbreviated)
		o.drain()
	}
	o.str("}")
	o.times(v, head)
	if abbreviated {
		o.modified(head)
	}
	o.restrictions(v)
	o.str("}")
}

// headMembers writes the package-level members upstream sent, in its order. The
// two that list further versions are not: policyRestrictions is merged with
// ours, and stagedVersions would lead around policy.
func (o *output) headMembers(name string, raw []byte, write bool) {
	start := len(o.buf)
	var m member
	for ob, ok := openObject(raw); ok && ob.next(&m); {
		switch string(m.key) {
		case "policyRestrictions", "stagedVersions":
			continue
		case "_rev", "_attachments":
			if write { // ours comes behind
				continue
			}
		}
		if len(o.buf) > start {
			o.str(",")
		}
		o.raw(raw[m.start:m.till])
	}
	if len(o.buf) == start { // a head with no members: hosted, or known from files only
		o.str(`"name":`)
		o.quoted(name)
	}
}

// times writes "time": what upstream said of each listed version, in its own
// spelling, and of versions it took back. Clients' age gates read it, in the
// abbreviated document too (pnpm's registry-supports-time-field).
func (o *output) times(v *formats.View, head *formats.Head) {
	mark := len(o.buf)
	o.str(`,"time":{`)
	n := 0
	sep := func() {
		if n > 0 {
			o.str(",")
		}
		n++
	}
	skip := make(map[string]bool, len(v.Hidden)+len(v.Versions)) // hidden, or told below
	for _, h := range v.Hidden {
		skip[h.Version.V] = true
	}
	for _, row := range v.Versions {
		skip[row.V] = len(row.Raw) > 0
	}
	var m member
	for ob, ok := openObject(head.Aux); ok && ob.next(&m); {
		if skip[string(m.key)] {
			continue
		}
		sep()
		o.raw(head.Aux[m.start:m.till])
	}
	for _, row := range v.Versions {
		at := row.Published
		if at.IsZero() {
			at = row.FirstSeen
		}
		if len(row.Raw) == 0 || len(row.Aux) == 0 && at.IsZero() {
			continue
		}
		sep()
		o.quoted(row.V)
		o.str(":")
		if len(row.Aux) > 0 {
			o.raw(row.Aux)
		} else {
			o.quoted(stamp(at))
		}
	}
	if n == 0 { // nothing is known: an empty object would claim more
		o.buf = o.buf[:mark]
		return
	}
	o.str("}")
	o.drain()
}

// modified writes the top-level member of the abbreviated document.
func (o *output) modified(head *formats.Head) {
	at := text(find(head.Aux, "modified"))
	if at == "" && !head.Modified.IsZero() {
		at = stamp(head.Modified)
	}
	if at != "" {
		o.str(`,"modified":`)
		o.quoted(at)
	}
}

// stamp spells a time as the registry does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// versionDocument writes the manifest of one version or tag, exactly as the
// packument has it: Corepack and others read dist.signatures here.
func (o *output) versionDocument(v *formats.View, want string) error {
	row := pickVersion(v.Versions, want)
	if row == nil {
		if tagged, ok := mendTags(v)[want]; ok {
			row = pickVersion(v.Versions, tagged)
		}
	}
	if row != nil {
		url := newTarballs(o.base, v.Name.Canon)
		o.manifest(row.V, row.Raw, url, false)
		return nil
	}
	name := v.Name.Show()
	for _, h := range v.Hidden {
		if h.Version.V == want {
			return formats.Refuse(formats.Blocked, "%s@%s is blocked here: %s", name, want, h.Reason)
		}
	}
	if err := unlisted(v); err != nil {
		return err
	}
	if v.Offline && v.Missing > 0 {
		return formats.Refuse(formats.NotHeld, "%s@%s is not held here, and this node is offline", name, want)
	}
	return formats.Refuse(formats.NotFound, "version not found: %s@%s", name, want)
}

func pickVersion(vs []*formats.Version, want string) *formats.Version {
	for _, row := range vs {
		if row.V == want && len(row.Raw) > 0 {
			return row
		}
	}
	return nil
}
