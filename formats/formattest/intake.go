package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"larder/formats"
)

// Repository is a repository in memory that publishers are tested against. It
// applies changes as the catalog does: files are added, never replaced.
type Repository struct {
	t        *testing.T
	now      time.Time
	heads    map[string]*formats.Head
	versions map[string][]*formats.Version
	files    map[string][]byte // name, NUL, version, NUL, file
}

// NewRepository returns an empty one whose clock stands at now.
func NewRepository(t *testing.T, now time.Time) *Repository {
	return &Repository{t: t, now: now, heads: map[string]*formats.Head{}, versions: map[string][]*formats.Version{}, files: map[string][]byte{}}
}

// Intake returns an Intake for one request with the given body.
func (r *Repository) Intake(body io.Reader) formats.Intake { return &intake{r, body} }

type intake struct {
	r    *Repository
	body io.Reader
}

func (i *intake) Read(p []byte) (int, error) { return i.body.Read(p) }
func (i *intake) Now() time.Time             { return i.r.now }

type memFile struct {
	*bytes.Reader
	digests []formats.Digest
}

func (m memFile) Size() int64               { return m.Reader.Size() }
func (m memFile) Digests() []formats.Digest { return m.digests }
func (m memFile) Close() error              { return nil }

// SpoolOf is data as a Spool.
func SpoolOf(data []byte) formats.Spool {
	m := memFile{Reader: bytes.NewReader(data)}
	for _, alg := range []formats.Alg{formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512} {
		h := alg.New()
		h.Write(data)
		m.digests = append(m.digests, formats.Digest{Alg: alg, Hex: fmt.Sprintf("%x", h.Sum(nil))})
	}
	return m
}

func (i *intake) Spool(_ context.Context, from io.Reader) (formats.Spool, error) {
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	return SpoolOf(data), nil
}

func (i *intake) Head(n formats.Name) (*formats.Head, error) { return i.r.heads[n.Canon], nil }

func (i *intake) Version(n formats.Name, v string) (*formats.Version, error) {
	return i.r.Version(n.Canon, v), nil
}

func (i *intake) Versions(n formats.Name) ([]*formats.Version, error) {
	return i.r.versions[n.Canon], nil
}

func (i *intake) Open(n formats.Name, v, file string) (formats.OpenFile, error) {
	data, ok := i.r.files[n.Canon+"\x00"+v+"\x00"+file]
	if !ok {
		return nil, formats.ErrNoDocument
	}
	return memFile{Reader: bytes.NewReader(data)}, nil
}

func (i *intake) Similar(n formats.Name, fold func(string) string) (string, bool, error) {
	for name := range i.r.versions {
		if name != n.Canon && fold(name) == fold(n.Canon) {
			return name, true, nil
		}
	}
	return "", false, nil
}

func (i *intake) Sign(payload []byte) (formats.Signature, error) {
	return formats.Signature{KeyID: "SHA256:test", Sig: fmt.Sprintf("%x", payload)}, nil
}

// Version returns a version row of a name by its canonical spelling, or nil.
func (r *Repository) Version(canon, v string) *formats.Version {
	for _, row := range r.versions[canon] {
		if row.V == v {
			return row
		}
	}
	return nil
}

// Open opens a held file, for Describer.
func (r *Repository) Open(canon, v, file string) (formats.OpenFile, error) {
	return (&intake{r: r}).Open(formats.Name{Canon: canon}, v, file)
}

// Publish runs one write request through f and applies what comes out.
func (r *Repository) Publish(f formats.Format, rq *formats.Request, body io.Reader) (*formats.Change, error) {
	r.t.Helper()
	t, err := f.Route(rq)
	if err != nil {
		return nil, err
	}
	if t.Kind != formats.KindPublish {
		return nil, fmt.Errorf("%s /%s routes to %s, not to a write", rq.Method, rq.Path, t.Kind)
	}
	p, ok := f.(formats.Publisher)
	if !ok {
		return nil, fmt.Errorf("format %s cannot publish", f.ID())
	}
	c, err := p.Publish(context.Background(), rq, t, r.Intake(body))
	if err != nil {
		return nil, err
	}
	if c.Reply == nil {
		return nil, errors.New("the change has no reply")
	}
	return c, r.Apply(c)
}

