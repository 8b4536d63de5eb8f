package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"

	"larder/cache/catalog"
	"larder/formats"
)

// sidecar answers a small file made from an asset, filling the asset first.
func (x *exchange) sidecar(t formats.Target) error {
	der, ok := x.format.(formats.Deriver)
	if !ok || t.Derive == nil {
		return fmt.Errorf("format %s cannot derive", x.format.ID())
	}
	gen := x.s.cfg.Catalog.Gen(x.format.ID(), t.Name.Canon)
	return x.withAsset(*t.Derive, func(f *found) error {
		return x.derived(der, t, f, &route{gen: gen, genSeen: gen.Load()})
	}, func(f *found) error {
		r, err := x.s.fillAsset(x.r.Context(), x.format, *t.Derive, f)
		if err != nil {
			return x.fillError(t, f, err)
		}
		defer r.Close()
		x.tier = "fill"
		if _, err := r.WaitVerified(x.r.Context()); err != nil {
			return x.fillError(t, f, err)
		}
		row, err := x.s.cfg.Catalog.Asset(f.key)
		if err != nil {
			return formats.Refuse(formats.Unavailable, "%s could not be kept, so its checksum cannot be told", t.Derive.File)
		}
		f.row = row
		return x.derived(der, t, f, &route{gen: gen, genSeen: gen.Load()})
	})
}

func (x *exchange) derived(der formats.Deriver, t formats.Target, f *found, rt *route) error {
	sum, _ := catalog.SumOf(f.row.Digests)
	blob, err := x.s.cfg.Store.OpenBlob(sum)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.key.File, err)
	}
	defer blob.Close()
	rep, err := der.Derive(t, f.row.HeldAsset, blob)
	if err != nil {
		return err
	}
	if x.tier == "none" {
		x.tier = "store"
	}
	c := &content{header: http.Header{}, modified: f.row.LastModified}
	for k, v := range rep.Header {
		c.header[http.CanonicalHeaderKey(k)] = v
	}
	c.etag = `"` + catalog.DigestOf(sum).Hex[:32] + "-" + sidecarTag(t.File) + `"`
	c.header["Etag"] = []string{c.etag}
	c.header["Cache-Control"] = immutableCache
	c.header["X-Content-Type-Options"] = nosniff
	c.header["Content-Length"] = []string{strconv.Itoa(len(rep.Body))}
	if !c.modified.IsZero() {
		c.header["Last-Modified"] = []string{c.modified.UTC().Format(http.TimeFormat)}
	}
	rt.content, rt.body, rt.labels = *c, "s"+c.etag, x.labelsFor(t)
	x.keep(rt, rep.Body)
	x.serveBytes(c, rep.Body, -1)
	return nil
}

// sidecarTag tells the files that are made from one blob apart, whatever their
// names hold and however long they are.
func sidecarTag(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:8])
}
