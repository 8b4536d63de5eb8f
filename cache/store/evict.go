package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// sampleSize blobs at a time are drawn at random into a pool of the
	// poolSize least recently used ones seen; the oldest of the pool goes.
	sampleSize = 10
	poolSize   = 100
	// sampleSteps is how far at most a sample goes on from the random place it
	// sought, so that blobs behind a small gap have a chance.
	sampleSteps = 8
	// walkSize is how many of the oldest blobs a walk through the index tries
	// first.
	walkSize = 1000
	// maxMisses victims in a row that could not go end the sampling; then the
	// index is walked.
	maxMisses = 50
	// barrenTime is how long a walk without result is believed.
	barrenTime = 30 * time.Second
)

// evictor chooses what makes room.
type evictor struct {
	mu     sync.Mutex // one eviction at a time; guards what follows
	pool   []victim   // least recently used first
	barren time.Time  // when the index was walked in vain

	nudge chan struct{} // wakes the housekeeping
	n     atomic.Int64
	bytes atomic.Int64
}

// owner is what the owner of the rows has registered.
type owner struct {
	evict atomic.Pointer[func(Sum, *Batch) bool]
	refs  atomic.Pointer[func(func(Sum) error) error]
}

type victim struct {
	sum Sum
	e   entry
}

func (e *evictor) init() { e.nudge = make(chan struct{}, 1) }

func (e *evictor) wake() {
	select {
	case e.nudge <- struct{}{}:
	default:
	}
}

// highWater is the usage at which the housekeeping starts to evict, lowWater
// where it stops.
func highWater(budget int64) int64 { return budget - budget/32 }
func lowWater(budget int64) int64  { return budget - budget/16 }

// SetEvictor registers the owner of the rows. fn is called for each blob that is
// to be evicted, or dropped as corrupt, and adds to b what must go with it: the
// deletion or change of rows and one Unref for each reference. It returns false
// if the blob must stay. A blob still referred to afterwards stays, and so does
// one whose references changed while fn ran; b is not applied then.
//
// fn may read the store, but must not write to it, create blobs, or wait for a
// lock that is held somewhere around Create or Writer.Write, which call it.
// Without it only blobs without references are evicted.
func (db *DB) SetEvictor(fn func(s Sum, b *Batch) (ok bool)) {
	if fn == nil {
		db.owner.evict.Store(nil)
		return
	}
	db.owner.evict.Store(&fn)
}

// evictBytes evicts until want returns 0, and returns how many bytes went. It
// returns 0 if nothing can go.
func (db *DB) evictBytes(ctx context.Context, want func() int64) (freed int64, err error) {
	db.evict.mu.Lock()
	defer db.evict.mu.Unlock()
	goal := want() // somebody else may have evicted while this waited
	if goal <= 0 {
		return 0, nil
	}
	for misses := 0; freed < goal && misses < maxMisses; {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		// The first few victims should not be chosen among just a few.
		for more := true; more; {
			had := len(db.evict.pool)
			if err := db.sample(); err != nil {
				return freed, err
			}
			more = len(db.evict.pool) > had && len(db.evict.pool) < poolSize/2
		}
		if len(db.evict.pool) == 0 {
			break
		}
		v := db.evict.pool[0]
		db.evict.pool = slices.Delete(db.evict.pool, 0, 1)
		n, err := db.evictOne(v.sum, v.e.accessed)
		if err != nil {
			return freed, err
		}
		misses++
		if n > 0 {
			freed, misses = freed+n, 0
		}
	}
	if freed > 0 {
		return freed, nil
	}
	return db.evictWalk(ctx, goal)
}

// sample puts random blobs into the pool.
func (db *DB) sample() error {
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: []byte{preIndex}, UpperBound: []byte{preIndex + 1}})
	if err != nil {
		return fmt.Errorf("sample blobs: %w", err)
	}
	defer it.Close()
	pool := db.evict.pool
	for range sampleSize {
		var s Sum
		_, _ = rand.Read(s[:])
		if !it.SeekGE(indexKey(s)) && !it.First() {
			break
		}
		for range int(s[len(s)-1]) % sampleSteps {
			if !it.Next() && !it.First() {
				break
			}
		}
		if !it.Valid() {
			break
		}
		e, err := parseEntry(it.Value())
		if err != nil {
			return fmt.Errorf("sample blobs: %w", err)
		}
		copy(s[:], it.Key()[1:])
		if e.kind == kindMissing || e.pins > 0 || db.readers.busy(s) {
			continue
		}
		if !slices.ContainsFunc(pool, func(v victim) bool { return v.sum == s }) {
			pool = append(pool, victim{s, e})
		}
	}
	slices.SortFunc(pool, func(a, b victim) int { return int(a.e.accessed - b.e.accessed) })
	db.evict.pool = pool[:min(len(pool), poolSize)]
	if err := it.Error(); err != nil {
		return fmt.Errorf("sample blobs: %w", err)
	}
	return nil
}

