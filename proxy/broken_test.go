package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats/npm/npmtest"
	"larder/policy"
)

func big(n int) map[string]string {
	var b strings.Builder
	x := uint32(1)
	for b.Len() < n {
		x = x*1664525 + 1013904223
		fmt.Fprintf(&b, "%08x", x)
	}
	return map[string]string{"data.txt": b.String()}
}

func TestColdStampede(t *testing.T) {
	reg := registry(npmtest.Package{Name: "large", Version: "1.0.0", Files: big(6 << 20)})
	w, up := newWorld(t, reg)
	for _, path := range []string{"/npm/main/large", "/npm/main/large/-/large-1.0.0.tgz"} {
		before := up[0].hits.Load()
		var wg sync.WaitGroup
		bodies := make([]answer, 30)
		for i := range bodies {
			wg.Add(1)
			go func() {
				defer wg.Done()
				bodies[i] = w.get(path)
			}()
		}
		wg.Wait()
		for i, a := range bodies {
			if a.status != 200 || a.err != nil || a.body != bodies[0].body {
				t.Fatalf("%s: client %d got %d %v", path, i, a.status, a.err)
			}
		}
		if got := up[0].hits.Load() - before; got != 1 {
			t.Errorf("%s: %d upstream requests for 30 clients, want 1", path, got)
		}
	}
	if got := w.get("/npm/main/large/-/large-1.0.0.tgz"); got.body != string(reg.Tarball("large", "1.0.0")) {
		t.Error("the held bytes differ from the registry's")
	}
}

