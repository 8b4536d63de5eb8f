package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// content returns n bytes that differ everywhere and for each seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func digest(alg formats.Alg, b []byte) formats.Digest {
	h := alg.New()
	h.Write(b)
	return formats.Digest{Alg: alg, Hex: fmt.Sprintf("%x", h.Sum(nil))}
}

// fault says how one attempt at an upstream goes wrong.
type fault struct {
	cut       int   // break after so many bytes of the body; < 0 never
	err       error // with what; io.EOF is a clean but short end
	hang      bool  // at cut: say nothing until the context ends
	open      error // Open fails
	whole     bool  // answer from byte 0 whatever was asked
	body      []byte
	validator string
	offset    int64 // added to the offset of the answer
	total     int64 // announced, if not 0
	noTotal   bool
}

func clean() fault { return fault{cut: -1} }

// origin is an upstream whose attempts go wrong as told, and then well.
type origin struct {
	body      []byte
	validator string
	noTotal   bool
	step      int           // bytes of each read; 0 all
	pace      time.Duration // before each read
	gate      chan struct{} // if set, each read takes one value

	mu     sync.Mutex
	faults []fault
	opens  []int64 // from of each Open
	open   int     // bodies not closed
}

func (o *origin) attempts() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.opens)
}

func (o *origin) Open(ctx context.Context, from int64, validator string) (*Part, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fl := clean()
	if n := len(o.opens); n < len(o.faults) {
		fl = o.faults[n]
	}
	o.opens = append(o.opens, from)
	if fl.open != nil {
		return nil, fl.open
	}
	body, have := o.body, o.validator
	if fl.body != nil {
		body = fl.body
	}
	if fl.validator != "" {
		have = fl.validator
	}
	if from > 0 && validator == "" {
		return nil, errors.New("resumed without a validator")
	}
	if fl.whole || from > 0 && validator != have && fl.validator == "" || from > int64(len(body)) {
		from = 0
	}
	total := int64(len(body))
	if fl.total != 0 {
		total = fl.total
	}
	if o.noTotal || fl.noTotal {
		total = -1
	}
	o.open++
	return &Part{
		Header: http.Header{"Etag": {have}}, Offset: from + fl.offset, Total: total, Validator: have,
		Body: &originBody{o: o, ctx: ctx, fault: fl, rest: body[from:]},
	}, nil
}

type originBody struct {
	o      *origin
	ctx    context.Context
	fault  fault
	rest   []byte
	sent   int
	closed bool
}

func (b *originBody) Read(p []byte) (int, error) {
	if b.o.pace > 0 {
		select {
		case <-time.After(b.o.pace):
		case <-b.ctx.Done():
		}
	}
	if b.o.gate != nil {
		select {
		case <-b.o.gate:
		case <-b.ctx.Done():
		}
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.fault.cut >= 0 && b.sent >= b.fault.cut {
		if b.fault.hang {
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		}
		return 0, b.fault.err
	}
	n := min(len(p), len(b.rest))
	if b.o.step > 0 {
		n = min(n, b.o.step)
	}
	if b.fault.cut >= 0 {
		n = min(n, b.fault.cut-b.sent)
	}
	copy(p, b.rest[:n])
	b.rest = b.rest[n:]
	b.sent += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (b *originBody) Close() error {
	b.o.mu.Lock()
	defer b.o.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.o.open--
	}
	return nil
}

// memory is a store in memory that polices its contract and fails as told.
type memory struct {
	t testing.TB

	mu        sync.Mutex
	room      int // bytes of spools and blobs before ErrFull; < 0 no limit
	used      int
	createErr error
	commitErr error
	openErr   error
	commits   int
	blobs     map[store.Sum][]byte
	spools    int // not released
	readers   int // blobs not closed
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, room: -1, blobs: make(map[store.Sum][]byte)}
}

func (m *memory) newBatch() *store.Batch { return new(store.Batch) }

func (m *memory) create(ctx context.Context, size int64) (spool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.createErr != nil {
		return nil, m.createErr
	}
	m.spools++
	return &memSpool{m: m}, nil
}

func (m *memory) open(s store.Sum) (blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.openErr != nil {
		return nil, m.openErr
	}
	b, ok := m.blobs[s]
	if !ok {
		return nil, store.ErrNotFound
	}
	m.readers++
	return &memBlob{m: m, b: b}, nil
}

type memSpool struct {
	m         *memory
	b         []byte
	released  bool
	committed bool
}

func (s *memSpool) Write(p []byte) (int, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	n := len(p)
	if s.m.room >= 0 {
		n = min(n, max(s.m.room-s.m.used, 0))
	}
	s.b = append(s.b, p[:n]...)
	s.m.used += n
	if n < len(p) {
		return n, fmt.Errorf("write blob: %w", store.ErrFull)
	}
	return n, nil
}

