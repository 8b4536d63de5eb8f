package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/proxy/upstream"
)

// maxDocs bounds a document that a format reads for itself.
const maxDocs = 16 << 20

// errNotModified ends a flight whose upstream confirmed what is held.
var errNotModified = errors.New("not modified")

// body is an open document: a held blob or a running flight.
type body struct {
	row    *catalog.DocumentRow // nil while a first flight runs
	blob   *store.Blob
	flight *cache.Reader
	stale  bool
}

func (b *body) close() {
	if b.blob != nil {
		b.blob.Close()
	}
	if b.flight != nil {
		b.flight.Close()
	}
}

// document answers an upstream document that is kept whole.
func (x *exchange) document(t formats.Target) error {
	if done, err := x.ownDocument(t); done || err != nil {
		return err
	}
	conns, err := x.askable(t.Name)
	if err != nil {
		return err
	}
	if len(conns) == 0 {
		return x.noConnection()
	}
	offline := true
	for _, c := range conns {
		b, err := x.s.openDocument(x.r.Context(), c, x.format, t, x.isOffline(c))
		if ref := (*formats.Refusal)(nil); errors.Is(err, errAbsent) || errors.As(err, &ref) && ref.Kind == formats.NotFound {
			offline = offline && x.isOffline(c)
			continue
		}
		if err != nil {
			return err
		}
		defer b.close()
		x.conn = c.Name
		return x.sendDocument(c, t, b)
	}
	return x.absence(t, offline)
}

func (x *exchange) sendDocument(conn *catalog.Connection, t formats.Target, b *body) error {
	c := &content{header: make(http.Header, 8)}
	ct := t.ContentType
	c.header["Cache-Control"] = revalidateCache
	if t.Fresh == formats.Immutable {
		c.header["Cache-Control"] = immutableCache
	}
	c.header["X-Content-Type-Options"] = nosniff
	if b.row == nil {
		if ct == "" {
			ct = contentType(b.flight.Header())
		}
		c.modified = lastModified(b.flight.Header())
	} else {
		if ct == "" {
			ct = b.row.ContentType
		}
		c.modified = lastModified(http.Header{"Last-Modified": {b.row.LastModified}})
		c.etag = `"` + catalog.DigestOf(b.row.Blob()).Hex + `"`
		c.header["Etag"] = []string{c.etag}
	}
	if ct == "" {
		ct = "application/octet-stream"
	}
	c.header["Content-Type"] = []string{ct}
	if !c.modified.IsZero() {
		c.header["Last-Modified"] = []string{c.modified.UTC().Format(http.TimeFormat)}
	}
	if b.flight != nil {
		x.tier = "fill"
		err := x.serveSource(c, b.flight, b.flight.Size())
		if err == nil || errors.Is(err, http.ErrAbortHandler) {
			return err
		}
		return x.s.documentError(conn, t, err)
	}
	x.tier = "store"
	if b.stale {
		x.tier = "stale"
		x.s.metrics.stale.Inc()
	}
	x.w.Header()["Age"] = []string{fmt.Sprint(max(int64(x.s.now().Sub(b.row.Checked)/time.Second), 0))}
	return x.serveSource(c, blobSource{b.blob}, b.blob.Size())
}

func documentID(c *catalog.Connection, f formats.Format, doc string) string {
	return "d\x00" + c.Name + "\x00" + f.ID() + "\x00" + doc
}

