package cargo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/cargo/cargotest"
)

const base = "http://127.0.0.1:5273/cargo/main"

// request builds what the proxy would hand to Route for a raw path.
func request(method, endpoint, raw string) *formats.Request {
	raw, query, _ := strings.Cut(raw, "?")
	rq := &formats.Request{Method: method, Repo: "main", Base: endpoint, Raw: raw, Header: http.Header{}}
	rq.Query, _ = url.ParseQuery(query)
	rq.Path, _ = url.PathUnescape(raw)
	for s := range strings.SplitSeq(raw, "/") {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			decoded = s
		}
		rq.Segments = append(rq.Segments, decoded)
	}
	return rq
}

// fixedDocs answers every document with one text, or a failure.
type fixedDocs struct {
	text string
	err  error
}

func (d fixedDocs) Document(context.Context, formats.Target) ([]byte, error) {
	return []byte(d.text), d.err
}

// upstreamDocs fetches documents of one connection without a cache.
type upstreamDocs struct {
	f      *Format
	c      formats.Connection
	client *http.Client
}

func (d upstreamDocs) Document(ctx context.Context, t formats.Target) ([]byte, error) {
	fetch, err := d.f.Locate(ctx, d.c, t, nil, d)
	if err != nil {
		return nil, err
	}
	body, _, err := d.get(ctx, fetch.URL)
	return body, err
}

func (d upstreamDocs) get(ctx context.Context, u string) ([]byte, http.Header, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, nil, err
	}
	response, err := d.client.Do(rq)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, nil, formats.ErrNoDocument
	case response.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("upstream says %s", response.Status)
	}
	return body, response.Header, nil
}

// outside is a registry with its server and a connection to it.
type outside struct {
	*cargotest.Registry
	server *httptest.Server
	docs   upstreamDocs
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{Registry: cargotest.New()}
	o.server = httptest.NewServer(o.Registry)
	t.Cleanup(o.server.Close)
	o.docs = upstreamDocs{f: New(), client: o.server.Client(), c: formats.Connection{Name: "public:crates-io", URL: o.server.URL + cargotest.IndexPath}}
	return o
}

// viewOf parses an index file into the view that one upstream alone gives.
func viewOf(f *Format, target formats.Target, body []byte, header http.Header) (*formats.View, error) {
	view := &formats.View{Name: target.Name, Base: base}
	head, err := f.Parse(target, formats.Source{Header: header}, bytes.NewReader(body), func(v *formats.Version) error {
		v.Seq = len(view.Versions)
		view.Versions = append(view.Versions, v)
		return nil
	})
	view.Layers = []formats.Layer{{Place: "public:crates-io", Head: head}}
	return view, err
}

func index(name string) formats.Target {
	return formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: name}, Variant: variantIndex}
}

