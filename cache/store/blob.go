package store

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
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
			return done, err
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

// readPart reads within one chunk.
func (b *Blob) readPart(p []byte, off int64) (int, error) {
	val, closer, err := b.chunk(off, min(int64(len(p)), b.size-off))
	if err != nil {
		return 0, err
	}
	return copy(p, val), closer.Close()
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

// WriteTo writes the whole blob to w. See WriteRange.
func (b *Blob) WriteTo(w io.Writer) (int64, error) { return b.WriteRange(w, 0, b.size) }

// WriteRange writes n bytes from off to w, in pieces of up to 256 KiB. As long
// as w takes them quickly they go from the block cache to w without being
// copied. A slow w gets copies, since lent bytes keep old tables and memtables
// alive: no part of the database waits for w.
func (b *Blob) WriteRange(w io.Writer, off, n int64) (int64, error) {
	if off < 0 || n < 0 || off > b.size || n > b.size-off {
		return 0, errors.New("read blob: range outside of the blob")
	}
	var buf []byte
	defer func() {
		if buf != nil {
			b.db.putChunk(buf)
		}
	}()
	lend := false // the first chunk shows whether w is quick
	var done int64
	for done < n {
		began := time.Now()
		m, err := b.writePart(w, off+done, n-done, lend, &buf)
		done += m
		if err != nil {
			return done, err
		}
		lend = time.Since(began) < quickWrite
	}
	return done, nil
}

// writePart writes what is wanted of one chunk.
func (b *Blob) writePart(w io.Writer, off, n int64, lend bool, buf *[]byte) (int64, error) {
	if err := b.enter(); err != nil {
		return 0, err
	}
	inside := true
	leave := func() {
		if inside {
			b.db.gate.leave()
			inside = false
		}
	}
	defer leave()
	val, closer, err := b.chunk(off, n)
	if err != nil {
		return 0, err
	}
	if lend {
		if loan := b.db.loans.take(); loan >= 0 {
			m, err := w.Write(val)
			b.db.loans.end(loan)
			return int64(m), errors.Join(err, closer.Close())
		}
	}
	if *buf == nil {
		*buf = b.db.getChunk()
	}
	*buf = append((*buf)[:0], val...)
	if err := closer.Close(); err != nil {
		return 0, fmt.Errorf("read blob %s: %w", b.sum, err)
	}
	leave()
	m, err := w.Write(*buf)
	return int64(m), err
}

// chunk returns the stored bytes from off to the end of their chunk, at most n.
func (b *Blob) chunk(off, n int64) ([]byte, io.Closer, error) {
	key, in, whole := idKey(preInline, b.id), int64(len(Sum{}))+off, int64(len(Sum{}))+b.size
	if b.kind == kindLarge {
		i := off / chunkSize
		key, in, whole = chunkKey(b.id, uint32(i)), off%chunkSize, min(chunkSize, b.size-i*chunkSize)
		n = min(n, whole-in)
	}
	val, closer, err := b.db.pebble.Get(key)
	if err != nil {
		return nil, nil, fmt.Errorf("read blob %s: %w", b.sum, corrupt(err))
	}
	if int64(len(val)) != whole {
		err := fmt.Errorf("read blob %s: %w: chunk of %d bytes instead of %d", b.sum, ErrCorrupt, len(val), whole)
		return nil, nil, errors.Join(err, closer.Close())
	}
	return val[in : in+n], closer, nil
}
