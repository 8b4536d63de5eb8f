package store

import (
	"errors"
	"fmt"
	"sync"
)

const (
	// maxTouched bounds the access times held in memory; more are lost.
	maxTouched = 64 << 10
	// touchBatch access times are written in one critical section.
	touchBatch = 256
)

// toucher gathers access times.
type toucher struct {
	mu      sync.Mutex
	at      map[Sum]int64
	writing map[Sum]int64 // those being written just now
}

func (t *toucher) init() { t.at = make(map[Sum]int64) }

func (t *toucher) has(s Sum) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.at[s]
	if !ok {
		_, ok = t.writing[s]
	}
	return ok
}

// Touch notes that a blob was used. Access times are gathered in memory,
// written every ten seconds, and only if the stored one is more than ten minutes
// older.
func (db *DB) Touch(s Sum) {
	now := unix(db.now())
	t := &db.touch
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.at[s]; ok || len(t.at) < maxTouched {
		t.at[s] = now
	}
}

// flushTouches writes the access times. It does not sync: they may be lost. It
// must not run twice at a time.
func (db *DB) flushTouches() error {
	t := &db.touch
	t.mu.Lock()
	at := t.at
	t.at, t.writing = make(map[Sum]int64), at
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.writing = nil
		t.mu.Unlock()
	}()
	part := make(map[Sum]int64, touchBatch)
	for s, when := range at {
		e, err := db.readEntry(s)
		if errors.Is(err, ErrNotFound) || err == nil && when-e.accessed <= int64(touchAge.Seconds()) {
			continue
		}
		if err != nil {
			return err
		}
		part[s] = when
		if len(part) == touchBatch {
			if err := db.writeTouches(part); err != nil {
				return err
			}
			clear(part)
		}
	}
	return db.writeTouches(part)
}

// writeTouches rewrites entries with a new access time. They were read just
// now, so the critical section finds them in memory.
func (db *DB) writeTouches(at map[Sum]int64) error {
	if len(at) == 0 {
		return nil
	}
	if err := db.broken.Load(); err != nil {
		return *err
	}
	db.commit.Lock()
	defer db.commit.Unlock()
	pb := db.pebble.NewBatch()
	var buf []byte
	for s, when := range at {
		e, err := db.readEntry(s)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		e.accessed = max(e.accessed, when)
		buf = e.append(buf[:0])
		if err := pb.Set(indexKey(s), buf, nil); err != nil {
			return fmt.Errorf("write access time: %w", err)
		}
	}
	return errors.Join(db.write(pb, false), pb.Close())
}
