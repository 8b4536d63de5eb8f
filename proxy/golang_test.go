package proxy_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"

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

// TestChecksumDatabaseHeals holds that wrong proofs are not kept under their
// immutable keys.
func TestChecksumDatabaseHeals(t *testing.T) {
	reg := golangtest.New()
	w, up := newGoWorld(t, reg)
	corrupt := func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		reg.ServeHTTP(rec, r)
		body, _ := io.ReadAll(rec.Body)
		body[len(body)/2] ^= 1
		rw.Write(body)
	}
	for _, part := range []string{"/tile/", "/lookup/"} {
		up.breakWith(func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }, corrupt)
		for _, path := range []string{"registry.example/plain/@v/v1.0.0.zip", "registry.example/plain/@v/v1.0.0.mod"} {
			if a := w.get("/go/main/" + path); a.status < 500 {
				t.Errorf("%s with a corrupt %s: %d", path, part, a.status)
			}
		}
		up.heal()
	}
	w.want(w.get("/go/main/registry.example/plain/@v/v1.0.0.zip"), 200)
	w.want(w.get("/go/main/registry.example/plain/@v/v1.0.0.mod"), 200)
}

// sumClient is a go command's view of the checksum database behind a node,
// with nothing known from before.
type sumClient struct {
	w      *world
	key    string
	latest []byte
}

func (c *sumClient) ReadRemote(path string) ([]byte, error) {
	a := c.w.get("/go/main/sumdb/" + golangtest.SumDBName + path)
	if a.status != 200 {
		return nil, fmt.Errorf("%s: %d %s", path, a.status, a.body)
	}
	return []byte(a.body), nil
}

func (c *sumClient) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(c.key), nil
	}
	return c.latest, nil
}

func (c *sumClient) WriteConfig(_ string, _, new []byte) error { c.latest = new; return nil }
func (*sumClient) ReadCache(string) ([]byte, error)            { return nil, fs.ErrNotExist }
func (*sumClient) WriteCache(string, []byte)                   {}
func (*sumClient) Log(string)                                  {}
func (c *sumClient) SecurityError(msg string)                  { c.w.t.Error(msg) }

// TestProofsOfferedOffline holds that lookups of different days can be proved
// against each other from what is held, in any order, though the node was
// restarted and the log filled tiles in between.
func TestProofsOfferedOffline(t *testing.T) {
	reg := golangtest.New()
	w, up := newGoWorld(t, reg)
	grow := func(n int) {
		if err := reg.Grow(n); err != nil {
			t.Fatal(err)
		}
	}
	mods := []string{golangtest.Plain + "@v1.0.0", golangtest.Plain + "@v1.2.0", golangtest.Major + "@v1.5.0", golangtest.Capital + "@v0.3.1"}
	for i, mod := range mods {
		grow([]int{200, 100, 2000, 257}[i])
		path, version, _ := strings.Cut(mod, "@")
		escaped, err := module.EscapePath(path)
		if err != nil {
			t.Fatal(err)
		}
		// What a client with a complete go.sum asks, and nothing more.
		w.want(w.get("/go/main/"+escaped+"/@v/"+version+".zip"), 200)
		w.close()
		w.open()
	}
	w.offline(true)
	asked := up.hits.Load()
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}} {
		client := sumdb.NewClient(&sumClient{w: w, key: reg.SumDBKey()})
		for _, i := range order {
			path, version, _ := strings.Cut(mods[i], "@")
			if _, err := client.Lookup(path, version); err != nil {
				t.Errorf("order %v: look %s up: %v", order, mods[i], err)
			}
		}
	}
	if n := up.hits.Load() - asked; n != 0 {
		t.Errorf("%d upstream requests offline", n)
	}
}
