package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"larder/cache/store"
	"larder/formats"
)

func benchStore(b *testing.B) *store.DB {
	db, err := store.Open(store.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

var benchSizes = []struct {
	name string
	size int
}{{"5KB", 5_000}, {"600KB", 600_000}, {"6MB", 6_000_000}}

// BenchmarkFill compares durable ingest: straight into a store.Writer, through
// Cache.Fill with nothing else to compute, and with npm's two digests.
func BenchmarkFill(b *testing.B) {
	for _, sz := range benchSizes {
		for _, mode := range []string{"store", "cache", "cache+sha512+sha1"} {
			for _, workers := range []int{1, 4} {
				b.Run(fmt.Sprintf("%s/%s/%d", sz.name, mode, workers), func(b *testing.B) {
					benchFill(b, sz.size, mode, workers)
				})
			}
		}
	}
}

func benchFill(b *testing.B, size int, mode string, workers int) {
	db := benchStore(b)
	c, err := New(Config{Store: db})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ids := make(chan uint64)
	var wg sync.WaitGroup
	b.SetBytes(int64(size))
	b.ResetTimer()
	began := cpuTime()
	for range workers {
		wg.Go(func() {
			body := content(1, size)
			for id := range ids {
				binary.LittleEndian.PutUint64(body, id) // every blob is another
				if mode == "store" {
					rawIngest(b, db, body)
				} else {
					fillIngest(b, c, id, body, mode != "cache")
				}
			}
		})
	}
	for i := range b.N {
		ids <- uint64(i)
	}
	close(ids)
	wg.Wait()
	b.ReportMetric(float64(cpuTime()-began)/float64(b.N)/1e3, "cpu-µs/op")
}

// cpuTime is what the process used, in nanoseconds: steadier than the clock on
// a machine that others use too.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func rawIngest(b *testing.B, db *store.DB, body []byte) {
	w, err := db.Create(context.Background(), int64(len(body)))
	if err != nil {
		b.Error(err)
		return
	}
	defer w.Release()
	for off := 0; off < len(body); off += bufferSize {
		if _, err := w.Write(body[off:min(off+bufferSize, len(body))]); err != nil {
			b.Error(err)
			return
		}
	}
	batch := db.NewBatch()
	sum := w.Sum()
	batch.Set(sum[:], sum[:])
	batch.Ref(sum)
	if _, err := w.Commit(batch); err != nil {
		b.Error(err)
	}
}

func fillIngest(b *testing.B, c *Cache, id uint64, body []byte, npm bool) {
	plan := Plan{
		Open: func(context.Context, int64, string) (*Part, error) {
			return &Part{Body: io.NopCloser(bytes.NewReader(body)), Total: int64(len(body))}, nil
		},
		Want: func(context.Context, http.Header) (formats.Want, error) {
			return formats.Want{Size: int64(len(body))}, nil
		},
		Commit: func(batch *store.Batch, res Result) error {
			batch.Set(res.Sum[:], res.Sum[:])
			batch.Ref(res.Sum)
			return nil
		},
	}
	if npm {
		plan.Algs = []formats.Alg{formats.SHA512, formats.SHA1}
	}
	r, err := c.Fill(context.Background(), fmt.Sprint(id), func() Plan { return plan })
	if err != nil {
		b.Error(err)
		return
	}
	defer r.Close()
	if _, err := r.WriteRange(context.Background(), io.Discard, 0, -1); err != nil {
		b.Error(err)
	}
}

// BenchmarkFollower is one client of a flight that is here already but for its
// last block, over a spool of the real store.
func BenchmarkFollower(b *testing.B) {
	const size = 6_000_000
	db := benchStore(b)
	c, err := New(Config{Store: db})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	o := &origin{body: content(1, size), faults: []fault{{cut: size - 10, hang: true}}}
	first, err := c.Fill(b.Context(), "key", o.plan)
	if err != nil {
		b.Fatal(err)
	}
	defer first.Close()
	if _, err := first.WriteRange(b.Context(), io.Discard, 0, size-hold); err != nil {
		b.Fatal(err)
	}
	b.Run("join and first byte", func(b *testing.B) {
		var p [1]byte
		b.ReportAllocs()
		for b.Loop() {
			r, err := c.Fill(b.Context(), "key", nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Read(p[:]); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
	b.Run("6MB", func(b *testing.B) {
		b.SetBytes(size - hold)
		for b.Loop() {
			if _, err := first.WriteRange(b.Context(), io.Discard, 0, size-hold); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen is a client of a blob that the store holds.
func BenchmarkOpen(b *testing.B) {
	for _, sz := range benchSizes {
		b.Run(sz.name, func(b *testing.B) {
			c, err := New(Config{Store: benchStore(b)})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			body := content(1, sz.size)
			fillIngest(b, c, 0, body, false)
			sum := digest(formats.SHA256, body)
			var res Result
			if _, err := fmt.Sscanf(sum.Hex, "%x", &sum.Hex); err != nil {
				b.Fatal(err)
			}
			copy(res.Sum[:], sum.Hex)
			b.SetBytes(int64(sz.size))
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Open(b.Context(), res)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.WriteRange(b.Context(), io.Discard, 0, -1); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
