package npm

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/mod/semver"

	"larder/formats"
)

const (
	maxReadme     = 1 << 20 // bytes of a readme that is kept; a longer one is left out
	maxMemberName = 1 << 10 // bytes of the name of a document's member
	maxNewName    = 214     // characters of a new name (validate-npm-package-name)
)

// upload is the document of one PUT while it is read. Of its versions only the
// first is kept, since a publish has one; each is compared with what is held
// when it passes, so that a deprecation of a package with thousands of versions
// costs one version's memory.
type upload struct {
	ctx      context.Context
	in       formats.Intake
	name     formats.Name
	revision bool // /-rev/REV: versions that lack shall go

	once     map[string]bool
	head     map[string][]byte // package-level members that are kept
	kept     int               // bytes of it
	tags     map[string]string
	times    map[string]bool
	tarball  formats.Spool
	bundle   []byte // provenance
	version  string // the first
	manifest []byte
	seen     map[string]bool

	differs string // the first difference that is none of deprecation
	amended []formats.VersionChange
	message map[string]int // deprecation texts of versions held elsewhere
	told    string         // the last new deprecation text
}

func (u *upload) read(s *stream) error {
	u.once, u.head, u.seen = map[string]bool{}, map[string][]byte{}, map[string]bool{}
	u.times, u.message = map[string]bool{}, map[string]int{}
	if err := s.members(func(key []byte) error { return u.member(s, text(key)) }); err != nil {
		return err
	}
	return s.atEnd()
}

// member takes one member of the document.
func (u *upload) member(s *stream, key string) error {
	if u.once[key] {
		return formats.Refuse(formats.BadRequest, "the document has %q twice", clip(key))
	}
	if len(u.once) == 1000 || len(key) > maxMemberName {
		return formats.Refuse(formats.BadRequest, "the document has too many members, or one with too long a name")
	}
	u.once[key] = true
	switch key {
	case "versions":
		return s.members(func(key []byte) error { return u.oneVersion(s, text(key)) })
	case "_attachments":
		if c, err := s.peek(); err == nil && c != '{' {
			return u.skip(s) // null, or CouchDB's leftovers
		}
		return s.members(func(key []byte) error { return u.attachment(s, key) })
	case "time":
		return u.named(s, func(key string) { u.times[key] = true })
	}
	val, err := s.value()
	if err != nil {
		return err
	}
	switch key {
	case "name", "_id":
		if got := text(val); got != u.name.Canon {
			return formats.Refuse(formats.BadRequest, "the document is about %q, the address about %q", clip(got), u.name.Canon)
		}
	case "dist-tags":
		if len(val) > maxReadme {
			return fmt.Errorf("dist-tags: %w", errTooLarge)
		}
		u.tags = parseTags(val)
	default:
		if headMember(key) && len(val) <= maxReadme {
			if u.kept += len(val); u.kept > 4*maxReadme {
				return fmt.Errorf("package-level members: %w", errTooLarge)
			}
			u.head[key] = bytes.Clone(val)
		}
	}
	return nil
}

// named reads an object for its keys alone.
func (u *upload) named(s *stream, fn func(key string)) error {
	if c, err := s.peek(); err == nil && c != '{' {
		return u.skip(s)
	}
	n := 0
	return s.members(func(key []byte) error {
		if n++; n > maxVersions {
			return fmt.Errorf("time: %w", errTooLarge)
		}
		if len(key) <= 300 {
			fn(text(key))
		}
		return u.skip(s)
	})
}

func (u *upload) skip(s *stream) error {
	_, err := s.value()
	return err
}

// headMember reports whether a member is said of the package rather than of a
// version (npm registry documentation, "package metadata").
func headMember(key string) bool {
	for _, k := range headMembers() {
		if k == key {
			return true
		}
	}
	return false
}

func headMembers() []string {
	return []string{"description", "readme", "readmeFilename", "maintainers", "author", "contributors", "keywords", "repository", "homepage", "bugs", "license"}
}

// oneVersion takes one member of "versions".
func (u *upload) oneVersion(s *stream, v string) error {
	val, err := s.value()
	if err != nil {
		return err
	}
	switch {
	case !validVersion(v):
		return formats.Refuse(formats.BadRequest, "%q is not a version", clip(v))
	case u.seen[v]:
		return formats.Refuse(formats.BadRequest, "the document has version %s twice", v)
	case val[0] != '{':
		return formats.Refuse(formats.BadRequest, "version %s is not an object", v)
	case len(u.seen) == maxVersions:
		return fmt.Errorf("versions: %w", errTooLarge)
	}
	u.seen[v] = true
	if len(u.seen) == 1 {
		u.version, u.manifest = v, bytes.Clone(val)
	}
	row, err := u.in.Version(u.name, v)
	if err != nil {
		return fmt.Errorf("look up version: %w", err)
	}
	return u.compare(v, row, val)
}

