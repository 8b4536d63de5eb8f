package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"larder/cache/store"
	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
	"larder/formats/maven/maventest"
	"larder/formats/npm/npmtest"
	"larder/formats/pypi/pypitest"
	"larder/proxy"
)

// What an upstream sends in place of a listing: an error in the dialect when
// nothing is known, the known rows when something is, and never the body.
func TestBadListings(t *testing.T) {
	bomb := packedZeros(16 << 20)
	for _, e := range ecosystems(t) {
		w := newMixedWorld(t, []*ecosystem{e}, func(w *world) { w.limits = smallLimits })
		w.works(e)
		for _, c := range []struct {
			name    string
			fault   formattest.Fault
			replays bool // cuts what the registry says; its short 404 is still a 404
		}{
			{"a page with 200", formattest.HTML(), false},
			{"truncated, right length", formattest.Truncate(40), true},
			{"nothing, right length", formattest.Truncate(0), true},
			{"deep JSON", typed("application/json", strings.Repeat(`{"versions":`, 300_000)), false},
			{"deep list", typed("application/vnd.pypi.simple.v1+json", strings.Repeat(`[`, 900_000)), false},
			{"deep XML", typed("text/xml", "<metadata>"+strings.Repeat("<versioning>", 80_000)), false},
			{"entities", typed("text/xml", `<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><metadata><versioning><versions><version>&b;</version></versions></versioning></metadata>`), false},
			{"external entity", typed("text/xml", `<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><metadata><versioning><versions><version>&x;</version></versions></versioning></metadata>`), false},
			{"NUL bytes", typed("application/octet-stream", strings.Repeat("\x00", 4096)), false},
			{"another package", typed("application/json", `{"name":"another","versions":{"6.6.6":{"name":"another","version":"6.6.6"}}}`), false},
			{"false gzip", rawAnswer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nabcd"), false},
			{"gzip bomb", packedAnswer(bomb), false},
			{"endless", formattest.Endless([]byte(`{"name":"tiny-left","versions":{"1.0.0":`), "Content-Type", "application/json"), false},
			{"endless lines", formattest.Endless([]byte("v1.0.0\n"), "Content-Type", "text/plain"), false},
			{"endless blanks", formattest.Endless([]byte(" \n"), "Content-Type", "application/json"), false},
			{"reset", formattest.Reset(), false},
			{"redirect loop", formattest.RedirectLoop(), false},
			{"304 to a plain question", formattest.Status(304), false},
			{"204", formattest.Status(204), false},
			{"206", formattest.Status(206, "Content-Range", "bytes 0-3/4"), false},
			{"401", formattest.Status(401), false},
			{"403", formattest.Status(403), false},
			{"429", formattest.Status(429, "Retry-After", "100000"), false},
			{"503", formattest.Status(503, "Retry-After", "-5"), false},
			{"500", formattest.Status(500), false},
			{"not HTTP", rawAnswer("SSH-2.0-x\r\n\r\n"), false},
			{"header without end", rawAnswer("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 4<<20)), false},
		} {
			t.Run(e.format+"/"+c.name, func(t *testing.T) {
				w.t = t
				defer e.up.Heal()
				// Nothing is known of this name.
				e.up.Break(formattest.OnAny(), c.fault)
				before := e.up.Total()
				for range 3 {
					a := w.fetch(e, e.unknown)
					if msg := w.refused(e, a); a.status < 500 && !c.replays && c.name != "403" || strings.Contains(a.body, "Sign in") || strings.Contains(a.body, "root:") {
						t.Errorf("%d %s", a.status, msg)
					}
				}
				if n := e.up.Total() - before; n > 30 {
					t.Errorf("%d upstream requests for three questions", n)
				}
				e.up.Heal()
				w.clock.add(6 * time.Minute)
				if a := w.fetch(e, e.unknown); a.status != 404 {
					t.Errorf("healed: %d %.200s", a.status, a.body)
				}
				// Something is known: it stays.
				w.clock.add(time.Hour)
				e.up.Break(formattest.OnAny(), c.fault)
				before = e.up.Total()
				for range 20 {
					w.want(w.fetch(e, e.listing), 200, e.mark)
				}
				if n := e.up.Total() - before; n > 12 {
					t.Errorf("%d upstream requests for 20 stale answers", n)
				}
				if a := w.want(w.fetch(e, e.asset), 200); a.body != string(e.bytes()) {
					t.Error("bytes differ")
				}
				e.up.Heal()
				w.clock.add(6 * time.Minute)
				w.works(e)
			})
		}
	}
}

func typed(contentType, body string) formattest.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Content-Type", contentType)
		io.WriteString(rw, body)
	}
}

// packedZeros is n zeros packed a thousand times.
func packedZeros(n int64) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.CopyN(z, zeros{}, n)
	z.Close()
	return b.Bytes()
}

func packedAnswer(body []byte) formattest.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Write(body)
	}
}

