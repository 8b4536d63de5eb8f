package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// Standing is what a place last said of a whole listing.
type Standing uint8

const (
	Listed  Standing = iota // it answered with a document
	Removed                 // it answered 404 after it had answered with one
)

// HeadRow is the stored head of one listing with its upstream validators.
type HeadRow struct {
	Head         formats.Head `cbor:"1,keyasint"`
	ETag         string       `cbor:"2,keyasint,omitempty"`
	LastModified string       `cbor:"3,keyasint,omitempty"`
	Checked      time.Time    `cbor:"4,keyasint"` // when the upstream last confirmed it
	FirstSeen    time.Time    `cbor:"5,keyasint"`
	Changed      time.Time    `cbor:"6,keyasint"`
	Standing     Standing     `cbor:"7,keyasint,omitempty"`
}

// ListingKey names one listing at one place.
type ListingKey struct {
	Place  Place
	Format string
	Name   string // canonical
	Doc    string
}

// versionRow is a version with the listing it came from.
type versionRow struct {
	formats.Version
	Doc string `cbor:"20,keyasint,omitempty"`
}

// Mutation is a digest that changed under a coordinate that must not change.
type Mutation struct {
	Version, File string
	Was, Is       formats.Digest
}

// Change reports what PutListing did.
type Change struct {
	Added, Updated, Withdrawn, Unchanged int
	Mutations                            []Mutation
}

