// Package formattest owns what every format must hold, as a suite that each
// format's tests run: total routing, safe refusals, documents without a trace
// of the upstream, links that lead back into the view. It needs no network and
// knows no format; tests import it, the program does not.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"larder/formats"
)

// Spec is what Run needs to know of one format: real samples.
type Spec struct {
	// Connection has the registry's base (trailing slash) and the format's
	// options.
	Connection formats.Connection
	// Listings are upstream documents of every kind that the format parses, at
	// least one. A format that only hosts has none.
	Listings []Listing
	// Assets are request paths below the endpoint that are legal assets.
	Assets []string
	// Coordinates are names and versions whose package URLs must round-trip.
	Coordinates []Coordinate
	// Docs answers what Locate may ask; nil: nothing exists upstream.
	Docs formats.Docs
}

// Coordinate is a name with a version.
type Coordinate struct {
	Name    formats.Name
	Version string
}

// Listing is one upstream document and the request that leads to it.
type Listing struct {
	// Path is the client's request path below the endpoint, escaped.
	Path string
	// Header is the client's; it chooses the variant.
	Header http.Header
	// Body is the upstream document, URL where it came from and Upstream its
	// header.
	Body     []byte
	URL      string
	Upstream http.Header
	// URLs extracts every reference of a rendered document that must lead back
	// to an asset. nil: the document has no references.
	URLs func(doc []byte) []string
	// OneWay names why a rendered document cannot be parsed again; "" when it
	// can, which is checked.
	OneWay string
}

// base is the endpoint that the suite renders for.
const base = "http://larder.example:5273/%s/main"

// Run checks f against the contract of package formats.
func Run(t *testing.T, f formats.Format, s Spec) {
	t.Helper()
	if !regexp.MustCompile(`^[a-z][a-z0-9]*$`).MatchString(f.ID()) {
		t.Errorf("ID %q: want lower-case letters and digits, since it is a path segment", f.ID())
	}
	_, fetches := f.(formats.Upstreamer)
	if len(s.Coordinates) == 0 || fetches && (len(s.Listings) == 0 || s.Connection.URL == "") {
		t.Fatal("the Spec needs coordinates and, for a format with upstreams, a connection and listings")
	}
	c := &suite{format: f, spec: s, base: fmt.Sprintf(base, f.ID())}
	t.Run("route", c.route)
	t.Run("refuse", c.refuse)
	t.Run("purl", c.purl)
	if fetches {
		t.Run("locate", c.locate)
	}
	if _, ok := f.(formats.Lister); ok && fetches {
		t.Run("listing", c.listings)
	}
}

type suite struct {
	format formats.Format
	spec   Spec
	base   string
}

// NewRequest builds the request that the proxy would hand to a format for a
// path below an endpoint, without the proxy's own guard: formats must be safe
// alone. raw may carry a query.
func NewRequest(method, base, raw string, header http.Header) *formats.Request {
	path, query, _ := strings.Cut(raw, "?")
	rq := &formats.Request{Method: method, Repo: "main", Base: base, Raw: path, Header: header}
	if rq.Header == nil {
		rq.Header = http.Header{}
	}
	rq.Query, _ = url.ParseQuery(query)
	rq.Path = unescape(path)
	for part := range strings.SplitSeq(path, "/") {
		rq.Segments = append(rq.Segments, unescape(part))
	}
	return rq
}

// unescape decodes once; what is no escape stays.
func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

