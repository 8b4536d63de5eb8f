package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// AssetKey is the coordinate of one file at one place.
type AssetKey struct {
	Place   Place  `cbor:"1,keyasint"`
	Format  string `cbor:"2,keyasint"`
	Name    string `cbor:"3,keyasint"`
	Version string `cbor:"4,keyasint,omitempty"`
	File    string `cbor:"5,keyasint,omitempty"`
}

// AssetRow is what is known of a file that was held once. An evicted row keeps
// its digests: the same coordinate may only ever come back with the same bytes.
type AssetRow struct {
	formats.HeldAsset
	Evicted bool `cbor:"20,keyasint,omitempty"`
	// Pinned says that the reference keeps the blob from being evicted: the file
	// was published here and can be had nowhere else.
	Pinned bool `cbor:"21,keyasint,omitempty"`
}

func (c *Catalog) assetKey(k AssetKey) []byte {
	return c.key(famAsset, string(k.Place), k.Format, k.Name, k.Version, k.File)
}

// blobRefKey is the reverse reference blob -> row, which eviction follows.
func blobRefKey(s store.Sum, row []byte) []byte {
	k := make([]byte, 0, 2+len(s)+len(row))
	k = append(k, famBlobRef, 0)
	k = append(k, s[:]...)
	return append(k, row...)
}

