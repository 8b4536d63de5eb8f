package store

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxTouched bounds the access times held in memory.
const maxTouched = 64 << 10

type toucher struct {
	mu sync.Mutex
	at map[Sum]int64
}

func (t *toucher) init() { t.at = make(map[Sum]int64) }

// Touch notes that a blob was used. Access times are gathered in memory,
// written every few seconds, and only if the stored one is more than ten
// minutes old.
func (db *DB) Touch(s Sum) {
	now := unix(db.now())
	t := &db.touch
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.at[s]; ok || len(t.at) < maxTouched {
		t.at[s] = now
	}
}

// flushTouches writes the access times.
func (db *DB) flushTouches() error {
	t := &db.touch
	t.mu.Lock()
	at := t.at
	t.at = make(map[Sum]int64)
	t.mu.Unlock()
	var errs []error
	for s, when := range at {
		errs = append(errs, db.writeTouch(s, when))
	}
	return errors.Join(errs...)
}

func (db *DB) writeTouch(s Sum, when int64) error {
	e, err := db.readEntry(s)
	if errors.Is(err, ErrNotFound) || err == nil && when-e.accessed < int64(touchAge.Seconds()) {
		return nil
	}
	if err != nil {
		return err
	}
	db.commit.Lock()
	defer db.commit.Unlock()
	if e, err = db.readEntry(s); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	e.accessed = max(e.accessed, when)
	return db.pebble.Set(indexKey(s), e.append(nil), pebble.NoSync)
}
