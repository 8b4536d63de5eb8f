package store

import (
	"encoding/binary"
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

// guard makes a commit conditional on a blob not having changed since it was
// looked at, and then takes it away whatever its references.
type guard struct {
	sum  Sum
	gen  uint64
	drop bool // keep the references of a blob that has some: see Drop
}

var (
	errChanged = errors.New("blob changed meanwhile")
	errAbsent  = errors.New("blob is not there yet")
)

// change is the state of one index entry while a commit is put together.
type change struct {
	sum       Sum
	old, new  entry
	had, have bool
	touched   bool // references or pins changed
	down      bool // a reference or pin was taken away
	deferred  bool // readers have it open: the bytes stay until they are done
}

// commitPlan collects the index changes of one batch.
type commitPlan struct {
	db      *DB
	changes []change
	at      map[Sum]int
}

func (p *commitPlan) load(s Sum) (*change, error) {
	if i, ok := p.at[s]; ok {
		return &p.changes[i], nil
	}
	e, err := p.db.readEntry(s)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	had := err == nil
	if p.at == nil {
		p.at = make(map[Sum]int)
	}
	p.at[s] = len(p.changes)
	p.changes = append(p.changes, change{sum: s, old: e, new: e, had: had, have: had})
	return &p.changes[len(p.changes)-1], nil
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
		return entry{}, fmt.Errorf("read index: %w", err)
	}
	e, err := parseEntry(val)
	return e, errors.Join(err, closer.Close())
}

// apply is the one place where anything but access times is written. It
// returns whether add was new (false: the blob was there already).
//
// The critical section reads the entries concerned, writes the batch to the log
// buffer and the memtable, and ends. Waiting for the disk happens outside, so
// that commits share syncs. A change is visible before it is durable, but a
// later commit is never durable before an earlier one.
func (db *DB) apply(b *Batch, add *newBlob, g *guard, sync bool) (added bool, err error) {
	switch {
	case b.done:
		return false, errors.New("batch was committed before")
	case b.err != nil:
		return false, b.err
	}
	if len(b.ledger) > 0 || add != nil {
		sync = true
	}
	if err := db.space.admit(db, b); err != nil {
		return false, err
	}
	db.warm(b, add, g)

	db.commit.Lock()
	p := commitPlan{db: db}
	added, err = p.plan(b, add, g)
	if err != nil {
		db.commit.Unlock()
		return false, err
	}
	pb := b.rows()
	b.done = true
	next, lastSeq, err := p.write(pb, b, add, added)
	if err == nil {
		opts := pebble.NoSync
		if sync {
			err = db.pebble.ApplyNoSyncWait(pb, pebble.Sync)
		} else {
			err = db.pebble.Apply(pb, opts)
		}
	}
	db.readers.settle(p.changes)
	if err != nil {
		db.commit.Unlock()
		return false, fmt.Errorf("write batch: %w", err)
	}
	db.commit.usage = next
	db.counts.Store(&next)
	db.commit.seq = lastSeq
	db.commit.Unlock()

	if sync {
		if err := pb.SyncWait(); err != nil {
			return false, fmt.Errorf("sync batch: %w", err)
		}
		if len(b.ledger) > 0 {
			db.raiseDurable(lastSeq)
		}
	}
	b.pb = nil
	return added, pb.Close()
}

// warm reads what the critical section is going to read, so that it finds it in
// memory.
func (db *DB) warm(b *Batch, add *newBlob, g *guard) {
	for _, r := range b.refs {
		_, _ = db.readEntry(r.sum)
	}
	if add != nil {
		_, _ = db.readEntry(add.sum)
	}
	if g != nil {
		_, _ = db.readEntry(g.sum)
	}
}

// plan works out the index changes. It changes nothing but p.
func (p *commitPlan) plan(b *Batch, add *newBlob, g *guard) (added bool, err error) {
	if g != nil {
		c, err := p.load(g.sum)
		if err != nil {
			return false, err
		}
		if !c.had || c.old.gen != g.gen || p.db.readers.busy(g.sum) && !g.drop {
			return false, errChanged
		}
	}
	if add != nil {
		c, err := p.load(add.sum)
		if err != nil {
			return false, err
		}
		if c.have && c.new.kind != kindMissing {
			c.touched = true // counts as a use
		} else if add.ifPresent {
			return false, errAbsent
		} else {
			now := unix(p.db.now())
			c.new.kind, c.new.id, c.new.size = add.kind, add.id, add.size
			c.new.created, c.new.accessed = now, now
			c.have, c.touched, added = true, true, true
		}
	}
	for _, r := range b.refs {
		c, err := p.load(r.sum)
		if err != nil {
			return false, err
		}
		if err := c.apply(r.op); err != nil {
			return false, fmt.Errorf("blob %s: %w", r.sum, err)
		}
	}
	if g != nil {
		c, _ := p.load(g.sum)
		c.take(g.drop)
	}
	for i := range p.changes {
		c := &p.changes[i]
		if c.have && c.down && c.new.refs == 0 && c.new.pins == 0 {
			c.have = false
		}
	}
	return added, nil
}

