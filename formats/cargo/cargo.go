// Package cargo speaks Cargo's sparse registry protocol (The Cargo Book,
// "Registry Index" and "Registry Web API"): config.json, the index files with
// their lines kept byte for byte, crate downloads and search; publishing and
// yanking.
//
// It refuses to manage owners, to serve git indexes, and to put into an index
// what cargo would not package.
package cargo

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"larder/formats"
)

var (
	_ formats.Format     = (*Format)(nil)
	_ formats.Upstreamer = (*Format)(nil)
	_ formats.Lister     = (*Format)(nil)
	_ formats.Closure    = (*Format)(nil)
	_ formats.Searcher   = (*Format)(nil)
	_ formats.Discoverer = (*Format)(nil)
)

// Format translates the sparse registry protocol. It has no state.
type Format struct{}

// New returns the format.
func New() *Format { return &Format{} }

// ID is the first segment of this format's endpoints.
func (*Format) ID() string { return "cargo" }

// apiErrors is the error body that cargo prints (The Cargo Book, "Web API").
type apiErrors struct {
	Errors []apiError `json:"errors"`
}

type apiError struct {
	Detail string `json:"detail"`
}

// Refuse answers with the error object of the web API, which cargo shows for
// API calls, and as the response body for index and download requests.
func (*Format) Refuse(_ *formats.Request, r *formats.Refusal) *formats.Reply {
	body, err := json.Marshal(apiErrors{[]apiError{{strings.Map(printable, r.Message)}}})
	if err != nil {
		body = []byte(`{"errors":[]}`) // a string always encodes
	}
	reply := formats.JSONReply(r.Code(), string(body))
	if r.RetryAfter > 0 {
		reply.Header.Set("Retry-After", strconv.Itoa(int(r.RetryAfter.Seconds()+0.999)))
	}
	if r.Kind == formats.Method {
		reply.Header.Set("Allow", http.MethodGet+", "+http.MethodHead)
	}
	return reply
}

// printable replaces what a terminal would act on; cargo prints the text as it
// is.
func printable(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// purlType is the package URL type of crates.
const purlType = "pkg:cargo/"

// PURL returns pkg:cargo/NAME@VERSION with the registry's spelling of the name.
func (*Format) PURL(n formats.Name, version string) string {
	p := purlType + n.Show()
	if version != "" {
		p += "@" + url.QueryEscape(version)
	}
	return p
}

// ParsePURL is the inverse of PURL; qualifiers and subpath are passed over.
func (*Format) ParsePURL(purl string) (formats.Name, string, bool) {
	rest, ok := strings.CutPrefix(purl, purlType)
	if !ok {
		return formats.Name{}, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	rawName, rawVersion, hasVersion := strings.Cut(rest, "@")
	name, err := url.PathUnescape(rawName)
	if err != nil || !validName(name) {
		return formats.Name{}, "", false
	}
	version, err := url.PathUnescape(rawVersion)
	if err != nil || hasVersion && !validVersion(version) {
		return formats.Name{}, "", false
	}
	return nameOf(name), version, true
}

// nameOf folds case, which is all that Cargo's index folds: foo-bar and foo_bar
// have two index files, even though a registry should refuse the second.
func nameOf(spelled string) formats.Name {
	n := formats.Name{Canon: strings.ToLower(spelled)}
	if spelled != n.Canon {
		n.Display = spelled
	}
	return n
}

// maxName is the limit of crate names in bytes (The Cargo Book, "Index format",
// name restrictions).
const maxName = 64

// validName reports whether s is a crate name: letters, digits, "-" and "_".
func validName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// validVersion reports whether s is a semantic version 2.0.0 without "v".
func validVersion(s string) bool {
	if len(s) > 255 {
		return false
	}
	rest, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !identifiers(build, false) {
		return false
	}
	core, pre, hasPre := strings.Cut(rest, "-")
	if hasPre && !identifiers(pre, true) {
		return false
	}
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return false
	}
	for _, p := range parts {
		if !numeric(p) || len(p) > 1 && p[0] == '0' {
			return false
		}
	}
	return true
}

// identifiers checks dot-separated identifiers; strict forbids leading zeros in
// numbers, as prereleases do.
func identifiers(s string, strict bool) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strict && len(part) > 1 && part[0] == '0' && numeric(part) {
			return false
		}
		for i := range len(part) {
			switch c := part[i]; {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
			default:
				return false
			}
		}
	}
	return true
}

func numeric(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// indexDir is the directory of an index file: "1", "2", "3/a", "ab/cd".
func indexDir(name string) string {
	switch len(name) {
	case 1, 2:
		return strconv.Itoa(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

// crateFile is the canonical file name of a crate's archive, in lower case so
// that every spelling of the name leads to one asset.
func crateFile(canon, version string) string { return canon + "-" + version + ".crate" }
