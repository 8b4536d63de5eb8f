package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// growStep is how much a blob of unknown length reserves at a time.
	growStep = 4 << 20
	// freeAge is how long an answer of the file system is believed.
	freeAge = time.Second
	// reclaimTime is how long deleted tables may take to leave the disk; they
	// are waited for so long before more is evicted.
	reclaimTime = 2 * time.Second
	// patience is how long a reservation waits for deleted bytes to go before
	// it gives up: a client is waiting for it.
	patience = time.Second
	// exhaustedFree is the free space in bytes below which not even rows are
	// written: the database needs some to close in good order.
	exhaustedFree = 8 << 20

	fullBudget = "the budget is used up"
	fullDisk   = "the file system is down to its reserve"
	fullNone   = "no space left on the file system"
)

// space keeps the promise that bytes once reserved can be written.
type space struct {
	watching sync.Mutex // one watch at a time; before mu
	mu       sync.Mutex // guards what follows
	reserved int64      // bytes promised to writers
	written  int64      // of these, bytes already on disk
	free     int64      // of the file system
	total    int64
	known    bool // free and total are
	asked    time.Time
	meta     int64     // bytes of rows, index, ledger and log
	leaving  []leaving // bytes deleted but perhaps still on disk, oldest first
	full     string    // why blobs are refused; "" if they are not
	ballast  ballast   // see ballast.go
}

type leaving struct {
	bytes int64
	at    time.Time
}

// shortage is what a reservation lacks.
type shortage struct {
	evict int64 // bytes to evict
	wait  bool  // enough was deleted, but has not left the disk yet
	why   string
}

// reservation is one writer's share. It belongs to the writer's goroutine.
type reservation struct {
	db       *DB
	reserved int64
	used     int64
	done     bool
}

// reserve makes the first reservation of a writer.
func (db *DB) reserve(ctx context.Context, size int64) (*reservation, error) {
	if size < 0 {
		size = min(growStep, db.cfg.InlineMax)
	}
	if err := db.makeRoom(ctx, size); err != nil {
		return nil, err
	}
	return &reservation{db: db, reserved: size}, nil
}

// use accounts for n bytes about to be written, growing the reservation if it
// is used up.
func (r *reservation) use(ctx context.Context, n int64) error {
	if short := r.used + n - r.reserved; short > 0 {
		step := max(short, min(growStep, max(r.reserved, chunkSize)))
		err := r.db.makeRoom(ctx, step)
		if errors.Is(err, ErrFull) && step > short {
			step = short
			err = r.db.makeRoom(ctx, step)
		}
		if err != nil {
			return err
		}
		r.reserved += step
	}
	r.used += n
	s := &r.db.space
	s.mu.Lock()
	s.written += n
	s.mu.Unlock()
	return nil
}

// release gives back what is reserved; after a commit it is part of the usage.
func (r *reservation) release() {
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

// makeRoom reserves n bytes, evicting if it must.
func (db *DB) makeRoom(ctx context.Context, n int64) error {
	if db.cfg.Disk > 0 && n > db.cfg.Disk {
		return fmt.Errorf("%w: %d bytes exceed the budget of %d", ErrFull, n, db.cfg.Disk)
	}
	deadline := time.Now().Add(patience)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		short := db.space.try(db, n)
		if short == nil {
			return nil
		}
		if short.wait && time.Now().Before(deadline) {
			if err := db.awaitReclaim(ctx); err != nil {
				return err
			}
			continue
		}
		freed, err := db.evictBytes(ctx, func() int64 {
			if s := db.space.lacks(db, n); s != nil && !s.wait {
				return s.evict
			}
			return 0
		})
		if err != nil {
			return fmt.Errorf("make room: %w", err)
		}
		if freed > 0 {
			_ = db.space.refresh(db) // the last answer serves
			continue
		}
		short = db.space.lacks(db, n)
		if short != nil && (!short.wait || time.Now().After(deadline)) {
			db.space.setFull(db, short.why)
			return fmt.Errorf("%w: %s", ErrFull, short.why)
		}
	}
}

// awaitReclaim gives the database a moment to take deleted tables off the disk.
func (db *DB) awaitReclaim(ctx context.Context) error {
	if _, err := db.pebble.AsyncFlush(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-db.ctx.Done():
		return ErrClosed
	case <-t.C:
	}
	return db.space.refresh(db)
}

// try reserves n bytes, or returns what is lacking.
func (s *space) try(db *DB, n int64) *shortage {
	short, opened := s.attempt(db, n, true)
	if opened {
		db.event(Event{Kind: EventRoom})
	}
	return short
}

// lacks returns what reserving n bytes would lack, nil if nothing.
func (s *space) lacks(db *DB, n int64) *shortage {
	short, _ := s.attempt(db, n, false)
	return short
}

