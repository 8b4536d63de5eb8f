package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/proxy/upstream"
)

// inlineBody is the size up to which a held file is served through the hot
// tier; larger ones stream from the store.
const inlineBody = 256 << 10

// found is where an asset is or where it would come from.
type found struct {
	conn    *catalog.Connection // nil: a repository itself holds it
	key     catalog.AssetKey
	row     *catalog.AssetRow // nil: never held
	version *formats.Version  // nil: the listing does not know it
	asset   *formats.Asset    // nil: likewise
	lost    bool              // the row's bytes could not be read
}

func (f *found) held() bool { return f.row != nil && !f.row.Evicted }

// ownerKey is what a pin covers: the name, or name and version where versions
// of several upstreams are united.
func (x *exchange) ownerKey(t formats.Target) string {
	if mergeRule(x.format) == formats.Union {
		return t.Name.Canon + "\x01" + t.Version
	}
	return t.Name.Canon
}

// asset answers one file of a version.
func (x *exchange) asset(t formats.Target) error {
	gen := x.s.cfg.Catalog.Gen(x.format.ID(), t.Name.Canon)
	seen := gen.Load()
	return x.withAsset(t, func(f *found) error { return x.serveHeld(t, f, &route{gen: gen, genSeen: seen}) },
		func(f *found) error { return x.serveFlight(t, f) })
}

// withAsset finds the place that supplies t and calls held or miss with it. A
// miss that the upstream answers with 404 goes on to the next place; connections
// are asked until one is known to own the name.
func (x *exchange) withAsset(t formats.Target, held, miss func(*found) error) error {
	srcs, err := x.sources(t.Name)
	if err != nil {
		return err
	}
	conns := connSources(srcs)
	owner, pinned, err := x.s.cfg.Catalog.Owner(x.scope(), x.format.ID(), x.ownerKey(t))
	if err != nil {
		return err
	}
	offline, owned, asked := true, false, 0
	for _, src := range srcs {
		var f *found
		switch {
		case src.conn == nil:
			if f, err = x.findHere(src, t); err == nil {
				x.conn = src.repo
				err = held(f)
			}
		case owned || pinned && src.place != owner:
			continue
		default:
			asked++
			f, err = x.fromConnection(src.conn, t, held, miss)
			if err == nil && !pinned {
				// The answer is out; a pin that is not kept is made by the next.
				if err := x.s.cfg.Catalog.SetOwner(x.scope(), x.format.ID(), x.ownerKey(t), src.place); err != nil {
					x.s.log.Error("the supplier of a name could not be pinned", "event", "pin_failed", "format", x.format.ID(), "name", t.Name.Canon, "error", err)
				}
			}
		}
		if err == nil {
			x.retain(src, f)
			return nil
		}
		if !errors.Is(err, errAbsent) {
			return err
		}
		if src.conn == nil {
			continue
		}
		offline = offline && x.isOffline(src.conn)
		if pinned || asked == len(conns) {
			continue
		}
		if owned, err = x.ownsWithout(src.conn, t, f, err); err != nil {
			return err
		}
		if owned {
			x.conn = src.conn.Name
		}
	}
	if x.absentFor != nil {
		return x.absentFor
	}
	if len(conns) == 0 {
		return formats.Refuse(formats.NotFound, "%s is not in repository %q", printable(what(t)), x.repo)
	}
	if pinned {
		if err := x.orphaned(t, owner, conns); err != nil {
			return err
		}
	}
	return x.absence(t, offline)
}

// fromConnection answers from a connection, held or not.
func (x *exchange) fromConnection(c *catalog.Connection, t formats.Target, held, miss func(*found) error) (*found, error) {
	f, err := x.find(c, t)
	if err != nil {
		return nil, err
	}
	x.conn = c.Name
	if f.version != nil && f.key.Version != t.Version {
		if ref := x.decide(t.Name, f.key.Version, f.key.File); ref != nil {
			return f, ref
		}
	}
	switch {
	case f.held():
		return f, held(f)
	case x.isOffline(c):
		return f, errAbsent
	}
	return f, x.missOnce(t, f, miss)
}

// ownsWithout reports whether a connection that lacks a file owns its name all
// the same. Where names have one owner, whoever has the name is it: a version or
// file that it lacks must not come from the next connection, nor make that one
// the owner.
func (x *exchange) ownsWithout(c *catalog.Connection, t formats.Target, f *found, absent error) (bool, error) {
	if mergeRule(x.format) == formats.FirstOwner && (errors.Is(absent, errUnlisted) || f != nil && f.version != nil) {
		return true, nil
	}
	return x.anchored(c, t)
}