// A listing of a gigabyte costs a bounded amount of memory, whatever it holds,
// and is refused by name of the limit.
func TestHugeListing(t *testing.T) {
	metadataMax := int64(16 << 20)
	if raceOn {
		metadataMax = 1 << 20
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is live, not what is garbage
	for _, c := range []struct{ format, kind, head, item string }{
		{"npm", "application/json", `{"name":"tiny-left","versions":{"0.0.0":{"name":"tiny-left","version":"0.0.0"}`, `,"1.0.%d":{"name":"tiny-left","version":"1.0.%[1]d","dist":{"tarball":"http://127.0.0.1/x-%[1]d.tgz","shasum":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}`},
		{"npm", "application/json", `{"name":"tiny-left","readme":"`, `%d xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`},
		{"pypi", "application/vnd.pypi.simple.v1+json", `{"meta":{"api-version":"1.1"},"name":"larder-apple","files":[{"filename":"larder_apple-0.tar.gz","url":"x","hashes":{}}`, `,{"filename":"larder_apple-1.%d.tar.gz","url":"larder_apple-1.%[1]d.tar.gz","hashes":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}`},
		{"maven", "text/xml", `<metadata><groupId>com.example.larder</groupId><artifactId>alpha</artifactId><versioning><versions>`, `<version>1.%d</version>`},
		{"go", "text/plain", "", "v1.0.%d\n"},
		{"cargo", "text/plain", "", `{"name":"tiny-core","vers":"1.0.%d","deps":[],"cksum":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","features":{},"yanked":false}` + "\n"},
	} {
		t.Run(c.format, func(t *testing.T) {
			var e *ecosystem
			for _, one := range ecosystems(t) {
				if one.format == c.format {
					e = one
				}
			}
			w := newMixedWorld(t, []*ecosystem{e}, limitsOf(func(l *proxy.Limits) { l.MetadataMax = metadataMax }))
			e.up.Break(e.onList, func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
				rw.Header().Set("Content-Type", c.kind)
				io.WriteString(rw, c.head)
				for i := 0; i < 1<<24; i++ {
					if _, err := fmt.Fprintf(rw, c.item, i); err != nil {
						return
					}
				}
			})
			runtime.GC()
			runtime.GC()
			var base runtime.MemStats
			runtime.ReadMemStats(&base)
			stop, peak := watchHeap()
			a := w.fetch(e, e.listing)
			stop()
			msg := w.refused(e, a)
			if a.status != 502 || !strings.Contains(msg, "limit") && !strings.Contains(msg, "valid") {
				t.Errorf("%d %s", a.status, msg)
			}
			grown := int64(peak.Load()) - int64(base.HeapAlloc)
			t.Logf("%.1f MiB of heap for a limit of %d MiB: %s", float64(grown)/(1<<20), metadataMax>>20, msg)
			if grown > 24*metadataMax && !raceOn {
				t.Errorf("the heap grew by %d MiB for a limit of %d MiB", grown>>20, metadataMax>>20)
			}
			e.up.Heal()
			w.works(e)
		})
	}
}

// watchHeap samples the heap until stop is called.
func watchHeap() (stop func(), peak *atomic.Uint64) {
	peak = new(atomic.Uint64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapAlloc))
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit); <-done }, peak
}

// mutate gives the asset's coordinate other bytes, as a registry must never do,
// metadata and all.
func (e *ecosystem) mutate() {
	other := append([]byte("changed"), e.bytes()...)
	switch r := e.registry.(type) {
	case *npmtest.Registry:
		r.Mutate(npmtest.Package{Name: "tiny-left", Version: "1.0.0", Files: map[string]string{"evil.js": "boo"}})
	case *pypitest.Registry:
		r.Mutate(r.Files("larder-apple")[0], other)
	case *maventest.Registry:
		r.Mutate("com/example/larder/alpha/1.0/alpha-1.0.jar", other)
	case *golangtest.Registry:
		r.Mutate(golangtest.Plain, "v1.0.0", "zip", other)
	case *cargotest.Registry:
		r.MutateIndex("tiny-core", "1.0.0", other)
	}
}

func (e *ecosystem) withdraw() {
	switch r := e.registry.(type) {
	case *npmtest.Registry:
		r.Unpublish("tiny-left", "1.0.0")
		r.Unpublish("tiny-left", "2.0.0")
	case *pypitest.Registry:
		r.Remove("larder-apple", "1.0")
		r.Remove("larder-apple", "1.1")
	case *maventest.Registry:
		r.RemoveVersion(maventest.Group, "alpha", "1.0")
		r.RemoveVersion(maventest.Group, "alpha", "1.1")
	case *golangtest.Registry:
		r.Withdraw(golangtest.Plain, "v1.0.0")
		r.Withdraw(golangtest.Plain, "v1.2.0")
	case *cargotest.Registry:
		r.Withdraw("tiny-core", "1.0.0")
		r.Withdraw("tiny-core", "1.2.0")
	}
}

