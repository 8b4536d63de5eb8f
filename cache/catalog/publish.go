package catalog

import (
	"slices"

	"larder/formats"
	"larder/policy/origin"
)

// Publish is the change that one write request of a package manager makes in
// one repository: all of it together or nothing.
type Publish struct {
	Repository string            `cbor:"1,keyasint"`
	Format     string            `cbor:"2,keyasint"`
	Name       formats.Name      `cbor:"3,keyasint"`
	Versions   []VersionEdit     `cbor:"4,keyasint,omitempty"`
	Tags       map[string]string `cbor:"5,keyasint,omitempty"` // "" removes
	Head       *formats.Head     `cbor:"6,keyasint,omitempty"`
}

// VersionEdit is a formats.VersionChange with the digests in place of the bytes.
type VersionEdit struct {
	V      string              `cbor:"1,keyasint"`
	Row    *formats.Version    `cbor:"2,keyasint,omitempty"`
	Amend  bool                `cbor:"3,keyasint,omitempty"`
	Expect string              `cbor:"4,keyasint,omitempty"`
	Files  []formats.HeldAsset `cbor:"5,keyasint,omitempty"`
	Status formats.Status      `cbor:"6,keyasint,omitempty"`
	Delete bool                `cbor:"7,keyasint,omitempty"`
	Open   bool                `cbor:"8,keyasint,omitempty"` // files are taken only while the version is Unfinished
}

func (*Publish) kind() string                     { return "publish" }
func (op *Publish) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

// adds reports whether files come with the change.
func (op *Publish) adds() bool {
	return slices.ContainsFunc(op.Versions, func(v VersionEdit) bool { return len(v.Files) > 0 })
}

func (op *Publish) apply(m *machine) error {
	e, err := m.edit(op.Repository, op.Format, op.Name)
	if err != nil {
		return err
	}
	if op.adds() {
		if e.isNew {
			// The first version was published directly: nothing of that name is to
			// come from outside unless somebody says so (user guide, "package
			// origin controls").
			e.row.Publish, e.row.Upstream = Allow, Block
		}
		if err := e.mayPublish(); err != nil {
			return err
		}
	} else if e.isNew && op.Head != nil && len(op.Versions) == 0 {
		// A document about no package (Maven's plugin groups) is a head alone.
		if err := e.changeHead(op.Head, nil, nil); err != nil {
			return err
		}
		m.result.Changed = e.dirty
		m.touch(op.Format, op.Name.Canon)
		return nil
	} else if err := e.existing(); err != nil {
		return err
	}
	var gone []string
	seen := map[string]bool{}
	for i := range op.Versions {
		if v := op.Versions[i].V; seen[v] {
			return fault(FaultValidation, "package-version", v, "version %s of %s stands twice in one change", v, op.Name.Show())
		}
		seen[op.Versions[i].V] = true
		if op.Versions[i].Delete {
			gone = append(gone, op.Versions[i].V)
		}
		if err := op.Versions[i].apply(e); err != nil {
			return err
		}
	}
	if err := e.changeHead(op.Head, op.Tags, gone); err != nil {
		return err
	}
	m.result.Changed = e.dirty
	return e.save()
}

