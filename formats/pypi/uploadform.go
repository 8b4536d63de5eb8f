package pypi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/blake2b"

	"larder/formats"
)

// Limits of an upload form, in bytes. Only the fields named in keptFields are
// kept; the others, which repeat what the archive says, are read past.
const (
	maxParts     = 4_096
	maxKept      = 1 << 10
	maxPassed    = 16 << 20 // all fields that are read past, together
	maxBoundary  = 70       // RFC 2046 section 5.1.1
	maxFieldName = 64
)

// Fields of an upload that this node acts on (the upload API's own names).
const (
	fieldAction   = ":action"
	fieldProtocol = "protocol_version"
	fieldName     = "name"
	fieldVersion  = "version"
	fieldFiletype = "filetype"
	fieldPython   = "pyversion"
	fieldMD5      = "md5_digest"
	fieldSHA256   = "sha256_digest"
	fieldBlake    = "blake2_256_digest"
	fieldContent  = "content"
	fieldAttested = "attestations"
)

func kept(field string) bool {
	switch field {
	case fieldAction, fieldProtocol, fieldName, fieldVersion, fieldFiletype, fieldPython, fieldMD5, fieldSHA256, fieldBlake:
		return true
	}
	return false
}

// uploadForm is an upload as it was sent: the file is in the spool, nothing of
// it is checked but its form.
type uploadForm struct {
	fields  map[string]string
	file    string // name of the file as the client spelled it
	content formats.Spool
	blake   string // BLAKE2b-256 of the content, hex
}

// faultReader remembers how reading failed, so that the fault of a client is
// told from one of the store that was written to.
type faultReader struct {
	r   io.Reader
	err error
}

func (f *faultReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// readUpload reads a multipart form whose parts may come in any order, the file
// first as well. The file goes to the spool as it arrives.
func readUpload(ctx context.Context, contentType string, in formats.Intake) (*uploadForm, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return nil, formats.Refuse(formats.BadRequest, "an upload is a multipart/form-data form")
	}
	boundary := params["boundary"]
	if boundary == "" || len(boundary) > maxBoundary {
		return nil, formats.Refuse(formats.BadRequest, "the form's boundary is missing or longer than %d bytes", maxBoundary)
	}
	u := &uploadForm{fields: make(map[string]string)}
	form := multipart.NewReader(in, boundary)
	passed := int64(maxPassed)
	for n := 0; ; n++ {
		part, err := form.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, brokenForm(err)
		}
		if n == maxParts {
			return nil, formats.Refuse(formats.TooLarge, "the form has more than %d fields", maxParts)
		}
		if err := u.readPart(ctx, part, in, &passed); err != nil {
			return nil, err
		}
	}
	if u.content == nil {
		return nil, formats.Refuse(formats.BadRequest, "the form has no field %q with a file", fieldContent)
	}
	return u, nil
}

// brokenForm words an error of reading the body. A limit that the node set keeps
// its own words.
func brokenForm(err error) error {
	var r *formats.Refusal
	if errors.As(err, &r) {
		return r
	}
	return formats.Refuse(formats.BadRequest, "the form is not well-formed or broke off").Because(err)
}

func (u *uploadForm) readPart(ctx context.Context, part *multipart.Part, in formats.Intake, passed *int64) error {
	field := part.FormName()
	if field == "" || len(field) > maxFieldName {
		return formats.Refuse(formats.BadRequest, "the form has a field without a name, or with a very long one")
	}
	switch encoding := strings.ToLower(part.Header.Get("Content-Transfer-Encoding")); encoding {
	case "", "binary", "8bit", "7bit":
	default:
		return formats.Refuse(formats.BadRequest, "the form's field %q is encoded as %q; it must be sent as it is", clip(field), clip(encoding))
	}
	switch {
	case field == fieldContent:
		return u.readContent(ctx, part, in)
	case kept(field):
		return u.readField(field, part)
	}
	// What is read past has no use here, whatever it says, except that an
	// attestation must not be dropped in silence.
	n, err := io.Copy(io.Discard, io.LimitReader(part, *passed+1))
	if err != nil {
		return brokenForm(err)
	}
	if *passed -= n; *passed < 0 {
		return formats.Refuse(formats.TooLarge, "the form's fields are larger than %d bytes", maxPassed)
	}
	if field == fieldAttested && n > 0 {
		return formats.Refuse(formats.BadRequest,
			"this repository does not verify attestations and so takes none; upload without them (uv: --no-attestations)")
	}
	return nil
}

func (u *uploadForm) readField(field string, r io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(r, maxKept+1))
	if err != nil {
		return brokenForm(err)
	}
	if len(body) > maxKept {
		return formats.Refuse(formats.TooLarge, "the form's field %q is longer than %d bytes", field, maxKept)
	}
	if _, twice := u.fields[field]; twice {
		return formats.Refuse(formats.BadRequest, "the form has the field %q twice", field)
	}
	if !utf8.Valid(body) {
		return formats.Refuse(formats.BadRequest, "the form's field %q is not UTF-8", field)
	}
	u.fields[field] = string(body)
	return nil
}

func (u *uploadForm) readContent(ctx context.Context, part *multipart.Part, in formats.Intake) error {
	if u.content != nil {
		return formats.Refuse(formats.BadRequest, "the form has the field %q twice", fieldContent)
	}
	// Part.FileName cuts directories off, and with them the attempt.
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || !cleanSegment(params["filename"]) {
		return formats.Refuse(formats.BadRequest, "the form's field %q has no usable file name", fieldContent)
	}
	u.file = params["filename"]
	blake, err := blake2b.New256(nil)
	if err != nil {
		return fmt.Errorf("start BLAKE2b-256: %w", err)
	}
	body := &faultReader{r: part}
	u.content, err = in.Spool(ctx, io.TeeReader(body, blake))
	if body.err != nil {
		return brokenForm(body.err)
	}
	if err != nil {
		return fmt.Errorf("spool upload of %s: %w", u.file, err)
	}
	u.blake = hex.EncodeToString(blake.Sum(nil))
	return nil
}

// checkDigests compares every digest that was sent; one at least must be.
func (u *uploadForm) checkDigests() error {
	got := map[string]string{fieldBlake: u.blake}
	for _, d := range u.content.Digests() {
		switch d.Alg {
		case formats.MD5:
			got[fieldMD5] = d.Hex
		case formats.SHA256:
			got[fieldSHA256] = d.Hex
		}
	}
	sent := false
	for _, field := range [...]string{fieldSHA256, fieldBlake, fieldMD5} {
		want := u.fields[field]
		if want == "" {
			continue
		}
		sent = true
		if !strings.EqualFold(want, got[field]) {
			return formats.Refuse(formats.BadRequest, "%s: the file that arrived has %s %s, the form says %s", u.file, field, got[field], clip(want))
		}
	}
	if !sent {
		return formats.Refuse(formats.BadRequest, "the form has none of %s, %s and %s", fieldSHA256, fieldBlake, fieldMD5)
	}
	return nil
}
