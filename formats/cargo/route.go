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
	variantYank     = "yank"     // a write
	variantUnyank   = "unyank"   // a write
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
	if !reading(rq) {
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
	DL   string `json:"dl"`
	API  string `json:"api,omitempty"`
	Auth bool   `json:"auth-required,omitempty"`
}

// routeConfig answers with our own base; the upstream's places are the proxy's
// business. Where reading needs a credential, cargo learns it here: the first
// config.json, asked for without one, is challenged, and from the second on
// cargo sends its token with all requests ("auth-required").
func routeConfig(rq *formats.Request) (formats.Target, error) {
	body, err := json.Marshal(indexConfig{DL: rq.Base + "/api/v1/crates/{crate}/{version}/download", API: rq.Base, Auth: rq.Auth})
	if err != nil {
		return formats.Target{}, formats.Refuse(formats.Internal, "config.json could not be written").Because(err)
	}
	return formats.Target{Kind: formats.KindLocal, Auth: rq.Auth, Reply: formats.JSONReply(http.StatusOK, string(body)+"\n")}, nil
}

func reading(rq *formats.Request) bool {
	return rq.Method == http.MethodGet || rq.Method == http.MethodHead
}

// noOwners says why the calls of cargo owner are refused.
const noOwners = "crates have no owners here: who may publish a crate is a matter of this site's policies"

// routeWrite parses publish, yank and unyank (The Cargo Book, "Web API").
func routeWrite(rq *formats.Request, rest []string) (formats.Target, error) {
	switch {
	case len(rest) == 1 && rest[0] == "new":
		if rq.Method != http.MethodPut {
			return formats.Target{}, formats.Refuse(formats.Method, "crates are published by PUT")
		}
		return formats.Target{Kind: formats.KindPublish, Deed: formats.DeedPublish, Fresh: formats.NoStore}, nil
	case len(rest) == 2 && rest[1] == "owners":
		return formats.Target{}, formats.Refuse(formats.NotSupported, noOwners)
	case len(rest) == 3 && (rest[2] == variantYank && rq.Method == http.MethodDelete || rest[2] == variantUnyank && rq.Method == http.MethodPut):
		if !validName(rest[0]) || !validVersion(rest[1]) {
			return formats.Target{}, formats.Refuse(formats.NotFound, "%.80q %.80q is not a version of a crate", rest[0], rest[1])
		}
		return formats.Target{Kind: formats.KindPublish, Deed: formats.DeedMetadata, Name: nameOf(rest[0]), Version: rest[1],
			Variant: rest[2], Fresh: formats.NoStore}, nil
	}
	return formats.Target{}, formats.Refuse(formats.Method, "nothing is written at this path; crates are published, yanked and unyanked")
}

// routeAPI parses what follows api/v1/crates.
func routeAPI(rq *formats.Request, rest []string) (formats.Target, error) {
	if len(rest) == 1 && rest[0] == "" {
		rest = nil // api/v1/crates/
	}
	switch {
	case !reading(rq):
		return routeWrite(rq, rest)
	case len(rest) == 0:
		return routeSearch(rq)
	case !validName(rest[0]):
		return formats.Target{}, formats.Refuse(formats.NotFound, "%.80q is not a crate name", rest[0])
	case len(rest) == 2 && rest[1] == "owners":
		return formats.Target{}, formats.Refuse(formats.NotSupported, noOwners)
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