// Asset returns the asset row of a coordinate, or ErrNotFound. The row may be
// Evicted.
func (c *Catalog) Asset(k AssetKey) (*AssetRow, error) {
	var row AssetRow
	if err := c.get(c.assetKey(k), &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// FindAsset returns a held or evicted asset row by file name over all versions.
func (c *Catalog) FindAsset(p Place, format, name, file string) (string, *AssetRow, error) {
	var hit *AssetRow
	var version string
	err := c.eachAsset(p, format, name, func(v string, a *AssetRow) error {
		if a.File != file {
			return nil
		}
		cp := *a
		hit, version = &cp, v
		return store.ErrStop
	})
	if err != nil && !errors.Is(err, store.ErrStop) {
		return "", nil, err
	}
	if hit == nil {
		return "", nil, ErrNotFound
	}
	return version, hit, nil
}

// Knows reports whether any version or asset row of a name exists at a place.
func (c *Catalog) Knows(p Place, format, name string) (bool, error) {
	known := false
	for _, fam := range []byte{famAsset, famVersion} {
		err := c.db.Rows(c.prefix(fam, string(p), format, name), nil, func(_, _ []byte) error {
			known = true
			return store.ErrStop
		})
		if err != nil && !errors.Is(err, store.ErrStop) {
			return false, err
		}
	}
	return known, nil
}

func (c *Catalog) eachAsset(p Place, format, name string, fn func(version string, a *AssetRow) error) error {
	prefix := c.prefix(famAsset, string(p), format, name)
	return c.db.Rows(prefix, nil, func(key, val []byte) error {
		version, _, ok := bytes.Cut(key[len(prefix):], []byte{0})
		if !ok {
			return fmt.Errorf("asset row key %q is malformed", key)
		}
		var a AssetRow
		if err := c.dec.Unmarshal(val, &a); err != nil {
			return fmt.Errorf("decode asset row %q: %w", key, err)
		}
		return fn(string(version), &a)
	})
}

// PutAsset adds to b the rows that make a verified blob the content of a
// coordinate: the asset row, its reverse reference, the reference count and the
// command in the ledger. It refuses other bytes under a coordinate the ledger
// knows.
func (c *Catalog) PutAsset(b *store.Batch, k AssetKey, h formats.HeldAsset, cause Cause) error {
	op := &Ingest{Key: k, Held: h, Cause: cause}
	body, err := c.enc.Marshal(op)
	if err != nil {
		return fmt.Errorf("encode command: %w", err)
	}
	m := &machine{c: c, b: b, cmd: &Command{At: h.FirstSeen, Kind: op.kind(), Body: body}, state: c.State(), result: &Result{Changed: true}}
	if err := op.apply(m); err != nil || !m.result.Changed {
		return err
	}
	return m.record()
}

// Ingest claims that a file of a connection has these bytes.
type Ingest struct {
	Key   AssetKey          `cbor:"1,keyasint"`
	Held  formats.HeldAsset `cbor:"2,keyasint"`
	Cause Cause             `cbor:"3,keyasint"`
}

func (*Ingest) kind() string                     { return "ingest" }
func (op *Ingest) locks() (bool, string, string) { return false, op.Key.Format, op.Key.Name }

func (op *Ingest) apply(m *machine) error {
	sum, ok := SumOf(op.Held.Digests)
	if !ok {
		return fmt.Errorf("asset %s/%s has no sha256", op.Key.Name, op.Key.File)
	}
	h, cause := op.Held, op.Cause
	key := m.c.assetKey(op.Key)
	old, err := m.c.Asset(op.Key)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	default:
		if was, is, bad := formats.Disagree(old.Digests, h.Digests); bad {
			return &MutationError{Key: op.Key, Was: was, Is: is}
		}
		h.FirstSeen = old.FirstSeen
		cause = CauseRefetched
	}
	if err := m.c.set(m.b, key, AssetRow{HeldAsset: h}); err != nil {
		return err
	}
	counted, err := m.c.refer(m.b, sum, key)
	if err != nil {
		return err
	}
	if counted {
		// The row counts already: nothing new was claimed.
		m.result.Changed = false
		return nil
	}
	m.tell(Entry{Place: op.Key.Place, Format: op.Key.Format, Name: op.Key.Name, Version: op.Key.Version, File: op.Key.File,
		Digest: DigestOf(sum), Size: h.Size, Origin: h.Origin, Cause: cause})
	return nil
}

// refer makes the row under key a reference to a blob, once: the reverse
// reference row is the truth of it, so that a row whose blob was lost or evicted
// meanwhile counts again and one that still counts does not count twice.
func (c *Catalog) refer(b *store.Batch, s store.Sum, key []byte) (counted bool, err error) {
	ref := blobRefKey(s, key)
	switch _, err := c.db.Row(ref); {
	case err == nil:
		return true, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("read reference: %w", err)
	}
	b.RefRow(s, ref)
	return false, nil
}

// MutationError says that other bytes were offered for a known coordinate.
type MutationError struct {
	Key     AssetKey
	Was, Is formats.Digest
}

func (e *MutationError) Error() string {
	return fmt.Sprintf("%s %s %s: known as %s, offered as %s", e.Key.Name, e.Key.Version, e.Key.File, e.Was, e.Is)
}

// DocumentRow is a KindDocument that is kept whole.
type DocumentRow struct {
	Sum          []byte    `cbor:"1,keyasint"`
	Size         int64     `cbor:"2,keyasint"`
	ContentType  string    `cbor:"3,keyasint,omitempty"`
	ETag         string    `cbor:"4,keyasint,omitempty"`
	LastModified string    `cbor:"5,keyasint,omitempty"`
	Checked      time.Time `cbor:"6,keyasint"`
	FirstSeen    time.Time `cbor:"7,keyasint"`
	Standing     Standing  `cbor:"8,keyasint,omitempty"`
	Evicted      bool      `cbor:"9,keyasint,omitempty"`
	Immutable    bool      `cbor:"10,keyasint,omitempty"`
}

// Blob is the name of the document's bytes.
func (d *DocumentRow) Blob() store.Sum { return store.Sum(d.Sum) }

func (c *Catalog) documentKey(p Place, format, doc string) []byte {
	return c.key(famDocument, string(p), format, doc)
}

// Document returns the row of a kept document, or ErrNotFound.
func (c *Catalog) Document(p Place, format, doc string) (*DocumentRow, error) {
	var row DocumentRow
	if err := c.get(c.documentKey(p, format, doc), &row); err != nil {
		return nil, err
	}
	if len(row.Sum) != len(store.Sum{}) {
		return nil, fmt.Errorf("document row %s %q: sum has %d bytes", p, doc, len(row.Sum))
	}
	return &row, nil
}

// PutDocument adds to b the rows that make a blob the content of a document;
// the blob it replaces loses its reference.
func (c *Catalog) PutDocument(b *store.Batch, p Place, format, doc string, row DocumentRow) error {
	key := c.documentKey(p, format, doc)
	old, err := c.Document(p, format, doc)
	switch {
	case errors.Is(err, ErrNotFound):
		row.FirstSeen = row.Checked
	case err != nil:
		return err
	default:
		row.FirstSeen = old.FirstSeen
		same := bytes.Equal(old.Sum, row.Sum)
		if old.Immutable && row.Immutable && !same {
			return &MutationError{Key: AssetKey{Place: p, Format: format, File: doc}, Was: DigestOf(old.Blob()), Is: DigestOf(row.Blob())}
		}
		ref := blobRefKey(old.Blob(), key)
		if _, err := c.db.Row(ref); err == nil && !same {
			b.Delete(ref)
			b.Unref(old.Blob())
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read reference: %w", err)
		}
	}
	if err := c.set(b, key, row); err != nil {
		return err
	}
	_, err = c.refer(b, row.Blob(), key)
	return err
}

// ConfirmDocument records a 304 or, with removed, a 404 after a 200.
func (c *Catalog) ConfirmDocument(p Place, format, doc string, at time.Time, removed bool) error {
	row, err := c.Document(p, format, doc)
	if err != nil {
		return err
	}
	row.Checked, row.Standing = at, Listed
	if removed {
		row.Standing = Removed
	}
	b := c.db.NewBatch()
	if err := c.set(b, c.documentKey(p, format, doc), row); err != nil {
		return err
	}
	return b.Commit(false)
}

// evict adds to b what must change when a blob leaves: every row that refers to
// it is marked evicted and drops its reference. It runs inside the store's
// eviction, so it only reads rows.
func (c *Catalog) evict(s store.Sum, b *store.Batch) bool {
	prefix := blobRefKey(s, nil)
	ok := true
	err := c.db.Rows(prefix, nil, func(key, _ []byte) error {
		row := bytes.Clone(key[len(prefix):])
		switch row[0] {
		case famAsset:
			var a AssetRow
			if err := c.get(row, &a); err != nil {
				return err
			}
			a.Evicted = true
			if err := c.set(b, row, a); err != nil {
				return err
			}
		case famDocument:
			var d DocumentRow
			if err := c.get(row, &d); err != nil {
				return err
			}
			d.Evicted = true
			if err := c.set(b, row, d); err != nil {
				return err
			}
		default:
			ok = false
			return store.ErrStop
		}
		c.bumpRow(row)
		b.Delete(bytes.Clone(key))
		b.Unref(s)
		return nil
	})
	return ok && (err == nil || errors.Is(err, store.ErrStop))
}

// bumpRow marks the name behind an asset row key as changed.
func (c *Catalog) bumpRow(row []byte) {
	parts := bytes.SplitN(row, []byte{0}, 6)
	if row[0] == famAsset && len(parts) >= 5 {
		c.Bump(string(parts[3]), string(parts[4]))
	}
}

// Owner returns the place that supplies a name (or, for formats whose versions
// are united, name and version) to a repository.
func (c *Catalog) Owner(repo, format, name string) (Place, bool, error) {
	val, err := c.db.Row(c.key(famOwner, repo, format, name))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read owner of %s: %w", name, err)
	}
	return Place(val), true, nil
}

