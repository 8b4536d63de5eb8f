package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// spoil changes what is in the database behind the store's back.
func spoil(t *testing.T, db *DB, fill func(*pebble.Batch) error) {
	t.Helper()
	pb := db.pebble.NewBatch()
	if err := fill(pb); err != nil {
		t.Fatal(err)
	}
	if err := db.pebble.Apply(pb, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// healthy fills a store with a few of everything.
func healthy(t *testing.T, cfg Config) (db *DB, small, large Sum) {
	t.Helper()
	db = open(t, cfg)
	db.SetEvictor(rowEvictor(db))
	db.SetReferences(func(emit func(Sum) error) error {
		return db.Rows([]byte("blob/"), nil, func(k, _ []byte) error { return emit(Sum(k[len("blob/"):])) })
	})
	for i := range 20 {
		putAs(t, db, payload(uint64(i), 50+i*100), "cached")
	}
	small = putAs(t, db, payload(100, 3000), "cached")
	large = putAs(t, db, payload(101, 2*chunkSize+5), "cached")
	commit(t, db, func(b *Batch) { b.Ledger([]byte("one")); b.Ledger([]byte("two")) })
	return db, small, large
}

func TestCheckFinds(t *testing.T) {
	entryOf := func(t *testing.T, db *DB, s Sum) entry {
		t.Helper()
		e, err := db.readEntry(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, db *DB, small, large Sum) func(*pebble.Batch) error
		want  string // in the problem
		heals bool   // GC puts it right
	}{
		{"small bytes changed", func(t *testing.T, db *DB, small, _ Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, small)
			return func(pb *pebble.Batch) error {
				return pb.Set(idKey(preInline, e.id), append(small[:], payload(1, 3000)...), nil)
			}
		}, "digest is", false},
		{"small bytes short", func(t *testing.T, db *DB, small, _ Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, small)
			return func(pb *pebble.Batch) error { return pb.Set(idKey(preInline, e.id), small[:], nil) }
		}, "chunk of 32 bytes", false},
		{"small bytes gone", func(t *testing.T, db *DB, small, _ Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, small)
			return func(pb *pebble.Batch) error { return pb.Delete(idKey(preInline, e.id), nil) }
		}, "bytes are missing", false},
		{"chunk changed", func(t *testing.T, db *DB, _, large Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, large)
			return func(pb *pebble.Batch) error { return pb.Set(chunkKey(e.id, 2), []byte("other"), nil) }
		}, "digest is", false},
		{"chunk gone", func(t *testing.T, db *DB, _, large Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, large)
			return func(pb *pebble.Batch) error { return pb.Delete(chunkKey(e.id, 1), nil) }
		}, "bytes are missing", false},
		{"large blob gone", func(t *testing.T, db *DB, _, large Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, large)
			return func(pb *pebble.Batch) error { return deleteBytes(pb, garbage{kindLarge, e.id, e.size}) }
		}, "bytes are missing", false},
		{"entry gone", func(t *testing.T, db *DB, small, _ Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error { return pb.Delete(indexKey(small), nil) }
		}, "not in the index", false},
		{"orphan chunks", func(*testing.T, *DB, Sum, Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error { return pb.Set(chunkKey(5, 0), []byte("left"), nil) }
		}, "belong to no blob", true},
		{"small bytes without entry", func(*testing.T, *DB, Sum, Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error { return pb.Set(idKey(preInline, 1<<40), make([]byte, 40), nil) }
		}, "not in the index", true},
		{"totals", func(*testing.T, *DB, Sum, Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error { return nil }
		}, "the index adds up to", true},
		{"too many references", func(t *testing.T, db *DB, small, _ Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, small)
			e.refs = 2
			return func(pb *pebble.Batch) error { return pb.Set(indexKey(small), e.append(nil), nil) }
		}, "2 references counted, 1 rows", true},
		{"too few references", func(t *testing.T, db *DB, _, large Sum) func(*pebble.Batch) error {
			e := entryOf(t, db, large)
			e.refs = 0
			return func(pb *pebble.Batch) error { return pb.Set(indexKey(large), e.append(nil), nil) }
		}, "0 references counted, 1 rows", true},
		{"row without blob", func(*testing.T, *DB, Sum, Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error {
				return pb.Set(rowKey(append([]byte("blob/"), make([]byte, 32)...)), nil, nil)
			}
		}, "1 rows refer to it and it is not there", false},
		{"ledger", func(*testing.T, *DB, Sum, Sum) func(*pebble.Batch) error {
			return func(pb *pebble.Batch) error { return pb.Delete(ledgerKey(1), nil) }
		}, "ledger has no entries between 0 and 2", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, small, large := healthy(t, Config{})
			mustCheck(t, db)
			spoil(t, db, c.spoil(t, db, small, large))
			if c.name == "totals" {
				db.commit.Lock()
				db.commit.usage.largeBytes += 7
				db.commit.Unlock()
			}
			r, err := db.Check(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, p := range r.Problems {
				found = found || strings.Contains(p.Detail, c.want)
			}
			if !found {
				t.Fatalf("problems %+v, want one with %q", r.Problems, c.want)
			}
			if c.heals {
				if _, err := db.GC(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				mustCheck(t, db)
			}
		})
	}
}