func (c *change) apply(op refOp) error {
	present := c.have && c.new.kind != kindMissing
	switch op {
	case opRef, opPin, opRequire:
		if !present {
			return ErrNotFound
		}
		if op == opRef {
			c.new.refs++
		} else if op == opPin {
			c.new.pins++
		}
	case opUnref:
		c.new.refs = max(c.new.refs-1, 0)
		c.down = c.down || c.have
	case opUnpin:
		c.new.pins = max(c.new.pins-1, 0)
		c.down = c.down || c.have
	}
	c.touched = c.touched || op != opRequire
	return nil
}

// take removes the bytes of a blob. An evicted one goes altogether; a dropped
// one leaves its references behind if it has some.
func (c *change) take(keepRefs bool) {
	c.touched = true
	if keepRefs && (c.new.refs > 0 || c.new.pins > 0) {
		c.new.kind, c.new.id, c.new.size = kindMissing, 0, 0
		return
	}
	c.have = false
}

// write appends the index changes, the usage record and the ledger entries to
// the batch. It returns the usage and the ledger sequence number afterwards.
func (p *commitPlan) write(pb *pebble.Batch, b *Batch, add *newBlob, added bool) (usage, uint64, error) {
	db := p.db
	next := db.commit.usage
	var buf []byte
	var errs [4]error
	if added {
		errs[0] = writeNewBlob(pb, add)
		db.readers.acquire(add.sum) // released by the Writer
	}
	db.readers.condemn(p.changes)
	changed := false
	for i := range p.changes {
		c := &p.changes[i]
		if !c.touched {
			continue
		}
		changed = true
		if c.had {
			next.count(&c.old, -1)
			if !c.have || c.new.id != c.old.id {
				errs[1] = errors.Join(errs[1], removeBytes(pb, &c.old, c.deferred))
			}
		}
		if c.have {
			next.count(&c.new, 1)
			db.commit.nextGen++
			c.new.gen = db.commit.nextGen
			buf = c.new.append(buf[:0])
			errs[2] = errors.Join(errs[2], pb.Set(indexKey(c.sum), buf, nil))
		} else if c.had {
			errs[2] = errors.Join(errs[2], pb.Delete(indexKey(c.sum), nil))
		}
	}
	if changed {
		errs[2] = errors.Join(errs[2], pb.Set([]byte(metaUsage), next.append(buf[:0]), nil))
	}
	seq := db.commit.seq
	for _, l := range b.ledger {
		seq++
		errs[3] = errors.Join(errs[3], pb.Set(ledgerKey(seq), l, nil))
	}
	return next, seq, errors.Join(errs[:]...)
}

func writeNewBlob(pb *pebble.Batch, add *newBlob) error {
	if add.kind == kindLarge {
		return pb.Set(idKey(preOwner, add.id), add.sum[:], nil)
	}
	op := pb.SetDeferred(1+idLen, len(add.sum)+len(add.small))
	op.Key[0] = preInline
	binary.BigEndian.PutUint64(op.Key[1:], add.id)
	copy(op.Value, add.sum[:])
	copy(op.Value[len(add.sum):], add.small)
	return op.Finish()
}

// removeBytes deletes the bytes of a blob, or notes that it is to be done.
func removeBytes(pb *pebble.Batch, e *entry, deferred bool) error {
	if e.kind == kindMissing {
		return nil
	}
	if deferred {
		return pb.Set(idKey(preGarbage, e.id), []byte{byte(e.kind)}, nil)
	}
	return deleteBytes(pb, e.kind, e.id)
}

func deleteBytes(pb *pebble.Batch, kind blobKind, id uint64) error {
	if kind == kindInline {
		return pb.Delete(idKey(preInline, id), nil)
	}
	return errors.Join(
		pb.Delete(idKey(preOwner, id), nil),
		pb.DeleteRange(idKey(preChunk, id), idKey(preChunk, id+1), nil))
}
