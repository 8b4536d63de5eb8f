package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/store"
	"larder/formats"
)

// larder is a Cache over a real store, with a catalogue of one row per name.
type larder struct {
	t    testing.TB
	fs   vfs.FS
	full atomic.Bool
	db   *store.DB
	c    *Cache
	log  events
}

func newLarder(t testing.TB) *larder {
	l := &larder{t: t, fs: vfs.NewMem()}
	l.open()
	t.Cleanup(l.shut)
	return l
}

func (l *larder) open() {
	l.t.Helper()
	db, err := store.Open(store.Config{
		Dir: "store", FS: l.fs, Reserve: 1 << 20, BlockCache: 8 << 20,
		FreeSpace: func(string) (int64, int64, error) {
			if l.full.Load() {
				return 0, 1 << 30, nil
			}
			return 100 << 20, 1 << 30, nil // too little for the store's ballast, which is slow to make in memory
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.db, l.c = db, cacheOver(l.t, Config{Backoff: time.Nanosecond}, storeBlobs{db}, &l.log)
}

func (l *larder) shut() {
	l.t.Helper()
	if l.db == nil {
		return
	}
	if err := l.c.Close(); err != nil {
		l.t.Error(err)
	}
	if err := l.db.Close(); err != nil {
		l.t.Error(err)
	}
	l.db = nil
}

// held looks a name up in the catalogue.
func (l *larder) held(name string) *Result {
	row, err := l.db.Row([]byte(name))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || len(row) != 32 {
		l.t.Errorf("row of %s: %x, %v", name, row, err)
		return nil
	}
	return &Result{Sum: store.Sum(row)}
}

func (l *larder) plan(name string, o *origin) Plan {
	p := o.plan()
	p.Held = l.held(name)
	inspected := false
	p.Inspect = func(_ context.Context, f formats.File, res Result) {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || !bytes.Equal(b, o.body) || int64(len(b)) != res.Size {
			l.t.Errorf("inspect %s: %d bytes, %v", name, len(b), err)
		}
		inspected = true
	}
	p.Commit = func(b *store.Batch, res Result) error {
		if !inspected {
			l.t.Errorf("%s was not inspected", name)
		}
		b.Set([]byte(name), res.Sum[:])
		b.Ref(res.Sum)
		return nil
	}
	return p
}

func (l *larder) get(name string, o *origin) ([]byte, Result, error) {
	ctx := context.Background()
	r, err := l.c.Fill(ctx, name, func() Plan { return l.plan(name, o) })
	if err != nil {
		return nil, Result{}, err
	}
	defer r.Close()
	var got collector
	if _, err := r.WriteRange(ctx, &got, 0, -1); err != nil {
		return got.b, Result{}, err
	}
	res, err := r.WaitVerified(ctx)
	return got.b, res, err
}

func (l *larder) drop(name string) {
	res := l.held(name)
	if res == nil {
		return
	}
	b := l.db.NewBatch()
	b.Delete([]byte(name))
	b.Unref(res.Sum)
	if err := b.Commit(true); err != nil {
		l.t.Errorf("drop %s: %v", name, err)
	}
}

// The first fill fetches, the second is served from the store, also after a
// restart; equal bytes under two names are one blob.
func TestRealStore(t *testing.T) {
	l := newLarder(t)
	for _, size := range []int{0, 5000, 256 << 10, 256<<10 + 1, 600_000, 3 << 20} {
		o := &origin{body: content(uint64(size), size), step: 70_000}
		for i, name := range []string{"a", "a", "b", "restart", "a"} {
			if name == "restart" {
				l.shut()
				l.open()
				continue
			}
			got, res, err := l.get(fmt.Sprint(name, size), o)
			if err != nil || !bytes.Equal(got, o.body) || !res.Kept {
				t.Fatalf("size %d, fill %d: %d bytes, %+v, %v", size, i, len(got), res, err)
			}
			if want := []int{1, 1, 2, 2, 2}[i]; o.attempts() != want {
				t.Errorf("size %d, fill %d: %d fetches, want %d", size, i, o.attempts(), want)
			}
		}
	}
	if s := l.db.Stats(); s.Blobs != 6 {
		t.Errorf("%d blobs, want 6", s.Blobs)
	}
	if l.c.Stats() != (Stats{}) {
		t.Errorf("left in the cache: %+v", l.c.Stats())
	}
}

// Random clients, faults, deletions, full disks and restarts against a map of
// what is held.
func TestModel(t *testing.T) {
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	l := newLarder(t)
	files := map[string][]byte{}
	for i := range 8 {
		files[fmt.Sprint("f", i)] = content(uint64(i), []int{0, 100, 70_000, 300_000, 300_000, 600_000, 1 << 20, 2 << 20}[i])
	}
	files["twin"] = files["f5"]
	names := []string{"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "twin"}
	held := map[string]bool{}
	for step := range 70 {
		name := names[rnd.IntN(len(names))]
		switch op := rnd.IntN(20); {
		case op == 0:
			l.shut()
			l.open()
		case op == 1:
			l.full.Store(!l.full.Load())
		case op < 5:
			l.drop(name)
			delete(held, name)
		default:
			modelFill(t, rnd, l, name, files[name], held, step)
		}
		for n := range files {
			if got := l.held(n) != nil; got != held[n] {
				t.Fatalf("step %d: %s held: %v, want %v", step, n, got, held[n])
			}
		}
	}
	l.full.Store(false)
	if l.log.throughs() == 0 || len(held) == 0 {
		t.Logf("a tame run: %d times in through mode, %d files held", l.log.throughs(), len(held))
	}
	for n := range held {
		got, _, err := l.get(n, &origin{})
		if err != nil || !bytes.Equal(got, files[n]) {
			t.Errorf("at the end %s: %d bytes, %v", n, len(got), err)
		}
	}
	rep, err := l.db.Check(t.Context(), nil)
	if err != nil {
		t.Errorf("store check: %+v, %v", rep, err)
	}
	if l.c.Stats() != (Stats{}) {
		t.Errorf("left in the cache: %+v", l.c.Stats())
	}
}

// modelFill lets a few clients ask for one name, through an upstream of random
// faults, and updates held.
func modelFill(t *testing.T, rnd *rand.Rand, l *larder, name string, body []byte, held map[string]bool, step int) {
	o := &origin{body: body, step: 1 + rnd.IntN(200_000), noTotal: rnd.IntN(4) == 0}
	if rnd.IntN(2) == 0 {
		o.validator = `"a"`
	}
	for range rnd.IntN(3) {
		o.faults = append(o.faults, fault{cut: rnd.IntN(len(body) + 1), err: errReset, whole: rnd.IntN(3) == 0})
	}
	wrong := rnd.IntN(4) == 0
	plan := func() Plan {
		p := l.plan(name, o)
		if wrong {
			p.Want = func(context.Context, http.Header) (formats.Want, error) {
				return formats.Want{Digests: []formats.Digest{digest(formats.SHA1, []byte("wrong"))}}, nil
			}
		}
		return p
	}
	was, through := held[name], l.log.throughs()
	var wg sync.WaitGroup
	for i := range 1 + rnd.IntN(3) {
		leaves := i > 0 && rnd.IntN(3) == 0
		wg.Go(func() {
			r, err := l.c.Fill(context.Background(), name, plan)
			var got []byte
			if err == nil {
				defer r.Close()
				if leaves {
					return
				}
				got, err = io.ReadAll(r)
			}
			ok := was || !wrong
			switch {
			case !bytes.HasPrefix(body, got):
				t.Errorf("step %d: %s: client %d got other bytes", step, name, i)
			case ok && (err != nil || len(got) != len(body)):
				t.Errorf("step %d: %s: client %d got %d of %d bytes, %v", step, name, i, len(got), len(body), err)
			case !ok && (!errors.As(err, new(*ErrVerify)) || len(got) > max(0, len(body)-hold)):
				t.Errorf("step %d: %s: client %d of a wrong file got %d of %d bytes, %v", step, name, i, len(got), len(body), err)
			}
		})
	}
	wg.Wait()
	if !wrong && l.log.throughs() == through {
		held[name] = true
	}
	if was && o.attempts() > 0 {
		t.Errorf("step %d: %s was held and fetched again", step, name)
	}
}
