// Package generic hosts files of no ecosystem: each belongs to a version of a
// package in a namespace, as in CodeArtifact's format of that name (user guide,
// "Using CodeArtifact with generic packages"). CodeArtifact gives it no
// endpoint; the one here is larder's own, made for curl:
//
//	PUT, GET, HEAD  NAMESPACE/PACKAGE/VERSION/FILE   one asset (Range works)
//	GET             NAMESPACE/PACKAGE/VERSION/       the version's assets, JSON
//	GET             NAMESPACE/PACKAGE/               the package's versions, JSON
//	DELETE          NAMESPACE/PACKAGE/VERSION/       takes a version away
//
// It refuses to fetch from upstreams, to add to a version that is complete, to
// change a file, and to look into one.
package generic

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"larder/formats"
)

var (
	_ formats.Format      = (*Format)(nil)
	_ formats.Lister      = (*Format)(nil)
	_ formats.Publisher   = (*Format)(nil)
	_ formats.Coordinator = (*Format)(nil)
	_ formats.Describer   = (*Format)(nil)
	_ formats.Decorator   = (*Format)(nil)
)

// Format is the generic format. It has no state.
type Format struct{}

// New returns the format.
func New() *Format { return &Format{} }

// ID is the first segment of this format's endpoints.
func (*Format) ID() string { return "generic" }

// Refuse answers with {"error": kind, "message": sentence}.
func (*Format) Refuse(_ *formats.Request, r *formats.Refusal) *formats.Reply {
	kind := r.Kind.String()
	if r.Code() == http.StatusPreconditionFailed {
		kind = "precondition_failed"
	}
	var body strings.Builder
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // names hold &
	err := enc.Encode(struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{kind, strings.Map(printable, r.Message)})
	if err != nil {
		body.WriteString(`{"error":"internal"}`) // strings always encode
	}
	reply := formats.JSONReply(r.Code(), body.String())
	if r.RetryAfter > 0 {
		reply.Header.Set("Retry-After", strconv.Itoa(int(r.RetryAfter.Seconds()+0.999)))
	}
	if r.Kind == formats.Method {
		reply.Header.Set("Allow", "GET, HEAD, PUT, DELETE")
	}
	return reply
}

// printable replaces what a terminal would act on; curl prints the text as it
// is.
func printable(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// Limits of CodeArtifact's shapes (API reference), in characters.
const (
	maxPart  = 255  // a namespace, package, version or asset name
	maxCanon = 1024 // bytes of namespace and package together, the limit of formats.Name
)

// nameOf joins a namespace and a package. Neither may hold "/", so the pair and
// the name are one for one.
func nameOf(namespace, pkg string) (formats.Name, error) {
	if err := checkPart("namespace", namespace); err != nil {
		return formats.Name{}, err
	}
	if err := checkPart("package name", pkg); err != nil {
		return formats.Name{}, err
	}
	if len(namespace)+1+len(pkg) > maxCanon {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "namespace and package name have more than %d bytes together", maxCanon)
	}
	return formats.Name{Canon: namespace + "/" + pkg, NS: namespace}, nil
}

// validPart is CodeArtifact's pattern for namespaces, packages and versions,
// [^#/\s]+, without what is no clean part of a URL's path.
func validPart(s string) bool {
	if s == "" || s == "." || s == ".." || !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxPart {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r == '#' || r == '/' || r == '\\' || r == unicode.ReplacementChar || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// checkPart refuses what is no namespace, package name or version.
func checkPart(what, s string) error {
	if !validPart(s) {
		return formats.Refuse(formats.BadRequest,
			"%.80q is not a %s: 1 to %d characters without space, control characters, /, # and backslash, and not . or ..", s, what, maxPart)
	}
	return nil
}

// assetMarks are the characters of an asset's name that are neither letter nor
// digit (user guide, "Generic packages overview", asset names).
const assetMarks = "~!@^&()-_+[]{};,.`"

// checkAsset refuses what is no name for an asset: letters and digits of the
// Unicode classes Ll Lm Lo Lt Lu Nl Nd, single spaces inside, and assetMarks.
func checkAsset(name string) error {
	ok := name != "" && name != "." && name != ".." && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxPart &&
		name == strings.Trim(name, " ") && !strings.Contains(name, "  ")
	for _, r := range name {
		ok = ok && (r == ' ' || strings.ContainsRune(assetMarks, r) || unicode.In(r, unicode.L, unicode.Nl, unicode.Nd))
	}
	if !ok {
		return formats.Refuse(formats.BadRequest,
			"%.80q is not a name for an asset: 1 to %d letters, digits, single spaces inside and %s, and not . or ..", name, maxPart, assetMarks)
	}
	return nil
}

// split is the inverse of nameOf.
func split(n formats.Name) (namespace, pkg string) {
	namespace, pkg, _ = strings.Cut(n.Canon, "/")
	return namespace, pkg
}

// purlType is the package URL type of files without an ecosystem.
const purlType = "pkg:generic/"

// PURL returns pkg:generic/NAMESPACE/PACKAGE@VERSION.
func (*Format) PURL(n formats.Name, version string) string {
	namespace, pkg := split(n)
	p := purlType + escape(namespace) + "/" + escape(pkg)
	if version != "" {
		p += "@" + escape(version)
	}
	return p
}

// escape percent-encodes all but unreserved characters.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// ParsePURL is the inverse of PURL; qualifiers and subpath are passed over. A
// package without a namespace is none of this format.
func (*Format) ParsePURL(purl string) (formats.Name, string, bool) {
	rest, ok := strings.CutPrefix(purl, purlType)
	if !ok {
		return formats.Name{}, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	rest, rawVersion, hasVersion := strings.Cut(rest, "@")
	rawNamespace, rawPackage, _ := strings.Cut(rest, "/")
	namespace, err1 := url.PathUnescape(rawNamespace)
	pkg, err2 := url.PathUnescape(rawPackage)
	version, err3 := url.PathUnescape(rawVersion)
	name, err4 := nameOf(namespace, pkg)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || hasVersion && !validPart(version) {
		return formats.Name{}, "", false
	}
	return name, version, true
}

// Coordinate splits a name into its namespace and package.
func (*Format) Coordinate(n formats.Name) (namespace, pkg string) { return split(n) }

// FromCoordinate is the inverse of Coordinate.
func (*Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	if namespace == "" {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "generic packages need a namespace")
	}
	return nameOf(namespace, pkg)
}

// AssetName is the file's name.
func (*Format) AssetName(_ formats.Name, _, file string) string { return file }

// FileName is the inverse of AssetName.
func (*Format) FileName(_ formats.Name, _, asset string) string { return asset }

// Describe has nothing to tell: nothing is known of what the files are.
func (*Format) Describe(formats.Name, *formats.Version, func(string) (formats.OpenFile, error)) (*formats.Facts, error) {
	return &formats.Facts{}, nil
}
