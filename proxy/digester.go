package proxy

import (
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"larder/formats"
)

const (
	// uploadPiece is the unit in which an upload is hashed and stored, and
	// uploadPieces how many of them an upload has in memory. Hashes that are
	// slower than the others may be so much behind before they are waited for.
	uploadPiece  = 256 << 10
	uploadPieces = 4
	// besideFrom is the size in bytes from which goroutines of their own pay.
	besideFrom = 32 << 10
)

// uploadDigests are the digests that CodeArtifact tells of an asset, without the
// SHA-256, which the store computes.
func uploadDigests() []formats.Alg { return []formats.Alg{formats.MD5, formats.SHA1, formats.SHA512} }

// digester computes several digests of one stream, each in a goroutine of its
// own. It is used by one goroutine.
type digester struct {
	hashes  []hash.Hash
	queues  []chan *piece // of the hashes; nil until the first large piece
	free    chan *piece
	running sync.WaitGroup
}

// piece is a part of the stream while several read it.
type piece struct {
	buf  []byte
	n    int
	left atomic.Int32 // readers that are not done
}

// copyHashed copies r to w until r ends and returns the digests of what was
// copied. An error is that of r or, wrapped, that of w.
func copyHashed(w io.Writer, r io.Reader, algs []formats.Alg) ([]formats.Digest, error) {
	d := &digester{free: make(chan *piece, uploadPieces)}
	for _, alg := range algs {
		d.hashes = append(d.hashes, alg.New())
	}
	err := d.copy(w, r)
	d.wait()
	if err != nil {
		return nil, err
	}
	out := make([]formats.Digest, 0, len(algs)+1)
	for k, alg := range algs {
		out = append(out, formats.Digest{Alg: alg, Hex: fmt.Sprintf("%x", d.hashes[k].Sum(nil))})
	}
	return out, nil
}

func (d *digester) copy(w io.Writer, r io.Reader) error {
	for made := 0; ; {
		var p *piece
		select {
		case p = <-d.free:
		default:
			if made < uploadPieces {
				p = &piece{buf: make([]byte, uploadPiece)}
				made++
			} else {
				p = <-d.free
			}
		}
		var rerr error
		p.n, rerr = fillPiece(r, p.buf)
		if p.n > 0 {
			d.hash(p)
			_, err := w.Write(p.buf[:p.n])
			d.done(p)
			if err != nil {
				return fmt.Errorf("take upload in: %w", err)
			}
		}
		switch {
		case rerr == io.EOF:
			return nil
		case rerr != nil:
			return rerr
		}
	}
}

// hash gives a piece to all hashes. The caller reads it too, until done.
func (d *digester) hash(p *piece) {
	if d.queues == nil && p.n < besideFrom {
		p.left.Store(1)
		for _, h := range d.hashes {
			h.Write(p.buf[:p.n])
		}
		return
	}
	p.left.Store(int32(len(d.hashes)) + 1)
	if d.queues == nil {
		for _, h := range d.hashes {
			q := make(chan *piece, uploadPieces)
			d.queues = append(d.queues, q)
			d.running.Go(func() {
				for p := range q {
					h.Write(p.buf[:p.n])
					d.done(p)
				}
			})
		}
	}
	for _, q := range d.queues {
		q <- p // has room for every piece there is
	}
}

func (d *digester) done(p *piece) {
	if p.left.Add(-1) == 0 {
		d.free <- p
	}
}

// wait ends the goroutines.
func (d *digester) wait() {
	for _, q := range d.queues {
		close(q)
	}
	d.running.Wait()
}

// fillPiece reads until p is full. Unlike io.ReadFull it tells the end of r from
// an r that says of itself that it ended too early.
func fillPiece(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}
