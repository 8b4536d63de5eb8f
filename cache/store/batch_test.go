package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func commit(t *testing.T, db *DB, fill func(*Batch)) {
	t.Helper()
	b := db.NewBatch()
	fill(b)
	if err := b.Commit(true); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// mustCheck fails if anything in the store is not as it should be.
func mustCheck(t *testing.T, db *DB) Report {
	t.Helper()
	r, err := db.Check(t.Context(), nil)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	if !r.OK() {
		t.Fatalf("Check: %+v", r.Problems)
	}
	return r
}

func TestRows(t *testing.T) {
	db := open(t, Config{})
	commit(t, db, func(b *Batch) {
		for _, k := range []string{"a/1", "a/2", "a/3", "b/1", "", "a", "a\xff", "\xff\xff"} {
			b.Set([]byte(k), []byte("v"+k))
		}
		b.Delete([]byte("a/2"))
	})
	for _, c := range []struct {
		prefix, after string
		nilAfter      bool
		want          string
	}{
		{"a/", "", true, "[a/1 a/3]"},
		{"a/", "a/1", false, "[a/3]"},
		{"a/", "a/3", false, "[]"},
		{"a/", "", false, "[a/1 a/3]"},
		{"a/", "Z", false, "[a/1 a/3]"},
		{"", "", true, "[ a a/1 a/3 a\xff b/1 \xff\xff]"},
		{"\xff", "", true, "[\xff\xff]"},
		{"c", "", true, "[]"},
	} {
		after := []byte(c.after)
		if c.nilAfter {
			after = nil
		}
		var got []string
		err := db.Rows([]byte(c.prefix), after, func(k, v []byte) error {
			if string(v) != "v"+string(k) {
				t.Errorf("value of %q is %q", k, v)
			}
			got = append(got, string(k))
			return nil
		})
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("Rows(%q, %q): %q, %v; want %q", c.prefix, c.after, got, err, c.want)
		}
	}
	commit(t, db, func(b *Batch) { b.DeletePrefix([]byte("a")) })
	if n, err := db.CountRows(t.Context(), nil); n != 3 || err != nil {
		t.Errorf("after DeletePrefix: %d rows, %v", n, err)
	}
	if _, err := db.Row([]byte("a/1")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Row of a deleted key: %v", err)
	}
	stop := 0
	if err := db.Rows(nil, nil, func(_, _ []byte) error { stop++; return ErrStop }); err != nil || stop != 1 {
		t.Errorf("ErrStop: %d calls, %v", stop, err)
	}
	other := errors.New("other")
	if err := db.Rows(nil, nil, func(_, _ []byte) error { return other }); !errors.Is(err, other) {
		t.Errorf("error of fn: %v", err)
	}
}

func TestRowsAcrossIterators(t *testing.T) {
	db := open(t, Config{})
	const n = 2*scanBatch + 10
	commit(t, db, func(b *Batch) {
		for i := range n {
			b.Set(fmt.Appendf(nil, "k%06d", i), nil)
		}
	})
	i := 0
	err := db.Rows([]byte("k"), nil, func(k, _ []byte) error {
		if want := fmt.Sprintf("k%06d", i); string(k) != want {
			return fmt.Errorf("got %q, want %q", k, want)
		}
		i++
		return nil
	})
	if err != nil || i != n {
		t.Fatalf("%d of %d rows: %v", i, n, err)
	}
}

func TestBatchMisuse(t *testing.T) {
	db := open(t, Config{})
	b := db.NewBatch()
	b.Set(bytes.Repeat([]byte("k"), maxKey+1), nil)
	if err := b.Commit(false); err == nil {
		t.Error("a key longer than allowed was accepted")
	}
	b = db.NewBatch()
	b.Set([]byte("k"), nil)
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(false); err == nil {
		t.Error("a batch was committed twice")
	}
}

