package maven

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"larder/formats"
)

// rowAux is kept in the row of a version that was published here.
type rowAux struct {
	// Build is the newest build, in the row of a snapshot.
	Build string `json:"build,omitempty"`
	// Mismatch are checksum files that did not fit the bytes which came before
	// them. They keep an unfinished version from being published.
	Mismatch []string `json:"mismatch,omitempty"`
}

func auxOf(v *formats.Version) rowAux {
	var a rowAux
	if json.Unmarshal(v.Aux, &a) != nil {
		return rowAux{}
	}
	return a
}

func (a rowAux) encode() ([]byte, error) {
	out, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode facts of a version: %w", err)
	}
	return out, nil
}

// Build names the newest build of a snapshot that was published here.
func (*Format) Build(v *formats.Version) (string, bool) {
	if v.Hosting == nil || !isSnapshot(v.V) {
		return "", false
	}
	a := auxOf(v)
	return a.Build, a.Build != ""
}

// Publish takes in one deployed file, a checksum file or a maven-metadata.xml.
//
// A file's first arrival makes its version, unfinished. The metadata document
// of the artifact publishes the unfinished versions that it names; that of a
// snapshot publishes the builds that it names (CodeArtifact user guide, "Publish
// Maven artifacts" and "Snapshot publishing in CodeArtifact"). Checksums are
// compared and not kept.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	switch {
	case t.Deed == formats.DeedMetadata && t.Variant == "":
		return publishMetadata(ctx, t, in)
	case t.Deed == formats.DeedMetadata:
		return compareMetadata(t, in)
	case t.Variant != "":
		return f.compare(rq, t, in)
	}
	return f.publishFile(ctx, t, in)
}

func empty(status int) *formats.Reply { return &formats.Reply{Status: status, Header: http.Header{}} }

// publishFile adds one file to its version.
func (f *Format) publishFile(ctx context.Context, t formats.Target, in formats.Intake) (*formats.Change, error) {
	known, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", t.Name.Show(), t.Version, err)
	}
	sp, err := in.Spool(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("take in %s: %w", t.File, err)
	}
	if t.File == pomFile(t.Name, t.Version) {
		err = checkPOM(t, sp)
	} else {
		err = checkArchive(t.File, sp)
	}
	if err != nil {
		return nil, err
	}
	_, facts, err := f.Inspect(t, sp)
	if err != nil {
		facts = nil // a second POM (with a classifier) may be anything
	}
	vc := formats.VersionChange{
		V: t.Version,
		Row: &formats.Version{V: t.Version, Published: in.Now(), From: formats.TimeUpstream, Assets: []formats.Asset{{
			File: t.File, Size: sp.Size(), Digests: sp.Digests(), Uploaded: in.Now(), From: formats.TimeUpstream}}},
		Files: []formats.NewFile{{File: t.File, ContentType: t.ContentType, Spool: sp, Aux: facts}},
	}
	if known == nil {
		vc.Status = formats.Unfinished
	}
	return &formats.Change{Name: t.Name, Versions: []formats.VersionChange{vc}, Reply: empty(http.StatusCreated)}, nil
}

const maxChecksum = 16 << 10 // bytes of a checksum file

// sentDigest reads a checksum file as its readers do: the digits alone, with the
// file's name behind them, or behind "=" (maven-resolver ChecksumUtils.read).
func sentDigest(in io.Reader, what string) (string, error) {
	body, err := io.ReadAll(io.LimitReader(in, maxChecksum+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	if len(body) > maxChecksum {
		return "", formats.Refuse(formats.TooLarge, "%s is longer than %d bytes, which no checksum file is", what, maxChecksum)
	}
	text := string(body)
	if _, after, ok := strings.Cut(text, ") = "); ok {
		text = after
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return "", formats.Refuse(formats.BadRequest, "%s is empty", what)
	}
	return fields[0], nil
}

// compare checks a checksum file against the file that came before it. A
// mismatch is remembered, so that clients which pass over it do not publish.
func (f *Format) compare(rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	what := t.File + "." + t.Variant
	sent, err := sentDigest(in, what)
	if err != nil {
		return nil, err
	}
	row, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", t.Name.Show(), t.Version, err)
	}
	absent := formats.Refuse(formats.NotFound, "%s has not been uploaded, so its checksum cannot be compared", t.File)
	if row == nil {
		return nil, absent
	}
	held, ok := row.Held[t.File]
	if !ok {
		return nil, absent
	}
	d, ok := held.Digest(formats.Alg(t.Variant))
	if !ok {
		if d, err = hashHeld(t, in); err != nil {
			return nil, err
		}
	}
	c := &formats.Change{Name: t.Name, Reply: empty(http.StatusOK)}
	var refusal *formats.Refusal
	if sent != d.Hex {
		refusal = formats.Refuse(formats.BadRequest, "%s says %.140q, but the bytes of %s have %s", what, sent, t.File, d.Hex)
	}
	vc, err := remember(row, what, refusal != nil)
	switch {
	case err != nil:
		return nil, err
	case vc != nil:
		c.Versions = []formats.VersionChange{*vc}
	case refusal != nil:
		return nil, refusal
	}
	if refusal != nil {
		c.Reply = f.Refuse(rq, refusal) // the change must be kept although the answer is an error
	}
	return c, nil
}

// remember notes in an unfinished version that a checksum file does not fit, or
// that it now does. It returns nil where there is nothing to note.
func remember(row *formats.Version, what string, mismatch bool) (*formats.VersionChange, error) {
	if row.Hosting == nil || row.Hosting.Status != formats.Unfinished {
		return nil, nil
	}
	aux := auxOf(row)
	at := slices.Index(aux.Mismatch, what)
	switch {
	case mismatch == (at >= 0):
		return nil, nil
	case mismatch:
		aux.Mismatch = append(aux.Mismatch, what)
	default:
		aux.Mismatch = slices.Delete(aux.Mismatch, at, at+1)
	}
	vc := &formats.VersionChange{V: row.V, Amend: true, Row: &formats.Version{V: row.V, Raw: row.Raw, Flags: row.Flags}}
	var err error
	vc.Row.Aux, err = aux.encode()
	return vc, err
}

func hashHeld(t formats.Target, in formats.Intake) (formats.Digest, error) {
	alg := formats.Alg(t.Variant)
	file, err := in.Open(t.Name, t.Version, t.File)
	if err != nil {
		return formats.Digest{}, fmt.Errorf("open %s: %w", t.File, err)
	}
	h := alg.New()
	_, err = io.Copy(h, io.NewSectionReader(file, 0, file.Size()))
	if err := errors.Join(err, file.Close()); err != nil {
		return formats.Digest{}, fmt.Errorf("compute %s of %s: %w", alg, t.File, err)
	}
	return formats.Digest{Alg: alg, Hex: hex.EncodeToString(h.Sum(nil))}, nil
}
