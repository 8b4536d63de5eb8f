package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// scanBatch keys or scanTime after its start an iteration is started anew,
	// so that a slow callback does not keep old tables and memtables alive.
	scanBatch = 4096
	scanTime  = 200 * time.Millisecond
	// recountTime is how often rows are counted in the background.
	recountTime = 15 * time.Minute
)

// rowCount is the number of rows when they were last counted.
type rowCount struct {
	n    atomic.Int64
	last time.Time // housekeeping only
}

// Row returns a copy of the value under key, or ErrNotFound.
func (db *DB) Row(key []byte) ([]byte, error) {
	if err := db.gate.enter(); err != nil {
		return nil, err
	}
	defer db.gate.leave()
	val, err := db.get(rowKey(key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read row: %w", err)
	}
	return val, err
}

// get returns a copy of a value.
func (db *DB) get(key []byte) ([]byte, error) {
	val, closer, err := db.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(val)), val...), closer.Close()
}

// Rows calls fn for the rows whose key starts with prefix, ascending, beginning
// after the key after (nil: at the first). key and val are valid only inside fn.
// fn may return ErrStop to end early. Rows that change while it runs may or may
// not be seen in their new state. The store must not be closed from inside fn.
func (db *DB) Rows(prefix, after []byte, fn func(key, val []byte) error) error {
	lower := rowKey(prefix)
	if after != nil {
		if a := append(rowKey(after), 0); bytes.Compare(a, lower) > 0 {
			lower = a
		}
	}
	return db.scan(lower, prefixEnd(rowKey(prefix)), func(key, val []byte) error {
		return fn(key[1:], val)
	})
}

// scan calls fn for all pairs in [lower, upper).
func (db *DB) scan(lower, upper []byte, fn func(key, val []byte) error) error {
	if err := db.gate.enter(); err != nil {
		return err
	}
	defer db.gate.leave()
	for lower != nil {
		next, err := db.scanPart(lower, upper, fn)
		if errors.Is(err, ErrStop) {
			return nil
		}
		if err != nil {
			return err
		}
		lower = next
	}
	return nil
}

// scanPart calls fn for at most scanBatch pairs and returns where to go on, nil
// at the end.
func (db *DB) scanPart(lower, upper []byte, fn func(key, val []byte) error) (next []byte, err error) {
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("iterate: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("iterate: %w", cerr)
		}
	}()
	began := time.Now()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n == scanBatch || n > 0 && n%64 == 0 && time.Since(began) > scanTime {
			return append([]byte(nil), it.Key()...), nil
		}
		n++
		val, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("iterate: %w", err)
		}
		if err := fn(it.Key(), val); err != nil {
			return nil, err
		}
	}
	return nil, it.Error()
}

// CountRows counts the rows whose key starts with prefix. It reads them all.
func (db *DB) CountRows(ctx context.Context, prefix []byte) (n int64, err error) {
	err = db.Rows(prefix, nil, func(_, _ []byte) error {
		n++
		if n%scanBatch == 0 {
			return ctx.Err()
		}
		return nil
	})
	return n, err
}

// recountRows renews the number of rows in Stats.
func (db *DB) recountRows() error {
	if !db.rows.last.IsZero() && time.Since(db.rows.last) < recountTime {
		return nil
	}
	n, err := db.CountRows(db.ctx, nil)
	if err != nil {
		return ignoreCancel(err)
	}
	db.rows.n.Store(n)
	db.rows.last = time.Now()
	return nil
}
