package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"net/http"
	"os"
	"time"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
)

// smallWrite is the size in bytes up to which writes to one name wait for each
// other.
const smallWrite = 1 << 20

// publish answers a write request. Bytes come first and are durable before the
// one command that makes them a version; what fails before that leaves nothing.
func (x *exchange) publish(t formats.Target) error {
	pub, ok := x.format.(formats.Publisher)
	if !ok {
		return formats.Refuse(formats.NotSupported, "format %s takes no uploads", x.format.ID())
	}
	if !x.caller.Opens(x.domain, x.domainOwner()) {
		// Some uploads name their package in the body, which must not be taken in first.
		return errChallenge
	}
	if t.Name.Canon != "" {
		if err := x.mayWrite(t.Name, t.Deed); err != nil {
			return err
		}
	}
	in := x.newIntake()
	defer in.close()
	if n := x.r.ContentLength; t.Name.Canon != "" && n >= 0 && n <= smallWrite {
		// Documents are read, changed and written back: one after the other. The
		// body comes first: whoever is slow with it holds nobody up.
		if err := in.buffer(); err != nil {
			return err
		}
		lock := &x.s.writing[maphash.String(x.s.writeSeed, x.format.ID()+"\x00"+t.Name.Canon)%uint64(len(x.s.writing))]
		lock.Lock()
		defer lock.Unlock()
	}
	change, err := pub.Publish(x.r.Context(), x.rq, t, in)
	if err != nil {
		return in.explain(err)
	}
	if change.Reply == nil {
		return errors.New("a change without a reply")
	}
	if err := x.apply(change, in); err != nil {
		return err
	}
	x.tier = "local"
	x.reply(change.Reply)
	return nil
}

// apply asks policy about a change, compares it with what is upstream, and makes
// it durable.
func (x *exchange) apply(change *formats.Change, in *intake) error {
	if err := x.mayWrite(change.Name, change.Deed()); err != nil {
		return err
	}
	return x.applyChange(change, in)
}

// applyChange is apply where the right was asked for already.
func (x *exchange) applyChange(change *formats.Change, in *intake) error {
	op := &catalog.Publish{Repository: x.repo, Format: x.format.ID(), Name: change.Name, Tags: change.Tags, Head: change.Head}
	if change.Deed() == formats.DeedPublish {
		// Before anybody upstream hears of the name.
		if err := x.s.cfg.Catalog.MayPublish(x.domain, x.repo, x.format.ID(), change.Name); err != nil {
			return commandRefusal(err)
		}
	}
	for _, vc := range change.Versions {
		if len(vc.Files) > 0 {
			if ref := x.decide(change.Name, vc.V, ""); ref != nil {
				return ref
			}
			if err := x.freeUpstream(change.Name, vc.V); err != nil {
				return err
			}
		}
		e := catalog.VersionEdit{V: vc.V, Row: vc.Row, Amend: vc.Amend, Expect: vc.Expect, Status: vc.Status, Delete: vc.Delete, Open: vc.Open}
		for _, f := range vc.Files {
			e.Files = append(e.Files, formats.HeldAsset{File: f.File, Size: f.Spool.Size(), Digests: f.Spool.Digests(),
				ContentType: f.ContentType, Derived: f.Derived, Aux: f.Aux})
		}
		op.Versions = append(op.Versions, e)
	}
	staged, err := in.stage(change)
	if err != nil {
		return in.explain(err)
	}
	done, err := x.s.cfg.Catalog.Propose(x.domain, x.caller.ARN, op, staged...)
	if err != nil {
		return commandRefusal(err)
	}
	x.s.metrics.changes.WithLabelValues(x.format.ID(), change.Deed().String()).Inc()
	var versions []string
	for _, v := range op.Versions {
		versions = append(versions, v.V)
	}
	x.s.log.Info("a package was changed", "event", "package_changed", "deed", change.Deed().String(), "domain", x.domain, "repository", x.repo,
		"format", x.format.ID(), "name", change.Name.Canon, "versions", versions, "principal", x.caller.ARN, "changed", done.Changed)
	return nil
}

// commandRefusal words a command that was not applied.
func commandRefusal(err error) error {
	if err == nil {
		return nil
	}
	f, ok := catalog.AsFault(err)
	if !ok {
		return storeRefusal(err)
	}
	kind := formats.BadRequest
	switch f.Kind {
	case catalog.FaultNotFound:
		kind = formats.NotFound
	case catalog.FaultConflict:
		kind = formats.Conflict
	case catalog.FaultQuota:
		kind = formats.TooLarge
	case catalog.FaultDenied:
		kind = formats.Forbidden
	}
	return &formats.Refusal{Kind: kind, Message: f.Message}
}

// storeRefusal words a store that has no room.
func storeRefusal(err error) error {
	if errors.Is(err, store.ErrFull) {
		return &formats.Refusal{Kind: formats.Unavailable, Status: http.StatusInsufficientStorage, Err: err,
			Message: "this node's store is full; nothing of the upload was kept"}
	}
	return err
}

