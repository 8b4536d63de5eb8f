package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

const tempDir = "tmp"

// prepareDir creates the directories and removes the tables that a crash left
// unfinished.
func (db *DB) prepareDir() error {
	tmp := db.fs.PathJoin(db.cfg.Dir, tempDir)
	if err := db.makeDir(tmp); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	names, err := db.fs.List(tmp)
	if err != nil {
		return fmt.Errorf("list unfinished tables: %w", err)
	}
	for _, n := range names {
		if err := db.fs.Remove(db.fs.PathJoin(tmp, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove unfinished table: %w", err)
		}
	}
	return nil
}

// makeDir creates a directory and those above it so that they survive a loss of
// power: each new one's entry is synced in the one above.
func (db *DB) makeDir(dir string) error {
	_, err := db.fs.Stat(dir)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := db.fs.PathDir(dir)
	if above == dir {
		return nil
	}
	if err := db.makeDir(above); err != nil {
		return err
	}
	if err := db.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	d, err := db.fs.OpenDir(above)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (db *DB) tempPath(id uint64, n uint32) string {
	return db.fs.PathJoin(db.cfg.Dir, tempDir, fmt.Sprintf("%016x-%08x.sst", id, n))
}

// restore loads the few things kept in memory and removes what a crash left:
// bytes that no index entry names. Those can only be in ids from the mark on,
// and in the garbage records, so this does not depend on the size of the store.
// It reads no bytes of blobs: a damaged one must not keep the store from opening.
func (db *DB) restore() error {
	if err := db.loadUsage(); err != nil {
		return err
	}
	db.durableSeq.Store(uint64(db.commit.usage.seq))
	mark, err := db.readNumber(metaMark)
	if err != nil {
		return fmt.Errorf("read sweep mark: %w", err)
	}
	if err := db.reserveIDs(); err != nil {
		return fmt.Errorf("reserve ids: %w", err)
	}
	if err := db.sweepGarbage(); err != nil {
		return fmt.Errorf("sweep deleted blobs: %w", err)
	}
	if _, _, err := db.sweepOrphans(db.ctx, mark); err != nil {
		return fmt.Errorf("sweep orphans: %w", err)
	}
	return nil
}

func (db *DB) loadUsage() error {
	val, err := db.get([]byte(metaUsage))
	if errors.Is(err, ErrNotFound) {
		db.counts.Store(&usage{})
		return nil
	}
	if err != nil {
		return fmt.Errorf("read usage: %w", corrupt(err))
	}
	u, err := parseUsage(val)
	if err != nil {
		return err
	}
	db.commit.usage = u
	db.counts.Store(&u)
	return nil
}

// readNumber reads a record of one number; 0 if there is none.
func (db *DB) readNumber(key string) (uint64, error) {
	val, err := db.get([]byte(key))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, corrupt(err)
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}

// saveMark writes the id below which no orphan can be. It lies behind every
// commit and every deletion of those ids in the log, so it is never durable
// without them.
func (db *DB) saveMark() error {
	if err := db.broken.Load(); err != nil {
		return *err
	}
	old, err := db.readNumber(metaMark)
	if err != nil {
		return err
	}
	m := db.ids.mark()
	if m == old {
		return nil
	}
	return db.pebble.Set([]byte(metaMark), binary.BigEndian.AppendUint64(nil, m), noSync)
}

// reserveIDs gives this process ids that no other has used, not even one that
// crashed before any trace of their use was durable.
func (db *DB) reserveIDs() error {
	next, err := db.readNumber(metaNext)
	if err != nil {
		return err
	}
	next = max(next, 1)
	end := next + idWindow
	if err := db.pebble.Set([]byte(metaNext), binary.BigEndian.AppendUint64(nil, end), pebble.Sync); err != nil {
		return err
	}
	db.ids.mu.Lock()
	db.ids.next, db.ids.end = next, end
	db.ids.mu.Unlock()
	return nil
}

// sweepGarbage deletes the bytes of blobs that were deleted while being read.
func (db *DB) sweepGarbage() error {
	var gs []garbage
	err := db.scan([]byte{preGarbage}, []byte{preGarbage + 1}, func(key, val []byte) error {
		g, err := parseGarbage(key, val)
		gs = append(gs, g)
		return err
	})
	if err != nil || len(gs) == 0 {
		return err
	}
	return db.dropBytes(gs, true)
}

// sweepOrphans deletes chunks with ids from `from` on that belong to no
// committed blob and no running writer. It returns how many stretches of the key
// space held some, and about how many bytes.
func (db *DB) sweepOrphans(ctx context.Context, from uint64) (found, size int64, err error) {
	err = db.eachOrphan(ctx, from, true, func(first, last uint64) error {
		n, err := db.pebble.EstimateDiskUsage(idKey(preChunk, first), chunkKey(last, math.MaxUint32))
		if err != nil {
			return err
		}
		found, size = found+1, size+int64(n)
		db.event(Event{Kind: EventOrphan, Detail: fmt.Sprintf("ids %d to %d", first, last), Bytes: int64(n)})
		pb := db.pebble.NewBatch()
		err = pb.DeleteRange(idKey(preChunk, first), idKey(preChunk, last+1), nil)
		return errors.Join(err, db.write(pb, false), pb.Close())
	})
	return found, size, err
}

// eachOrphan calls fn for each stretch of ids from `from` on, first and last
// included, that has chunks and no owner. It looks only between the ids that
// have one, so that no chunk of a committed blob is read. damaged says whether
// chunks count that cannot be read: they may be deleted already.
func (db *DB) eachOrphan(ctx context.Context, from uint64, damaged bool, fn func(first, last uint64) error) error {
	end, live := db.ids.snapshot() // ids from end on belong to later writers
	gap := func(to uint64) error { // [from, to)
		if to <= from {
			return nil
		}
		found, err := db.hasChunks(from, to)
		if pebble.IsCorruptionError(err) {
			found, err = damaged, nil
		}
		if err != nil || !found {
			return err
		}
		return fn(from, to-1)
	}
	owned := func(id uint64) error {
		if id < from || id >= end {
			return nil
		}
		err := gap(id)
		from = id + 1
		return err
	}
	err := db.ownedIDs(ctx, from, live, owned)
	if err == nil {
		err = gap(end)
	}
	return err
}

// ownedIDs calls fn, ascending, with the ids from `from` on that belong to
// committed blobs, to deleted ones still read, and to the given writers.
func (db *DB) ownedIDs(ctx context.Context, from uint64, live []uint64, fn func(id uint64) error) error {
	// Writers are listed before the records are read: one that commits in
	// between is in both.
	ids := live
	keys := func(key, _ []byte) error {
		if len(key) == 1+idLen {
			ids = append(ids, binary.BigEndian.Uint64(key[1:]))
		}
		return ctx.Err()
	}
	for _, p := range []byte{preOwner, preGarbage} {
		if err := db.scan(idKey(p, from), []byte{p + 1}, keys); err != nil {
			return err
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := fn(id); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// hasChunks reports whether there are chunks with ids in [first, end).
func (db *DB) hasChunks(first, end uint64) (bool, error) {
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: idKey(preChunk, first), UpperBound: idKey(preChunk, end)})
	if err != nil {
		return false, fmt.Errorf("iterate: %w", err)
	}
	found := it.First()
	if err := it.Error(); err != nil {
		_ = it.Close() // the same error
		return false, err
	}
	return found, it.Close()
}
