package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ingestWriters write at the same time in the ingest benchmarks.
const ingestWriters = 4

var ingestSizes = []struct {
	name string
	size int
}{{"5KB", 5 << 10}, {"600KB", 600 << 10}, {"6MB", 6 << 20}}

// BenchmarkIngest compares the durable writing of blobs through Writer with the
// same layout written straight to the database and with plain files. All compute
// the SHA-256. The three take turns of a few megabytes, so that what else the
// machine does hits them alike; the ratios are medians over the turns.
func BenchmarkIngest(b *testing.B) {
	ways := []struct {
		name string
		open func(*testing.B) func(n int64, data []byte) error
	}{{"store", ingestStore}, {"raw", ingestRaw}, {"files", ingestFiles}}
	for _, s := range ingestSizes {
		b.Run(s.name, func(b *testing.B) {
			var put [3]func(int64, []byte) error
			for i, w := range ways {
				put[i] = w.open(b)
			}
			each := max(2*ingestWriters, (2<<20)/s.size)
			var next atomic.Int64
			var rates, cpus [3][]float64
			b.SetBytes(int64(3 * each * s.size))
			turn := 0
			for b.Loop() {
				turn++
				for k := range ways {
					i := (k + turn) % len(ways)
					cpu, began := cpuTime(b), time.Now()
					ingestTurn(b, s.size, each, &next, put[i])
					mb := float64(each*s.size) / 1e6
					rates[i] = append(rates[i], mb/time.Since(began).Seconds())
					cpus[i] = append(cpus[i], float64((cpuTime(b)-cpu).Microseconds())/1e3/mb)
				}
			}
			for i, w := range ways {
				b.ReportMetric(median(rates[i]), w.name+"-MB/s")
				b.ReportMetric(median(cpus[i]), w.name+"-ms/MB")
			}
			b.ReportMetric(median(ratios(rates[0], rates[1])), "x-raw")
			b.ReportMetric(median(ratios(rates[0], rates[2])), "x-files")
		})
	}
}

