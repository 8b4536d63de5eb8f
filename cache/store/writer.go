package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Writer takes the bytes of one blob. Write, Commit and Release belong to one
// goroutine; ReadAt, Size and Sum may be called by others meanwhile.
//
// Up to Config.InlineMax the bytes are held in memory. Beyond, they stream into
// tables of at most 64 MiB, each made part of the database as it is full, so
// that memory is constant.
type Writer struct {
	db   *DB
	ctx  context.Context
	id   uint64
	hold *reservation

	mu        sync.RWMutex // guards what follows against readers
	hash      hash.Hash
	size      int64
	small     []byte   // all bytes, while few
	cur       []byte   // the chunk being filled, once large
	seg       *segment // the table being filled
	ingested  uint32   // chunks that are in the database
	large     bool
	sum       Sum // after Commit
	committed bool
	added     bool // committed under our id: the blob is ours
	released  bool
	failed    error
}

// Create begins a blob. size is its length in bytes, -1 if unknown; that much
// is reserved now, evicting if need be, and more as it is written. It returns
// ErrFull if there is no room. The context ends eviction and writing.
func (db *DB) Create(ctx context.Context, size int64) (*Writer, error) {
	if err := db.gate.enter(); err != nil {
		return nil, err
	}
	defer db.gate.leave()
	hold, err := db.reserve(ctx, size)
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	w := &Writer{db: db, ctx: ctx, id: db.ids.take(), hold: hold, hash: sha256.New()}
	if size > 0 && size <= db.cfg.InlineMax {
		w.small = make([]byte, 0, size)
	}
	return w, nil
}

// Write appends to the blob. After an error nothing more can be written, but
// what was written stays readable. It returns ErrFull when no more room can be
// had.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.db.gate.enter(); err != nil {
		return 0, err
	}
	defer w.db.gate.leave()
	if w.failed == nil {
		w.failed = w.writable()
	}
	if w.failed != nil {
		return 0, w.failed
	}
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+chunkSize)]
		if err := w.hold.use(w.ctx, int64(len(part))); err != nil {
			w.failed = fmt.Errorf("write blob: %w", err)
			return done, w.failed
		}
		n, err := w.put(part)
		done += n
		if err != nil {
			w.failed = fmt.Errorf("write blob: %w", err)
			return done, w.failed
		}
	}
	return done, nil
}

func (w *Writer) writable() error {
	switch {
	case w.released:
		return errors.New("write blob: writer was released")
	case w.committed:
		return errors.New("write blob: writer was committed")
	}
	return w.ctx.Err()
}

