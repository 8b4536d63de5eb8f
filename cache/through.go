package cache

import (
	"errors"
	"fmt"
	"time"

	"larder/cache/store"
)

// window holds the bytes of a flight that the store has no room for, in blocks
// of bufferSize. It is guarded by the flight's mu.
type window struct {
	c          *Cache
	start, end int64 // offsets of what is held; start moves in whole blocks
	blocks     []*[]byte
	limit      int   // blocks that this flight may have
	keep       bool  // nothing may be dropped: the file will be checked as a whole
	borrowed   int64 // bytes beyond limit, counted in Cache.whole
}

// lacks returns how many blocks are missing to append n bytes.
func (w *window) lacks(n int) int {
	have := int64(len(w.blocks)) * bufferSize
	return int((w.end - w.start + int64(n) - have + bufferSize - 1) / bufferSize)
}

func (w *window) append(p []byte) {
	for len(p) > 0 {
		in := w.end - w.start
		if in == int64(len(w.blocks))*bufferSize {
			w.blocks = append(w.blocks, w.c.buffer())
		}
		n := copy((*w.blocks[in/bufferSize])[in%bufferSize:], p)
		w.end += int64(n)
		p = p[n:]
	}
}

// readAt reads up to len(p) held bytes.
func (w *window) readAt(p []byte, off int64) (n int, err error) {
	if off < w.start {
		return 0, ErrGone
	}
	p = p[:min(int64(len(p)), w.end-off)]
	for n < len(p) {
		in := off + int64(n) - w.start
		n += copy(p[n:], (*w.blocks[in/bufferSize])[in%bufferSize:])
	}
	return n, nil
}

// drop lets go of the blocks that end at or before upto.
func (w *window) drop(upto int64) {
	if w.keep && upto < w.end {
		return
	}
	for len(w.blocks) > 0 && w.start+bufferSize <= upto {
		w.c.reuse(w.blocks[0])
		w.blocks = w.blocks[1:]
		w.start += bufferSize
	}
}

// free lets go of everything, at the end of the flight.
func (w *window) free() {
	for _, b := range w.blocks {
		w.c.reuse(b)
	}
	w.blocks, w.start = nil, w.end
	w.c.whole.Add(-w.borrowed)
	w.borrowed = 0
}

// borrow takes n blocks from the memory that all flights share.
func (w *window) borrow(n int) bool {
	size := int64(n) * bufferSize
	if w.c.whole.Add(size) > w.c.cfg.WholeMemory {
		w.c.whole.Add(-size)
		return false
	}
	w.borrowed += size
	return true
}

// goThrough switches to through mode: from here on bytes pass in a window, and
// nothing will be kept. Want is awaited, since a digest that it names later
// could not be computed over bytes that have passed.
func (f *flight) goThrough(cause error) error {
	if errors.Is(cause, store.ErrClosed) || f.ctx.Err() != nil {
		return cause
	}
	f.c.cfg.Observer.through(f.key, cause)
	f.mu.Lock()
	f.win = &window{c: f.c, limit: f.c.windowSize()}
	if f.spool != nil {
		f.spoolEnd = f.spool.Size()
	}
	f.win.start, f.win.end = f.spoolEnd, f.spoolEnd
	alone := len(f.readers) == 0
	f.mu.Unlock()
	if alone {
		return fmt.Errorf("%w: no client is left and nothing can be kept: %w", ErrAborted, cause)
	}
	if err := f.awaitWant(); err != nil {
		return err
	}
	f.sums.need(sha256Alg) // the spool's own ends here
	f.mu.Lock()
	f.win.keep = f.wanted.Whole
	f.mu.Unlock()
	return nil
}

// pass appends p to the window, waiting for the slowest follower.
func (f *flight) pass(p []byte) error {
	var patience *time.Timer
	for {
		f.mu.Lock()
		room, err := f.makeRoom(len(p))
		if room {
			f.win.append(p)
		} else if f.room == nil {
			f.room = make(chan struct{})
		}
		moved, spent := f.room, f.spent
		f.spent = nil
		f.mu.Unlock()
		if spent != nil {
			spent.Release()
		}
		if room || err != nil {
			return err
		}
		if patience == nil {
			patience = time.NewTimer(f.c.cfg.Patience)
			defer patience.Stop()
		}
		select {
		case <-moved:
		case <-patience.C:
			f.cutSlowest()
			patience.Reset(f.c.cfg.Patience)
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
}

// makeRoom reports whether n more bytes fit into the window, dropping what all
// followers have if they do not. mu is held.
func (f *flight) makeRoom(n int) (bool, error) {
	w := f.win
	over := func() int { return len(w.blocks) + w.lacks(n) - w.limit }
	if over() <= 0 {
		return true, nil
	}
	if w.keep {
		// What was borrowed is part of blocks.
		more := over() - int(w.borrowed/bufferSize)
		if more > 0 && !w.borrow(more) {
			return false, fmt.Errorf("check the whole file without room to keep it: %w", store.ErrFull)
		}
		return true, nil
	}
	least, any := f.slowest()
	if !any {
		f.doomed = true
		return false, fmt.Errorf("%w: every client left", ErrAborted)
	}
	w.drop(least)
	if w.start > f.spoolEnd && least >= f.spoolEnd && f.spool != nil && f.uses == 0 {
		// Nobody can need the beginning any more: give the disk back.
		f.spent, f.spool = f.spool, nil
	}
	return over() <= 0, nil
}

// slowest returns the least position of all followers that want bytes, and
// whether anybody still waits for bytes or for the outcome. mu is held.
func (f *flight) slowest() (least int64, any bool) {
	least = f.avail
	for r := range f.readers {
		any = any || !r.cut
		if !r.parked {
			least = min(least, r.pos)
		}
	}
	return least, any
}

// cutSlowest ends the followers that hold the others up.
func (f *flight) cutSlowest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	least, _ := f.slowest()
	for r := range f.readers {
		if r.pos == least && !r.parked {
			r.cut, r.parked = true, true
		}
	}
	f.wakeAll()
}