// Other bytes under a known coordinate are refused, and the known ones stay,
// even when the copy was lost and has to be fetched again.
func TestChangedBytes(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			w := newMixedWorld(t, []*ecosystem{e}, nil)
			w.works(e)
			good := string(e.bytes())
			e.mutate()
			if string(e.bytes()) == good {
				t.Fatal("the registry did not change")
			}
			w.clock.add(time.Hour)
			for range 2 {
				w.want(w.fetch(e, e.listing), 200, e.mark)
				if a := w.want(w.fetch(e, e.asset), 200); a.body != good {
					t.Error("other bytes were served")
				}
			}
			if err := w.store.Drop(store.Sum(blobOf(good))); err != nil {
				t.Fatal(err)
			}
			w.close() // nothing stays in memory
			w.open()
			for range 2 {
				a := w.fetch(e, e.asset)
				if msg := w.refused(e, a); a.status != 502 {
					t.Errorf("the changed bytes: %d %s", a.status, msg)
				}
				w.clock.add(time.Minute)
			}
			if a := w.get("/-/metrics"); !regexp.MustCompile(`(?m)^larder_(mutations_total|verify_failures_total[^ ]*) [1-9]`).MatchString(a.body) {
				t.Error("no alarm was counted")
			}
		})
	}
}

// A version that its registry took back: what is held is served, what is not
// held is not found.
func TestRemovedVersions(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			w := newMixedWorld(t, []*ecosystem{e}, nil)
			w.works(e)
			good := string(e.bytes())
			e.withdraw()
			for range 3 {
				w.clock.add(time.Hour)
				w.want(w.fetch(e, e.listing), 200)
				if a := w.want(w.fetch(e, e.asset), 200); a.body != good {
					t.Error("bytes differ")
				}
				a := w.fetch(e, e.other)
				if msg := w.refused(e, a); a.status != 404 && a.status != 410 && a.status != 403 {
					t.Errorf("a version that is gone and not held: %d %s", a.status, msg)
				}
			}
		})
	}
}

// Clocks that are wrong on either side change no bytes and stop nothing.
func TestClockSkew(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			w := newMixedWorld(t, []*ecosystem{e}, nil)
			for _, date := range []string{"Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2999 23:59:59 GMT", "Sun, 00 Foo 0000 99:99:99 GMT", "-1", ""} {
				e.up.Break(formattest.OnAny(), func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
					rec := httptest.NewRecorder()
					next.ServeHTTP(rec, rq)
					maps.Copy(rw.Header(), rec.Result().Header)
					rw.Header().Set("Date", date)
					rw.Header().Set("Last-Modified", date)
					rw.Header().Set("Age", "-7")
					rw.Header().Set("Expires", date)
					rw.WriteHeader(rec.Code)
					rw.Write(rec.Body.Bytes())
				})
				w.close()
				w.fs = newMemFS()
				w.open()
				w.works(e)
				// The node's own clock is set back a day, then forward a year.
				for _, step := range []time.Duration{-24 * time.Hour, 366 * 24 * time.Hour, -30 * 24 * time.Hour} {
					w.clock.add(step)
					w.works(e)
					if a := w.fetch(e, e.listing); strings.HasPrefix(a.header.Get("Age"), "-") {
						t.Errorf("Age %s", a.header.Get("Age"))
					}
				}
				e.up.Heal()
			}
		})
	}
}

// Registries that tell no times are served as well.
func TestMissingTimes(t *testing.T) {
	for _, e := range ecosystems(t) {
		t.Run(e.format, func(t *testing.T) {
			if p, ok := e.registry.(*pypitest.Registry); ok {
				p.HTMLOnly(true)
			}
			strip := regexp.MustCompile(`,?"(time|modified|pubtime|Time|upload-time)":("[^"]*"|\{[^{}]*\})|<lastUpdated>[^<]*</lastUpdated>| 20\d\d-\S+Z`)
			w := newMixedWorld(t, []*ecosystem{e}, nil)
			e.up.Break(func(rq *http.Request) bool { return !e.onAsset(rq) }, func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
				rec := httptest.NewRecorder()
				rq.Header.Del("Accept-Encoding")
				next.ServeHTTP(rec, rq)
				maps.Copy(rw.Header(), rec.Result().Header)
				for _, k := range []string{"Last-Modified", "Date", "Etag", "Content-Length"} {
					rw.Header().Del(k)
				}
				rw.Header()["Date"] = nil
				rw.WriteHeader(rec.Code)
				rw.Write(strip.ReplaceAll(rec.Body.Bytes(), nil))
			})
			w.works(e)
			w.clock.add(time.Hour)
			w.works(e)
			w.offline(true)
			w.want(w.fetch(e, e.asset), 200)
		})
	}
}