// SetOwner pins the supplier of a name. The first pin stays.
func (c *Catalog) SetOwner(repo, format, name string, p Place) error {
	if _, ok, err := c.Owner(repo, format, name); ok || err != nil {
		return err
	}
	_, err := c.propose(&Command{At: c.now().UTC(), Domain: c.domain}, &PinOwner{Repository: repo, Format: format, Name: name, Place: p}, nil)
	if err != nil {
		return fmt.Errorf("pin owner of %s: %w", name, err)
	}
	return nil
}

// PinOwner makes a place the supplier of a name, once and for all.
type PinOwner struct {
	Repository string `cbor:"1,keyasint"` // a repository's Place
	Format     string `cbor:"2,keyasint"`
	Name       string `cbor:"3,keyasint"`
	Place      Place  `cbor:"4,keyasint"`
}

func (*PinOwner) kind() string                     { return "pin-owner" }
func (op *PinOwner) locks() (bool, string, string) { return false, op.Format, op.Name }

func (op *PinOwner) apply(m *machine) error {
	if _, ok, err := m.c.Owner(op.Repository, op.Format, op.Name); ok || err != nil {
		m.result.Changed = false
		return err
	}
	m.b.Set(m.c.key(famOwner, op.Repository, op.Format, op.Name), []byte(op.Place))
	return nil
}
