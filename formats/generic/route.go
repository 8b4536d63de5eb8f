package generic

import (
	"net/http"
	"slices"
	"strings"

	"larder/formats"
)

// Renderings of a package's rows.
const (
	variantVersions = "versions"
	variantAssets   = "assets"
)

const typeJSON = "application/json"

// Route parses NAMESPACE/PACKAGE/VERSION/FILE and its beginnings.
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	parts := slices.Clone(rq.Segments)
	if n := len(parts); n > 0 && parts[n-1] == "" && n < 5 {
		parts = parts[:n-1] // lists end in a slash, or not
	}
	for _, s := range parts {
		if strings.Contains(s, "/") {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "an encoded slash is not part of a name")
		}
	}
	if len(parts) < 2 || len(parts) > 4 {
		return formats.Target{}, formats.Refuse(formats.NotFound, "paths here are NAMESPACE/PACKAGE/VERSION/FILE")
	}
	t := formats.Target{}
	var err error
	if t.Name, err = nameOf(parts[0], parts[1]); err != nil {
		return formats.Target{}, err
	}
	if len(parts) > 2 {
		t.Version = parts[2]
		if err := checkPart("version", t.Version); err != nil {
			return formats.Target{}, err
		}
	}
	if len(parts) > 3 {
		t.File = parts[3]
		if err := checkAsset(t.File); err != nil {
			return formats.Target{}, err
		}
	}
	return routeMethod(rq, t, len(parts))
}

// routeMethod completes the target of a clean path of n parts.
func routeMethod(rq *formats.Request, t formats.Target, n int) (formats.Target, error) {
	reading := rq.Method == http.MethodGet || rq.Method == http.MethodHead
	switch {
	case reading && n == 4:
		t.Kind, t.Fresh = formats.KindAsset, formats.Immutable
		return t, nil
	case reading:
		t.Kind, t.Variant, t.ContentType = formats.KindListing, variantVersions, typeJSON
		if n == 3 {
			t.Variant = variantAssets
		}
		return t, nil
	case rq.Method == http.MethodPut && n == 4:
		t.Kind, t.Deed, t.Fresh = formats.KindPublish, formats.DeedPublish, formats.NoStore
		return t, nil
	case rq.Method == http.MethodPut:
		return formats.Target{}, formats.Refuse(formats.Method, "files are put at NAMESPACE/PACKAGE/VERSION/FILE")
	case rq.Method == http.MethodDelete && n == 3:
		t.Kind, t.Deed, t.Fresh = formats.KindPublish, formats.DeedDelete, formats.NoStore
		return t, nil
	case rq.Method == http.MethodDelete:
		return formats.Target{}, formats.Refuse(formats.Method, "only a whole version is deleted: NAMESPACE/PACKAGE/VERSION/")
	}
	return formats.Target{}, formats.Refuse(formats.Method, "files are put, read and deleted by PUT, GET, HEAD and DELETE")
}