// NastyPaths are request paths that no client of any format sends, plus shapes
// that were attacks on other programs: traversal in every spelling, control
// characters, overlong encodings, twins in Unicode, absurd sizes.
func NastyPaths() []string {
	deep := strings.Repeat("a/", 2000) + "b"
	stems := []string{
		"", "/", "//", "///x", ".", "..", "../x", "x/../y", "x/./y", "x/..", "x//y", "x/", "x.", "x%20", "%20", " ", "x\\y", "x%5cy", "..%5c..%5cx",
		"..%2f", "..%2fx", "x/..%2f..%2fy", "%2e%2e/", "%2e%2e/x", "%2e%2e%2fx", "%252e%252e%252fx", "%252f", "%2F%2F..%2F..%2Fx", "%2F..%2F..%2F..%2Fetc/passwd",
		"x%00y", "x\x00y", "%00", "%c0%af", "%c0%ae%c0%ae/x", "%e0%80%af", "%ff%fe", "\xff\xfe", "x%0d%0ay", "x\r\ny", "x%0ay", "%1b[31mx", "x%7fy", "%", "%zz", "x%",
		"caf%C3%A9", "cafe%CC%81", "%E2%80%AE", "%EF%BC%8E%EF%BC%8E/x", "%F0%9F%A6%95", "%EF%BB%BFx",
		"@", "@/", "@/x", "@s", "@s/", "@s%2f", "@s%2Fn", "@s%252fn", "@%2f", "@../x", "@s/..", "@s%2f..", "@s/n/x/y/z", "-", "-/", "-/x", "-/../x", "x/-/", "x/-/../y", "x/-/y%2fz", "x/-/..%2fy",
		"simple", "simple/", "simple//", "simple/..", "simple/%2e%2e/", "simple/x/../y/", "packages/..", "pypi/x/json", "pypi/../json",
		"@v/list", "x/@v/", "x/@v/list/y", "x/@v/..", "x/@v/v1.0.0.zip/..", "x/@v/%2e%2e.zip", "X/@v/list", "!x/@v/list", "!!x/@v/list", "%21x/@v/list", "x/@latest/y", "sumdb", "sumdb/", "sumdb/x", "sumdb/../x", "sumdb/x/tile/..", "sumdb/x/lookup/..%2fy",
		"api/v1/crates", "api/v1/crates/", "api/v1/crates/../x/download", "api/v1/crates/x/../download", "api/v1/crates/x/1.0.0/download/y", "config.json/", "1/", "2/aa/x", "3/a/", "aa/bb/", "aa/bb/../cc",
		"maven-metadata.xml", "g/maven-metadata.xml.sha1", "g/a/..", "g/a/1/..", "g/a/1/a-1.jar/..", "g/a/1/a-1.jar%2f..", "g/../a/1/a-1.jar", "g/a/%2e%2e/a-1.jar", "g/a/1/../a-1.jar.sha1", ".meta/prefixes.txt", ".index/x",
		"C:/x", "file:///etc/passwd", "http://169.254.169.254/x", "//registry.example/x", "x?y=../z", "x#y", "x;y", "x:y", "~root", "$HOME", "`x`", "x'y", "x\"y", "<script>", "%3Cscript%3E", "con", "nul.txt", "x|y", "x*y",
		strings.Repeat("a", 8<<10), strings.Repeat("a", 300), "x/" + strings.Repeat("1", 5000), deep, strings.Repeat("../", 500), strings.Repeat("%2e%2e%2f", 500), strings.Repeat("@s/", 500),
	}
	out := slices.Clone(stems)
	for _, s := range stems[:60] {
		out = append(out, "x/"+s, "simple/"+s+"/", "g/a/1/"+s, "x/-/"+s+".tgz", "x/@v/"+s+".zip", "api/v1/crates/"+s+"/1.0.0/download")
	}
	return out
}

// route: Route answers every path with a clean target or a refusal.
func (c *suite) route(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "", "G\x00T"} {
		for _, raw := range NastyPaths() {
			for _, header := range []http.Header{nil, {"Accept": {"*/*"}}, {"Accept": {"text/html;q=0, ,;;=,\xff"}}} {
				c.routeOne(t, NewRequest(method, c.base, raw, header))
			}
		}
	}
	c.routeOne(t, &formats.Request{Method: "GET", Base: c.base}) // no segments, nil maps
	for _, raw := range c.spec.Assets {
		target, err := c.format.Route(NewRequest("GET", c.base, raw, nil))
		if err != nil {
			t.Errorf("Route(%s): %v, want an asset", raw, err)
			continue
		}
		if target.Kind != formats.KindAsset {
			t.Errorf("Route(%s) is a %s, want an asset", raw, target.Kind)
		}
		checkTarget(t, raw, target)
	}
}

func (c *suite) routeOne(t *testing.T, rq *formats.Request) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("Route(%s %.200q) panics: %v", rq.Method, rq.Raw, p)
		}
	}()
	target, err := c.format.Route(rq)
	if err == nil {
		checkTarget(t, fmt.Sprintf("%s %.200q", rq.Method, rq.Raw), target)
		return
	}
	var refusal *formats.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("Route(%s %.200q) = %v, want a *formats.Refusal", rq.Method, rq.Raw, err)
		return
	}
	if refusal.Message == "" || refusal.Code() < 400 || len(refusal.Message) > 2000 {
		t.Errorf("Route(%s %.200q) refuses with status %d and %d bytes of message", rq.Method, rq.Raw, refusal.Code(), len(refusal.Message))
	}
}

