package store

import (
	"math"
	"sync"
)

// readers counts who reads which blob, so that its bytes are not deleted under
// them. A blob deleted while it is read disappears from the index at once; its
// bytes go with the last reader.
type readers struct {
	mu    sync.Mutex
	n     map[Sum]int
	dying map[Sum]struct{}  // being deleted by the commit that runs now
	later map[Sum][]garbage // deleted from the index, bytes still there
}

type garbage struct {
	kind blobKind
	id   uint64
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
			r.later[c.sum] = append(r.later[c.sum], garbage{c.old.kind, c.old.id})
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

// loses reports whether the bytes of the old entry go.
func (c *change) loses() bool {
	return c.had && c.old.kind != kindMissing && (!c.have || c.new.kind == kindMissing)
}

// idSource gives out the ids under which bytes are stored. They only grow.
// mark is below every id that may belong to bytes without an index entry.
type idSource struct {
	mu   sync.Mutex
	next uint64
	live map[uint64]struct{} // of writers that are neither committed nor gone
}

func (s *idSource) init() { s.live = make(map[uint64]struct{}) }

func (s *idSource) take() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.live[id] = struct{}{}
	return id
}

func (s *idSource) done(id uint64) {
	s.mu.Lock()
	delete(s.live, id)
	s.mu.Unlock()
}

func (s *idSource) isLive(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.live[id]
	return ok
}

// mark returns the lowest id that may be an orphan after a crash.
func (s *idSource) mark() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := uint64(math.MaxUint64)
	for id := range s.live {
		m = min(m, id)
	}
	return min(m, s.next)
}
