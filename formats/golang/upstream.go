package golang

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/mod/module"

	"larder/formats"
)

// Locate returns the proxy's URL of a module file, or the checksum database's
// of a database path. A Refusal of kind NotFound means that this connection has
// no such thing and the next one may be asked; Forbidden means that no
// connection may be.
func (f *Format) Locate(ctx context.Context, c formats.Connection, t formats.Target, a *formats.Asset, docs formats.Docs) (formats.Fetch, error) {
	if path, ok := strings.CutPrefix(t.Doc, sumdbPrefix); ok {
		return locateSumDB(ctx, c, path, docs)
	}
	if query, ok := strings.CutPrefix(t.Doc, "query/"); ok {
		return formats.Fetch{URL: join(c.URL, query)}, nil
	}
	path, err := module.EscapePath(t.Name.Canon)
	if err != nil {
		return formats.Fetch{}, fmt.Errorf("locate %s: %w", t.Name.Canon, err)
	}
	switch t.Kind {
	case formats.KindListing:
		if t.Doc == docLatest {
			return formats.Fetch{URL: join(c.URL, path+"/@latest")}, nil
		}
		return formats.Fetch{URL: join(c.URL, path+"/@v/list")}, nil
	case formats.KindAsset:
		ext, ok := strings.CutPrefix(t.File, t.Version+".")
		if !ok {
			return formats.Fetch{}, formats.Refuse(formats.NotFound, "%s is no file of %s %s", t.File, t.Name.Canon, t.Version)
		}
		version, err := module.EscapeVersion(t.Version)
		if err != nil {
			return formats.Fetch{}, fmt.Errorf("locate %s: %w", t.Version, err)
		}
		return formats.Fetch{URL: join(c.URL, path+"/@v/"+version+"."+ext)}, nil
	}
	return formats.Fetch{}, formats.Refuse(formats.NotFound, "a module proxy has no %s", t.Kind)
}

// join appends a clean, decoded path to a base URL that ends in a slash.
func join(base, path string) string {
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return base + strings.Join(segments, "/")
}
