package cache

import (
	"context"
	"io"
	"net/http"

	"larder/formats"
)

// Reader is one client's view of a flight, or of a blob that the store holds:
// the same for both. Bytes are addressed by offset, so that a Reader can stand
// behind a Range request or behind another node.
//
// A byte can be had as soon as it has arrived, except that the last
// Config.HoldBack bytes wait until the file is verified and committed. After an
// error the client's connection must be aborted; a client that got the whole
// file got a verified one.
//
// Methods may be called concurrently, except that Read has one position.
type Reader struct {
	f    *flight
	ctx  context.Context
	lead bool
	off  int64 // of Read

	// Guarded by the flight's mu.
	pos    int64 // bytes before it are not wanted any more (through mode)
	closed bool
	parked bool // wants the outcome, not bytes
	cut    bool // was too slow
}

// started waits for the header.
func (r *Reader) started(ctx context.Context) (*Reader, error) {
	var err error
	select {
	case <-r.f.ready:
		r.f.mu.Lock()
		err = r.f.err
		r.f.mu.Unlock()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Leader reports whether this Reader's Fill began the flight.
func (r *Reader) Leader() bool { return r.lead }

// Header returns the upstream's header (Result.Header of a held blob). It must
// not be changed.
func (r *Reader) Header() http.Header { return r.f.header }

// Size returns the size of the file, or -1 while it is unknown.
func (r *Reader) Size() int64 {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.f.total
}

// Digests returns the file's digests if it is verified, else what is known of
// how they must be; they are not to be changed.
func (r *Reader) Digests() []formats.Digest {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	switch {
	case r.f.finished && r.f.err == nil:
		return r.f.result.Digests
	case r.f.want != nil:
		return r.f.want.Digests
	}
	return nil
}

// Close ends the Reader and every call of it. It may be called more than once.
// Other clients and the flight go on.
func (r *Reader) Close() error {
	r.f.leave(r)
	return nil
}

// WaitVerified waits for the end of the flight. In through mode a Reader that
// waits does not hold the others up, so bytes may pass that it has not read.
func (r *Reader) WaitVerified(ctx context.Context) (Result, error) {
	f := r.f
	f.mu.Lock()
	r.parked = true
	f.wakeLeader()
	for {
		switch {
		case r.closed:
			f.mu.Unlock()
			return Result{}, ErrClosed
		case f.err != nil:
			f.mu.Unlock()
			return Result{}, f.err
		case f.finished:
			r.parked = false
			f.mu.Unlock()
			return f.result, nil
		case f.dead:
			f.mu.Unlock()
			return Result{}, ErrAborted
		}
		wake := f.waker()
		f.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			f.mu.Lock()
			r.parked = r.cut
			f.mu.Unlock()
			return Result{}, context.Cause(ctx)
		}
		f.mu.Lock()
	}
}

// span returns how many of the n bytes from off on can be read now (n < 0: all
// there are), io.EOF at the end of a verified file, or a channel to wait on.
func (r *Reader) span(off, n int64) (int64, <-chan struct{}, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.pos != off && f.win != nil {
		f.wakeLeader()
	}
	r.pos = off
	end := f.released()
	switch {
	case r.closed:
		return 0, nil, ErrClosed
	case f.dead:
		return 0, nil, ErrAborted
	case f.err != nil:
		return 0, nil, f.err
	case r.cut:
		return 0, nil, ErrGone
	case off < 0 || f.total >= 0 && off > f.total:
		return 0, nil, ErrRange
	case off < end:
		if n < 0 || n > end-off {
			n = end - off
		}
		return n, nil, nil
	case f.finished:
		return 0, nil, io.EOF
	}
	return 0, f.waker(), nil
}

// await is span that waits.
func (r *Reader) await(ctx context.Context, off, n int64) (int64, error) {
	for {
		can, wake, err := r.span(off, n)
		if wake == nil {
			return can, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// moved notes that the bytes before off are not wanted any more.
func (r *Reader) moved(off int64) {
	r.f.mu.Lock()
	r.pos = off
	r.f.wakeLeader()
	r.f.mu.Unlock()
}

// ReadAt implements io.ReaderAt. It waits for bytes as WriteRange does, until
// the context given to Fill ends.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := r.some(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Read implements io.Reader from the first byte on, one piece at a time as they
// arrive.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.some(p, r.off)
	r.off += int64(n)
	return n, err
}

func (r *Reader) some(p []byte, off int64) (int, error) {
	can, err := r.await(r.ctx, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	n, err := r.f.readAt(p[:can], off)
	r.moved(off + int64(n))
	return n, err
}

// WriteRange writes n bytes from off on to w, n < 0 meaning all to the end, as
// they become available. Before it waits for more it flushes w, if w is an
// http.ResponseWriter and has got bytes, so that a slow upstream's first bytes
// are not stuck in a buffer. A file that ends before off+n is
// io.ErrUnexpectedEOF. Writing to the end returns only after verification, also
// if the file is empty.
func (r *Reader) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	var done int64
	var buf *[]byte
	defer func() {
		if buf != nil {
			r.f.c.reuse(buf)
		}
	}()
	for n < 0 || done < n {
		left := int64(-1)
		if n >= 0 {
			left = n - done
		}
		can, wake, err := r.span(off+done, left)
		if wake != nil {
			if done > 0 {
				flush(w)
			}
			can, err = r.await(ctx, off+done, left)
		}
		switch {
		case err == io.EOF && n < 0:
			return done, nil
		case err == io.EOF:
			return done, io.ErrUnexpectedEOF
		case err != nil:
			return done, err
		}
		if err := ctx.Err(); err != nil {
			return done, context.Cause(ctx)
		}
		if m, ok, err := r.writeBlob(w, off+done, can); ok {
			if done += m; err != nil {
				return done, err
			}
			continue
		}
		if buf == nil {
			buf = r.f.c.buffer()
		}
		m, err := r.f.readAt((*buf)[:min(can, bufferSize)], off+done)
		if err != nil {
			return done, err
		}
		r.moved(off + done + int64(m))
		wrote, err := w.Write((*buf)[:m])
		done += int64(wrote)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeBlob lets a committed blob write itself, a few MiB at a time so that the
// context is looked at.
func (r *Reader) writeBlob(w io.Writer, off, n int64) (int64, bool, error) {
	f := r.f
	f.mu.Lock()
	b := f.blob
	if b == nil || f.dead {
		f.mu.Unlock()
		return 0, false, nil
	}
	f.uses++
	f.mu.Unlock()
	defer f.unuse()
	m, err := b.WriteRange(w, off, min(n, 4<<20))
	return m, true, err
}

func flush(w io.Writer) {
	if rw, ok := w.(http.ResponseWriter); ok {
		// A writer that cannot flush, or a connection that is gone: the next Write
		// tells.
		_ = http.NewResponseController(rw).Flush()
	}
}
