package pypi_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile("testdata/sample/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestConformance(t *testing.T) {
	asJSON := http.Header{"Accept": {"application/vnd.pypi.simple.v1+json"}}
	asHTML := http.Header{"Accept": {"text/html"}}
	upJSON := http.Header{"Content-Type": {"application/vnd.pypi.simple.v1+json"}}
	upHTML := http.Header{"Content-Type": {"text/html; charset=UTF-8"}}
	const page, url = "simple/demo-pkg/", "https://registry.example/simple/demo-pkg/"
	formattest.Run(t, pypi.New(), formattest.Spec{
		Connection: formats.Connection{Name: "public:pypi", URL: "https://registry.example/simple/"},
		Listings: []formattest.Listing{
			{Path: page, Header: asJSON, Body: sample(t, "page.json"), URL: url, Upstream: upJSON, URLs: jsonLinks},
			{Path: page, Header: asHTML, Body: sample(t, "page.json"), URL: url, Upstream: upJSON, URLs: htmlLinks, OneWay: "HTML has one digest a file and no version list"},
			{Path: page, Header: asJSON, Body: sample(t, "page.html"), URL: url, Upstream: upHTML, URLs: jsonLinks},
			{Path: page, Header: asHTML, Body: sample(t, "page.html"), URL: url, Upstream: upHTML, URLs: htmlLinks},
			{Path: "pypi/demo-pkg/json", Body: sample(t, "page.json"), URL: url, Upstream: upJSON, URLs: projectLinks, OneWay: "the project document is no page"},
			{Path: "pypi/demo-pkg/1.0.0/json", Body: sample(t, "page.json"), URL: url, Upstream: upJSON, URLs: projectLinks, OneWay: "the project document is no page"},
		},
		Assets: []string{
			"simple/demo-pkg/1.0.0/demo-pkg-1.0.0.tar.gz",
			"simple/Demo.Pkg/1.0.0/Demo_Pkg-1.0.0-py3-none-any.whl.metadata",
			"simple/demo-pkg/1%212.0/demo_pkg-1%212.0-py2.py3-none-any.whl",
			"simple/torch/2.1.0%2Bcu118/torch-2.1.0%2Bcu118-cp311-cp311-linux_x86_64.whl",
			"integrity/demo-pkg/1.0.0/demo-pkg-1.0.0.tar.gz/provenance",
		},
		Coordinates: []formattest.Coordinate{
			{Name: formats.Name{Canon: "requests"}, Version: "2.31.0"},
			{Name: formats.Name{Canon: "zope-interface"}, Version: "1!2.0+local.7"},
			{Name: formats.Name{Canon: "pytz"}, Version: "2004d"},
		},
	})
}

// jsonLinks returns the references of a JSON page, companions included.
func jsonLinks(doc []byte) []string {
	var page struct {
		Files []struct {
			URL        string `json:"url"`
			Metadata   any    `json:"core-metadata"`
			Signature  bool   `json:"gpg-sig"`
			Provenance string `json:"provenance"`
		} `json:"files"`
	}
	if json.Unmarshal(doc, &page) != nil {
		return nil
	}
	var out []string
	for _, f := range page.Files {
		out = append(out, f.URL)
		if f.Metadata != nil && f.Metadata != false {
			out = append(out, f.URL+".metadata")
		}
		if f.Signature {
			out = append(out, f.URL+".asc")
		}
		if f.Provenance != "" {
			out = append(out, f.Provenance)
		}
	}
	return out
}

func htmlLinks(doc []byte) []string {
	var out []string
	for _, m := range regexp.MustCompile(`<a href="([^"#]*)[^>]*>`).FindAllSubmatch(doc, -1) {
		out = append(out, string(m[1]))
		if strings.Contains(string(m[0]), "data-core-metadata") {
			out = append(out, string(m[1])+".metadata")
		}
	}
	for _, m := range regexp.MustCompile(`data-provenance="([^"]*)"`).FindAllSubmatch(doc, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

func projectLinks(doc []byte) []string {
	var project struct {
		Releases map[string][]struct{ URL string } `json:"releases"`
		URLs     []struct{ URL string }            `json:"urls"`
	}
	if json.Unmarshal(doc, &project) != nil {
		return nil
	}
	var out []string
	for _, f := range project.URLs {
		out = append(out, f.URL)
	}
	for _, files := range project.Releases {
		for _, f := range files {
			out = append(out, f.URL)
		}
	}
	return out
}

func TestRefuse(t *testing.T) {
	f := pypi.New()
	for _, c := range []struct {
		path, accept string
		kind         formats.RefusalKind
		status       int
		contentType  string
		key, val     string
	}{
		{"simple/x/", "application/vnd.pypi.simple.v1+json, text/html; q=0.01", formats.NotHeld, 404, "application/json", "Vary", "Accept"},
		{"simple/x/", "text/html", formats.NotFound, 404, "text/html; charset=utf-8", "", ""},
		{"simple/x/", "", formats.Upstream, 504, "text/plain; charset=utf-8", "", ""},
		{"simple/x/", "", formats.Blocked, 404, "text/plain; charset=utf-8", "", ""},
		{"simple/x/1/x-1.tar.gz", "*/*", formats.Blocked, 403, "text/plain; charset=utf-8", "", ""},
		{"integrity/x/1/x-1.tar.gz/provenance", "*/*", formats.Blocked, 403, "text/plain; charset=utf-8", "", ""},
		{"simple/x/", "", formats.Unauthorized, 401, "text/plain; charset=utf-8", "Www-Authenticate", ""},
		{"", "", formats.Method, 405, "text/plain; charset=utf-8", "Allow", "GET, HEAD, POST"},
		{"simple/x/", "", formats.Method, 405, "text/plain; charset=utf-8", "Allow", "GET, HEAD"},
		{"pypi/x/json", "", formats.NotFound, 404, "application/json", "", ""},
	} {
		rq := formattest.NewRequest("GET", endpoint, c.path, http.Header{"Accept": {c.accept}})
		reply := f.Refuse(rq, formats.Refuse(c.kind, "x is <not> held here"))
		if reply.Status != c.status || reply.Header.Get("Content-Type") != c.contentType || c.key != "" && reply.Header.Get(c.key) != c.val {
			t.Errorf("Refuse(%s, %s) = %d %v, want %d %s", c.path, c.kind, reply.Status, reply.Header, c.status, c.contentType)
		}
		if strings.Contains(string(reply.Body), "<not>") == strings.HasPrefix(c.contentType, "text/html") {
			t.Errorf("Refuse(%s, %s) as %s: %s", c.path, c.kind, c.contentType, reply.Body)
		}
	}
}

func TestPURL(t *testing.T) {
	f := pypi.New()
	for purl, want := range map[string]string{
		"pkg:pypi/Foo_Bar@1.0-rc1?x=y#z": "foo-bar 1.0rc1",
		"pkg:PyPI/foo":                   "foo ",
		"pkg:pypi/foo@1%2Bcu":            "foo 1+cu",
	} {
		n, v, ok := f.ParsePURL(purl)
		if got := n.Canon + " " + v; !ok || got != want {
			t.Errorf("ParsePURL(%q) = %q, %v, want %q", purl, got, ok, want)
		}
	}
	for _, purl := range []string{"pkg:npm/foo@1", "pkg:pypi/ns/foo@1", "pkg:pypi/-@1", "pkg:pypi/foo@..", "pypi/foo"} {
		if n, v, ok := f.ParsePURL(purl); ok {
			t.Errorf("ParsePURL(%q) = %v, %q, true", purl, n, v)
		}
	}
}
