package npm

import (
	"net/http"
	"strings"

	"larder/formats"
)

// routeWrite parses what changes a package (libnpmpublish, npm's deprecate):
//
//	PUT    /NAME                          publish, deprecate
//	PUT    /NAME/-rev/REV                 unpublish a version: the packument without it
//	DELETE /NAME/-/FILE/-rev/REV          and then its tarball
//	DELETE /NAME/-rev/REV                 unpublish all versions
func routeWrite(rq *formats.Request, name formats.Name, rest []string) (formats.Target, error) {
	t := formats.Target{Kind: formats.KindPublish, Name: name, Fresh: formats.NoStore}
	switch {
	case rq.Method == http.MethodPut && len(rest) == 0:
		t.Doc = docPackument
		// The body tells what it is, and Change.Deed what it came to; npm's word
		// lets policy look at the right permission before the body is read.
		switch strings.ToLower(rq.Header.Get(headerCommand)) {
		case "deprecate", "undeprecate":
			t.Deed = formats.DeedMetadata
		}
		return t, nil
	case len(rest) == 2 && rest[0] == "-rev" && rq.Method == http.MethodPut:
		t.Doc, t.Deed, t.Variant = docRevision, formats.DeedDelete, rest[1]
		return t, nil
	case len(rest) == 2 && rest[0] == "-rev" && rq.Method == http.MethodDelete:
		t.Doc, t.Deed, t.Variant = docWhole, formats.DeedDelete, rest[1]
		return t, nil
	case len(rest) > 3 && rest[0] == "-" && rest[len(rest)-2] == "-rev" && rq.Method == http.MethodDelete:
		file, err := routeTarball(name, rest[1:len(rest)-2])
		if err != nil {
			return formats.Target{}, err
		}
		t.Doc, t.Deed, t.Version, t.File = docTarball, formats.DeedDelete, file.Version, file.File
		return t, nil
	}
	if err := reads(rq); err != nil {
		return formats.Target{}, err
	}
	return formats.Target{}, notFound(rq)
}

// routeTag parses PUT and DELETE /-/package/NAME/dist-tags/TAG (and npm's POST,
// which it once used instead of PUT). The target's Variant is the tag.
func routeTag(rq *formats.Request, name formats.Name, tag string) (formats.Target, error) {
	switch rq.Method {
	case http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		if err := reads(rq); err != nil {
			return formats.Target{}, err
		}
		return formats.Target{}, notFound(rq)
	}
	if !validTag(tag) {
		return formats.Target{}, formats.Refuse(formats.BadRequest, "%q cannot be a dist-tag", clip(tag))
	}
	return formats.Target{Kind: formats.KindPublish, Name: name, Doc: docTag, Variant: tag, Deed: formats.DeedMetadata, Fresh: formats.NoStore}, nil
}

// routeWhoami answers who asks. The site's word is told and no name that the
// client sent.
func routeWhoami(rq *formats.Request) (formats.Target, error) {
	if rq.Principal == "" {
		return formats.Target{}, formats.Refuse(formats.Unauthorized, "not logged in: %s", howToLogin(rq))
	}
	t := local(formats.JSONReply(http.StatusOK, string(append(appendString([]byte(`{"username":`), rq.Principal), '}'))))
	t.Auth = true
	return t, nil
}

// howToLogin says what takes the place of npm login.
func howToLogin(rq *formats.Request) string {
	base := strings.TrimPrefix(strings.TrimPrefix(rq.Base, "https:"), "http:")
	return "there are no passwords here; use `aws codeartifact login --tool npm`, or give npm a token: npm config set " + base + "/:_authToken TOKEN"
}

// noAccounts refuses, in words, what npm has for accounts and for services of
// the public registry. nil where the path is none of them.
func noAccounts(rq *formats.Request, path string, segs []string) error {
	switch {
	case path == "-/v1/login" || segs[0] == "user" && rq.Method == http.MethodPut:
		return formats.Refuse(formats.NotSupported, "npm login is not offered: %s", howToLogin(rq))
	case len(segs) > 1 && segs[0] == "user" && segs[1] == "token":
		return formats.Refuse(formats.NotSupported, "npm logout is not offered: a token ends when its time is over; take it out of .npmrc")
	case path == keysPath || strings.HasPrefix(path, attestationsPath):
		return nil
	case segs[0] == "stage":
		return formats.Refuse(formats.NotSupported, "staged publishing is not offered by this repository")
	case path == "-/all", segs[0] == "user", segs[0] == "org", segs[0] == "team", segs[0] == "_view",
		strings.HasPrefix(path, "-/npm/v1/"):
		return formats.Refuse(formats.NotSupported, "/%s is not offered by this repository", clip(path))
	}
	return nil
}
