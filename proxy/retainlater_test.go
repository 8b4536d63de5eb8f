package proxy

import (
	"net/http/httptest"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/formats/npm"
)

// TestLostRetentionIsTriedAgain: where the queue is full the kept answer becomes
// void, since the express lane retains nothing.
func TestLostRetentionIsTriedAgain(t *testing.T) {
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cat, err := catalog.New(catalog.Config{Store: db, Domain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{cfg: Config{Catalog: cat, Store: db}, retentions: make(chan retention)} // nobody takes anything from it
	s.metrics = newMetrics(prometheus.NewRegistry(), s)
	x := &exchange{s: s, r: httptest.NewRequest("GET", "/npm/rr-a/x/-/x-1.0.0.tgz", nil), format: npm.New(), domain: "main", repo: "rr-a",
		target: formats.Target{Kind: formats.KindAsset, Fresh: formats.Immutable, Name: formats.Name{Canon: "x"}, Version: "1.0.0", File: "x-1.0.0.tgz"}}
	from := supplier{place: catalog.RepositoryPlace("main", "rr-b"), repo: "rr-b"}
	gen := cat.Gen("npm", "x")
	was := gen.Load()
	x.retain(from, &found{key: catalog.AssetKey{Place: from.place, Format: "npm", Name: "x", Version: "1.0.0", File: "x-1.0.0.tgz"}})
	if gen.Load() == was {
		t.Error("the kept answer stands although nothing was retained")
	}
	s.Settle()
}
