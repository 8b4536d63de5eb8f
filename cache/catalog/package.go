package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// The two states of an origin control (API reference, "AllowPublish" and
// "AllowUpstream").
const (
	Allow = "ALLOW"
	Block = "BLOCK"
)

// Package is the row of a package in a repository.
type Package struct {
	Format   string       `cbor:"1,keyasint"`
	Name     formats.Name `cbor:"2,keyasint"`
	Created  time.Time    `cbor:"3,keyasint"`
	Publish  string       `cbor:"4,keyasint"` // Allow or Block
	Upstream string       `cbor:"5,keyasint"`
	Sequence uint64       `cbor:"6,keyasint,omitempty"` // of its events
	Count    int          `cbor:"7,keyasint,omitempty"` // versions that ever came; numbers them
}

func (c *Catalog) packageKey(p Place, format, name string) []byte {
	return c.key(famPackage, string(p), format, name)
}

// Package returns the row of a package in a repository, or ErrNotFound.
func (c *Catalog) Package(p Place, format, name string) (*Package, error) {
	var row Package
	if err := c.get(c.packageKey(p, format, name), &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// Packages calls fn for the packages of a repository in the order of format and
// name, beginning after the format and name given, until fn returns false. With
// format "" all formats are listed.
func (c *Catalog) Packages(p Place, format, afterFormat, afterName string, fn func(*Package) bool) error {
	prefix := c.prefix(famPackage, string(p))
	if format != "" {
		prefix = c.prefix(famPackage, string(p), format)
	}
	var after []byte
	if afterName != "" {
		after = c.packageKey(p, afterFormat, afterName)
	}
	return c.db.Rows(prefix, after, func(key, val []byte) error {
		var row Package
		if err := c.dec.Unmarshal(val, &row); err != nil {
			return fmt.Errorf("decode package row %q: %w", key, err)
		}
		if !fn(&row) {
			return store.ErrStop
		}
		return nil
	})
}

// Held returns a version that a repository itself holds, with its files, or
// ErrNotFound.
func (c *Catalog) Held(p Place, format, name, version string) (*formats.Version, error) {
	v, err := c.Version(p, format, name, version)
	if err != nil {
		return nil, err
	}
	v.Held = map[string]formats.HeldAsset{}
	err = c.versionAssets(p, format, name, version, func(_ []byte, a *AssetRow) error {
		if !a.Evicted {
			v.Held[a.File] = a.HeldAsset
		}
		return nil
	})
	return v, err
}

// versionAssets calls fn for the asset rows of one version.
func (c *Catalog) versionAssets(p Place, format, name, version string, fn func(key []byte, a *AssetRow) error) error {
	return c.db.Rows(c.prefix(famAsset, string(p), format, name, version), nil, func(key, val []byte) error {
		var a AssetRow
		if err := c.dec.Unmarshal(val, &a); err != nil {
			return fmt.Errorf("decode asset row %q: %w", key, err)
		}
		return fn(key, &a)
	})
}

// HeldVersions returns all versions of a name that a repository itself holds,
// in the order in which they came, without Held.
func (c *Catalog) HeldVersions(p Place, format, name string) ([]*formats.Version, error) {
	var out []*formats.Version
	err := c.eachVersion(p, format, name, func(_, _ []byte, v *versionRow) error {
		cp := v.Version
		out = append(out, &cp)
		return nil
	})
	slices.SortStableFunc(out, func(a, b *formats.Version) int { return cmp.Compare(a.Seq, b.Seq) })
	return out, err
}

// Contents are HeldVersions with Held: all that a repository has of a name.
func (c *Catalog) Contents(p Place, format, name string) ([]*formats.Version, error) {
	vs, err := c.HeldVersions(p, format, name)
	if err != nil {
		return nil, err
	}
	byVersion := make(map[string]*formats.Version, len(vs))
	for _, v := range vs {
		v.Held = map[string]formats.HeldAsset{}
		byVersion[v.V] = v
	}
	err = c.eachAsset(p, format, name, func(version string, a *AssetRow) error {
		if v := byVersion[version]; v != nil && !a.Evicted {
			v.Held[a.File] = a.HeldAsset
		}
		return nil
	})
	return vs, err
}

// edit is a package while a command changes it.
type edit struct {
	m      *machine
	domain *DomainState
	repo   *RepositoryRow
	place  Place
	row    *Package
	isNew  bool
	dirty  bool // the row must be written
}

// edit begins to change a package of a repository of the command's domain.
func (m *machine) edit(repo, format string, n formats.Name) (*edit, error) {
	d, r, err := m.repository(repo)
	if err != nil {
		return nil, err
	}
	if err := noNUL("package", format, n.Canon); err != nil {
		return nil, err
	}
	e := &edit{m: m, domain: d, repo: r, place: RepositoryPlace(d.Name, r.Name)}
	e.row, err = m.c.Package(e.place, format, n.Canon)
	if errors.Is(err, ErrNotFound) {
		e.row, e.isNew = &Package{Format: format, Name: n, Created: m.cmd.At, Publish: Allow, Upstream: Allow}, true
	} else if err != nil {
		return nil, err
	}
	if n.Display != "" && e.row.Name.Display != n.Display && e.isNew {
		e.row.Name.Display = n.Display
	}
	return e, nil
}

// existing refuses a package that the repository does not have.
func (e *edit) existing() error {
	if e.isNew {
		return fault(FaultNotFound, "package", e.row.Name.Canon, "Package not found in repository. Package: '%s', repository: '%s'", e.row.Name.Show(), e.repo.Name)
	}
	return nil
}

// save writes the package row where it changed.
func (e *edit) save() error {
	if !e.dirty {
		return nil
	}
	e.m.touch(e.row.Format, e.row.Name.Canon)
	return e.m.put(e.m.c.packageKey(e.place, e.row.Format, e.row.Name.Canon), e.row)
}

// draft is a version while a command changes it.
type draft struct {
	e       *edit
	row     versionRow
	was     formats.Status
	existed bool
	assets  map[string]*AssetRow // all rows, also evicted ones
	added   int
	pins    int  // files that were there and are kept from now on
	changed bool // metadata
}

// version reads a version and its files.
func (e *edit) version(v string) (*draft, error) {
	if err := noNUL("package-version", v); err != nil {
		return nil, err
	}
	d := &draft{e: e, assets: map[string]*AssetRow{}}
	c := e.m.c
	err := c.get(c.key(famVersion, string(e.place), e.row.Format, e.row.Name.Canon, v), &d.row)
	switch {
	case errors.Is(err, ErrNotFound):
		d.row.V = v
	case err != nil:
		return nil, err
	default:
		d.existed = true
		if d.row.Hosting == nil {
			return nil, fmt.Errorf("version row %s %s of %s has no status", e.row.Name.Canon, v, e.place)
		}
		d.was = d.row.Hosting.Status
		cp := *d.row.Hosting
		d.row.Hosting = &cp
	}
	// Also rows that outlived their version would count against immutability;
	// there are none, but a look costs little.
	return d, c.versionAssets(e.place, e.row.Format, e.row.Name.Canon, v, func(_ []byte, a *AssetRow) error {
		cp := *a
		d.assets[a.File] = &cp
		return nil
	})
}

func (d *draft) assetKey(file string) []byte {
	return d.e.m.c.assetKey(AssetKey{Place: d.e.place, Format: d.e.row.Format, Name: d.e.row.Name.Canon, Version: d.row.V, File: file})
}

// create fills the row of a version that is new.
func (d *draft) create(row *formats.Version, h formats.Hosting) {
	m := d.e.m
	v := d.row.V
	d.row.Version = *row
	d.row.V, d.row.Held, d.row.State, d.row.FirstSeen = v, nil, formats.Live, m.cmd.At
	d.row.Assets = slices.Clone(row.Assets)
	if d.row.Published.IsZero() {
		d.row.Published, d.row.From = m.cmd.At, formats.TimeUpstream
	}
	d.e.row.Count++
	d.row.Seq = d.e.row.Count
	h.Since = m.cmd.At
	d.row.Hosting = &h
	d.row.Origin = string(d.e.place)
	d.changed = true
}

// addAssets adds descriptions of files that the row does not know yet. With
// amend those of known files are replaced, but for their digests and size.
func (d *draft) addAssets(as []formats.Asset, amend bool) {
	for _, a := range as {
		old := d.row.Asset(a.File)
		switch {
		case old == nil:
			d.row.Assets = append(d.row.Assets, a)
			d.changed = true
		case amend:
			old.Raw, old.Aux, old.Flags = a.Raw, a.Aux, a.Flags
			d.changed = true
		}
	}
}

// addFile claims that a file of the version has these bytes. The same bytes
// again are no change.
func (d *draft) addFile(h formats.HeldAsset, pin bool) error {
	m := d.e.m
	if err := noNUL("asset", h.File); err != nil {
		return err
	}
	sum, ok := SumOf(h.Digests)
	if !ok {
		return fmt.Errorf("file %s of %s has no sha256", h.File, d.e.row.Name.Canon)
	}
	if old := d.assets[h.File]; old != nil {
		if was, is, bad := formats.Disagree(old.Digests, h.Digests); bad {
			return fault(FaultConflict, "asset", h.File, "%s %s has a file %s with other bytes (%s, offered %s); published files do not change", d.e.row.Name.Show(), d.row.V, h.File, was, is)
		}
		if !old.Evicted {
			if pin {
				return d.pin(old)
			}
			return nil
		}
		h.FirstSeen = old.FirstSeen
	}
	row := &AssetRow{HeldAsset: h, Pinned: pin}
	d.assets[h.File] = row
	key := d.assetKey(h.File)
	if err := m.put(key, row); err != nil {
		return err
	}
	counted, err := m.c.refer(m.b, sum, key)
	if err != nil {
		return err
	}
	if !counted && pin {
		m.b.Pin(sum)
	}
	d.added++
	return nil
}

// pin keeps a file that the version has already from being evicted.
func (d *draft) pin(a *AssetRow) error {
	sum, ok := SumOf(a.Digests)
	if a.Pinned || a.Evicted || !ok {
		return nil
	}
	a.Pinned = true
	d.pins++
	d.e.m.b.Pin(sum)
	return d.e.m.put(d.assetKey(a.File), a)
}

// dropFiles takes all files away.
func (d *draft) dropFiles() (n int, err error) {
	for file, a := range d.assets {
		if err := d.e.m.dropAsset(d.assetKey(file), a); err != nil {
			return n, err
		}
		n++
	}
	d.assets = map[string]*AssetRow{}
	return n, nil
}

// revise computes the revision: it changes with every change of files or
// metadata (user guide, "Package version revision").
func (d *draft) revise() {
	h := sha256.New()
	field := func(b []byte) {
		fmt.Fprintf(h, "%d:", len(b))
		h.Write(b)
	}
	field([]byte(d.row.V))
	field(d.row.Raw)
	field(d.row.Aux)
	field([]byte{byte(d.row.Flags)})
	files := make([]string, 0, len(d.assets))
	for f := range d.assets {
		files = append(files, f)
	}
	slices.Sort(files)
	for _, f := range files {
		field([]byte(f))
		if s, ok := formats.Find(d.assets[f].Digests, formats.SHA256); ok {
			field([]byte(s.Hex))
		}
	}
	for _, a := range d.row.Assets {
		field(a.Raw)
	}
	d.row.Hosting.Revision = base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// save writes the version row and tells the change. It does nothing where
// nothing changed.
func (d *draft) save(cause Cause) error {
	statusChanged := d.existed && d.was != d.row.Hosting.Status
	if d.existed && d.added == 0 && !d.changed && !statusChanged {
		return nil
	}
	d.revise()
	e := d.e
	if err := e.m.put(e.m.c.key(famVersion, string(e.place), e.row.Format, e.row.Name.Canon, d.row.V), &d.row); err != nil {
		return err
	}
	op := "Updated"
	if !d.existed {
		op = "Created"
	}
	e.event(d.row.V, cause, VersionEvent{Status: d.row.Hosting.Status.String(), Revision: d.row.Hosting.Revision, Operation: op,
		Added: d.added, Metadata: d.changed, StatusChanged: statusChanged})
	return nil
}

// remove deletes the version, its files, and the tags that name it.
func (d *draft) remove() error {
	e := d.e
	n, err := d.dropFiles()
	if err != nil {
		return err
	}
	e.m.b.Delete(e.m.c.key(famVersion, string(e.place), e.row.Format, e.row.Name.Canon, d.row.V))
	e.event(d.row.V, CauseDeleted, VersionEvent{Status: formats.Deleted.String(), Operation: "Deleted", Removed: n, StatusChanged: true})
	return nil
}

// event tells a change of one version and numbers it.
func (e *edit) event(version string, cause Cause, ev VersionEvent) {
	e.row.Sequence++
	e.dirty = true
	ev.Sequence, ev.Name, ev.Administrator, ev.Owner = e.row.Sequence, e.row.Name, e.repo.Administrator, e.domain.Owner
	e.m.tell(Entry{Domain: e.domain.Name, Repository: e.repo.Name, Place: e.place, Format: e.row.Format, Name: e.row.Name.Canon,
		Version: version, Cause: cause, Event: &ev})
}

// head reads the package's head in the repository.
func (e *edit) head() (*HeadRow, error) {
	row, err := e.m.c.Head(ListingKey{Place: e.place, Format: e.row.Format, Name: e.row.Name.Canon})
	if errors.Is(err, ErrNotFound) {
		return &HeadRow{FirstSeen: e.m.cmd.At}, nil
	}
	return row, err
}

// changeHead replaces package-level metadata and sets or removes tags. gone are
// versions whose tags go with them.
func (e *edit) changeHead(head *formats.Head, tags map[string]string, gone []string) error {
	row, err := e.head()
	if err != nil {
		return err
	}
	was, err := e.m.c.enc.Marshal(row.Head)
	if err != nil {
		return fmt.Errorf("encode head: %w", err)
	}
	kept := map[string]string{}
	for t, v := range row.Head.Tags {
		if !slices.Contains(gone, v) {
			kept[t] = v
		}
	}
	for t, v := range tags {
		if v == "" {
			delete(kept, t)
		} else {
			kept[t] = v
		}
	}
	if head != nil {
		row.Head.Raw, row.Head.Aux, row.Head.Display, row.Head.Modified = head.Raw, head.Aux, head.Display, head.Modified
	}
	row.Head.Tags = kept
	if len(kept) == 0 {
		row.Head.Tags = nil
	}
	is, err := e.m.c.enc.Marshal(row.Head)
	if err != nil {
		return fmt.Errorf("encode head: %w", err)
	}
	if bytes.Equal(was, is) && !row.Checked.IsZero() {
		return nil
	}
	row.Checked, row.Changed, row.Standing = e.m.cmd.At, e.m.cmd.At, Listed
	e.dirty = true
	return e.m.put(e.m.c.key(famHead, string(e.place), e.row.Format, e.row.Name.Canon, ""), row)
}

// DomainSize is how many bytes the files of a domain's repositories take, each
// blob counted once (user guide, "domain overview"). It reads all of their rows,
// unless nothing was written since the last time.
func (c *Catalog) DomainSize(domain string) (int64, error) {
	seq := c.db.LedgerSeq()
	c.sizes.Lock()
	defer c.sizes.Unlock()
	if s, ok := c.sizes.of[domain]; ok && s.seq == seq {
		return s.bytes, nil
	}
	seen := map[store.Sum]bool{}
	var total int64
	prefix := c.key(famAsset, string(RepositoryPlace(domain, "")))
	err := c.db.Rows(prefix, nil, func(key, val []byte) error {
		var a AssetRow
		if err := c.dec.Unmarshal(val, &a); err != nil {
			return fmt.Errorf("decode asset row %q: %w", key, err)
		}
		if sum, ok := SumOf(a.Digests); ok && !a.Evicted && !seen[sum] {
			seen[sum] = true
			total += a.Size
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	c.sizes.of[domain] = domainSize{seq, total}
	return total, nil
}

type domainSize struct {
	seq   uint64
	bytes int64
}

// Mark returns the position of a reader of the ledger; 0 before the first.
func (c *Catalog) Mark(reader string) (uint64, error) {
	var seq uint64
	err := c.get(controlKey(famMark, reader), &seq)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return seq, err
}

// SetMark keeps the position of a reader of the ledger.
func (c *Catalog) SetMark(reader string, seq uint64) error {
	b := c.db.NewBatch()
	if err := c.set(b, controlKey(famMark, reader), seq); err != nil {
		return err
	}
	return b.Commit(false)
}
