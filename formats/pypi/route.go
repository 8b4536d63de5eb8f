package pypi

import (
	"net/http"

	"larder/formats"
)

// Route parses a request below a repository's endpoint:
//
//	simple/NAME/                          project page
//	simple/NAME/VERSION/FILE              distribution file, or a companion
//	integrity/NAME/VERSION/FILE/provenance provenance object (PEP 740)
//	pypi/NAME/json, pypi/NAME/VERSION/json project JSON API, a subset
//	POST to the endpoint itself or legacy/  upload
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	if rq.Method == http.MethodPost {
		return routeUpload(rq)
	}
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		return formats.Target{}, refuseMethod(rq)
	}
	seg := rq.Segments
	if len(seg) == 0 {
		seg = []string{""}
	}
	switch seg[0] {
	case "simple":
		return routeSimple(rq, seg[1:])
	case "integrity":
		if len(seg) == 5 && seg[4] == "provenance" {
			return routeFile(seg[1], seg[2], seg[3]+provenanceSuffix)
		}
	case "pypi":
		return routeProject(seg[1:])
	case "":
		return formats.Target{}, formats.Refuse(formats.NotFound,
			"nothing is served here; the package index of this repository is at %s/simple/", rq.Base)
	}
	return formats.Target{}, notServed()
}

// routeUpload accepts what clients are configured with: the endpoint, or the
// path that the public index has. Which project it is stands in the body.
func routeUpload(rq *formats.Request) (formats.Target, error) {
	seg := rq.Segments
	if n := len(seg); n > 0 && seg[n-1] == "" {
		seg = seg[:n-1]
	}
	switch {
	case len(seg) == 0, len(seg) == 1 && seg[0] == "legacy":
		return formats.Target{Kind: formats.KindPublish, Deed: formats.DeedPublish, Fresh: formats.NoStore}, nil
	case seg[0] == "pypi":
		return formats.Target{}, formats.Refuse(formats.NotFound, "XML-RPC is not offered; uploads go to %s/", rq.Base)
	}
	return formats.Target{}, refuseMethod(rq)
}

func refuseMethod(rq *formats.Request) *formats.Refusal {
	if rq.Method == http.MethodPost || rq.Method == http.MethodPut {
		return formats.Refuse(formats.Method, "uploads go to %s/ by POST, not here", rq.Base)
	}
	return formats.Refuse(formats.Method, "a package index answers GET and HEAD, and POST for uploads")
}

func notServed() *formats.Refusal {
	return formats.Refuse(formats.NotFound, "no such page of a Python package index")
}

func badName() *formats.Refusal {
	return formats.Refuse(formats.BadRequest, "this is not a Python project name")
}

func routeSimple(rq *formats.Request, seg []string) (formats.Target, error) {
	if len(seg) == 0 || len(seg) == 1 && seg[0] == "" {
		return formats.Target{}, formats.Refuse(formats.NotFound,
			"the list of all projects is not served; ask for one project at simple/NAME/")
	}
	if !validName(seg[0]) {
		return formats.Target{}, badName()
	}
	canon := normalizeName(seg[0])
	switch {
	case len(seg) == 1:
		return redirect(rq, canon+"/"), nil
	case len(seg) == 2 && seg[1] == "" && seg[0] != canon:
		return redirect(rq, "../"+canon+"/"), nil
	case len(seg) == 2 && seg[1] == "":
		variant, ok := negotiate(rq.Query, rq.Header)
		if !ok {
			return formats.Target{}, formats.Refuse(formats.NotAcceptable,
				"a project page is available as %s, %s and %s", typeJSON, typeV1HTML, typeHTML)
		}
		return formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: canon}, Variant: variant}, nil
	case len(seg) == 3:
		return routeFile(seg[0], seg[1], seg[2])
	}
	return formats.Target{}, notServed()
}

// redirect answers 301 with a relative reference, which holds whatever prefix
// or scheme a proxy in front of us has put before the path.
func redirect(rq *formats.Request, to string) formats.Target {
	if q := rq.Query.Encode(); q != "" {
		to += "?" + q
	}
	reply := formats.TextReply(http.StatusMovedPermanently, "moved to "+to)
	reply.Header.Set("Location", to)
	return formats.Target{Kind: formats.KindLocal, Reply: reply}
}

// routeFile takes the version from the file name, not from the URL: a URL
// cannot claim another version than the one policy decides on.
func routeFile(nameText, versionText, file string) (formats.Target, error) {
	if !validName(nameText) {
		return formats.Target{}, badName()
	}
	if !cleanSegment(versionText) || !cleanSegment(file) {
		return formats.Target{}, formats.Refuse(formats.BadRequest, "this is not the name of a distribution file")
	}
	canon := normalizeName(nameText)
	dist, suffix, _ := companionOf(file)
	if _, _, nested := companionOf(dist); nested {
		return formats.Target{}, notServed()
	}
	v := versionOf(canon, dist)
	if versionKey(versionText) != versionKey(v) {
		return formats.Target{}, formats.Refuse(formats.NotFound, "version %s has no such file", versionText)
	}
	return formats.Target{
		Kind: formats.KindAsset, Name: formats.Name{Canon: canon}, Version: v, File: file,
		Fresh: formats.Immutable, Prime: true, ContentType: fileType(suffix),
	}, nil
}

func fileType(suffix string) string {
	switch suffix {
	case metadataSuffix:
		return "text/plain; charset=utf-8"
	case signatureSuffix:
		return "application/pgp-signature"
	case provenanceSuffix:
		return "application/vnd.pypi.integrity.v1+json"
	}
	return "application/octet-stream"
}

func routeProject(seg []string) (formats.Target, error) {
	if n := len(seg); n > 0 && seg[n-1] == "" {
		seg = seg[:n-1]
	}
	if len(seg) < 2 || len(seg) > 3 || seg[len(seg)-1] != "json" {
		return formats.Target{}, notServed()
	}
	if !validName(seg[0]) {
		return formats.Target{}, badName()
	}
	t := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: normalizeName(seg[0])}, Variant: variantProject}
	if len(seg) == 3 {
		if !cleanSegment(seg[1]) {
			return formats.Target{}, notServed()
		}
		t.Version, t.Variant = normalizeVersion(seg[1]), variantRelease
	}
	return t, nil
}

// Href is the path of a file below the endpoint; companions of a distribution
// file included.
func href(canon, v, file string) string {
	if dist, ok := cutProvenance(file); ok {
		return "integrity/" + canon + "/" + escapeSegment(v) + "/" + escapeSegment(dist) + "/provenance"
	}
	return "simple/" + canon + "/" + escapeSegment(v) + "/" + escapeSegment(file)
}

func cutProvenance(file string) (string, bool) {
	dist, suffix, ok := companionOf(file)
	return dist, ok && suffix == provenanceSuffix
}
