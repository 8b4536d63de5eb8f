package generic

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"larder/formats"
)

// maxAssets bounds the assets of a version, since they stand in one row
// (CodeArtifact's quota, "Assets per package version").
const maxAssets = 350

// typeUnknown is what a file is whose sender did not say.
const typeUnknown = "application/octet-stream"

// Publish takes one file, or deletes a version.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	existing, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", t.Name.Canon, t.Version, err)
	}
	if t.Deed == formats.DeedDelete {
		return deletion(t, existing)
	}
	unfinished, err := wantsOpen(rq)
	if err != nil {
		return nil, err
	}
	promised, err := promisedDigests(rq.Header)
	if err != nil {
		return nil, err
	}
	if err := checkPreconditions(rq.Header, t, existing); err != nil {
		return nil, err
	}
	// What cannot succeed is refused before its bytes are taken.
	if err := checkOpen(t.Name, t.Version, t.File, existing); err != nil {
		return nil, err
	}
	contentType, err := contentTypeOf(rq.Header)
	if err != nil {
		return nil, err
	}
	spool, err := in.Spool(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("take in %s of %s %s: %w", t.File, t.Name.Canon, t.Version, err)
	}
	if err := keepPromise(promised, spool.Digests()); err != nil {
		return nil, err
	}
	namespace, pkg := split(t.Name)
	return NewChange(namespace, pkg, t.Version, t.File, contentType, spool, unfinished, existing, in.Now())
}

// NewChange is the change that adds one asset to a version: PublishPackageVersion
// of CodeArtifact's API, and a PUT. existing is the version as the repository
// holds it, nil where there is none. unfinished keeps the version open for more
// assets; the first asset without it completes the version, and there is no way
// back. contentType "" is application/octet-stream. at is the time of
// publishing. What is not legal is a *formats.Refusal: BadRequest for names,
// Conflict for a version that is complete.
func NewChange(namespace, pkg, version, asset, contentType string, spool formats.Spool, unfinished bool, existing *formats.Version, at time.Time) (*formats.Change, error) {
	name, err := nameOf(namespace, pkg)
	if err != nil {
		return nil, err
	}
	if err := checkPart("version", version); err != nil {
		return nil, err
	}
	if err := checkAsset(asset); err != nil {
		return nil, err
	}
	if err := checkOpen(name, version, asset, existing); err != nil {
		return nil, err
	}
	if contentType == "" {
		contentType = typeUnknown
	}
	at = at.UTC()
	change := formats.VersionChange{
		V: version,
		Row: &formats.Version{V: version, Published: at, From: formats.TimeUpstream, Assets: []formats.Asset{{
			File: asset, Size: spool.Size(), Digests: spool.Digests(), Uploaded: at, From: formats.TimeUpstream}}},
		Files:  []formats.NewFile{{File: asset, ContentType: contentType, Spool: spool}},
		Status: formats.Published,
		Open:   true,
	}
	if unfinished {
		change.Status = formats.Unfinished
	}
	status := http.StatusCreated
	if existing != nil && existing.Hosting.Status != formats.Unfinished {
		// The file is there; only its bytes can still be compared.
		was, is, other := formats.Disagree(heldDigests(existing, asset), spool.Digests())
		if other {
			return nil, formats.Refuse(formats.Conflict, "%s %s %s: other bytes are published as %s (%s, not %s)", namespace, pkg, version, asset, was, is)
		}
		change.Status, status = formats.StatusNone, http.StatusOK
	}
	reply, err := published(name, version, change, status, existing)
	if err != nil {
		return nil, err
	}
	return &formats.Change{Name: name, Versions: []formats.VersionChange{change}, Reply: reply}, nil
}

// checkOpen refuses to add to a version that is complete. An asset that it has
// may be sent again.
func checkOpen(name formats.Name, version, asset string, existing *formats.Version) error {
	if existing == nil {
		return nil
	}
	_, held := existing.Held[asset]
	switch status := existing.Hosting.Status; {
	case status == formats.Unfinished && !held && len(existing.Assets) >= maxAssets:
		return formats.Refuse(formats.TooLarge, "%s %s has %d assets, and a version has no more", name.Canon, version, maxAssets)
	case status == formats.Unfinished, held && status.Downloadable():
		return nil
	case status.Blocks():
		return formats.Refuse(formats.Conflict, "%s %s is %s; nothing is added to it", name.Canon, version, strings.ToLower(status.String()))
	}
	return formats.Refuse(formats.Conflict,
		"%s %s is complete, so no asset is added to it; put all but the last asset of a version with ?unfinished=true", name.Canon, version)
}