// put appends part to memory or to the table.
func (w *Writer) put(part []byte) (int, error) {
	if !w.large {
		if w.size+int64(len(part)) <= w.db.cfg.InlineMax {
			w.mu.Lock()
			w.hash.Write(part)
			w.small = append(w.small, part...)
			w.size += int64(len(part))
			w.mu.Unlock()
			return len(part), nil
		}
		if err := w.enlarge(); err != nil {
			return 0, err
		}
	}
	done := 0
	for done < len(part) {
		n := w.fill(part[done:])
		done += n
		if len(w.cur) == chunkSize {
			if err := w.flushChunk(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// fill copies into the current chunk as much as fits.
func (w *Writer) fill(p []byte) int {
	n := min(len(p), chunkSize-len(w.cur))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hash.Write(p[:n])
	w.cur = append(w.cur, p[:n]...)
	w.size += int64(n)
	return n
}

// enlarge turns a small blob into a large one.
func (w *Writer) enlarge() error {
	w.mu.Lock()
	small := w.small
	w.cur = w.db.getChunk()
	n := min(len(small), chunkSize)
	w.cur = append(w.cur, small[:n]...)
	rest := small[n:]
	w.large = true
	w.mu.Unlock()
	for len(w.cur) == chunkSize {
		if err := w.flushChunk(); err != nil {
			return err
		}
		n := min(len(rest), chunkSize)
		w.cur, rest = append(w.cur, rest[:n]...), rest[n:]
	}
	w.mu.Lock()
	w.small = nil
	w.mu.Unlock()
	return nil
}

// flushChunk hands the current chunk to the table, and the table to the
// database when it is full.
func (w *Writer) flushChunk() error {
	if w.seg == nil {
		path := w.db.tempPath(w.id, w.ingested)
		seg, err := w.db.newSegment(path, w.ingested)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.seg = seg
		w.mu.Unlock()
	}
	// In one step for readers: they find the chunk in the segment from here.
	w.mu.Lock()
	chunk := w.cur
	w.seg.stage(chunk)
	w.cur = w.db.getChunk()
	w.mu.Unlock()
	if err := w.seg.add(w.id, chunk); err != nil {
		return err
	}
	if int64(w.seg.added)*chunkSize >= segmentSize {
		return w.ingest()
	}
	return nil
}

// ingest makes the current table part of the database. Without an index entry
// it is an orphan still.
func (w *Writer) ingest() error {
	if err := w.seg.finish(); err != nil {
		return err
	}
	if err := w.db.pebble.Ingest(w.ctx, []string{w.seg.path}); err != nil {
		return fmt.Errorf("ingest table: %w", err)
	}
	w.mu.Lock()
	seg := w.seg
	w.ingested += uint32(seg.added)
	w.seg = nil
	w.mu.Unlock()
	seg.discard()
	return nil
}

// Size returns the number of bytes written so far.
func (w *Writer) Size() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.size
}

// Sum returns the SHA-256 of all bytes written so far.
func (w *Writer) Sum() Sum {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Sum(w.hash.Sum(nil))
}

// ReadAt reads bytes written so far, until Release. It returns io.EOF at Size.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) {
	if err := w.db.gate.enter(); err != nil {
		return 0, err
	}
	defer w.db.gate.leave()
	if off < 0 {
		return 0, errors.New("read blob: negative offset")
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.released {
		return 0, errors.New("read blob: writer was released")
	}
	done := 0
	for done < len(p) && off < w.size {
		want := p[done:min(int64(len(p)), int64(done)+w.size-off)]
		n, err := w.readPart(want, off)
		done += n
		off += int64(n)
		if err != nil {
			return done, fmt.Errorf("read blob: %w", err)
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// readPart reads within one chunk. w.mu is held.
func (w *Writer) readPart(p []byte, off int64) (int, error) {
	if w.small != nil {
		return copy(p, w.small[off:]), nil
	}
	n, in := uint32(off/chunkSize), off%chunkSize
	p = p[:min(int64(len(p)), chunkSize-in)]
	last := w.ingested
	if w.seg != nil {
		last += uint32(w.seg.chunks())
	}
	switch {
	case n >= last:
		return copy(p, w.cur[in:]), nil
	case n >= w.ingested:
		return len(p), w.seg.readAt(p, n, in)
	}
	return len(p), w.db.readChunk(p, w.id, n, in)
}

// Commit seals the blob, makes it part of the database and commits b with its
// index entry, synced. When it returns nil the blob and the rows of b are
// durable and visible; otherwise neither is. If a blob with the same sum is
// there already, only b is applied.
func (w *Writer) Commit(b *Batch) (Sum, error) {
	if err := w.db.gate.enter(); err != nil {
		return Sum{}, err
	}
	defer w.db.gate.leave()
	if w.failed == nil {
		w.failed = w.writable()
	}
	if w.failed != nil {
		return Sum{}, w.failed
	}
	if b == nil {
		b = w.db.NewBatch()
	}
	sum := w.Sum()
	added, err := w.commit(b, sum)
	if err != nil {
		return Sum{}, fmt.Errorf("commit blob: %w", err)
	}
	w.mu.Lock()
	w.committed, w.added, w.sum = true, added, sum
	w.mu.Unlock()
	if added {
		w.db.ids.done(w.id)
	}
	w.hold.release()
	return sum, nil
}

func (w *Writer) commit(b *Batch, sum Sum) (added bool, err error) {
	add := &newBlob{sum: sum, size: w.size, id: w.id, kind: kindInline, small: w.small}
	if !w.large {
		return w.db.apply(b, add, nil, true)
	}
	add.kind = kindLarge
	if w.db.HasBlob(sum) {
		add.ifPresent = true
		if _, err := w.db.apply(b, add, nil, true); !errors.Is(err, errAbsent) {
			return false, err
		}
		add.ifPresent = false
	}
	if len(w.cur) > 0 {
		if err := w.flushChunk(); err != nil {
			return false, err
		}
	}
	if w.seg != nil {
		if err := w.ingest(); err != nil {
			return false, err
		}
	}
	return w.db.apply(b, add, nil, true)
}

// Release ends the writer, after Commit or instead of it. Readers must be done
// or have moved to OpenBlob. It may be called more than once.
func (w *Writer) Release() {
	w.mu.Lock()
	if w.released {
		w.mu.Unlock()
		return
	}
	w.released = true
	w.mu.Unlock()
	w.hold.release()
	if w.db.gate.enter() != nil {
		return // the next Open sweeps
	}
	defer w.db.gate.leave()
	if w.seg != nil {
		w.seg.discard()
		_ = w.db.fs.Remove(w.seg.path) // swept at the next Open if this fails
		w.seg = nil
	}
	if w.cur != nil {
		w.db.putChunk(w.cur)
		w.cur = nil
	}
	w.small = nil
	if w.added {
		w.db.releaseReader(w.sum)
		return
	}
	if w.ingested > 0 {
		if err := w.db.dropBytes([]garbage{{kindLarge, w.id}}, false); err != nil {
			w.db.event(Event{Kind: EventError, Err: fmt.Errorf("discard blob: %w", err)})
		}
	}
	w.db.ids.done(w.id)
}
