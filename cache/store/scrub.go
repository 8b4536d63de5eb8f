package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pacedBytes is how much is read between two looks at the clock.
const pacedBytes = 1 << 20

// pace holds reading down to a rate.
type pace struct {
	rate  int64 // bytes a second; 0: no limit
	began time.Time
	done  int64
}

// wait returns when n more bytes are due.
func (p *pace) wait(ctx context.Context, n int64) error {
	if p.rate <= 0 {
		return nil
	}
	if p.began.IsZero() {
		p.began = time.Now()
	}
	p.done += n
	due := p.began.Add(time.Duration(float64(p.done) / float64(p.rate) * float64(time.Second)))
	d := time.Until(due)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

type scrubResults struct {
	mu sync.Mutex
	s  ScrubStats
}

// Scrub reads all blobs at no more than rate bytes a second (0: as fast as it
// goes) and compares their digests. A corrupt one is reported as a problem and
// an event, and removed: with its rows if the evictor lets it go, else its bytes
// only, so that it is no longer found and can be fetched and committed again.
func (db *DB) Scrub(ctx context.Context, rate int64, progress func(Progress)) (Report, error) {
	if err := db.gate.enter(); err != nil {
		return Report{}, err
	}
	defer db.gate.leave()
	u := db.newUpkeep(ctx, progress)
	u.pace.rate = rate
	u.phase("blobs", db.Stats().Blobs)
	err := db.eachEntry(ctx, func(s Sum, e entry) error {
		if e.kind == kindMissing {
			return nil
		}
		before := u.report.Bytes
		err := u.hashBlob(s)
		u.report.Blobs++
		if errors.Is(err, ErrNotFound) {
			err = nil // deleted meanwhile
		}
		bad := errors.Is(err, ErrCorrupt)
		if bad {
			err = u.dropCorrupt(s, e, err)
		}
		db.scrubs.note(u.report.Bytes-before, bad)
		return errors.Join(err, u.step())
	})
	if err != nil {
		return u.report, fmt.Errorf("scrub: %w", err)
	}
	db.scrubs.mu.Lock()
	db.scrubs.s.Last = db.now()
	db.scrubs.mu.Unlock()
	u.progress(u.at)
	return u.report, nil
}

func (r *scrubResults) note(bytes int64, bad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.Blobs++
	r.s.Bytes += bytes
	if bad {
		r.s.Corrupt++
	}
}

// dropCorrupt removes a blob whose bytes are wrong.
func (u *upkeep) dropCorrupt(s Sum, e entry, why error) error {
	db := u.db
	u.problem(s, "%v", why)
	db.event(Event{Kind: EventCorrupt, Sum: s, Bytes: e.size, Err: why})
	now, err := db.readEntry(s)
	if errors.Is(err, ErrNotFound) || err == nil && now.id != e.id {
		return nil // deleted, or committed anew
	}
	if err != nil {
		return err
	}
	err = db.remove(s, now, true, true)
	if err == nil {
		db.event(Event{Kind: EventDropped, Sum: s, Bytes: e.size})
	} else if errors.Is(err, errHeld) || errors.Is(err, errChanged) || errors.Is(err, ErrNotFound) {
		if err = db.Drop(s); errors.Is(err, ErrNotFound) {
			err = nil
		}
	}
	if err == nil {
		u.report.Removed++
		u.report.Freed += e.size
	}
	return err
}
