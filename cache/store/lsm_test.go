package store

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Commits that run together share a sync, and none holds up another while it
// waits for the disk.
func TestCommitsShareSyncs(t *testing.T) {
	const commits = 50
	var armed atomic.Bool
	var syncs atomic.Int32
	release := make(chan struct{})
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		isSync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if armed.Load() && isSync && strings.HasSuffix(op.Path, ".log") {
			syncs.Add(1)
			<-release
		}
		return nil
	})
	db := open(t, Config{FS: errorfs.Wrap(vfs.NewMem(), inject)})
	armed.Store(true)
	var wg sync.WaitGroup
	for i := range commits {
		wg.Go(func() {
			b := db.NewBatch()
			b.Set(fmt.Append(nil, i), nil)
			b.Ledger(fmt.Append(nil, i))
			if err := b.Commit(true); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range commits { // all are applied while the first sync still runs
		for {
			if _, err := db.Row(fmt.Append(nil, i)); err == nil {
				break
			}
			runtime.Gosched()
		}
	}
	if db.LedgerSeq() != 0 {
		t.Errorf("ledger shows %d entries before any is synced", db.LedgerSeq())
	}
	close(release)
	wg.Wait()
	if n := syncs.Load(); n > 3 {
		t.Errorf("%d syncs for %d commits", n, commits)
	}
	if db.LedgerSeq() != commits {
		t.Errorf("ledger at %d, want %d", db.LedgerSeq(), commits)
	}
}

// The tables of large blobs are written once: no flush and no compaction of
// other keys touches them, and deleted ones leave the disk without being read.
func TestTablesOfBlobsStay(t *testing.T) {
	db := open(t, Config{})
	var sums []Sum
	row := func(round, i int) []byte { return fmt.Appendf(nil, "%05d/%d", i*7919%2000, round%2) }
	rows := int64(0)
	for round := range 6 {
		for i := range 4 {
			sums = append(sums, put(t, db, payload(uint64(round*10+i), 600<<10), nil))
		}
		b := db.NewBatch()
		for i := range 2000 {
			val := payload(uint64(i), 200)
			b.Set(row(round, i), val)
			rows += int64(len(val)) + 10
		}
		if round > 1 {
			b.Unref(sums[round*2]) // range tombstones beside the rows
		}
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
		if err := db.pebble.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.pebble.Compact(t.Context(), []byte{preChunk + 1}, []byte{preEnd}, false); err != nil {
		t.Fatal(err)
	}
	if n := db.Stats().Pebble.BytesCompacted; n > 8*rows {
		t.Errorf("%d bytes compacted for %d bytes of rows: tables of blobs were among them", n, rows)
	}
	levels, err := db.pebble.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for level, tables := range levels {
		for _, s := range tables {
			first, last := s.Smallest.UserKey[0], s.Largest.UserKey[0]
			if first != last && !(s.Largest.IsExclusiveSentinel() && last == first+1) {
				t.Errorf("table %s in L%d spans %q to %q", s.FileNum, level, s.Smallest.UserKey, s.Largest.UserKey)
			}
		}
	}
	for _, s := range sums {
		if db.HasBlob(s) {
			commit(t, db, func(b *Batch) { b.Unref(s) })
		}
	}
	if err := db.pebble.Flush(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n, err := db.pebble.EstimateDiskUsage([]byte{preChunk}, []byte{preChunk + 1})
		if err != nil {
			t.Fatal(err)
		}
		if n < 100<<10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of deleted blobs are still there", n)
		}
	}
}
