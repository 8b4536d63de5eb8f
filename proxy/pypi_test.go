package proxy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/cache/catalog"
	"larder/formats/pypi/pypitest"
)

const (
	pageJSON = "application/vnd.pypi.simple.v1+json"
	fig      = "larder_fig-1.0-py3-none-any.whl"
	figPath  = "/pypi/main/simple/larder-fig/1.0/" + fig
)

// index serves a fake registry whose project pages lie at its root, where
// newWorldOf lets the connection point.
func index(reg http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := strings.Count(r.URL.Path, "/"); n == 2 && strings.HasSuffix(r.URL.Path, "/") {
			r.URL.Path = "/simple" + r.URL.Path
		}
		reg.ServeHTTP(w, r)
	})
}

func (w *world) page(name string) answer {
	w.t.Helper()
	return w.get("/pypi/main/simple/"+name+"/", "Accept", pageJSON)
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// figIndex has one wheel, and beside it metadata that is not what the wheel
// says: it promises them only once it is told to.
type figIndex struct {
	wheel    []byte
	metadata string

	mu     sync.Mutex
	offers bool
}

func newFigIndex(offers bool) *figIndex {
	reg := pypitest.New()
	meta := "Metadata-Version: 2.1\nName: larder-fig\nVersion: 1.0\nRequires-Dist: larder-apple\nSummary: in the index's own words\n"
	return &figIndex{wheel: reg.File(fig), metadata: meta, offers: offers}
}

func (f *figIndex) offer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offers = true
}

func (f *figIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case "/larder-fig/":
		meta := "false"
		if f.offers {
			meta = fmt.Sprintf(`{"sha256":%q}`, sumOf(f.metadata))
		}
		w.Header().Set("Content-Type", pageJSON)
		fmt.Fprintf(w, `{"meta":{"api-version":"1.1"},"name":"larder-fig","versions":["1.0"],"files":[{"filename":%q,"url":"../f/%s","hashes":{"sha256":%q},"size":%d,"core-metadata":%s}]}`,
			fig, fig, sumOf(string(f.wheel)), len(f.wheel), meta)
	case "/f/" + fig:
		w.Write(f.wheel)
	case "/f/" + fig + ".metadata":
		if !f.offers {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, f.metadata)
	default:
		http.NotFound(w, r)
	}
}

func (w *world) row(file string) *catalog.AssetRow {
	w.t.Helper()
	row, err := w.catalog.Asset(catalog.AssetKey{Place: "c:a-registry", Format: "pypi", Name: "larder-fig", Version: "1.0", File: file})
	if err != nil {
		w.t.Fatalf("row of %s: %v", file, err)
	}
	return row
}

// TestUpstreamMetadataIsNotReplaced: what is made here from a wheel never stands
// where the index offers bytes of its own, in whatever order they are asked.
func TestUpstreamMetadataIsNotReplaced(t *testing.T) {
	for _, order := range [][]string{{".metadata", ""}, {"", ".metadata"}} {
		up := newFigIndex(true)
		w, _ := newWorldOf(t, "pypi", up)
		for _, suffix := range order {
			w.want(w.get(figPath+suffix), http.StatusOK)
		}
		a := w.want(w.get(figPath+".metadata"), http.StatusOK)
		if a.body != up.metadata {
			t.Errorf("order %q: metadata is %q", order, a.body)
		}
		if w.row(fig + ".metadata").Derived {
			t.Errorf("order %q: the row says that it was made here", order)
		}
		promised := w.want(w.page("larder-fig"), http.StatusOK, `"core-metadata":{"sha256":"`+sumOf(up.metadata)+`"}`)
		w.offline(true)
		w.want(w.page("larder-fig"), http.StatusOK, `"core-metadata":{"sha256":"`+sumOf(up.metadata)+`"}`)
		if a := w.get(figPath + ".metadata"); a.body != up.metadata {
			t.Errorf("order %q: offline, metadata is %q beside %s", order, a.body, promised.body)
		}
	}
}

// TestMetadataOfferedLater: an index that begins to offer metadata where some
// was made here meets neither alarm nor contradiction: page and bytes agree.
func TestMetadataOfferedLater(t *testing.T) {
	up := newFigIndex(false)
	w, fs := newWorldOf(t, "pypi", up)
	w.want(w.page("larder-fig"), http.StatusOK, `"core-metadata":false`)
	w.want(w.get(figPath+".metadata"), http.StatusNotFound)
	w.want(w.get(figPath), http.StatusOK)
	made := w.want(w.get(figPath+".metadata"), http.StatusOK, "Name: larder-fig")
	if !w.row(fig + ".metadata").Derived {
		t.Error("the row does not say that it was made here")
	}
	w.want(w.page("larder-fig"), http.StatusOK, sumOf(made.body))
	up.offer()
	w.clock.add(time.Hour)
	asked := fs[0].hits.Load()
	w.want(w.page("larder-fig"), http.StatusOK, `"core-metadata":{"sha256":"`+sumOf(made.body)+`"}`)
	if fs[0].hits.Load() == asked {
		t.Error("the page was not asked again")
	}
	if a := w.want(w.get(figPath+".metadata"), http.StatusOK); a.body != made.body {
		t.Errorf("the page promises %s, %q is served", sumOf(made.body), a.body)
	}
}