func ratios(a, b []float64) (r []float64) {
	for i := range a {
		r = append(r, a[i]/b[i])
	}
	return r
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// ingestTurn writes n objects by several writers.
func ingestTurn(b *testing.B, size, n int, next *atomic.Int64, put func(int64, []byte) error) {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range ingestWriters {
		wg.Go(func() {
			data := payload(uint64(size), size)
			for left.Add(-1) >= 0 {
				i := next.Add(1)
				binary.BigEndian.PutUint64(data, uint64(i))
				if err := put(i, data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// cpuTime is what the process has used so far: steadier than rates on a machine
// that does other things.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func openBench(b *testing.B, cfg Config) *DB {
	b.Helper()
	if cfg.Dir == "" {
		cfg.Dir = b.TempDir()
	}
	db, err := Open(cfg)
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

func ingestStore(b *testing.B) func(int64, []byte) error {
	db := openBench(b, Config{})
	return func(n int64, data []byte) error {
		w, err := db.Create(context.Background(), int64(len(data)))
		if err != nil {
			return err
		}
		defer w.Release()
		for rest := data; len(rest) > 0; {
			k, err := w.Write(rest[:min(len(rest), 32<<10)]) // as a body arrives
			if err != nil {
				return err
			}
			rest = rest[k:]
		}
		sum := w.Sum()
		batch := db.NewBatch()
		batch.Set(objectKey(uint64(n)), sum[:])
		batch.Ref(sum)
		_, err = w.Commit(batch)
		return err
	}
}

// ingestRaw writes the layout of the store by hand: inline bytes and index in
// one synced batch, or a table of chunks, ingested, and then the index.
func ingestRaw(b *testing.B) func(int64, []byte) error {
	dir := b.TempDir()
	db := &DB{cfg: Config{Dir: dir, FS: vfs.Default, BlockCache: defaultBlock}, fs: vfs.Default, log: slog.New(slog.DiscardHandler)}
	if err := db.openPebble(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.pebble.Close() })
	opts := db.tableOptions()
	return func(n int64, data []byte) error {
		sum := Sum(sha256.Sum256(data))
		e := entry{kind: kindInline, id: uint64(n), size: int64(len(data)), refs: 1}
		pb := db.pebble.NewBatch()
		defer pb.Close()
		if len(data) <= defaultInline {
			pb.Set(idKey(preInline, e.id), data, nil)
		} else {
			path := filepath.Join(dir, fmt.Sprint(n))
			f, err := vfs.Default.Create(path, writeCategory)
			if err != nil {
				return err
			}
			w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), opts)
			for i := 0; i*chunkSize < len(data); i++ {
				if err := w.Set(chunkKey(e.id, uint32(i)), data[i*chunkSize:min(len(data), (i+1)*chunkSize)]); err != nil {
					return err
				}
			}
			if err := w.Close(); err != nil {
				return err
			}
			if err := db.pebble.Ingest(context.Background(), []string{path}); err != nil {
				return err
			}
			pb.Set(idKey(preOwner, e.id), sum[:], nil)
		}
		pb.Set(indexKey(sum), e.append(nil), nil)
		pb.Set(rowKey(objectKey(e.id)), sum[:], nil)
		return db.pebble.Apply(pb, pebble.Sync)
	}
}

// ingestFiles writes a temporary file, syncs it, renames it and syncs the
// directory; the index goes to the database.
func ingestFiles(b *testing.B) func(int64, []byte) error {
	dir := b.TempDir()
	db := &DB{cfg: Config{Dir: dir, FS: vfs.Default, BlockCache: defaultBlock}, fs: vfs.Default, log: slog.New(slog.DiscardHandler)}
	if err := db.openPebble(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.pebble.Close() })
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, "blobs", fmt.Sprintf("%02x", i)), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	return func(n int64, data []byte) error {
		sum := Sum(sha256.Sum256(data))
		sub := filepath.Join(dir, "blobs", fmt.Sprintf("%02x", sum[0]))
		tmp := filepath.Join(sub, fmt.Sprint(n))
		f, err := os.Create(tmp)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(sub, sum.String())); err != nil {
			return err
		}
		d, err := os.Open(sub)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := d.Sync(); err != nil {
			return err
		}
		e := entry{kind: kindLarge, size: int64(len(data)), refs: 1}
		pb := db.pebble.NewBatch()
		defer pb.Close()
		pb.Set(indexKey(sum), e.append(nil), nil)
		pb.Set(rowKey(objectKey(uint64(n))), sum[:], nil)
		return db.pebble.Apply(pb, pebble.Sync)
	}
}

// BenchmarkRead writes a hot blob of 10 MB to a writer that takes it at once.
func BenchmarkRead(b *testing.B) {
	db := openBench(b, Config{})
	for _, size := range []int{64 << 10, 10 << 20} {
		w, err := db.Create(context.Background(), int64(size))
		if err != nil {
			b.Fatal(err)
		}
		w.Write(payload(1, size))
		sum, err := w.Commit(nil)
		if err != nil {
			b.Fatal(err)
		}
		w.Release()
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				blob, err := db.OpenBlob(sum)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := blob.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				blob.Close()
			}
		})
	}
}

// BenchmarkHuge writes one blob of 4 GiB while a reader follows it, and reports
// the greatest heap seen.
func BenchmarkHuge(b *testing.B) {
	size := int64(4 << 30)
	if testing.Short() {
		size = 256 << 20
	}
	part := payload(1, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		db := openBench(b, Config{})
		w, err := db.Create(context.Background(), -1)
		if err != nil {
			b.Fatal(err)
		}
		var peak uint64
		buf := make([]byte, 64<<10)
		for off := int64(0); off < size; off += int64(len(part)) {
			binary.BigEndian.PutUint64(part, uint64(off))
			if _, err := w.Write(part); err != nil {
				b.Fatal(err)
			}
			if _, err := w.ReadAt(buf, max(0, off-int64(len(buf)))); err != nil {
				b.Fatal(err)
			}
			if off%(32<<20) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
		}
		if _, err := w.Commit(nil); err != nil {
			b.Fatal(err)
		}
		w.Release()
		b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
		b.ReportMetric(float64(db.Stats().Pebble.BlockCacheBytes)/(1<<20), "MiB-blockcache")
	}
}

