// Package catalog owns the CodeArtifact model as rows: which repositories and
// connections there are and how they are linked, which packages, versions and
// assets each place knows or holds, who supplies a name, and what the ledger
// says of it. It decides nothing about policy and dials nothing; it only reads
// and writes rows, and merges them into views.
package catalog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"larder/cache/store"
	"larder/formats"
)

// ErrNotFound is returned where a row does not exist.
var ErrNotFound = errors.New("no such row")

// Config wires a Catalog.
type Config struct {
	Store  *store.DB
	Domain string           // 2 to 50 characters, [a-z][a-z0-9-]*
	Now    func() time.Time // nil: time.Now
}

// Catalog reads and writes rows. All methods are safe for concurrent use.
type Catalog struct {
	db     *store.DB
	domain string
	now    func() time.Time
	enc    cbor.EncMode
	dec    cbor.DecMode
	seed   maphash.Seed

	state   atomic.Pointer[State]
	watcher atomic.Pointer[func(*State)]
	readers struct { // of the ledger
		sync.Mutex
		of []chan struct{}
	}
	stages atomic.Uint64 // numbers of staged blobs
	sizes  struct {
		sync.Mutex
		of map[string]domainSize
	}

	// control is held by commands that change control rows, and shared by those
	// that change packages. Lock order: control, then one of names.
	control sync.RWMutex
	// names serialises writers of one name; readers take it only where writers
	// let no listing be read at one moment.
	names [256]sync.Mutex
	// gens counts the changes of each name (striped): whoever keeps something
	// rendered from rows keeps the generation it saw beside it.
	gens [4096]atomic.Uint64
}

// New returns a catalog over cfg.Store and registers itself as the owner of
// the rows that go with an evicted blob.
func New(cfg Config) (*Catalog, error) {
	if cfg.Store == nil || cfg.Domain == "" {
		return nil, errors.New("catalog needs a store and a domain")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	// Core deterministic encoding: equal rows are equal bytes, so an unchanged
	// version costs no write.
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339Nano
	enc, err := opts.EncMode()
	if err != nil {
		return nil, fmt.Errorf("make row encoder: %w", err)
	}
	dec, err := cbor.DecOptions{MaxArrayElements: 1 << 24, MaxMapPairs: 1 << 24, MaxNestedLevels: 16}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("make row decoder: %w", err)
	}
	c := &Catalog{db: cfg.Store, domain: cfg.Domain, now: cfg.Now, enc: enc, dec: dec, seed: maphash.MakeSeed()}
	c.sizes.of = map[string]domainSize{}
	cfg.Store.SetEvictor(c.evict)
	cfg.Store.SetReferences(c.references)
	if err := c.sweepStaged(); err != nil {
		return nil, err
	}
	if err := c.refreshState(); err != nil {
		return nil, err
	}
	return c, nil
}

// references tells the store every reference that rows hold, so that its check
// can compare the counts.
func (c *Catalog) references(emit func(store.Sum) error) error {
	return c.db.Rows([]byte{famBlobRef, 0}, nil, func(key, _ []byte) error {
		var s store.Sum
		if len(key) <= 2+len(s) {
			return fmt.Errorf("reference row %q is too short", key)
		}
		copy(s[:], key[2:])
		return emit(s)
	})
}

// Domain is the domain whose rows this catalog reads.
func (c *Catalog) Domain() string { return c.domain }

func (c *Catalog) stripe(format, name string) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	h.WriteString(format)
	h.WriteByte(0)
	h.WriteString(name)
	return h.Sum64()
}

// Gen returns the change counter that covers a name. It may be shared with
// other names, so it can rise without cause but never stay still after a change.
func (c *Catalog) Gen(format, name string) *atomic.Uint64 {
	return &c.gens[c.stripe(format, name)%uint64(len(c.gens))]
}

// Bump marks a name as changed.
func (c *Catalog) Bump(format, name string) { c.Gen(format, name).Add(1) }

// LockName serialises writers of one name.
func (c *Catalog) lockName(format, name string) *sync.Mutex {
	m := &c.names[c.stripe(format, name)%uint64(len(c.names))]
	m.Lock()
	return m
}

// Place is where rows live: a connection or a repository.
type Place string

// ConnectionPlace and RepositoryPlace name the two kinds.
func ConnectionPlace(name string) Place         { return Place("c:" + name) }
func RepositoryPlace(domain, name string) Place { return Place("r:" + domain + "/" + name) }

// Repository splits the place of a repository; ok is false for a connection's.
func (p Place) Repository() (domain, name string, ok bool) {
	rest, ok := strings.CutPrefix(string(p), "r:")
	if !ok {
		return "", "", false
	}
	domain, name, ok = strings.Cut(rest, "/")
	return domain, name, ok
}

// Row families, the first byte of every key.
const (
	famHead     = 'h'
	famVersion  = 'v'
	famAsset    = 'a'
	famDocument = 'd'
	famOwner    = 'o'
	famBlobRef  = 's'
	famPackage  = 'p' // a package of a repository
	famStage    = 'x' // a blob that waits for its command

	// Control rows; their keys hold no default domain.
	famDomain     = 'D'
	famRepository = 'R'
	famGroup      = 'G'
	famCredential = 'K'
	famRevocation = 'W'
	famMark       = 'M' // positions of readers of the ledger
)

// key joins the parts with NUL, which no part may hold.
func (c *Catalog) key(fam byte, parts ...string) []byte {
	n := 2 + len(c.domain)
	for _, p := range parts {
		n += len(p) + 1
	}
	k := make([]byte, 0, n)
	k = append(k, fam, 0)
	k = append(k, c.domain...)
	for _, p := range parts {
		k = append(k, 0)
		k = append(k, p...)
	}
	return k
}

func (c *Catalog) prefix(fam byte, parts ...string) []byte {
	return append(c.key(fam, parts...), 0)
}

func (c *Catalog) get(key []byte, into any) error {
	val, err := c.db.Row(key)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read row: %w", err)
	}
	if err := c.dec.Unmarshal(val, into); err != nil {
		return fmt.Errorf("decode row %q: %w", key, err)
	}
	return nil
}

func (c *Catalog) set(b *store.Batch, key []byte, row any) error {
	val, err := c.enc.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode row %q: %w", key, err)
	}
	b.Set(key, val)
	return nil
}

// SumOf converts a SHA-256 digest to a blob's name.
func SumOf(ds []formats.Digest) (store.Sum, bool) {
	d, ok := formats.Find(ds, formats.SHA256)
	if !ok {
		return store.Sum{}, false
	}
	var s store.Sum
	if n, err := hex.Decode(s[:], []byte(d.Hex)); err != nil || n != len(s) {
		return store.Sum{}, false
	}
	return s, true
}

// DigestOf is the inverse of SumOf.
func DigestOf(s store.Sum) formats.Digest {
	return formats.Digest{Alg: formats.SHA256, Hex: hex.EncodeToString(s[:])}
}
