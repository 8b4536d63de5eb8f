package proxy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/proxy/upstream"
)

func contentType(h http.Header) string {
	ct := h.Get("Content-Type")
	if ct == "" {
		return ""
	}
	if _, _, err := mime.ParseMediaType(ct); err != nil {
		return ""
	}
	return ct
}

func lastModified(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// fillError turns a flight's end into what the client is told.
func (x *exchange) fillError(t formats.Target, f *found, err error) error {
	var verify *cache.ErrVerify
	var mut *catalog.MutationError
	var ref *formats.Refusal
	switch {
	case errors.As(err, &ref) && ref.Kind == formats.NotFound:
		// The format knows better than "not found" why there is nothing here.
		x.absentFor = ref
		return errAbsent
	case errors.Is(err, errAbsent) || errors.Is(err, formats.ErrNoDocument):
		// Rows that promise a file which the upstream no longer gives.
		if f.asset != nil {
			x.s.log.Warn("upstream lists a file that it does not give", "event", "file_withdrawn", "connection", f.conn.Name, "name", f.key.Name, "file", f.key.File)
		}
		return errAbsent
	case errors.As(err, &mut):
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err,
			Message: fmt.Sprintf("upstream %s offers other bytes for %s %s than this site knows; they were refused", f.conn.Name, t.Name.Show(), f.key.File)}
	case errors.As(err, &verify):
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err,
			Message: fmt.Sprintf("what upstream %s sent for %s %s does not match its digest; nothing was kept", f.conn.Name, t.Name.Show(), f.key.File)}
	}
	return x.s.upstreamRefusal(f.conn, t, err)
}

func flightKey(k catalog.AssetKey) string {
	return "a\x00" + string(k.Place) + "\x00" + k.Format + "\x00" + k.Name + "\x00" + k.Version + "\x00" + k.File
}

// fillAsset starts or joins the flight of one asset.
func (s *Server) fillAsset(ctx context.Context, format formats.Format, t formats.Target, f *found) (*cache.Reader, error) {
	up, ok := format.(formats.Upstreamer)
	if !ok {
		return nil, fmt.Errorf("format %s has no upstreams", format.ID())
	}
	fill := *f
	return s.cfg.Cache.Fill(ctx, flightKey(f.key), func() cache.Plan {
		// A flight that ended between the caller's look and this one has left
		// its rows: nothing is fetched twice.
		if row, err := s.cfg.Catalog.Asset(fill.key); err == nil && !row.Evicted && !fill.lost {
			if sum, ok := catalog.SumOf(row.Digests); ok {
				return cache.Plan{Held: &cache.Result{Sum: sum, Size: row.Size, Digests: row.Digests, Header: heldHeader(row)}}
			}
		}
		if c, ok := format.(formats.Companion); ok {
			if more := c.Companions(t); len(more) > 0 {
				s.behind.Store(flightKey(fill.key), func() { s.fetchCompanions(format, fill.conn, more) })
			}
		}
		docs := s.docs(fill.conn, format)
		plan := cache.Plan{MaxSize: s.cfg.Limits.ArtifactMax}
		if h, ok := format.(formats.Hasher); ok {
			plan.Algs = h.Algs()
		}
		var origin string
		plan.Open = func(ctx context.Context, from int64, validator string) (*cache.Part, error) {
			fetch, err := up.Locate(ctx, fill.conn.Connection, t, fill.asset, docs)
			if err != nil {
				return nil, cache.Permanent(err)
			}
			origin = fetch.URL
			return s.openPart(ctx, fill.conn, t, fetch, from, validator)
		}
		ver, _ := format.(formats.Verifier)
		ins, _ := format.(formats.Inspector)
		plan.Want = func(ctx context.Context, h http.Header) (formats.Want, error) {
			return s.wantOf(ctx, ver, t, &fill, h, docs)
		}
		if ver != nil {
			plan.Check = func(ctx context.Context, file formats.File, w formats.Want, _ []formats.Digest) error {
				return ver.Check(ctx, t, file, w)
			}
		}
		var derived []formats.Derived
		var aux []byte
		if ins != nil {
			plan.Inspect = func(_ context.Context, file formats.File, _ cache.Result) {
				var err error
				if derived, aux, err = ins.Inspect(t, file); err != nil {
					s.log.Warn("asset could not be inspected", "event", "inspect_failed", "format", format.ID(), "name", fill.key.Name, "file", fill.key.File, "error", err)
				}
			}
		}
		plan.Commit = func(b *store.Batch, res cache.Result) error {
			for _, d := range derived {
				if !mayDerive(&fill, d) {
					continue
				}
				if err := s.keepDerived(format, &fill, d); err != nil {
					s.log.Warn("derived file could not be kept", "event", "derive_failed", "format", format.ID(), "name", fill.key.Name, "file", d.File, "error", err)
				}
			}
			return s.commitAsset(b, &fill, res, origin, aux)
		}
		return plan
	})
}

// fetchCompanions keeps what belongs to an asset that was just kept. It runs
// behind the clients' backs; what fails is fetched when somebody asks.
func (s *Server) fetchCompanions(format formats.Format, c *catalog.Connection, more []formats.Target) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.Limits.RefreshTimeout)
	defer cancel()
	for _, t := range more {
		key := catalog.AssetKey{Place: catalog.ConnectionPlace(c.Name), Format: format.ID(), Name: t.Name.Canon, Version: t.Version, File: t.File}
		row, err := s.cfg.Catalog.Asset(key)
		if err == nil && !row.Evicted {
			continue
		}
		r, err := s.fillAsset(ctx, format, t, &found{conn: c, key: key, row: row})
		if err == nil {
			_, err = r.WaitVerified(ctx)
			r.Close()
		}
		if err != nil {
			s.log.Debug("a companion could not be fetched", "event", "companion_failed", "format", format.ID(), "name", key.Name, "file", key.File, "error", err)
		}
	}
}

