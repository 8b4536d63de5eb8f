package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"larder/formats"
)

// flight is the fetching of one key, and after its end what its followers still
// read. Fields above mu belong to the leader or never change.
type flight struct {
	c      *Cache
	key    string
	plan   Plan
	ctx    context.Context // ends with the flight
	cancel context.CancelCauseFunc
	began  time.Time

	ready     chan struct{} // closed when header is known or the flight ended
	wantDone  chan struct{} // closed when wanted and wantErr are set
	wanted    formats.Want
	wantErr   error
	adopted   bool // wanted was taken into account
	sums      digester
	current   *attempt // the last that was answered
	validator string   // for If-Range of the next attempt
	tries     int      // attempts since the last progress
	triedAt   int64    // avail at the last attempt

	// mu guards what follows; Readers and the leader share it.
	mu       sync.Mutex
	header   http.Header // set before ready is closed
	total    int64       // size of the whole file, -1 unknown
	avail    int64       // bytes that are here
	verified bool        // the tail may go out
	finished bool        // result or err is set
	err      error
	result   Result
	want     *formats.Want // nil until known
	doomed   bool          // nobody may join: it was cancelled for lack of clients
	dead     bool          // the cache is closed
	readers  map[*Reader]struct{}
	grace    *time.Timer
	wake     chan struct{} // closed at the next change, nil if nobody waits
	room     chan struct{} // closed when a Reader moves, nil if the leader does not wait

	// Where the bytes are. A finished and kept flight has blob; before, and in
	// through mode, spool holds the first spoolEnd bytes and win the rest.
	spool    spool
	spent    spool // to be released by the leader
	spoolEnd int64 // only with win
	win      *window
	blob     blob
	uses     int // reads in progress on spool or blob; they must outlive these
}

func (c *Cache) newFlight(key string) *flight {
	f := &flight{
		c: c, key: key, total: -1, began: c.cfg.Now(),
		ready:    make(chan struct{}),
		wantDone: make(chan struct{}),
		readers:  make(map[*Reader]struct{}, 1),
	}
	c.live.Lock()
	c.live.set[f] = struct{}{}
	c.live.Unlock()
	return f
}

// join attaches a new Reader, or returns nil if the flight cannot serve one
// from its first byte any more.
func (f *flight) join(ctx context.Context) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doomed || f.dead || f.win != nil && (f.win.start > f.spoolEnd || f.spool == nil && f.spoolEnd > 0) {
		return nil
	}
	r := &Reader{f: f, ctx: ctx}
	f.readers[r] = struct{}{}
	if f.grace != nil {
		f.grace.Stop()
		f.grace = nil
	}
	return r
}

// leave detaches r.
func (f *flight) leave(r *Reader) {
	f.mu.Lock()
	if r.closed {
		f.mu.Unlock()
		return
	}
	r.closed = true
	delete(f.readers, r)
	f.wakeAll()
	f.wakeLeader()
	if len(f.readers) == 0 && !f.finished {
		switch {
		case f.win != nil: // nothing will be kept, and nobody listens
			f.doom()
		case f.c.cfg.Abandon && f.grace == nil:
			f.grace = time.AfterFunc(f.c.cfg.Grace, f.abandoned)
		}
	}
	drop := f.drain()
	f.mu.Unlock()
	drop()
}

// abandoned runs when all clients have been gone for Config.Grace.
func (f *flight) abandoned() {
	f.mu.Lock()
	defer f.mu.Unlock()
	worth := f.total >= 0 && f.avail*2 > f.total || f.total < 0 && f.avail > 0 && f.avail < 64<<20
	if len(f.readers) == 0 && !f.finished && !worth {
		f.doom()
	}
}

func (f *flight) doom() {
	f.doomed = true
	if f.cancel != nil {
		f.cancel(fmt.Errorf("%w: every client left", ErrAborted))
	}
}

// plans calls plan and reports whether that settled the flight.
func (f *flight) plans(plan func() Plan) bool {
	ctx, cancel := context.WithCancelCause(f.c.ctx)
	f.mu.Lock()
	f.ctx, f.cancel = ctx, cancel
	f.mu.Unlock()
	err := f.protect("plan", func() error { f.plan = plan(); return nil })
	if err == nil && f.plan.Held != nil {
		if b, missing := f.c.blobs.open(f.plan.Held.Sum); missing == nil {
			f.serve(b, *f.plan.Held)
			f.c.forget(f)
			cancel(nil)
			f.c.wg.Done()
			return true
		}
	}
	if err == nil && f.plan.Open == nil {
		err = errors.New("plan has no Open")
	}
	if err != nil {
		f.finish(Result{}, fmt.Errorf("plan %s: %w", f.key, err))
		cancel(nil)
		f.c.wg.Done()
		return true
	}
	return false
}

// serve makes f a finished flight over a blob of the store.
func (f *flight) serve(b blob, res Result) {
	res.Size, res.Kept = b.Size(), true
	f.mu.Lock()
	f.blob, f.header, f.result = b, res.Header, res
	f.total, f.avail = res.Size, res.Size
	f.verified, f.finished = true, true
	close(f.ready)
	f.mu.Unlock()
}

