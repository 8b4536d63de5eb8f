package npm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"larder/formats"
)

// packument is one document while it is cut up.
type packument struct {
	name, id string
	head     []byte // "{" + every member that has no row of its own, comma separated
	tags     []byte
	times    []byte
	modified string // the top-level member of abbreviated documents
	versions []manifest
	seen     map[string]bool // version keys
	once     map[string]bool // members that may stand once only
}

type manifest struct {
	v   string
	raw []byte
}

// Parse reads a packument (npm registry documentation, "package metadata").
// Times may stand before or behind the versions they belong to, so versions are
// emitted when the document is complete: a truncated one emits nothing. What is
// held meanwhile is the document once.
func (f *Format) Parse(t formats.Target, src formats.Source, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	p := &packument{head: []byte{'{'}, seen: make(map[string]bool), once: make(map[string]bool)}
	if err := p.read(newStream(r, f.maxDoc)); err != nil {
		return nil, fmt.Errorf("parse packument of %s: %w", t.Name.Canon, err)
	}
	if err := p.check(t.Name.Canon); err != nil {
		return nil, fmt.Errorf("parse packument of %s: %w", t.Name.Canon, err)
	}
	head := &formats.Head{
		Raw:     append(p.head, '}'),
		Tags:    parseTags(p.tags),
		Display: t.Name.Canon,
	}
	times, rest := p.splitTimes()
	head.Aux = rest
	if m := text(find(rest, "modified")); m != "" {
		p.modified = m
	}
	head.Modified = parseTime([]byte(p.modified))
	base, _ := url.Parse(src.URL)
	for i := range p.versions {
		m := &p.versions[i]
		v := versionRow(t.Name.Canon, base, m.v, m.raw, times[m.v])
		m.raw = nil // the row owns it now
		if err := emit(v); err != nil {
			return nil, err
		}
	}
	return head, nil
}

func (p *packument) read(s *stream) error {
	if c, err := s.peek(); err != nil {
		return err
	} else if c != '{' {
		return fmt.Errorf("%w: the document starts with %q", errJSON, c)
	}
	if err := s.members(func(key []byte) error { return p.member(s, key) }); err != nil {
		return err
	}
	return s.atEnd()
}

// member takes one top-level member.
func (p *packument) member(s *stream, key []byte) error {
	name := text(key)
	switch name {
	case "name", "versions", "time", "dist-tags":
		if p.once[name] {
			return fmt.Errorf("%q stands twice", name)
		}
		p.once[name] = true
	}
	if name == "versions" {
		return s.members(func(key []byte) error { return p.version(s, key) })
	}
	val, err := s.value()
	if err != nil {
		return err
	}
	switch name {
	case "time":
		p.times = bytes.Clone(val)
		return nil
	case "dist-tags":
		p.tags = bytes.Clone(val)
		return nil
	case "name":
		p.name = text(val)
	case "_id":
		p.id = text(val)
	case "modified":
		p.modified = text(val)
	}
	if len(p.head) > 1 {
		p.head = append(p.head, ',')
	}
	p.head = append(append(append(p.head, key...), ':'), val...)
	if len(p.head) > maxManifest {
		return fmt.Errorf("package-level members: %w", errTooLarge)
	}
	return nil
}

// version takes one member of "versions". A key that could not stand in a URL
// is passed over: nobody could fetch it through us, and one odd version of 2011
// must not hide the package.
func (p *packument) version(s *stream, key []byte) error {
	v := text(key)
	if p.seen[v] {
		return fmt.Errorf("version %q stands twice", v)
	}
	if len(p.versions) == maxVersions {
		return fmt.Errorf("more than %d versions: %w", maxVersions, errTooLarge)
	}
	val, err := s.value()
	if err != nil {
		return fmt.Errorf("version %q: %w", v, err)
	}
	if !validVersion(v) {
		return nil
	}
	if val[0] != '{' {
		return fmt.Errorf("version %q: not an object", v)
	}
	p.seen[v] = true
	p.versions = append(p.versions, manifest{v, bytes.Clone(val)})
	return nil
}

// check refuses what is JSON but not this package's packument.
func (p *packument) check(name string) error {
	switch got := cmp.Or(p.name, p.id); got {
	case name:
	case "":
		return errors.New("not a packument: it has no name")
	default:
		return fmt.Errorf("the document is about %q", got)
	}
	if !p.once["versions"] && find(p.times, "unpublished") == nil {
		return errors.New("not a packument: it has no versions")
	}
	for _, m := range [...][]byte{p.times, p.tags} {
		if m != nil && m[0] != '{' && string(m) != "null" {
			return errors.New("not a packument: time or dist-tags is not an object")
		}
	}
	return nil
}

