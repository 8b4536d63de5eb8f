package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// maxKey is the longest key of a row in bytes.
const maxKey = 4 << 10

// Batch collects changes that become visible and durable together. It is used
// by one goroutine and committed once, with Commit or Writer.Commit.
type Batch struct {
	db     *DB
	pb     *pebble.Batch
	refs   []refChange
	ledger [][]byte
	grows  bool  // holds more than deletions
	err    error // first misuse; reported by Commit
	done   bool
}

type refOp byte

const (
	opRef refOp = iota
	opUnref
	opPin
	opUnpin
	opRequire
)

type refChange struct {
	op  refOp
	sum Sum
	row []byte // of an opRef: the row that stands for it; nil: none
}

// NewBatch returns an empty batch.
func (db *DB) NewBatch() *Batch { return &Batch{db: db} }

func (b *Batch) rows() *pebble.Batch {
	if b.pb == nil {
		b.pb = b.db.pebble.NewBatch()
	}
	return b.pb
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Set puts a row. Key and value are copied.
func (b *Batch) Set(key, val []byte) {
	if len(key) > maxKey {
		b.fail(fmt.Errorf("row key of %d bytes exceeds %d", len(key), maxKey))
		return
	}
	b.grows = true
	op := b.rows().SetDeferred(1+len(key), len(val))
	op.Key[0] = preRow
	copy(op.Key[1:], key)
	copy(op.Value, val)
	b.note(op.Finish())
}

// Delete removes a row; an absent one is no error.
func (b *Batch) Delete(key []byte) {
	op := b.rows().DeleteDeferred(1 + len(key))
	op.Key[0] = preRow
	copy(op.Key[1:], key)
	b.note(op.Finish())
}

// DeletePrefix removes all rows whose key starts with prefix.
func (b *Batch) DeletePrefix(prefix []byte) {
	start := rowKey(prefix)
	b.note(b.rows().DeleteRange(start, prefixEnd(start), nil))
}

func (b *Batch) note(err error) {
	if err != nil {
		b.fail(err)
	}
}

// Ref adds one reference to a blob. Commit fails with ErrNotFound, applying
// nothing, if the blob is not there at that moment (evicted, or never written);
// within Writer.Commit the written blob is there.
func (b *Batch) Ref(s Sum) { b.refs = append(b.refs, refChange{op: opRef, sum: s}) }

// RefRow is Ref for a reference that a row stands for: it puts an empty row under
// key, and counts only where that row is not there at the moment of the commit.
// So two writers that saw none count once. The key is copied.
func (b *Batch) RefRow(s Sum, key []byte) {
	b.Set(key, nil)
	b.refs = append(b.refs, refChange{op: opRef, sum: s, row: rowKey(key)})
}

// Unref takes one reference away. The blob is deleted with the last one, unless
// it is pinned. An absent blob is no error.
func (b *Batch) Unref(s Sum) { b.refs = append(b.refs, refChange{op: opUnref, sum: s}) }

// Pin protects a blob from eviction. Pins are counted.
func (b *Batch) Pin(s Sum) { b.refs = append(b.refs, refChange{op: opPin, sum: s}) }

// Unpin takes one pin away. A blob without references is deleted with the last
// pin.
func (b *Batch) Unpin(s Sum) { b.refs = append(b.refs, refChange{op: opUnpin, sum: s}) }

// Require makes Commit fail with ErrNotFound, applying nothing, if the blob is
// not there at that moment. It is for changing a row that refers to the blob
// already.
func (b *Batch) Require(s Sum) { b.refs = append(b.refs, refChange{op: opRequire, sum: s}) }

// Ledger appends an entry to the ledger. It gets its sequence number when the
// batch commits; entries of one batch are consecutive. The bytes are copied.
func (b *Batch) Ledger(entry []byte) {
	b.grows = true
	b.ledger = append(b.ledger, append([]byte(nil), entry...))
}

// Commit applies the batch as one. With sync it returns when the batch is on
// disk; commits that run at the same time share the sync. A batch with ledger
// entries is always synced, so that a sequence number once seen never names
// another entry.
func (b *Batch) Commit(sync bool) error {
	if err := b.db.gate.enter(); err != nil {
		return err
	}
	defer b.db.gate.leave()
	if _, err := b.db.apply(b, nil, nil, sync); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
