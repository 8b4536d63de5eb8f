package npm

import (
	"net/http"
	"net/url"
	"strings"

	"larder/formats"
)

// Paths below the registry's "-" that are kept whole or passed on. They are the
// Doc of their targets and are appended to the connection's URL.
const (
	keysPath         = "-/npm/v1/keys"
	attestationsPath = "-/npm/v1/attestations/"
	bulkPath         = "-/npm/v1/security/advisories/bulk"
	auditPath        = "-/npm/v1/security/audits"
	quickPath        = "-/npm/v1/security/audits/quick"
	searchPath       = "-/v1/search"
)

// maxSearchText bounds a search text in bytes; the registry itself cuts at 64
// characters.
const maxSearchText = 256

// Route parses a request of the npm registry protocol:
//
//	/                                    what kind of registry this is
//	/NAME                                packument
//	/NAME/VERSION-OR-TAG                 version document
//	/NAME/-/STEM-VERSION.tgz             tarball
//	/-/package/NAME/dist-tags            dist-tags
//	/-/npm/v1/attestations/NAME@VERSION  attestations
//	/-/npm/v1/keys, /-/v1/search, /-/npm/v1/security/..., /-/ping, /-/whoami
//
// NAME may be scoped, as "@scope%2fname" or "@scope/name". What writes is in
// routeWrite and routeTag.
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	segs := rq.Segments
	if n := len(segs); n > 0 && segs[n-1] == "" {
		segs = segs[:n-1]
	}
	if len(segs) == 0 {
		if err := reads(rq); err != nil {
			return formats.Target{}, err
		}
		return local(formats.JSONReply(http.StatusOK, "{}")), nil
	}
	if segs[0] == "-" && len(segs) > 1 && segs[1] != "-" {
		return routeService(rq, segs[1:])
	}
	name, rest, ok := cutName(segs)
	if !ok {
		return formats.Target{}, formats.Refuse(formats.NotFound, "%q is not an npm package name", clip(segs[0]))
	}
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		return routeWrite(rq, name, rest)
	}
	t := formats.Target{Kind: formats.KindListing, Name: name, Fresh: formats.Revalidate}
	switch {
	case len(rest) == 0 && rq.Query.Get("write") == "true":
		t.Variant = variantWrite
		return t, nil
	case len(rest) == 0:
		t.Variant = negotiate(rq.Header)
		return t, nil
	case rest[0] == "-" && len(rest) > 1:
		return routeTarball(name, rest[1:])
	case len(rest) == 1 && validTag(rest[0]):
		t.Variant, t.Version = variantVersion, rest[0]
		return t, nil
	}
	return formats.Target{}, notFound(rq)
}

// cutName takes the package name off the front of a path.
func cutName(segs []string) (n formats.Name, rest []string, ok bool) {
	if s := segs[0]; strings.HasPrefix(s, "@") && !strings.Contains(s, "/") {
		if len(segs) < 2 || strings.Contains(segs[1], "/") {
			return formats.Name{}, nil, false
		}
		n, ok = parseName(s + "/" + segs[1])
		return n, segs[2:], ok
	}
	n, ok = parseName(segs[0])
	return n, segs[1:], ok
}

// routeTarball parses what follows "/-/". Some registries spell the scope again
// before the file, and lockfiles keep that.
func routeTarball(name formats.Name, rest []string) (formats.Target, error) {
	file := strings.Join(rest, "/")
	if name.NS != "" {
		file = strings.TrimPrefix(file, "@"+name.NS+"/")
	}
	v, ok := tarballVersion(name.Canon, file)
	if !ok {
		return formats.Target{}, formats.Refuse(formats.NotFound,
			"%s is not a tarball of %s: expected %s", clip(file), name.Canon, tarballFile(name.Canon, "VERSION"))
	}
	return formats.Target{
		Kind: formats.KindAsset, Name: name, Version: v, File: file,
		Fresh: formats.Immutable, Prime: true, ContentType: "application/octet-stream",
	}, nil
}

