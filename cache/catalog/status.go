package catalog

import (
	"fmt"
	"slices"

	"larder/formats"
)

// MaxBatch is how many versions one batch may name (API reference).
const MaxBatch = 100

// Codes of VersionFailure (API reference, "PackageVersionError").
const (
	CodeExists     = "ALREADY_EXISTS"
	CodeRevision   = "MISMATCHED_REVISION"
	CodeStatus     = "MISMATCHED_STATUS"
	CodeNotAllowed = "NOT_ALLOWED"
	CodeNotFound   = "NOT_FOUND"
	CodeSkipped    = "SKIPPED"
)

// UpdateStatus moves versions to another status; Disposed erases their files,
// Deleted takes them away (user guide, "Package version status"). One version
// that cannot be moved keeps all others where they are.
type UpdateStatus struct {
	Repository string            `cbor:"1,keyasint"`
	Format     string            `cbor:"2,keyasint"`
	Name       formats.Name      `cbor:"3,keyasint"`
	Versions   []string          `cbor:"4,keyasint"`
	Revisions  map[string]string `cbor:"5,keyasint,omitempty"` // expected, by version
	Expect     formats.Status    `cbor:"6,keyasint,omitempty"`
	Target     formats.Status    `cbor:"7,keyasint"`
}

func (*UpdateStatus) kind() string                     { return "update-status" }
func (op *UpdateStatus) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

func (op *UpdateStatus) apply(m *machine) error {
	e, err := m.edit(op.Repository, op.Format, op.Name)
	if err != nil {
		return err
	}
	if err := e.existing(); err != nil {
		return err
	}
	m.result.Versions, m.result.Failed = map[string]VersionResult{}, map[string]VersionFailure{}
	var drafts []*draft
	for _, v := range once(op.Versions) {
		d, err := e.version(v)
		if err != nil {
			return err
		}
		if f := op.refuses(d); f != nil {
			m.result.Failed[v] = *f
			continue
		}
		drafts = append(drafts, d)
	}
	if skipRest(m.result, op.Versions) {
		return nil
	}
	var gone []string
	for _, d := range drafts {
		if err := op.move(d); err != nil {
			return err
		}
		if op.Target == formats.Deleted {
			gone = append(gone, d.row.V)
		}
		m.result.Versions[d.row.V] = VersionResult{Revision: d.row.Hosting.Revision, Status: op.Target.String()}
	}
	if len(gone) > 0 {
		if err := e.changeHead(nil, nil, gone); err != nil {
			return err
		}
	}
	m.result.Changed = e.dirty
	return e.save()
}