// A fill belongs to the cache: a client that leaves does not end it.
func TestFillOutlivesItsClient(t *testing.T) {
	reg := registry(npmtest.Package{Name: "large", Version: "1.0.0", Files: big(2 << 20)})
	w, up := newWorld(t, reg)
	w.want(w.get("/npm/main/large"), 200)
	release := make(chan struct{})
	up[0].breakWith(isTarball, func(rw http.ResponseWriter, r *http.Request) {
		body := reg.Tarball("large", "1.0.0")
		rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
		rw.Write(body[:len(body)/2])
		http.NewResponseController(rw).Flush()
		<-release
		rw.Write(body[len(body)/2:])
	})
	resp, err := http.Get(w.srv.URL + "/npm/main/large/-/large-1.0.0.tgz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	close(release)
	// Joining the same flight waits for its end.
	a := w.want(w.get("/npm/main/large/-/large-1.0.0.tgz"), 200)
	if a.body != string(reg.Tarball("large", "1.0.0")) {
		t.Error("bytes differ")
	}
	if n := up[0].hits.Load(); n != 2 {
		t.Errorf("%d upstream requests, want 2 (listing, tarball)", n)
	}
}

func TestStaleWhenUpstreamFails(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "boom", 500) },
		"429": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
		"403": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) },
		"html": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>login</html>")
		},
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"name":"x"`)
		},
		"reset": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"deep": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, strings.Repeat(`{"versions":`, 200000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, up := newWorld(t, registry(npmtest.Package{Name: "x", Version: "1.0.0"}))
			w.want(w.get("/npm/main/x"), 200, `"1.0.0"`)
			up[0].breakWith(nil, fault)
			w.clock.add(time.Hour)
			for range 3 {
				a := w.want(w.get("/npm/main/x"), 200, `"1.0.0"`)
				if a.header.Get("Age") != "3600" {
					t.Errorf("Age %q, want 3600", a.header.Get("Age"))
				}
			}
			// An unknown name is an error in npm's dialect, never the body.
			a := w.get("/npm/main/unknown")
			if a.status < 400 || !strings.Contains(a.body, `"error"`) || strings.Contains(a.body, "login") {
				t.Errorf("unknown name: %d %.200s", a.status, a.body)
			}
			up[0].heal()
			w.clock.add(10 * time.Minute)
			deadline := time.Now().Add(20 * time.Second)
			for w.get("/npm/main/x").header.Get("Age") != "0" {
				if time.Now().After(deadline) {
					t.Fatal("the listing never became fresh again")
				}
				w.clock.add(time.Minute)
			}
		})
	}
}

func TestHangCostsOneBudgetOnce(t *testing.T) {
	w, up := newWorld(t, registry(npmtest.Package{Name: "x", Version: "1.0.0"}, npmtest.Package{Name: "y", Version: "1.0.0"}))
	w.want(w.get("/npm/main/x"), 200)
	w.want(w.get("/npm/main/y"), 200)
	w.close()
	w.budget = 50 * time.Millisecond
	w.open()
	release := make(chan struct{})
	defer close(release)
	up[0].breakWith(nil, func(http.ResponseWriter, *http.Request) { <-release })
	w.clock.add(time.Hour)
	// The first waits for the budget, the others for nothing: were they to
	// wait for the upstream, this test would never end.
	for range 5 {
		for _, p := range []string{"x", "y"} {
			a := w.want(w.get("/npm/main/"+p), 200, `"1.0.0"`)
			if a.header.Get("Age") != "3600" {
				t.Errorf("Age %q", a.header.Get("Age"))
			}
		}
	}
	if n := up[0].hits.Load(); n > 4 {
		t.Errorf("%d upstream requests; revalidation must be one per listing", n)
	}
}

func TestWithdrawal(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0"}, npmtest.Package{Name: "x", Version: "2.0.0"})
	w, _ := newWorld(t, reg)
	w.want(w.get("/npm/main/x"), 200, `"2.0.0"`)
	w.want(w.get("/npm/main/x/-/x-2.0.0.tgz"), 200)
	// One version goes: it leaves the listing, its held bytes stay.
	reg.Unpublish("x", "2.0.0")
	w.clock.add(time.Hour)
	a := w.want(w.get("/npm/main/x"), 200)
	if strings.Contains(a.body, `"x-2.0.0.tgz"`) || !strings.Contains(a.body, "x-1.0.0.tgz") {
		t.Errorf("listing after unpublish: %.400s", a.body)
	}
	w.want(w.get("/npm/main/x/-/x-2.0.0.tgz"), 200)
	// The whole name goes: what is held is still listed and served.
	reg.Remove("x")
	w.clock.add(time.Hour)
	for range 2 {
		w.want(w.get("/npm/main/x"), 200, "x-2.0.0.tgz")
		w.want(w.get("/npm/main/x/-/x-2.0.0.tgz"), 200)
	}
	w.want(w.get("/-/why?purl=pkg:npm/x@2.0.0"), 200, `"listing": "withdrawn"`, `"held": true`)
	// It returns.
	reg.Add(npmtest.Package{Name: "x", Version: "3.0.0"})
	w.clock.add(time.Hour)
	w.want(w.get("/npm/main/x"), 200, "x-3.0.0.tgz")
}

func TestNegativeAnswersPass(t *testing.T) {
	reg := registry()
	w, up := newWorld(t, reg)
	for range 3 {
		w.want(w.get("/npm/main/late"), 404, `"error"`)
	}
	if n := up[0].hits.Load(); n != 1 {
		t.Errorf("%d upstream requests for an unknown name, want 1", n)
	}
	reg.Add(npmtest.Package{Name: "late", Version: "1.0.0"})
	w.clock.add(31 * time.Second)
	w.want(w.get("/npm/main/late"), 200)
}

func TestLockfileInstallReadsNoMetadataFirst(t *testing.T) {
	reg := registry(npmtest.Package{Name: "@s/n", Version: "1.0.0"})
	w, _ := newWorld(t, reg)
	a := w.want(w.get("/npm/main/@s/n/-/n-1.0.0.tgz"), 200)
	if a.body != string(reg.Tarball("@s/n", "1.0.0")) {
		t.Error("bytes differ")
	}
}

func TestWrongBytesNeverArriveWhole(t *testing.T) {
	for name, mangle := range map[string]func([]byte) ([]byte, int){
		"flipped":   func(b []byte) ([]byte, int) { b[len(b)/2] ^= 1; return b, len(b) },
		"last byte": func(b []byte) ([]byte, int) { b[len(b)-1] ^= 1; return b, len(b) },
		"longer":    func(b []byte) ([]byte, int) { return append(b, "tail"...), len(b) + 4 },
		"shorter":   func(b []byte) ([]byte, int) { return b[:len(b)-10], len(b) - 10 },
		"html":      func(b []byte) ([]byte, int) { p := []byte("<html>sorry</html>"); return p, len(p) },
	} {
		t.Run(name, func(t *testing.T) {
			reg := registry(npmtest.Package{Name: "x", Version: "1.0.0", Files: big(600 << 10)})
			good := reg.Tarball("x", "1.0.0")
			w, up := newWorld(t, reg)
			up[0].breakWith(isTarball, func(rw http.ResponseWriter, r *http.Request) {
				body, n := mangle(append([]byte(nil), good...))
				rw.Header().Set("Content-Length", fmt.Sprint(n))
				rw.Write(body)
			})
			a := w.get("/npm/main/x/-/x-1.0.0.tgz")
			if a.err == nil && a.status == 200 {
				t.Fatalf("a complete body of %d bytes arrived", len(a.body))
			}
			if a.status >= 400 && !strings.Contains(a.body, `"error"`) {
				t.Errorf("error in the wrong dialect: %.200s", a.body)
			}
			up[0].heal()
			if a := w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200); a.body != string(good) {
				t.Error("after healing: bytes differ")
			}
		})
	}
}

func TestChangedBytesOfAKnownCoordinate(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0"})
	good := string(reg.Tarball("x", "1.0.0"))
	w, _ := newWorld(t, reg)
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	listing := w.want(w.get("/npm/main/x"), 200)
	reg.Mutate(npmtest.Package{Name: "x", Version: "1.0.0", Files: map[string]string{"evil.js": "boo"}})
	w.clock.add(time.Hour)
	again := w.want(w.get("/npm/main/x"), 200)
	if dist(again.body) != dist(listing.body) {
		t.Errorf("the known digest was replaced:\n%s\n%s", dist(listing.body), dist(again.body))
	}
	if a := w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200); a.body != good {
		t.Error("other bytes were served")
	}
	w.want(w.get("/-/metrics"), 200, "larder_mutations_total 1")
}

func dist(packument string) string {
	_, rest, _ := strings.Cut(packument, `"integrity":"`)
	d, _, _ := strings.Cut(rest, `"`)
	return d
}

