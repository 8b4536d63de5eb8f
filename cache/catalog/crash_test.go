package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"larder/cache/store"
	"larder/formats"
)

// powerFS is a file system in memory whose power can be cut. Link and
// ReuseForWrite lock it for reading twice, which deadlocks if a clone is begun
// in between; the gate keeps clones out.
type powerFS struct {
	*vfs.MemFS
	gate *sync.RWMutex
}

func newPowerFS() powerFS { return powerFS{vfs.NewCrashableMem(), new(sync.RWMutex)} }

func (p powerFS) Link(oldname, newname string) error {
	p.gate.RLock()
	defer p.gate.RUnlock()
	return p.MemFS.Link(oldname, newname)
}

func (p powerFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	p.gate.RLock()
	defer p.gate.RUnlock()
	return p.MemFS.ReuseForWrite(oldname, newname, c)
}

// clone returns what could be found after the power went.
func (p powerFS) clone(percent int, seed uint64) powerFS {
	p.gate.Lock()
	defer p.gate.Unlock()
	return powerFS{p.MemFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))}), new(sync.RWMutex)}
}

// crashBytes are the contents that clients publish: inline ones and such that
// take a table of their own.
func crashBytes() map[store.Sum][]byte {
	out := map[store.Sum][]byte{}
	for i, size := range []int{1, 900, 3 << 10, 5 << 10, 40 << 10, 300 << 10} {
		b := make([]byte, size)
		rnd := rand.NewChaCha8([32]byte{byte(i + 1)})
		rnd.Read(b)
		out[sumOf(b)] = b
	}
	return out
}

func sumOf(b []byte) store.Sum {
	h := formats.SHA256.New()
	h.Write(b)
	return store.Sum(h.Sum(nil))
}