// findHere reads what a repository itself holds of an asset. errAbsent means
// that the search goes on; a version whose status keeps it out of sight, and a
// file that a version published here does not have, end it.
func (x *exchange) findHere(src supplier, t formats.Target) (*found, error) {
	cat := x.s.cfg.Catalog
	f := &found{key: catalog.AssetKey{Place: src.place, Format: x.format.ID(), Name: t.Name.Canon, Version: t.Version, File: t.File}}
	if t.Version == "" {
		v, row, err := cat.FindAsset(src.place, f.key.Format, f.key.Name, t.File)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil, errAbsent
		}
		if err != nil {
			return nil, err
		}
		f.key.Version, f.row = v, row
	}
	v, err := cat.Version(src.place, f.key.Format, f.key.Name, f.key.Version)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && v.Hosting == nil {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	h := v.Hosting
	switch {
	case h.Status.Blocks():
		return nil, formats.Refuse(formats.NotFound, "%s %s is %s in repository %q", t.Name.Show(), v.V, strings.ToLower(h.Status.String()), src.repo)
	case !h.Status.Downloadable():
		return nil, errAbsent
	}
	if f.row == nil {
		if f.row, err = cat.Asset(f.key); errors.Is(err, catalog.ErrNotFound) {
			if h.Origin == formats.OriginInternal {
				return nil, formats.Refuse(formats.NotFound, "%s %s in repository %q has no file %s", t.Name.Show(), v.V, src.repo, printable(t.File))
			}
			return nil, errAbsent
		} else if err != nil {
			return nil, err
		}
	}
	if f.row.Evicted {
		return nil, errAbsent
	}
	f.version = v
	if f.key.Version != t.Version {
		if ref := x.decide(t.Name, f.key.Version, f.key.File); ref != nil {
			return nil, ref
		}
	}
	return f, nil
}

// anchored reports whether c has the version of t without having t itself: then
// no other place is asked, or whoever publishes to a later registry could put
// files beside those of an earlier one.
func (x *exchange) anchored(c *catalog.Connection, t formats.Target) (bool, error) {
	an, ok := x.format.(formats.Anchorer)
	if !ok {
		return false, nil
	}
	a, ok := an.Anchor(t)
	if !ok {
		return false, nil
	}
	absent := func(err error) (bool, error) {
		if errors.Is(err, errAbsent) {
			return false, nil
		}
		return err == nil, err
	}
	if a.Kind == formats.KindListing {
		_, err := x.ensure(x.r.Context(), c, a, false)
		return absent(err)
	}
	f, err := x.find(c, a)
	if err != nil || f.held() || x.isOffline(c) {
		if err == nil && !f.held() {
			err = errAbsent
		}
		return absent(err)
	}
	return absent(x.missOnce(a, f, func(f *found) error {
		resp, err := x.askHead(a, f)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}))
}

// missOnce calls miss unless the upstream said a moment ago that it has no such
// file: clients probe for files that few versions have (Maven's signatures and
// plugin prefixes, Gradle's module metadata). Whatever changes the name's rows
// voids that answer.
func (x *exchange) missOnce(t formats.Target, f *found, miss func(*found) error) error {
	gen := x.s.cfg.Catalog.Gen(x.format.ID(), t.Name.Canon).Load()
	id := flightKey(f.key) + "\x00" + strconv.FormatUint(gen, 10)
	if x.s.absent.has(id, x.s.now()) {
		return errAbsent
	}
	err := miss(f)
	if errors.Is(err, errAbsent) && x.absentFor == nil {
		x.s.absent.add(id, x.s.now())
	}
	return err
}

// errUnlisted says that a place has the name but not the file.
var errUnlisted = fmt.Errorf("the listing names no such file: %w", errAbsent)

// unlisted is errUnlisted where the place is known to have the name, by the same
// rule as for a listing (see ensure).
func (x *exchange) unlisted(c *catalog.Connection, list formats.Target) error {
	k := x.listingKey(c, list)
	_, err := x.s.cfg.Catalog.Head(k)
	if err == nil {
		return errUnlisted
	}
	if !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	if x.isOffline(c) {
		known, err := x.s.cfg.Catalog.Knows(k.Place, k.Format, k.Name)
		if err != nil {
			return err
		}
		if known {
			return errUnlisted
		}
	}
	return errAbsent
}

