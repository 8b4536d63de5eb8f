package golang

import (
	"net/http"
	"strings"

	"golang.org/x/mod/module"

	"larder/formats"
)

const (
	maxPath    = 1024 // bytes of a module path, the limit of formats.Name
	maxVersion = 255  // bytes of a version or query
)

// Listing documents of a module. The main one ("") is @v/list.
const docLatest = "latest"

// Media types of the protocol's answers, as module proxies send them.
const (
	typeText = "text/plain; charset=UTF-8"
	typeJSON = "application/json"
	typeZip  = "application/zip"
)

// Route parses {module}/@v/list, {module}/@v/{version}.{info,mod,zip},
// {module}/@latest and sumdb/{database}/..., and PUT of a .zip. Whatever is not one of them is an
// immediate 404, because go get a/b/c probes every prefix of a path and waits
// for the answers.
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	reading := rq.Method == http.MethodGet || rq.Method == http.MethodHead
	if !reading && rq.Method != http.MethodPut {
		return formats.Target{}, formats.Refuse(formats.Method, "a module proxy answers GET and HEAD, and PUT of a module's zip")
	}
	segments := rq.Segments
	for _, s := range segments {
		if strings.Contains(s, "/") {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "an encoded slash is not part of a module path")
		}
	}
	if !reading {
		return routePublish(segments)
	}
	n := len(segments)
	switch {
	case n > 0 && segments[0] == "sumdb":
		return routeSumDB(segments[1:])
	case n >= 2 && segments[n-1] == "@latest":
		name, err := parseModule(segments[:n-1])
		if err != nil {
			return formats.Target{}, err
		}
		return formats.Target{Kind: formats.KindListing, Name: name, Doc: docLatest, Variant: docLatest, ContentType: typeJSON}, nil
	case n >= 3 && segments[n-2] == "@v":
		name, err := parseModule(segments[:n-2])
		if err != nil {
			return formats.Target{}, err
		}
		return routeFile(name, segments[n-1])
	}
	return formats.Target{}, formats.Refuse(formats.NotFound, "no such path of the module proxy protocol")
}

// parseModule decodes the case encoding of a module path ("!x" for "X").
func parseModule(segments []string) (formats.Name, error) {
	escaped := strings.Join(segments, "/")
	if len(escaped) > maxPath {
		return formats.Name{}, formats.Refuse(formats.NotFound, "module path is longer than %d bytes", maxPath)
	}
	path, err := module.UnescapePath(escaped)
	if err != nil {
		return formats.Name{}, formats.Refuse(formats.NotFound, "%q is not an escaped module path", escaped).Because(err)
	}
	return formats.Name{Canon: path}, nil
}

// routeFile parses what follows @v/.
func routeFile(name formats.Name, file string) (formats.Target, error) {
	if file == "list" {
		return formats.Target{Kind: formats.KindListing, Name: name, Variant: "list", ContentType: typeText}, nil
	}
	dot := strings.LastIndexByte(file, '.')
	if dot <= 0 || len(file) > maxVersion+len(".info") {
		return formats.Target{}, formats.Refuse(formats.NotFound, "no such file of module %s", name.Canon)
	}
	escaped, ext := file[:dot], file[dot+1:]
	version, err := module.UnescapeVersion(escaped)
	if err != nil {
		return formats.Target{}, formats.Refuse(formats.NotFound, "%q is not an escaped version", escaped).Because(err)
	}
	if ext != "info" && ext != "mod" && ext != "zip" {
		return formats.Target{}, formats.Refuse(formats.NotFound, "no such file of module %s", name.Canon)
	}
	if immutable(name.Canon, version) {
		return fileTarget(name, version, ext), nil
	}
	if ext != "info" {
		return formats.Target{}, formats.Refuse(formats.NotFound,
			"%s is not a canonical version of %s; ask for its .info first", version, name.Canon)
	}
	// A branch, tag or commit: it may name another version tomorrow.
	doc, err := queryDoc(name.Canon, version)
	if err != nil {
		return formats.Target{}, formats.Refuse(formats.NotFound, "%q is not a version query", version).Because(err)
	}
	return formats.Target{Kind: formats.KindDocument, Name: name, Version: version, Doc: doc,
		Fresh: formats.Revalidate, ContentType: typeJSON}, nil
}

// fileTarget is the target of a canonical version's file.
func fileTarget(name formats.Name, version, ext string) formats.Target {
	t := formats.Target{Kind: formats.KindAsset, Name: name, Version: version, File: version + "." + ext, Fresh: formats.Immutable}
	switch ext {
	case "info":
		t.ContentType = typeJSON
	case "mod":
		t.ContentType = typeText
	case "zip":
		t.ContentType = typeZip
	}
	return t
}

// immutable reports whether version, a tag's or a pseudo-version, names one
// state of the module for ever. A version whose major number does not fit the
// path is not one: a proxy resolves it, as it does a branch.
func immutable(path, version string) bool {
	return module.CanonicalVersion(version) == version && module.Check(path, version) == nil
}

// queryDoc is the document key of a mutable .info and, below the base of a
// proxy, the path to ask for after "query/".
func queryDoc(path, version string) (string, error) {
	escapedPath, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	escapedVersion, err := module.EscapeVersion(version)
	if err != nil {
		return "", err
	}
	return "query/" + escapedPath + "/@v/" + escapedVersion + ".info", nil
}