// run is the leader.
func (f *flight) run() {
	defer f.c.wg.Done()
	f.c.running.Add(1)
	defer f.c.running.Add(-1)
	var wants sync.WaitGroup
	timeout := time.AfterFunc(f.c.cfg.MaxDuration, func() {
		f.cancel(&ErrUpstream{f.key, f.available(), context.DeadlineExceeded})
	})
	defer timeout.Stop()
	var res Result
	err := f.protect("flight", func() (err error) {
		f.c.cfg.Observer.started(f.key)
		res, err = f.fetch(&wants)
		return err
	})
	if err != nil && f.ctx.Err() != nil && !errors.As(err, new(*ErrVerify)) {
		err = context.Cause(f.ctx)
	}
	f.finish(res, err)
	f.cancel(nil)
	wants.Wait()
}

// finish publishes the end of the flight.
func (f *flight) finish(res Result, err error) {
	f.c.forget(f)
	f.mu.Lock()
	f.finished, f.err = true, err
	if err == nil {
		f.result, f.verified, f.total = res, true, res.Size
	}
	if f.grace != nil {
		f.grace.Stop()
		f.grace = nil
	}
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	f.wakeAll()
	drop := f.drain()
	f.mu.Unlock()
	drop()
	took, o := f.c.cfg.Now().Sub(f.began), &f.c.cfg.Observer
	// The flight has its outcome: a panic here can only be logged.
	_ = f.protect("observer", func() error {
		var bad *ErrVerify
		if errors.As(err, &bad) && o.VerifyFailed != nil {
			o.VerifyFailed(f.key, bad)
		}
		switch {
		case err != nil && o.Failed != nil:
			o.Failed(f.key, err, took)
		case err == nil && o.Finished != nil:
			o.Finished(f.key, res, took)
		}
		return nil
	})
}

// protect calls fn and turns a panic into an error.
func (f *flight) protect(what string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.c.cfg.Logger.Error("panic in download", "key", f.key, "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in %s: %v", what, p)
		}
	}()
	return fn()
}

// drain lets go of what nobody needs any more. The caller holds mu and must call
// the returned function after releasing it, since the store may do I/O.
func (f *flight) drain() (drop func()) {
	var s spool
	var b blob
	gone := len(f.readers) == 0 || f.dead
	if f.finished && f.uses == 0 {
		if f.spool != nil && (f.blob != nil || gone) {
			s, f.spool = f.spool, nil
		}
		if f.blob != nil && gone {
			b, f.blob = f.blob, nil
		}
		if gone && f.win != nil {
			f.win.free()
		}
	}
	over := f.finished && f.uses == 0 && gone
	return func() {
		if s != nil {
			s.Release()
		}
		if b != nil {
			_ = b.Close() // reading is over; the store has nothing to say here
		}
		if over {
			f.c.live.Lock()
			delete(f.c.live.set, f)
			f.c.live.Unlock()
		}
	}
}

// shut ends all Readers: the cache closes.
func (f *flight) shut() {
	f.mu.Lock()
	f.dead = true
	f.wakeAll()
	drop := f.drain()
	f.mu.Unlock()
	drop()
}

func (f *flight) available() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.avail
}

// released returns how many bytes from the start may go to followers. mu is
// held.
func (f *flight) released() int64 {
	switch hold := f.c.cfg.HoldBack; {
	case f.verified:
		return f.avail
	case f.total >= 0:
		return max(0, min(f.avail, f.total-hold))
	default: // the end may be anywhere
		return max(0, f.avail-hold)
	}
}

// waker returns a channel that is closed at the next change. mu is held.
func (f *flight) waker() <-chan struct{} {
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.wake
}

func (f *flight) wakeAll() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

func (f *flight) wakeLeader() {
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// readAt reads bytes that are here, wherever they are, released or not.
func (f *flight) readAt(p []byte, off int64) (n int, err error) {
	f.mu.Lock()
	var src io.ReaderAt
	switch {
	case f.dead:
		err = ErrAborted
	case off >= f.avail:
		err = io.EOF
	case f.blob != nil:
		src, p = f.blob, p[:min(int64(len(p)), f.avail-off)]
	case f.win != nil && off >= f.spoolEnd:
		n, err = f.win.readAt(p, off)
	case f.spool == nil:
		err = ErrGone
	case f.win != nil:
		src, p = f.spool, p[:min(int64(len(p)), f.spoolEnd-off)]
	default:
		src, p = f.spool, p[:min(int64(len(p)), f.avail-off)]
	}
	if src == nil {
		f.mu.Unlock()
		return n, err
	}
	f.uses++
	f.mu.Unlock()
	n, err = src.ReadAt(p, off)
	if n == len(p) {
		err = nil // io.EOF beside a full read
	}
	f.unuse()
	return n, err
}

func (f *flight) unuse() {
	f.mu.Lock()
	f.uses--
	if !f.finished { // nothing to let go of yet: this is the busy path
		f.mu.Unlock()
		return
	}
	drop := f.drain()
	f.mu.Unlock()
	drop()
}
