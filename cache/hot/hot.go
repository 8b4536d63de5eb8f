// Package hot is the memory tier: small immutable values (rendered documents,
// small bodies) under keys that carry the identity of the content, on top of
// ristretto.
//
// It owns the accounting: what it holds, what waits in ristretto's queue and
// what ristretto itself allocates stay together below the configured number of
// bytes. It refuses to be a source of truth: an Add may be dropped, a value may
// vanish at any time, and a Get right after an Add may miss. It refuses to
// update: the first value under a key stays until it is evicted or deleted, so
// a key must name one content for ever (a digest, or document, generation and
// encoding), never a place whose content changes.
package hot

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

const (
	// Overhead is the cost of an entry beyond its key and value: the entry, its
	// places in two maps of ristretto at their emptiest, and rounding. 250 to 290
	// bytes were measured (TestMemory); 200 overran the limit by a sixth.
	Overhead = 320

	// MinBytes is the smallest cache that can be configured; below it
	// ristretto's own tables would be most of the memory.
	MinBytes = 1 << 20

	defaultMaxItem = 256 << 10
	stripes        = 32 // a power of two
)

// Config sizes a Cache.
type Config struct {
	// MaxBytes bounds all memory of the cache: values, keys, per-entry overhead,
	// queued values and ristretto's tables. At least MinBytes. Go's collector
	// needs about 0.3 times as much again while values are replaced fast; plan
	// the process limit for that.
	MaxBytes int64
	// MaxItem is the largest entry, value and key together, in bytes. 0 means
	// 256 KiB or 1/128 of MaxBytes, the smaller. More than 1/8 of MaxBytes is
	// lowered to that: eviction weighs frequency and not size, so one large entry
	// may empty the cache.
	MaxItem int64
	// Metrics counts hits and misses (about 5 ns for each Get).
	Metrics bool
}

// Stats is a snapshot of a Cache.
type Stats struct {
	Hits, Misses uint64 // only with Config.Metrics
	Items        int64  // entries held or queued
	Bytes        int64  // cost of entries held or queued, with keys and overhead
	MaxBytes     int64  // limit for Bytes: Config.MaxBytes less ristretto's tables
	Dropped      uint64 // Adds refused because the queue was full
	Rejected     uint64 // Adds the admission policy refused, or that came twice
	Evicted      uint64 // entries removed to make room
	Refused      uint64 // Adds over MaxItem
}

// Cache is a bounded map from string to V. All methods may be called
// concurrently, Close included; after Close every Get misses and every Add is
// refused.
type Cache[V any] struct {
	r       *ristretto.Cache[string, *entry[V]]
	limit   int64 // for bytes
	maxItem int64
	count   bool

	bytes, items                        atomic.Int64
	dropped, rejected, evicted, refused atomic.Uint64

	// admin serialises Clear and Close, which ristretto does not allow together.
	// Lock order: admin, then stripes in ascending order.
	admin sync.Mutex
	// stripe guards ristretto against use during its Close, which closes channels
	// that Get and Set send on. It is striped to keep Get free of one shared
	// cache line.
	stripe [stripes]stripe
}

type stripe struct {
	mu           sync.RWMutex
	closed       bool
	hits, misses atomic.Uint64
	_            [64]byte // keep neighbours off this cache line
}

// entry carries its key, since ristretto knows keys by two hashes only and a
// wrong body must be impossible, not improbable.
type entry[V any] struct {
	key  string
	v    V
	cost int64
}

// NewCache returns an empty Cache. The caller must Close it.
func NewCache[V any](cfg Config) (*Cache[V], error) {
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	return newCache[V](cfg, func(key string) (uint64, uint64) {
		// Seeded for each cache, so that nobody outside can aim at a collision.
		h, conflict := maphash.String(seeds[0], key), maphash.String(seeds[1], key)
		if conflict == 0 {
			conflict = 1 // ristretto takes 0 for "do not compare"
		}
		return h, conflict
	})
}

func newCache[V any](cfg Config, hash func(string) (uint64, uint64)) (*Cache[V], error) {
	if cfg.MaxBytes < MinBytes {
		return nil, fmt.Errorf("hot cache of %d bytes: at least %d are needed", cfg.MaxBytes, MinBytes)
	}
	if cfg.MaxItem == 0 {
		cfg.MaxItem = min(defaultMaxItem, cfg.MaxBytes/128)
	}
	if cfg.MaxItem < 0 {
		return nil, fmt.Errorf("hot cache item limit of %d bytes is negative", cfg.MaxItem)
	}
	counters, tables := tableSizes(cfg.MaxBytes)
	c := &Cache[V]{
		limit:   cfg.MaxBytes - tables,
		maxItem: min(cfg.MaxItem, (cfg.MaxBytes-tables)/8),
		count:   cfg.Metrics,
	}
	// Ristretto does not count what waits in its queue, and holds an admitted
	// value together with its victims for a moment. Bytes counts all of them and
	// is bounded by limit; ristretto gets less, so that a full cache still has
	// room for what is on its way in.
	room := max(c.limit/16, 2*c.maxItem)
	r, err := ristretto.NewCache(&ristretto.Config[string, *entry[V]]{
		NumCounters:        counters,
		MaxCost:            c.limit - room,
		BufferItems:        64,
		IgnoreInternalCost: true, // Overhead covers it
		KeyToHash:          hash,
		// The first value stays: without this a Set of a key that is held replaces
		// it, while a Set of a key that is queued does not.
		ShouldUpdate: func(_, _ *entry[V]) bool { return false },
		OnEvict:      func(*ristretto.Item[*entry[V]]) { c.evicted.Add(1) },
		OnReject:     func(*ristretto.Item[*entry[V]]) { c.rejected.Add(1) },
		OnExit:       c.exit,
	})
	if err != nil {
		return nil, fmt.Errorf("start hot cache: %w", err)
	}
	c.r = r
	return c, nil
}

