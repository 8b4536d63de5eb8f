package formattest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"larder/formats"
)

// listings: what is parsed and rendered again has lost the upstream's address
// and nothing else.
func (c *suite) listings(t *testing.T) {
	for i, l := range c.spec.Listings {
		t.Run(fmt.Sprintf("%d_%s", i, strings.ReplaceAll(l.Path, "/", "_")), func(t *testing.T) { c.listing(t, l) })
	}
}

func (c *suite) listing(t *testing.T, l Listing) {
	lister := c.format.(formats.Lister)
	target, err := c.format.Route(NewRequest("GET", c.base, l.Path, l.Header))
	if err != nil || target.Kind != formats.KindListing {
		t.Fatalf("Route(%s) = %s, %v, want a listing", l.Path, target.Kind, err)
	}
	src := formats.Source{Connection: c.spec.Connection, URL: l.URL, Header: l.Upstream}
	view, err := c.parse(target, src, l.Body)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	if len(view.Versions) == 0 {
		t.Fatal("Parse emits no version of the sample")
	}
	doc, header := c.render(t, lister, view, target)
	c.checkNoUpstream(t, view, src, doc, header)
	c.checkLinks(t, l, view, doc)
	c.checkStable(t, l, target, view, doc, header)
	c.checkBad(t, target, src, l.Body)
}

