// Package golang speaks the Go module proxy protocol (go.dev/ref/mod, section
// "GOPROXY protocol") and relays a checksum database below /sumdb/ (Go design
// document 25530). It owns the grammar of module paths, versions and database
// paths, and the checks of module files: .info, .mod and .zip. A module version
// is published by PUT of its zip.
//
// It refuses to read version control, to make up version information that no
// proxy ever gave, and to ask a checksum database for a module that the
// configuration calls private.
package golang

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/mod/module"

	"larder/formats"
)

var (
	_ formats.Format     = (*Format)(nil)
	_ formats.Upstreamer = (*Format)(nil)
	_ formats.Lister     = (*Format)(nil)
	_ formats.Verifier   = (*Format)(nil)
	_ formats.Inspector  = (*Format)(nil)
	_ formats.Closure    = (*Format)(nil)
	_ formats.Discoverer = (*Format)(nil)
	_ formats.Ingester   = (*Format)(nil)
)

// Format translates the Go module proxy protocol. Its only state is about each
// checksum database: the newest signed tree head seen, so that one database can
// not show this process two histories, and whether it is known to answer.
type Format struct {
	keeping  sync.Mutex // held while a tree head is written; taken before mu
	mu       sync.Mutex
	heads    map[string][]byte // connection name, NUL, verifier key -> signed note; guarded by mu
	answered map[string]bool   // connection name, NUL, database name -> its "supported" is held; guarded by mu
}

// New returns the format with no checksum database known.
func New() *Format {
	return &Format{heads: make(map[string][]byte), answered: make(map[string]bool)}
}

// ID is the first segment of this format's endpoints.
func (*Format) ID() string { return "go" }

// Refuse answers in plain text: go prints the body of an error response, at
// most eight lines of it, beside the status.
func (*Format) Refuse(_ *formats.Request, r *formats.Refusal) *formats.Reply {
	reply := formats.TextReply(r.Code(), strings.Map(printable, r.Message))
	if r.RetryAfter > 0 {
		reply.Header.Set("Retry-After", strconv.Itoa(int(r.RetryAfter.Seconds()+0.999)))
	}
	if r.Kind == formats.Method {
		reply.Header.Set("Allow", "GET, HEAD, PUT")
	}
	return reply
}

// printable replaces what a terminal would act on; go prints the body as it is.
func printable(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// purlType is the package URL type of Go modules.
const purlType = "pkg:golang/"

// PURL returns pkg:golang/PATH@VERSION. Case is kept although the purl type
// definition lower-cases it: module paths differ by case alone, and two modules
// must not share one package URL.
func (*Format) PURL(n formats.Name, version string) string {
	segments := strings.Split(n.Canon, "/")
	for i, s := range segments {
		segments[i] = escapePURL(s)
	}
	p := purlType + strings.Join(segments, "/")
	if version != "" {
		p += "@" + escapePURL(version)
	}
	return p
}

// escapePURL percent-encodes all but the unreserved characters of a package
// URL; "+" of "+incompatible" would otherwise be read as a space by some.
func escapePURL(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// ParsePURL is the inverse of PURL. Qualifiers are passed over, and so is the
// subpath, which names a package inside the module.
func (*Format) ParsePURL(purl string) (formats.Name, string, bool) {
	rest, ok := strings.CutPrefix(purl, purlType)
	if !ok {
		return formats.Name{}, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	rawPath, rawVersion, hasVersion := strings.Cut(rest, "@")
	path, err := url.PathUnescape(rawPath)
	if err != nil || module.CheckPath(path) != nil {
		return formats.Name{}, "", false
	}
	version, err := url.PathUnescape(rawVersion)
	if err != nil || hasVersion && version == "" {
		return formats.Name{}, "", false
	}
	if _, err := module.EscapeVersion(version); version != "" && err != nil {
		return formats.Name{}, "", false
	}
	return formats.Name{Canon: path}, version, true
}

// Files are the three files of a module version (go.dev/ref/mod, "GOPROXY
// protocol").
func (*Format) Files(_ formats.Name, version string) []string {
	return []string{version + ".info", version + ".mod", version + ".zip"}
}
