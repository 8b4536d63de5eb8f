package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"larder/formats/npm/npmtest"
)

// discard is a ResponseWriter that costs nothing of its own.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkHot is the cost of a warm request inside ServeHTTP, without the
// HTTP server around it.
func BenchmarkHot(b *testing.B) {
	w, _ := newBenchWorld(b)
	for _, path := range []string{"/npm/main/x", "/npm/main/x/-/x-1.0.0.tgz"} {
		b.Run(path, func(b *testing.B) {
			rq := httptest.NewRequest("GET", path, nil)
			rq.Header.Set("Accept-Encoding", "gzip")
			rq.Header.Set("User-Agent", "npm/11.0.0")
			for range 3 {
				w.proxy.ServeHTTP(&discard{http.Header{}}, rq)
			}
			d := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(d.h)
				w.proxy.ServeHTTP(d, rq)
			}
		})
	}
}

func newBenchWorld(b *testing.B) (*world, []*faulty) {
	return newWorld(b, registry(npmtest.Package{Name: "x", Version: "1.0.0"}))
}