// openDocument returns a kept document, asking the connection where that is
// due. errAbsent means that it has no such document.
func (s *Server) openDocument(ctx context.Context, c *catalog.Connection, f formats.Format, t formats.Target, offline bool) (*body, error) {
	place := catalog.ConnectionPlace(c.Name)
	now := s.now()
	if t.Fresh == formats.NoStore {
		if offline {
			return nil, errAbsent
		}
		return s.fetchDocument(ctx, c, f, t, nil, documentID(c, f, t.Doc))
	}
	row, err := s.cfg.Catalog.Document(place, f.ID(), t.Doc)
	if errors.Is(err, catalog.ErrNotFound) {
		row = nil
	} else if err != nil {
		return nil, err
	}
	if row != nil && row.Evicted {
		row = nil
	}
	if row != nil && (offline || t.Fresh == formats.Immutable || now.Before(row.Checked.Add(c.MetadataTTL))) {
		if b, err := s.heldDocument(row); err == nil {
			return b, nil
		}
		row = nil
	}
	if offline {
		return nil, errAbsent
	}
	id := documentID(c, f, t.Doc)
	if row == nil {
		if s.absent.has(id, now) {
			return nil, errAbsent
		}
		return s.fetchDocument(ctx, c, f, t, nil, id)
	}
	return s.revalidateDocument(ctx, c, f, t, row, id)
}

func (s *Server) heldDocument(row *catalog.DocumentRow) (*body, error) {
	blob, err := s.cfg.Store.OpenBlob(row.Blob())
	if err != nil {
		return nil, err
	}
	s.cfg.Store.Touch(row.Blob())
	return &body{row: row, blob: blob}, nil
}

