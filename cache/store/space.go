package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// growStep is how much a blob of unknown length reserves at a time.
	growStep = 4 << 20
	// freeAge is how long an answer of the file system about free space is
	// believed.
	freeAge = time.Second
)

// space keeps the promise that bytes once reserved can be written.
type space struct {
	mu       sync.Mutex
	reserved int64 // bytes promised to writers
	written  int64 // of these, bytes already on disk
	free     int64
	total    int64
	known    bool // free and total are
	asked    time.Time
	meta     int64  // bytes on disk that are not live blobs
	full     string // why blobs are refused; "" if they are not
}

// reservation is one writer's share.
type reservation struct {
	db       *DB
	mu       sync.Mutex
	reserved int64
	used     int64
	done     bool
}

func (db *DB) reserve(ctx context.Context, size int64) (*reservation, error) {
	r := &reservation{db: db}
	if size < 0 {
		size = min(growStep, db.cfg.InlineMax)
	}
	if err := db.makeRoom(ctx, size); err != nil {
		return nil, err
	}
	r.reserved = size
	return r, nil
}

// use accounts for n bytes about to be written, growing the reservation if it
// is used up.
func (r *reservation) use(ctx context.Context, n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if short := r.used + n - r.reserved; short > 0 {
		step := max(short, min(growStep, max(r.reserved, chunkSize)))
		err := r.db.makeRoom(ctx, step)
		if err != nil && step > short {
			step = short
			err = r.db.makeRoom(ctx, step)
		}
		if err != nil {
			return err
		}
		r.reserved += step
	}
	r.used += n
	r.db.space.wrote(n)
	return nil
}

func (r *reservation) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return
	}
	r.done = true
	s := &r.db.space
	s.mu.Lock()
	s.reserved -= r.reserved
	s.written -= r.used
	s.mu.Unlock()
}

func (s *space) wrote(n int64) {
	s.mu.Lock()
	s.written += n
	s.mu.Unlock()
}

// makeRoom reserves n bytes, evicting if it must.
func (db *DB) makeRoom(ctx context.Context, n int64) error {
	if n == 0 {
		return nil
	}
	if db.cfg.Disk > 0 && n > db.cfg.Disk {
		return fmt.Errorf("%w: %d bytes exceed the budget of %d", ErrFull, n, db.cfg.Disk)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		short, why := db.space.try(db, n)
		if short <= 0 {
			return nil
		}
		freed, err := db.evictBytes(ctx, short)
		if err != nil {
			return err
		}
		if freed <= 0 {
			db.space.setFull(db, why)
			return fmt.Errorf("%w: %s", ErrFull, why)
		}
	}
}

// try reserves n bytes and returns 0, or returns how many are missing and why.
func (s *space) try(db *DB, n int64) (short int64, why string) {
	if s.stale(db) {
		s.refresh(db)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := db.counts.Load().bytes() + s.meta + s.reserved + n
	if db.cfg.Disk > 0 && used > db.cfg.Disk {
		short, why = used-db.cfg.Disk, "the budget is used up"
	}
	if s.known {
		avail := s.free - (s.reserved - s.written) - db.reserveBytes(s.total)
		if n > avail && n-avail > short {
			short, why = n-avail, "the file system is down to its reserve"
		}
	}
	if short > 0 {
		return short, why
	}
	s.reserved += n
	if s.full != "" {
		s.full = ""
		defer db.event(Event{Kind: EventRoom})
	}
	return 0, ""
}

func (s *space) setFull(db *DB, why string) {
	s.mu.Lock()
	changed := s.full == ""
	s.full = why
	s.mu.Unlock()
	if changed {
		db.event(Event{Kind: EventFull, Detail: why})
	}
}

func (db *DB) reserveBytes(total int64) int64 {
	switch {
	case db.cfg.Reserve < 0:
		return 0
	case db.cfg.Reserve > 0:
		return db.cfg.Reserve
	}
	return min(defaultReserve, total/20)
}

func (s *space) stale(db *DB) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := db.now().Sub(s.asked)
	return d < 0 || d > freeAge
}

// refresh asks the file system and the database how much is used.
func (s *space) refresh(db *DB) {
	free, total, err := db.freeSpace()
	disk := int64(db.pebble.Metrics().DiskSpaceUsage())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = err == nil
	s.free, s.total, s.asked = free, total, db.now()
	s.meta = max(0, disk-db.counts.Load().bytes())
}

func (db *DB) freeSpace() (free, total int64, err error) {
	if db.cfg.FreeSpace != nil {
		return db.cfg.FreeSpace(db.cfg.Dir)
	}
	u, err := db.fs.GetDiskUsage(db.cfg.Dir)
	return int64(u.AvailBytes), int64(u.TotalBytes), err
}

// admit refuses a batch when not even rows can be written any more.
func (s *space) admit(db *DB, b *Batch) error { return nil }