func TestOfflineNeverDials(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0"}, npmtest.Package{Name: "x", Version: "2.0.0"}, npmtest.Package{Name: "y", Version: "1.0.0"})
	w, up := newWorld(t, reg)
	w.want(w.get("/npm/main/x"), 200)
	w.want(w.get("/npm/main/y"), 200)
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	w.offline(true)
	w.clock.add(24 * time.Hour)
	hits, dials := up[0].hits.Load(), w.upstream.Dials()
	a := w.want(w.get("/npm/main/x"), 200, "x-1.0.0.tgz", `"latest":"1.0.0"`)
	if strings.Contains(a.body, "x-2.0.0.tgz") {
		t.Error("a version is listed that is not held")
	}
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	for _, p := range []string{"/npm/main/x/-/x-2.0.0.tgz", "/npm/main/y", "/npm/main/never", "/npm/main/never/-/never-1.0.0.tgz"} {
		w.want(w.get(p), 404, "not held here")
	}
	if a := w.do(http.MethodPost, "/npm/main/-/npm/v1/security/advisories/bulk"); a.status < 400 || !strings.Contains(a.body, "offline") {
		t.Errorf("audit offline: %d %.200s", a.status, a.body)
	}
	w.want(w.get("/npm/main/-/v1/search?text=x"), 200, `"x"`)
	if up[0].hits.Load() != hits || w.upstream.Dials() != dials {
		t.Error("an upstream was dialled offline")
	}
	w.offline(false)
	w.want(w.get("/npm/main/x"), 200, "x-2.0.0.tgz")
}

func TestNameBelongsToTheFirstThatHasIt(t *testing.T) {
	first, second := registry(npmtest.Package{Name: "ours", Version: "1.0.0"}), registry(
		npmtest.Package{Name: "ours", Version: "9.9.9"}, npmtest.Package{Name: "theirs", Version: "1.0.0"})
	w, up := newWorld(t, first, second)
	if a := w.want(w.get("/npm/main/ours"), 200, "ours-1.0.0.tgz"); strings.Contains(a.body, "9.9.9") {
		t.Error("the second registry's versions came in")
	}
	w.want(w.get("/npm/main/theirs"), 200)
	// The owner is down: never fall through to the second.
	up[0].breakWith(nil, func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "down", http.StatusServiceUnavailable) })
	w.clock.add(time.Hour)
	if a := w.want(w.get("/npm/main/ours"), 200); strings.Contains(a.body, "9.9.9") {
		t.Error("a failing owner let the second registry in")
	}
	// An unknown name while the first cannot be asked is an error.
	second.Add(npmtest.Package{Name: "new", Version: "1.0.0"})
	if a := w.get("/npm/main/new"); a.status < 500 {
		t.Errorf("unknown at a failing first: %d %.100s", a.status, a.body)
	}
	// A name pinned to the second stays there when the first gets it later.
	up[0].heal()
	first.Add(npmtest.Package{Name: "theirs", Version: "6.6.6"})
	w.clock.add(time.Hour)
	if a := w.want(w.get("/npm/main/theirs"), 200); strings.Contains(a.body, "6.6.6") {
		t.Error("a pinned name changed its owner")
	}
}

