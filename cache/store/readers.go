package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// readers counts who reads which blob, so that its bytes are not deleted under
// them. A blob deleted while it is read disappears from the index at once; its
// bytes go with the last reader. The garbage record written instead of the
// deletion makes sure of that across a crash.
type readers struct {
	mu    sync.Mutex
	n     map[Sum]int
	dying map[Sum]struct{}  // being deleted by the commit that runs now
	later map[Sum][]garbage // deleted from the index, bytes still there
}

// garbage names bytes that no index entry names any more.
type garbage struct {
	kind blobKind
	id   uint64
	size int64
}

// append encodes the value of a garbage record; the key has the id.
func (g garbage) append(b []byte) []byte {
	return binary.AppendUvarint(append(b, byte(g.kind)), uint64(g.size))
}

func parseGarbage(key, val []byte) (garbage, error) {
	if len(key) != 1+idLen || len(val) < 2 || val[0] != byte(kindInline) && val[0] != byte(kindLarge) {
		return garbage{}, fmt.Errorf("%w: garbage record is malformed", ErrCorrupt)
	}
	p := fieldReader{b: val[1:]}
	g := garbage{blobKind(val[0]), binary.BigEndian.Uint64(key[1:]), int64(p.uvarint())}
	if p.bad || len(p.b) > 0 {
		return garbage{}, fmt.Errorf("%w: garbage record is malformed", ErrCorrupt)
	}
	return g, nil
}

func (r *readers) init() {
	r.n = make(map[Sum]int)
	r.dying = make(map[Sum]struct{})
	r.later = make(map[Sum][]garbage)
}

// acquire registers a reader. It reports false if the blob is just being
// deleted. It must be called before the index is read.
func (r *readers) acquire(s Sum) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.dying[s]; ok {
		return false
	}
	r.n[s]++
	return true
}

// release ends a reader and returns the bytes that can go now.
func (r *readers) release(s Sum) []garbage {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n[s]--
	if r.n[s] > 0 {
		return nil
	}
	delete(r.n, s)
	g := r.later[s]
	delete(r.later, s)
	return g
}

func (r *readers) busy(s Sum) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[s] > 0
}

// condemn decides for every blob whose bytes are about to be deleted whether
// that happens now, with new readers kept out, or after its readers.
func (r *readers) condemn(cs []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range cs {
		c := &cs[i]
		if !c.loses() {
			continue
		}
		if r.n[c.sum] > 0 {
			c.deferred = true
			r.later[c.sum] = append(r.later[c.sum], garbage{c.old.kind, c.old.id, c.old.size})
		} else {
			r.dying[c.sum] = struct{}{}
		}
	}
}

// settle ends what condemn began, after the commit.
func (r *readers) settle(cs []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range cs {
		if cs[i].loses() && !cs[i].deferred {
			delete(r.dying, cs[i].sum)
		}
	}
}

// releaseReader ends a reader and deletes what it alone kept.
func (db *DB) releaseReader(s Sum) {
	g := db.readers.release(s)
	if len(g) == 0 {
		return
	}
	if err := db.dropBytes(g, true); err != nil {
		db.event(Event{Kind: EventError, Sum: s, Err: fmt.Errorf("delete blob: %w", err)})
	}
}

// dropBytes deletes bytes that no index entry names; noted says that a garbage
// record exists for them. It is not synced: what a crash undoes, the next Open
// does again.
func (db *DB) dropBytes(gs []garbage, noted bool) error {
	if err := db.broken.Load(); err != nil {
		return *err
	}
	pb := db.pebble.NewBatch()
	for _, g := range gs {
		if err := deleteBytes(pb, g); err != nil {
			return err
		}
		if noted {
			if err := pb.Delete(idKey(preGarbage, g.id), nil); err != nil {
				return err
			}
		}
	}
	return errors.Join(db.write(pb, false), pb.Close())
}