func TestIndexIsByteExact(t *testing.T) {
	o := newOutside(t)
	for _, name := range []string{cargotest.Core, cargotest.Capital, cargotest.Renamer, cargotest.Meta, cargotest.Wide, cargotest.App} {
		body := o.Index(name)
		view, err := viewOf(o.docs.f, index(strings.ToLower(name)), body, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var out bytes.Buffer
		header, err := o.docs.f.Render(&out, view, index(strings.ToLower(name)))
		if err != nil || !bytes.Equal(out.Bytes(), body) {
			t.Errorf("%s: rendered %d bytes of %d, %v", name, out.Len(), len(body), err)
		}
		if header.Get("Content-Type") != typeIndex {
			t.Errorf("%s: Content-Type %q", name, header.Get("Content-Type"))
		}
		if name == cargotest.Wide && len(body) < 64<<10 {
			t.Errorf("%s has %d bytes, too few to prove anything", name, len(body))
		}
	}
}

func TestRows(t *testing.T) {
	o := newOutside(t)
	view, err := viewOf(o.docs.f, index("tiny-core"), o.Index(cargotest.Core), http.Header{"Last-Modified": {"Sat, 01 Mar 2025 00:00:00 GMT"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Versions) != 4 || view.Layers[0].Head.Modified.IsZero() || view.Layers[0].Head.Display != "" {
		t.Fatalf("%d versions, head %+v", len(view.Versions), view.Layers[0].Head)
	}
	v := view.Versions[1]
	at := time.Date(2025, 3, 2, 9, 8, 7, 0, time.UTC)
	if v.V != "1.1.0" || v.Flags != formats.Yanked || !v.Published.Equal(at) || v.From != formats.TimeUpstream {
		t.Errorf("row %+v", v)
	}
	a := v.Asset("tiny-core-1.1.0.crate")
	if a == nil || len(a.Digests) != 1 || a.Digests[0].Alg != formats.SHA256 || !a.Uploaded.Equal(at) || len(a.Aux) != 0 {
		t.Errorf("asset %+v", a)
	}
	view, err = viewOf(o.docs.f, index("capital-crate"), o.Index(cargotest.Capital), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := view.Versions[0].Asset("capital-crate-0.1.0.crate"); a == nil || string(a.Aux) != cargotest.Capital || view.Layers[0].Head.Display != cargotest.Capital {
		t.Errorf("a capitalised crate: asset %+v, head %+v", a, view.Layers[0].Head)
	}
	view, err = viewOf(o.docs.f, index("untimed"), o.Index(cargotest.Untimed), nil)
	if err != nil || !view.Versions[0].Published.IsZero() || view.Versions[0].From != formats.TimeUnknown {
		t.Errorf("without pubtime: %+v, %v", view.Versions, err)
	}
}

func TestParseRefusesOtherDocuments(t *testing.T) {
	f := New()
	const cksum = `"cksum":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`
	good := `{"name":"abcd","vers":"1.0.0","deps":[],` + cksum + `,"features":{},"yanked":false}`
	for _, tc := range []struct{ doc, want string }{
		{good, ""},
		{good + "\n\n" + `{"name":"ABCD","vers":"1.0.1+x",` + cksum + `}` + "\r\n", ""},
		{good + "\n" + `{"name":"abcd","vers":"01.0","cksum":"none"}`, ""}, // no semantic version, as old registries have
		{"", "no version"},
		{"\n\n", "no version"},
		{"<!DOCTYPE html>\n<html>", "not JSON"},
		{`[]`, "not a JSON object"},
		{`null`, "not a JSON object"},
		{good[:len(good)/2], "EOF"},
		{good + "\n" + good[:40], "line 2"},
		{good + "\n" + good, "twice"},
		{strings.Replace(good, "abcd", "other", 1), "about crate"},
		{strings.Replace(good, "abcd", "ab-cd", 1), "about crate"},
		{strings.Replace(good, "e3b0", "zzzz", 1), "checksum"},
		{strings.Replace(good, "e3b0", "", 1), "checksum"},
		{strings.Replace(good, "cksum", "CKSUM", 1), "checksum"},
		{good[:len(good)-1] + `,"cksum":"` + strings.Repeat("0", 64) + `"}`, "twice"},
		{good + "{}", "after the JSON"},
		{strings.Replace(good, `"yanked":false`, `"yanked":"no"`, 1), "yanked"},
		{strings.Replace(good, `[]`, strings.Repeat("[", 20000)+strings.Repeat("]", 20000), 1), "deps"},
		{strings.Repeat(" ", maxLine+2), "longer than"},
	} {
		_, err := viewOf(f, index("abcd"), []byte(tc.doc), nil)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("Parse(%.120q) = %v, want %q", tc.doc, err, tc.want)
		}
	}
}

func TestRenderWithoutLines(t *testing.T) {
	f := New()
	layer := []formats.Layer{{Head: &formats.Head{}}}
	name := formats.Name{Canon: "abcd"}
	for _, tc := range []struct {
		view   formats.View
		status int
		want   string
	}{
		{formats.View{Offline: true, Missing: 3}, 404, "not held"},
		{formats.View{Hidden: []formats.Hidden{{Version: &formats.Version{V: "1.0.0"}, Reason: "too young"}}}, 403, "too young"},
		{formats.View{}, 404, "does not exist"},
		{formats.View{Offline: true, Versions: []*formats.Version{{V: "1.0.0", State: formats.Held}}}, 404, "not held"},
	} {
		tc.view.Name, tc.view.Layers = name, layer
		_, err := f.Render(io.Discard, &tc.view, index("abcd"))
		if r := formats.AsRefusal(err); err == nil || r.Code() != tc.status || !strings.Contains(r.Message, tc.want) {
			t.Errorf("Render(%+v) = %v, want %d %q", tc.view, err, tc.status, tc.want)
		}
	}
}

func TestVersionList(t *testing.T) {
	o := newOutside(t)
	view, err := viewOf(o.docs.f, index("capital-crate"), o.Index(cargotest.Capital), nil)
	if err != nil {
		t.Fatal(err)
	}
	target, err := o.docs.f.Route(request("GET", base, "api/v1/crates/Capital-Crate/versions"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := o.docs.f.Render(&out, view, target); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Versions []map[string]any `json:"versions"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Versions) != 2 {
		t.Fatalf("%s: %v", out.Bytes(), err)
	}
	first := got.Versions[0]
	if first["num"] != "0.2.0" || first["crate"] != cargotest.Capital || first["created_at"] != "2025-03-06T09:08:07Z" || first["yanked"] != false {
		t.Errorf("newest version: %v", first)
	}
	path, ok := strings.CutPrefix(fmt.Sprint(first["dl_path"]), base+"/")
	if !ok {
		t.Fatalf("dl_path %v", first["dl_path"])
	}
	asset, err := o.docs.f.Route(request("GET", base, path))
	if err != nil || view.Versions[1].Asset(asset.File) == nil {
		t.Errorf("dl_path %s leads to %+v, %v", path, asset, err)
	}
}

func TestAvailable(t *testing.T) {
	f := New()
	v := &formats.Version{V: "1.0.0", Assets: []formats.Asset{{File: "abcd-1.0.0.crate"}}}
	if _, ok := f.Available(v); ok {
		t.Error("available without its archive")
	}
	v.Held = map[string]formats.HeldAsset{"abcd-1.0.0.crate": {}}
	if got, ok := f.Available(v); !ok || got != v {
		t.Error("not available with its archive held")
	}
}

func TestSearchOffline(t *testing.T) {
	f := New()
	text, from, size := f.Query(request("GET", base, "api/v1/crates?q=serde+json&per_page=500&page=3"))
	if text != "serde json" || from != 200 || size != 100 {
		t.Errorf("Query = %q %d %d, want 100 from 200", text, from, size)
	}
	if _, from, size := f.Query(request("GET", base, "api/v1/crates?q=x&per_page=-1&page=zero")); from != 0 || size != 10 {
		t.Errorf("Query of nonsense = %d %d, want 10 from 0", from, size)
	}
	reply := f.Results(nil, []formats.SearchHit{
		{Name: formats.Name{Canon: "capital-crate"}, Head: &formats.Head{Display: "Capital-Crate"}, Version: &formats.Version{V: "0.2.0"}},
		{Name: formats.Name{Canon: "empty"}},
	}, 7)
	const want = `{"crates":[{"name":"Capital-Crate","max_version":"0.2.0","description":""}],"meta":{"total":7}}`
	if reply.Status != 200 || string(reply.Body) != want {
		t.Errorf("Results = %d %s, want %s", reply.Status, reply.Body, want)
	}
}

func TestPURL(t *testing.T) {
	f := New()
	for _, tc := range []struct{ name, version, want string }{
		{"tiny-core", "1.0.0", "pkg:cargo/tiny-core@1.0.0"},
		{"Capital-Crate", "0.1.0+x", "pkg:cargo/Capital-Crate@0.1.0%2Bx"},
		{"q", "", "pkg:cargo/q"},
	} {
		n := nameOf(tc.name)
		got := f.PURL(n, tc.version)
		back, version, ok := f.ParsePURL(got)
		if got != tc.want || !ok || back != n || version != tc.version {
			t.Errorf("PURL(%s, %s) = %s, want %s; back %v %s %v", tc.name, tc.version, got, tc.want, back, version, ok)
		}
	}
	for _, bad := range []string{"pkg:npm/x@1.0.0", "pkg:cargo/", "pkg:cargo/a/b@1.0.0", "pkg:cargo/x@", "pkg:cargo/x@1", "pkg:cargo/..@1.0.0"} {
		if n, v, ok := f.ParsePURL(bad); ok {
			t.Errorf("ParsePURL(%s) = %v %s, want a refusal", bad, n, v)
		}
	}
}

func TestVersionGrammar(t *testing.T) {
	for v, want := range map[string]bool{
		"1.0.0": true, "0.0.0": true, "1.2.3-alpha.1": true, "1.2.3-0a.b-c": true, "1.2.3+001": true, "1.2.3-rc.1+build.5": true, "1.2.3+a-b": true,
		"": false, "1": false, "1.2": false, "v1.2.3": false, "01.2.3": false, "1.2.3-": false, "1.2.3-01": false, "1.2.3+": false, "1.2.3-a..b": false,
		"1.2.3+a+b": false, "1.2.3/": false, "1.2.3 ": false, "..": false,
	} {
		if got := validVersion(v); got != want {
			t.Errorf("validVersion(%q) = %v, want %v", v, got, want)
		}
	}
}

// FuzzIndex: whatever Parse accepts, Render gives back so that it parses to the
// same rows, and every asset can be asked for.
func FuzzIndex(f *testing.F) {
	r := cargotest.New()
	f.Add(r.Index(cargotest.Core))
	f.Add(bytes.ReplaceAll(r.Index(cargotest.Meta), []byte("build-meta"), []byte("TINY-core")))
	f.Add([]byte(`{"name":"tiny-core","vers":"1.0.0","cksum":"` + strings.Repeat("aB", 32) + `","pubtime":"2025-01-01T00:00:00Z","yanked":true,"v":9}` + "\r\n\n"))
	f.Add([]byte("<html>"))
	format := New()
	f.Fuzz(func(t *testing.T, doc []byte) {
		view, err := viewOf(format, index("tiny-core"), doc, nil)
		if err != nil {
			return
		}
		if len(view.Versions) == 0 {
			t.Fatalf("%q: accepted without a version", doc)
		}
		var out bytes.Buffer
		if _, err := format.Render(&out, view, index("tiny-core")); err != nil {
			t.Fatalf("render what was parsed from %q: %v", doc, err)
		}
		again, err := viewOf(format, index("tiny-core"), out.Bytes(), nil)
		if err != nil {
			t.Fatalf("parse %q, rendered from %q: %v", out.Bytes(), doc, err)
		}
		was, _ := json.Marshal(view.Versions)
		is, _ := json.Marshal(again.Versions)
		if !bytes.Equal(was, is) {
			t.Fatalf("rows of %q\n%s\nbecome\n%s", doc, was, is)
		}
		for _, v := range view.Versions {
			target, err := format.Route(request("GET", base, "api/v1/crates/tiny-core/"+v.V+"/download"))
			if err != nil || v.Asset(target.File) == nil {
				t.Fatalf("version %q of %q cannot be asked for: %v", v.V, doc, err)
			}
		}
	})
}