func TestFullDiskStreamsThrough(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0", Files: big(3 << 20)})
	w, _ := newWorld(t, reg)
	w.want(w.get("/npm/main/x"), 200)
	w.free.Store(0)
	w.clock.add(time.Minute)
	for range 2 {
		a := w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
		if a.body != string(reg.Tarball("x", "1.0.0")) {
			t.Fatal("bytes differ")
		}
	}
	w.want(w.get("/-/readyz"), 503, "takes no new blobs")
	w.want(w.get("/-/healthz"), 200)
	w.free.Store(1 << 40)
	w.clock.add(time.Minute)
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	deadline := time.Now().Add(20 * time.Second)
	for w.get("/-/readyz").status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the node never became ready again")
		}
		w.clock.add(time.Minute)
	}
}

func TestPolicyStandsOnMetadataAndAssets(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0"}, npmtest.Package{Name: "x", Version: "2.0.0"}, npmtest.Package{Name: "@evil/y", Version: "1.0.0"})
	w, _ := newWorld(t, reg)
	w.want(w.get("/npm/main/x/-/x-2.0.0.tgz"), 200) // held before the rule
	w.want(w.get("/npm/main/x"), 200, "x-2.0.0.tgz")
	w.site.Rules = w.rules(policy.Config{Blocks: []policy.Block{
		{Format: "npm", Name: "x", Versions: []string{"2.0.0"}, Reason: "stolen token"}, {Format: "npm", Name: "@evil/*", Reason: "malware"}}})
	w.proxy.Reload(w.site)
	a := w.want(w.get("/npm/main/x"), 200, "x-1.0.0.tgz", `"latest":"1.0.0"`)
	if strings.Contains(a.body, "x-2.0.0.tgz") {
		t.Error("a blocked version is listed")
	}
	w.want(w.get("/npm/main/x/-/x-2.0.0.tgz"), 403, "stolen token")
	for _, p := range []string{"/npm/main/@evil%2fy", "/npm/main/@evil/y", "/npm/main/@evil/y/-/y-1.0.0.tgz", "/npm/main/@evil/y/1.0.0"} {
		w.want(w.get(p), 403, "malware")
	}
	w.want(w.get("/-/why?purl=pkg:npm/x@2.0.0"), 200, `"decision": "deny"`, "stolen token")
}

func TestHeadNeverWrites(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0"})
	w, up := newWorld(t, reg)
	a := w.want(w.do(http.MethodHead, "/npm/main/x/-/x-1.0.0.tgz"), 200)
	if a.header.Get("Content-Length") != fmt.Sprint(len(reg.Tarball("x", "1.0.0"))) {
		t.Errorf("HEAD length %s", a.header.Get("Content-Length"))
	}
	if w.store.Stats().Blobs != 0 {
		t.Error("HEAD stored a blob")
	}
	_ = up
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	h := w.want(w.do(http.MethodHead, "/npm/main/x/-/x-1.0.0.tgz"), 200)
	g := w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	for _, k := range []string{"Etag", "Content-Length", "Content-Type", "Last-Modified", "Accept-Ranges"} {
		if h.header.Get(k) != g.header.Get(k) || h.header.Get(k) == "" && k != "Last-Modified" {
			t.Errorf("%s: HEAD %q, GET %q", k, h.header.Get(k), g.header.Get(k))
		}
	}
}