// upstreamPatience bounds how long a publisher waits to hear whether an upstream
// has the version already; other small writes to the name wait with it.
const upstreamPatience = 15 * time.Second

// freeUpstream refuses a version that the repository can reach upstream: it
// would be hidden or would hide (user guide, "package origin controls"). Where
// upstream is blocked for the name there is nothing to compare with. An upstream
// that cannot be asked lets the publish pass, as in CodeArtifact; the log says so.
func (x *exchange) freeUpstream(n formats.Name, version string) error {
	own := catalog.RepositoryPlace(x.domain, x.repo)
	if _, err := x.s.cfg.Catalog.Version(own, x.format.ID(), n.Canon, version); err == nil {
		return nil // the command decides about what is here already
	} else if !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	srcs, err := x.sources(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), upstreamPatience)
	defer cancel()
	for _, src := range srcs {
		if src.place == own {
			continue
		}
		if src.conn != nil {
			list := formats.Target{Kind: formats.KindListing, Name: n, Fresh: formats.Revalidate}
			if _, err := x.ensure(ctx, src.conn, list, false); errors.Is(err, errAbsent) {
				continue
			} else if err != nil {
				x.s.log.Warn("an upstream could not be asked whether it has a version that is being published", "event", "publish_unchecked",
					"connection", src.conn.Name, "format", x.format.ID(), "name", n.Canon, "version", version, "error", err)
				continue
			}
		}
		v, err := x.s.cfg.Catalog.Version(src.place, x.format.ID(), n.Canon, version)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
		case err != nil:
			return err
		case v.Hosting != nil && v.Hosting.Status == formats.Unfinished:
		default:
			from := src.repo
			if src.conn != nil {
				from = src.conn.Name
			}
			return formats.Refuse(formats.Conflict, "%s %s exists in %s, which repository %q reaches upstream; versions there cannot be published here", n.Show(), version, from, x.repo)
		}
	}
	return nil
}

// intake is the formats.Intake of one request.
type intake struct {
	x      *exchange
	body   io.Reader
	worded bool  // the body's errors are whole: who gave it words them
	failed error // the body's first error, which outranks what a parser makes of it
	at     time.Time
	spools []*spool
	staged []*catalog.Staged
}

// newIntake bounds the whole body. A file in it may be written longer than it is
// (npm's base64, with escapes) and stand among metadata; Spool bounds the file.
func (x *exchange) newIntake() *intake {
	var body io.Reader = x.r.Body
	if limit := x.s.cfg.Limits.ArtifactMax; limit > 0 && limit < math.MaxInt64/4 {
		body = http.MaxBytesReader(x.w, x.r.Body, 2*limit+x.s.cfg.Limits.MetadataMax)
	}
	return &intake{x: x, body: &patientBody{io.NopCloser(body), http.NewResponseController(x.w), x.s.cfg.Limits.RequestBodyTimeout}, at: x.s.now().UTC()}
}

// Read implements formats.Intake. A client may be slow, but not silent.
func (i *intake) Read(p []byte) (int, error) {
	if i.failed != nil {
		return 0, i.failed
	}
	n, err := i.body.Read(p)
	var big *http.MaxBytesError
	switch {
	case err == nil:
	case err == io.EOF:
		return n, err
	case errors.As(err, &big):
		i.failed = i.tooLarge()
	case i.worded:
		i.failed = err
	case errors.Is(err, os.ErrDeadlineExceeded):
		i.failed = &formats.Refusal{Kind: formats.BadRequest, Status: http.StatusRequestTimeout, Message: "the upload stalled and was given up", Err: err}
	default:
		i.failed = formats.Refuse(formats.BadRequest, "the upload broke off").Because(err)
	}
	if i.failed != nil {
		i.x.w.Header()["Connection"] = []string{"close"}
		return n, i.failed
	}
	return n, nil
}

// buffer takes a small body into memory.
func (i *intake) buffer() error {
	raw, err := io.ReadAll(i)
	if err != nil {
		return i.explain(err)
	}
	i.body = bytes.NewReader(raw)
	return nil
}

func (i *intake) tooLarge() error {
	return formats.Refuse(formats.TooLarge, "the upload is larger than %d bytes, the limit of this node (limits.artifact_max)", i.x.s.cfg.Limits.ArtifactMax)
}

// explain prefers what went wrong with the body or the store to what a format
// made of it.
func (i *intake) explain(err error) error {
	if i.failed != nil {
		return i.failed
	}
	return storeRefusal(err)
}

func (i *intake) Now() time.Time { return i.at }

func (i *intake) place() catalog.Place { return catalog.RepositoryPlace(i.x.domain, i.x.repo) }

func (i *intake) Head(n formats.Name) (*formats.Head, error) {
	row, err := i.x.s.cfg.Catalog.Head(catalog.ListingKey{Place: i.place(), Format: i.x.format.ID(), Name: n.Canon})
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &row.Head, nil
}