// splitTimes maps each listed version to the exact text of its time, and keeps
// all other members (created, modified, unpublished versions) as one object.
func (p *packument) splitTimes() (times map[string][]byte, rest []byte) {
	times = make(map[string][]byte, len(p.versions))
	rest = []byte{'{'}
	var m member
	for o, ok := openObject(p.times); ok && o.next(&m); {
		if val := p.times[m.from:m.till]; p.seen[string(m.key)] {
			times[string(m.key)] = val
			continue
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(rest, p.times[m.start:m.till]...)
	}
	return times, append(rest, '}')
}

// parseTags reads dist-tags; entries that are not strings are passed over.
func parseTags(b []byte) map[string]string {
	tags := make(map[string]string)
	var m member
	for o, ok := openObject(b); ok && o.next(&m); {
		if v := text(b[m.from:m.till]); v != "" && len(m.key) > 0 {
			tags[string(m.key)] = v
		}
	}
	return tags
}

// parseTime reads the registry's timestamps; zero if it cannot.
func parseTime(s []byte) time.Time {
	at, err := time.Parse(time.RFC3339, string(s))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// versionRow makes the row of one version from its manifest.
func versionRow(name string, base *url.URL, v string, raw, at []byte) *formats.Version {
	row := &formats.Version{V: v, Raw: raw, Aux: bytes.Clone(at)}
	if at := parseTime(unquote(at)); !at.IsZero() {
		row.Published, row.From = at, formats.TimeUpstream
	}
	var dist []byte
	var m member
	for o, ok := openObject(raw); ok && o.next(&m); {
		switch string(m.key) {
		case "dist":
			dist = raw[m.from:m.till]
		case "deprecated":
			if d := raw[m.from:m.till]; string(d) == "true" || text(d) != "" {
				row.Flags |= formats.Deprecated
			} else {
				row.Flags &^= formats.Deprecated
			}
		}
	}
	row.Assets = []formats.Asset{distAsset(name, base, v, dist)}
	row.Assets[0].Uploaded, row.Assets[0].From = row.Published, row.From
	return row
}

// distAsset describes the tarball that a manifest's "dist" names. Its file name
// is the canonical one wherever upstream keeps it.
func distAsset(name string, base *url.URL, v string, dist []byte) formats.Asset {
	a := formats.Asset{File: tarballFile(name, v)}
	var integrity, shasum, tarball string
	var m member
	for o, ok := openObject(dist); ok && o.next(&m); {
		switch val := dist[m.from:m.till]; string(m.key) {
		case "integrity":
			integrity = text(val)
		case "shasum":
			shasum = text(val)
		case "tarball":
			tarball = text(val)
		}
	}
	a.Digests, a.Aux = distDigests(integrity, shasum)
	if u, err := url.Parse(tarball); err == nil && tarball != "" {
		if base != nil {
			u = base.ResolveReference(u)
		}
		if (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil {
			u.Fragment, u.RawFragment = "", ""
			a.URL = u.String()
		}
	}
	return a
}

// badIntegrity in an asset's Aux marks a tarball whose metadata promises
// digests that cannot be read. The version stays listed; its tarball is
// refused, since nothing could vouch for it.
const badIntegrity = "malformed integrity"

// distDigests reads dist.integrity (SRI, since 2017) and dist.shasum (SHA-1 in
// hex, always). Unreadable values are an error only if nothing readable is left
// or if the stronger of the two is the unreadable one.
func distDigests(integrity, shasum string) (ds []formats.Digest, aux []byte) {
	if integrity != "" {
		sri, err := formats.ParseSRI(integrity)
		if err != nil {
			return nil, []byte(badIntegrity)
		}
		for _, d := range sri {
			// Two values of one algorithm mean "either" in SRI; the proxy demands
			// all, so only one value can be held to.
			switch was, ok := formats.Find(ds, d.Alg); {
			case !ok:
				ds = append(ds, d)
			case was != d:
				return nil, []byte(badIntegrity)
			}
		}
	}
	if shasum == "" {
		return ds, nil
	}
	d, err := formats.ParseDigest(formats.SHA1, shasum)
	switch was, ok := formats.Find(ds, formats.SHA1); {
	case err != nil && len(ds) == 0:
		return nil, []byte(badIntegrity)
	case err == nil && !ok:
		ds = append(ds, d)
	case err == nil && was != d:
		return nil, []byte(badIntegrity)
	}
	return ds, nil
}