// revalidateDocument gives the upstream a short time to confirm or replace a
// document that is past its time; after that the held one is served as it is.
func (s *Server) revalidateDocument(ctx context.Context, c *catalog.Connection, f formats.Format, t formats.Target, row *catalog.DocumentRow, id string) (*body, error) {
	ill, notYet := s.fresh.standing(c.Name, id, s.now())
	stale := func() (*body, error) {
		b, err := s.heldDocument(row)
		if err == nil {
			b.stale = true
		}
		return b, err
	}
	if notYet {
		return stale()
	}
	type result struct {
		b   *body
		err error
	}
	done := make(chan result, 1)
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		fctx, cancel := context.WithTimeout(s.life, s.cfg.Limits.RefreshTimeout)
		defer cancel()
		b, err := s.fetchDocument(fctx, c, f, t, row, id)
		if err == nil && b.flight != nil {
			_, err = b.flight.WaitVerified(fctx)
			b.close()
			b = nil
		}
		done <- result{b, err}
	}()
	budget := s.cfg.Limits.RevalidateBudget
	if ill {
		budget = 0
	}
	timer := time.NewTimer(budget)
	defer timer.Stop()
	select {
	case r := <-done:
		switch {
		case errors.Is(r.err, errAbsent):
			// 404 after a 200: withdrawn, and what is held stays servable.
			return stale()
		case r.err != nil:
			return stale()
		}
		if r.b != nil {
			return r.b, nil
		}
		row, err := s.cfg.Catalog.Document(catalog.ConnectionPlace(c.Name), f.ID(), t.Doc)
		if err != nil {
			return nil, err
		}
		return s.heldDocument(row)
	case <-timer.C:
		s.fresh.markAiling(c.Name)
		return stale()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetchDocument runs the document's flight. With a row it asks conditionally.
func (s *Server) fetchDocument(ctx context.Context, c *catalog.Connection, f formats.Format, t formats.Target, row *catalog.DocumentRow, id string) (*body, error) {
	up, ok := f.(formats.Upstreamer)
	if !ok {
		return nil, fmt.Errorf("format %s has no upstreams", f.ID())
	}
	place := catalog.ConnectionPlace(c.Name)
	r, err := s.cfg.Cache.Fill(ctx, id, func() cache.Plan {
		// Another flight may have ended between the caller's look and this one.
		if now, err := s.cfg.Catalog.Document(place, f.ID(), t.Doc); err == nil && t.Fresh != formats.NoStore && !now.Evicted && (row == nil || now.Checked.After(row.Checked)) && s.now().Before(now.Checked.Add(c.MetadataTTL)) {
			return cache.Plan{Held: &cache.Result{Sum: now.Blob(), Size: now.Size, Header: http.Header{"Content-Type": {now.ContentType}, "Last-Modified": {now.LastModified}}}}
		}
		asked := false // a body that broke is asked for again without conditions
		plan := cache.Plan{
			MaxSize: s.cfg.Limits.ArtifactMax,
			Open: func(ctx context.Context, from int64, validator string) (*cache.Part, error) {
				fetch, err := up.Locate(ctx, c.Connection, t, nil, s.docs(c, f))
				if err != nil {
					return nil, cache.Permanent(err)
				}
				again := asked
				asked = true
				if row == nil || from > 0 || again {
					return s.openPart(ctx, c, t, fetch, from, validator)
				}
				resp, err := s.cfg.Upstream.Do(ctx, upstream.Request{Connection: c.Name, Method: fetch.Method, URL: fetch.URL, Header: fetch.Header,
					ETag: row.ETag, LastModified: row.LastModified, Identity: true})
				if err != nil {
					return nil, cache.Permanent(err)
				}
				if resp.Status == http.StatusNotModified {
					resp.Body.Close()
					return nil, cache.Permanent(errNotModified)
				}
				if resp.Status != http.StatusOK {
					resp.Body.Close()
					if isGone(resp.Status) {
						return nil, cache.Permanent(errAbsent)
					}
					return nil, cache.Permanent(statusRefusal(c, t, resp.Status))
				}
				return &cache.Part{Header: resp.Header, Body: resp.Body, Total: resp.ContentLength, Validator: strongValidator(resp.Header)}, nil
			},
			Commit: func(b *store.Batch, res cache.Result) error {
				return s.cfg.Catalog.PutDocument(b, place, f.ID(), t.Doc, catalog.DocumentRow{
					Sum: res.Sum[:], Size: res.Size, ContentType: contentType(res.Header), ETag: res.Header.Get("Etag"),
					LastModified: res.Header.Get("Last-Modified"), Checked: s.now(), Immutable: t.Fresh == formats.Immutable})
			},
		}
		if p, ok := f.(formats.Prover); t.Fresh == formats.NoStore || ok && p.Proves(c.Connection, t) {
			plan.Commit = nil
		}
		if ver, ok := f.(formats.DocumentVerifier); ok && ver.VerifiesDocuments() {
			plan.Want = func(ctx context.Context, h http.Header) (formats.Want, error) {
				return ver.Expect(ctx, c.Connection, t, nil, h, s.docs(c, f))
			}
			plan.Check = func(ctx context.Context, file formats.File, w formats.Want, _ []formats.Digest) error {
				return ver.Check(ctx, t, file, w)
			}
		}
		return plan
	})
	switch {
	case err == nil:
		s.fresh.recovered(c.Name, id)
		s.absent.drop(id)
		return &body{flight: r}, nil
	case errors.Is(err, errNotModified):
		s.fresh.recovered(c.Name, id)
		if err := s.cfg.Catalog.ConfirmDocument(place, f.ID(), t.Doc, s.now(), false); err != nil {
			return nil, err
		}
		row.Checked = s.now()
		return s.heldDocument(row)
	case errors.Is(err, errAbsent) || errors.Is(err, formats.ErrNoDocument):
		s.fresh.recovered(c.Name, id)
		if row == nil {
			s.absent.add(id, s.now())
		} else if err := s.cfg.Catalog.ConfirmDocument(place, f.ID(), t.Doc, s.now(), true); err != nil {
			return nil, err
		}
		return nil, errAbsent
	}
	var un *upstream.Unavailable
	if errors.As(err, &un) {
		s.fresh.failed(c.Name, id, un.RetryAfter)
	} else {
		s.fresh.failed(c.Name, id, 0)
	}
	return nil, s.documentError(c, t, err)
}

// documentError words why a document could not be had.
func (s *Server) documentError(c *catalog.Connection, t formats.Target, err error) error {
	var verify *cache.ErrVerify
	if errors.As(err, &verify) {
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err, Message: "what upstream " + c.Name + " sent failed verification"}
	}
	return s.upstreamRefusal(c, t, err)
}

