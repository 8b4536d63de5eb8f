package pypi_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
)

// FuzzPage: whatever parses renders, leads back to its own files, names no
// upstream, and comes out the same when parsed again.
func FuzzPage(f *testing.F) {
	f.Add(sample(f, "page.json"), true)
	f.Add(sample(f, "page.html"), false)
	f.Add([]byte(`{"name":"demo-pkg","files":[{"filename":"a-1.zip","url":"b","core-metadata":{"x":"y"},"yanked":""}]}`), true)
	f.Add([]byte(`{"name":"demo-pkg","files":[{"filename":"%2e-1.zip","url":"?","hashes":null,"size":0,"_data-x":"\u0000"}]}`), true)
	f.Add([]byte(`<a href="demo-pkg-1.zip" data-x="&#0;" data-core-metadata="a=b">`), false)
	format := pypi.New()
	f.Fuzz(func(t *testing.T, body []byte, isJSON bool) {
		kind := "text/html"
		if isJSON {
			kind = "application/vnd.pypi.simple.v1+json"
		}
		target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: "demo-pkg"}, Variant: "json"}
		src := formats.Source{URL: "https://upstream.invalid/simple/demo-pkg/", Header: http.Header{"Content-Type": {kind}}}
		view, err := parsePage(format, target, src, body)
		if err != nil {
			return
		}
		doc := render(t, format, view, target)
		render(t, format, view, formats.Target{Name: target.Name, Variant: "html"})
		render(t, format, view, formats.Target{Name: target.Name, Variant: "project-json"})
		for _, ref := range jsonLinks(doc) {
			path := strings.TrimPrefix(ref, endpoint+"/")
			if path == ref {
				path = "simple/demo-pkg/" + ref
			}
			to, err := format.Route(formattest.NewRequest("GET", endpoint, path, nil))
			if err != nil || to.Kind != formats.KindAsset || !has(view, to) {
				t.Errorf("reference %q leads to %+v, %v", ref, to, err)
			}
		}
		src = formats.Source{URL: endpoint + "/simple/demo-pkg/", Header: http.Header{"Content-Type": {"application/vnd.pypi.simple.v1+json"}}}
		again, err := parsePage(format, target, src, doc)
		if err != nil {
			t.Fatalf("parse of the rendered page: %v\n%s", err, doc)
		}
		if second := render(t, format, again, target); !bytes.Equal(doc, second) {
			t.Errorf("rendered again:\n%s\nwas\n%s", second, doc)
		}
	})
}

func parsePage(format *pypi.Format, t formats.Target, src formats.Source, body []byte) (*formats.View, error) {
	v := &formats.View{Name: t.Name, Base: endpoint}
	head, err := format.Parse(t, src, bytes.NewReader(body), func(row *formats.Version) error {
		v.Versions = append(v.Versions, row)
		return nil
	})
	v.Layers = []formats.Layer{{Place: "up", Head: head}}
	return v, err
}

func render(t *testing.T, format *pypi.Format, v *formats.View, target formats.Target) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := format.Render(&b, v, target); err != nil {
		t.Fatalf("render %s: %v", target.Variant, err)
	}
	return b.Bytes()
}

func has(v *formats.View, t formats.Target) bool {
	for _, row := range v.Versions {
		if row.V == t.Version && row.Asset(t.File) != nil {
			return true
		}
	}
	return false
}

// FuzzRoute: total, and what is routed is clean.
func FuzzRoute(f *testing.F) {
	for _, p := range formattest.NastyPaths() {
		if len(p) < 200 {
			f.Add("GET", p, "*/*")
		}
	}
	f.Add("GET", "simple/x/", "application/vnd.pypi.simple.v1+json;q=0.5, text/html;q=1e9,,;q=")
	format := pypi.New()
	f.Fuzz(func(t *testing.T, method, path, accept string) {
		rq := formattest.NewRequest(method, endpoint, path, http.Header{"Accept": {accept}})
		target, err := format.Route(rq)
		if err != nil {
			if reply := format.Refuse(rq, formats.AsRefusal(err)); reply.Status < 400 {
				t.Errorf("refused with %d", reply.Status)
			}
			return
		}
		if target.Kind == formats.KindLocal {
			if loc := target.Reply.Header.Get("Location"); strings.Contains(loc, "//") || strings.ContainsAny(loc, "\r\n") {
				t.Errorf("redirect to %q", loc)
			}
			return
		}
		if strings.ContainsAny(target.File+target.Version+target.Name.Canon, "/\\\x00") {
			t.Errorf("target %+v", target)
		}
	})
}