// find reads what one place knows of an asset, priming the listing where the
// digest lives there: a lockfile install never asks for it by itself.
func (x *exchange) find(c *catalog.Connection, t formats.Target) (*found, error) {
	cat := x.s.cfg.Catalog
	place := catalog.ConnectionPlace(c.Name)
	f := &found{conn: c, key: catalog.AssetKey{Place: place, Format: x.format.ID(), Name: t.Name.Canon, Version: t.Version, File: t.File}}
	if t.Version == "" {
		v, row, err := cat.FindAsset(place, f.key.Format, f.key.Name, t.File)
		if err == nil {
			f.key.Version, f.row = v, row
		} else if !errors.Is(err, catalog.ErrNotFound) {
			return nil, err
		}
	} else if row, err := cat.Asset(f.key); err == nil {
		f.row = row
	} else if !errors.Is(err, catalog.ErrNotFound) {
		return nil, err
	}
	if f.held() || !t.Prime {
		return f, nil
	}
	list := t
	list.Kind, list.Doc = formats.KindListing, ""
	for _, force := range []bool{false, true} {
		v, a, err := cat.FindFile(place, f.key.Format, f.key.Name, t.Version, t.File)
		if err == nil {
			f.version, f.asset, f.key.Version = v, a, v.V
			return f, nil
		}
		if !errors.Is(err, catalog.ErrNotFound) {
			return nil, err
		}
		if x.isOffline(c) {
			return nil, x.unlisted(c, list)
		}
		// Known rows that do not name the file are asked again once, but not
		// more often than a negative answer would be.
		if force {
			head, err := cat.Head(x.listingKey(c, list))
			if err == nil && x.s.now().Sub(head.Checked) < x.s.cfg.Limits.NegativeTTL {
				return nil, errUnlisted
			}
		}
		l, err := x.ensure(x.r.Context(), c, list, force)
		if err != nil {
			return nil, err
		}
		x.noteFill(l)
	}
	v, a, err := cat.FindFile(place, f.key.Format, f.key.Name, t.Version, t.File)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, x.unlisted(c, list)
	}
	if err != nil {
		return nil, err
	}
	f.version, f.asset, f.key.Version = v, a, v.V
	return f, nil
}

// assetContent builds the header of an immutable file.
func (x *exchange) assetContent(t formats.Target, h formats.HeldAsset) *content {
	c := &content{header: make(http.Header, 10), modified: h.LastModified, ranges: true}
	ct := t.ContentType
	if ct == "" {
		ct = h.ContentType
	}
	if ct == "" {
		ct = "application/octet-stream"
	}
	c.header["Content-Type"] = []string{ct}
	c.header["Cache-Control"] = immutableCache
	c.header["X-Content-Type-Options"] = nosniff
	c.header["Accept-Ranges"] = acceptRanges
	// A file of this site's origin must not act in a browser as a page of it.
	c.header["Content-Security-Policy"] = sandbox
	if d, ok := h.Digest(formats.SHA256); ok {
		c.etag = `"` + d.Hex + `"`
		c.header["Etag"] = []string{c.etag}
	}
	if !h.LastModified.IsZero() {
		c.header["Last-Modified"] = []string{h.LastModified.UTC().Format(http.TimeFormat)}
	}
	if dec, ok := x.format.(formats.Decorator); ok {
		for k, v := range dec.AssetHeader(t, h) {
			c.header[http.CanonicalHeaderKey(k)] = v
		}
	}
	return c
}

// serveHeld answers from the store, through the hot tier when small.
func (x *exchange) serveHeld(t formats.Target, f *found, rt *route) error {
	sum, ok := catalog.SumOf(f.row.Digests)
	if !ok {
		return fmt.Errorf("asset row %s %s has no sha256", f.key.Name, f.key.File)
	}
	blob, err := x.s.cfg.Store.OpenBlob(sum)
	if err != nil {
		return x.lost(t, f, err)
	}
	defer blob.Close()
	if x.tier == "none" {
		x.tier = "store"
	}
	x.s.cfg.Store.Touch(sum)
	c := x.assetContent(t, f.row.HeldAsset)
	if blob.Size() > inlineBody {
		err := x.serveSource(c, blobSource{blob}, blob.Size())
		if errors.Is(x.cause, store.ErrCorrupt) {
			// This client's connection is torn; the next one is served whole.
			x.s.log.Error("held bytes are damaged; the copy is dropped", "event", "blob_corrupt", "name", f.key.Name, "file", f.key.File, "error", x.cause)
			if err := x.s.cfg.Store.Drop(sum); err != nil && !errors.Is(err, store.ErrNotFound) {
				x.s.log.Error("a damaged copy could not be dropped", "event", "drop_failed", "error", err)
			}
		}
		return err
	}
	var buf bytes.Buffer
	buf.Grow(int(blob.Size()))
	if _, err := blob.WriteTo(&buf); err != nil {
		return x.lost(t, f, err)
	}
	c.header["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	rt.content, rt.body, rt.labels = *c, "b"+string(sum[:]), x.labelsFor(t)
	if x.r.Header["Range"] == nil {
		x.keep(rt, buf.Bytes())
	}
	// The header map in the route is shared from here on; ranges write their
	// own length into the response's map only.
	x.serveBytes(c, buf.Bytes(), -1)
	return nil
}

// lost handles a row whose bytes cannot be read: a damaged copy is dropped and the
// request goes upstream as a miss, with the known digest still demanded.
func (x *exchange) lost(t formats.Target, f *found, cause error) error {
	sum, _ := catalog.SumOf(f.row.Digests)
	x.s.log.Error("held bytes cannot be read; they are fetched again", "event", "blob_lost", "name", f.key.Name, "file", f.key.File, "error", cause)
	x.s.metrics.lost.Inc()
	// A disk that failed once may give them tomorrow, and what was published here
	// can be had nowhere else: only what is known to be damaged goes.
	if errors.Is(cause, store.ErrCorrupt) {
		if err := x.s.cfg.Store.Drop(sum); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("drop lost blob: %w", err)
		}
	}
	if f.conn == nil && f.row.Pinned {
		return &formats.Refusal{Kind: formats.Unavailable, Err: cause, Message: fmt.Sprintf("the bytes of %s %s were published here and can no longer be read; publish or restore them again", f.key.Name, f.key.File)}
	}
	if f.conn == nil || f.row.Derived || x.isOffline(f.conn) {
		return errAbsent
	}
	if f.asset == nil && t.Prime {
		v, a, err := x.s.cfg.Catalog.FindFile(f.key.Place, f.key.Format, f.key.Name, f.key.Version, f.key.File)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		f.version, f.asset = v, a
	}
	f.lost = true
	return x.serveFlight(t, f)
}