func TestReferences(t *testing.T) {
	for _, size := range []int{100, 300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			db := open(t, Config{})
			s := put(t, db, payload(1, size), nil) // one reference
			commit(t, db, func(b *Batch) { b.Ref(s); b.Pin(s) })
			commit(t, db, func(b *Batch) { b.Unref(s) })
			if !db.HasBlob(s) {
				t.Fatal("gone with one of two references")
			}
			commit(t, db, func(b *Batch) { b.Unref(s) })
			if !db.HasBlob(s) {
				t.Fatal("gone though pinned")
			}
			if n := db.Stats().PinnedBlobs; n != 1 {
				t.Errorf("%d pinned blobs", n)
			}
			mustCheck(t, db)
			commit(t, db, func(b *Batch) { b.Unpin(s) })
			if db.HasBlob(s) {
				t.Fatal("there without reference and pin")
			}
			commit(t, db, func(b *Batch) { b.Unref(s); b.Unpin(s) }) // of nothing: no error
			for name, op := range map[string]func(*Batch){
				"Ref": func(b *Batch) { b.Ref(s) }, "Pin": func(b *Batch) { b.Pin(s) }, "Require": func(b *Batch) { b.Require(s) },
			} {
				b := db.NewBatch()
				b.Set([]byte("row"), nil)
				op(b)
				if err := b.Commit(true); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s of an absent blob: %v", name, err)
				}
			}
			if _, err := db.Row([]byte("row")); !errors.Is(err, ErrNotFound) {
				t.Errorf("row of a refused batch: %v", err)
			}
			if st := db.Stats(); st.Blobs != 0 || st.InlineBytes+st.LargeBytes != 0 || st.PinnedBlobs != 0 {
				t.Errorf("stats of an empty store: %+v", st)
			}
			mustCheck(t, db)
		})
	}
}

// A batch that was refused can be committed once its reason is gone.
func TestRefusedBatchCanBeRetried(t *testing.T) {
	db := open(t, Config{})
	data := payload(4, 1000)
	b := db.NewBatch()
	b.Set([]byte("row"), []byte("1"))
	s := Sum(sumOf(data))
	b.Ref(s)
	b.Ledger([]byte("entry"))
	if err := b.Commit(true); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Commit: %v", err)
	}
	put(t, db, data, nil)
	if err := b.Commit(true); err != nil {
		t.Fatalf("Commit again: %v", err)
	}
	if db.LedgerSeq() != 1 {
		t.Errorf("ledger at %d", db.LedgerSeq())
	}
}

func TestLedger(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, Config{FS: fs})
	if err := db.LedgerRange(0, func(uint64, []byte) error { return errors.New("called") }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				b := db.NewBatch()
				b.Ledger(fmt.Appendf(nil, "%d/%d/a", g, i))
				b.Ledger(fmt.Appendf(nil, "%d/%d/b", g, i))
				if err := b.Commit(false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Config{FS: fs})
	if got := db.LedgerSeq(); got != 400 {
		t.Fatalf("LedgerSeq %d after opening again, want 400", got)
	}
	commit(t, db, func(b *Batch) { b.Ledger([]byte("last")) })
	want, prev := uint64(1), ""
	err := db.LedgerRange(0, func(seq uint64, entry []byte) error {
		if seq != want {
			return fmt.Errorf("got number %d, want %d", seq, want)
		}
		if e := string(entry); seq%2 == 0 && e != prev[:len(prev)-1]+"b" {
			return fmt.Errorf("%q follows %q: entries of a batch are torn apart", e, prev)
		}
		want, prev = want+1, string(entry)
		return nil
	})
	if err != nil || want != 402 || prev != "last" {
		t.Fatalf("%v; next %d, last %q", err, want, prev)
	}
	n := 0
	if err := db.LedgerRange(398, func(uint64, []byte) error { n++; return nil }); err != nil || n != 3 {
		t.Fatalf("after 398: %d entries, %v", n, err)
	}
}

func FuzzParseEntry(f *testing.F) {
	e := entry{kind: kindLarge, id: 7, size: 1 << 40, created: 1, accessed: 2, refs: 3, pins: 4, gen: 5}
	f.Add(e.append(nil))
	f.Add([]byte{})
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err != nil {
			return
		}
		again, err := parseEntry(e.append(nil))
		if err != nil || again != e {
			t.Fatalf("%x: %+v is read again as %+v, %v", b, e, again, err)
		}
	})
}
