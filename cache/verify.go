package cache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"larder/cache/store"
	"larder/formats"
)

const sha256Alg = formats.SHA256

// digester computes digests over the file, each at its own position, so that one
// that is asked for late can read what it missed.
type digester struct{ list []*running }

type running struct {
	alg formats.Alg
	h   hash.Hash
	n   int64 // bytes it has seen
}

// need adds alg. Algorithms that do not run over plain bytes are passed over.
func (d *digester) need(alg formats.Alg) {
	for _, r := range d.list {
		if r.alg == alg {
			return
		}
	}
	if h := alg.New(); h != nil {
		d.list = append(d.list, &running{alg, h, 0})
	}
}

// feed brings every digest to the end of p, whose first byte is at offset at;
// what a digest has not seen before at is read from f.
func (d *digester) feed(at int64, p []byte, f *flight) error {
	for _, r := range d.list {
		if r.n < at {
			buf := f.c.buffer()
			n, err := io.CopyBuffer(r.h, struct{ io.Reader }{io.NewSectionReader(fileView{f}, r.n, at-r.n)}, *buf)
			f.c.reuse(buf)
			r.n += n
			if err != nil || r.n != at {
				return fmt.Errorf("read back %s for %s: %w", f.key, r.alg, errors.Join(err, io.ErrUnexpectedEOF))
			}
		}
		if skip := r.n - at; skip < int64(len(p)) {
			r.h.Write(p[skip:])
			r.n = at + int64(len(p))
		}
	}
	return nil
}

// beside is feed beside the caller, who must call wait before p changes. Small
// pieces are not worth a goroutine.
func (d *digester) beside(at int64, p []byte, f *flight) (wait func() error) {
	if len(d.list) == 0 || len(p) < 32<<10 {
		err := d.feed(at, p, f)
		return func() error { return err }
	}
	done := make(chan error, 1)
	go func() { done <- d.feed(at, p, f) }()
	return func() error { return <-done }
}

func (d *digester) sum(alg formats.Alg) []byte {
	for _, r := range d.list {
		if r.alg == alg {
			return r.h.Sum(nil)
		}
	}
	return nil
}

// pollWant takes Want's answer into account if it is there.
func (f *flight) pollWant() error {
	if f.adopted {
		return nil
	}
	select {
	case <-f.wantDone:
		return f.adoptWant()
	default:
		return nil
	}
}

func (f *flight) awaitWant() error {
	if f.adopted {
		return nil
	}
	select {
	case <-f.wantDone:
		return f.adoptWant()
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *flight) adoptWant() error {
	f.adopted = true
	if f.wantErr != nil {
		return fmt.Errorf("learn what %s must be: %w", f.key, f.wantErr)
	}
	w := f.wanted
	for _, d := range w.Digests {
		if d.Alg != sha256Alg {
			f.sums.need(d.Alg)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = &w
	if w.Size > 0 {
		if f.total >= 0 && f.total != w.Size || f.avail > w.Size {
			return &ErrVerify{Key: f.key, Got: fmt.Sprintf("%d bytes", max(f.total, f.avail)), Want: fmt.Sprintf("%d bytes", w.Size)}
		}
		if f.plan.MaxSize > 0 && w.Size > f.plan.MaxSize {
			return fmt.Errorf("fetch %s: %w: %d bytes, limit %d", f.key, ErrTooLarge, w.Size, f.plan.MaxSize)
		}
		f.total = w.Size
		f.wakeAll()
	}
	return nil
}

// verify checks a complete file against Want, and returns its digests.
func (f *flight) verify() ([]formats.Digest, error) {
	if err := f.awaitWant(); err != nil {
		return nil, err
	}
	if err := f.sums.feed(f.avail, nil, f); err != nil {
		return nil, err
	}
	var sums []formats.Digest
	if f.win == nil {
		sums = append(sums, formats.Digest{Alg: sha256Alg, Hex: f.spool.Sum().String()})
	} else {
		sums = append(sums, formats.Digest{Alg: sha256Alg, Hex: hex.EncodeToString(f.sums.sum(sha256Alg))})
	}
	for _, r := range f.sums.list {
		if r.alg != sha256Alg {
			sums = append(sums, formats.Digest{Alg: r.alg, Hex: hex.EncodeToString(r.h.Sum(nil))})
		}
	}
	if bad := mismatch(f.key, sums, f.wanted.Digests); bad != nil {
		return nil, bad
	}
	if !f.wanted.Whole {
		return sums, nil
	}
	if f.plan.Check == nil {
		return nil, &ErrVerify{Key: f.key, Err: errors.New("the whole file must be checked, and the plan cannot")}
	}
	err := f.protect("check", func() error { return f.plan.Check(f.ctx, fileView{f}, f.wanted, sums) })
	switch {
	case err == nil:
		return sums, nil
	case f.ctx.Err() != nil: // no word against the file
		return nil, f.ctx.Err()
	}
	return nil, &ErrVerify{Key: f.key, Err: err}
}

// mismatch returns the first algorithm none of whose wanted digests is right.
func mismatch(key string, sums, want []formats.Digest) error {
	for _, got := range sums {
		var names []string
		right := false
		for _, w := range want {
			if w.Alg == got.Alg {
				names = append(names, w.String())
				right = right || strings.EqualFold(w.Hex, got.Hex)
			}
		}
		if len(names) > 0 && !right {
			return &ErrVerify{Key: key, Got: got.String(), Want: strings.Join(names, " or ")}
		}
	}
	return nil
}

// commit makes a verified file durable and visible. Where the store fails at
// this, the followers get their last block all the same: it is verified, and a
// node whose disk is full goes on serving.
func (f *flight) commit(sums []formats.Digest) (Result, error) {
	res := Result{Size: f.avail, Digests: sums, Header: f.header}
	raw, err := hex.DecodeString(sums[0].Hex)
	if err != nil || copy(res.Sum[:], raw) != len(res.Sum) {
		return Result{}, fmt.Errorf("commit %s: sha256 of %d bytes", f.key, len(raw))
	}
	if f.win != nil || f.plan.Commit == nil {
		return res, nil
	}
	res.Kept = true
	if f.plan.Inspect != nil {
		// A panic over foreign bytes was logged, and is no reason to lose the file.
		_ = f.protect("inspect", func() error { f.plan.Inspect(f.ctx, fileView{f}, res); return nil })
	}
	b := f.c.blobs.newBatch()
	if err := f.protect("commit", func() error { return f.plan.Commit(b, res) }); err != nil {
		return Result{}, fmt.Errorf("record %s: %w", f.key, err)
	}
	if _, err := f.spool.Commit(b); err != nil {
		if f.ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return Result{}, fmt.Errorf("commit %s: %w", f.key, err)
		}
		f.c.cfg.Observer.through(f.key, err)
		res.Kept = false
		return res, nil
	}
	// Followers move to the blob, so that the spool can go. It is opened here, so
	// that no eviction comes between; if that fails they stay on the spool, which
	// is as good. A small spool costs less than opening the blob.
	if res.Size <= bufferSize {
		return res, nil
	}
	if bl, err := f.c.blobs.open(res.Sum); err == nil {
		f.mu.Lock()
		f.blob = bl
		f.mu.Unlock()
	}
	return res, nil
}
