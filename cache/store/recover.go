package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

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
func (db *DB) restore() error {
	if err := db.loadUsage(); err != nil {
		return err
	}
	seq, err := db.lastID(preLedger)
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	db.commit.seq = seq
	db.durableSeq.Store(seq)
	mark, err := db.readMark()
	if err != nil {
		return err
	}
	next := max(mark, 1)
	for _, p := range []byte{preChunk, preInline, preOwner, preGarbage} {
		id, err := db.lastID(p)
		if err != nil {
			return err
		}
		next = max(next, id+1)
	}
	db.ids.next = next
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
		return fmt.Errorf("read usage: %w", err)
	}
	u, err := parseUsage(val)
	if err != nil {
		return err
	}
	db.commit.usage = u
	db.counts.Store(&u)
	return nil
}

func (db *DB) readMark() (uint64, error) {
	val, err := db.get([]byte(metaMark))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read sweep mark: %w", err)
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("%w: sweep mark is malformed", ErrCorrupt)
	}
	return binary.BigEndian.Uint64(val), nil
}

// saveMark writes the id below which no orphan can be. It lies behind every
// commit and every deletion of those ids in the log, so it is never durable
// without them.
func (db *DB) saveMark() error {
	old, err := db.readMark()
	if err != nil {
		return err
	}
	m := db.ids.mark()
	if m == old {
		return nil
	}
	return db.pebble.Set([]byte(metaMark), binary.BigEndian.AppendUint64(nil, m), noSync)
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
// committed blob and no running writer, and reports how many blobs and chunks.
func (db *DB) sweepOrphans(ctx context.Context, from uint64) (blobs, chunks int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return blobs, chunks, err
		}
		id, ok, err := db.nextChunkID(from)
		if err != nil || !ok {
			return blobs, chunks, err
		}
		from = id + 1
		orphan, err := db.isOrphan(id)
		if err != nil {
			return blobs, chunks, err
		}
		if !orphan {
			continue
		}
		n := int64(0)
		if err := db.scan(idKey(preChunk, id), idKey(preChunk, id+1), func(_, _ []byte) error { n++; return nil }); err != nil {
			return blobs, chunks, err
		}
		if err := db.dropBytes([]garbage{{kindLarge, id, n * chunkSize}}, false); err != nil {
			return blobs, chunks, err
		}
		blobs, chunks = blobs+1, chunks+n
		db.event(Event{Kind: EventOrphan, Detail: fmt.Sprintf("id %d", id), Bytes: n * chunkSize})
	}
}

// nextChunkID returns the lowest id from `from` on that has chunks.
func (db *DB) nextChunkID(from uint64) (id uint64, ok bool, err error) {
	it, err := db.pebble.NewIter(&pebble.IterOptions{LowerBound: idKey(preChunk, from), UpperBound: []byte{preChunk + 1}})
	if err != nil {
		return 0, false, fmt.Errorf("iterate: %w", err)
	}
	if it.First() && len(it.Key()) >= 1+idLen {
		id, ok = binary.BigEndian.Uint64(it.Key()[1:]), true
	}
	return id, ok, errors.Join(it.Error(), it.Close())
}

// isOrphan looks at running writers first: one that commits in between has its
// owner record by the time that is read.
func (db *DB) isOrphan(id uint64) (bool, error) {
	if db.ids.isLive(id) {
		return false, nil
	}
	for _, p := range []byte{preOwner, preGarbage} {
		_, err := db.get(idKey(p, id))
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return false, err
		}
	}
	return true, nil
}