// checkTarget wants the fields that become keys to be clean.
func checkTarget(t *testing.T, what string, target formats.Target) {
	t.Helper()
	for field, v := range map[string]string{"Name.Canon": target.Name.Canon, "Name.NS": target.Name.NS, "Version": target.Version, "File": target.File, "Doc": target.Doc} {
		if len(v) > 1024 {
			t.Errorf("%s: %s has %d bytes, want at most 1,024", what, field, len(v))
		}
		if reason := unclean(v); reason != "" {
			t.Errorf("%s: %s = %.100q %s", what, field, v, reason)
		}
	}
	switch target.Kind {
	case formats.KindLocal:
		if target.Reply == nil || target.Reply.Status == 0 {
			t.Errorf("%s: a local target without a reply", what)
		}
	case formats.KindSidecar:
		if target.Derive == nil || target.Derive.Kind != formats.KindAsset {
			t.Errorf("%s: a sidecar that belongs to no asset", what)
		} else {
			checkTarget(t, what+" (derive)", *target.Derive)
		}
	case formats.KindListing:
		if target.Name.Canon == "" {
			t.Errorf("%s: a listing without a name", what)
		}
	case formats.KindAsset:
		if target.File == "" || target.Name.Canon == "" {
			t.Errorf("%s: an asset without name or file: %+v", what, target)
		}
	case formats.KindDocument:
		if target.Doc == "" {
			t.Errorf("%s: a document without Doc, its key", what)
		}
	}
}

// unclean says why a key part must not be.
func unclean(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return "holds control characters or broken UTF-8"
	}
	if strings.ContainsRune(s, '\\') {
		return "holds a backslash"
	}
	if strings.HasPrefix(s, "/") {
		return "is absolute"
	}
	if slices.Contains(strings.Split(s, "/"), "..") || slices.Contains(strings.Split(s, "/"), ".") {
		return "holds a dot segment"
	}
	return ""
}

// refuse: every refusal is worded, has a fitting status and type, and gives
// nothing back raw.
func (c *suite) refuse(t *testing.T) {
	paths := []string{"x"}
	for _, l := range c.spec.Listings {
		paths = append(paths, l.Path)
	}
	paths = append(paths, c.spec.Assets...)
	messages := []string{"left-pad is not held here", "x\r\nSet-Cookie: a=b\x00\x1b[31m\u202e<script>alert(1)</script>\x7f\u0085", strings.Repeat("long ", 2000)}
	for kind := formats.BadRequest; kind <= formats.NotSupported; kind++ {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
			for _, raw := range paths {
				for _, msg := range messages {
					r := formats.Refuse(kind, "%s", msg)
					r.RetryAfter = 3 * time.Second
					c.refuseOne(t, NewRequest(method, c.base, raw, nil), r)
				}
			}
		}
	}
}

func (c *suite) refuseOne(t *testing.T, rq *formats.Request, r *formats.Refusal) {
	t.Helper()
	what := fmt.Sprintf("Refuse(%s %s, %s)", rq.Method, rq.Raw, r.Kind)
	reply := c.format.Refuse(rq, r)
	switch {
	case reply == nil:
		t.Errorf("%s is nil", what)
		return
	case reply.Status < 400 || reply.Status > 599:
		t.Errorf("%s has status %d", what, reply.Status)
	case r.Code() < 500 && reply.Status >= 500:
		t.Errorf("%s has status %d for a refusal of %d: clients would try again", what, reply.Status, r.Code())
	case len(reply.Body) == 0:
		t.Errorf("%s has no body", what)
	}
	contentType := reply.Header.Get("Content-Type")
	if contentType == "" {
		t.Errorf("%s has no Content-Type", what)
	}
	if i := bytes.IndexFunc(reply.Body, func(b rune) bool { return b < ' ' && b != '\n' && b != '\t' || b >= 0x7f && b < 0xa0 }); i >= 0 {
		t.Errorf("%s echoes the control character %q", what, reply.Body[i])
	}
	if strings.Contains(contentType, "html") && bytes.Contains(reply.Body, []byte("<script")) {
		t.Errorf("%s echoes markup into HTML", what)
	}
	for key, values := range reply.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%s echoes a control character in %s", what, key)
			}
		}
	}
	if plain := "left-pad is not held here"; r.Message == plain && !bytes.Contains(reply.Body, []byte(plain)) {
		t.Errorf("%s does not say %q: %.200s", what, plain, reply.Body)
	}
}