func (s *memSpool) ReadAt(p []byte, off int64) (int, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.released {
		s.m.t.Error("spool read after Release")
	}
	n := copy(p, s.b[min(off, int64(len(s.b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *memSpool) Size() int64 {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return int64(len(s.b))
}

func (s *memSpool) Sum() store.Sum {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return sha256.Sum256(s.b)
}

func (s *memSpool) Commit(*store.Batch) (store.Sum, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.released || s.committed {
		s.m.t.Error("spool committed twice or after Release")
	}
	if s.m.commitErr != nil {
		return store.Sum{}, s.m.commitErr
	}
	sum := store.Sum(sha256.Sum256(s.b))
	s.committed = true
	s.m.commits++
	s.m.blobs[sum] = bytes.Clone(s.b)
	return sum, nil
}

func (s *memSpool) Release() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.released {
		s.m.t.Error("spool released twice")
	}
	s.released = true
	s.m.used -= len(s.b)
	s.m.spools--
}

type memBlob struct {
	m      *memory
	b      []byte
	closed bool
}

func (b *memBlob) Size() int64 { return int64(len(b.b)) }

func (b *memBlob) ReadAt(p []byte, off int64) (int, error) {
	b.check()
	return bytes.NewReader(b.b).ReadAt(p, off)
}

func (b *memBlob) WriteRange(w io.Writer, off, n int64) (int64, error) {
	b.check()
	m, err := w.Write(b.b[off : off+n])
	return int64(m), err
}

func (b *memBlob) check() {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.closed {
		b.m.t.Error("blob read after Close")
	}
}

func (b *memBlob) Close() error {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.closed {
		b.m.t.Error("blob closed twice")
	}
	b.closed = true
	b.m.readers--
	return nil
}

// kitchen is a Cache over a memory, for one test.
type kitchen struct {
	*Cache
	t   testing.TB
	mem *memory
	log events
}

// events counts what an Observer hears.
type events struct {
	mu                                                      sync.Mutex
	started, joined, resumed, through, bad, done, lost, got int
	lastErr                                                 error
}

func (e *events) throughs() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.through
}

func newKitchen(t testing.TB, cfg Config) *kitchen {
	t.Helper()
	k := &kitchen{t: t, mem: newMemory(t)}
	k.Cache = cacheOver(t, cfg, k.mem, &k.log)
	return k
}

func cacheOver(t testing.TB, cfg Config, b blobs, log *events) *Cache {
	t.Helper()
	count := func(n *int) { log.mu.Lock(); *n++; log.mu.Unlock() }
	cfg.Observer = Observer{
		Started: func(string) { count(&log.started) },
		Joined:  func(string) { count(&log.joined) },
		Resumed: func(string, int64, error) { count(&log.resumed) },
		Bytes:   func(n int) { log.mu.Lock(); log.got += n; log.mu.Unlock() },
		Through: func(string, error) { count(&log.through) },
		VerifyFailed: func(string, *ErrVerify) {
			count(&log.bad)
		},
		Finished: func(string, Result, time.Duration) { count(&log.done) },
		Failed: func(_ string, err error, _ time.Duration) {
			count(&log.lost)
			log.mu.Lock()
			log.lastErr = err
			log.mu.Unlock()
		},
	}
	c, err := newCache(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// close closes the cache and checks that nothing is left.
func (k *kitchen) close(origins ...*origin) {
	k.t.Helper()
	if err := k.Close(); err != nil {
		k.t.Error(err)
	}
	k.mem.mu.Lock()
	defer k.mem.mu.Unlock()
	if k.mem.spools != 0 || k.mem.readers != 0 {
		k.t.Errorf("left open: %d spools, %d blobs", k.mem.spools, k.mem.readers)
	}
	if s := k.Stats(); s != (Stats{}) {
		k.t.Errorf("left in the cache: %+v", s)
	}
	for _, o := range origins {
		if o.open != 0 {
			k.t.Errorf("left open: %d bodies", o.open)
		}
	}
}

// keep is a Plan.Commit that does nothing; the memory keeps every commit.
func keep(*store.Batch, Result) error { return nil }

// plan is a plan for o that demands the SHA-512 of o's body.
func (o *origin) plan() Plan {
	want := formats.Want{Digests: []formats.Digest{digest(formats.SHA512, o.body)}, Size: int64(len(o.body))}
	return Plan{
		Open: o.Open, Algs: []formats.Alg{formats.SHA1}, Commit: keep,
		Want: func(context.Context, http.Header) (formats.Want, error) { return want, nil },
	}
}

// collector is a client: it keeps what it gets.
type collector struct {
	mu sync.Mutex
	b  []byte
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b = append(c.b, p...)
	return len(p), nil
}

func (c *collector) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.b)
}
