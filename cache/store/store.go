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
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
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
	stop    chan struct{} // closed by Close: background work ends
	workers sync.WaitGroup

	// commit orders all changes of the index. Its critical section is short:
	// it never spans a sync. Lock order: evict.mu, commit.mu, readers.mu.
	commit struct {
		sync.Mutex
		usage   usage  // what the index adds up to
		seq     uint64 // last ledger sequence number given out
		nextGen uint64
	}
	durableSeq atomic.Uint64 // last ledger sequence number known to be synced
	counts     atomic.Pointer[usage]

	ids     idSource
	readers readers
	space   space
	evict   evictor
	touch   toucher
	loans   loans
	chunks  sync.Pool // *[]byte of chunkSize
	scrubs  scrubResults
	rows    rowCount
}

// Open opens or creates the store in cfg.Dir and finishes what a crash may have
// left undone. Only one process can have a store open.
func Open(cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := &DB{cfg: cfg, fs: cfg.FS, log: cfg.Logger, now: cfg.Now, stop: make(chan struct{})}
	db.gate.init()
	db.readers.init()
	db.ids.init()
	db.touch.init()
	db.evict.init()
	db.chunks.New = func() any { b := make([]byte, chunkSize); return &b }
	if err := db.prepareDir(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := db.openPebble(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := db.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.pebble.Close())
	}
	db.space.refresh(db)
	db.workers.Add(1)
	go db.housekeep()
	return db, nil
}

// Close waits for running calls, writes what is held in memory and closes the
// database. Writers and Blobs still open fail with ErrClosed afterwards.
func (db *DB) Close() error {
	if !db.gate.close(func() {
		close(db.stop)
		db.workers.Wait()
	}) {
		return ErrClosed
	}
	err := db.flushTouches()
	if merr := db.saveMark(); err == nil {
		err = merr
	}
	if cerr := db.pebble.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// housekeep runs what is done every few seconds: access times, the mark of the
// orphan sweep, a look at the free space, and eviction ahead of need.
func (db *DB) housekeep() {
	defer db.workers.Done()
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	for {
		select {
		case <-db.stop:
			return
		case <-db.evict.wake():
		case <-tick.C:
		}
		if db.gate.enter() != nil {
			return
		}
		db.space.refresh(db)
		if err := db.flushTouches(); err != nil {
			db.event(Event{Kind: EventError, Err: fmt.Errorf("write access times: %w", err)})
		}
		if err := db.saveMark(); err != nil {
			db.event(Event{Kind: EventError, Err: fmt.Errorf("write sweep mark: %w", err)})
		}
		db.evictAhead()
		db.gate.leave()
	}
}

// gate counts running calls so that Close can wait for them. Nested entering is
// allowed.
type gate struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   *sync.Cond
}

func (g *gate) init() { g.idle = sync.NewCond(&g.mu) }

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.n++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	g.n--
	if g.n == 0 && g.closed {
		g.idle.Broadcast()
	}
	g.mu.Unlock()
}

// close shuts the gate, runs stop, and waits until nobody is inside. It
// reports whether this call was the one that closed it.
func (g *gate) close(stop func()) bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed = true
	g.mu.Unlock()
	stop()
	g.mu.Lock()
	for g.n > 0 {
		g.idle.Wait()
	}
	g.mu.Unlock()
	return true
}
