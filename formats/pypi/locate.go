package pypi

import (
	"context"
	"net/http"

	"larder/formats"
)

// acceptPage asks for JSON first: only JSON carries sizes, upload times and the
// list of versions. HTML is for indexes that have nothing else.
const acceptPage = typeJSON + ", " + typeV1HTML + ";q=0.2, " + typeHTML + ";q=0.1"

// Locate asks a registry for a project page, below the connection's URL, or for
// a file, where its row says.
func (f *Format) Locate(_ context.Context, c formats.Connection, t formats.Target, a *formats.Asset, _ formats.Docs) (formats.Fetch, error) {
	switch t.Kind {
	case formats.KindListing:
		return formats.Fetch{URL: c.URL + t.Name.Canon + "/", Header: http.Header{"Accept": {acceptPage}}}, nil
	case formats.KindAsset:
		if a == nil {
			return formats.Fetch{}, formats.Refuse(formats.NotFound, "the index does not list %s for %s", t.File, t.Name.Canon)
		}
		u, err := resolve(nil, a.URL)
		if err != nil {
			return formats.Fetch{}, formats.Refuse(formats.Upstream, "the index gives no usable address for %s", t.File).Because(err)
		}
		return formats.Fetch{URL: u.String(), Header: http.Header{"Accept": {"*/*"}}}, nil
	}
	return formats.Fetch{}, formats.Refuse(formats.NotFound, "the index has no such document")
}
