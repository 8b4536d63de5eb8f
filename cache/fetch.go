package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"larder/formats"
)

const (
	minProgress = 4 << 10 // bytes that make a broken body's tries count anew
	maxBackoff  = 5 * time.Second
)

// attempt is one answer of an upstream, watched for silence.
type attempt struct {
	part   *Part
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
	limit  time.Duration
	closed bool
}

func (a *attempt) read(p []byte) (int, error) {
	a.idle.Reset(a.limit)
	n, err := a.part.Body.Read(p)
	a.idle.Stop()
	if err != nil && err != io.EOF && context.Cause(a.ctx) == errSilent {
		err = errSilent
	}
	return n, err
}

// Read lets an attempt be copied from.
func (a *attempt) Read(p []byte) (int, error) { return a.read(p) }

// close may be called more than once.
func (a *attempt) close() {
	if a.closed {
		return
	}
	a.closed = true
	a.idle.Stop()
	a.cancel(nil)
	_ = a.part.Body.Close() // nothing of it is wanted any more
}

// ask calls Plan.Open.
func (f *flight) ask(from int64, validator string) (*attempt, error) {
	a := &attempt{limit: f.c.cfg.IdleTimeout}
	a.ctx, a.cancel = context.WithCancelCause(f.ctx)
	a.idle = time.AfterFunc(a.limit, func() { a.cancel(errSilent) })
	part, err := f.plan.Open(a.ctx, from, validator)
	a.idle.Stop()
	switch {
	case err != nil && context.Cause(a.ctx) == errSilent:
		err = errSilent
	case err == nil && (part == nil || part.Body == nil):
		err = errors.New("no body")
	}
	if err != nil {
		a.cancel(nil)
		return nil, err
	}
	a.part = part
	f.current = a
	return a, nil
}

// fetch is the whole life of a flight: ask, download, verify, commit.
func (f *flight) fetch(wants *sync.WaitGroup) (Result, error) {
	for _, alg := range f.plan.Algs {
		if alg != sha256Alg { // the spool computes it
			f.sums.need(alg)
		}
	}
	a, err := f.ask(0, "")
	if err != nil {
		return Result{}, &ErrUpstream{f.key, 0, err}
	}
	defer func() { f.current.close() }() // earlier ones are closed; also after a panic
	if err := f.begin(a.part, wants); err != nil {
		return Result{}, err
	}
	if err := f.download(a); err != nil {
		return Result{}, err
	}
	sums, err := f.verify()
	if err != nil {
		return Result{}, err
	}
	return f.commit(sums)
}

// begin takes note of the first answer's header, lets the followers go on, and
// starts Want and the spool.
func (f *flight) begin(p *Part, wants *sync.WaitGroup) error {
	if p.Offset != 0 {
		return &ErrUpstream{f.key, 0, fmt.Errorf("answer starts at byte %d", p.Offset)}
	}
	if p.Total > f.plan.MaxSize && f.plan.MaxSize > 0 {
		return fmt.Errorf("fetch %s: %w: %d bytes, limit %d", f.key, ErrTooLarge, p.Total, f.plan.MaxSize)
	}
	f.validator = p.Validator
	f.mu.Lock()
	f.header, f.total = p.Header, max(p.Total, -1)
	close(f.ready)
	f.mu.Unlock()
	if f.plan.Want == nil {
		close(f.wantDone)
	} else {
		header := p.Header
		wants.Go(func() {
			defer close(f.wantDone)
			f.wantErr = f.protect("want", func() (err error) {
				f.wanted, err = f.plan.Want(f.ctx, header)
				return err
			})
		})
	}
	s, err := f.c.blobs.create(f.ctx, f.total)
	if err != nil {
		return f.goThrough(err)
	}
	f.mu.Lock()
	f.spool = s
	f.mu.Unlock()
	return nil
}

// download brings in the whole body, over as many attempts as it takes.
func (f *flight) download(a *attempt) error {
	buf := f.c.buffer()
	for {
		err := f.drainBody(a, *buf)
		if br := new(broken); errors.As(err, &br) {
			a.close()
			next, rerr := f.resume(br.err)
			if err = rerr; err == nil {
				a = next
				continue
			}
		}
		a.close()      // verifying and committing need no connection
		f.c.reuse(buf) // not after a panic: a digest may still read it
		return err
	}
}