func heldHeader(row *catalog.AssetRow) http.Header {
	h := http.Header{}
	if row.ContentType != "" {
		h.Set("Content-Type", row.ContentType)
	}
	if !row.LastModified.IsZero() {
		h.Set("Last-Modified", row.LastModified.UTC().Format(http.TimeFormat))
	}
	return h
}

// wantOf demands the digests of the row, of the format's own verification, and
// of what this site knew of the coordinate before.
func (s *Server) wantOf(ctx context.Context, ver formats.Verifier, t formats.Target, f *found, h http.Header, docs formats.Docs) (formats.Want, error) {
	var w formats.Want
	if ver != nil {
		var err error
		if w, err = ver.Expect(ctx, f.conn.Connection, t, f.asset, h, docs); err != nil {
			return w, err
		}
	} else if f.asset != nil {
		w.Digests, w.Size = append(w.Digests, f.asset.Digests...), f.asset.Size
	}
	if f.row != nil {
		if was, is, bad := formats.Disagree(f.row.Digests, w.Digests); bad {
			s.alarm(f.key, was, is)
			return w, &catalog.MutationError{Key: f.key, Was: was, Is: is}
		}
		for _, d := range f.row.Digests {
			if _, ok := formats.Find(w.Digests, d.Alg); !ok && d.Alg.New() != nil {
				w.Digests = append(w.Digests, d)
			}
		}
	}
	return w, nil
}

func (s *Server) commitAsset(b *store.Batch, f *found, res cache.Result, origin string, aux []byte) error {
	h := formats.HeldAsset{
		File: f.key.File, Size: res.Size, Digests: res.Digests, ContentType: contentType(res.Header),
		LastModified: lastModified(res.Header), FirstSeen: s.now(), Origin: f.conn.Name, URL: origin, Aux: aux,
	}
	if h.LastModified.IsZero() && f.asset != nil {
		h.LastModified = f.asset.Uploaded
	}
	if _, ok := formats.Find(h.Digests, formats.SHA256); !ok {
		h.Digests = append([]formats.Digest{catalog.DigestOf(res.Sum)}, h.Digests...)
	}
	return s.cfg.Catalog.PutAsset(b, f.key, h, catalog.CauseIngested)
}

// keepDerived keeps a small file that the format made from an asset.
func (s *Server) keepDerived(format formats.Format, f *found, d formats.Derived) error {
	w, err := s.cfg.Store.Create(s.life, int64(len(d.Body)))
	if err != nil {
		return fmt.Errorf("reserve derived file: %w", err)
	}
	defer w.Release()
	if _, err := w.Write(d.Body); err != nil {
		return fmt.Errorf("write derived file: %w", err)
	}
	key := f.key
	key.File = d.File
	b := s.cfg.Store.NewBatch()
	h := formats.HeldAsset{File: d.File, Size: int64(len(d.Body)), Digests: []formats.Digest{catalog.DigestOf(w.Sum())},
		ContentType: d.ContentType, FirstSeen: s.now(), Origin: f.conn.Name, Derived: true}
	if f.version != nil && f.version.Asset(d.File) != nil {
		h.Derived = false // the upstream has the same bytes, and can give them again
	}
	if err := s.cfg.Catalog.PutAsset(b, key, h, catalog.CauseDerived); err != nil {
		return err
	}
	if _, err := w.Commit(b); err != nil {
		return fmt.Errorf("commit derived file: %w", err)
	}
	return nil
}

// openPart asks the upstream for an artifact's bytes from an offset.
func (s *Server) openPart(ctx context.Context, c *catalog.Connection, t formats.Target, fetch formats.Fetch, from int64, validator string) (*cache.Part, error) {
	resp, err := s.cfg.Upstream.Do(ctx, upstream.Request{Connection: c.Name, Method: fetch.Method, URL: fetch.URL, Header: fetch.Header,
		From: from, Validator: validator, Identity: true})
	if err != nil {
		return nil, finalIf(err, from)
	}
	part := &cache.Part{Header: resp.Header, Body: resp.Body, Total: resp.ContentLength, Validator: strongValidator(resp.Header)}
	switch {
	case resp.Status == http.StatusOK:
		return part, nil
	case resp.Status == http.StatusPartialContent && from > 0:
		off, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok {
			resp.Body.Close()
			return nil, fmt.Errorf("upstream %s: malformed Content-Range", c.Name)
		}
		part.Offset, part.Total = off, total
		return part, nil
	}
	resp.Body.Close()
	if isGone(resp.Status) {
		return nil, cache.Permanent(errAbsent)
	}
	return nil, cache.Permanent(statusRefusal(c, t, resp.Status))
}

// finalIf says whether a flight may ask again. The upstream client has made its
// own attempts already; a flight that has bytes in hand is worth more of them,
// unless the answer is a matter of principle.
func finalIf(err error, from int64) error {
	var no *upstream.Refused
	if from == 0 || errors.Is(err, upstream.ErrOffline) || errors.As(err, &no) {
		return cache.Permanent(err)
	}
	return err
}

// strongValidator is what If-Range may carry (RFC 9110 section 13.1.5): a
// strong ETag, else the date.
func strongValidator(h http.Header) string {
	if e := h.Get("Etag"); len(e) > 2 && e[0] == '"' {
		return e
	}
	return h.Get("Last-Modified")
}

func contentRange(v string) (off, total int64, ok bool) {
	var last int64
	if n, err := fmt.Sscanf(v, "bytes %d-%d/%d", &off, &last, &total); err != nil || n != 3 || off < 0 || last < off || total <= last {
		return 0, 0, false
	}
	return off, total, true
}