func TestConditionsAndRanges(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0", Files: big(900 << 10)}, npmtest.Package{Name: "small", Version: "1.0.0"})
	w, _ := newWorld(t, reg)
	for _, p := range []string{"small", "x"} {
		path := "/npm/main/" + p + "/-/" + p + "-1.0.0.tgz"
		body := string(reg.Tarball(p, "1.0.0"))
		// While it fills, from the store, and hot.
		for round := range 3 {
			if round > 0 {
				w.want(w.get(path), 200)
			}
			a := w.want(w.get(path, "Range", "bytes=10-19"), 206)
			if a.body != body[10:20] || a.header.Get("Content-Range") != fmt.Sprintf("bytes 10-19/%d", len(body)) {
				t.Errorf("%s round %d: range gave %q %s", p, round, a.body, a.header.Get("Content-Range"))
			}
		}
		whole := w.want(w.get(path), 200)
		etag := whole.header.Get("Etag")
		if a := w.get(path, "If-None-Match", etag); a.status != 304 || a.body != "" {
			t.Errorf("%s: If-None-Match gave %d", p, a.status)
		}
		if a := w.get(path, "Range", "bytes=0-0", "If-Range", etag); a.status != 206 {
			t.Errorf("%s: If-Range with the right tag gave %d", p, a.status)
		}
		if a := w.get(path, "Range", "bytes=0-0", "If-Range", `"other"`); a.status != 200 || a.body != body {
			t.Errorf("%s: If-Range with another tag gave %d", p, a.status)
		}
		if a := w.get(path, "Range", "bytes=99999999-"); a.status != 416 {
			t.Errorf("%s: range beyond the end gave %d", p, a.status)
		}
		if whole.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", p, whole.header.Get("Cache-Control"))
		}
	}
	doc := w.want(w.get("/npm/main/x", "Accept-Encoding", "gzip"), 200)
	plain := w.want(w.get("/npm/main/x", "Accept-Encoding", "identity"), 200)
	if doc.header.Get("Etag") == plain.header.Get("Etag") || doc.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("codings share an ETag or gzip is missing: %v %v", doc.header, plain.header)
	}
	if a := w.get("/npm/main/x", "If-None-Match", plain.header.Get("Etag"), "Accept-Encoding", "identity"); a.status != 304 {
		t.Errorf("document 304: %d", a.status)
	}
}

// A document rendered for one base is never served under another.
func TestBasesAreSeparate(t *testing.T) {
	w, _ := newWorld(t, registry(npmtest.Package{Name: "x", Version: "1.0.0"}))
	for range 2 {
		for _, host := range []string{"one.example", "two.example:8080"} {
			rq, _ := http.NewRequest("GET", w.srv.URL+"/npm/main/x", nil)
			rq.Host = host
			resp, err := http.DefaultClient.Do(rq)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(body), "http://"+host+"/npm/main/x/-/x-1.0.0.tgz") {
				t.Errorf("%s: %s", host, body)
			}
		}
		a := w.want(w.get("/npm/d/main-000000000000/main/x"), 200)
		if !strings.Contains(a.body, "/npm/d/main-000000000000/main/x/-/x-1.0.0.tgz") {
			t.Errorf("domain form: %s", a.body)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	reg := registry(npmtest.Package{Name: "x", Version: "1.0.0", Files: big(700 << 10)})
	w, up := newWorld(t, reg)
	w.want(w.get("/npm/main/x"), 200)
	w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200)
	w.close()
	w.open()
	up[0].breakWith(nil, func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	w.want(w.get("/npm/main/x"), 200)
	if a := w.want(w.get("/npm/main/x/-/x-1.0.0.tgz"), 200); a.body != string(reg.Tarball("x", "1.0.0")) {
		t.Error("bytes differ after a restart")
	}
}

func TestOwnerThatIsGoneIsNamed(t *testing.T) {
	first, second := registry(npmtest.Package{Name: "x", Version: "1.0.0"}), registry(npmtest.Package{Name: "x", Version: "9.0.0"})
	w, _ := newWorld(t, first, second)
	w.want(w.get("/npm/main/x"), 200, "x-1.0.0.tgz")
	w.close()
	w.repos[len(w.repos)-1].Upstreams = []string{"b-registry-store"}
	w.open()
	w.want(w.get("/npm/main/x"), 404, "a-registry", "no longer reaches")
	w.want(w.get("/npm/main/x/-/x-9.0.0.tgz"), 404, "no longer reaches")
}