// parse collects one listing into a view of one layer.
func (c *suite) parse(target formats.Target, src formats.Source, body []byte) (*formats.View, error) {
	view := &formats.View{Name: target.Name, Base: c.base}
	head, err := c.format.(formats.Lister).Parse(target, src, bytes.NewReader(body), func(v *formats.Version) error {
		row := *v
		row.Seq = len(view.Versions)
		row.Origin = src.Connection.Name
		view.Versions = append(view.Versions, &row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if head == nil {
		return nil, errors.New("parse returned neither a head nor an error")
	}
	view.Layers = []formats.Layer{{Place: src.Connection.Name, Head: head}}
	return view, nil
}

// render renders twice: the same rows must give the same bytes.
func (c *suite) render(t *testing.T, lister formats.Lister, view *formats.View, target formats.Target) ([]byte, http.Header) {
	t.Helper()
	var first, second bytes.Buffer
	header, err := lister.Render(&first, view, target)
	if err != nil {
		t.Fatalf("Render: %v", err)
	}
	if header.Get("Content-Type") == "" {
		t.Error("Render gives no Content-Type")
	}
	if _, err := lister.Render(&second, view, target); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("Render of the same view differs from one call to the next (%v)", err)
	}
	return first.Bytes(), header
}

// checkNoUpstream wants no host that the rows or the connection name.
func (c *suite) checkNoUpstream(t *testing.T, view *formats.View, src formats.Source, doc []byte, header http.Header) {
	t.Helper()
	places := []string{src.URL, src.Connection.URL}
	for _, v := range view.Versions {
		for _, a := range v.Assets {
			places = append(places, a.URL)
		}
	}
	hosts := map[string]bool{}
	for _, p := range places {
		if u, err := url.Parse(p); err == nil && u.Host != "" {
			hosts[u.Host] = true
		}
	}
	if len(hosts) == 0 {
		t.Error("the sample names no upstream host, so nothing is tested")
	}
	for host := range hosts {
		if i := bytes.Index(doc, []byte(host)); i >= 0 {
			t.Errorf("the upstream host %s survives: ...%s...", host, doc[max(0, i-60):min(len(doc), i+60)])
		}
		for key, values := range header {
			if strings.Contains(strings.Join(values, " "), host) {
				t.Errorf("the upstream host %s survives in header %s", host, key)
			}
		}
	}
}

// checkLinks routes every reference of a rendered document back to an asset.
func (c *suite) checkLinks(t *testing.T, l Listing, view *formats.View, doc []byte) {
	t.Helper()
	if l.URLs == nil {
		return
	}
	refs := l.URLs(doc)
	if len(refs) == 0 {
		t.Error("no reference was found in the rendered document")
	}
	docURL, err := url.Parse(c.base + "/" + l.Path)
	if err != nil {
		t.Fatalf("listing path %q: %v", l.Path, err)
	}
	for _, ref := range refs {
		u, err := docURL.Parse(ref)
		if err != nil {
			t.Errorf("reference %q: %v", ref, err)
			continue
		}
		u.Fragment, u.RawFragment = "", ""
		raw, ok := strings.CutPrefix(u.String(), c.base+"/")
		if !ok {
			t.Errorf("reference %q leads outside the endpoint", ref)
			continue
		}
		target, err := c.format.Route(NewRequest("GET", c.base, raw, nil))
		if err != nil || target.Kind != formats.KindAsset && target.Kind != formats.KindSidecar {
			t.Errorf("reference %q routes to a %s (%v), want an asset", ref, target.Kind, err)
			continue
		}
		if target.Derive != nil {
			target = *target.Derive
		}
		if target.Name.Canon != view.Name.Canon || !inView(view, target) {
			t.Errorf("reference %q routes to %s %s %s, which the view does not have", ref, target.Name.Canon, target.Version, target.File)
		}
	}
}

func inView(view *formats.View, target formats.Target) bool {
	return slices.ContainsFunc(view.Versions, func(v *formats.Version) bool {
		return (target.Version == "" || v.V == target.Version) && v.Asset(target.File) != nil
	})
}

// checkStable parses a rendered document as if it came from a registry: the
// same rows must come out, and the same bytes again.
func (c *suite) checkStable(t *testing.T, l Listing, target formats.Target, view *formats.View, doc []byte, header http.Header) {
	t.Helper()
	if l.OneWay != "" {
		return
	}
	conn := c.spec.Connection
	conn.URL = c.base + "/"
	again, err := c.parse(target, formats.Source{Connection: conn, URL: c.base + "/" + l.Path, Header: header}, doc)
	if err != nil {
		t.Errorf("Parse of the rendered document: %v", err)
		return
	}
	if len(again.Versions) != len(view.Versions) {
		t.Errorf("Parse of the rendered document gives %d versions, want %d", len(again.Versions), len(view.Versions))
		return
	}
	for i, was := range view.Versions {
		is := again.Versions[i]
		if was.V != is.V || was.Flags != is.Flags || !is.Published.IsZero() && !was.Published.Equal(is.Published) {
			t.Errorf("version %d was %s (flags %d, %s), is %s (flags %d, %s)", i, was.V, was.Flags, was.Published, is.V, is.Flags, is.Published)
		}
		for _, a := range was.Assets {
			b := is.Asset(a.File)
			if b == nil {
				t.Errorf("version %s lost the file %s", was.V, a.File)
			} else if !slices.Equal(a.Digests, b.Digests) || a.Flags != b.Flags || b.Size != 0 && a.Size != b.Size {
				t.Errorf("file %s was %v (%d bytes, flags %d), is %v (%d bytes, flags %d)", a.File, a.Digests, a.Size, a.Flags, b.Digests, b.Size, b.Flags)
			}
		}
	}
	var second bytes.Buffer
	if _, err := c.format.(formats.Lister).Render(&second, again, target); err != nil || !bytes.Equal(second.Bytes(), doc) {
		t.Errorf("a document rendered, parsed and rendered again differs (%v):\n%s\nwas\n%s", err, clip(second.Bytes()), clip(doc))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 2000)] }

// checkBad feeds what is not the document: nothing of it may become a version.
func (c *suite) checkBad(t *testing.T, target formats.Target, src formats.Source, good []byte) {
	t.Helper()
	page := src
	page.Header = http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	deep := strings.Repeat(`{"a":[`, 200_000)
	bad := map[string]string{
		"an HTML error page":   "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n",
		"a captive portal":     "<html><body>Please <a href=\"http://portal.example/login\">log in</a></body></html>",
		"deep nesting":         deep,
		"deep XML":             strings.Repeat("<a>", 200_000),
		"NUL bytes":            strings.Repeat("\x00", 4096),
		"a list":               `["a","b"]`,
		"a gzip stream":        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c\x4a\x06\x00",
		"an endless long line": strings.Repeat("x", 1<<20),
	}
	for what, body := range bad {
		for _, s := range []formats.Source{src, page} {
			if view, err := c.parse(target, s, []byte(body)); err == nil && len(view.Versions) > 0 {
				t.Errorf("%s gives %d versions and no error", what, len(view.Versions))
			}
		}
	}
	for _, cut := range []int{0, 1, len(good) / 3, len(good) / 2, len(good) - 1} {
		_, _ = c.parse(target, src, good[:cut]) // must not panic; whether it is an error is the format's own test
	}
}
