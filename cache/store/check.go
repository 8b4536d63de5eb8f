package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Progress tells how far Check, Scrub or GC has come.
type Progress struct {
	Phase string
	Done  int64 // objects of this phase
	Total int64 // objects of this phase; 0 if unknown
	Bytes int64 // bytes of blobs read so far
}

// Report is the result of Check, Scrub or GC.
type Report struct {
	Blobs    int64 // looked at
	Bytes    int64 // read
	Rows     int64
	Ledger   int64
	Removed  int64 // blobs or left-over bytes removed
	Freed    int64 // bytes of these
	Repaired int64 // records put right
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Sum    Sum // the blob concerned, if one is
	Detail string
}

// OK reports whether nothing was found wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// pageSize is the number of keys taken at a time by the upkeep, which does slow
// work with each of them.
const pageSize = 512

// progressEvery is the number of objects between two calls of progress.
const progressEvery = 256

// upkeep is one run of Check, Scrub or GC.
type upkeep struct {
	db       *DB
	ctx      context.Context
	progress func(Progress)
	report   Report
	at       Progress
	pace     pace
}

func (db *DB) newUpkeep(ctx context.Context, progress func(Progress)) *upkeep {
	if progress == nil {
		progress = func(Progress) {}
	}
	return &upkeep{db: db, ctx: ctx, progress: progress}
}

func (u *upkeep) phase(name string, total int64) {
	u.at = Progress{Phase: name, Total: total, Bytes: u.report.Bytes}
	u.progress(u.at)
}

func (u *upkeep) step() error {
	u.at.Done++
	u.at.Bytes = u.report.Bytes
	if u.at.Done%progressEvery == 0 {
		u.progress(u.at)
	}
	return u.ctx.Err()
}

func (u *upkeep) problem(s Sum, format string, args ...any) {
	u.report.Problems = append(u.report.Problems, Problem{s, fmt.Sprintf(format, args...)})
}

// Check reads everything and reports what is not as it should be: every index
// entry has its bytes and they have its digest, no bytes are without an entry,
// the ledger has no gaps, the totals are right and, if the owner of the rows has
// registered how to count, so are the references. It changes nothing. It may run
// beside reads and writes.
func (db *DB) Check(ctx context.Context, progress func(Progress)) (Report, error) {
	if err := db.gate.enter(); err != nil {
		return Report{}, err
	}
	defer db.gate.leave()
	u := db.newUpkeep(ctx, progress)
	for _, phase := range []func() error{
		u.checkInline, u.checkLarge, u.checkIndex, u.checkOrphans, u.checkTotals,
		u.checkReferences, u.checkLedger, u.checkRows,
	} {
		if err := phase(); err != nil {
			return u.report, fmt.Errorf("check: %s: %w", u.at.Phase, err)
		}
	}
	u.progress(u.at)
	return u.report, nil
}

