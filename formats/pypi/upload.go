package pypi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"larder/formats"
)

// timeLayout is how PEP 700 writes upload times.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Publish reads one upload (the form that twine, uv, poetry and flit send): one
// wheel or source distribution. The form's fields are compared with the file's
// name and with the metadata inside, which alone is kept.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, _ formats.Target, in formats.Intake) (*formats.Change, error) {
	u, err := readUpload(ctx, rq.Header.Get("Content-Type"), in)
	if err != nil {
		return nil, err
	}
	d, err := u.distribution()
	if err != nil {
		return nil, err
	}
	if err := u.checkDigests(); err != nil {
		return nil, err
	}
	file := &watchedFile{File: u.content}
	text, err := d.inspect(ctx, file)
	switch {
	case file.err != nil:
		return nil, fmt.Errorf("read upload of %s: %w", d.file, file.err)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("inspect upload of %s: %w", d.file, ctx.Err())
	case err != nil:
		return nil, formats.Refuse(formats.BadRequest, "%s is refused: %s", d.file, err)
	}
	return u.change(ctx, d, text, in)
}

// distribution checks what the form says before anything is unpacked.
func (u *uploadForm) distribution() (*distribution, error) {
	switch action := u.fields[fieldAction]; action {
	case "file_upload":
	case "submit", "verify":
		return nil, &formats.Refusal{Kind: formats.BadRequest, Status: http.StatusGone,
			Message: "projects are not registered beforehand; upload a file"}
	default:
		return nil, formats.Refuse(formats.BadRequest, "the action %q is not offered, only file_upload", clip(action))
	}
	if p, sent := u.fields[fieldProtocol]; sent && p != "1" {
		return nil, formats.Refuse(formats.BadRequest, "upload protocol version %q is not known, only 1", clip(p))
	}
	name := u.fields[fieldName]
	if !validName(name) {
		return nil, formats.Refuse(formats.BadRequest, "%q is not a Python project name", clip(name))
	}
	v, ok := parseVersion(u.fields[fieldVersion])
	if !ok || !cleanSegment(v.String()) {
		return nil, formats.Refuse(formats.BadRequest, "%q is not a version (PEP 440)", clip(u.fields[fieldVersion]))
	}
	d, err := parseDistribution(u.file, normalizeName(name), v.String())
	if err != nil {
		return nil, formats.Refuse(formats.BadRequest, "the file name %q does not fit: %s", clip(u.file), err)
	}
	if kind := u.fields[fieldFiletype]; kind != d.filetype {
		return nil, formats.Refuse(formats.BadRequest, "%s is of type %s, the form says %q", u.file, d.filetype, clip(kind))
	}
	if python := u.fields[fieldPython]; d.filetype == typeSource && python != "" && python != "source" {
		return nil, formats.Refuse(formats.BadRequest, "the Python version of a source distribution is \"source\", the form says %q", clip(python))
	}
	return &d, nil
}

// change is what the upload does to the rows: a new version with one file, or
// one more file of a version.
func (u *uploadForm) change(ctx context.Context, d *distribution, metadata []byte, in formats.Intake) (*formats.Change, error) {
	name := formats.Name{Canon: d.canon}
	if spelled := u.fields[fieldName]; spelled != d.canon {
		name.Display = spelled
	}
	known, err := d.known(name, in)
	if err != nil {
		return nil, err
	}
	m, err := readCoreMetadata(metadata)
	if err != nil {
		return nil, fmt.Errorf("read metadata of %s again: %w", d.file, err)
	}
	at := in.Now().UTC()
	entry := pageEntry{file: d.file, version: d.version, content: u.content, uploaded: at.Format(timeLayout),
		requires: strings.Join(strings.Fields(m.first(keyRequires)), " ")}
	main := formats.Asset{File: d.file, Size: u.content.Size(), Digests: u.content.Digests(), Uploaded: at, From: formats.TimeUpstream}
	row := &formats.Version{V: d.version, Published: at, From: formats.TimeUpstream}
	content := formats.NewFile{File: d.file, ContentType: fileType(""), Spool: u.content}
	if content.Aux, err = json.Marshal(wheelFacts{RequiresPython: entry.requires}); err != nil {
		return nil, fmt.Errorf("encode facts of %s: %w", d.file, err)
	}
	files := []formats.NewFile{content}
	if d.filetype == typeWheel {
		beside, err := in.Spool(ctx, bytes.NewReader(metadata))
		if err != nil {
			return nil, fmt.Errorf("spool metadata of %s: %w", d.file, err)
		}
		entry.metadata = beside
		files = append(files, formats.NewFile{File: d.file + metadataSuffix, ContentType: fileType(metadataSuffix), Spool: beside, Derived: true})
		row.Assets = append(row.Assets, formats.Asset{File: d.file + metadataSuffix, Size: beside.Size(), Digests: beside.Digests(), Uploaded: at, From: formats.TimeUpstream})
	}
	main.Raw = entry.fragment()
	row.Assets = append([]formats.Asset{main}, row.Assets...)
	c := &formats.Change{
		Name:     name,
		Versions: []formats.VersionChange{{V: d.version, Row: row, Files: files}},
		Reply:    formats.TextReply(http.StatusOK, d.file+" is published as "+name.Show()+" "+d.version),
	}
	if !u.isHeld(known) {
		if c.Head, err = newHead(name, in); err != nil {
			return nil, err
		}
		c.Head.Modified = at
	}
	return c, nil
}

