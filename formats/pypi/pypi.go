// Package pypi owns the Python package index protocol: the simple repository
// API in JSON (PEP 691, 700, 740, 792) and HTML (PEP 503, 592, 629, 658, 714)
// from one model, distribution files with their companions, a subset of the
// project JSON API, and uploads as twine, uv and poetry send them. It refuses to
// guess: a document that is not a project page of the asked project is an error,
// nothing is advertised that a client could not then fetch, and nothing is taken
// in that two installers could read in two ways. It does not evaluate
// dependencies and does not verify attestations, so it takes none.
package pypi

import (
	"net/url"
	"strings"

	"larder/formats"
)

// Format translates the Python package index protocol. The zero value is ready
// for use and safe for concurrent use.
type Format struct{}

var (
	_ formats.Format      = (*Format)(nil)
	_ formats.Upstreamer  = (*Format)(nil)
	_ formats.Lister      = (*Format)(nil)
	_ formats.Verifier    = (*Format)(nil)
	_ formats.Inspector   = (*Format)(nil)
	_ formats.Closure     = (*Format)(nil)
	_ formats.Discoverer  = (*Format)(nil)
	_ formats.Publisher   = (*Format)(nil)
	_ formats.Coordinator = (*Format)(nil)
	_ formats.Describer   = (*Format)(nil)
)

// New returns the format.
func New() *Format { return &Format{} }

// ID is "pypi".
func (*Format) ID() string { return "pypi" }

// PURL returns "pkg:pypi/name@version" with the name in its normalised form.
func (*Format) PURL(n formats.Name, v string) string {
	p := "pkg:pypi/" + n.Canon
	if v != "" {
		p += "@" + escapeSegment(v)
	}
	return p
}

// ParsePURL reads a package URL of type pypi; qualifiers and subpath are not
// part of the identity and are passed over.
func (*Format) ParsePURL(purl string) (formats.Name, string, bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return formats.Name{}, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	typ, rest, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || !strings.EqualFold(typ, "pypi") {
		return formats.Name{}, "", false
	}
	nameText, versionText, _ := strings.Cut(strings.Trim(rest, "/"), "@")
	nameText, err := url.PathUnescape(nameText)
	if err != nil || !validName(nameText) {
		return formats.Name{}, "", false
	}
	versionText, err = url.PathUnescape(versionText)
	if err != nil || (versionText != "" && !cleanSegment(versionText)) {
		return formats.Name{}, "", false
	}
	return formats.Name{Canon: normalizeName(nameText)}, normalizeVersion(versionText), true
}