func TestCheckReports(t *testing.T) {
	db, _, _ := healthy(t, Config{})
	var last Progress
	phases := map[string]bool{}
	r, err := db.Check(t.Context(), func(p Progress) {
		phases[p.Phase] = true
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Blobs != 22 || r.Rows != 22 || r.Ledger != 2 || r.Bytes != db.counts.Load().bytes() {
		t.Errorf("report: %+v", r)
	}
	if len(phases) != 8 || last.Bytes != r.Bytes {
		t.Errorf("phases %v, last %+v", phases, last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Check(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Check of a cancelled context: %v", err)
	}
}

func TestScrubDropsCorrupt(t *testing.T) {
	var dropped []Sum
	db, small, large := healthy(t, Config{OnEvent: func(e Event) {
		if e.Kind == EventDropped {
			dropped = append(dropped, e.Sum)
		}
	}})
	hosted := putAs(t, db, payload(200, 2000), "hosted")
	for _, s := range []Sum{small, large, hosted} {
		e, _ := db.readEntry(s)
		key := idKey(preInline, e.id)
		if e.kind == kindLarge {
			key = chunkKey(e.id, 1)
		}
		val, err := db.get(key)
		if err != nil {
			t.Fatal(err)
		}
		val[len(val)-1] ^= 1
		spoil(t, db, func(pb *pebble.Batch) error { return pb.Set(key, val, nil) })
	}
	r, err := db.Scrub(t.Context(), 1<<30, nil)
	if err != nil || len(r.Problems) != 3 || r.Removed != 3 || len(dropped) != 3 {
		t.Fatalf("Scrub: %+v, %v; dropped %v", r, err, dropped)
	}
	for _, s := range []Sum{small, large} { // gone with their rows
		if _, err := db.Row(append([]byte("blob/"), s[:]...)); !errors.Is(err, ErrNotFound) || db.HasBlob(s) {
			t.Errorf("blob there: %v, row: %v", db.HasBlob(s), err)
		}
	}
	// A hosted one keeps its row and its references, and is not found until
	// it is committed again.
	if _, err := db.OpenBlob(hosted); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenBlob of a dropped blob: %v", err)
	}
	if st := db.Stats(); st.MissingBlobs != 1 || st.Scrub.Corrupt != 3 || st.Scrub.Last.IsZero() {
		t.Errorf("stats: %+v", st)
	}
	w, err := db.Create(t.Context(), 2000)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(payload(200, 2000))
	if _, err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	w.Release()
	if !bytes.Equal(read(t, db, hosted), payload(200, 2000)) {
		t.Error("other bytes after healing")
	}
	mustCheck(t, db)
	if r, err := db.Scrub(t.Context(), 0, nil); err != nil || !r.OK() || r.Blobs != 21 {
		t.Errorf("second Scrub: %+v, %v", r, err)
	}
}

// A flipped bit in a table on a real disk is found by its block checksum. It
// does not keep the store from opening, nor other blobs from being read.
func TestScrubFindsFlippedBit(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(small, large []byte) []byte // where the bit is
	}{
		{"first chunk", func(_, large []byte) []byte { return large[100:200] }},
		{"second chunk", func(_, large []byte) []byte { return large[chunkSize+100 : chunkSize+200] }},
		{"last chunk", func(_, large []byte) []byte { return large[2*chunkSize:] }},
		{"small blob", func(small, _ []byte) []byte { return small[1000:1100] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			db, small, large := healthy(t, Config{Dir: dir, FS: vfs.Default})
			bad := large
			if c.name == "small blob" {
				bad = small
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			flipBit(t, filepath.Join(dir, "pebble", "*.sst"), c.at(payload(100, 3000), payload(101, 2*chunkSize+5)))
			db = open(t, Config{Dir: dir, FS: vfs.Default})
			db.SetEvictor(rowEvictor(db))
			b, err := db.OpenBlob(bad)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.WriteTo(new(bytes.Buffer)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("WriteTo: %v", err)
			}
			b.Close()
			if r, err := db.Check(t.Context(), nil); err != nil || r.OK() {
				t.Errorf("Check: %+v, %v", r, err)
			}
			r, err := db.Scrub(t.Context(), 0, nil)
			if err != nil || r.OK() || db.HasBlob(bad) {
				t.Fatalf("Scrub: %+v, %v; there: %v", r, err, db.HasBlob(bad))
			}
			if bad == large {
				mustCheck(t, db)
				if len(r.Problems) != 1 {
					t.Errorf("Scrub: %+v", r.Problems)
				}
			}
		})
	}
}

// flipBit changes one bit where mark begins in one of the files.
func flipBit(t *testing.T, pattern string, mark []byte) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, mark); i >= 0 {
			data[i] ^= 1
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("not found in %v", names)
}

func TestGC(t *testing.T) {
	clk := newClock()
	db, small, _ := healthy(t, Config{Now: clk.now})
	var loose []Sum
	for i := range 3 { // committed, never referred to
		w, err := db.Create(t.Context(), -1)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(payload(uint64(300+i), 1+i*300<<10))
		s, err := w.Commit(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Release()
		loose = append(loose, s)
	}
	commit(t, db, func(b *Batch) { b.Pin(loose[0]) })
	if r, err := db.GC(t.Context(), nil); err != nil || r.Removed != 0 {
		t.Fatalf("GC took what is young: %+v, %v", r, err)
	}
	clk.advance(graceTime + time.Second)
	phases := 0
	r, err := db.GC(t.Context(), func(Progress) { phases++ })
	if err != nil || r.Removed != 2 || r.Repaired != 0 || phases < 6 {
		t.Fatalf("GC: %+v, %v; %d phases", r, err, phases)
	}
	if !db.HasBlob(loose[0]) || db.HasBlob(loose[1]) || db.HasBlob(loose[2]) || !db.HasBlob(small) {
		t.Error("GC took something else")
	}
	mustCheck(t, db)
}

// The layout of what is stored is fixed: another version must read it.
func TestLayout(t *testing.T) {
	db := open(t, Config{})
	s := put(t, db, []byte("hello"), func(b *Batch, s Sum) {
		b.Set([]byte("row"), []byte("value"))
		b.Ledger([]byte("entry"))
	})
	var got []string
	err := db.scan([]byte{0}, []byte{0xff}, func(k, v []byte) error {
		if k[0] != preMeta {
			got = append(got, fmt.Sprintf("%q=%d", k[0], len(v)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("['i'=%d 'l'=5 'n'=37 'r'=5]", len((&entry{kind: kindInline, size: 5, created: 1.7e9, accessed: 1.7e9}).append(nil))); fmt.Sprint(got) != want {
		t.Errorf("keys %v, want %s", got, want)
	}
	if db.pebble.FormatMajorVersion() != formatVersion {
		t.Errorf("format %v", db.pebble.FormatMajorVersion())
	}
	_ = s
}
