package catalog

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/store"
	"larder/formats"
)

// BenchmarkPackages reads pages of a hundred out of 100,000 packages: the first,
// one in the middle, and the last must cost the same.
func BenchmarkPackages(b *testing.B) {
	const packages, page = 100_000, 100
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	c, err := New(Config{Store: db, Domain: "main"})
	if err != nil {
		b.Fatal(err)
	}
	place := RepositoryPlace("main", "r1")
	name := func(i int) string { return fmt.Sprintf("package-%06d", i) }
	batch := db.NewBatch()
	for i := range packages {
		n := formats.Name{Canon: name(i)}
		if err := c.set(batch, c.packageKey(place, "npm", n.Canon), &Package{Format: "npm", Name: n, Created: at(0), Publish: Allow, Upstream: Block}); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			if err := batch.Commit(false); err != nil {
				b.Fatal(err)
			}
			batch = db.NewBatch()
		}
	}
	for _, from := range []struct {
		name  string
		first int
	}{{"first", 0}, {"middle", packages / 2}, {"last", packages - page}} {
		b.Run(from.name, func(b *testing.B) {
			after := ""
			if from.first > 0 {
				after = name(from.first - 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				err := c.Packages(place, "npm", "npm", after, func(p *Package) bool {
					if n == 0 && p.Name.Canon != name(from.first) {
						b.Fatalf("the page begins with %s", p.Name.Canon)
					}
					n++
					return n < page
				})
				if err != nil || n != page {
					b.Fatal(n, err)
				}
			}
		})
	}
}
