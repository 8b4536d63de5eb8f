package npm

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"deps.dev/util/semver"

	"larder/formats"
)

// Limits of one write request, counted behind any content-encoding. The node's
// own limit stands before them.
const (
	// maxUpload is the size of a publish request (CodeArtifact quotas: an npm
	// publish request is at most 2 GB).
	maxUpload = 2 << 30
	// maxSmallBody bounds the body of a request that carries one JSON string.
	maxSmallBody = 4 << 10
	// A compressed body may grow by inflateRatio once it is over inflateFree.
	inflateFree  = 16 << 20
	inflateRatio = 100
)

// Doc of a write target: which request it is.
const (
	docPackument   = "packument"   // PUT /NAME: publish, deprecate
	docRevision    = "revision"    // PUT /NAME/-rev/REV: a packument without one version
	docWhole       = "package"     // DELETE /NAME/-rev/REV
	docTarball     = "tarball"     // DELETE /NAME/-/FILE/-rev/REV
	docTag         = "dist-tag"    // PUT, DELETE /-/package/NAME/dist-tags/TAG
	headerCommand  = "Npm-Command" // npm says which of its commands asks
	replyOK        = `{"ok":true}`
	replyPublished = `{"ok":true,"success":true}`
)

// Publish reads a publish, a deprecation, a change of dist-tags or an
// unpublish.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	c, err := f.publish(ctx, rq, t, in)
	if err != nil {
		return nil, blame(err)
	}
	return c, nil
}

func (f *Format) publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	switch t.Doc {
	case docWhole:
		return removePackage(t, in)
	case docTarball:
		return removeVersion(t, in)
	case docTag:
		if rq.Method == http.MethodDelete {
			return removeTag(t, in)
		}
		body, err := decoded(rq, in)
		if err != nil {
			return nil, err
		}
		return setTag(t, in, body)
	}
	body, err := decoded(rq, in)
	if err != nil {
		return nil, err
	}
	up := &upload{ctx: ctx, in: in, name: t.Name, revision: t.Doc == docRevision}
	if err := up.read(newStream(body, f.maxUpload)); err != nil {
		return nil, err
	}
	switch {
	case up.revision:
		return up.unpublish()
	case up.tarball == nil:
		return up.amend()
	case t.Deed != formats.DeedPublish:
		return nil, formats.Refuse(formats.BadRequest, "a request to deprecate may not carry a tarball")
	}
	return up.publish()
}

// blame turns an error of reading the request into a refusal where the client
// sent what cannot be read.
func blame(err error) error {
	var refusal *formats.Refusal
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &refusal):
		return err
	case errors.Is(err, errTooLarge):
		return formats.Refuse(formats.TooLarge, "the request is larger than this repository accepts").Because(err)
	case errors.Is(err, errJSON), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrHeader),
		errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return formats.Refuse(formats.BadRequest, "the request's body cannot be read: %s", clip(err.Error())).Because(err)
	}
	return fmt.Errorf("read publish request: %w", err)
}

// decoded undoes the request's content-encoding. What grows beyond reason on
// the way is refused while it is read.
func decoded(rq *formats.Request, in io.Reader) (io.Reader, error) {
	switch enc := strings.ToLower(strings.TrimSpace(rq.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
		return in, nil
	case "gzip", "x-gzip":
		src := &counted{r: in}
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, err
		}
		return &inflated{z: z, src: src}, nil
	default:
		return nil, formats.Refuse(formats.BadRequest, "content-encoding %q is not understood here", clip(enc))
	}
}

// counted counts what is read of r.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// inflated reads a compressed body and holds it to inflateRatio.
type inflated struct {
	z   io.Reader
	src *counted
	n   int64
}

func (i *inflated) Read(p []byte) (int, error) {
	n, err := i.z.Read(p)
	if i.n += int64(n); i.n > inflateFree && i.n/inflateRatio > i.src.n {
		return 0, fmt.Errorf("the body inflates more than %d times: %w", inflateRatio, errTooLarge)
	}
	return n, err
}

// setTag reads the JSON string that says which version a tag shall name.
func setTag(t formats.Target, in formats.Intake, body io.Reader) (*formats.Change, error) {
	b, err := io.ReadAll(io.LimitReader(body, maxSmallBody+1))
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSpace(b)
	version := string(b)
	if len(b) > 0 && b[0] == '"' {
		if end, err := checkValue(b, 0, 0); err != nil || end != len(b) {
			return nil, formats.Refuse(formats.BadRequest, "the body must be one JSON string, the version")
		}
		version = text(b)
	}
	if !validVersion(version) {
		return nil, formats.Refuse(formats.BadRequest, "the body must be one JSON string, the version")
	}
	if err := checkTag(t.Variant); err != nil {
		return nil, err
	}
	row, err := in.Version(t.Name, version)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, formats.Refuse(formats.NotFound, "version not found: this repository itself holds no %s@%s that a tag could name", t.Name.Canon, version)
	}
	if row.Hosting != nil && !row.Hosting.Status.Downloadable() {
		return nil, formats.Refuse(formats.BadRequest, "%s@%s is %s: a tag cannot name it", t.Name.Canon, version, row.Hosting.Status)
	}
	return touch(in, &formats.Change{Name: t.Name, Tags: map[string]string{t.Variant: version}, Reply: formats.JSONReply(http.StatusOK, replyOK)})
}

// checkTag holds a tag to npm's own rule: what reads as a version or a range
// would never be looked up as a tag.
func checkTag(tag string) error {
	if !validTag(tag) || strings.TrimSpace(tag) == "" {
		return formats.Refuse(formats.BadRequest, "%q cannot be a dist-tag", clip(tag))
	}
	if _, err := semver.NPM.ParseConstraint(tag); err == nil {
		return formats.Refuse(formats.BadRequest, "the tag %q reads as a version range, so no client would ever look it up", clip(tag))
	}
	return nil
}

func removeTag(t formats.Target, in formats.Intake) (*formats.Change, error) {
	if t.Variant == "latest" {
		return nil, formats.Refuse(formats.BadRequest, "the tag latest cannot be removed: every client installs by it; move it with npm dist-tag add")
	}
	head, err := in.Head(t.Name)
	if err != nil {
		return nil, err
	}
	if head == nil || head.Tags[t.Variant] == "" {
		return nil, formats.Refuse(formats.NotFound, "%s has no tag %q in this repository itself", t.Name.Canon, clip(t.Variant))
	}
	return touch(in, &formats.Change{Name: t.Name, Tags: map[string]string{t.Variant: ""}, Reply: formats.JSONReply(http.StatusOK, replyOK)})
}

// touch moves the time of change that the package's head tells, where the
// package has a head of its own.
func touch(in formats.Intake, c *formats.Change) (*formats.Change, error) {
	head, err := in.Head(c.Name)
	if err != nil {
		return nil, err
	}
	if head != nil && len(head.Raw) > 0 && c.Head == nil {
		c.Head = &formats.Head{Raw: head.Raw, Display: head.Display, Modified: in.Now(), Aux: stampModified(head.Aux, in.Now())}
	}
	return c, nil
}
