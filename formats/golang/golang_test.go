package golang

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/golang/golangtest"
)

// request builds what the proxy would hand to Route for a raw path.
func request(method, raw string) *formats.Request {
	raw, query, _ := strings.Cut(raw, "?")
	rq := &formats.Request{Method: method, Repo: "main", Base: "http://127.0.0.1:5273/go/main", Raw: raw, Header: http.Header{}}
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
	case response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusGone:
		return nil, nil, formats.ErrNoDocument
	case response.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("upstream says %s", response.Status)
	}
	return body, response.Header, nil
}

// outside is a registry with its server and a connection to it.
type outside struct {
	*golangtest.Registry
	server *httptest.Server
	docs   upstreamDocs
}

func newOutside(t *testing.T, options map[string]string) *outside {
	t.Helper()
	o := &outside{Registry: golangtest.New()}
	o.server = httptest.NewServer(o.Registry)
	t.Cleanup(o.server.Close)
	o.docs = upstreamDocs{f: New(), client: o.server.Client(),
		c: formats.Connection{Name: "public:go-proxy", URL: o.server.URL + "/", Options: options}}
	return o
}

func asset(path, version, ext string) formats.Target {
	return formats.Target{Kind: formats.KindAsset, Name: formats.Name{Canon: path}, Version: version, File: version + "." + ext, Fresh: formats.Immutable}
}

// fill does what the proxy does for an asset: fetch, expect, check.
func (o *outside) fill(ctx context.Context, target formats.Target) error {
	d := o.docs
	fetch, err := d.f.Locate(ctx, d.c, target, nil, d)
	if err != nil {
		return err
	}
	body, header, err := d.get(ctx, fetch.URL)
	if err != nil {
		return err
	}
	want, err := d.f.Expect(ctx, d.c, target, nil, header, d)
	if err != nil {
		return err
	}
	return d.f.Check(ctx, target, bytes.NewReader(body), want)
}

func TestPURL(t *testing.T) {
	f := New()
	for _, tc := range []struct{ path, version, want string }{
		{"registry.example/BurntSugar/TOML", "v0.3.1", "pkg:golang/registry.example/BurntSugar/TOML@v0.3.1"},
		{"registry.example/old", "v2.1.0+incompatible", "pkg:golang/registry.example/old@v2.1.0%2Bincompatible"},
		{"registry.example/plain", "", "pkg:golang/registry.example/plain"},
		{"registry.example/~user/x", "v1.0.0", "pkg:golang/registry.example/~user/x@v1.0.0"},
	} {
		got := f.PURL(formats.Name{Canon: tc.path}, tc.version)
		if got != tc.want {
			t.Errorf("PURL(%s, %s) = %s, want %s", tc.path, tc.version, got, tc.want)
		}
		n, v, ok := f.ParsePURL(got)
		if !ok || n.Canon != tc.path || v != tc.version {
			t.Errorf("ParsePURL(%s) = %v %s %v, want %s %s", got, n, v, ok, tc.path, tc.version)
		}
	}
	for _, bad := range []string{"pkg:npm/x@1", "pkg:golang/", "pkg:golang/../x@v1.0.0", "pkg:golang/a.b/c@", "pkg:golang/a.b/c@..%2f..", "pkg:golang/%zz"} {
		if n, v, ok := f.ParsePURL(bad); ok {
			t.Errorf("ParsePURL(%s) = %v %s, want a refusal", bad, n, v)
		}
	}
	if n, v, ok := f.ParsePURL("pkg:golang/a.example/c@v1.0.0?type=module#sub/dir"); !ok || n.Canon != "a.example/c" || v != "v1.0.0" {
		t.Errorf("qualifiers and subpath: got %v %s %v", n, v, ok)
	}
}

func TestRefuseIsPlainText(t *testing.T) {
	f := New()
	for _, tc := range []struct {
		kind   formats.RefusalKind
		status int
	}{
		{formats.NotFound, 404}, {formats.NotHeld, 404}, {formats.Blocked, 403}, {formats.Upstream, 504}, {formats.Method, 405},
	} {
		r := formats.Refuse(tc.kind, "because of %s", tc.kind)
		r.RetryAfter = 1500 * time.Millisecond
		got := f.Refuse(request("GET", "x"), r)
		if got.Status != tc.status || string(got.Body) != r.Message+"\n" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("Refuse(%s) = %d %q %v, want %d and its message", tc.kind, got.Status, got.Body, got.Header, tc.status)
		}
		if got.Header.Get("Retry-After") != "2" {
			t.Errorf("Refuse(%s): Retry-After %q, want 2", tc.kind, got.Header.Get("Retry-After"))
		}
	}
}