// tableSizes returns how many frequency counters a cache of n bytes gets, and
// what ristretto allocates whatever it holds: 2 bytes a counter for the sketch,
// 2 for the bloom filter (10 bits, rounded up to a power of two), 8 for each of
// the 32,768 places of its queue, and the shards of its map.
func tableSizes(n int64) (counters, tables int64) {
	counters = 1 << (bits.Len64(uint64(n/1024)) - 1)
	return counters, 4*counters + 32768*8 + 64<<10
}

// exit is called once for each value that leaves ristretto or never got in.
func (c *Cache[V]) exit(e *entry[V]) {
	if e == nil { // a Del of an absent key
		return
	}
	c.bytes.Add(-e.cost)
	c.items.Add(-1)
}

// charge returns what a value of cost bytes under key is counted as. The
// allocator rounds up: to whole pages of 8 KiB above 32 KiB, by up to 1/8 below.
func charge(key string, cost int64) int64 {
	if cost > 32<<10 {
		cost = (cost + 8191) &^ 8191
	} else {
		cost += cost / 8
	}
	return cost + int64(len(key)) + Overhead
}

func (c *Cache[V]) stripeOf(key string) *stripe {
	// The length and the last byte spread well enough: keys end in digests.
	if key == "" {
		return &c.stripe[0]
	}
	return &c.stripe[(uint(key[len(key)-1])+uint(len(key)))%stripes]
}

// Get returns the value under key. It does not allocate.
func (c *Cache[V]) Get(key string) (v V, ok bool) {
	s := c.stripeOf(key)
	s.mu.RLock()
	if !s.closed {
		var e *entry[V]
		if e, ok = c.r.Get(key); ok {
			if ok = e.key == key; ok {
				v = e.v
			}
		}
	}
	s.mu.RUnlock()
	if c.count {
		if ok {
			s.hits.Add(1)
		} else {
			s.misses.Add(1)
		}
	}
	return v, ok
}

// Add offers v, of cost bytes (the same for the same key), under key and reports whether it was taken into
// the queue (or is held already). True is no promise that a Get will find it.
// v must not be changed afterwards.
func (c *Cache[V]) Add(key string, v V, cost int64) bool {
	if cost < 0 || cost+int64(len(key)) > c.maxItem {
		c.refused.Add(1)
		return false
	}
	s := c.stripeOf(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	if _, held := c.r.GetTTL(key); held { // unlike Get, leaves the counters alone
		return true
	}
	cost = charge(key, cost)
	if c.bytes.Add(cost) > c.limit {
		c.bytes.Add(-cost)
		c.dropped.Add(1)
		return false
	}
	c.items.Add(1)
	// The key may be a part of a larger string that must not be kept alive.
	e := &entry[V]{strings.Clone(key), v, cost}
	if !c.r.Set(e.key, e, cost) {
		c.exit(e)
		c.dropped.Add(1)
		return false
	}
	return true
}

// Del removes key, also when its Add is still queued.
func (c *Cache[V]) Del(key string) {
	s := c.stripeOf(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closed {
		c.r.Del(key)
	}
}

// Clear removes everything that was added before.
func (c *Cache[V]) Clear() {
	c.admin.Lock()
	defer c.admin.Unlock()
	if !c.stripe[0].closed { // written under admin only
		c.r.Clear()
	}
}

// Wait blocks until all Adds so far are held or rejected. For tests.
func (c *Cache[V]) Wait() {
	c.admin.Lock()
	defer c.admin.Unlock()
	if !c.stripe[0].closed {
		c.r.Wait()
	}
}

// Close drops everything and ends the cache's goroutines. It may be called
// more than once.
func (c *Cache[V]) Close() {
	c.admin.Lock()
	defer c.admin.Unlock()
	if c.stripe[0].closed {
		return
	}
	for i := range c.stripe {
		c.stripe[i].mu.Lock()
		c.stripe[i].closed = true
		c.stripe[i].mu.Unlock()
	}
	c.r.Close()
}

// Stats returns a snapshot; its fields are read one after the other.
func (c *Cache[V]) Stats() Stats {
	s := Stats{
		Items:    c.items.Load(),
		Bytes:    c.bytes.Load(),
		MaxBytes: c.limit,
		Dropped:  c.dropped.Load(),
		Rejected: c.rejected.Load(),
		Evicted:  c.evicted.Load(),
		Refused:  c.refused.Load(),
	}
	for i := range c.stripe {
		s.Hits += c.stripe[i].hits.Load()
		s.Misses += c.stripe[i].misses.Load()
	}
	return s
}