// docs gives a format the small documents of one connection.
func (s *Server) docs(c *catalog.Connection, f formats.Format) formats.Docs { return docs{s, c, f} }

type docs struct {
	s *Server
	c *catalog.Connection
	f formats.Format
}

func (d docs) Document(ctx context.Context, t formats.Target) ([]byte, error) {
	b, err := d.s.openDocument(ctx, d.c, d.f, t, d.s.site.Load().Offline || d.c.Offline)
	if errors.Is(err, errAbsent) {
		return nil, formats.ErrNoDocument
	}
	if err != nil {
		return nil, err
	}
	defer b.close()
	var buf bytes.Buffer
	if b.flight != nil {
		if _, err := b.flight.WriteRange(ctx, &boundedBuffer{&buf, maxDocs}, 0, b.flight.Size()); err != nil {
			return nil, d.s.upstreamRefusal(d.c, t, err)
		}
		return buf.Bytes(), nil
	}
	if b.blob.Size() > maxDocs {
		return nil, fmt.Errorf("document %s is larger than 16 MiB", t.Doc)
	}
	if _, err := b.blob.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("read document %s: %w", t.Doc, err)
	}
	return buf.Bytes(), nil
}

type boundedBuffer struct {
	w    io.Writer
	left int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, errors.New("the document is larger than 16 MiB")
	}
	b.left -= len(p)
	return b.w.Write(p)
}

// Held implements formats.Keeper.
func (d docs) Held(_ context.Context, t formats.Target) ([]byte, error) {
	row, err := d.s.cfg.Catalog.Document(catalog.ConnectionPlace(d.c.Name), d.f.ID(), t.Doc)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && row.Evicted {
		return nil, formats.ErrNoDocument
	}
	if err != nil {
		return nil, err
	}
	b, err := d.s.heldDocument(row)
	if errors.Is(err, store.ErrNotFound) {
		return nil, formats.ErrNoDocument
	}
	if err != nil {
		return nil, fmt.Errorf("open document %s: %w", t.Doc, err)
	}
	defer b.close()
	var buf bytes.Buffer
	if _, err := b.blob.WriteTo(&boundedBuffer{&buf, maxDocs}); err != nil {
		return nil, fmt.Errorf("read document %s: %w", t.Doc, err)
	}
	return buf.Bytes(), nil
}

// Keep implements formats.Keeper.
func (d docs) Keep(ctx context.Context, t formats.Target, data []byte) error {
	w, err := d.s.cfg.Store.Create(ctx, int64(len(data)))
	if err != nil {
		return fmt.Errorf("reserve document %s: %w", t.Doc, err)
	}
	defer w.Release()
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write document %s: %w", t.Doc, err)
	}
	// No flight keeps such a document, so this is its only writer: a row that was
	// read stays true until the batch is committed.
	d.s.keep.Lock()
	defer d.s.keep.Unlock()
	place, sum := catalog.ConnectionPlace(d.c.Name), w.Sum()
	row, err := d.s.cfg.Catalog.Document(place, d.f.ID(), t.Doc)
	if err == nil && !row.Evicted && row.Blob() == sum {
		return nil
	}
	b := d.s.cfg.Store.NewBatch()
	if err := d.s.cfg.Catalog.PutDocument(b, place, d.f.ID(), t.Doc, catalog.DocumentRow{
		Sum: sum[:], Size: int64(len(data)), ContentType: t.ContentType, Checked: d.s.now(), Immutable: t.Fresh == formats.Immutable}); err != nil {
		return err
	}
	if _, err := w.Commit(b); err != nil {
		return fmt.Errorf("keep document %s: %w", t.Doc, err)
	}
	return nil
}
