// Package maven owns the Maven repository layout: release and snapshot files,
// the three levels of maven-metadata.xml, checksum files, how they are read and
// deployed, and how Maven, Gradle and their relatives find their repository. It
// refuses directory listings, prefix lists, indexes and snapshots without a
// timestamp. It never forwards an upstream's checksum file nor keeps a client's:
// checksums are always those of the bytes larder serves. Nor does it keep a
// client's list of versions: that is made from the rows.
//
// A deployed release is one version row. A snapshot is a row of its own, which
// holds no files but the document that names its newest builds, and a row for
// each build, named by timestamp and number (CodeArtifact user guide, "Snapshot
// publishing in CodeArtifact").
package maven

import (
	"context"
	"net/url"
	"strings"

	"larder/formats"
)

// Format implements the maven format. It holds no state.
type Format struct{}

// New returns the format.
func New() *Format { return &Format{} }

var (
	_ formats.Format     = (*Format)(nil)
	_ formats.Upstreamer = (*Format)(nil)
	_ formats.Lister     = (*Format)(nil)
	_ formats.Merger     = (*Format)(nil)
	_ formats.Anchorer   = (*Format)(nil)
	_ formats.Verifier   = (*Format)(nil)
	_ formats.Hasher     = (*Format)(nil)
	_ formats.Inspector  = (*Format)(nil)
	_ formats.Deriver    = (*Format)(nil)
	_ formats.Decorator  = (*Format)(nil)
	_ formats.Closure    = (*Format)(nil)
	_ formats.Discoverer = (*Format)(nil)
	_ formats.Ingester   = (*Format)(nil)

	_ formats.Publisher   = (*Format)(nil)
	_ formats.Builder     = (*Format)(nil)
	_ formats.Coordinator = (*Format)(nil)
	_ formats.Describer   = (*Format)(nil)
)

// ID is "maven".
func (*Format) ID() string { return "maven" }

// Merge unites the versions of all upstreams: a Maven artifact may live in
// several repositories at once (releases in one, snapshots in another).
func (*Format) Merge() formats.MergeRule { return formats.Union }

// Anchor names what says that an upstream has a version: the POM of a release,
// the metadata of a snapshot. Clients ask for these first, so that the question
// is rarely a request of its own.
func (*Format) Anchor(t formats.Target) (formats.Target, bool) {
	a := formats.Target{Name: t.Name, Version: directory(t.Version)}
	if isSnapshot(a.Version) {
		a.Kind, a.Doc = formats.KindListing, a.Version
		return a, true
	}
	_, artifact := coordinates(t.Name)
	a.Kind, a.File, a.Fresh = formats.KindAsset, artifact+"-"+t.Version+".pom", formats.Immutable
	return a, a.File != t.File
}

// Algs are the digests Maven clients ask for by sibling file or read from
// response headers. SHA-512 is computed on demand by Derive.
func (*Format) Algs() []formats.Alg { return []formats.Alg{formats.SHA1, formats.MD5} }

// coordinates splits a canonical name into group and artifact. A group-level
// name of one segment has no artifact.
func coordinates(n formats.Name) (group, artifact string) {
	group, artifact, _ = strings.Cut(n.Canon, ":")
	return group, artifact
}

// PURL returns "pkg:maven/group/artifact@version" (purl type definition maven).
func (*Format) PURL(n formats.Name, version string) string {
	group, artifact := coordinates(n)
	p := "pkg:maven/" + purlEscape(group)
	if artifact != "" {
		p += "/" + purlEscape(artifact)
	}
	if version != "" {
		p += "@" + purlEscape(version)
	}
	return p
}

// ParsePURL is the inverse of PURL. Qualifiers and a subpath are passed over.
func (*Format) ParsePURL(purl string) (n formats.Name, version string, ok bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:maven/")
	if !ok {
		return n, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	rest, version, _ = strings.Cut(rest, "@")
	group, artifact, _ := strings.Cut(rest, "/")
	var err error
	for _, s := range []*string{&group, &artifact, &version} {
		if *s, err = url.PathUnescape(*s); err != nil {
			return n, "", false
		}
	}
	for _, g := range strings.Split(group, ".") {
		if !isGroupSegment(g) {
			return n, "", false
		}
	}
	if !isArtifact(artifact) || (version != "" && !isVersion(version)) {
		return n, "", false
	}
	return nameOf(group, artifact), version, true
}

// purlEscape percent-encodes everything outside the purl's unreserved set.
func purlEscape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// Locate maps a target to its path below the connection's base. Paths are the
// same on every Maven repository.
func (*Format) Locate(_ context.Context, c formats.Connection, t formats.Target, _ *formats.Asset, _ formats.Docs) (formats.Fetch, error) {
	switch t.Kind {
	case formats.KindSidecar:
		if t.Derive == nil {
			return formats.Fetch{}, formats.Refuse(formats.Internal, "checksum file without the file it belongs to")
		}
		t = *t.Derive
	case formats.KindListing, formats.KindAsset, formats.KindDocument:
	default:
		return formats.Fetch{}, formats.Refuse(formats.NotFound, "this path has no counterpart upstream")
	}
	return formats.Fetch{URL: c.URL + escapePath(pathOf(t))}, nil
}

// pathOf returns the path of a target below a repository, decoded.
func pathOf(t formats.Target) string {
	if t.Kind == formats.KindDocument {
		return t.Doc
	}
	group, artifact := coordinates(t.Name)
	p := strings.ReplaceAll(group, ".", "/")
	if artifact != "" {
		p += "/" + artifact
	}
	if t.Kind == formats.KindListing {
		if t.Doc != "" {
			p += "/" + t.Doc
		}
		return p + "/" + metadataFile
	}
	return p + "/" + directory(t.Version) + "/" + t.File
}

// escapePath escapes each segment; "+" stays literal, as Maven sends it.
func escapePath(p string) string {
	segs := strings.Split(p, "/")
	for i, s := range segs {
		segs[i] = url.PathEscape(s)
	}
	return strings.Join(segs, "/")
}

// Files are those that CodeArtifact asks for when it imports a version (user
// guide, "Maven upstreams and external connections").
func (*Format) Files(n formats.Name, version string) []string {
	_, artifact := coordinates(n)
	stem := artifact + "-" + version
	return []string{stem + ".pom", stem + ".jar", stem + "-sources.jar", stem + "-javadoc.jar"}
}
