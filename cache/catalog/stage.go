package catalog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// Staged is a blob that is durable but belongs to no coordinate yet: bytes come
// first, the command that claims them second. It is pinned while it waits.
type Staged struct {
	Sum  store.Sum
	key  []byte
	done bool
}

// Stage commits a writer's bytes to a waiting place, durably.
func (c *Catalog) Stage(w *store.Writer) (*Staged, error) {
	s := &Staged{Sum: w.Sum(), key: binary.BigEndian.AppendUint64([]byte{famStage, 0}, c.stages.Add(1))}
	b := c.db.NewBatch()
	b.Set(s.key, s.Sum[:])
	b.Set(blobRefKey(s.Sum, s.key), nil)
	b.Ref(s.Sum)
	b.Pin(s.Sum)
	if _, err := w.Commit(b); err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	return s, nil
}

// Unstage gives up a staged blob that no command took. It does nothing after
// one did.
func (c *Catalog) Unstage(s *Staged) error {
	if s.done {
		return nil
	}
	s.done = true
	b := c.db.NewBatch()
	c.unstage(b, s)
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("give up staged blob: %w", err)
	}
	return nil
}

func (c *Catalog) unstage(b *store.Batch, s *Staged) {
	b.Delete(s.key)
	b.Delete(blobRefKey(s.Sum, s.key))
	b.Unpin(s.Sum)
	b.Unref(s.Sum)
}

// sweepStaged gives up what waited when the process ended.
func (c *Catalog) sweepStaged() error {
	c.stages.Store(uint64(time.Now().UnixNano()))
	var left []*Staged
	err := c.db.Rows([]byte{famStage, 0}, nil, func(key, val []byte) error {
		s := &Staged{key: bytes.Clone(key)}
		if copy(s.Sum[:], val) != len(s.Sum) {
			return fmt.Errorf("staged row %x is malformed", key)
		}
		left = append(left, s)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range left {
		if err := c.Unstage(s); err != nil {
			return err
		}
	}
	return nil
}

// held builds the asset row's content of a file that a client sent.
func held(f formats.HeldAsset, at time.Time) formats.HeldAsset {
	f.FirstSeen = at
	if f.LastModified.IsZero() {
		f.LastModified = at
	}
	return f
}
