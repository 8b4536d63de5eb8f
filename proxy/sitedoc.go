package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"

	"larder/cache/catalog"
	"larder/formats"
)

// ownDocument answers a document that this site has a say in: one about a
// package that is published here, and one that the format adds to. done is false
// where the document is an upstream's alone.
func (x *exchange) ownDocument(t formats.Target) (done bool, err error) {
	if t.Name.Canon != "" {
		if done, err = x.hostedDocument(t); done || err != nil {
			return done, err
		}
	}
	m, ok := x.format.(formats.DocumentMender)
	if !ok {
		return false, nil
	}
	site := formats.SiteFacts{KeyID: x.s.cfg.RegistryKeyID, PublicKey: x.s.cfg.RegistryKey, Domain: x.domain, Repo: x.repo, Auth: x.needsAuth()}
	if _, ok, err := m.Mend(t, nil, site); !ok || err != nil {
		return false, err
	}
	body, err := x.upstreamDocument(t)
	if err != nil {
		return false, err
	}
	out, ok, err := m.Mend(t, body, site)
	if err != nil {
		return false, &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err, Message: "what upstream says under " + t.Doc + " could not be read"}
	}
	if !ok {
		return false, nil
	}
	sum := sha256.Sum256(out)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	c := &content{etag: etag, header: http.Header{"Content-Type": {t.ContentType}, "Etag": {etag}, "Cache-Control": revalidateCache,
		"X-Content-Type-Options": nosniff, "Content-Length": {strconv.Itoa(len(out))}}}
	x.tier = "store"
	x.serveBytes(c, out, -1)
	return true, nil
}

// upstreamDocument reads a document from the first connection that has it, nil
// where none does.
func (x *exchange) upstreamDocument(t formats.Target) ([]byte, error) {
	conns, err := x.askable(t.Name)
	if err != nil {
		return nil, err
	}
	for _, c := range conns {
		body, err := x.s.docs(c, x.format).Document(x.r.Context(), t)
		var ref *formats.Refusal
		switch {
		case err == nil:
			x.conn = c.Name
			return body, nil
		case errors.Is(err, formats.ErrNoDocument), errors.As(err, &ref) && (ref.Kind == formats.NotFound || ref.Kind == formats.NotHeld):
		default:
			return nil, err
		}
	}
	return nil, nil
}

// hostedDocument answers a document about a package of which a repository holds
// a version that was published here: from its own files or not at all, since an
// upstream knows nothing of it and must not learn its name.
func (x *exchange) hostedDocument(t formats.Target) (done bool, err error) {
	srcs, err := x.sources(t.Name)
	if err != nil {
		return false, err
	}
	for _, src := range srcs {
		if src.conn != nil {
			continue
		}
		if err := x.reserved(src.place, t); err != nil {
			return false, err
		}
		ours, err := x.publishedAt(src.place, t)
		if err != nil {
			return false, err
		}
		if !ours {
			continue
		}
		if t.Hosted == nil {
			return false, nil
		}
		_, err = x.s.cfg.Catalog.Asset(catalog.AssetKey{Place: src.place, Format: x.format.ID(), Name: t.Name.Canon, Version: t.Version, File: t.Hosted.Derive.File})
		if errors.Is(err, catalog.ErrNotFound) {
			return false, formats.Refuse(formats.NotFound, "%s has no such document; it was published to repository %q", printable(what(t)), src.repo)
		}
		if err != nil {
			return false, err
		}
		x.target = *t.Hosted
		return true, x.sidecar(*t.Hosted)
	}
	return false, nil
}

// reserved refuses a document that is not asked of an upstream where a place has
// a version of the name that was published here, whichever version t names.
func (x *exchange) reserved(p catalog.Place, t formats.Target) error {
	r, ok := x.format.(formats.Reserver)
	if !ok {
		return nil
	}
	ref := r.Reserved(t)
	if ref == nil {
		return nil
	}
	t.Version = ""
	ours, err := x.publishedAt(p, t)
	if err != nil || !ours {
		return err
	}
	return ref
}

// publishedAt reports whether a place holds a version of t's name, or the one
// that t names, which was published on this site.
func (x *exchange) publishedAt(p catalog.Place, t formats.Target) (bool, error) {
	if t.Version != "" {
		v, err := x.s.cfg.Catalog.Version(p, x.format.ID(), t.Name.Canon, t.Version)
		if errors.Is(err, catalog.ErrNotFound) {
			return false, nil
		}
		return err == nil && v.Hosting != nil && v.Hosting.Origin == formats.OriginInternal, err
	}
	vs, err := x.s.cfg.Catalog.HeldVersions(p, x.format.ID(), t.Name.Canon)
	for _, v := range vs {
		if v.Hosting != nil && v.Hosting.Origin == formats.OriginInternal {
			return true, nil
		}
	}
	return false, err
}
