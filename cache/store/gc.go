package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// graceTime is how long a blob may be without references before GC takes it:
// whoever committed it may be about to add one.
const graceTime = time.Minute

// GC removes blobs without references and bytes without an index entry, puts
// wrong totals and reference counts right, and compacts what is not large blobs.
// It may run beside reads and writes.
func (db *DB) GC(ctx context.Context, progress func(Progress)) (Report, error) {
	if err := db.gate.enter(); err != nil {
		return Report{}, err
	}
	defer db.gate.leave()
	u := db.newUpkeep(ctx, progress)
	for _, phase := range []func() error{
		u.repairReferences, u.collectUnreferenced, u.collectChunks, u.collectRecords, u.repairTotals, u.compact,
	} {
		if err := phase(); err != nil {
			return u.report, fmt.Errorf("gc: %s: %w", u.at.Phase, err)
		}
	}
	u.progress(u.at)
	return u.report, nil
}

func (u *upkeep) removed(n, bytes int64) {
	u.report.Removed += n
	u.report.Freed += bytes
}

func (u *upkeep) collectUnreferenced() error {
	u.phase("unreferenced blobs", u.db.Stats().Blobs)
	young := unix(u.db.now()) - int64(graceTime.Seconds())
	return u.db.eachEntry(u.ctx, func(s Sum, e entry) error {
		u.report.Blobs++
		if e.refs > 0 || e.pins > 0 || max(e.created, e.accessed) > young {
			return u.step()
		}
		_, err := u.db.apply(u.db.NewBatch(), nil, &guard{sum: s, gen: e.gen}, false)
		if err == nil {
			u.removed(1, e.size)
		} else if errors.Is(err, errChanged) || errors.Is(err, errHeld) {
			err = nil
		}
		return errors.Join(err, u.step())
	})
}

func (u *upkeep) collectChunks() error {
	u.phase("left-over chunks", 0)
	found, size, err := u.db.sweepOrphans(u.ctx, 0)
	u.removed(found, size)
	return err
}

// collectRecords removes small blobs and owner records that no entry names.
// Neither a crash nor a deletion leaves such; they would be the work of a fault.
func (u *upkeep) collectRecords() error {
	u.phase("left-over records", 0)
	for _, k := range []struct {
		prefix byte
		kind   blobKind
	}{{preInline, kindInline}, {preOwner, kindLarge}} {
		err := u.db.pages(u.ctx, []byte{k.prefix}, []byte{k.prefix + 1}, len(Sum{}), func(key, val []byte) error {
			return errors.Join(u.collectRecord(key, val, k.kind), u.step())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *upkeep) collectRecord(key, val []byte, kind blobKind) error {
	if len(key) != 1+idLen || len(val) < len(Sum{}) {
		return nil // Check reports it
	}
	id, s := binary.BigEndian.Uint64(key[1:]), Sum(val)
	e, err := u.db.readEntry(s)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil && e.kind == kind && e.id == id {
		return nil
	}
	before := len(u.report.Problems)
	if err := u.checkStray(key, s, id); err != nil || len(u.report.Problems) == before {
		return err
	}
	u.report.Problems = u.report.Problems[:before] // it is being solved
	u.removed(1, 0)
	u.db.event(Event{Kind: EventOrphan, Sum: s, Detail: fmt.Sprintf("id %d", id)})
	return u.db.dropBytes([]garbage{{kind, id, 0}}, false)
}

func (u *upkeep) repairTotals() error {
	u.phase("totals", 0)
	have, want, err := u.db.countUsage(u.ctx)
	if err != nil || have == want {
		return err
	}
	u.db.commit.Lock()
	next := u.db.commit.usage
	next.add(want, 1)
	next.add(have, -1)
	err = u.db.writeRepair(next, func(*pebble.Batch) error { return nil })
	u.db.commit.Unlock()
	if err == nil {
		u.report.Repaired++
		u.db.event(Event{Kind: EventRepaired, Detail: fmt.Sprintf("totals were %+v instead of %+v", have, want)})
	}
	return err
}

// compact rewrites what is not chunks. Tables of chunks are dropped whole when
// their blobs go; compacting them would only copy them.
func (u *upkeep) compact() error {
	u.phase("compaction", 0)
	if err := u.db.pebble.Flush(); err != nil {
		return err
	}
	return u.db.pebble.Compact(u.ctx, []byte{preChunk + 1}, []byte{preEnd}, false)
}