// BenchmarkMillion fills a store with a million assets, each an entry and a row
// as the catalog writes them, and reports the time to open it, what a lookup
// costs, and the bytes of metadata per asset. LARDER_ASSETS sets another number.
func BenchmarkMillion(b *testing.B) {
	assets := 1_000_000
	if s := os.Getenv("LARDER_ASSETS"); s != "" {
		fmt.Sscan(s, &assets)
	}
	if testing.Short() {
		assets = 20_000
	}
	dir := b.TempDir()
	db, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	generate(b, db, assets)
	generated := time.Since(began)
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	if db, err = Open(Config{Dir: dir}); err != nil {
		b.Fatal(err)
	}
	opened := time.Since(began)
	defer db.Close()
	if err := db.pebble.Flush(); err != nil {
		b.Fatal(err)
	}
	for db.pebble.Metrics().Compact.NumInProgress > 0 {
		time.Sleep(100 * time.Millisecond) // it is not what is measured
	}
	meta, err := db.pebble.EstimateDiskUsage([]byte{preIndex}, []byte{preMeta})
	if err != nil {
		b.Fatal(err)
	}
	rows, err := db.pebble.EstimateDiskUsage([]byte{preRow}, []byte{preEnd})
	if err != nil {
		b.Fatal(err)
	}
	i, n, cpu := uint64(0), 0, cpuTime(b)
	for b.Loop() {
		n++
		i += 7919
		val, err := db.Row(assetKey(i % uint64(assets)))
		if err != nil {
			b.Fatal(err)
		}
		if !db.HasBlob(Sum(val)) {
			b.Fatal("blob is not there")
		}
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(n), "cpu-us/op")
	b.ReportMetric(opened.Seconds(), "s-open")
	b.ReportMetric(float64(meta+rows)/float64(assets), "B-meta/asset")
	b.ReportMetric(float64(assets)/generated.Seconds(), "assets/s")
}

// assetKey has the length of a real one.
func assetKey(n uint64) []byte {
	return fmt.Appendf(nil, "main\x00npm-store\x00npm\x00package-%06d\x001.%d.0\x00package-%06d-1.%d.0.tgz", n/50, n%50, n/50, n%50)
}

// generate fills db with assets of a few bytes, as quickly as it can.
func generate(b *testing.B, db *DB, assets int) {
	b.Helper()
	row := make([]byte, 150) // further fields of an asset's row: digests and the like
	r := rand.NewChaCha8([32]byte{3})
	var data [16]byte
	for n := 0; n < assets; {
		batch := db.NewBatch()
		pb := batch.rows()
		db.commit.Lock()
		next := db.commit.usage
		for range 1000 {
			_, _ = r.Read(row)
			binary.BigEndian.PutUint64(data[:], uint64(n))
			sum := Sum(sha256.Sum256(data[:]))
			next.gen++
			next.seq++
			e := entry{kind: kindInline, id: uint64(n + 1), size: int64(len(data)), refs: 1, created: 1.7e9, accessed: 1.7e9, gen: next.gen}
			next.count(&e, 1)
			if err := writeNewBlob(pb, &newBlob{sum: sum, id: e.id, kind: kindInline, small: data[:]}); err != nil {
				b.Fatal(err)
			}
			pb.Set(indexKey(sum), e.append(nil), nil)
			batch.Set(assetKey(uint64(n)), append(sum[:], row...))
			pb.Set(ledgerKey(uint64(n+1)), row[:120], nil)
			n++
		}
		pb.Set([]byte(metaUsage), next.append(nil), nil)
		db.commit.usage = next
		db.counts.Store(&next)
		db.commit.Unlock()
		if err := db.pebble.Apply(pb, noSync); err != nil {
			b.Fatal(err)
		}
		pb.Close()
	}
}
