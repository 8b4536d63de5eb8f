package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// newBlob is a blob that becomes visible with a batch.
type newBlob struct {
	sum   Sum
	size  int64
	id    uint64
	kind  blobKind
	small []byte // bytes, if kind is kindInline
	// ifPresent makes apply fail with errAbsent unless the blob is there
	// already: the bytes are not stored yet and need not be.
	ifPresent bool
}

// guard makes a commit conditional on a blob not having changed since its entry
// was read, and takes the blob away with it.
type guard struct {
	sum Sum
	gen int64
	// corrupt takes the bytes also while they are read or referred to; the
	// references are kept then.
	corrupt bool
}

var (
	errChanged = errors.New("blob changed meanwhile")
	errAbsent  = errors.New("blob is not there yet")
	errHeld    = errors.New("blob is still referred to")
)

// apply is the one place where rows, index entries and the ledger are written.
// It returns whether add was new (false: the blob was there already).
//
// Waiting for the disk happens outside of the critical section, so that commits
// share syncs. A change is visible before it is durable, but a later commit is
// never durable before an earlier one.
func (db *DB) apply(b *Batch, add *newBlob, g *guard, sync bool) (added bool, err error) {
	switch {
	case b.done:
		return false, errors.New("batch was committed before")
	case b.err != nil:
		return false, b.err
	}
	if err := db.writable(b); err != nil {
		return false, err
	}
	pb := b.rows()
	seq := uint64(0)
	if add == nil && g == nil && len(b.refs) == 0 && len(b.ledger) == 0 {
		b.done = true
		err = db.write(pb, sync)
	} else {
		sync = sync || add != nil || len(b.ledger) > 0
		db.warm(b, add)
		added, seq, err = db.applyIndexed(b, add, g, sync)
	}
	if err != nil {
		return false, err
	}
	if sync {
		if err := pb.SyncWait(); err != nil {
			return false, db.breakDown(fmt.Errorf("sync batch: %w", err))
		}
	}
	if len(b.ledger) > 0 {
		db.raiseDurable(seq)
	}
	b.pb = nil
	return added, pb.Close()
}

// write puts a batch into the log and the memtable, without waiting for the
// disk. The database panics if its log has failed before.
func (db *DB) write(pb *pebble.Batch, sync bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = db.breakDown(fmt.Errorf("write log: %v", r))
		}
	}()
	if sync {
		return db.pebble.ApplyNoSyncWait(pb, pebble.Sync)
	}
	return db.pebble.Apply(pb, noSync)
}

// applyIndexed is the critical section: it reads the entries concerned, writes
// the batch to the log buffer and the memtable, and ends.
func (db *DB) applyIndexed(b *Batch, add *newBlob, g *guard, sync bool) (added bool, seq uint64, err error) {
	db.commit.Lock()
	defer db.commit.Unlock()
	p := commitPlan{db: db}
	if added, err = p.plan(b, add, g); err != nil {
		return false, 0, err
	}
	b.done = true
	if added {
		db.readers.acquire(add.sum) // released by the Writer
	}
	db.readers.condemn(p.changes)
	defer db.readers.settle(p.changes)
	next, err := p.write(b.rows(), b, add, added)
	if err == nil {
		err = db.write(b.rows(), sync)
	}
	if err != nil {
		if added {
			db.readers.release(add.sum)
		}
		return false, 0, fmt.Errorf("write batch: %w", err)
	}
	db.commit.usage = next
	db.counts.Store(&next)
	return added, uint64(next.seq), nil
}

// writable refuses writes after the log failed, and rows when the file system
// has nothing left.
func (db *DB) writable(b *Batch) error {
	if err := db.Broken(); err != nil {
		return err
	}
	if b.grows && db.space.exhausted(db) {
		return fmt.Errorf("%w: no space left on the file system, not even for rows", ErrFull)
	}
	return nil
}

// Broken says why the store takes no more writes until it is opened again; nil
// while it does. What is visible then may not be on disk.
func (db *DB) Broken() error {
	if err := db.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// breakDown ends writing for good. What is on disk is unknown after a failed
// sync until the store is opened again.
func (db *DB) breakDown(err error) error {
	err = fmt.Errorf("store takes no more writes until it is opened again: %w", err)
	if db.broken.CompareAndSwap(nil, &err) {
		db.event(Event{Kind: EventError, Err: err})
	}
	return err
}

// warm reads what the critical section is going to read, so that it finds it in
// memory.
func (db *DB) warm(b *Batch, add *newBlob) {
	var last Sum // most batches name one blob, several times
	if add != nil {
		last = add.sum
		_, _ = db.readEntry(last)
	}
	for _, r := range b.refs {
		if r.sum != last {
			last = r.sum
			_, _ = db.readEntry(last)
		}
	}
}

// readEntry reads the index entry of a blob.
func (db *DB) readEntry(s Sum) (entry, error) {
	var key [1 + len(s)]byte
	key[0] = preIndex
	copy(key[1:], s[:])
	val, closer, err := db.pebble.Get(key[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return entry{}, ErrNotFound
	}
	if err != nil {
		return entry{}, fmt.Errorf("read index: %w", corrupt(err))
	}
	e, err := parseEntry(val)
	return e, errors.Join(err, closer.Close())
}
