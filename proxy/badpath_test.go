package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"larder/formats/formattest"
)

// The group "Paths" of the bad-input list, for every format and in every place
// of a path: a clear error in the client's dialect, the upstream is never asked,
// nothing is written beside the store, and what is good goes on being served.
func TestBadPaths(t *testing.T) {
	all := ecosystems(t)
	w := newMixedWorld(t, all, onDisk)
	for _, spelling := range []struct{ name, path string }{
		{"dots with an encoded slash", "..%2f..%2f..%2fetc%2fpasswd"},
		{"dots, upper case", "..%2F..%2Fetc%2Fpasswd"},
		{"encoded dots", "%2e%2e/%2e%2e/%2e%2e/etc/passwd"},
		{"half encoded dots", ".%2e/%2e./etc/passwd"},
		{"plain dots", "../../../etc/passwd"},
		{"double encoding", "%252e%252e%252f%252e%252e%252fetc%252fpasswd"},
		{"triple encoding", "%25252e%25252e%25252fetc"},
		{"encoded slashes before dots", "%2F%2F..%2F..%2Fetc%2Fpasswd"},
		{"absolute", "%2fetc%2fpasswd"},
		{"backslashes", `..\..\etc\passwd`},
		{"encoded backslashes", "..%5c..%5cetc%5cpasswd"},
		{"NUL", "x%00.tgz"},
		{"encoded NUL twice", "x%2500.tgz"},
		{"overlong dot and slash", "%c0%ae%c0%ae%c0%af%c0%ae%c0%ae%c0%afetc"},
		{"overlong, three bytes", "%e0%80%ae%e0%80%ae%e0%80%afetc"},
		{"surrogate", "%ed%a0%80"},
		{"not UTF-8", "%ff%fe"},
		{"empty segment", "x//y"},
		{"empty segments first", "//x"},
		{"trailing dot", "x./y"},
		{"trailing dot at the end", "x."},
		{"trailing space", "x%20/y"},
		{"leading space", "%20x"},
		{"segment of 8 KiB", strings.Repeat("a", 8<<10)},
		{"segment of 64 KiB less the rest", strings.Repeat("a", 60<<10)},
		{"CRLF", "x%0d%0aSet-Cookie:%20a=b"},
		{"escape sequence", "x%1b%5b31m"},
		{"C1 control", "%c2%9b31m"},
		{"broken escape", "x%zz"},
		{"cut escape", "x%2"},
	} {
		t.Run(spelling.name, func(t *testing.T) {
			w.t = t
			for _, e := range all {
				dir := e.asset[:strings.LastIndexByte(e.asset, '/')+1]
				for _, target := range []string{e.path(spelling.path), e.path(dir + spelling.path), e.path(spelling.path + "/" + e.asset), e.path(e.listing + "/" + spelling.path)} {
					a := w.rawGet(target)
					if spelling.name == "broken escape" || spelling.name == "cut escape" {
						// net/http refuses these itself, before there is a dialect.
						if a.status != http.StatusBadRequest {
							t.Errorf("%s: %.80q: %d", e.format, target, a.status)
						}
						continue
					}
					w.refused(e, a)
					if a.status != 400 && a.status != 404 && a.status != 414 {
						t.Errorf("%s: %.80q: %d %.200q", e.format, target, a.status, a.body)
					}
					if strings.Contains(a.body, "root:") || a.header.Get("Set-Cookie") != "" {
						t.Errorf("%s: %.80q gave %v %.200q", e.format, target, a.header, a.body)
					}
				}
				if n := e.up.Total(); n != 0 {
					t.Errorf("%s: the upstream was asked: %+v", e.format, e.up.Requests())
				}
			}
		})
	}
	w.t = t
	for _, e := range all {
		w.works(e)
	}
}

// A name has one spelling for storage: what looks alike is never served for it.
func TestTwinNames(t *testing.T) {
	all := ecosystems(t)
	w := newMixedWorld(t, all, onDisk)
	for _, e := range all {
		w.works(e)
		for _, twin := range []string{"caf%c3%a9", "cafe%cc%81", "%ef%bd%94iny-left", "tiny%e2%80%8b-left", "tiny%e2%80%90left", "%d1%82iny-left"} {
			for _, target := range []string{e.path(twin), e.path(strings.Replace(e.listing, "tiny-left", twin, 1) + twin), e.path(e.asset + twin)} {
				if a := w.rawGet(target); a.status != 400 && a.status != 404 && a.status != 501 {
					t.Errorf("%s: %s: %d %.100q", e.format, target, a.status, a.body)
				} else {
					w.refused(e, a)
				}
			}
		}
		w.works(e)
	}
}

// npm's clients send scoped names with and without an encoded slash; both are
// one package, and policy and store see one name.
func TestScopedNameSpellings(t *testing.T) {
	all := ecosystems(t)[:1]
	w := newMixedWorld(t, all, onDisk)
	e := all[0]
	var first string
	for _, spelled := range []string{"@tiny%2fcore", "@tiny%2Fcore", "@tiny/core", "%40tiny%2fcore", "%40tiny/core"} {
		a := w.want(w.rawGet(e.path(spelled)), 200, "core-1.0.0.tgz")
		if first == "" {
			first = a.body
		}
		if a.body != first {
			t.Errorf("%s differs", spelled)
		}
	}
	for _, spelled := range []string{"@tiny/core/-/core-1.0.0.tgz", "@tiny%2fcore/-/core-1.0.0.tgz"} {
		w.want(w.rawGet(e.path(spelled)), 200)
	}
	if n := e.up.Total(); n != 2 {
		t.Errorf("%d upstream requests, want 2: %+v", n, e.up.Requests())
	}
	for _, spelled := range []string{"@tiny%252fcore", "@tiny%2f%2fcore", "@tiny%2fcore%2f..%2fx", "@tiny%2f..%2ftiny-left", "@tiny", "@/core", "@tiny/", "@%2fcore"} {
		w.refused(e, w.rawGet(e.path(spelled)))
	}
}

// A HEAD or GET of what looks like a directory stores nothing, whatever page the
// upstream has there.
func TestDirectories(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			w := newMixedWorld(t, []*ecosystem{e}, onDisk)
			heal := e.up.Break(func(rq *http.Request) bool { return strings.HasSuffix(rq.URL.Path, "/") && !e.onList(rq) }, formattest.HTML())
			for _, dir := range e.root {
				for _, method := range []string{"HEAD", "GET", "HEAD"} {
					a := w.do(method, e.path(dir), "Accept", "*/*")
					if strings.Contains(a.body, "Sign in") {
						t.Errorf("%s %q passed the upstream's page on", method, dir)
					}
				}
			}
			// Cargo keeps what its registry's config.json says: a document, not a page.
			if n := w.store.Stats().Blobs; n > 1 || n == 1 && e.format != "cargo" {
				t.Errorf("%d blobs stored", n)
			}
			heal()
			if h := w.do("HEAD", e.path(e.asset)); h.status != 200 || h.body != "" {
				t.Errorf("HEAD of the asset: %d %q", h.status, h.body)
			}
			w.works(e)
		})
	}
}
