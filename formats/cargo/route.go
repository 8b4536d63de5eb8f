package cargo

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"larder/formats"
)

// Renderings of a crate's rows.
const (
	variantIndex    = "index"
	variantVersions = "versions" // api/v1/crates/NAME/versions
)

const (
	typeIndex = "text/plain; charset=utf-8"
	typeJSON  = "application/json"
	typeCrate = "application/gzip"
)

// Route parses config.json, index files, and api/v1/crates below the endpoint.
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	segments := rq.Segments
	for _, s := range segments {
		if strings.Contains(s, "/") {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "an encoded slash is not part of a crate name")
		}
	}
	if len(segments) >= 3 && segments[0] == "api" && segments[1] == "v1" && segments[2] == "crates" {
		return routeAPI(rq, segments[3:])
	}
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		return formats.Target{}, formats.Refuse(formats.Method, "the index answers GET and HEAD only")
	}
	if len(segments) == 1 && segments[0] == "config.json" {
		return routeConfig(rq)
	}
	n := len(segments)
	if n < 2 || n > 3 || !validName(segments[n-1]) {
		return formats.Target{}, formats.Refuse(formats.NotFound, "no such path of a sparse index")
	}
	name := segments[n-1]
	if strings.Join(segments[:n-1], "/") != indexDir(name) || name != strings.ToLower(name) {
		return formats.Target{}, formats.Refuse(formats.NotFound, "the index file of %s is %s/%s", name,
			indexDir(strings.ToLower(name)), strings.ToLower(name))
	}
	return formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: name}, Variant: variantIndex, ContentType: typeIndex}, nil
}

// indexConfig is config.json (The Cargo Book, "Index configuration").
type indexConfig struct {
	DL  string `json:"dl"`
	API string `json:"api,omitempty"`
}

// routeConfig answers with our own base; the upstream's places are the proxy's
// business.
func routeConfig(rq *formats.Request) (formats.Target, error) {
	body, err := json.Marshal(indexConfig{DL: rq.Base + "/api/v1/crates/{crate}/{version}/download", API: rq.Base})
	if err != nil {
		return formats.Target{}, formats.Refuse(formats.Internal, "config.json could not be written").Because(err)
	}
	return formats.Target{Kind: formats.KindLocal, Reply: formats.JSONReply(http.StatusOK, string(body)+"\n")}, nil
}

// routeAPI parses what follows api/v1/crates.
func routeAPI(rq *formats.Request, rest []string) (formats.Target, error) {
	reading := rq.Method == http.MethodGet || rq.Method == http.MethodHead
	if len(rest) == 1 && rest[0] == "" {
		rest = nil // api/v1/crates/
	}
	switch {
	case !reading && len(rest) == 1 && rest[0] == "new":
		return formats.Target{}, formats.Refuse(formats.NotSupported, "publishing crates is not offered by this repository")
	case !reading:
		return formats.Target{}, formats.Refuse(formats.NotSupported, "yanking and owner changes are not offered by this repository")
	case len(rest) == 0:
		return routeSearch(rq)
	case !validName(rest[0]):
		return formats.Target{}, formats.Refuse(formats.NotFound, "%.80q is not a crate name", rest[0])
	case len(rest) == 2 && rest[1] == "versions":
		return formats.Target{Kind: formats.KindListing, Name: nameOf(rest[0]), Variant: variantVersions, ContentType: typeJSON}, nil
	case len(rest) == 3 && rest[2] == "download":
		if !validVersion(rest[1]) {
			return formats.Target{}, formats.Refuse(formats.NotFound, "%.80q is not a version of %s", rest[1], rest[0])
		}
		name := nameOf(rest[0])
		return formats.Target{Kind: formats.KindAsset, Name: name, Version: rest[1], File: crateFile(name.Canon, rest[1]),
			Fresh: formats.Immutable, Prime: true, ContentType: typeCrate}, nil
	}
	return formats.Target{}, formats.Refuse(formats.NotSupported,
		"this repository offers the index, downloads, the version list and search; not api/v1/crates/%s", strings.Join(rest, "/"))
}

// maxQuery bounds a search, encoded, in bytes.
const maxQuery = 1 << 10

// routeSearch keeps the parameters that the web API knows, in one order, so
// that nothing else a client sends reaches the registry outside.
func routeSearch(rq *formats.Request) (formats.Target, error) {
	kept := make(url.Values)
	for _, key := range []string{"q", "per_page", "page", "sort", "category", "keyword"} {
		if v := rq.Query.Get(key); v != "" {
			kept.Set(key, v)
		}
	}
	doc := "api/v1/crates?" + kept.Encode()
	if len(doc) > maxQuery {
		return formats.Target{}, formats.Refuse(formats.BadRequest, "the search is longer than %d bytes", maxQuery)
	}
	return formats.Target{Kind: formats.KindSearch, Doc: doc, Fresh: formats.NoStore, ContentType: typeJSON}, nil
}
