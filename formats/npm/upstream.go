package npm

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"larder/formats"
)

// Options of an npm connection.
const (
	// optScope limits a connection to one scope ("@myorg"): it is asked for
	// nothing else.
	optScope = "scope"
	// optOtherScopes lists, comma separated, scopes that belong to another
	// connection and must never be asked of this one.
	optOtherScopes = "other_scopes"
)

// Locate returns the upstream request for t.
//
// A packument is always asked for in full: the abbreviated one lacks times and
// signatures of meaning to others, and both are rendered from the same rows.
// ErrNoDocument is returned for a scope that is not this connection's.
func (f *Format) Locate(_ context.Context, c formats.Connection, t formats.Target, a *formats.Asset, _ formats.Docs) (formats.Fetch, error) {
	if t.Name.Canon != "" && !carries(c, t.Name) {
		return formats.Fetch{}, formats.ErrNoDocument
	}
	switch t.Kind {
	case formats.KindListing:
		return formats.Fetch{URL: c.URL + escapeName(t.Name.Canon), Header: http.Header{"Accept": {mediaFull}}}, nil
	case formats.KindAsset:
		return locateTarball(c, t, a)
	case formats.KindPass:
		return formats.Fetch{Method: http.MethodPost, URL: c.URL + t.Doc, Header: http.Header{"Accept": {mediaFull}}}, nil
	case formats.KindDocument, formats.KindSearch:
		path := t.Doc
		if t.Name.Canon != "" { // attestations
			path = attestationsPath + escapeName(t.Name.Canon) + "@" + url.PathEscape(t.Version)
		}
		return formats.Fetch{URL: c.URL + path, Header: http.Header{"Accept": {mediaFull}}}, nil
	}
	return formats.Fetch{}, formats.Refuse(formats.Internal, "npm has no upstream request for a %s target", t.Kind)
}

func carries(c formats.Connection, n formats.Name) bool {
	if s := c.Options[optScope]; s != "" {
		return s == "@"+n.NS
	}
	if n.NS == "" {
		return true
	}
	return !slices.Contains(strings.Split(c.Options[optOtherScopes], ","), "@"+n.NS)
}

// locateTarball asks where the packument says the tarball is. Registries behind
// a proxy often write http:// there although they are reached by https://; the
// connection's own scheme is right for its own host.
func locateTarball(c formats.Connection, t formats.Target, a *formats.Asset) (formats.Fetch, error) {
	h := http.Header{"Accept": {"application/octet-stream, */*;q=0.5"}}
	if a != nil && string(a.Aux) == badIntegrity {
		return formats.Fetch{}, formats.Refuse(formats.Upstream,
			"the registry's checksum of %s %s cannot be read, so the tarball cannot be verified", t.Name.Show(), t.Version)
	}
	if a == nil || a.URL == "" {
		return formats.Fetch{URL: c.URL + t.Name.Canon + "/-/" + url.PathEscape(t.File), Header: h}, nil
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return formats.Fetch{}, formats.Refuse(formats.Upstream, "the registry's address of %s cannot be read", t.File).Because(err)
	}
	if own, err := url.Parse(c.URL); err == nil && u.Hostname() == own.Hostname() && u.Scheme != own.Scheme && u.Port() == "" {
		u.Scheme, u.Host = own.Scheme, own.Host
	}
	return formats.Fetch{URL: u.String(), Header: h}, nil
}

// Expect demands what the packument promised. A tarball of before 2010 without
// any digest must at least be a gzip file and not, say, an error page.
func (f *Format) Expect(_ context.Context, _ formats.Connection, t formats.Target, a *formats.Asset, _ http.Header, _ formats.Docs) (formats.Want, error) {
	if a == nil {
		return formats.Want{}, formats.Refuse(formats.NotFound, "no version of %s has a file %s", t.Name.Show(), t.File)
	}
	if string(a.Aux) == badIntegrity {
		return formats.Want{}, formats.Refuse(formats.Upstream, "the registry's checksum of %s cannot be read", t.File)
	}
	return formats.Want{Digests: a.Digests, Size: a.Size, Whole: len(a.Digests) == 0}, nil
}

// Check looks at a tarball that no digest vouches for.
func (f *Format) Check(_ context.Context, t formats.Target, file formats.File, _ formats.Want) error {
	var magic [2]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil || magic != [2]byte{0x1f, 0x8b} {
		return formats.Refuse(formats.Upstream, "what the registry sent for %s is not a tarball", t.File).Because(err)
	}
	return nil
}

// Available: a version can be installed offline if its tarball is held, or if it
// is made for some platforms only. The latter are optional dependencies whose
// manifest every client resolves and whose tarball only some fetch; were they
// hidden, Yarn 4 could resolve no package that has one for each platform. A
// version without a manifest cannot be listed.
func (f *Format) Available(v *formats.Version) (*formats.Version, bool) {
	if len(v.Raw) == 0 || len(v.Assets) == 0 {
		return v, false
	}
	if _, ok := v.Held[v.Assets[0].File]; ok {
		return v, true
	}
	return v, platformBound(v.Raw)
}
