// Package store is the store of record: one Pebble database that holds rows,
// the ledger, reference counts and the bytes of blobs.
//
// It owns the layout on disk, the commit order that survives a loss of power,
// the byte budget with its eviction, and the upkeep (check, scrub, garbage
// collection). It knows nothing of package formats: keys and values of rows are
// opaque, blobs are named by their SHA-256. It never dials anything, never
// serves HTTP and never decides what a row means; the owner of the rows
// registers a function for that (SetEvictor).
//
// DESIGN.md beside this file gives the layout and the reasons.
package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrNotFound is returned for a row or a blob that is not in the store.
	ErrNotFound = errors.New("not in the store")
	// ErrFull is returned when bytes cannot be reserved: the budget or the
	// file system is used up and nothing more can be evicted.
	ErrFull = errors.New("store is full")
	// ErrCorrupt is returned when stored bytes are not what was committed.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("store is closed")
	// ErrStop is returned by a callback to end an iteration early without
	// that being an error.
	ErrStop = errors.New("stop iterating")
)

// Sum is the SHA-256 of a blob.
type Sum [32]byte

// String returns the sum in lower-case hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// DB is an open store. All methods may be called concurrently.
type DB struct {
	cfg    Config
	fs     vfs.FS
	pebble *pebble.DB
	log    *slog.Logger
	now    func() time.Time

	gate    gate
	ctx     context.Context // ends with Close: background work stops
	stop    context.CancelFunc
	workers sync.WaitGroup

	// commit orders all changes of the index. Its critical section is short:
	// it never spans a sync. Lock order: evict.mu, commit.mu, readers.mu.
	commit struct {
		sync.Mutex
		usage usage // what the index adds up to
	}
	durableSeq atomic.Uint64         // last ledger sequence number known to be synced
	counts     atomic.Pointer[usage] // copy of commit.usage
	broken     atomic.Pointer[error] // the log could not be written: no more writes

	table         sstable.WriterOptions // of tables of chunks
	segmentChunks int                   // chunks in a full table

	ids     idSource
	readers readers
	space   space
	evict   evictor
	touch   toucher
	loans   loans
	chunks  sync.Pool // *[]byte of chunkSize
	scrubs  scrubResults
	rows    rowCount
	owner   owner
}

// Open opens or creates the store in cfg.Dir and finishes what a crash may have
// left undone. Only one process can have a store open.
func Open(cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := &DB{cfg: cfg, log: cfg.Logger, now: cfg.Now}
	db.ctx, db.stop = context.WithCancel(context.Background())
	db.segmentChunks = segmentSize / chunkSize
	db.fs = vfs.OnDiskFull(cfg.FS, db.onDiskFull)
	db.gate.init()
	db.readers.init()
	db.ids.init()
	db.touch.init()
	db.evict.init()
	db.loans.init()
	db.chunks.New = func() any { b := make([]byte, chunkSize); return &b }
	if err := db.prepareDir(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := db.openPebble(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := db.restore(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.pebble.Close())
	}
	_ = db.space.refresh(db) // unknown free space is no reason not to open
	db.workers.Add(1)
	go db.housekeep()
	return db, nil
}

// Close waits for running calls, writes what is held in memory and closes the
// database. Writers and Blobs still open fail with ErrClosed afterwards.
func (db *DB) Close() error {
	if !db.gate.close(func() {
		db.stop()
		db.workers.Wait()
	}) {
		return ErrClosed
	}
	if err := db.broken.Load(); err != nil {
		return *err // the database below would wait for its log for ever
	}
	// Flushed, the next Open has no log to replay.
	err := errors.Join(db.flushTouches(), db.saveMark(), db.pebble.Flush(), db.pebble.Close())
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// housekeep runs what is done every few seconds: access times, the mark of the
// orphan sweep, a look at the free space, eviction ahead of need, and now and
// then the count of rows.
func (db *DB) housekeep() {
	defer db.workers.Done()
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	for tend := true; ; {
		if db.gate.enter() != nil {
			return
		}
		if tend {
			db.report("write access times", db.flushTouches())
			db.report("write sweep mark", db.saveMark())
			db.report("watch free space", db.space.watch(db))
			db.report("count rows", db.recountRows())
		}
		db.report("evict", db.evictAhead())
		db.gate.leave()
		select {
		case <-db.ctx.Done():
			return
		case <-db.evict.nudge:
			tend = false
		case <-tick.C:
			tend = true
		}
	}
}

// report turns an error of background work into an event.
func (db *DB) report(doing string, err error) {
	if err != nil && !errors.Is(err, ErrClosed) && db.broken.Load() == nil {
		db.event(Event{Kind: EventError, Err: fmt.Errorf("%s: %w", doing, err)})
	}
}
