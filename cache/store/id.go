package store

import (
	"math"
	"sync"
)

// idWindow is the number of ids reserved at a time.
const idWindow = 1 << 20

// idSource gives out the ids under which bytes are stored. They only grow, so
// that new tables lie behind all others and new inline bytes behind all older
// ones. An id is never given out twice, also not across a crash.
type idSource struct {
	mu   sync.Mutex
	next uint64
	end  uint64              // ids below are reserved on disk
	live map[uint64]struct{} // of writers that are neither committed nor gone
}

func (s *idSource) init() { s.live = make(map[uint64]struct{}) }

// takeID returns a new id, for a writer that ends with ids.done.
func (db *DB) takeID() (uint64, error) {
	s := &db.ids
	for {
		s.mu.Lock()
		if s.next < s.end {
			id := s.next
			s.next++
			s.live[id] = struct{}{}
			s.mu.Unlock()
			return id, nil
		}
		s.mu.Unlock()
		if err := db.broken.Load(); err != nil {
			return 0, *err
		}
		if err := db.reserveIDs(); err != nil {
			return 0, err
		}
	}
}

func (s *idSource) done(id uint64) {
	s.mu.Lock()
	delete(s.live, id)
	s.mu.Unlock()
}

// snapshot returns the next id and those of running writers.
func (s *idSource) snapshot() (next uint64, live []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.live {
		live = append(live, id)
	}
	return s.next, live
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
