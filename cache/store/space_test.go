package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// clock is a time that tests move.
type clock struct{ t atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.t.Store(1_700_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.Unix(c.t.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.t.Add(int64(d.Seconds())) }

// rowEvictor lets every blob go whose row "blob/<sum>" is not "hosted".
func rowEvictor(db *DB) func(Sum, *Batch) bool {
	return func(s Sum, b *Batch) bool {
		key := append([]byte("blob/"), s[:]...)
		val, err := db.Row(key)
		if err != nil || string(val) == "hosted" {
			return false
		}
		b.Delete(key)
		b.Unref(s)
		return true
	}
}

func putAs(t *testing.T, db *DB, data []byte, as string) Sum {
	t.Helper()
	return put(t, db, data, func(b *Batch, s Sum) { b.Set(append([]byte("blob/"), s[:]...), []byte(as)) })
}

// try writes a blob and returns the error of whatever failed.
func try(db *DB, data []byte, known bool) (err error) {
	size := int64(-1)
	if known {
		size = int64(len(data))
	}
	w, err := db.Create(context.Background(), size)
	if err != nil {
		return err
	}
	defer w.Release()
	if _, err := w.Write(data); err != nil {
		return err
	}
	b := db.NewBatch()
	s := w.Sum()
	b.Set(append([]byte("blob/"), s[:]...), []byte("cached"))
	b.Ref(s)
	_, err = w.Commit(b)
	return err
}

func TestEvictionKeepsBudget(t *testing.T) {
	const budget = 2 << 20
	clk := newClock()
	var evicted atomic.Int64
	db := open(t, Config{Disk: budget, InlineMax: 64 << 10, Now: clk.now, OnEvent: func(e Event) {
		if e.Kind == EventEvicted {
			evicted.Add(e.Bytes)
		}
	}})
	db.SetEvictor(rowEvictor(db))
	hosted := putAs(t, db, payload(1000, 200<<10), "hosted")
	pinned := putAs(t, db, payload(1001, 30<<10), "cached")
	commit(t, db, func(b *Batch) { b.Pin(pinned) })
	held := putAs(t, db, payload(1002, 100<<10), "cached")
	reader, err := db.OpenBlob(held)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var sums []Sum
	for i := range 120 {
		clk.advance(time.Minute)
		data := payload(uint64(i), 5<<10+i*1000)
		if err := try(db, data, i%2 == 0); err != nil {
			t.Fatalf("blob %d: %v", i, err)
		}
		sums = append(sums, Sum(sumOf(data)))
		if st := db.Stats(); st.InlineBytes+st.LargeBytes > budget {
			t.Fatalf("after blob %d: %d bytes, the budget is %d", i, st.InlineBytes+st.LargeBytes, budget)
		}
	}
	for name, s := range map[string]Sum{"hosted": hosted, "pinned": pinned, "held open": held} {
		if !db.HasBlob(s) {
			t.Errorf("the %s blob was evicted", name)
		}
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(reader, 0, reader.Size())); err != nil {
		t.Errorf("reading the blob held open: %v", err)
	}
	// The least recently used of samples went: nearly all of the old half,
	// hardly any of the newest.
	old, young := 0, 0
	for i, s := range sums {
		switch {
		case i < 50 && db.HasBlob(s):
			old++
		case i >= 110 && db.HasBlob(s):
			young++
		}
		_, err := db.Row(append([]byte("blob/"), s[:]...))
		if db.HasBlob(s) != (err == nil) {
			t.Fatalf("blob %d there: %v, its row: %v", i, db.HasBlob(s), err)
		}
	}
	if old > 5 || young < 8 {
		t.Errorf("%d of the 50 oldest and %d of the 10 newest are left", old, young)
	}
	if st := db.Stats(); st.Evictions == 0 || st.EvictedBytes != evicted.Load() || st.Full || st.Reserved != 0 {
		t.Errorf("stats %+v, events told of %d bytes", st, evicted.Load())
	}
	mustCheck(t, db)
}

// A blob used lately stays, also if that is known in memory only.
func TestTouchProtects(t *testing.T) {
	clk := newClock()
	db := open(t, Config{Disk: 1 << 20, Now: clk.now})
	db.SetEvictor(rowEvictor(db))
	first := putAs(t, db, payload(0, 100<<10), "cached")
	for i := range 40 {
		clk.advance(11 * time.Minute)
		db.Touch(first)
		if i%2 == 1 {
			if err := db.flushTouches(); err != nil {
				t.Fatal(err)
			}
		}
		if err := try(db, payload(uint64(i+1), 100<<10), true); err != nil {
			t.Fatal(err)
		}
		if !db.HasBlob(first) {
			t.Fatalf("evicted in round %d though just used", i)
		}
	}
	e, err := db.readEntry(first)
	if err != nil || e.accessed != unix(clk.now()) {
		t.Errorf("access time %d, want %d; %v", e.accessed, unix(clk.now()), err)
	}
	before := e.accessed
	clk.advance(9 * time.Minute)
	db.Touch(first)
	if err := db.flushTouches(); err != nil {
		t.Fatal(err)
	}
	if e, _ := db.readEntry(first); e.accessed != before {
		t.Errorf("rewritten after nine minutes")
	}
}

func TestFull(t *testing.T) {
	var mu sync.Mutex
	var kinds []EventKind
	db := open(t, Config{Disk: 1 << 20, OnEvent: func(e Event) {
		mu.Lock()
		kinds = append(kinds, e.Kind)
		mu.Unlock()
	}})
	db.SetEvictor(rowEvictor(db))
	a := putAs(t, db, payload(1, 500<<10), "hosted")
	if err := try(db, payload(2, 2<<20), true); !errors.Is(err, ErrFull) {
		t.Fatalf("a blob larger than the budget: %v", err)
	}
	putAs(t, db, payload(3, 240<<10), "hosted")
	if err := try(db, payload(4, 400<<10), true); !errors.Is(err, ErrFull) {
		t.Fatalf("nothing to evict: %v", err)
	}
	if st := db.Stats(); !st.Full || st.FullReason == "" || st.Reserved != 0 {
		t.Errorf("stats: full %v %q, %d reserved", st.Full, st.FullReason, st.Reserved)
	}
	// Of unknown length: what was written before stays readable.
	w, err := db.Create(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	data := payload(5, 1<<20)
	n, err := w.Write(data)
	if !errors.Is(err, ErrFull) || n == 0 || int64(n) != w.Size() {
		t.Fatalf("Write: %d bytes, %v; size %d", n, err, w.Size())
	}
	got := make([]byte, n)
	if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, data[:n]) {
		t.Errorf("ReadAt after ErrFull: %v", err)
	}
	if w.Sum() != Sum(sumOf(data[:n])) {
		t.Error("Sum is not of what was written")
	}
	if _, err := w.Commit(nil); !errors.Is(err, ErrFull) {
		t.Errorf("Commit after ErrFull: %v", err)
	}
	w.Release()
	commit(t, db, func(b *Batch) { b.Set([]byte("row"), []byte("still possible")) })
	// Room again, once something hosted is deleted.
	commit(t, db, func(b *Batch) { b.Unref(a); b.Delete(append([]byte("blob/"), a[:]...)) })
	if err := try(db, payload(4, 300<<10), true); err != nil {
		t.Fatalf("after a deletion: %v", err)
	}
	if db.Stats().Full {
		t.Error("still full")
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(kinds) != fmt.Sprint([]EventKind{EventFull, EventRoom}) {
		t.Errorf("events: %v", kinds)
	}
}

// An evictor may be wrong about the references of a blob: then it stays, and
// so do its rows.
func TestEvictorMistakes(t *testing.T) {
	db := open(t, Config{Disk: 1 << 20})
	data := payload(1, 600<<10)
	s := putAs(t, db, data, "cached")
	commit(t, db, func(b *Batch) { b.Ref(s) }) // a second one, which the evictor does not know
	db.SetEvictor(rowEvictor(db))
	if err := try(db, payload(2, 600<<10), true); !errors.Is(err, ErrFull) {
		t.Fatalf("evicted a blob that is referred to: %v", err)
	}
	if _, err := db.Row(append([]byte("blob/"), s[:]...)); err != nil {
		t.Errorf("its row: %v", err)
	}
	// References that change while the evictor decides.
	commit(t, db, func(b *Batch) { b.Unref(s) })
	db.evict.mu.Lock()
	db.evict.barren = time.Time{}
	db.evict.mu.Unlock()
	db.SetEvictor(func(v Sum, b *Batch) bool {
		ok := rowEvictor(db)(v, b)
		commit(t, db, func(b *Batch) { b.Ref(v); b.Set([]byte("other"), v[:]) })
		return ok
	})
	if err := try(db, payload(2, 600<<10), true); !errors.Is(err, ErrFull) {
		t.Fatalf("evicted a blob that got a reference meanwhile: %v", err)
	}
	if !bytes.Equal(read(t, db, s), data) {
		t.Error("other bytes")
	}
	mustCheck(t, db)
}

// Blobs are written, referred to, unreferred and evicted at the same time; a
// row is never without its blob.
func TestEvictionBesideReferences(t *testing.T) {
	db := open(t, Config{Disk: 150 << 10, InlineMax: 8 << 10})
	db.SetEvictor(func(s Sum, b *Batch) bool {
		for _, p := range []string{"blob/", "more/"} {
			key := append([]byte(p), s[:]...)
			if _, err := db.Row(key); err == nil {
				b.Delete(key)
				b.Unref(s)
			}
		}
		return true
	})
	var owner sync.Mutex // rows belong to one owner, who changes them one at a time
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 60 {
				data := payload(uint64(i%20), 2000+(i%20)*1000)
				s := Sum(sumOf(data))
				owner.Lock()
				if _, err := db.Row(append([]byte("blob/"), s[:]...)); errors.Is(err, ErrNotFound) {
					if err := try(db, data, true); err != nil {
						t.Errorf("goroutine %d, blob %d: %v", g, i, err)
					}
				}
				key := append([]byte("more/"), s[:]...)
				if _, err := db.Row(key); errors.Is(err, ErrNotFound) {
					b := db.NewBatch()
					b.Set(key, nil)
					b.Ref(s)
					if err := b.Commit(false); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
				owner.Unlock()
				if b, err := db.OpenBlob(s); err == nil {
					got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("blob %d: other bytes, %v", i, err)
					}
					b.Close()
				}
			}
		})
	}
	wg.Wait()
	for _, p := range []string{"blob/", "more/"} {
		if err := db.Rows([]byte(p), nil, func(k, _ []byte) error {
			if db.HasBlob(Sum(k[len(p):])) {
				return nil
			}
			// The scan is a snapshot and eviction ahead goes on beside it: only
			// a row that is there now is without its blob.
			if _, err := db.Row(k); !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("row %q without its blob (%v)", k, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	if db.Stats().Evictions == 0 {
		t.Error("nothing was evicted")
	}
	mustCheck(t, db)
}

// The reserve of the file system is kept: what the hook says is free shrinks
// and grows with the store.
func TestReserve(t *testing.T) {
	const total = 8 << 20
	clk := newClock()
	var opened atomic.Pointer[DB]
	var others atomic.Int64 // bytes that others take
	db := open(t, Config{Now: clk.now, Reserve: 2 << 20, FreeSpace: func(string) (int64, int64, error) {
		used := others.Load()
		if db := opened.Load(); db != nil {
			used += db.counts.Load().bytes()
		}
		return total - used, total, nil
	}, OnEvent: func(Event) {
		clk.advance(reclaimTime + time.Second) // nothing is on its way out any more
	}})
	opened.Store(db)
	db.SetEvictor(rowEvictor(db))
	for i := range 24 {
		clk.advance(10 * time.Second)
		if err := try(db, payload(uint64(i), 500<<10), i%2 == 0); err != nil {
			t.Fatalf("blob %d: %v", i, err)
		}
		if used := db.counts.Load().bytes(); used > 6<<20 {
			t.Fatalf("blob %d: %d bytes used, 6 MiB are ours", i, used)
		}
	}
	others.Store(total - 1<<20) // the disk fills up from elsewhere
	clk.advance(10 * time.Second)
	if err := try(db, payload(99, 500<<10), true); !errors.Is(err, ErrFull) {
		t.Fatalf("below the reserve: %v", err)
	}
	if n := db.Stats().Blobs; n != 0 {
		t.Errorf("%d blobs kept though the disk is full", n)
	}
	commit(t, db, func(b *Batch) { b.Set([]byte("row"), nil) })
	others.Store(0)
	clk.advance(10 * time.Second)
	if err := db.space.watch(db); err != nil {
		t.Fatal(err)
	}
	if db.Stats().Full {
		t.Error("still full")
	}
}

// When the file system has no byte left, the ballast lets the write through,
// blobs are refused, rows go on until nothing is left, and room ends it.
func TestNoSpaceLeft(t *testing.T) {
	var full atomic.Bool
	var free atomic.Int64
	free.Store(1 << 40)
	mem := vfs.NewMem()
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		if op.Kind == errorfs.OpRemove && mem.PathBase(op.Path) == ballastName {
			full.Store(false) // there is room now
		}
		return nil
	})
	clk := newClock()
	given := make(chan struct{}, 16) // the ballast was given up
	onEvent := func(e Event) {
		if e.Kind == EventNoSpace {
			given <- struct{}{}
		}
	}
	db := open(t, Config{Now: clk.now, OnEvent: onEvent, FS: errorfs.Wrap(mem, inject), FreeSpace: func(string) (int64, int64, error) {
		return free.Load(), 1 << 28, nil
	}})
	if err := db.space.watch(db); err != nil {
		t.Fatal(err)
	}
	ballast := db.ballastPath()
	if _, err := mem.Stat(ballast); err != nil {
		t.Fatalf("no ballast: %v", err)
	}
	free.Store(16 << 20) // too little for housekeeping to make the ballast anew
	full.Store(true)
	commit(t, db, func(b *Batch) { b.Set([]byte("row"), nil) })
	// Another write may be the one that met the end of the disk: its removal of the
	// ballast lets this one through before it is done.
	<-given
	if _, err := mem.Stat(ballast); err == nil {
		t.Error("the ballast is still there")
	}
	if err := try(db, payload(1, 300<<10), true); !errors.Is(err, ErrFull) {
		t.Errorf("a blob without space: %v", err)
	}
	if st := db.Stats(); !st.Full {
		t.Error("not full")
	}
	commit(t, db, func(b *Batch) { b.Set([]byte("row 2"), nil) })
	free.Store(1 << 20)
	clk.advance(2 * time.Second)
	b := db.NewBatch()
	b.Set([]byte("row 3"), nil)
	if err := b.Commit(true); !errors.Is(err, ErrFull) {
		t.Errorf("a row without space: %v", err)
	}
	commit(t, db, func(b *Batch) { b.Delete([]byte("row 2")) })
	free.Store(1 << 40)
	clk.advance(2 * time.Second)
	if err := db.space.watch(db); err != nil {
		t.Fatal(err)
	}
	if err := try(db, payload(1, 300<<10), true); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if _, err := mem.Stat(ballast); err != nil {
		t.Errorf("the ballast is not back: %v", err)
	}
}

// A writer whose table meets the end of the disk fails with ErrFull and leaves
// nothing behind.
func TestNoSpaceInTable(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewMem()
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite && mem.PathBase(mem.PathDir(op.Path)) == tempDir {
			return syscall.ENOSPC
		}
		return nil
	})
	db := open(t, Config{FS: errorfs.Wrap(mem, inject)})
	w, err := db.Create(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	data := payload(1, 3<<20)
	if _, err := w.Write(data[:1<<20]); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	n, err := w.Write(data[1<<20:])
	if err == nil {
		_, err = w.Commit(nil)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("Write: %d, %v", n, err)
	}
	got := make([]byte, 1<<20)
	if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, data[:1<<20]) {
		t.Errorf("ReadAt of what was written before: %v", err)
	}
	w.Release()
	full.Store(false)
	mustCheck(t, db)
	if db.Stats().Blobs != 0 {
		t.Error("a blob is there")
	}
}
