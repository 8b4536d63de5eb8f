package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// powerFS is a file system in memory whose power can be cut: clone returns it as
// it could be found afterwards.
type powerFS struct {
	*vfs.MemFS
	gate *sync.RWMutex
}

func newPowerFS() powerFS { return powerFS{vfs.NewCrashableMem(), new(sync.RWMutex)} }

// Link and ReuseForWrite lock the file system for reading twice, which
// deadlocks if a clone is begun in between. The gate keeps clones out.
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

func (p powerFS) clone(percent int, seed uint64) powerFS {
	p.gate.Lock()
	defer p.gate.Unlock()
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))}
	return powerFS{p.MemFS.CrashClone(cfg), new(sync.RWMutex)}
}

// objState is what the model knows of an object.
type objState byte

const (
	objWriting  objState = iota // committed or not: either is right
	objThere                    // acknowledged
	objDeleting                 // either is right
	objGone                     // deletion acknowledged
)

type object struct {
	state objState
	sum   Sum
	size  int
}

// model is what a store must hold, by object number.
type model struct {
	mu      sync.Mutex
	objects map[uint64]object
	ledger  uint64 // highest sequence number seen
	tell    func(uint64, object)
}

func (m *model) set(n uint64, o object) {
	m.mu.Lock()
	m.objects[n] = o
	m.mu.Unlock()
	if m.tell != nil {
		m.tell(n, o)
	}
}

func (m *model) sawLedger(seq uint64) {
	m.mu.Lock()
	m.ledger = max(m.ledger, seq)
	m.mu.Unlock()
}

func (m *model) copy() *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &model{objects: make(map[uint64]object, len(m.objects)), ledger: m.ledger}
	for k, v := range m.objects {
		c.objects[k] = v
	}
	return c
}

// forgive allows for the deletions that began since m was copied.
func (m *model) forgive(now *model) {
	now.mu.Lock()
	defer now.mu.Unlock()
	for n, o := range m.objects {
		if o.state == objThere && now.objects[n].state != objThere {
			o.state = objDeleting
			m.objects[n] = o
		}
	}
}

func objectKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte("object/"), n) }

// openCrash opens the store of a crash test: small limits, so that little data
// takes every path.
func openCrash(fs vfs.FS, on func(Event)) (*DB, error) {
	dir := "store"
	if in, ok := vfs.Root(fs).(inDir); ok {
		dir = filepath.Join(in.dir, dir)
	}
	db, err := Open(Config{Dir: dir, FS: fs, InlineMax: 4 << 10, BlockCache: 1 << 20, OnEvent: on})
	if err == nil {
		db.segmentChunks = 1
		db.owner.refs.Store(ownedBy(db))
	}
	return db, err
}

// ownedBy counts one reference for each object row.
func ownedBy(db *DB) *func(func(Sum) error) error {
	fn := func(emit func(Sum) error) error {
		return db.Rows([]byte("object/"), nil, func(_, val []byte) error { return emit(Sum(val)) })
	}
	return &fn
}

// storeObject writes an object, its row and a ledger entry.
func storeObject(db *DB, m *model, n uint64, data []byte) error {
	w, err := db.Create(context.Background(), -1)
	if err != nil {
		return err
	}
	defer w.Release()
	if _, err := w.Write(data); err != nil {
		return err
	}
	sum := w.Sum()
	b := db.NewBatch()
	b.Set(objectKey(n), sum[:])
	b.Ref(sum)
	b.Ledger(objectKey(n))
	m.set(n, object{objWriting, sum, len(data)})
	if _, err := w.Commit(b); err != nil {
		return err
	}
	m.set(n, object{objThere, sum, len(data)})
	m.sawLedger(db.LedgerSeq())
	return nil
}

func deleteObject(db *DB, m *model, n uint64) error {
	m.mu.Lock()
	o := m.objects[n]
	m.mu.Unlock()
	if o.state != objThere {
		return nil
	}
	b := db.NewBatch()
	b.Delete(objectKey(n))
	b.Unref(o.sum)
	m.set(n, object{objDeleting, o.sum, o.size})
	if err := b.Commit(true); err != nil {
		return err
	}
	m.set(n, object{objGone, o.sum, o.size})
	return nil
}

