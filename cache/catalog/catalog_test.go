package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/store"
	"larder/formats"
)

func open(t *testing.T) (*Catalog, *store.DB) {
	t.Helper()
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c, err := New(Config{Store: db, Domain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	return c, db
}

const at0 = "2026-11-01T00:00:00Z"

func at(d int) time.Time {
	t, _ := time.Parse(time.RFC3339, at0)
	return t.Add(time.Duration(d) * time.Hour)
}

func key(name string) ListingKey {
	return ListingKey{Place: ConnectionPlace("public:npmjs"), Format: "npm", Name: name}
}

// ver builds a version with one asset whose digest is made of one digit.
func ver(v string, digit int) *formats.Version {
	hex := fmt.Sprintf("%064d", digit)
	return &formats.Version{V: v, Raw: []byte(`{"v":"` + v + `"}`), Assets: []formats.Asset{{File: v + ".tgz", Digests: []formats.Digest{{Alg: formats.SHA256, Hex: hex}}}}}
}

func put(t *testing.T, c *Catalog, k ListingKey, when time.Time, vs ...*formats.Version) Change {
	t.Helper()
	ch, err := c.PutListing(k, HeadRow{Checked: when}, func(emit func(*formats.Version) error) (*formats.Head, error) {
		for _, v := range vs {
			if err := emit(v); err != nil {
				return nil, err
			}
		}
		return &formats.Head{Raw: []byte("{}"), Tags: map[string]string{"latest": "1"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestListingLife(t *testing.T) {
	c, _ := open(t)
	k := key("x")
	if _, err := c.Listing(k); !errors.Is(err, ErrNotFound) {
		t.Fatalf("empty: got %v", err)
	}
	gen := c.Gen("npm", "x").Load()
	if ch := put(t, c, k, at(0), ver("2.0.0", 2), ver("1.0.0", 1)); ch.Added != 2 {
		t.Fatalf("first: %+v", ch)
	}
	if c.Gen("npm", "x").Load() == gen {
		t.Error("a new listing must raise the generation")
	}
	if ch := put(t, c, k, at(1), ver("2.0.0", 2), ver("1.0.0", 1)); ch.Unchanged != 2 || ch.Updated != 0 {
		t.Errorf("same again: %+v", ch)
	}
	// 1.0.0 goes, 3.0.0 comes.
	if ch := put(t, c, k, at(2), ver("2.0.0", 2), ver("3.0.0", 3)); ch.Withdrawn != 1 || ch.Added != 1 {
		t.Errorf("withdrawal: %+v", ch)
	}
	l, err := c.Listing(k)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]formats.State{}
	for _, v := range l.Versions {
		states[v.V] = v.State
		if v.V == "2.0.0" && !v.FirstSeen.Equal(at(0)) {
			t.Errorf("first seen of 2.0.0 moved to %v", v.FirstSeen)
		}
	}
	if states["1.0.0"] != formats.Withdrawn || states["2.0.0"] != formats.Live || states["3.0.0"] != formats.Live {
		t.Errorf("states: %v", states)
	}
	// It comes back.
	put(t, c, k, at(3), ver("1.0.0", 1), ver("2.0.0", 2), ver("3.0.0", 3))
	if v, _ := c.Version(k.Place, "npm", "x", "1.0.0"); v.State != formats.Live || !v.FirstSeen.Equal(at(0)) {
		t.Errorf("returned version: %+v", v)
	}
	if err := c.RemoveListing(k, at(4)); err != nil {
		t.Fatal(err)
	}
	if h, _ := c.Head(k); h.Standing != Removed {
		t.Errorf("standing: %v", h.Standing)
	}
	withdrawn := 0
	if err := c.Ledger(0, func(_ uint64, e Entry) error {
		if e.Cause == CauseWithdrawn {
			withdrawn++
		}
		return nil
	}); err != nil || withdrawn != 4 {
		t.Errorf("ledger has %d withdrawals (%v), want 4", withdrawn, err)
	}
}

func TestParseFailureChangesNothing(t *testing.T) {
	c, _ := open(t)
	k := key("x")
	put(t, c, k, at(0), ver("1.0.0", 1))
	boom := errors.New("boom")
	_, err := c.PutListing(k, HeadRow{Checked: at(1)}, func(emit func(*formats.Version) error) (*formats.Head, error) {
		if err := emit(ver("9.0.0", 9)); err != nil {
			return nil, err
		}
		return nil, boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if _, err := c.Version(k.Place, "npm", "x", "9.0.0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed parse left a row: %v", err)
	}
	if h, _ := c.Head(k); !h.Checked.Equal(at(0)) {
		t.Errorf("a failed parse renewed the listing")
	}
}

func TestMutationOfAClaimIsRefused(t *testing.T) {
	c, _ := open(t)
	k := key("x")
	put(t, c, k, at(0), ver("1.0.0", 1))
	ch := put(t, c, k, at(1), ver("1.0.0", 7))
	if len(ch.Mutations) != 1 || ch.Mutations[0].File != "1.0.0.tgz" {
		t.Fatalf("mutations: %+v", ch.Mutations)
	}
	v, _ := c.Version(k.Place, "npm", "x", "1.0.0")
	if v.Assets[0].Digests[0].Hex != fmt.Sprintf("%064d", 1) {
		t.Errorf("the known digest was replaced: %v", v.Assets[0].Digests)
	}
}

func hold(t *testing.T, c *Catalog, db *store.DB, k AssetKey, body string) error {
	t.Helper()
	w, err := db.Create(context.Background(), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Release()
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	if err := c.PutAsset(b, k, formats.HeldAsset{File: k.File, Size: int64(len(body)), Digests: []formats.Digest{DigestOf(w.Sum())}, FirstSeen: at(0)}, CauseIngested); err != nil {
		return err
	}
	_, err = w.Commit(b)
	return err
}

func TestAssetIsImmutableAcrossEviction(t *testing.T) {
	c, db := open(t)
	k := AssetKey{ConnectionPlace("a"), "npm", "x", "1.0.0", "x.tgz"}
	if err := hold(t, c, db, k, "good"); err != nil {
		t.Fatal(err)
	}
	row, err := c.Asset(k)
	if err != nil || row.Evicted {
		t.Fatalf("%+v %v", row, err)
	}
	var mut *MutationError
	if err := hold(t, c, db, k, "evil"); !errors.As(err, &mut) {
		t.Fatalf("other bytes while held: %v", err)
	}
	sum, _ := SumOf(row.Digests)
	b := db.NewBatch()
	if !c.evict(sum, b) {
		t.Fatal("a cached blob must be evictable")
	}
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
	if db.HasBlob(sum) {
		t.Error("the last reference went, and the blob stayed")
	}
	if row, _ = c.Asset(k); !row.Evicted {
		t.Error("the row does not know of the eviction")
	}
	if err := hold(t, c, db, k, "evil"); !errors.As(err, &mut) {
		t.Errorf("other bytes after eviction: %v", err)
	}
	if err := hold(t, c, db, k, "good"); err != nil {
		t.Errorf("the same bytes after eviction: %v", err)
	}
	var causes []Cause
	if err := c.Ledger(0, func(_ uint64, e Entry) error {
		if e.Cause != CauseCommand {
			causes = append(causes, e.Cause)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(causes) != "[ingested refetched]" {
		t.Errorf("ledger: %v", causes)
	}
}

func TestHeldOnlyVersionsAppear(t *testing.T) {
	c, db := open(t)
	k := key("x")
	put(t, c, k, at(0), ver("1.0.0", 1))
	if err := hold(t, c, db, AssetKey{k.Place, "npm", "x", "0.9.0", "x-0.9.0.tgz"}, "old"); err != nil {
		t.Fatal(err)
	}
	l, err := c.Listing(k)
	if err != nil || len(l.Versions) != 2 {
		t.Fatalf("%+v %v", l, err)
	}
	last := l.Versions[1]
	if last.V != "0.9.0" || last.State != formats.Held || len(last.Held) != 1 {
		t.Errorf("held-only version: %+v", last)
	}
}

func TestDocumentReplacesBlob(t *testing.T) {
	c, db := open(t)
	putDoc := func(body string, immutable bool) (store.Sum, error) {
		w, err := db.Create(context.Background(), int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Release()
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
		sum := w.Sum()
		b := db.NewBatch()
		if err := c.PutDocument(b, ConnectionPlace("a"), "go", "latest", DocumentRow{Sum: sum[:], Size: int64(len(body)), Checked: at(0), Immutable: immutable}); err != nil {
			return sum, err
		}
		_, err = w.Commit(b)
		return sum, err
	}
	one, err := putDoc("one", false)
	if err != nil {
		t.Fatal(err)
	}
	two, err := putDoc("two", true)
	if err != nil {
		t.Fatal(err)
	}
	if db.HasBlob(one) || !db.HasBlob(two) {
		t.Errorf("after replacement: one %v, two %v", db.HasBlob(one), db.HasBlob(two))
	}
	var mut *MutationError
	if _, err := putDoc("three", true); !errors.As(err, &mut) {
		t.Errorf("an immutable document changed: %v", err)
	}
}

func TestOwnerIsPinnedOnce(t *testing.T) {
	c, _ := open(t)
	if _, ok, _ := c.Owner("main", "npm", "x"); ok {
		t.Fatal("owned from the start")
	}
	for _, p := range []string{"a", "b"} {
		if err := c.SetOwner("main", "npm", "x", ConnectionPlace(p)); err != nil {
			t.Fatal(err)
		}
	}
	if p, ok, _ := c.Owner("main", "npm", "x"); !ok || p != ConnectionPlace("a") {
		t.Errorf("got %v %v, want the first", p, ok)
	}
}

func TestNames(t *testing.T) {
	c, _ := open(t)
	for _, n := range []string{"a", "ab", "b"} {
		put(t, c, key(n), at(0), ver("1", 1))
	}
	var got []string
	err := c.Names(key("").Place, "npm", "a", func(n string, _ *HeadRow) bool { got = append(got, n); return true })
	if err != nil || fmt.Sprint(got) != "[ab b]" {
		t.Errorf("after a: %v %v", got, err)
	}
}

func TestGraph(t *testing.T) {
	conn := func(n, f string) Connection {
		return Connection{Connection: formats.Connection{Name: n}, Format: f}
	}
	conns := []Connection{conn("c1", "npm"), conn("c2", "npm"), conn("c3", "pypi")}
	g, err := NewGraph([]Repository{
		{Name: "main", Upstreams: []string{"team", "s2"}}, {Name: "team", Upstreams: []string{"s1", "s3"}},
		{Name: "s1", Connection: "c1"}, {Name: "s2", Connection: "c2", Offline: true}, {Name: "s3", Connection: "c3"},
	}, conns)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, c := range g.Connections("main", "npm") {
		got += fmt.Sprintf("%s/%v ", c.Name, c.Offline)
	}
	if got != "c1/false c2/true " {
		t.Errorf("depth first: %s", got)
	}
	for name, repos := range map[string][]Repository{
		"cycle":      {{Name: "aa", Upstreams: []string{"bb"}}, {Name: "bb", Upstreams: []string{"aa"}}},
		"unknown":    {{Name: "aa", Upstreams: []string{"zz"}}},
		"both":       {{Name: "aa", Connection: "c1", Upstreams: []string{"bb"}}, {Name: "bb"}},
		"twice":      {{Name: "aa"}, {Name: "aa"}},
		"name":       {{Name: "-a"}},
		"connection": {{Name: "aa", Connection: "nope"}},
		"eleven":     {{Name: "aa", Upstreams: make([]string, 11)}},
	} {
		if _, err := NewGraph(repos, conns); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReferencesMatchTheCounts(t *testing.T) {
	c, db := open(t)
	for i, body := range []string{"one", "two", "two", "three"} {
		if err := hold(t, c, db, AssetKey{ConnectionPlace("a"), "npm", "x", "1.0.0", fmt.Sprintf("%d.tgz", i)}, body); err != nil {
			t.Fatal(err)
		}
	}
	counts := map[store.Sum]int{}
	if err := c.references(func(s store.Sum) error { counts[s]++; return nil }); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	if len(counts) != 3 || total != 4 {
		t.Errorf("got %v, want 3 blobs with 4 references", counts)
	}
	rep, err := db.Check(context.Background(), nil)
	if err != nil || !rep.OK() {
		t.Errorf("check: %+v %v", rep, err)
	}
}

// TestListingIsOneMoment reads listings while versions are published and
// deleted: the tag names the last version, and every version has its file.
func TestListingIsOneMoment(t *testing.T) {
	s := newSite(t)
	s.setUp("r1")
	k := ListingKey{Place: RepositoryPlace("team", "r1"), Format: "npm", Name: "x"}
	if f := s.publish("r1", "x", "0", "bytes"); f != nil {
		t.Fatal(f)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l, err := s.c.Listing(k)
				if err != nil {
					t.Error(err)
					return
				}
				last := l.Versions[len(l.Versions)-1]
				if l.Row == nil || l.Row.Head.Tags["latest"] != last.V {
					t.Errorf("latest is %v where %s is the last version", l.Row, last.V)
					return
				}
				for _, v := range l.Versions {
					if len(v.Held) != 1 {
						t.Errorf("version %s has %d files", v.V, len(v.Held))
						return
					}
				}
			}
		})
	}
	for i := 1; i < 400; i++ {
		if f := s.publish("r1", "x", fmt.Sprint(i), "bytes"); f != nil {
			t.Error(f)
		}
		if i > 3 {
			s.must(&UpdateStatus{Repository: "r1", Format: "npm", Name: formats.Name{Canon: "x"}, Versions: []string{fmt.Sprint(i - 3)}, Target: formats.Deleted})
		}
	}
	close(stop)
	readers.Wait()
}
