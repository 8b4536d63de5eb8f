package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// change is the state of one index entry while a commit is put together.
type change struct {
	sum       Sum
	old, new  entry
	had, have bool
	touched   bool // the entry is written anew
	down      bool // a reference or pin was taken away
	deferred  bool // readers have it open: the bytes stay until they are done
}

// loses reports whether the bytes of the old entry go.
func (c *change) loses() bool {
	return c.had && c.old.kind != kindMissing && (!c.have || c.new.kind == kindMissing)
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

// plan works out the index changes. It changes nothing but p, so that the batch
// can be tried again if it fails.
func (p *commitPlan) plan(b *Batch, add *newBlob, g *guard) (added bool, err error) {
	if g != nil {
		if err := p.check(g); err != nil {
			return false, err
		}
	}
	if add != nil {
		if added, err = p.add(add); err != nil {
			return false, err
		}
	}
	for _, r := range b.refs {
		c, err := p.load(r.sum)
		if err != nil {
			return false, err
		}
		op := r.op
		if r.row != nil {
			switch known, err := p.db.hasKey(r.row); {
			case err != nil:
				return false, err
			case known:
				op = opRequire
			}
		}
		if err := c.apply(op); err != nil {
			return false, fmt.Errorf("blob %s: %w", r.sum, err)
		}
	}
	if g != nil {
		c, _ := p.load(g.sum) // loaded above
		if err := c.take(g.corrupt); err != nil {
			return false, err
		}
	}
	for i := range p.changes {
		c := &p.changes[i]
		if c.have && c.down && c.new.refs == 0 && c.new.pins == 0 {
			c.have = false
		}
	}
	return added, nil
}

// check tests the condition of a guard.
func (p *commitPlan) check(g *guard) error {
	c, err := p.load(g.sum)
	switch {
	case err != nil:
		return err
	case !c.had || c.old.gen != g.gen:
		return errChanged
	case !g.corrupt && p.db.readers.busy(g.sum):
		return errChanged
	}
	return nil
}

// add plans a new blob. One that is there already counts as used.
func (p *commitPlan) add(add *newBlob) (added bool, err error) {
	c, err := p.load(add.sum)
	if err != nil {
		return false, err
	}
	present := c.have && c.new.kind != kindMissing
	if !present && add.ifPresent {
		return false, errAbsent
	}
	c.touched = true
	c.new.accessed = unix(p.db.now())
	if present {
		return false, nil
	}
	c.new.kind, c.new.id, c.new.size = add.kind, add.id, add.size
	c.new.created = c.new.accessed
	c.have = true
	return true, nil
}

func (c *change) apply(op refOp) error {
	switch op {
	case opRef, opPin, opRequire:
		if !c.have || c.new.kind == kindMissing {
			return ErrNotFound
		}
	case opUnref, opUnpin:
		if !c.have {
			return nil
		}
		c.down = true
	}
	switch op {
	case opRef:
		c.new.refs++
	case opUnref:
		c.new.refs = max(c.new.refs-1, 0)
	case opPin:
		c.new.pins++
	case opUnpin:
		c.new.pins = max(c.new.pins-1, 0)
	case opRequire:
		return nil
	}
	c.touched = true
	return nil
}

// take removes the bytes of a blob. A corrupt one that is still referred to
// leaves its references behind.
func (c *change) take(corrupt bool) error {
	c.touched = true
	if c.new.refs == 0 && c.new.pins == 0 {
		c.have = false
		return nil
	}
	if !corrupt {
		return errHeld
	}
	c.new.kind, c.new.id, c.new.size = kindMissing, 0, 0
	return nil
}

// write appends the new bytes, the index changes, the ledger entries and the
// usage record to the batch. It returns the usage afterwards.
func (p *commitPlan) write(pb *pebble.Batch, b *Batch, add *newBlob, added bool) (usage, error) {
	next := p.db.commit.usage
	var errs []error
	if added {
		errs = append(errs, writeNewBlob(pb, add))
	}
	for i := range p.changes {
		if c := &p.changes[i]; c.touched {
			errs = append(errs, p.writeChange(pb, c, &next))
		}
	}
	for _, l := range b.ledger {
		next.seq++
		errs = append(errs, pb.Set(ledgerKey(uint64(next.seq)), l, nil))
	}
	if next != p.db.commit.usage {
		errs = append(errs, pb.Set([]byte(metaUsage), next.append(nil), nil))
	}
	return next, errors.Join(errs...)
}

func (p *commitPlan) writeChange(pb *pebble.Batch, c *change, next *usage) error {
	var gone error
	if c.had {
		next.count(&c.old, -1)
		if c.loses() {
			gone = removeBytes(pb, &c.old, c.deferred)
		}
	}
	if !c.have {
		if c.had {
			return errors.Join(gone, pb.Delete(indexKey(c.sum), nil))
		}
		return gone
	}
	next.count(&c.new, 1)
	next.gen++
	c.new.gen = next.gen
	return errors.Join(gone, pb.Set(indexKey(c.sum), c.new.append(nil), nil))
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

// removeBytes deletes the bytes of a blob, or notes that it is to be done once
// its readers have gone.
func removeBytes(pb *pebble.Batch, e *entry, deferred bool) error {
	g := garbage{e.kind, e.id, e.size}
	if deferred {
		return pb.Set(idKey(preGarbage, e.id), g.append(nil), nil)
	}
	return deleteBytes(pb, g)
}

// deleteBytes deletes what lies under an id. Large blobs go by range: the tables
// they are alone in are dropped without being read.
func deleteBytes(pb *pebble.Batch, g garbage) error {
	if g.kind == kindInline {
		return pb.DeleteSized(idKey(preInline, g.id), uint32(g.size)+uint32(len(Sum{})), nil)
	}
	return errors.Join(
		pb.Delete(idKey(preOwner, g.id), nil),
		pb.DeleteRange(idKey(preChunk, g.id), idKey(preChunk, g.id+1), nil))
}

// hasKey reports whether a key is there.
func (db *DB) hasKey(key []byte) (bool, error) {
	_, closer, err := db.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for row: %w", err)
	}
	return true, closer.Close()
}