func heldDigests(v *formats.Version, asset string) []formats.Digest {
	if held, ok := v.Held[asset]; ok {
		return held.Digests
	}
	if a := v.Asset(asset); a != nil {
		return a.Digests
	}
	return nil
}

// deletion takes a version away.
func deletion(t formats.Target, existing *formats.Version) (*formats.Change, error) {
	if existing == nil {
		return nil, formats.Refuse(formats.NotFound, "%s has no version %s", t.Name.Canon, t.Version)
	}
	return &formats.Change{Name: t.Name, Versions: []formats.VersionChange{{V: t.Version, Delete: true, Expect: existing.Hosting.Revision}},
		Reply: &formats.Reply{Status: http.StatusNoContent, Header: http.Header{}}}, nil
}

// wantsOpen reads ?unfinished=true, in the word of CodeArtifact's API.
func wantsOpen(rq *formats.Request) (bool, error) {
	switch v := rq.Query.Get("unfinished"); v {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, formats.Refuse(formats.BadRequest, "unfinished is true or false, not %.20q", v)
	}
}

// checkPreconditions answers If-None-Match: * (RFC 9110, 13.1.2), which makes a
// PUT create only.
func checkPreconditions(h http.Header, t formats.Target, existing *formats.Version) error {
	if h.Get("Content-Range") != "" {
		return formats.Refuse(formats.BadRequest, "a file is put as a whole, without Content-Range")
	}
	if h.Get("If-Match") != "" {
		return formats.Refuse(formats.BadRequest, "files never change here, so there is nothing for If-Match")
	}
	if strings.TrimSpace(h.Get("If-None-Match")) == "*" && existing != nil {
		if _, held := existing.Held[t.File]; held {
			return &formats.Refusal{Kind: formats.Conflict, Status: http.StatusPreconditionFailed,
				Message: fmt.Sprintf("%s %s has %s already", t.Name.Canon, t.Version, t.File)}
		}
	}
	return nil
}

// contentTypeOf is the media type to keep. What curl says of --data-binary by
// itself is not believed, a form is no file.
func contentTypeOf(h http.Header) (string, error) {
	for _, coding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return "", formats.Refuse(formats.BadRequest, "a file is put as it is, without Content-Encoding")
		}
	}
	value := h.Get("Content-Type")
	media, params, err := mime.ParseMediaType(value)
	if err != nil || len(value) > maxPart || !strings.Contains(media, "/") || media == "application/x-www-form-urlencoded" {
		return typeUnknown, nil
	}
	if media == "multipart/form-data" {
		return "", formats.Refuse(formats.BadRequest, "the body is the file itself, not a form: curl --upload-file FILE")
	}
	if clean := mime.FormatMediaType(media, params); clean != "" {
		return clean, nil
	}
	return typeUnknown, nil
}

// published answers a PUT with what PublishPackageVersion answers.
func published(name formats.Name, version string, change formats.VersionChange, code int, existing *formats.Version) (*formats.Reply, error) {
	namespace, pkg := split(name)
	status := change.Status
	if status == formats.StatusNone {
		status = existing.Hosting.Status
	}
	file := change.Files[0]
	body, err := json.Marshal(struct {
		Format    string    `json:"format"`
		Namespace string    `json:"namespace"`
		Package   string    `json:"package"`
		Version   string    `json:"version"`
		Status    string    `json:"status"`
		Asset     assetJSON `json:"asset"`
	}{"generic", namespace, pkg, version, status.String(), assetJSON{Name: file.File, Size: file.Spool.Size(), Hashes: hashes(file.Spool.Digests())}})
	if err != nil {
		return nil, fmt.Errorf("write the answer to a publish: %w", err)
	}
	return formats.JSONReply(code, string(body)+"\n"), nil
}