// TestPromisedMetadataIsMadeHere: where the wheel holds the very bytes that the
// index promises, nobody has to ask the index for them.
func TestPromisedMetadataIsMadeHere(t *testing.T) {
	w, fs := newWorldOf(t, "pypi", index(pypitest.New()))
	path := "/pypi/main/simple/larder-cherry/1.0/larder_cherry-1.0-py3-none-any.whl"
	w.want(w.get(path), http.StatusOK)
	fs[0].breakWith(nil, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	w.want(w.get(path+".metadata"), http.StatusOK, "Requires-Dist: larder-date")
	w.want(w.page("larder-cherry"), http.StatusOK, `"core-metadata":{"sha256":"`)
}

// TestOfflinePageListsHeldFiles: the view that is rendered is the one restricted
// to what is held, file by file and companion by companion.
func TestOfflinePageListsHeldFiles(t *testing.T) {
	const honey = "/pypi/main/simple/larder-honey/1.0/larder_honey-1.0-py3-none-any.whl"
	reg := pypitest.New()
	w, fs := newWorldOf(t, "pypi", index(reg))
	w.want(w.page("larder-apple"), http.StatusOK, `"1.0/larder_apple-1.0.tar.gz"`, `"1.1/larder_apple-1.1.tar.gz"`)
	w.want(w.get("/pypi/main/simple/larder-apple/1.1/larder_apple-1.1.tar.gz"), http.StatusOK)
	w.want(w.get(honey), http.StatusOK)
	check := func(when string) {
		t.Helper()
		a := w.want(w.page("larder-apple"), http.StatusOK, `"versions":["1.1"]`, `"1.1/larder_apple-1.1.tar.gz"`)
		if strings.Contains(a.body, ".whl") || strings.Contains(a.body, "apple-1.0") {
			t.Errorf("%s, files that are not held are listed: %s", when, a.body)
		}
		html := w.want(w.get("/pypi/main/simple/larder-apple/"), http.StatusOK, "larder_apple-1.1.tar.gz")
		if strings.Contains(html.body, ".whl") {
			t.Errorf("%s, files that are not held are listed: %s", when, html.body)
		}
	}
	w.offline(true)
	asked := fs[0].hits.Load()
	check("offline")
	w.want(w.page("larder-honey"), http.StatusOK, `"provenance":null`, `"core-metadata":{"sha256":`)
	w.want(w.get("/pypi/main/integrity/larder-honey/1.0/larder_honey-1.0-py3-none-any.whl/provenance"), http.StatusNotFound, "not held here")
	w.want(w.page("larder-sugar"), http.StatusNotFound, "larder-sugar is not held here and this node is offline")
	if n := fs[0].hits.Load(); n != asked {
		t.Errorf("the index was asked %d times offline", n-asked)
	}
	w.offline(false)
	w.want(w.page("larder-apple"), http.StatusOK, `"1.0/larder_apple-1.0.tar.gz"`)
	w.want(w.get("/pypi/main/integrity/larder-honey/1.0/larder_honey-1.0-py3-none-any.whl/provenance"), http.StatusOK, "attestation_bundles")
	w.offline(true)
	w.want(w.page("larder-honey"), http.StatusOK, `"provenance":"`+w.srv.URL+`/pypi/main/integrity/`)
	w.offline(false)

	// A project that vanished is what is held of it.
	reg.Remove("larder-apple", "")
	w.clock.add(time.Hour)
	check("withdrawn")
}

// TestFirstIndexOwnsTheName: a file that the first index does not list is not
// taken from the second, and does not make that one the owner, though no page
// was ever asked: else one link to a version that never was takes a name over.
func TestFirstIndexOwnsTheName(t *testing.T) {
	second := pypitest.Empty()
	second.Add(pypitest.Package{Name: "larder-apple", Version: "9.9"})
	second.Add(pypitest.Package{Name: "larder-zest", Version: "1.0"})
	w, fs := newWorldOf(t, "pypi", index(pypitest.New()), index(second))
	w.want(w.get("/pypi/main/simple/larder-apple/9.9/larder_apple-9.9-py3-none-any.whl"), http.StatusNotFound)
	w.want(w.get("/pypi/main/simple/larder-apple/1.1/larder_apple-1.1-py3-none-any.whl"), http.StatusOK)
	if a := w.want(w.page("larder-apple"), http.StatusOK, "larder_apple-1.1"); strings.Contains(a.body, "9.9") {
		t.Errorf("the page shows the second index's version: %s", a.body)
	}
	// Promised by the first and not given: still not the second's.
	fs[0].breakWith(isWheel, func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) })
	w.want(w.get("/pypi/main/simple/larder-sugar/1.0/larder_sugar-1.0-py3-none-any.whl"), http.StatusNotFound)
	if n := fs[1].hits.Load(); n != 0 {
		t.Errorf("the second index was asked %d times about names of the first", n)
	}
	fs[0].heal()
	w.want(w.get("/pypi/main/simple/larder-zest/1.0/larder_zest-1.0-py3-none-any.whl"), http.StatusOK)
	w.want(w.page("larder-zest"), http.StatusOK, "larder_zest-1.0")
}

func isWheel(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".whl") }

// TestCorruptWheelIsNotHeld: bytes other than the page promises reach nobody and
// leave neither a row nor metadata behind.
func TestCorruptWheelIsNotHeld(t *testing.T) {
	reg := pypitest.New()
	w, _ := newWorldOf(t, "pypi", index(reg))
	reg.Corrupt(fig)
	if a := w.get(figPath); a.err == nil && a.status == http.StatusOK {
		t.Fatalf("corrupt bytes were served: %d bytes", len(a.body))
	}
	w.want(w.page("larder-fig"), http.StatusOK, `"core-metadata":false`)
	w.offline(true)
	w.want(w.get(figPath), http.StatusNotFound)
}