// drainBody takes one attempt's body. It returns nil when the file is complete
// and a *broken error when it may be resumed.
func (f *flight) drainBody(a *attempt, buf []byte) error {
	for empty := 0; ; {
		n, rerr := a.read(buf)
		if n > 0 {
			empty = 0
			if err := f.take(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case rerr == io.EOF:
			return f.ended()
		case rerr != nil && f.avail == f.total:
			return nil // complete, whatever came after
		case rerr != nil:
			return &broken{rerr}
		case n == 0:
			if empty++; empty > 100 {
				return &broken{io.ErrNoProgress}
			}
		}
	}
}

// ended decides about a body that ended well.
func (f *flight) ended() error {
	if f.total < 0 { // Want may know the size
		if err := f.awaitWant(); err != nil {
			return err
		}
	}
	if f.avail < f.total {
		return &broken{io.ErrUnexpectedEOF}
	}
	return nil
}

// take adds p to the file: spool or window, digests, and then the followers see
// it. Only the leader changes avail and total, so it reads them without mu.
func (f *flight) take(p []byte) error {
	if err := f.pollWant(); err != nil {
		return err
	}
	at := f.avail
	end := at + int64(len(p))
	if f.total >= 0 && end > f.total {
		return &ErrVerify{Key: f.key, Got: fmt.Sprintf("%d bytes or more", end), Want: fmt.Sprintf("%d bytes", f.total)}
	}
	if f.plan.MaxSize > 0 && end > f.plan.MaxSize {
		return fmt.Errorf("fetch %s: %w: %d bytes or more, limit %d", f.key, ErrTooLarge, end, f.plan.MaxSize)
	}
	f.c.cfg.Observer.bytes(len(p))
	rest := p
	if f.win == nil {
		wait := f.sums.beside(at, p, f)
		_, werr := f.spool.Write(p)
		if err := wait(); err != nil {
			return err
		}
		rest = nil
		if werr != nil {
			if err := f.goThrough(werr); err != nil {
				return err
			}
			rest = p[min(max(f.spoolEnd-at, 0), int64(len(p))):]
		}
	}
	if f.win != nil {
		if err := f.sums.feed(at, p, f); err != nil {
			return err
		}
		if err := f.pass(rest); err != nil {
			return err
		}
	}
	f.mu.Lock()
	before := f.released()
	f.avail = end
	if f.released() > before {
		f.wakeAll()
	}
	f.mu.Unlock()
	return nil
}

// resume asks for the rest of a broken body, or for all of it where the
// upstream gave no validator or does not serve ranges; then the known beginning
// is skipped and compared.
func (f *flight) resume(cause error) (*attempt, error) {
	limit := f.plan.Retries
	if limit == 0 {
		limit = 5
	}
	if f.avail-f.triedAt >= minProgress {
		f.tries = 0
	}
	for ; ; f.tries++ {
		f.triedAt = f.avail
		if f.tries >= limit {
			return nil, &ErrUpstream{f.key, f.avail, fmt.Errorf("gave up after %d attempts to resume: %w", max(limit, 0), cause)}
		}
		if err := f.pause(f.tries); err != nil {
			return nil, err
		}
		from := f.avail
		if f.validator == "" {
			from = 0
		}
		a, err := f.ask(from, f.validator)
		if err == nil {
			if err = f.fits(a); err == nil {
				f.c.cfg.Observer.resumed(f.key, f.avail, cause)
				f.tries++
				return a, nil
			}
			a.close()
		}
		if f.ctx.Err() != nil {
			return nil, f.ctx.Err()
		}
		if bad := new(ErrVerify); errors.As(err, &bad) {
			return nil, err
		}
		if gone := new(permanent); errors.As(err, &gone) {
			return nil, &ErrUpstream{f.key, f.avail, err}
		}
		cause = err
	}
}

// pause waits before attempt n, between half and all of a doubling time.
func (f *flight) pause(n int) error {
	d := min(f.c.cfg.Backoff<<min(n, 16), maxBackoff)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// fits checks that a continues the file, and brings it to the first byte that is
// missing.
func (f *flight) fits(a *attempt) error {
	p := a.part
	if p.Total >= 0 && f.total >= 0 && p.Total != f.total {
		return &ErrVerify{Key: f.key, Got: fmt.Sprintf("%d bytes after a break", p.Total), Want: fmt.Sprintf("%d bytes", f.total)}
	}
	switch {
	case p.Offset == 0:
		return f.skip(a)
	case p.Offset != f.avail:
		f.validator = "" // it does not do ranges as it should: ask for all
		return fmt.Errorf("asked for byte %d, answer starts at %d", f.avail, p.Offset)
	case p.Validator != "" && p.Validator != f.validator:
		f.validator = ""
		return errors.New("range of a file that has changed")
	}
	return nil
}

// skip reads the known beginning of a and compares its digest with that of what
// is here. The bytes were given to followers already, so they must be the same.
func (f *flight) skip(a *attempt) error {
	h := sha256.New()
	if n, err := io.CopyBuffer(h, io.LimitReader(a, f.avail), make([]byte, 32<<10)); err != nil {
		return err
	} else if n < f.avail {
		return io.ErrUnexpectedEOF
	}
	var have []byte
	if f.win == nil {
		sum := f.spool.Sum()
		have = sum[:]
	} else {
		have = f.sums.sum(sha256Alg)
	}
	if got := h.Sum(nil); !bytes.Equal(got, have) {
		return &ErrVerify{Key: f.key, Got: fmt.Sprintf("sha256:%x in the first %d bytes after a break", got, f.avail), Want: fmt.Sprintf("sha256:%x", have)}
	}
	f.validator = a.part.Validator
	return nil
}

var _ formats.File = fileView{}

// fileView is the complete file as Plan.Check sees it.
type fileView struct{ f *flight }

func (v fileView) Size() int64 { return v.f.available() }

func (v fileView) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, ErrRange
	}
	done := 0
	for done < len(p) {
		n, err := v.f.readAt(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
	}
	return done, nil
}