// crashLoad writes and deletes objects of all sizes, by several goroutines.
// Every third object has bytes that another has too.
func crashLoad(db *DB, m *model, workers, each int, fail func(error)) {
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range each {
				n := uint64(g*each + i)
				size := 1 + r.IntN(3<<10)
				switch r.IntN(8) {
				case 0:
					size = 4<<10 + r.IntN(20<<10)
				case 1:
					size = 256<<10 + r.IntN(400<<10) // several tables
				}
				seed := n
				if n%3 == 0 {
					seed, size = n%9, 6<<10
				}
				if err := storeObject(db, m, n, payload(seed, size)); err != nil {
					fail(fmt.Errorf("object %d: %w", n, err))
					return
				}
				if i%2 == 1 {
					victim := uint64(g*each + r.IntN(i+1))
					if err := deleteWhileOpen(db, m, victim, r.IntN(2) == 0); err != nil {
						fail(fmt.Errorf("delete %d: %w", victim, err))
						return
					}
				}
				if i%16 == 5 {
					if err := errors.Join(db.saveMark(), db.pebble.Flush()); err != nil {
						fail(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// deleteWhileOpen deletes an object, if asked while a reader has it open.
func deleteWhileOpen(db *DB, m *model, n uint64, open bool) error {
	if open {
		m.mu.Lock()
		sum := m.objects[n].sum
		m.mu.Unlock()
		if b, err := db.OpenBlob(sum); err == nil {
			defer b.Close()
		}
	}
	return deleteObject(db, m, n)
}

// verify opens what is left after a crash and compares it with the model.
func (m *model) verify(fs vfs.FS, orphans *int) (err error) {
	db, err := openCrash(fs, func(e Event) {
		if e.Kind == EventOrphan {
			*orphans++
		}
	})
	if err != nil {
		return fmt.Errorf("open after crash: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	report, err := db.Check(context.Background(), nil)
	if err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("check after crash: %+v", report.Problems)
	}
	if db.LedgerSeq() < m.ledger {
		return fmt.Errorf("ledger ends at %d, %d was seen before", db.LedgerSeq(), m.ledger)
	}
	for n, o := range m.objects {
		val, err := db.Row(objectKey(n))
		switch {
		case err == nil && o.state == objGone:
			return fmt.Errorf("object %d came back", n)
		case errors.Is(err, ErrNotFound) && o.state == objThere:
			return fmt.Errorf("object %d is lost", n)
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return err
		}
		b, err := db.OpenBlob(Sum(val)) // Check has compared its digest
		if err != nil {
			return fmt.Errorf("object %d of %d bytes is visible without its blob: %w", n, o.size, err)
		}
		if b.Size() != int64(o.size) || Sum(val) != o.sum {
			return fmt.Errorf("object %d: other blob", n)
		}
		if err := b.Close(); err != nil {
			return err
		}
	}
	for n := range uint64(3) { // it works on
		if err := storeObject(db, m, 1<<32+n, payload(n+99, 3000*int(n+1))); err != nil {
			return fmt.Errorf("write after crash: %w", err)
		}
	}
	return nil
}

// TestPowerLoss cuts the power after every k-th operation of the file system,
// with none, half and all of the unsynced data kept.
func TestPowerLoss(t *testing.T) {
	every, workers, each := 17, 3, 36
	if raceEnabled {
		every, each = 97, 20
	}
	if s := os.Getenv("LARDER_CRASH_EVERY"); s != "" { // longer runs
		every, _ = strconv.Atoi(s)
		each = 400
	}
	fs := newPowerFS()
	m := &model{objects: make(map[uint64]object)}
	var mu sync.Mutex
	ops, crashes, objects, orphans := 0, 0, 0, 0
	var failure error
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		mu.Lock()
		ops++
		n := ops
		mu.Unlock()
		if n%every != 0 {
			return nil
		}
		model := m.copy() // before the power goes: what it says must hold
		percent := []int{0, 50, 100}[n/every%3]
		after := fs.clone(percent, uint64(n))
		model.forgive(m)
		swept := 0
		err := model.verify(after, &swept)
		mu.Lock()
		defer mu.Unlock()
		orphans += swept
		crashes++
		objects += len(model.objects)
		if err != nil && failure == nil {
			failure = fmt.Errorf("power lost at operation %d (%v %s), %d %% of unsynced data kept: %w", n, op.Kind, op.Path, percent, err)
		}
		return nil
	})
	db, err := openCrash(errorfs.Wrap(fs, inject), nil)
	if err != nil {
		t.Fatal(err)
	}
	crashLoad(db, m, workers, each, func(err error) { t.Error(err) })
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if failure != nil {
		t.Fatal(failure)
	}
	if err := m.copy().verify(fs.clone(0, 1), new(int)); err != nil {
		t.Fatalf("after closing: %v", err)
	}
	if crashes < 4 {
		t.Errorf("only %d crashes in %d operations", crashes, ops)
	}
	t.Logf("%d power losses in %d operations, %d objects looked at, %d orphans", crashes, ops, objects, orphans)
}