func (v *VersionEdit) apply(e *edit) error {
	d, err := e.version(v.V)
	if err != nil {
		return err
	}
	if !d.existed && (v.Row == nil || v.Amend || v.Delete) {
		return fault(FaultNotFound, "package-version", v.V, "%s %s is not in repository '%s'", e.row.Name.Show(), v.V, e.repo.Name)
	}
	if v.Expect != "" && (!d.existed || v.Expect != d.row.Hosting.Revision) {
		return fault(FaultConflict, "package-version", v.V, "%s %s was changed by somebody else meanwhile; try again", e.row.Name.Show(), v.V)
	}
	if v.Delete {
		return d.remove()
	}
	if d.existed {
		if err := d.mayChange(len(v.Files) > 0); err != nil {
			return err
		}
	} else {
		d.create(v.Row, formats.Hosting{Status: formats.Published, Origin: formats.OriginInternal, EntryRepository: e.repo.Name, Publisher: publisherOf(e.m.cmd.By)})
	}
	if d.existed && v.Open {
		if d.holds(v.Files) {
			return nil // no change at all, not even of status
		}
		if d.was != formats.Unfinished {
			return fault(FaultConflict, "package-version", v.V, "%s %s is complete and takes no further files", e.row.Name.Show(), v.V)
		}
	}
	if d.existed && v.Row != nil {
		if v.Amend {
			d.row.Raw, d.row.Aux, d.row.Flags, d.changed = v.Row.Raw, v.Row.Aux, v.Row.Flags, true
		}
		d.addAssets(v.Row.Assets, v.Amend)
	}
	for _, f := range v.Files {
		if err := d.addFile(held(f, e.m.cmd.At), true); err != nil {
			return err
		}
	}
	// Unfinished is how a version begins; none becomes it again.
	if v.Status != formats.StatusNone && !(d.existed && v.Status == formats.Unfinished) {
		d.row.Hosting.Status = v.Status
	}
	return d.save(CausePublished)
}

// holds reports whether the version has all of these files already.
func (d *draft) holds(files []formats.HeldAsset) bool {
	for _, f := range files {
		old := d.assets[f.File]
		if old == nil || old.Evicted {
			return false
		}
		was, _ := SumOf(old.Digests)
		if is, _ := SumOf(f.Digests); was != is {
			return false
		}
	}
	return true
}

// publisherOf names who published; a hosted version always has one.
func publisherOf(by string) string {
	if by == "" {
		return "unknown"
	}
	return by
}

// mayChange refuses to change a version that this repository only retains, or
// that an operator has taken out of use.
func (d *draft) mayChange(files bool) error {
	h, name := d.row.Hosting, d.e.row.Name.Show()
	switch {
	case h.Status.Blocks():
		return fault(FaultConflict, "package-version", d.row.V, "%s %s has the status %s in repository '%s' and cannot be published again", name, d.row.V, h.Status, d.e.repo.Name)
	case h.Origin != formats.OriginInternal || h.EntryRepository != d.e.repo.Name:
		from := h.EntryRepository
		if from == "" {
			from = h.EntryConnection
		}
		what := "changed"
		if files {
			what = "published"
		}
		return fault(FaultConflict, "package-version", d.row.V, "%s %s came into repository '%s' from '%s' and cannot be %s here", name, d.row.V, d.e.repo.Name, from, what)
	}
	return nil
}

// Retain keeps in repositories a version that they reached upstream: the one
// that was asked, and the one that has the connection (user guide, "package
// retention from upstream repositories").
type Retain struct {
	Repositories []string            `cbor:"1,keyasint"`
	Format       string              `cbor:"2,keyasint"`
	Name         formats.Name        `cbor:"3,keyasint"`
	Row          formats.Version     `cbor:"4,keyasint"`
	Hosting      formats.Hosting     `cbor:"5,keyasint"` // Origin and entry point
	Files        []formats.HeldAsset `cbor:"6,keyasint"`
}

func (*Retain) kind() string                     { return "retain" }
func (op *Retain) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

func (op *Retain) apply(m *machine) error {
	m.result.Changed = false
	for _, repo := range op.Repositories {
		if err := op.retain(m, repo); err != nil {
			return err
		}
	}
	return nil
}

func (op *Retain) retain(m *machine, repo string) error {
	e, err := m.edit(repo, op.Format, op.Name)
	if f, ok := AsFault(err); ok && f.Kind == FaultNotFound {
		return nil // deleted since
	}
	if err != nil {
		return err
	}
	if e.isNew {
		e.row.Publish, e.row.Upstream = Block, Allow
	}
	way := origin.InternalUpstream
	if op.Hosting.Origin == formats.OriginExternal && op.Hosting.EntryConnection == e.repo.Connection {
		way = origin.ExternalUpstream
	}
	if !e.origin(way).Allowed {
		return nil
	}
	d, err := e.version(op.Row.V)
	if err != nil {
		return err
	}
	h := op.Hosting
	h.Status = formats.Published
	switch {
	case !d.existed:
		d.create(&op.Row, h)
		// A description of files that are not here is upstream's business.
	case d.row.Hosting.Origin != h.Origin || d.row.Hosting.EntryRepository != h.EntryRepository || d.row.Hosting.EntryConnection != h.EntryConnection,
		d.row.Hosting.Status.Blocks():
		return nil
	default:
		d.addAssets(op.Row.Assets, false)
		d.changed = false
	}
	for _, f := range op.Files {
		if err := d.addFile(f, h.Origin == formats.OriginInternal); err != nil {
			return err
		}
	}
	if d.added == 0 {
		return nil
	}
	if err := d.save(CauseRetained); err != nil {
		return err
	}
	m.result.Changed = true
	// Nothing that clients see changes by it: what is retained was visible.
	e.dirty = false
	return m.put(m.c.packageKey(e.place, e.row.Format, e.row.Name.Canon), e.row)
}

