package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/formats/golang"
	"larder/formats/golang/golangtest"
)

// newGoWorld is a node over one module proxy whose checksum database it knows.
func newGoWorld(t *testing.T, reg *golangtest.Registry) (*world, *faulty) {
	w, up := newWorldOf(t, "go", reg)
	w.close()
	w.catConns[0].Options = map[string]string{golang.OptSumDB: reg.SumDBKey()}
	w.open()
	return w, up[0]
}

func TestUnknownToChecksumDatabase(t *testing.T) {
	reg, other := golangtest.New(), golangtest.New()
	other.Add("registry.example/inner", "v1.0.0", time.Unix(0, 0), map[string]string{"go.mod": "module registry.example/inner\n", "a.go": "package inner\n"})
	w, up := newGoWorld(t, reg)
	up.breakWith(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/registry.example/inner/") }, other.ServeHTTP)
	for range 2 {
		w.want(w.get("/go/main/registry.example/inner/@v/v1.0.0.zip"), 404, "does not know registry.example/inner@v1.0.0", "nosumdb")
	}
}