// publish makes the change of a document that carries a tarball.
func (u *upload) publish() (*formats.Change, error) {
	if err := u.checkCoordinate(); err != nil {
		return nil, err
	}
	old, err := u.in.Version(u.name, u.version)
	if err != nil {
		return nil, fmt.Errorf("look up version: %w", err)
	}
	found, err := inspectTarball(u.ctx, u.tarball)
	if err != nil {
		return nil, err
	}
	if err := found.check(u.name.Canon, u.version); err != nil {
		return nil, err
	}
	if err := checkDist(find(u.manifest, "dist"), u.tarball); err != nil {
		return nil, err
	}
	row, err := u.row(found)
	if err != nil {
		return nil, err
	}
	vc := formats.VersionChange{V: u.version, Row: row, Files: []formats.NewFile{{
		File: row.Assets[0].File, ContentType: "application/octet-stream", Spool: u.tarball,
	}}}
	if u.bundle != nil {
		file, err := u.provenance()
		if err != nil {
			return nil, err
		}
		vc.Files = append(vc.Files, file)
		row.Assets = append(row.Assets, formats.Asset{File: file.File, Size: file.Spool.Size(), Digests: file.Spool.Digests(),
			Uploaded: row.Published, From: row.From})
	}
	c := &formats.Change{Name: u.name, Versions: []formats.VersionChange{vc}, Reply: formats.JSONReply(http.StatusCreated, replyPublished)}
	if old != nil { // the same bytes again change nothing, tags that moved since least of all
		return c, nil
	}
	return c, u.describe(c)
}

// checkCoordinate holds a new version to the rules for names and versions of
// today, which are stricter than what is read.
func (u *upload) checkCoordinate() error {
	switch {
	case len(u.seen) != 1:
		return formats.Refuse(formats.BadRequest, "a publish has one version, this one has %d", len(u.seen))
	case semver.Canonical("v"+u.version) != "v"+u.version:
		return formats.Refuse(formats.BadRequest, "%s is not a version that can be published: want MAJOR.MINOR.PATCH with an optional -PRERELEASE", u.version)
	}
	if err := checkOnce(u.manifest); err != nil {
		return err
	}
	if n, v := text(find(u.manifest, "name")), text(find(u.manifest, "version")); n != u.name.Canon || v != u.version {
		return formats.Refuse(formats.BadRequest, "the manifest is of %s@%s, not of %s@%s", clip(n), clip(v), u.name.Canon, u.version)
	}
	known, err := u.in.Versions(u.name)
	if err != nil {
		return fmt.Errorf("look up versions: %w", err)
	}
	if n := u.name.Canon; len(known) == 0 && (n != strings.ToLower(n) || len(n) > maxNewName || strings.ContainsAny(n, "~'!()*") || u.name.NS != "" && strings.HasPrefix(u.name.NS, "_")) {
		return formats.Refuse(formats.BadRequest, "%s cannot be the name of a new package: at most %d lower-case letters, digits, '-', '_' and '.'", n, maxNewName)
	}
	for tag := range u.tags {
		if err := checkTag(tag); err != nil {
			return err
		}
		if u.tags[tag] != u.version {
			return formats.Refuse(formats.BadRequest, "the tag %q names %s, which this request does not publish", clip(tag), clip(u.tags[tag]))
		}
	}
	return nil
}

// checkOnce refuses a manifest that means different things to readers that take
// the first of two members and to those that take the last.
func checkOnce(raw []byte) error {
	seen := map[string]bool{}
	var m member
	for o, ok := openObject(raw); ok && o.next(&m); {
		if seen[string(m.key)] {
			return formats.Refuse(formats.BadRequest, "a manifest has %q twice", clip(string(m.key)))
		}
		seen[string(m.key)] = true
	}
	return nil
}

// checkDist holds the tarball to the digests that the client computed.
func checkDist(dist []byte, tarball formats.Spool) error {
	integrity, shasum := text(find(dist, "integrity")), text(find(dist, "shasum"))
	want, bad := distDigests(integrity, shasum)
	if bad != nil {
		return formats.Refuse(formats.BadRequest, "dist.integrity or dist.shasum cannot be read")
	}
	known := 0
	for _, w := range want {
		got, ok := formats.Find(tarball.Digests(), w.Alg)
		if !ok {
			continue
		}
		if known++; got != w {
			return formats.Refuse(formats.BadRequest, "the tarball arrived damaged: its %s is %s, the manifest says %s", w.Alg, got.Hex, w.Hex)
		}
	}
	if len(want) > 0 && known == 0 {
		return formats.Refuse(formats.BadRequest, "dist.integrity has no digest that is known here")
	}
	return nil
}
