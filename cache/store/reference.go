package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// SetReferences registers how the owner of the rows counts: fn calls emit once
// for each reference that its rows hold. With it Check compares the counts, and
// GC puts them right. fn may be called several times and must read the rows anew
// each time.
func (db *DB) SetReferences(fn func(emit func(Sum) error) error) {
	if fn == nil {
		db.owner.refs.Store(nil)
		return
	}
	db.owner.refs.Store(&fn)
}

// miscount is a blob whose references are not what the rows hold.
type miscount struct {
	sum        Sum
	gen        int64
	have, want int64
}

// miscounts compares the counts with the rows. Rows may change meanwhile, so
// what the first pass suspects is counted a second time, between two looks at
// an entry whose generation shows whether any reference changed.
func (u *upkeep) miscounts() ([]miscount, error) {
	fn := u.db.owner.refs.Load()
	if fn == nil {
		return nil, nil
	}
	count := func(only map[Sum]*miscount) (map[Sum]int64, error) {
		n := make(map[Sum]int64)
		err := (*fn)(func(s Sum) error {
			if only == nil || only[s] != nil {
				n[s]++
			}
			return u.ctx.Err()
		})
		return n, err
	}
	first, err := count(nil)
	if err != nil {
		return nil, fmt.Errorf("count references: %w", err)
	}
	suspects := make(map[Sum]*miscount)
	err = u.db.eachEntry(u.ctx, func(s Sum, e entry) error {
		if first[s] != e.refs {
			suspects[s] = &miscount{sum: s, gen: e.gen, have: e.refs}
		}
		delete(first, s)
		return u.step()
	})
	if err != nil || len(suspects)+len(first) == 0 {
		return nil, err
	}
	for s := range first { // rows that refer to nothing
		suspects[s] = &miscount{sum: s}
	}
	second, err := count(suspects)
	if err != nil {
		return nil, fmt.Errorf("count references: %w", err)
	}
	var wrong []miscount
	for s, m := range suspects {
		e, err := u.db.readEntry(s)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if m.want = second[s]; e.gen == m.gen && m.want != m.have {
			wrong = append(wrong, *m)
		}
	}
	return wrong, nil
}

func (u *upkeep) checkReferences() error {
	u.phase("references", u.db.Stats().Blobs)
	wrong, err := u.miscounts()
	for _, m := range wrong {
		if m.gen == 0 {
			u.problem(m.sum, "%d rows refer to it and it is not there", m.want)
			continue
		}
		u.problem(m.sum, "%d references counted, %d rows refer to it", m.have, m.want)
	}
	return err
}

// repairReferences sets wrong counts right.
func (u *upkeep) repairReferences() error {
	u.phase("references", u.db.Stats().Blobs)
	wrong, err := u.miscounts()
	if err != nil {
		return err
	}
	for _, m := range wrong {
		if m.gen == 0 {
			continue // only the owner of the rows can help
		}
		if err := u.db.setRefs(m); errors.Is(err, errChanged) {
			continue
		} else if err != nil {
			return err
		}
		u.report.Repaired++
		u.db.event(Event{Kind: EventRepaired, Sum: m.sum,
			Detail: fmt.Sprintf("%d references counted, %d rows refer to it", m.have, m.want)})
	}
	return nil
}

// setRefs corrects the count of an entry that has not changed meanwhile.
func (db *DB) setRefs(m miscount) error {
	db.commit.Lock()
	defer db.commit.Unlock()
	e, err := db.readEntry(m.sum)
	if err != nil || e.gen != m.gen {
		return errChanged
	}
	next := db.commit.usage
	next.gen++
	e.refs, e.gen = m.want, next.gen
	return db.writeRepair(next, func(pb *pebble.Batch) error {
		return pb.Set(indexKey(m.sum), e.append(nil), nil)
	})
}

// writeRepair writes new totals and what fill adds. db.commit is held.
func (db *DB) writeRepair(next usage, fill func(*pebble.Batch) error) error {
	pb := db.pebble.NewBatch()
	err := errors.Join(fill(pb), pb.Set([]byte(metaUsage), next.append(nil), nil))
	if err == nil {
		err = db.write(pb, false)
	}
	if err == nil {
		db.commit.usage = next
		db.counts.Store(&next)
	}
	return errors.Join(err, pb.Close())
}

// countUsage adds up the index as it is at one moment, and returns the totals
// of that moment beside it.
func (db *DB) countUsage(ctx context.Context) (have, want usage, err error) {
	db.commit.Lock()
	have = db.commit.usage
	snap := db.pebble.NewSnapshot()
	db.commit.Unlock()
	defer snap.Close()
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: []byte{preIndex}, UpperBound: []byte{preIndex + 1}})
	if err != nil {
		return have, want, fmt.Errorf("iterate: %w", err)
	}
	defer it.Close()
	want.gen, want.seq = have.gen, have.seq
	for ok := it.First(); ok; ok = it.Next() {
		e, err := parseEntry(it.Value())
		if err != nil {
			return have, want, err
		}
		want.count(&e, 1)
		if err := ctx.Err(); err != nil {
			return have, want, err
		}
	}
	return have, want, it.Error()
}