func (i *intake) Version(n formats.Name, v string) (*formats.Version, error) {
	row, err := i.x.s.cfg.Catalog.Held(i.place(), i.x.format.ID(), n.Canon, v)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, nil
	}
	return row, err
}

func (i *intake) Versions(n formats.Name) ([]*formats.Version, error) {
	return i.x.s.cfg.Catalog.Contents(i.place(), i.x.format.ID(), n.Canon)
}

func (i *intake) Open(n formats.Name, v, file string) (formats.OpenFile, error) {
	return i.x.s.openHosted(i.place(), i.x.format.ID(), n, v, file)
}

// openHosted opens a file that a repository itself holds.
func (s *Server) openHosted(p catalog.Place, format string, n formats.Name, v, file string) (formats.OpenFile, error) {
	row, err := s.cfg.Catalog.Asset(catalog.AssetKey{Place: p, Format: format, Name: n.Canon, Version: v, File: file})
	if errors.Is(err, catalog.ErrNotFound) || err == nil && row.Evicted {
		return nil, formats.ErrNoDocument
	}
	if err != nil {
		return nil, err
	}
	sum, ok := catalog.SumOf(row.Digests)
	if !ok {
		return nil, fmt.Errorf("asset row %s %s has no sha256", n.Canon, file)
	}
	b, err := s.cfg.Store.OpenBlob(sum)
	if err != nil {
		return nil, err
	}
	return openBlob{b}, nil
}

// openBlob lets a blob be closed like a file.
type openBlob struct{ *store.Blob }

func (b openBlob) Close() error { b.Blob.Close(); return nil }

func (i *intake) Similar(n formats.Name, fold func(string) string) (string, bool, error) {
	want, hit := fold(n.Canon), ""
	err := i.x.s.cfg.Catalog.Packages(i.place(), i.x.format.ID(), "", "", func(p *catalog.Package) bool {
		if p.Name.Canon != n.Canon && fold(p.Name.Canon) == want {
			hit = p.Name.Canon
		}
		return hit == ""
	})
	return hit, hit != "", err
}

func (i *intake) Sign(payload []byte) (formats.Signature, error) {
	if i.x.s.cfg.Sign == nil {
		return formats.Signature{}, nil
	}
	return i.x.s.cfg.Sign(payload)
}

// spool is a file on its way into the store.
type spool struct {
	w       *store.Writer
	digests []formats.Digest
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) { return s.w.ReadAt(p, off) }
func (s *spool) Size() int64                             { return s.w.Size() }
func (s *spool) Digests() []formats.Digest               { return s.digests }

// Spool implements formats.Intake. The weaker digests run beside the store,
// which computes SHA-256 itself.
func (i *intake) Spool(ctx context.Context, r io.Reader) (formats.Spool, error) {
	w, err := i.x.s.cfg.Store.Create(ctx, -1)
	if err != nil {
		return nil, fmt.Errorf("take upload in: %w", err)
	}
	sp := &spool{w: w}
	i.spools = append(i.spools, sp)
	if limit := i.x.s.cfg.Limits.ArtifactMax; limit > 0 {
		r = &boundedFile{r, limit, i}
	}
	if sp.digests, err = copyHashed(w, r, uploadDigests()); err != nil {
		return nil, err
	}
	if i.failed != nil {
		return nil, i.failed
	}
	sp.digests = append(sp.digests, catalog.DigestOf(w.Sum()))
	return sp, nil
}

// boundedFile fails where a file of an upload is larger than the node takes.
type boundedFile struct {
	io.Reader
	left int64
	in   *intake
}

// Read implements io.Reader.
func (b *boundedFile) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 && b.in.failed == nil {
		b.in.failed = b.in.tooLarge()
		b.in.x.w.Header()["Connection"] = []string{"close"}
	}
	if b.left < 0 {
		return 0, b.in.failed
	}
	return n, err
}

// stage makes the files of a change durable, so that its command can claim them.
func (i *intake) stage(c *formats.Change) ([]*catalog.Staged, error) {
	done := map[*spool]bool{}
	for _, v := range c.Versions {
		for _, f := range v.Files {
			sp, ok := f.Spool.(*spool)
			if !ok {
				return nil, fmt.Errorf("file %s was not spooled here", f.File)
			}
			if done[sp] {
				continue
			}
			done[sp] = true
			s, err := i.x.s.cfg.Catalog.Stage(sp.w)
			if err != nil {
				return nil, err
			}
			i.staged = append(i.staged, s)
		}
	}
	return i.staged, nil
}

// close gives up what no command took.
func (i *intake) close() {
	for _, s := range i.staged {
		if err := i.x.s.cfg.Catalog.Unstage(s); err != nil && !errors.Is(err, store.ErrClosed) {
			i.x.s.log.Error("a staged upload could not be given up; the next start does it", "event", "unstage_failed", "error", err)
		}
	}
	for _, s := range i.spools {
		s.w.Release()
	}
}