// routeService parses what follows the registry's own "/-/".
func routeService(rq *formats.Request, segs []string) (formats.Target, error) {
	path := "-/" + strings.Join(segs, "/")
	switch {
	case path == bulkPath || path == auditPath || path == quickPath:
		if rq.Method != http.MethodPost {
			return formats.Target{}, formats.Refuse(formats.Method, "/%s takes POST", path)
		}
		return formats.Target{Kind: formats.KindPass, Doc: path, Fresh: formats.NoStore, ContentType: mediaFull}, nil
	case segs[0] == "package":
		return routePackage(rq, segs[1:])
	}
	if err := noAccounts(rq, path, segs); err != nil {
		return formats.Target{}, err
	}
	if err := reads(rq); err != nil {
		return formats.Target{}, err
	}
	switch {
	case path == "-/ping":
		return local(formats.JSONReply(http.StatusOK, "{}")), nil
	case path == "-/whoami":
		return routeWhoami(rq)
	case path == keysPath:
		return document(keysPath), nil
	case strings.HasPrefix(path, attestationsPath):
		return routeAttestations(rq, strings.TrimPrefix(path, attestationsPath))
	case path == searchPath:
		if len(rq.Query.Get("text")) > maxSearchText {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "the search text is longer than %d bytes", maxSearchText)
		}
		return formats.Target{Kind: formats.KindSearch, Doc: searchPath + searchQuery(rq.Query), Fresh: formats.NoStore, ContentType: mediaFull}, nil
	}
	return formats.Target{}, notFound(rq)
}

// routePackage parses what follows "/-/package/".
func routePackage(rq *formats.Request, segs []string) (formats.Target, error) {
	if len(segs) == 0 {
		return formats.Target{}, notFound(rq)
	}
	name, rest, ok := cutName(segs)
	switch {
	case !ok:
		return formats.Target{}, formats.Refuse(formats.NotFound, "%q is not an npm package name", clip(segs[0]))
	case len(rest) > 2 || len(rest) == 0:
		return formats.Target{}, notFound(rq)
	case rest[0] == "visibility" && len(rest) == 1 && rq.Method == http.MethodGet:
		return local(formats.JSONReply(http.StatusOK, `{"public":false}`)), nil // npm asks before it makes a provenance
	case rest[0] != "dist-tags":
		return formats.Target{}, formats.Refuse(formats.NotSupported,
			"access, collaborators and the like of %s are not kept by this repository: policy decides who may do what", name.Canon)
	case len(rest) == 2:
		return routeTag(rq, name, rest[1])
	}
	if rq.Method == http.MethodPut || rq.Method == http.MethodPost {
		return formats.Target{}, formats.Refuse(formats.NotSupported, "tags are set one by one, at /-/package/NAME/dist-tags/TAG")
	}
	if err := reads(rq); err != nil {
		return formats.Target{}, err
	}
	return formats.Target{Kind: formats.KindListing, Name: name, Variant: variantTags, Fresh: formats.Revalidate}, nil
}

// routeAttestations parses NAME@VERSION.
func routeAttestations(rq *formats.Request, spec string) (formats.Target, error) {
	i := strings.LastIndexByte(spec, '@')
	if i <= 0 {
		return formats.Target{}, notFound(rq)
	}
	name, ok := parseName(spec[:i])
	if !ok || !validVersion(spec[i+1:]) {
		return formats.Target{}, notFound(rq)
	}
	t := document(attestationsPath + spec)
	t.Name, t.Version = name, spec[i+1:]
	bundle := formats.Target{Kind: formats.KindAsset, Name: name, Version: t.Version, File: bundleFile(name.Canon, t.Version),
		Fresh: formats.Immutable, ContentType: mediaFull}
	hosted := bundle
	hosted.Kind, hosted.Derive = formats.KindSidecar, &bundle
	t.Hosted = &hosted
	return t, nil
}

func document(path string) formats.Target {
	return formats.Target{Kind: formats.KindDocument, Doc: path, Fresh: formats.Revalidate, ContentType: mediaFull}
}

func local(r *formats.Reply) formats.Target {
	return formats.Target{Kind: formats.KindLocal, Reply: r, Fresh: formats.NoStore}
}

// reads refuses what would write where nothing can be written.
func reads(rq *formats.Request) error {
	switch rq.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	case http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch:
		return formats.Refuse(formats.Method, "%s is no way to ask for /%s", rq.Method, clip(rq.Path))
	}
	return formats.Refuse(formats.Method, "method %s is not part of the npm registry protocol", clip(rq.Method))
}

func notFound(rq *formats.Request) error {
	return formats.Refuse(formats.NotFound, "/%s is not a path of the npm registry protocol", clip(rq.Path))
}

// clip bounds what a message repeats of a request.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// searchQuery keeps the parameters that the search endpoint knows, in one
// spelling.
func searchQuery(q url.Values) string {
	keep := url.Values{}
	for _, k := range [...]string{"text", "size", "from", "quality", "popularity", "maintenance"} {
		if v := q.Get(k); v != "" && (k == "text" || len(v) <= 20) {
			keep.Set(k, v)
		}
	}
	if len(keep) == 0 {
		return ""
	}
	return "?" + keep.Encode()
}
