package store

import (
	"math"
	"sync"
)

// idSource gives out the ids under which bytes are stored. They only grow, so
// that new tables lie behind all others and new inline bytes behind all older
// ones.
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
