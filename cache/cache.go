// Package cache owns the life of a blob between an upstream and the store: one
// flight per key however many clients ask, bytes to every follower as they
// arrive, resumption, verification, and the durable commit that makes a blob
// visible.
//
// It refuses to know what a key means, how an upstream is asked, which rows
// belong to a blob and what its bytes must be: a Plan says all of that. It never
// opens a socket, never serves HTTP, and never shows a later request a byte that
// was not verified.
//
// Glossary (the code uses only these words):
//
//	flight    the fetching of one key, owned by the cache, not by a client
//	leader    the flight's goroutine; also the Fill that started it
//	follower  a Reader on a flight
//	spool     what a flight has so far, readable while it grows (a store.Writer)
//	tail      the last block (Config.HoldBack), kept from followers until verified
//	through   the mode of a flight whose bytes the store cannot keep
//	window    the bounded memory that a flight in through mode streams through
//
// DESIGN.md beside this file tells the life of a flight, its locks and why the
// last block waits.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"larder/cache/store"
)

// bufferSize is the unit in which bytes are read from upstreams, copied to
// followers and held in windows.
const bufferSize = 128 << 10

// Config of a Cache. The zero value of every field but Store has a default.
type Config struct {
	Store *store.DB `toml:"-"`
	// HoldBack is how many bytes at the end of a body are kept from clients until
	// the body is verified and committed. Default 64 KiB.
	HoldBack int64 `toml:"hold_back"`
	// Window bounds the memory of one flight that the store has no room for.
	// Default 1 MiB; at least HoldBack and four buffers of 128 KiB are used.
	Window int64 `toml:"window"`
	// WholeMemory bounds the memory of all flights together that the store has no
	// room for and whose file must be checked as a whole (Go module zips).
	// Default 32 MiB. A larger file fails with store.ErrFull.
	WholeMemory int64 `toml:"whole_memory"`
	// IdleTimeout is the longest silence of an upstream, before its answer and
	// within the body; then the flight asks again where it is. Default 2m.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// MaxDuration bounds a flight. Default 12h.
	MaxDuration time.Duration `toml:"max_duration"`
	// Backoff is the pause before the first attempt to resume; it doubles with
	// each attempt without progress up to 5 s, and is jittered. Default 100ms.
	Backoff time.Duration `toml:"backoff"`
	// Patience is how long a client that does not read may hold up the others
	// where the store has no room; then it is cut off. Default 30s.
	Patience time.Duration `toml:"patience"`
	// Abandon ends a flight that every client has left for Grace (default 5s),
	// unless more than half of it is here, or its size is unknown and less than
	// 64 MiB are here. Default false: a flight always finishes.
	Abandon bool          `toml:"abandon"`
	Grace   time.Duration `toml:"grace"`

	Observer Observer         `toml:"-"`
	Logger   *slog.Logger     `toml:"-"` // stacks of panics in callbacks only
	Now      func() time.Time `toml:"-"` // durations told to Observer
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name string
		v    *int64
		def  int64
	}{
		{"hold_back", &c.HoldBack, 64 << 10}, {"window", &c.Window, 1 << 20}, {"whole_memory", &c.WholeMemory, 32 << 20},
		{"idle_timeout", (*int64)(&c.IdleTimeout), int64(2 * time.Minute)},
		{"max_duration", (*int64)(&c.MaxDuration), int64(12 * time.Hour)},
		{"backoff", (*int64)(&c.Backoff), int64(100 * time.Millisecond)},
		{"patience", (*int64)(&c.Patience), int64(30 * time.Second)},
		{"grace", (*int64)(&c.Grace), int64(5 * time.Second)},
	} {
		if *d.v < 0 {
			return c, fmt.Errorf("%s is negative", d.name)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// Cache runs flights. All methods may be called concurrently.
type Cache struct {
	cfg     Config
	blobs   blobs
	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	buffers sync.Pool    // *[]byte of bufferSize
	whole   atomic.Int64 // bytes of windows beyond their limit
	running atomic.Int64

	wg sync.WaitGroup // one for each running flight

	// mu guards the registry of running flights. Lock order: mu, then one
	// flight's mu, then live.mu.
	mu      sync.Mutex
	closed  bool
	flights map[string]*flight

	// live holds every flight, running or not, that still has a spool, a blob or
	// a Reader.
	live struct {
		sync.Mutex
		set map[*flight]struct{}
	}
}

// Stats is what a Cache does at one moment.
type Stats struct {
	Running     int   // flights that are not finished
	Live        int   // flights running, or finished with clients still reading
	WholeMemory int64 // bytes held in memory because the store has no room
}

// New returns a Cache over cfg.Store.
func New(cfg Config) (*Cache, error) {
	if cfg.Store == nil {
		return nil, errors.New("start cache: no store")
	}
	return newCache(cfg, storeBlobs{cfg.Store})
}

func newCache(cfg Config, b blobs) (*Cache, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start cache: %w", err)
	}
	c := &Cache{cfg: cfg, blobs: b, flights: make(map[string]*flight)}
	c.live.set = make(map[*flight]struct{})
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	return c, nil
}

// Fill returns a Reader of the bytes under key. If a flight for key is running,
// it is joined; else plan is called once and its flight is started. Fill waits
// until the upstream's header is known or the flight failed, or ctx ends; the
// flight goes on without ctx.
//
// plan runs after every earlier flight for key has ended and before any later
// one starts, so a plan that looks again whether the blob is held by now, and
// then returns Plan.Held, never asks an upstream twice. It must be quick.
//
// ctx also bounds the Reader's Read and ReadAt. The caller must Close the Reader.
func (c *Cache) Fill(ctx context.Context, key string, plan func() Plan) (*Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrAborted
	}
	if f := c.flights[key]; f != nil {
		if r := f.join(ctx); r != nil {
			c.mu.Unlock()
			if err := f.protect("observer", func() error { c.cfg.Observer.joined(key); return nil }); err != nil {
				r.Close()
				return nil, err
			}
			return r.started(ctx)
		}
	}
	f := c.newFlight(key)
	r := f.join(ctx)
	c.flights[key] = f
	c.wg.Add(1)
	c.mu.Unlock()

	if !f.plans(plan) {
		r.lead = true
		go f.run()
	}
	return r.started(ctx)
}