// purl: package URLs round-trip, and foreign text is not taken for one.
func (c *suite) purl(t *testing.T) {
	for _, co := range c.spec.Coordinates {
		for _, version := range []string{co.Version, ""} {
			purl := c.format.PURL(co.Name, version)
			name, v, ok := c.format.ParsePURL(purl)
			if !ok || name.Canon != co.Name.Canon || v != version {
				t.Errorf("ParsePURL(PURL(%q, %q)) = %q, %q, %v by way of %s", co.Name.Canon, version, name.Canon, v, ok, purl)
			}
			if !strings.HasPrefix(purl, "pkg:") || strings.ContainsAny(purl, " \n") {
				t.Errorf("PURL(%q, %q) = %q, which is not a package URL", co.Name.Canon, version, purl)
			}
		}
	}
	for _, s := range []string{"", "pkg:", "pkg:/", "pkg:x", "pkg:unknown/a@1", "x:npm/a", "pkg:npm/", "pkg:npm/@", "pkg:pypi/%", "pkg:golang/%zz@", "pkg:maven/a", "pkg:maven//@", "pkg:cargo/@1", "pkg:cargo/..@1", "pkg:npm/%00@1", strings.Repeat("pkg:npm/", 1000)} {
		name, version, ok := c.format.ParsePURL(s)
		if ok && (name.Canon == "" || unclean(name.Canon) != "" || unclean(version) != "") {
			t.Errorf("ParsePURL(%.100q) = %q, %q, true", s, name.Canon, version)
		}
		if ok && strings.HasPrefix(s, "pkg:unknown/") {
			t.Errorf("ParsePURL(%q) takes another type for its own", s)
		}
	}
}

// locate: upstream requests stay on http and inside the connection, unless the
// row of an asset names a URL.
func (c *suite) locate(t *testing.T) {
	up := c.format.(formats.Upstreamer)
	docs := c.spec.Docs
	if docs == nil {
		docs = noDocs{}
	}
	paths := append(NastyPaths(), c.spec.Assets...)
	for _, l := range c.spec.Listings {
		paths = append(paths, l.Path)
	}
	for _, raw := range paths {
		target, err := c.format.Route(NewRequest("GET", c.base, raw, nil))
		if err != nil || target.Kind == formats.KindLocal {
			continue
		}
		if target.Kind == formats.KindSidecar {
			target = *target.Derive
		}
		fetch, err := up.Locate(context.Background(), c.spec.Connection, target, nil, docs)
		if err == nil && !c.inside(fetch.URL) {
			t.Errorf("Locate for %.100q asks %.200q, outside %s", raw, fetch.URL, c.spec.Connection.URL)
		}
		if target.Kind != formats.KindAsset {
			continue
		}
		for _, bad := range []string{"file:///etc/passwd", "gopher://registry.example/x", "//registry.example/x", "javascript:x", "https://", "x\x00y", "https://user@/x"} {
			fetch, err := up.Locate(context.Background(), c.spec.Connection, target, &formats.Asset{File: target.File, URL: bad}, docs)
			if err != nil {
				continue
			}
			if u, err := url.Parse(fetch.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				t.Errorf("Locate for %.100q follows the row's %q to %.200q", raw, bad, fetch.URL)
			}
		}
	}
}

// inside reports whether a URL is below the connection's base, or below a URL
// that the connection's options name.
func (c *suite) inside(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Fragment != "" || strings.Contains(u.Path+"/", "/../") {
		return false
	}
	roots := []string{c.spec.Connection.URL}
	for _, v := range c.spec.Connection.Options {
		roots = append(roots, v)
	}
	for _, root := range roots {
		r, err := url.Parse(root)
		if err == nil && r.Host != "" && u.Scheme == r.Scheme && u.Host == r.Host &&
			strings.HasPrefix(u.Path, strings.TrimSuffix(r.Path, "/")+"/") {
			return true
		}
	}
	return false
}

type noDocs struct{}

func (noDocs) Document(context.Context, formats.Target) ([]byte, error) {
	return nil, formats.ErrNoDocument
}