// DeletePackage takes a package and all its versions away.
type DeletePackage struct {
	Repository string       `cbor:"1,keyasint"`
	Format     string       `cbor:"2,keyasint"`
	Name       formats.Name `cbor:"3,keyasint"`
}

func (*DeletePackage) kind() string                     { return "delete-package" }
func (op *DeletePackage) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

func (op *DeletePackage) apply(m *machine) error {
	e, err := m.edit(op.Repository, op.Format, op.Name)
	if err != nil {
		return err
	}
	if err := e.existing(); err != nil {
		return err
	}
	vs, err := m.c.HeldVersions(e.place, op.Format, op.Name.Canon)
	if err != nil {
		return err
	}
	for _, v := range vs {
		d, err := e.version(v.V)
		if err != nil {
			return err
		}
		if err := d.remove(); err != nil {
			return err
		}
	}
	m.b.DeletePrefix(m.c.prefix(famHead, string(e.place), op.Format, op.Name.Canon))
	m.b.Delete(m.c.packageKey(e.place, op.Format, op.Name.Canon))
	m.touch(op.Format, op.Name.Canon)
	return nil
}

// PutOrigin sets the origin controls of a package, which need not have any
// version yet.
type PutOrigin struct {
	Repository string       `cbor:"1,keyasint"`
	Format     string       `cbor:"2,keyasint"`
	Name       formats.Name `cbor:"3,keyasint"`
	Publish    string       `cbor:"4,keyasint"`
	Upstream   string       `cbor:"5,keyasint"`
}

func (*PutOrigin) kind() string                     { return "put-origin" }
func (op *PutOrigin) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

func (op *PutOrigin) apply(m *machine) error {
	e, err := m.edit(op.Repository, op.Format, op.Name)
	if err != nil {
		return err
	}
	e.row.Publish, e.row.Upstream, e.dirty = op.Publish, op.Upstream, true
	m.tell(Entry{Domain: e.domain.Name, Repository: e.repo.Name, Place: e.place, Format: op.Format, Name: op.Name.Canon, Cause: CauseControl,
		Note: "origin controls: publish " + op.Publish + ", upstream " + op.Upstream})
	return e.save()
}

// mayPublish asks the origin controls of the package and of its group.
func (e *edit) mayPublish() error {
	v := e.origin(origin.Publish)
	if v.Allowed {
		return nil
	}
	return fault(FaultDenied, "package", e.row.Name.Canon, "publishing %s to repository '%s' is blocked: %s", e.row.Name.Show(), e.repo.Name, v.Reason)
}

func (e *edit) origin(what origin.Type) origin.Verdict {
	own := origin.PackageRestrictions{Publish: origin.Mode(e.row.Publish), Upstream: origin.Mode(e.row.Upstream)}
	return origin.Decide(e.domain.Origins(), own, origin.Of(e.row.Format, e.row.Name), what, e.repo.Name)
}

// MayPublish asks the origin controls whether a package may be published to a
// repository as things are now. A *Fault says that it may not. The command asks
// again.
func (c *Catalog) MayPublish(domain, repo, format string, n formats.Name) error {
	m := &machine{c: c, cmd: &Command{Domain: domain}, state: c.State()}
	e, err := m.edit(repo, format, n)
	if err != nil {
		return err
	}
	return e.mayPublish()
}
