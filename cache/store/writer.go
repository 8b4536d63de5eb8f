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
	db     *DB
	ctx    context.Context
	id     uint64
	hold   *reservation
	failed error // first failure; ends writing
	sealed bool  // Commit was called

	hashing sync.Mutex
	hash    hash.Hash

	// mu guards what readers see. The writer's own goroutine changes it under
	// mu and reads it without. Lock order: mu, then the segment's.
	mu        sync.RWMutex
	size      int64
	large     bool
	small     []byte   // all bytes, while few
	cur       []byte   // the chunk being filled, once large
	seg       *segment // the table being filled
	ingested  uint32   // chunks that are in the database
	committed bool
	added     bool // committed under our id: the blob is ours
	sum       Sum  // once committed
	released  bool
}

// Create begins a blob. size is its length in bytes, -1 if unknown; that much
// is reserved now, evicting if need be, and more as it is written. It returns
// ErrFull if there is no room. The context ends waiting, eviction and writing.
func (db *DB) Create(ctx context.Context, size int64) (*Writer, error) {
	if err := db.gate.enter(); err != nil {
		return nil, err
	}
	defer db.gate.leave()
	hold, err := db.reserve(ctx, size)
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	id, err := db.takeID()
	if err != nil {
		hold.release()
		return nil, fmt.Errorf("create blob: %w", err)
	}
	w := &Writer{db: db, ctx: ctx, id: id, hold: hold, hash: sha256.New()}
	if size > db.cfg.InlineMax {
		w.large, w.cur = true, db.getChunk()
	} else {
		w.small = make([]byte, 0, max(size, 0))
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
	if err := w.usable(); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+chunkSize)]
		err := w.hold.use(w.ctx, int64(len(part)))
		if err == nil {
			err = w.put(part)
		}
		if err != nil {
			w.failed = fmt.Errorf("write blob: %w", err)
			return done, w.failed
		}
		done += len(part)
	}
	return done, nil
}

// usable says why nothing can be written any more.
func (w *Writer) usable() error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.released:
		return errors.New("write blob: writer was released")
	case w.sealed:
		return errors.New("write blob: writer was sealed by Commit")
	}
	return w.ctx.Err()
}

// put appends part to memory or to the table.
func (w *Writer) put(part []byte) error {
	if !w.large && w.size+int64(len(part)) > w.db.cfg.InlineMax {
		if err := w.enlarge(); err != nil {
			return err
		}
	}
	w.hashing.Lock()
	w.hash.Write(part)
	w.hashing.Unlock()
	if !w.large {
		w.mu.Lock()
		w.small = append(w.small, part...)
		w.size += int64(len(part))
		w.mu.Unlock()
		return nil
	}
	for len(part) > 0 {
		n := min(len(part), chunkSize-len(w.cur))
		w.mu.Lock()
		w.cur = append(w.cur, part[:n]...)
		w.size += int64(n)
		w.mu.Unlock()
		part = part[n:]
		if len(w.cur) == chunkSize {
			if err := w.flushChunk(); err != nil {
				return err
			}
		}
	}
	return nil
}

// enlarge turns a small blob into a large one. Readers see its bytes in memory
// until they are all in chunks.
func (w *Writer) enlarge() error {
	cur := w.db.getChunk()
	for rest := w.small; ; {
		n := min(len(rest), chunkSize)
		cur, rest = append(cur, rest[:n]...), rest[n:]
		if len(cur) < chunkSize {
			break
		}
		if err := w.openSegment(); err != nil {
			return err
		}
		w.seg.stage(cur)
		if err := w.seg.add(w.id, cur); err != nil {
			return err
		}
		cur = w.db.getChunk()
	}
	w.mu.Lock()
	w.large, w.small, w.cur = true, nil, cur
	w.mu.Unlock()
	return nil
}

func (w *Writer) openSegment() error {
	if w.seg != nil {
		return nil
	}
	seg, err := w.db.newSegment(w.db.tempPath(w.id, w.ingested), w.ingested)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.seg = seg
	w.mu.Unlock()
	return nil
}

// flushChunk hands the current chunk to the table, and the table to the
// database when it is full.
func (w *Writer) flushChunk() error {
	if err := w.openSegment(); err != nil {
		return err
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
	if w.seg.added >= w.db.segmentChunks {
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
	if err := w.db.ingestTable(w.ctx, w.seg.path); err != nil {
		return fmt.Errorf("ingest table: %w", noSpace(err))
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
	w.hashing.Lock()
	defer w.hashing.Unlock()
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
	done := 0
	for done < len(p) {
		n, err := w.readPart(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readPart reads within one chunk.
func (w *Writer) readPart(p []byte, off int64) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.released {
		return 0, errors.New("read blob: writer was released")
	}
	if off >= w.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), w.size-off)]
	if !w.large {
		return copy(p, w.small[off:]), nil
	}
	n, in := uint32(off/chunkSize), off%chunkSize
	p = p[:min(int64(len(p)), chunkSize-in)]
	last := w.ingested
	if w.seg != nil {
		last += uint32(w.seg.chunks())
	}
	var err error
	switch {
	case n >= last:
		copy(p, w.cur[in:])
	case n >= w.ingested:
		err = w.seg.readAt(p, n, in)
	default:
		err = w.db.readChunk(p, w.id, n, in)
	}
	if err != nil {
		return 0, fmt.Errorf("read blob: %w", err)
	}
	return len(p), nil
}

// Commit seals the blob, makes it part of the database and commits b (nil: no
// rows) with its index entry, synced. When it returns nil the blob and the rows
// of b are durable and visible; otherwise neither is, and Commit may be tried
// again. If a blob with the same sum is there already, only b is applied.
func (w *Writer) Commit(b *Batch) (Sum, error) {
	if err := w.db.gate.enter(); err != nil {
		return Sum{}, err
	}
	defer w.db.gate.leave()
	w.sealed = w.committed // a failed Commit may be tried again
	if err := w.usable(); err != nil {
		return Sum{}, err
	}
	w.sealed = true
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
	seg, cur := w.seg, w.cur
	w.seg, w.cur, w.small = nil, nil, nil
	w.mu.Unlock()
	w.hold.release()
	if cur != nil {
		w.db.putChunk(cur)
	}
	if seg != nil {
		seg.discard()
	}
	if w.db.gate.enter() != nil {
		return // the next Open sweeps
	}
	defer w.db.gate.leave()
	if seg != nil {
		_ = w.db.fs.Remove(seg.path) // the next Open removes it otherwise
	}
	if w.added {
		w.db.releaseReader(w.sum)
		return
	}
	if w.ingested > 0 {
		w.db.report("discard blob", w.db.dropBytes([]garbage{{kindLarge, w.id, w.size}}, false))
	}
	w.db.ids.done(w.id)
}