// Open returns a Reader of a blob that the store holds, for the rest like one of
// Fill. res need not have its Size; Header and Digests are handed out as given.
// It returns store.ErrNotFound if the blob is not there.
func (c *Cache) Open(ctx context.Context, res Result) (*Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, ErrAborted
	}
	b, err := c.blobs.open(res.Sum)
	if err != nil {
		return nil, err
	}
	f := c.newFlight("")
	r := f.join(ctx)
	f.serve(b, res)
	return r, nil
}

// Stats returns what the cache is doing.
func (c *Cache) Stats() Stats {
	s := Stats{Running: int(c.running.Load()), WholeMemory: c.whole.Load()}
	c.live.Lock()
	s.Live = len(c.live.set)
	c.live.Unlock()
	return s
}

// Close aborts the running flights, waits for them, and ends all Readers with
// ErrAborted. Clients should be gone before: shut the HTTP server down first,
// then the cache, then the store.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel(ErrAborted)
	c.wg.Wait()
	c.live.Lock()
	left := make([]*flight, 0, len(c.live.set))
	for f := range c.live.set {
		left = append(left, f)
	}
	c.live.Unlock()
	for _, f := range left {
		f.shut()
	}
	return nil
}

func (c *Cache) buffer() *[]byte { return c.buffers.Get().(*[]byte) }
func (c *Cache) reuse(b *[]byte) { c.buffers.Put(b) }
func (c *Cache) windowSize() int {
	return int(max(c.cfg.Window/bufferSize, c.cfg.HoldBack/bufferSize+4))
}
func (c *Cache) forget(f *flight) { // before f's end is published, so that the next Fill starts afresh
	c.mu.Lock()
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
	c.mu.Unlock()
}