// Apply applies a change whole or not at all.
func (r *Repository) Apply(c *formats.Change) error {
	for _, vc := range c.Versions {
		row := r.Version(c.Name.Canon, vc.V)
		if row == nil && (vc.Amend || vc.Row == nil) {
			return formats.Refuse(formats.NotFound, "no version %s", vc.V)
		}
		if row != nil && vc.Expect != "" && vc.Expect != row.Hosting.Revision {
			return formats.Refuse(formats.Conflict, "version %s changed meanwhile", vc.V)
		}
		if row != nil && vc.Open && row.Hosting.Status != formats.Unfinished && !r.known(c.Name.Canon, vc) {
			return formats.Refuse(formats.Conflict, "version %s is complete", vc.V)
		}
		for _, nf := range vc.Files {
			if old, ok := r.files[c.Name.Canon+"\x00"+vc.V+"\x00"+nf.File]; ok && !bytes.Equal(old, read(nf.Spool)) {
				return formats.Refuse(formats.Conflict, "%s %s: other bytes are published under %s", c.Name.Show(), vc.V, nf.File)
			}
		}
	}
	for _, vc := range c.Versions {
		r.change(c.Name.Canon, vc)
	}
	r.changeHead(c)
	return nil
}

// known reports whether all files of a change are there with the same bytes.
func (r *Repository) known(name string, vc formats.VersionChange) bool {
	for _, nf := range vc.Files {
		old, ok := r.files[name+"\x00"+vc.V+"\x00"+nf.File]
		if !ok || !bytes.Equal(old, read(nf.Spool)) {
			return false
		}
	}
	return true
}

func (r *Repository) change(name string, vc formats.VersionChange) {
	row := r.Version(name, vc.V)
	if row != nil && vc.Open && row.Hosting.Status != formats.Unfinished {
		return // Apply saw that it brings nothing new
	}
	if vc.Delete {
		var kept []*formats.Version
		for _, old := range r.versions[name] {
			if old != row {
				kept = append(kept, old)
			}
		}
		r.versions[name] = kept
		for key := range r.files {
			if strings.HasPrefix(key, name+"\x00"+vc.V+"\x00") {
				delete(r.files, key)
			}
		}
		return
	}
	known := row != nil
	if !known {
		cp := *vc.Row
		row = &cp
		row.V, row.FirstSeen, row.Seq = vc.V, r.now, len(r.versions[name])+1
		row.Hosting = &formats.Hosting{Status: formats.Published, Revision: "1", Since: r.now, Origin: formats.OriginInternal}
		row.Held = map[string]formats.HeldAsset{}
		r.versions[name] = append(r.versions[name], row)
	} else if vc.Row != nil {
		if vc.Amend {
			row.Raw, row.Aux, row.Flags = vc.Row.Raw, vc.Row.Aux, vc.Row.Flags
		}
		for _, a := range vc.Row.Assets {
			if old := row.Asset(a.File); old == nil {
				row.Assets = append(row.Assets, a)
			} else if vc.Amend {
				old.Raw, old.Aux, old.Flags = a.Raw, a.Aux, a.Flags
			}
		}
		row.Hosting.Revision += "+"
	}
	if vc.Status != formats.StatusNone && !(known && vc.Status == formats.Unfinished) {
		row.Hosting.Status = vc.Status
	}
	for _, nf := range vc.Files {
		r.files[name+"\x00"+vc.V+"\x00"+nf.File] = read(nf.Spool)
		row.Held[nf.File] = formats.HeldAsset{File: nf.File, Size: nf.Spool.Size(), Digests: nf.Spool.Digests(),
			ContentType: nf.ContentType, FirstSeen: r.now, LastModified: r.now, Derived: nf.Derived, Aux: nf.Aux}
	}
}

func (r *Repository) changeHead(c *formats.Change) {
	head := r.heads[c.Name.Canon]
	if head == nil {
		head = &formats.Head{Tags: map[string]string{}}
		r.heads[c.Name.Canon] = head
	}
	if c.Head != nil {
		head.Raw, head.Aux, head.Display, head.Modified = c.Head.Raw, c.Head.Aux, c.Head.Display, c.Head.Modified
	}
	for tag, v := range c.Tags {
		if v == "" {
			delete(head.Tags, tag)
		} else {
			head.Tags[tag] = v
		}
	}
}

// View is what the proxy would hand to Render for this repository alone.
func (r *Repository) View(n formats.Name, base string) *formats.View {
	v := &formats.View{Name: n, Base: base}
	head := r.heads[n.Canon]
	if head == nil {
		head = &formats.Head{}
	}
	v.Layers = []formats.Layer{{Place: "local", Head: head, Local: true}}
	for _, row := range r.versions[n.Canon] {
		if row.Hosting.Status.Listed() {
			v.Versions = append(v.Versions, row)
		}
	}
	return v
}

func read(s formats.Spool) []byte {
	data, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
	if err != nil {
		return nil
	}
	return data
}