// blobSource serves a finished blob.
type blobSource struct{ b *store.Blob }

func (s blobSource) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	return s.b.WriteRange(w, off, n)
}

// serveFlight joins or starts the one download of an asset and follows it.
func (x *exchange) serveFlight(t formats.Target, f *found) error {
	if x.r.Method == http.MethodHead {
		return x.headUpstream(t, f)
	}
	r, err := x.s.fillAsset(x.r.Context(), x.format, t, f)
	if err != nil {
		return x.fillError(t, f, err)
	}
	defer r.Close()
	x.tier = "fill"
	if !r.Leader() {
		x.tier = "tail"
		x.s.metrics.coalesced.Inc()
	}
	h := formats.HeldAsset{File: f.key.File, Digests: r.Digests(), ContentType: contentType(r.Header()), LastModified: lastModified(r.Header())}
	if f.row != nil {
		h.Digests = f.row.Digests
	}
	err = x.serveSource(x.assetContent(t, h), r, r.Size())
	if err == nil || errors.Is(err, http.ErrAbortHandler) {
		return err
	}
	return x.fillError(t, f, err)
}

// askHead asks the upstream for the header of a file. The answer is 200, and the
// caller closes its body.
func (x *exchange) askHead(t formats.Target, f *found) (*upstream.Response, error) {
	up, ok := x.format.(formats.Upstreamer)
	if !ok {
		return nil, errAbsent
	}
	fetch, err := up.Locate(x.r.Context(), f.conn.Connection, t, f.asset, x.s.docs(f.conn, x.format))
	if err != nil {
		return nil, x.s.upstreamRefusal(f.conn, t, err)
	}
	resp, err := x.s.cfg.Upstream.Do(x.r.Context(), upstream.Request{Connection: f.conn.Name, Method: http.MethodHead, URL: fetch.URL, Header: fetch.Header, Identity: true})
	if err != nil {
		return nil, x.s.upstreamRefusal(f.conn, t, err)
	}
	if resp.Status == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	if isGone(resp.Status) {
		return nil, errAbsent
	}
	return nil, statusRefusal(f.conn, t, resp.Status)
}

// headUpstream answers HEAD for a file that is not held without storing
// anything: a HEAD must never write.
func (x *exchange) headUpstream(t formats.Target, f *found) error {
	resp, err := x.askHead(t, f)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.tier = "pass"
	c := x.assetContent(t, formats.HeldAsset{File: f.key.File, ContentType: contentType(resp.Header), LastModified: lastModified(resp.Header)})
	if f.asset != nil && f.asset.Size > 0 {
		c.header["Content-Length"] = []string{strconv.FormatInt(f.asset.Size, 10)}
	} else if resp.ContentLength >= 0 {
		c.header["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	h := x.w.Header()
	for k, v := range c.header {
		h[k] = v
	}
	x.status = http.StatusOK
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// mayDerive says whether a file made here may stand under its name: what the
// upstream gives by itself is not replaced, unless it promises these very bytes.
// Then the client that asks next needs no upstream.
func mayDerive(f *found, d formats.Derived) bool {
	if f.version == nil {
		return true
	}
	a := f.version.Asset(d.File)
	if a == nil {
		return true
	}
	sum := sha256.Sum256(d.Body)
	want, ok := formats.Find(a.Digests, formats.SHA256)
	return ok && want == catalog.DigestOf(sum)
}