// once returns the versions each once, in order: all edits of a version begin at
// the rows as they are, so a second one would count its files again.
func once(versions []string) []string {
	var out []string
	for _, v := range versions {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// skipRest marks all versions that did not fail as skipped where any failed.
func skipRest(r *Result, versions []string) bool {
	if len(r.Failed) == 0 {
		return false
	}
	r.Versions = map[string]VersionResult{}
	for _, v := range versions {
		if _, failed := r.Failed[v]; !failed {
			r.Failed[v] = VersionFailure{CodeSkipped, fmt.Sprintf("version %s is skipped", v)}
		}
	}
	return true
}

func (op *UpdateStatus) refuses(d *draft) *VersionFailure {
	if !d.existed {
		return &VersionFailure{CodeNotFound, "Could not find version " + d.row.V}
	}
	h := d.row.Hosting
	switch want, ok := op.Revisions[d.row.V]; {
	case ok && want != h.Revision:
		return &VersionFailure{CodeRevision, fmt.Sprintf("current revision: %s, expected revision: %s", h.Revision, want)}
	case op.Expect != formats.StatusNone && op.Expect != h.Status:
		return &VersionFailure{CodeStatus, fmt.Sprintf("current status: %s, expected status: %s", h.Status, op.Expect)}
	case h.Status == formats.DisposedStatus && op.Target != formats.Deleted:
		return &VersionFailure{CodeNotAllowed, "a disposed version can only be deleted"}
	case op.Target == formats.Unfinished:
		return &VersionFailure{CodeNotAllowed, "no version can be made Unfinished again"}
	}
	return nil
}

func (op *UpdateStatus) move(d *draft) error {
	switch op.Target {
	case formats.Deleted:
		return d.remove()
	case formats.DisposedStatus:
		n, err := d.dropFiles()
		if err != nil {
			return err
		}
		d.row.Hosting.Status = op.Target
		if err := d.save(CauseChanged); err != nil {
			return err
		}
		last := &d.e.m.facts[len(d.e.m.facts)-1]
		last.Event.Removed = n
		return nil
	}
	d.row.Hosting.Status = op.Target
	return d.save(CauseChanged)
}

// Copy copies versions from one repository of the domain to another: rows and
// references, never bytes.
type Copy struct {
	Source      string            `cbor:"1,keyasint"`
	Destination string            `cbor:"2,keyasint"`
	Format      string            `cbor:"3,keyasint"`
	Name        formats.Name      `cbor:"4,keyasint"`
	Versions    []string          `cbor:"5,keyasint"`
	Revisions   map[string]string `cbor:"6,keyasint,omitempty"`
	Overwrite   bool              `cbor:"7,keyasint,omitempty"`
	Tags        map[string]string `cbor:"8,keyasint,omitempty"` // tag -> version, beside those of the source's head
}

func (*Copy) kind() string                     { return "copy" }
func (op *Copy) locks() (bool, string, string) { return false, op.Format, op.Name.Canon }

func (op *Copy) apply(m *machine) error {
	src, err := m.edit(op.Source, op.Format, op.Name)
	if err != nil {
		return err
	}
	dst, err := m.edit(op.Destination, op.Format, op.Name)
	if err != nil {
		return err
	}
	if err := src.existing(); err != nil {
		return err
	}
	m.result.Versions, m.result.Failed = map[string]VersionResult{}, map[string]VersionFailure{}
	type pair struct {
		from, to *draft
		same     bool
	}
	var pairs []pair
	pinned := false
	for _, v := range once(op.Versions) {
		from, err := src.version(v)
		if err != nil {
			return err
		}
		to, err := dst.version(v)
		if err != nil {
			return err
		}
		f, same := op.refuses(from, to)
		if f != nil {
			m.result.Failed[v] = *f
		} else {
			pairs = append(pairs, pair{from, to, same})
		}
	}
	if skipRest(m.result, op.Versions) {
		return nil
	}
	for _, p := range pairs {
		if p.same {
			if err := p.to.takeFiles(p.from); err != nil {
				return err
			}
			pinned = pinned || p.to.pins > 0
			if err := p.to.save(CausePublished); err != nil {
				return err
			}
			continue
		}
		if err := op.copyVersion(dst, p.from, p.to); err != nil {
			return err
		}
		m.result.Versions[p.to.row.V] = VersionResult{Revision: p.to.row.Hosting.Revision, Status: p.to.row.Hosting.Status.String()}
	}
	if err := op.copyHead(src, dst); err != nil {
		return err
	}
	m.result.Changed = dst.dirty || pinned
	return dst.save()
}

// refuses says why a version cannot be copied; same is true where the
// destination has the very files already.
func (op *Copy) refuses(from, to *draft) (f *VersionFailure, same bool) {
	if !from.existed {
		return &VersionFailure{CodeNotFound, "Could not find version " + from.row.V}, false
	}
	h := from.row.Hosting
	if want, ok := op.Revisions[from.row.V]; ok && want != h.Revision {
		return &VersionFailure{CodeRevision, fmt.Sprintf("current revision: %s, expected revision: %s", h.Revision, want)}, false
	}
	if h.Status == formats.DisposedStatus || h.Status == formats.Unfinished {
		return &VersionFailure{CodeNotAllowed, fmt.Sprintf("a version with the status %s cannot be copied", h.Status)}, false
	}
	if !to.existed {
		return nil, false
	}
	if sameFiles(from, to) && to.was != formats.DisposedStatus {
		return nil, true
	}
	if !op.Overwrite {
		return &VersionFailure{CodeExists, fmt.Sprintf("Version %s already exists", from.row.V)}, false
	}
	return nil, false
}

func sameFiles(a, b *draft) bool {
	if len(a.assets) != len(b.assets) {
		return false
	}
	for file, x := range a.assets {
		y := b.assets[file]
		if y == nil {
			return false
		}
		sx, _ := SumOf(x.Digests)
		if sy, _ := SumOf(y.Digests); sx != sy {
			return false
		}
	}
	return true
}

func (op *Copy) copyVersion(dst *edit, from, to *draft) error {
	if to.existed {
		// Files that stay keep their rows; the others go.
		for file, a := range to.assets {
			old := from.assets[file]
			if old != nil {
				sx, _ := SumOf(old.Digests)
				if sy, _ := SumOf(a.Digests); sx == sy && !a.Evicted {
					continue
				}
			}
			if err := dst.m.dropAsset(to.assetKey(file), a); err != nil {
				return err
			}
			delete(to.assets, file)
		}
		seq := to.row.Seq
		h := *from.row.Hosting
		h.Since = dst.m.cmd.At
		to.row = from.row
		to.row.Seq, to.row.Hosting, to.changed = seq, &h, true
	} else {
		if dst.isNew && dst.row.Count == 0 {
			dst.row.Publish, dst.row.Upstream = Block, Allow
			if from.row.Hosting.Origin == formats.OriginInternal {
				dst.row.Publish, dst.row.Upstream = Allow, Block
			}
		}
		to.create(&from.row.Version, *from.row.Hosting)
	}
	to.row.Hosting.Publisher = publisherOf(dst.m.cmd.By)
	to.row.Origin = string(dst.place)
	if err := to.takeFiles(from); err != nil {
		return err
	}
	return to.save(CausePublished)
}

// takeFiles adds the files that another version holds. What somebody copied on
// purpose stays, whatever the disk says.
func (d *draft) takeFiles(from *draft) error {
	files := make([]string, 0, len(from.assets))
	for file, a := range from.assets {
		if !a.Evicted {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	for _, file := range files {
		if err := d.addFile(from.assets[file].HeldAsset, true); err != nil {
			return err
		}
	}
	return nil
}

// copyHead takes the tags that point at copied versions along, and package-level
// metadata where the destination has none.
func (op *Copy) copyHead(src, dst *edit) error {
	head, err := src.head()
	if err != nil {
		return err
	}
	tags := map[string]string{}
	for _, from := range []map[string]string{op.Tags, head.Head.Tags} {
		for t, v := range from {
			if slices.Contains(op.Versions, v) {
				tags[t] = v
			}
		}
	}
	have, err := dst.head()
	if err != nil {
		return err
	}
	var take *formats.Head
	if len(have.Head.Raw) == 0 && len(head.Head.Raw) > 0 {
		take = &head.Head
	}
	if take == nil && len(tags) == 0 && !dst.dirty {
		return nil
	}
	return dst.changeHead(take, tags, nil)
}
