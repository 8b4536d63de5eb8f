package npm

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

// upstreamDoc asks a fake registry that believes to be registry.example.
func upstreamDoc(t testing.TB, r *npmtest.Registry, path string) []byte {
	t.Helper()
	q := httptest.NewRequest("GET", "http://registry.example/"+path, nil)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, q)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d", path, w.Code)
	}
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tarballURLs(doc []byte) (out []string) {
	var p struct {
		Versions map[string]struct{ Dist struct{ Tarball string } }
	}
	if json.Unmarshal(doc, &p) != nil {
		return nil
	}
	for _, v := range p.Versions {
		out = append(out, v.Dist.Tarball)
	}
	return out
}

func TestConformance(t *testing.T) {
	r := npmtest.Default()
	r.AddFat("fat", 30)
	spec := formattest.Spec{
		Connection: formats.Connection{Name: "public:npmjs", URL: "http://registry.example/"},
		Assets: []string{
			"tiny-left/-/tiny-left-1.0.0.tgz", "@tiny/core/-/core-2.0.0-beta.1.tgz", "@tiny%2fcore/-/core-1.0.0.tgz",
			"@tiny/core/-/@tiny/core-1.0.0.tgz", "TinyCaps/-/TinyCaps-1.0.0.tgz", "x/-/x-1.0.0+build.5.tgz", "-/-/--0.0.1.tgz",
		},
		Coordinates: []formattest.Coordinate{
			{Name: formats.Name{Canon: "left-pad"}, Version: "1.3.0"},
			{Name: formats.Name{Canon: "@tiny/core", NS: "tiny"}, Version: "2.0.0-beta.1"},
			{Name: formats.Name{Canon: "JSONStream"}, Version: "1.0.0+build.5"},
		},
	}
	abbreviated := http.Header{"Accept": {"application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*"}}
	for _, name := range r.Names() {
		path := escapeName(name)
		body := upstreamDoc(t, r, path)
		for _, h := range []http.Header{nil, abbreviated} {
			spec.Listings = append(spec.Listings, formattest.Listing{
				Path: path, Header: h, Body: body, URL: "http://registry.example/" + path, URLs: tarballURLs,
			})
		}
	}
	core := upstreamDoc(t, r, "@tiny%2fcore")
	for _, path := range []string{"@tiny/core/1.2.0", "@tiny%2fcore/beta", "-/package/@tiny%2fcore/dist-tags"} {
		spec.Listings = append(spec.Listings, formattest.Listing{
			Path: path, Body: core, URL: "http://registry.example/@tiny%2fcore", OneWay: "holds a part of the packument",
		})
	}
	formattest.Run(t, New(), spec)
}