// evictWalk goes through the whole index for blobs that can go; for stores where
// hardly any can. It tries the least recently used first, then all.
func (db *DB) evictWalk(ctx context.Context, goal int64) (freed int64, err error) {
	if d := db.now().Sub(db.evict.barren); d >= 0 && d < barrenTime {
		return 0, nil
	}
	oldest, err := db.oldest(ctx, walkSize)
	if err != nil {
		return 0, err
	}
	try := func(s Sum, e entry) error {
		if e.kind == kindMissing || e.pins > 0 {
			return nil
		}
		n, err := db.evictOne(s, e.accessed)
		freed += n
		if err == nil && freed >= goal {
			err = ErrStop
		}
		return err
	}
	for _, v := range oldest {
		if err := try(v.sum, v.e); errors.Is(err, ErrStop) {
			return freed, nil
		} else if err != nil {
			return freed, err
		}
	}
	if freed > 0 || len(oldest) < walkSize {
		if freed == 0 {
			db.evict.barren = db.now()
		}
		return freed, nil
	}
	err = db.eachEntry(ctx, try)
	if err == nil && freed == 0 {
		db.evict.barren = db.now()
	}
	return freed, err
}

// oldest returns the n least recently used blobs, oldest first.
func (db *DB) oldest(ctx context.Context, n int) (vs []victim, err error) {
	trim := func() {
		slices.SortFunc(vs, func(a, b victim) int { return int(a.e.accessed - b.e.accessed) })
		vs = vs[:min(len(vs), n)]
	}
	err = db.eachEntry(ctx, func(s Sum, e entry) error {
		if e.kind == kindMissing || e.pins > 0 || len(vs) >= n && e.accessed >= vs[n-1].e.accessed {
			return nil
		}
		if vs = append(vs, victim{s, e}); len(vs) == 2*n {
			trim()
		}
		return nil
	})
	trim()
	return vs, err
}

// evictOne evicts a blob last used at accessed, and returns how many bytes that
// freed: 0 if it cannot go.
func (db *DB) evictOne(s Sum, accessed int64) (int64, error) {
	e, err := db.readEntry(s)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if e.kind == kindMissing || e.pins > 0 || e.accessed > accessed || db.readers.busy(s) || db.touch.has(s) {
		return 0, nil
	}
	err = db.remove(s, e, false, false)
	if errors.Is(err, errChanged) || errors.Is(err, errHeld) || errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	db.space.deleted(db, e.size)
	db.evict.n.Add(1)
	db.evict.bytes.Add(e.size)
	db.event(Event{Kind: EventEvicted, Sum: s, Bytes: e.size})
	return max(e.size, 1), nil
}

// remove asks the owner of the rows and takes a blob away with them.
func (db *DB) remove(s Sum, e entry, corrupt, sync bool) error {
	b := db.NewBatch()
	if own := db.owner.evict.Load(); own != nil {
		if !(*own)(s, b) {
			return errHeld
		}
	} else if e.refs > 0 {
		return errHeld
	}
	_, err := db.apply(b, nil, &guard{sum: s, gen: e.gen, corrupt: corrupt}, sync)
	return err
}

// evictAhead frees room before it is asked for.
func (db *DB) evictAhead() error {
	s := &db.space
	over := func(line func(int64) int64) (n int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if db.cfg.Disk > 0 {
			n = s.used(db) - line(db.cfg.Disk)
		}
		if s.known {
			lack := db.reserveBytes(s.total) + (s.reserved - s.written) - s.free
			if s.ballast.lost {
				lack += 3 * ballastFor(s.total)
			}
			n = max(n, lack-s.stillLeaving(db.now()))
		}
		return n
	}
	if over(highWater) <= 0 {
		return nil
	}
	for over(lowWater) > 0 {
		freed, err := db.evictBytes(db.ctx, func() int64 { return over(lowWater) })
		if err != nil || freed == 0 {
			return ignoreCancel(err)
		}
	}
	return nil
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Drop removes the bytes of a blob whatever its references; it is for a corrupt
// one. The references are kept: when the blob is committed again under the same
// sum it has them still.
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
		_, err = db.apply(db.NewBatch(), nil, &guard{sum: s, gen: e.gen, corrupt: true}, true)
		if err == nil {
			db.event(Event{Kind: EventDropped, Sum: s, Bytes: e.size})
		}
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}
