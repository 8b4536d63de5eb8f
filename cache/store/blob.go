package store

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Blob is an open blob. It can be read by many goroutines. Until Close its
// bytes stay, even if it is deleted from the store.
type Blob struct {
	db     *DB
	sum    Sum
	kind   blobKind
	id     uint64
	size   int64
	closed atomic.Bool
}

// OpenBlob opens a blob for reading, or returns ErrNotFound. It does not count
// as a use: see Touch.
func (db *DB) OpenBlob(s Sum) (*Blob, error) {
	if err := db.gate.enter(); err != nil {
		return nil, err
	}
	defer db.gate.leave()
	if !db.readers.acquire(s) {
		return nil, ErrNotFound
	}
	e, err := db.readEntry(s)
	if err == nil && e.kind == kindMissing {
		err = ErrNotFound
	}
	if err != nil {
		db.releaseReader(s)
		if errors.Is(err, ErrNotFound) {
			return nil, ErrNotFound
		}
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return &Blob{db: db, sum: s, kind: e.kind, id: e.id, size: e.size}, nil
}

// HasBlob reports whether the blob is in the store.
func (db *DB) HasBlob(s Sum) bool {
	if db.gate.enter() != nil {
		return false
	}
	defer db.gate.leave()
	e, err := db.readEntry(s)
	return err == nil && e.kind != kindMissing
}

// releaseReader ends a reader and deletes what it alone kept.
func (db *DB) releaseReader(s Sum) {
	g := db.readers.release(s)
	if len(g) == 0 {
		return
	}
	if err := db.dropBytes(g, true); err != nil {
		db.event(Event{Kind: EventError, Sum: s, Err: fmt.Errorf("delete blob: %w", err)})
	}
}

// dropBytes deletes bytes that no index entry names; noted says that a garbage
// record exists for them.
func (db *DB) dropBytes(gs []garbage, noted bool) error {
	pb := db.pebble.NewBatch()
	for _, g := range gs {
		if err := deleteBytes(pb, g.kind, g.id); err != nil {
			return err
		}
		if noted {
			if err := pb.Delete(idKey(preGarbage, g.id), nil); err != nil {
				return err
			}
		}
	}
	return errors.Join(db.pebble.Apply(pb, noSync), pb.Close())
}

// Size returns the length of the blob in bytes.
func (b *Blob) Size() int64 { return b.size }

// Sum returns the name of the blob.
func (b *Blob) Sum() Sum { return b.sum }

// Close ends reading. It may be called more than once.
func (b *Blob) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if err := b.db.gate.enter(); err != nil {
		return nil // a closed store has nothing to release
	}
	defer b.db.gate.leave()
	b.db.releaseReader(b.sum)
	return nil
}

// ReadAt implements io.ReaderAt.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read blob: negative offset")
	}
	if err := b.enter(); err != nil {
		return 0, err
	}
	defer b.db.gate.leave()
	done := 0
	for done < len(p) && off < b.size {
		want := p[done:min(int64(len(p)), int64(done)+b.size-off)]
		n, err := b.readPart(want, off)
		done += n
		off += int64(n)
		if err != nil {
			return done, fmt.Errorf("read blob %s: %w", b.sum, err)
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (b *Blob) enter() error {
	if b.closed.Load() {
		return errors.New("read blob: closed")
	}
	return b.db.gate.enter()
}

func (b *Blob) readPart(p []byte, off int64) (int, error) {
	if b.kind == kindInline {
		return len(p), b.db.readInline(p, b.id, b.size, off)
	}
	n, in := uint32(off/chunkSize), off%chunkSize
	p = p[:min(int64(len(p)), chunkSize-in)]
	return len(p), b.db.readChunk(p, b.id, n, in)
}

// readChunk copies from a chunk of a large blob.
func (db *DB) readChunk(p []byte, id uint64, n uint32, off int64) error {
	val, closer, err := db.pebble.Get(chunkKey(id, n))
	if err != nil {
		return corrupt(err)
	}
	if int64(len(val)) < off+int64(len(p)) {
		return errors.Join(fmt.Errorf("%w: chunk %d is short", ErrCorrupt, n), closer.Close())
	}
	copy(p, val[off:])
	return closer.Close()
}

func (db *DB) readInline(p []byte, id uint64, size, off int64) error {
	val, closer, err := db.pebble.Get(idKey(preInline, id))
	if err != nil {
		return corrupt(err)
	}
	if int64(len(val)) != size+int64(len(Sum{})) {
		return errors.Join(fmt.Errorf("%w: inline bytes have a wrong length", ErrCorrupt), closer.Close())
	}
	copy(p, val[int64(len(Sum{}))+off:])
	return closer.Close()
}

// WriteTo writes the whole blob to w. See WriteRange.
func (b *Blob) WriteTo(w io.Writer) (int64, error) { return b.WriteRange(w, 0, b.size) }

// WriteRange writes n bytes from off to w, in pieces of up to 256 KiB that go
// from the block cache to w without being copied, as long as w takes them
// quickly. A slow w is given copies, since bytes lent out keep old tables and
// memtables alive.
func (b *Blob) WriteRange(w io.Writer, off, n int64) (int64, error) {
	if off < 0 || n < 0 || off+n > b.size {
		return 0, errors.New("read blob: range outside of the blob")
	}
	var buf []byte
	defer func() {
		if buf != nil {
			b.db.putChunk(buf)
		}
	}()
	var done int64
	for done < n {
		m, err := b.writePart(w, off+done, n-done)
		done += m
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (b *Blob) writePart(w io.Writer, off, n int64) (int64, error) {
	if err := b.enter(); err != nil {
		return 0, err
	}
	defer b.db.gate.leave()
	key, in, want := idKey(preInline, b.id), int64(len(Sum{}))+off, n
	if b.kind == kindLarge {
		key, in = chunkKey(b.id, uint32(off/chunkSize)), off%chunkSize
		want = min(n, chunkSize-in)
	}
	val, closer, err := b.db.pebble.Get(key)
	if err != nil {
		return 0, fmt.Errorf("read blob %s: %w", b.sum, corrupt(err))
	}
	if int64(len(val)) < in+want {
		return 0, errors.Join(fmt.Errorf("read blob %s: %w", b.sum, ErrCorrupt), closer.Close())
	}
	m, err := w.Write(val[in : in+want])
	return int64(m), errors.Join(err, closer.Close())
}