// pages calls fn with the keys and, if values is set, a copy of the start of the
// values in [lower, upper), without an iterator being open meanwhile.
func (db *DB) pages(ctx context.Context, lower, upper []byte, head int, fn func(key, val []byte) error) error {
	type pair struct{ key, val []byte }
	for lower != nil {
		var page []pair
		from := lower
		lower = nil
		err := db.scan(from, upper, func(key, val []byte) error {
			if len(page) == pageSize {
				lower = append([]byte(nil), key...)
				return ErrStop
			}
			val = val[:min(len(val), head)]
			page = append(page, pair{append([]byte(nil), key...), append([]byte(nil), val...)})
			return nil
		})
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(p.key, p.val); errors.Is(err, ErrStop) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// eachEntry calls fn for every index entry. fn may return ErrStop.
func (db *DB) eachEntry(ctx context.Context, fn func(s Sum, e entry) error) error {
	return db.pages(ctx, []byte{preIndex}, []byte{preIndex + 1}, 256, func(key, val []byte) error {
		if len(key) != 1+len(Sum{}) {
			return fmt.Errorf("%w: index key of %d bytes", ErrCorrupt, len(key))
		}
		e, err := parseEntry(val)
		if err != nil {
			return fmt.Errorf("entry of %s: %w", Sum(key[1:]), err)
		}
		return fn(Sum(key[1:]), e)
	})
}

// hashBlob reads a blob and compares its SHA-256.
func (u *upkeep) hashBlob(s Sum) error {
	b, err := u.db.OpenBlob(s)
	if err != nil {
		return err
	}
	defer b.Close()
	h := sha256.New()
	for off := int64(0); off < b.size; {
		n, err := b.WriteRange(h, off, min(pacedBytes, b.size-off))
		off += n
		u.report.Bytes += n
		if err == nil {
			err = u.pace.wait(u.ctx, n)
		}
		if err != nil {
			return err
		}
	}
	if got := Sum(h.Sum(nil)); got != s {
		return fmt.Errorf("%w: digest is %s", ErrCorrupt, got)
	}
	return nil
}

// checkBytes looks at the bytes stored under an id that say they belong to s.
func (u *upkeep) checkBytes(key []byte, s Sum, kind blobKind) error {
	id := binary.BigEndian.Uint64(key[1:])
	e, err := u.db.readEntry(s)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || e.kind != kind || e.id != id {
		return u.checkStray(key, s, id)
	}
	u.report.Blobs++
	err = u.hashBlob(s)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil // deleted meanwhile
	case errors.Is(err, ErrCorrupt):
		u.problem(s, "%v", err)
		return nil
	}
	return err
}

// checkStray reports bytes that no entry names, unless they are about to go or
// gone.
func (u *upkeep) checkStray(key []byte, s Sum, id uint64) error {
	for _, k := range [][]byte{idKey(preGarbage, id), key} {
		_, err := u.db.get(k)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if found := err == nil; found == (k[0] == preGarbage) {
			return nil
		}
	}
	u.problem(s, "bytes with id %d are not in the index", id)
	return nil
}

// checkInline goes through small blobs in the order they lie on disk. Where that
// cannot be read, it goes by the index to find out which ones are hit.
func (u *upkeep) checkInline() error {
	u.phase("small blobs", u.db.counts.Load().inlineBlobs)
	before := u.report
	err := u.checkInlineInOrder()
	if !pebble.IsCorruptionError(err) {
		return err
	}
	u.report = before
	u.problem(Sum{}, "small blobs: %v", err)
	return u.db.eachEntry(u.ctx, func(s Sum, e entry) error {
		if e.kind != kindInline {
			return nil
		}
		if err := u.checkBytes(idKey(preInline, e.id), s, kindInline); err != nil {
			return err
		}
		return u.step()
	})
}

func (u *upkeep) checkInlineInOrder() error {
	return u.db.pages(u.ctx, []byte{preInline}, []byte{preInline + 1}, len(Sum{}), func(key, val []byte) error {
		if len(key) != 1+idLen || len(val) < len(Sum{}) {
			u.problem(Sum{}, "small blob %x is malformed", key)
			return nil
		}
		if err := u.checkBytes(key, Sum(val), kindInline); err != nil {
			return err
		}
		return u.step()
	})
}

func (u *upkeep) checkLarge() error {
	u.phase("large blobs", u.db.counts.Load().largeBlobs)
	return u.db.pages(u.ctx, []byte{preOwner}, []byte{preOwner + 1}, len(Sum{}), func(key, val []byte) error {
		if len(key) != 1+idLen || len(val) != len(Sum{}) {
			u.problem(Sum{}, "owner record %x is malformed", key)
			return nil
		}
		if err := u.checkBytes(key, Sum(val), kindLarge); err != nil {
			return err
		}
		return u.step()
	})
}

// checkIndex looks from the index for what the passes over the bytes could not
// see: entries whose bytes are not there at all.
func (u *upkeep) checkIndex() error {
	u.phase("index", 0)
	return u.db.eachEntry(u.ctx, func(s Sum, e entry) error {
		if e.kind == kindMissing {
			u.problem(s, "bytes were dropped as corrupt; %d references wait for them", e.refs)
			return u.step()
		}
		key := idKey(preInline, e.id)
		if e.kind == kindLarge {
			key = idKey(preOwner, e.id)
		}
		_, closer, err := u.db.pebble.Get(key)
		if err == nil {
			return errors.Join(closer.Close(), u.step())
		}
		if err = corrupt(err); !errors.Is(err, ErrCorrupt) {
			return err
		}
		now, rerr := u.db.readEntry(s)
		if rerr == nil && now.id == e.id && now.kind == e.kind {
			u.problem(s, "%v", err)
		}
		return u.step()
	})
}

func (u *upkeep) checkOrphans() error {
	u.phase("left-over chunks", 0)
	return u.db.eachOrphan(u.ctx, 0, false, func(first, last uint64) error {
		u.problem(Sum{}, "chunks with ids %d to %d belong to no blob", first, last)
		return u.step()
	})
}

func (u *upkeep) checkTotals() error {
	u.phase("totals", 0)
	have, want, err := u.db.countUsage(u.ctx)
	if err == nil && have != want {
		u.problem(Sum{}, "totals are %+v, the index adds up to %+v", have, want)
	}
	return err
}

func (u *upkeep) checkLedger() error {
	u.phase("ledger", int64(u.db.LedgerSeq()))
	last := uint64(0)
	return u.db.LedgerRange(0, func(seq uint64, _ []byte) error {
		if seq != last+1 {
			u.problem(Sum{}, "ledger has no entries between %d and %d", last, seq)
		}
		last = seq
		u.report.Ledger++
		return u.step()
	})
}

func (u *upkeep) checkRows() error {
	u.phase("rows", u.db.rows.n.Load())
	err := u.db.Rows(nil, nil, func(_, _ []byte) error {
		u.report.Rows++
		return u.step()
	})
	if err == nil {
		u.db.rows.n.Store(u.report.Rows)
	}
	return err
}
