package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Progress tells how far Check, Scrub or GC has come.
type Progress struct {
	Phase string
	Done  int64 // objects
	Total int64 // objects; 0 if unknown
	Bytes int64 // bytes read so far
}

// Report is the result of Check, Scrub or GC.
type Report struct {
	Blobs    int64
	Bytes    int64
	Rows     int64
	Ledger   int64
	Removed  int64 // blobs or orphans removed
	Freed    int64 // their bytes
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Sum    Sum
	Detail string
}

// OK reports whether nothing was found wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// hashBlob reads a blob and compares its SHA-256.
func (db *DB) hashBlob(s Sum) (int64, error) {
	b, err := db.OpenBlob(s)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	h := sha256.New()
	n, err := b.WriteTo(h)
	if err != nil {
		return n, err
	}
	if Sum(h.Sum(nil)) != s {
		return n, fmt.Errorf("%w: digest differs", ErrCorrupt)
	}
	return n, nil
}

// sums calls fn for every index entry.
func (db *DB) sums(fn func(s Sum, e entry) error) error {
	return db.scan([]byte{preIndex}, []byte{preIndex + 1}, func(key, val []byte) error {
		e, err := parseEntry(val)
		if err != nil {
			return err
		}
		return fn(Sum(key[1:]), e)
	})
}

// Check reads everything and reports what is not as it should be.
func (db *DB) Check(ctx context.Context, progress func(Progress)) (Report, error) {
	return db.Scrub(ctx, 0, progress)
}

// Scrub re-hashes all blobs at no more than rate bytes a second (0: no limit).
func (db *DB) Scrub(ctx context.Context, rate int64, progress func(Progress)) (Report, error) {
	var r Report
	err := db.sums(func(s Sum, e entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := db.hashBlob(s)
		r.Blobs++
		r.Bytes += n
		if errors.Is(err, ErrCorrupt) {
			r.Problems = append(r.Problems, Problem{s, err.Error()})
			return db.Drop(s)
		}
		return nil
	})
	return r, err
}

// GC removes blobs without references and bytes without an index entry.
func (db *DB) GC(ctx context.Context, progress func(Progress)) (Report, error) {
	var r Report
	blobs, chunks, err := db.sweepOrphans(0)
	r.Removed, r.Freed = blobs, chunks*chunkSize
	return r, err
}