// newHead is the package-level row after an upload: the project is shown as it
// was last spelled, the rest stays.
func newHead(name formats.Name, in formats.Intake) (*formats.Head, error) {
	old, err := in.Head(name)
	if err != nil {
		return nil, fmt.Errorf("read head of %s: %w", name.Canon, err)
	}
	head := &formats.Head{Display: name.Display}
	if old != nil {
		head.Raw, head.Aux = old.Raw, old.Aux
	}
	return head, nil
}

func (u *uploadForm) isHeld(row *formats.Version) bool {
	if row == nil {
		return false
	}
	held, ok := row.Held[u.file]
	_, _, differs := formats.Disagree(held.Digests, u.content.Digests())
	return ok && !differs
}

// known returns the version's row, nil where it is new. What an installer could
// not tell from a file that is there already is a conflict: another spelling of
// the version (1.0 and 1.0.0) or of the file's name, or a second source
// distribution.
func (d *distribution) known(name formats.Name, in formats.Intake) (*formats.Version, error) {
	rows, err := in.Versions(name)
	if err != nil {
		return nil, fmt.Errorf("read versions of %s: %w", name.Canon, err)
	}
	var found *formats.Version
	for _, row := range rows {
		if row.V == d.version {
			found = row
		} else if versionKey(row.V) == versionKey(d.version) && !(row.Hosting != nil && row.Hosting.Status == formats.Deleted) {
			return nil, formats.Refuse(formats.Conflict, "version %s of %s already exists, spelled %s", d.version, name.Show(), row.V)
		}
	}
	if found == nil {
		return nil, nil
	}
	for i := range found.Assets {
		other, err := parseDistribution(found.Assets[i].File, d.canon, d.version)
		if err == nil && other.identity == d.identity && other.file != d.file {
			return nil, formats.Refuse(formats.Conflict, "%s already exists, as %s: installers would not tell them apart", d.file, other.file)
		}
	}
	return found, nil
}

// pageEntry is a published file as a project page lists it (PEP 691, 700, 714).
type pageEntry struct {
	file, version string
	requires      string
	uploaded      string
	content       formats.Spool
	metadata      formats.Spool // nil without
}

// fragment is the file's object on the page. Its URL is the one that Render
// gives it.
func (p *pageEntry) fragment() []byte {
	b := bytes.NewBuffer([]byte("{"))
	add := func(key string, raw []byte) { writeMember(b, quote(key), raw) }
	add(keyFilename, quote(p.file))
	add(keyURL, quote(escapeSegment(p.version)+"/"+escapeSegment(p.file)))
	add(keyHashes, encodeDigests(p.content, formats.SHA256, formats.MD5))
	if p.requires != "" {
		add(keyRequires, quote(p.requires))
	}
	add(keySize, strconv.AppendInt(nil, p.content.Size(), 10))
	add(keyUploadTime, quote(p.uploaded))
	add(keyYanked, []byte("false"))
	if p.metadata != nil {
		add(keyMetadata, encodeDigests(p.metadata, formats.SHA256))
	}
	b.WriteByte('}')
	return b.Bytes()
}

func encodeDigests(s formats.Spool, algs ...formats.Alg) []byte {
	b := bytes.NewBuffer([]byte("{"))
	for _, alg := range algs {
		if d, ok := formats.Find(s.Digests(), alg); ok {
			writeMember(b, quote(string(alg)), quote(d.Hex))
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
