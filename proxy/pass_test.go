package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/formats/cargo/cargotest"
	"larder/formats/npm/npmtest"
)

// TestSearchHeldShowsLatest: a search answered here shows the version under
// "latest" and not the patch of an old line that was published after it.
func TestSearchHeldShowsLatest(t *testing.T) {
	reg := registry(npmtest.Package{Name: "tiny", Version: "1.0.0"}, npmtest.Package{Name: "tiny", Version: "2.0.0"}, npmtest.Package{Name: "tiny", Version: "1.0.1"})
	reg.SetTag("tiny", "latest", "2.0.0")
	w, _ := newWorld(t, reg)
	shown := func() string {
		t.Helper()
		a := w.want(w.get("/npm/main/-/v1/search?text=tiny"), http.StatusOK)
		var found struct {
			Objects []struct {
				Package struct{ Name, Version string }
			}
			Total int
		}
		if err := json.Unmarshal([]byte(a.body), &found); err != nil || found.Total != 1 {
			t.Fatalf("search gives %s (%v), want one package", a.body, err)
		}
		return found.Objects[0].Package.Version
	}
	w.want(w.get("/npm/main/tiny/-/tiny-1.0.1.tgz"), http.StatusOK)
	w.want(w.get("/npm/main/tiny/-/tiny-2.0.0.tgz"), http.StatusOK)
	w.offline(true)
	if got := shown(); got != "2.0.0" {
		t.Errorf("search shows %s, want 2.0.0, which is latest", got)
	}
	w.offline(false)
	w.want(w.get("/npm/main/tiny/-/tiny-1.0.0.tgz"), http.StatusOK)
	reg.SetTag("tiny", "latest", "1.0.0")
	w.clock.add(time.Hour)
	w.want(w.get("/npm/main/tiny"), http.StatusOK)
	w.offline(true)
	if got := shown(); got != "1.0.0" {
		t.Errorf("search shows %s after the tag moved, want 1.0.0", got)
	}
}

// TestSearchHeldWithoutLatest: where the version under "latest" is not held, the
// last of those that are is shown.
func TestSearchHeldWithoutLatest(t *testing.T) {
	reg := registry(npmtest.Package{Name: "tiny", Version: "1.0.0"}, npmtest.Package{Name: "tiny", Version: "1.1.0"}, npmtest.Package{Name: "tiny", Version: "2.0.0"})
	w, _ := newWorld(t, reg)
	w.want(w.get("/npm/main/tiny/-/tiny-1.0.0.tgz"), http.StatusOK)
	w.want(w.get("/npm/main/tiny/-/tiny-1.1.0.tgz"), http.StatusOK)
	w.offline(true)
	w.want(w.get("/npm/main/-/v1/search?text=tiny"), http.StatusOK, `"version":"1.1.0"`)
}

// TestSearchMissingUpstream: a mirror without a search is told in words.
func TestSearchMissingUpstream(t *testing.T) {
	w, up := newWorldOf(t, "cargo", cargotest.New())
	w.close()
	w.catConns[0].URL += strings.TrimPrefix(cargotest.IndexPath, "/")
	w.open()
	w.want(w.get("/cargo/main/api/v1/crates?q=tiny"), http.StatusOK, `"tiny-core"`)
	up[0].breakWith(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/web/") },
		func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotFound) })
	w.want(w.get("/cargo/main/api/v1/crates?q=tiny"), http.StatusNotImplemented, `{"errors":[{"detail":"upstream a-registry offers no search"}]}`)
}