func (s *space) attempt(db *DB, n int64, take bool) (short *shortage, opened bool) {
	if s.stale(db, freeAge) {
		_ = s.refresh(db) // the last answer serves
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if short := s.shortage(db, n); short != nil {
		return short, false
	}
	if take {
		s.reserved += n
		opened = s.openUp(db)
	}
	if db.cfg.Disk > 0 && s.used(db) > highWater(db.cfg.Disk) {
		db.evict.wake()
	}
	return nil, opened
}

// used returns the bytes that count towards the budget. s.mu is held.
func (s *space) used(db *DB) int64 { return db.counts.Load().bytes() + s.meta + s.reserved }

// shortage works out what n more bytes lack. s.mu is held.
func (s *space) shortage(db *DB, n int64) *shortage {
	var sh shortage
	if over := s.used(db) + n - db.cfg.Disk; db.cfg.Disk > 0 && over > 0 {
		sh = shortage{evict: over, why: fullBudget}
	}
	if s.ballast.lost {
		return &shortage{why: fullNone} // the housekeeping makes room
	}
	if s.known {
		lack := n + (s.reserved - s.written) + db.reserveBytes(s.total) - s.free
		left := lack - s.stillLeaving(db.now())
		switch {
		case left > sh.evict:
			sh = shortage{evict: left, why: fullDisk}
		case lack > 0 && sh.evict == 0:
			sh = shortage{wait: true, why: fullDisk}
		}
	}
	if sh.why == "" {
		return nil
	}
	return &sh
}

// openUp ends a state of fullness if there is room for more than a trifle, and
// reports whether it did. s.mu is held.
func (s *space) openUp(db *DB) bool {
	room := int64(growStep)
	if db.cfg.Disk > 0 {
		room = min(room, db.cfg.Disk/16)
	}
	if s.full == "" || s.shortage(db, room) != nil {
		return false
	}
	s.full = ""
	return true
}

// deleted notes bytes that will leave the disk soon.
func (s *space) deleted(db *DB, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = append(s.leaving, leaving{n, db.now()})
}

// stillLeaving returns the bytes deleted so recently that the file system may
// not show it. s.mu is held.
func (s *space) stillLeaving(now time.Time) (n int64) {
	for len(s.leaving) > 0 && now.Sub(s.leaving[0].at) > reclaimTime {
		s.leaving = s.leaving[1:]
	}
	for _, l := range s.leaving {
		n += l.bytes
	}
	return n
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

// exhausted reports whether the file system has nothing left even for rows. It
// looks only after the ballast was lost.
func (s *space) exhausted(db *DB) bool {
	s.mu.Lock()
	lost := s.ballast.lost
	s.mu.Unlock()
	if !lost {
		return false
	}
	_ = s.refresh(db)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known && s.free < exhaustedFree
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

func (s *space) stale(db *DB, age time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := db.now().Sub(s.asked)
	return d < 0 || d > age
}

// refresh asks the file system how much is free.
func (s *space) refresh(db *DB) error {
	free, total, err := db.freeSpace()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = err == nil
	s.free, s.total, s.asked = free, total, db.now()
	return err
}

func (db *DB) freeSpace() (free, total int64, err error) {
	if db.cfg.FreeSpace != nil {
		return db.cfg.FreeSpace(db.cfg.Dir)
	}
	u, err := db.cfg.FS.GetDiskUsage(db.cfg.Dir)
	return int64(u.AvailBytes), int64(u.TotalBytes), err
}

// measure works out how much of the disk is not blobs: the tables of all other
// keys and the log. Space that deleted blobs still take is not in it; it goes
// without evicting more.
func (s *space) measure(db *DB) error {
	meta := int64(db.pebble.Metrics().WAL.PhysicalSize)
	if db.cfg.Disk > 0 {
		meta = min(meta, db.cfg.Disk/16) // a tiny budget would be all log
	}
	for _, span := range [][2]byte{{preChunk + 1, preInline}, {preInline + 1, preEnd}} {
		n, err := db.pebble.EstimateDiskUsage([]byte{span[0]}, []byte{span[1]})
		if err != nil {
			return fmt.Errorf("estimate size of rows: %w", err)
		}
		meta += int64(n)
	}
	s.mu.Lock()
	s.meta = meta
	s.mu.Unlock()
	return nil
}

// watch renews what is known about space and ends a state of fullness that has
// passed.
func (s *space) watch(db *DB) error {
	s.watching.Lock()
	defer s.watching.Unlock()
	if err := s.measure(db); err != nil {
		return err
	}
	if err := s.refresh(db); err != nil && db.cfg.FreeSpace != nil {
		return err // without a hook the file system may simply not tell
	}
	if err := db.restoreBallast(); err != nil {
		return err
	}
	s.mu.Lock()
	opened := s.openUp(db)
	s.mu.Unlock()
	if opened {
		db.event(Event{Kind: EventRoom})
	}
	return nil
}

// noSpace turns the file system's "no space left" into ErrFull.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