func openCrash(fs vfs.FS) (*Catalog, *store.DB, error) {
	dir := "store"
	if in, ok := vfs.Root(fs).(inDir); ok {
		dir = filepath.Join(in.dir, dir)
	}
	db, err := store.Open(store.Config{Dir: dir, FS: fs, InlineMax: 4 << 10, BlockCache: 1 << 20,
		FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
	if err != nil {
		return nil, nil, err
	}
	c, err := New(Config{Store: db, Domain: "main"})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return c, db, nil
}

// picture is everything that a catalog tells: its rows, but for those of blobs
// that wait, and its ledger.
type picture struct {
	rows   map[string]string
	ledger []string
}

func takePicture(c *Catalog) (p picture, staged int, err error) {
	p.rows = map[string]string{}
	waiting := string([]byte{famStage, 0})
	err = c.db.Rows(nil, nil, func(key, val []byte) error {
		switch {
		case bytes.HasPrefix(key, []byte(waiting)):
			staged++
		case key[0] == famBlobRef && bytes.HasPrefix(key[2+len(store.Sum{}):], []byte(waiting)):
		default:
			p.rows[string(key)] = string(val)
		}
		return nil
	})
	if err != nil {
		return p, staged, err
	}
	return p, staged, c.db.LedgerRange(0, func(_ uint64, raw []byte) error { p.ledger = append(p.ledger, string(raw)); return nil })
}

func (p picture) equal(o picture) bool {
	return maps.Equal(p.rows, o.rows) && slices.Equal(p.ledger, o.ledger)
}

// verifyCrash opens what a crash left and checks that it is one whole: bytes
// under every row, no blob without a row, nothing staged, counts that agree. It
// returns the picture found.
func verifyCrash(fs vfs.FS, known map[store.Sum][]byte) (p picture, err error) {
	c, db, err := openCrash(fs)
	if err != nil {
		return p, fmt.Errorf("open after crash: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, staged, err := takePicture(c)
	if err != nil {
		return p, err
	}
	if staged > 0 {
		return p, fmt.Errorf("%d staged blobs were not swept", staged)
	}
	used := map[store.Sum]bool{}
	err = db.Rows([]byte{famAsset, 0}, nil, func(key, val []byte) error {
		var a AssetRow
		if err := c.dec.Unmarshal(val, &a); err != nil {
			return err
		}
		sum, _ := SumOf(a.Digests)
		used[sum] = true
		b, err := db.OpenBlob(sum)
		if err != nil {
			return fmt.Errorf("row %q has no bytes: %w", key, err)
		}
		defer b.Close()
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err != nil || !bytes.Equal(got, known[sum]) {
			return fmt.Errorf("row %q has other bytes: %d of %d, %w", key, len(got), len(known[sum]), err)
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	for sum, b := range known {
		if db.HasBlob(sum) && !used[sum] {
			return p, fmt.Errorf("%d bytes are in the store and in no version", len(b))
		}
	}
	report, err := db.Check(context.Background(), nil)
	if err != nil {
		return p, err
	}
	if !report.OK() {
		return p, fmt.Errorf("check after crash: %+v", report.Problems)
	}
	return p, immutableStill(c, used)
}

// immutableStill offers other bytes, and then the same, under a coordinate of
// every version.
func immutableStill(c *Catalog, used map[store.Sum]bool) error {
	s := &site{c: c, db: c.db}
	var keys []AssetKey
	var sums []store.Sum
	err := c.db.Rows([]byte{famAsset, 0}, nil, func(key, val []byte) error {
		var a AssetRow
		if err := c.dec.Unmarshal(val, &a); err != nil {
			return err
		}
		sum, _ := SumOf(a.Digests)
		part := bytes.Split(key, []byte{0})
		keys, sums = append(keys, AssetKey{Place: Place(part[2]), Format: string(part[3]), Name: string(part[4]), Version: string(part[5]), File: string(part[6])}), append(sums, sum)
		return nil
	})
	if err != nil {
		return err
	}
	for i, k := range keys {
		_, repo, _ := k.Place.Repository()
		st, h, err := s.tryStage([]byte("evil bytes"))
		if err != nil {
			return fmt.Errorf("stage after crash: %w", err)
		}
		h.File = k.File
		// With the publish right blocked it is refused the more; what must never be
		// is success.
		_, err = c.Propose("team", "mallory", &Publish{Repository: repo, Format: k.Format, Name: formats.Name{Canon: k.Name},
			Versions: []VersionEdit{{V: k.Version, Row: &formats.Version{V: k.Version}, Files: []formats.HeldAsset{h}}}}, st)
		if _, refused := AsFault(err); !refused {
			return fmt.Errorf("other bytes were taken for %+v: %w", k, err)
		}
		if err := c.Unstage(st); err != nil {
			return err
		}
		if row, err := c.Asset(k); err != nil || func() bool { sum, _ := SumOf(row.Digests); return sum != sums[i] }() {
			return fmt.Errorf("%+v changed: %w", k, err)
		}
	}
	return nil
}

// tryStage is stage with an error.
func (s *site) tryStage(data []byte) (*Staged, formats.HeldAsset, error) {
	w, err := s.db.Create(context.Background(), -1)
	if err != nil {
		return nil, formats.HeldAsset{}, err
	}
	defer w.Release()
	if _, err := w.Write(data); err != nil {
		return nil, formats.HeldAsset{}, err
	}
	st, err := s.c.Stage(w)
	return st, formats.HeldAsset{File: "package.tgz", Size: int64(len(data)), Digests: []formats.Digest{DigestOf(w.Sum())}}, err
}

// crashRun applies commands one after the other and keeps a picture after each
// that was acknowledged.
type crashRun struct {
	mu       sync.Mutex
	pictures []picture // guarded by mu
	crashes  []crash   // likewise
}

// crash is what a loss of power left: it must be one of the pictures from first
// to last.
type crash struct {
	first, last int
	op, percent int
	found       picture
	err         error
}

func (r *crashRun) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pictures)
}

func (r *crashRun) snap(t *testing.T, c *Catalog) {
	t.Helper()
	p, _, err := takePicture(c)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pictures = append(r.pictures, p)
}

// TestPowerLoss cuts the power after every k-th operation of the file system
// under a random run of publishes, copies, status changes and deletes, with none,
// half and all of the unsynced data kept. What is found must be exactly the rows
// and the ledger behind the last acknowledged command, or behind the one that was
// on its way.
func TestPowerLoss(t *testing.T) {
	every, steps := 5, 110
	if s := os.Getenv("LARDER_CRASH_EVERY"); s != "" { // longer runs
		every, _ = strconv.Atoi(s)
		steps = 400
	}
	fs, run, known := newPowerFS(), &crashRun{}, crashBytes()
	var mu sync.Mutex
	ops := 0
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if ops++; ops%every != 0 {
			return nil
		}
		cr := crash{first: run.count() - 1, op: ops, percent: []int{0, 50, 100}[ops/every%3]}
		after := fs.clone(cr.percent, uint64(ops))
		cr.last = run.count() // one more than acknowledged: the one on its way
		if cr.first < 0 {
			return nil // the domain is not there yet
		}
		cr.found, cr.err = verifyCrash(after, known)
		run.mu.Lock()
		defer run.mu.Unlock()
		run.crashes = append(run.crashes, cr)
		return nil
	})
	c, db, err := openCrash(errorfs.Wrap(fs, inject))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, c: c, db: db}
	c.now = func() time.Time { s.n++; return at(0).Add(time.Duration(s.n) * time.Second) }
	s.setUp("r1", "r2", "r3")
	run.snap(t, c)
	sums := slices.SortedFunc(maps.Keys(known), func(a, b store.Sum) int { return len(known[a]) - len(known[b]) })
	rnd := rand.New(rand.NewPCG(uint64(every), 7))
	for range steps {
		s.crashStep(rnd, func() []byte { return known[sums[rnd.IntN(len(sums))]] })
		run.snap(t, c)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	run.judge(t)
	end, err := verifyCrash(fs.clone(0, 1), known)
	if last := run.pictures[len(run.pictures)-1]; err != nil || !end.equal(last) {
		t.Errorf("after closing: %v, or other rows than the last command left", err)
	}
	if len(run.crashes) < 20 {
		t.Errorf("only %d crashes in %d operations", len(run.crashes), ops)
	}
	t.Logf("%d power losses in %d operations and %d commands, %d rows and %d ledger entries at the end", len(run.crashes), ops, len(run.pictures), len(end.rows), len(end.ledger))
}

func (r *crashRun) judge(t *testing.T) {
	t.Helper()
	for _, cr := range r.crashes {
		if cr.err != nil {
			t.Fatalf("power lost at operation %d, %d %% of unsynced data kept: %v", cr.op, cr.percent, cr.err)
		}
		match := false
		for i := cr.first; i <= min(cr.last, len(r.pictures)-1); i++ {
			match = match || cr.found.equal(r.pictures[i])
		}
		if !match {
			t.Fatalf("power lost at operation %d, %d %% of unsynced data kept: %d rows and %d ledger entries were found, those behind command %d (%d and %d) or the next were due",
				cr.op, cr.percent, len(cr.found.rows), len(cr.found.ledger), cr.first, len(r.pictures[cr.first].rows), len(r.pictures[cr.first].ledger))
		}
	}
}

// crashStep is one random command.
func (s *site) crashStep(rnd *rand.Rand, data func() []byte) {
	s.t.Helper()
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	repo, name, version := pick("r1", "r2", "r3"), pick("x", "y"), pick("1.0.0", "2.0.0", "3.0.0", "4.0.0")
	n := formats.Name{Canon: name}
	switch rnd.IntN(10) {
	case 0, 1, 2, 3, 4:
		s.publish(repo, name, version, string(data()))
	case 5: // staged and given up: the client went away
		st, _ := s.stage(string(data()))
		if err := s.c.Unstage(st); err != nil {
			s.t.Fatal(err)
		}
	case 6:
		s.propose(&UpdateStatus{Repository: repo, Format: "npm", Name: n, Versions: []string{version},
			Target: []formats.Status{formats.UnlistedStatus, formats.Archived, formats.DisposedStatus, formats.Deleted, formats.Deleted}[rnd.IntN(5)]})
	case 7:
		s.propose(&Copy{Source: repo, Destination: pick("r1", "r2", "r3"), Format: "npm", Name: n, Versions: []string{version}, Overwrite: rnd.IntN(2) == 0})
	case 8:
		s.propose(&SetTags{Repository: repo, Add: map[string]string{pick("k", "l"): version}})
	case 9:
		if rnd.IntN(4) == 0 {
			s.propose(&DeletePackage{Repository: repo, Format: "npm", Name: n})
		} else {
			s.propose(&Publish{Repository: repo, Format: "npm", Name: n, Tags: map[string]string{"beta": version}})
		}
	}
}