// Head returns the head row of a listing, or ErrNotFound.
func (c *Catalog) Head(k ListingKey) (*HeadRow, error) {
	var row HeadRow
	if err := c.get(c.key(famHead, string(k.Place), k.Format, k.Name, k.Doc), &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// ConfirmListing records that the upstream confirmed the listing at time at
// (a 304). It is not synced: losing it costs one conditional request.
func (c *Catalog) ConfirmListing(k ListingKey, at time.Time) error {
	defer c.lockName(k.Format, k.Name).Unlock()
	row, err := c.Head(k)
	if err != nil {
		return err
	}
	row.Checked = at
	b := c.db.NewBatch()
	if err := c.set(b, c.key(famHead, string(k.Place), k.Format, k.Name, k.Doc), row); err != nil {
		return err
	}
	return b.Commit(false)
}

// RemoveListing records that the upstream answered "no such package" for a
// listing it had: every live version becomes withdrawn, nothing is deleted.
func (c *Catalog) RemoveListing(k ListingKey, at time.Time) error {
	defer c.lockName(k.Format, k.Name).Unlock()
	row, err := c.Head(k)
	if err != nil {
		return err
	}
	row.Checked = at
	if row.Standing != Removed {
		row.Standing, row.Changed = Removed, at
	}
	row.ETag, row.LastModified = "", ""
	b := c.db.NewBatch()
	if err := c.set(b, c.key(famHead, string(k.Place), k.Format, k.Name, k.Doc), row); err != nil {
		return err
	}
	err = c.eachVersion(k.Place, k.Format, k.Name, func(key []byte, _ []byte, v *versionRow) error {
		if v.Doc != k.Doc || v.State != formats.Live {
			return nil
		}
		v.State = formats.Withdrawn
		if err := c.ledger(b, Entry{Place: k.Place, Format: k.Format, Name: k.Name, Version: v.V, Time: at, Cause: CauseWithdrawn}); err != nil {
			return err
		}
		return c.set(b, bytes.Clone(key), v)
	})
	if err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("commit withdrawal of %s: %w", k.Name, err)
	}
	c.Bump(k.Format, k.Name)
	return nil
}

func (c *Catalog) eachVersion(p Place, format, name string, fn func(key, raw []byte, v *versionRow) error) error {
	return c.db.Rows(c.prefix(famVersion, string(p), format, name), nil, func(key, val []byte) error {
		var v versionRow
		if err := c.dec.Unmarshal(val, &v); err != nil {
			return fmt.Errorf("decode version row %q: %w", key, err)
		}
		return fn(key, val, &v)
	})
}

// PutListing stores what parse emits as the listing's present state. First-seen
// times are kept, versions that are no longer listed become withdrawn, and a
// digest that changed under a known coordinate is not taken over: the known one
// stays and the change is reported as a Mutation. Nothing is written when parse
// fails. The batch is synced.
func (c *Catalog) PutListing(k ListingKey, meta HeadRow, parse func(emit func(*formats.Version) error) (*formats.Head, error)) (Change, error) {
	defer c.lockName(k.Format, k.Name).Unlock()
	var ch Change
	known := map[string][]byte{}
	err := c.eachVersion(k.Place, k.Format, k.Name, func(_, raw []byte, v *versionRow) error {
		known[v.V] = bytes.Clone(raw)
		return nil
	})
	if err != nil {
		return ch, err
	}
	b := c.db.NewBatch()
	seen := map[string]bool{}
	seq := 0
	head, err := parse(func(v *formats.Version) error {
		if v.V == "" && len(v.Assets) == 0 {
			return nil
		}
		if seen[v.V] {
			return fmt.Errorf("version %q is listed twice", v.V)
		}
		seen[v.V] = true
		seq++
		v.Seq = seq
		return c.putVersion(b, k, v, known[v.V], meta.Checked, &ch)
	})
	if err != nil {
		return ch, err
	}
	for name, raw := range known {
		if seen[name] {
			continue
		}
		if err := c.withdraw(b, k, raw, meta.Checked, &ch); err != nil {
			return ch, err
		}
	}
	old, err := c.Head(k)
	switch {
	case errors.Is(err, ErrNotFound):
		meta.FirstSeen, meta.Changed = meta.Checked, meta.Checked
	case err != nil:
		return ch, err
	default:
		meta.FirstSeen, meta.Changed = old.FirstSeen, old.Changed
		if ch.Added+ch.Updated+ch.Withdrawn > 0 || !bytes.Equal(old.Head.Raw, head.Raw) || old.Standing != Listed || !sameTags(old.Head.Tags, head.Tags) {
			meta.Changed = meta.Checked
		}
	}
	meta.Head, meta.Standing = *head, Listed
	if err := c.set(b, c.key(famHead, string(k.Place), k.Format, k.Name, k.Doc), meta); err != nil {
		return ch, err
	}
	if err := b.Commit(true); err != nil {
		return ch, fmt.Errorf("commit listing of %s: %w", k.Name, err)
	}
	c.Bump(k.Format, k.Name)
	return ch, nil
}

func sameTags(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func (c *Catalog) withdraw(b *store.Batch, k ListingKey, raw []byte, at time.Time, ch *Change) error {
	var v versionRow
	if err := c.dec.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("decode version row: %w", err)
	}
	if v.Doc != k.Doc || v.State != formats.Live {
		return nil
	}
	v.State = formats.Withdrawn
	ch.Withdrawn++
	if err := c.ledger(b, Entry{Place: k.Place, Format: k.Format, Name: k.Name, Version: v.V, Time: at, Cause: CauseWithdrawn}); err != nil {
		return err
	}
	return c.set(b, c.key(famVersion, string(k.Place), k.Format, k.Name, v.V), &v)
}

func (c *Catalog) putVersion(b *store.Batch, k ListingKey, v *formats.Version, known []byte, at time.Time, ch *Change) error {
	row := versionRow{Version: *v, Doc: k.Doc}
	row.State, row.Origin, row.FirstSeen = formats.Live, string(k.Place), at
	if known == nil {
		ch.Added++
		if row.Published.IsZero() && row.From == formats.TimeUnknown {
			row.From = formats.TimeFirstSeen
		}
		return c.set(b, c.key(famVersion, string(k.Place), k.Format, k.Name, v.V), &row)
	}
	var old versionRow
	if err := c.dec.Unmarshal(known, &old); err != nil {
		return fmt.Errorf("decode version row: %w", err)
	}
	// The main listing speaks for a version; a side document (Go's @latest)
	// does not take a version away from it.
	if k.Doc != "" && old.Doc == "" {
		ch.Unchanged++
		return nil
	}
	row.FirstSeen = old.FirstSeen
	if row.Published.IsZero() && row.From == formats.TimeUnknown {
		row.Published, row.From = old.Published, old.From
	}
	if old.State == formats.Disposed {
		row.State = formats.Disposed
	}
	mutated := false
	for i := range row.Assets {
		a := &row.Assets[i]
		was := old.Asset(a.File)
		if was == nil {
			continue
		}
		if x, y, bad := formats.Disagree(was.Digests, a.Digests); bad {
			ch.Mutations = append(ch.Mutations, Mutation{v.V, a.File, x, y})
			mutated = true
		}
	}
	if mutated {
		// What was known first goes on being served, whole: its raw fragment
		// carries the digests that clients check.
		seq := row.Seq
		row = old
		row.Seq, row.State = seq, formats.Live
	}
	val, err := c.enc.Marshal(&row)
	if err != nil {
		return fmt.Errorf("encode version row: %w", err)
	}
	if bytes.Equal(val, known) {
		ch.Unchanged++
		return nil
	}
	ch.Updated++
	b.Set(c.key(famVersion, string(k.Place), k.Format, k.Name, v.V), val)
	return nil
}

// Version returns one version row with its held assets, or ErrNotFound.
func (c *Catalog) Version(p Place, format, name, version string) (*formats.Version, error) {
	var row versionRow
	if err := c.get(c.key(famVersion, string(p), format, name, version), &row); err != nil {
		return nil, err
	}
	return &row.Version, nil
}

// FindFile returns the version row and asset that name file. With an empty
// version all versions of the name are searched.
func (c *Catalog) FindFile(p Place, format, name, version, file string) (*formats.Version, *formats.Asset, error) {
	if version != "" {
		v, err := c.Version(p, format, name, version)
		if err != nil {
			return nil, nil, err
		}
		if a := v.Asset(file); a != nil {
			return v, a, nil
		}
		return v, nil, ErrNotFound
	}
	var hit *formats.Version
	err := c.eachVersion(p, format, name, func(_, _ []byte, v *versionRow) error {
		if v.Asset(file) != nil {
			cp := v.Version
			hit = &cp
			return store.ErrStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrStop) {
		return nil, nil, err
	}
	if hit == nil {
		return nil, nil, ErrNotFound
	}
	return hit, hit.Asset(file), nil
}

// Listing is everything one place knows of a name.
type Listing struct {
	Place    Place
	Row      *HeadRow           // nil when the place was never asked or has none
	Versions []*formats.Version // listed order; held-only versions last, by name
}

// listingTries is how often a listing is read beside writers before they are
// kept out.
const listingTries = 4

// Listing reads all rows of a name at one place, as they were at one moment: the
// versions of its listing document doc, and held assets. It returns ErrNotFound
// when there is nothing.
func (c *Catalog) Listing(k ListingKey) (*Listing, error) {
	before, err := c.listingMark(k)
	if err != nil {
		return nil, err
	}
	for range listingTries {
		l, err := c.readListing(k)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		after, markErr := c.listingMark(k)
		if markErr != nil {
			return nil, markErr
		}
		if before == after {
			return l, err
		}
		before = after
	}
	defer c.lockName(k.Format, k.Name).Unlock()
	return c.readListing(k)
}

// listingMark differs after every change of a listing: whoever changes its
// versions writes its head, or the row of the package that counts its events, in
// the same commit.
func (c *Catalog) listingMark(k ListingKey) (string, error) {
	var mark []byte
	for _, key := range [][]byte{c.key(famHead, string(k.Place), k.Format, k.Name, k.Doc), c.packageKey(k.Place, k.Format, k.Name)} {
		val, err := c.db.Row(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", fmt.Errorf("read row: %w", err)
		}
		mark = append(append(mark, val...), 0)
	}
	return string(mark), nil
}

// readListing reads the rows of a listing one after the other: the assets behind
// the versions, so that none stands in for a version that came meanwhile.
func (c *Catalog) readListing(k ListingKey) (*Listing, error) {
	l := &Listing{Place: k.Place}
	row, err := c.Head(k)
	if err == nil {
		l.Row = row
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	byName := map[string]*formats.Version{}
	err = c.eachVersion(k.Place, k.Format, k.Name, func(_, _ []byte, v *versionRow) error {
		if v.State == formats.Disposed {
			return nil
		}
		cp := v.Version
		byName[cp.V] = &cp
		if v.Doc == k.Doc {
			l.Versions = append(l.Versions, &cp)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.SliceStable(l.Versions, func(i, j int) bool { return l.Versions[i].Seq < l.Versions[j].Seq })
	listed := map[string]bool{}
	for _, v := range l.Versions {
		listed[v.V] = true
	}
	err = c.eachAsset(k.Place, k.Format, k.Name, func(version string, a *AssetRow) error {
		if a.Evicted {
			return nil
		}
		v := byName[version]
		if v == nil {
			v = &formats.Version{V: version, State: formats.Held, FirstSeen: a.FirstSeen, From: formats.TimeFirstSeen}
			byName[version] = v
		}
		if !listed[version] {
			// Another listing of the name may know it; for this one it is held.
			listed[version] = true
			if v.State != formats.Held {
				cp := *v
				cp.State = formats.Held
				v = &cp
				byName[version] = v
			}
			l.Versions = append(l.Versions, v)
		}
		if v.Held == nil {
			v.Held = map[string]formats.HeldAsset{}
		}
		v.Held[a.File] = a.HeldAsset
		return nil
	})
	if err != nil {
		return nil, err
	}
	if l.Row == nil && len(l.Versions) == 0 {
		return nil, ErrNotFound
	}
	return l, nil
}

// Names calls fn for every name that has a head row at a place, in order,
// starting after the given name, until fn returns false.
func (c *Catalog) Names(p Place, format, after string, fn func(name string, row *HeadRow) bool) error {
	prefix := c.prefix(famHead, string(p), format)
	var from []byte
	if after != "" {
		from = append(bytes.Clone(prefix), after+"\x00\xff"...)
	}
	err := c.db.Rows(prefix, from, func(key, val []byte) error {
		name, doc, ok := bytes.Cut(key[len(prefix):], []byte{0})
		if !ok || len(doc) > 0 {
			return nil
		}
		var row HeadRow
		if err := c.dec.Unmarshal(val, &row); err != nil {
			return fmt.Errorf("decode head row %q: %w", key, err)
		}
		if !fn(string(name), &row) {
			return store.ErrStop
		}
		return nil
	})
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}
