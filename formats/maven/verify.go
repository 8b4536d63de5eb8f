package maven

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"larder/formats"
)

// Expect finds what the upstream says of a file's digest: in the response's own
// headers, else in the .sha1 file beside it, else in the .md5 file. Where there
// is none of these the first bytes seen are trusted, and pinned by the ledger.
//
// A checksum file that is no checksum file (an HTML page with status 200)
// refuses the asset: whoever can put a login page into the place of the checksum
// could otherwise switch verification off. An empty one counts as absent. One
// that is forbidden (403) is passed over for the next kind, but if no kind can be
// read the asset is refused: it does not become one that has no checksum.
func (f *Format) Expect(ctx context.Context, _ formats.Connection, t formats.Target, a *formats.Asset, h http.Header, docs formats.Docs) (formats.Want, error) {
	var w formats.Want
	if a != nil {
		w.Digests, w.Size = append(w.Digests, a.Digests...), a.Size
	}
	for _, d := range headerDigests(h) {
		if was, ok := formats.Find(w.Digests, d.Alg); ok {
			if was != d {
				return w, formats.Refuse(formats.Upstream, "%s: the registry's header says %s, known is %s", t.File, d, was)
			}
			continue
		}
		w.Digests = append(w.Digests, d)
	}
	if len(w.Digests) == 0 || len(w.Digests) == 1 && w.Digests[0].Alg == formats.MD5 {
		d, err := siblingDigest(ctx, t, docs, len(w.Digests) == 0)
		if err != nil {
			return w, err
		}
		w.Digests = append(w.Digests, d...)
	}
	w.Whole = len(w.Digests) == 0 || strings.Contains(h.Get("Content-Type"), "html")
	return w, nil
}

func siblingDigest(ctx context.Context, t formats.Target, docs formats.Docs, alsoMD5 bool) ([]formats.Digest, error) {
	algs := []formats.Alg{formats.SHA1}
	if alsoMD5 {
		algs = append(algs, formats.MD5)
	}
	var forbidden *formats.Refusal
	for _, alg := range algs {
		body, err := docs.Document(ctx, siblingTarget(t, alg))
		if errors.Is(err, formats.ErrNoDocument) {
			continue
		}
		if r := (*formats.Refusal)(nil); errors.As(err, &r) && r.Code() == http.StatusForbidden {
			forbidden = r
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s file of %s: %w", alg, t.File, err)
		}
		d, err := parseChecksum(alg, body, t.File)
		if errors.Is(err, errNoChecksum) {
			continue
		}
		if err != nil {
			return nil, formats.Refuse(formats.Upstream, "the registry's %s file of %s is not a checksum file", alg, t.File).Because(err)
		}
		return []formats.Digest{d}, nil
	}
	if forbidden != nil && alsoMD5 {
		return nil, &formats.Refusal{Kind: formats.Upstream, Status: http.StatusForbidden, Err: forbidden,
			Message: "the registry gives " + t.File + " but forbids its checksum files, so it cannot be verified"}
	}
	return nil, nil
}

// siblingTarget is the upstream's checksum file. It is needed once, while its
// asset is filled; clients get checksums of the held bytes.
func siblingTarget(t formats.Target, alg formats.Alg) formats.Target {
	return formats.Target{
		Kind: formats.KindDocument, Name: t.Name, Version: t.Version, File: t.File + "." + string(alg),
		Doc: pathOf(t) + "." + string(alg), Fresh: formats.NoStore, ContentType: checksumType,
	}
}

// Check refuses an HTML page in the place of a file that is none. It is asked
// for where no digest is known, or the upstream itself called the file HTML.
func (f *Format) Check(_ context.Context, t formats.Target, file formats.File, _ formats.Want) error {
	if strings.HasSuffix(t.File, ".html") || strings.HasSuffix(t.File, ".htm") {
		return nil
	}
	head := make([]byte, min(file.Size(), 1024))
	if _, err := file.ReadAt(head, 0); err != nil && len(head) > 0 {
		return fmt.Errorf("read start of %s: %w", t.File, err)
	}
	if isHTML(head) {
		return formats.Refuse(formats.Upstream, "the registry sent an HTML page in the place of %s", t.File)
	}
	return nil
}

// isHTML reports whether head begins like an HTML page, after a byte order
// mark, white space, an XML declaration and comments.
func isHTML(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\ufeff"))
	for {
		head = bytes.TrimLeft(head, " \t\r\n")
		end := ""
		switch {
		case bytes.HasPrefix(head, []byte("<!--")):
			end = "-->"
		case bytes.HasPrefix(head, []byte("<?xml")):
			end = "?>"
		default:
			low := bytes.ToLower(head[:min(len(head), 32)])
			for _, tag := range []string{"<!doctype html", "<html", "<head", "<body"} {
				if bytes.HasPrefix(low, []byte(tag)) {
					return true
				}
			}
			return false
		}
		i := bytes.Index(head, []byte(end))
		if i < 0 {
			return false
		}
		head = head[i+len(end):]
	}
}
