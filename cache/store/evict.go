package store

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

const (
	sampleSize = 10
	poolSize   = 100
)

// evictor chooses what makes room: the least recently used of a pool that is
// fed by random samples of the index.
type evictor struct {
	mu    sync.Mutex // one eviction at a time; guards pool
	pool  []victim   // oldest first
	owner atomic.Pointer[func(Sum, *Batch) bool]
	nudge chan struct{}
	n     atomic.Int64
	bytes atomic.Int64
}

type victim struct {
	sum Sum
	e   entry
}

func (e *evictor) init() { e.nudge = make(chan struct{}, 1) }

func (e *evictor) wake() <-chan struct{} { return e.nudge }

// SetEvictor registers the owner of the rows. fn is called for each blob chosen
// for eviction and adds to b what must go with it: deletions of rows and one
// Unref for each reference. It returns false if the blob must stay. It may read
// the store but must not write or create in it. Without an evictor only blobs
// without references are evicted.
func (db *DB) SetEvictor(fn func(s Sum, b *Batch) (ok bool)) { db.evict.owner.Store(&fn) }

// evictBytes frees about n bytes and returns how many it did.
func (db *DB) evictBytes(ctx context.Context, n int64) (freed int64, err error) {
	db.evict.mu.Lock()
	defer db.evict.mu.Unlock()
	misses := 0
	for freed < n && misses < 100 {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		if err := db.sample(); err != nil {
			return freed, err
		}
		if len(db.evict.pool) == 0 {
			return freed, nil
		}
		v := db.evict.pool[0]
		db.evict.pool = db.evict.pool[1:]
		ok, err := db.evictOne(v)
		if err != nil {
			return freed, err
		}
		if !ok {
			misses++
			continue
		}
		misses = 0
		freed += v.e.size
	}
	return freed, nil
}

// sample puts random blobs that may be evicted into the pool.
func (db *DB) sample() error {
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: []byte{preIndex}, UpperBound: []byte{preIndex + 1}})
	if err != nil {
		return err
	}
	var s Sum
	for range sampleSize {
		_, _ = rand.Read(s[:])
		if !it.SeekGE(indexKey(s)) && !it.First() {
			break
		}
		e, err := parseEntry(it.Value())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		copy(s[:], it.Key()[1:])
		if e.kind == kindMissing || e.pins > 0 || db.readers.busy(s) {
			continue
		}
		if slices.ContainsFunc(db.evict.pool, func(v victim) bool { return v.sum == s }) {
			continue
		}
		db.evict.pool = append(db.evict.pool, victim{s, e})
	}
	slices.SortFunc(db.evict.pool, func(a, b victim) int { return int(a.e.accessed - b.e.accessed) })
	if len(db.evict.pool) > poolSize {
		db.evict.pool = db.evict.pool[:poolSize]
	}
	return errors.Join(it.Error(), it.Close())
}

func (db *DB) evictOne(v victim) (bool, error) {
	e, err := db.readEntry(v.sum)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if e.pins > 0 || e.kind == kindMissing || e.accessed > v.e.accessed {
		return false, nil
	}
	b := db.NewBatch()
	if own := db.evict.owner.Load(); own != nil {
		if !(*own)(v.sum, b) {
			return false, nil
		}
	} else if e.refs > 0 {
		return false, nil
	}
	_, err = db.apply(b, nil, &guard{sum: v.sum, gen: e.gen}, false)
	if errors.Is(err, errChanged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	db.evict.n.Add(1)
	db.evict.bytes.Add(e.size)
	db.event(Event{Kind: EventEvicted, Sum: v.sum, Bytes: e.size})
	return true, nil
}

// evictAhead frees room before it is asked for.
func (db *DB) evictAhead() {}

// Drop removes the bytes of a blob whatever its references; for a corrupt one.
// Its references are kept, so that a blob committed again under the same sum
// has them.
func (db *DB) Drop(s Sum) error {
	if err := db.gate.enter(); err != nil {
		return err
	}
	defer db.gate.leave()
	for {
		e, err := db.readEntry(s)
		if err != nil {
			return err
		}
		if e.kind == kindMissing {
			return nil
		}
		_, err = db.apply(db.NewBatch(), nil, &guard{sum: s, gen: e.gen, drop: true}, true)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}
