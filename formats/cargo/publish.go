package cargo

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

// maxMetadata bounds the JSON of a publish request in bytes. It carries the
// readme; the index line made of it has to fit into maxLine.
const maxMetadata = 8 << 20

// maxDescription bounds the description that search shows, in bytes.
const maxDescription = 1000

// published is the answer to a publish; there is nothing to warn of (The Cargo
// Book, "Publish").
const published = `{"warnings":{"invalid_categories":[],"invalid_badges":[],"other":[]}}`

// Publish reads what cargo publish or cargo yank sends.
func (f *Format) Publish(ctx context.Context, rq *formats.Request, t formats.Target, in formats.Intake) (*formats.Change, error) {
	if t.Deed == formats.DeedMetadata {
		return yank(t, in)
	}
	meta, spool, err := readUpload(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := checkIdentity(meta, in); err != nil {
		return nil, err
	}
	if err := inspectCrate(spool, meta.Name, meta.Vers); err != nil {
		return nil, refuseCrate(meta.Name, meta.Vers, err)
	}
	sum, ok := formats.Find(spool.Digests(), formats.SHA256)
	if !ok {
		return nil, errors.New("publish crate: the spool has no SHA-256")
	}
	name := nameOf(meta.Name)
	line, err := meta.line(sum.Hex, in.Now())
	if err != nil {
		return nil, err
	}
	// The row is what Parse would make of the line, so that a published crate
	// and one from outside are the same to all that follows.
	_, row, err := parseLine(name.Canon, line)
	if err != nil {
		return nil, fmt.Errorf("read the index line of %s %s: %w", meta.Name, meta.Vers, err)
	}
	row.Assets[0].Size = spool.Size()
	return &formats.Change{
		Name: name,
		Head: &formats.Head{Display: name.Display, Modified: row.Published, Aux: clip(meta.Description, maxDescription)},
		Versions: []formats.VersionChange{{
			V:     meta.Vers,
			Row:   row,
			Files: []formats.NewFile{{File: row.Assets[0].File, ContentType: typeCrate, Spool: spool, Aux: row.Assets[0].Aux}},
		}},
		Reply: formats.JSONReply(200, published),
	}, nil
}

// readUpload takes the body apart: the length of the JSON (32 bits, little
// endian), the JSON, the length of the archive, the archive (The Cargo Book,
// "Publish"). Lengths that are not those of the body refuse it.
func readUpload(ctx context.Context, in formats.Intake) (*manifest, formats.Spool, error) {
	n, err := readLength(in)
	if err != nil {
		return nil, nil, err
	}
	if n > maxMetadata {
		return nil, nil, formats.Refuse(formats.TooLarge, "the crate's metadata has %d bytes; at most %d are taken, so shorten its readme", n, maxMetadata)
	}
	// Not allocated by the announced length: what did not arrive costs nothing.
	data, err := io.ReadAll(io.LimitReader(in, int64(n)))
	if err != nil {
		return nil, nil, fmt.Errorf("read metadata of a crate: %w", err)
	}
	if len(data) != int(n) {
		return nil, nil, formats.Refuse(formats.BadRequest, "the upload ends within the crate's metadata")
	}
	meta, err := parseManifest(data)
	if err != nil {
		return nil, nil, err
	}
	size, err := readLength(in)
	if err != nil {
		return nil, nil, err
	}
	spool, err := in.Spool(ctx, io.LimitReader(in, int64(size)))
	if err != nil {
		return nil, nil, fmt.Errorf("take in crate %s %s: %w", meta.Name, meta.Vers, err)
	}
	if spool.Size() != int64(size) {
		return nil, nil, formats.Refuse(formats.BadRequest, "the upload announces %d bytes of archive and ends after %d", size, spool.Size())
	}
	switch more, err := io.CopyN(io.Discard, in, 1); {
	case more > 0:
		return nil, nil, formats.Refuse(formats.BadRequest, "more bytes follow the archive that the upload announces")
	case err != io.EOF:
		return nil, nil, fmt.Errorf("read the end of crate %s %s: %w", meta.Name, meta.Vers, err)
	}
	return meta, spool, nil
}

func readLength(r io.Reader) (uint32, error) {
	var raw [4]byte
	_, err := io.ReadFull(r, raw[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, formats.Refuse(formats.BadRequest, "the upload ends before its lengths; it is not what cargo publish sends")
	}
	if err != nil {
		return 0, fmt.Errorf("read a length of an upload: %w", err)
	}
	return binary.LittleEndian.Uint32(raw[:]), nil
}

// fold makes names equal that a registry must tell apart from no other: case,
// and "-" for "_", which are one in Rust (The Cargo Book, "Index format").
func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// checkIdentity refuses look-alikes of the crates and versions that the
// repository has. One name has one spelling, since cargo compares exactly.
func checkIdentity(meta *manifest, in formats.Intake) error {
	name := nameOf(meta.Name)
	other, found, err := in.Similar(name, fold)
	if err != nil {
		return fmt.Errorf("look for names like %s: %w", meta.Name, err)
	}
	if found {
		return formats.Refuse(formats.Conflict, "crate %s is here already, and %s differs from it in case, - and _ alone", other, meta.Name)
	}
	versions, err := in.Versions(name)
	if err != nil {
		return fmt.Errorf("read versions of %s: %w", meta.Name, err)
	}
	for _, v := range versions {
		if was := spelling(formats.Name{Canon: name.Canon}, v.Asset(crateFile(name.Canon, v.V))); was != meta.Name {
			return formats.Refuse(formats.Conflict, "this crate is spelled %s here, not %s", was, meta.Name)
		}
		if v.V != meta.Vers && withoutBuild(v.V) == withoutBuild(meta.Vers) {
			return formats.Refuse(formats.Conflict, "crate %s %s is here already; %s differs from it in build metadata alone", meta.Name, v.V, meta.Vers)
		}
	}
	return nil
}

// withoutBuild is a version without what semantic versioning does not compare.
func withoutBuild(v string) string {
	v, _, _ = strings.Cut(v, "+")
	return v
}

// clip cuts s to at most n bytes, at the end of a character.
func clip(s string, n int) []byte {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return []byte(s)
}

// yank changes the line of one version. A version that was only kept when a
// client fetched it is its registry's to yank.
func yank(t formats.Target, in formats.Intake) (*formats.Change, error) {
	v, err := in.Version(t.Name, t.Version)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", t.Name.Canon, t.Version, err)
	}
	if v == nil || v.Hosting == nil || len(v.Raw) == 0 {
		return nil, formats.Refuse(formats.NotFound, "crate %s has no version %s that was published here", t.Name.Show(), t.Version)
	}
	if v.Hosting.Origin == formats.OriginExternal {
		return nil, formats.Refuse(formats.Forbidden, "crate %s %s comes from a registry outside, which alone can yank it", t.Name.Show(), t.Version)
	}
	change := &formats.Change{Name: t.Name, Reply: formats.JSONReply(200, `{"ok":true}`)}
	yanked := t.Variant == variantYank
	if v.Flags&formats.Yanked != 0 == yanked {
		return change, nil
	}
	line, err := setYanked(v.Raw, yanked)
	if err != nil {
		return nil, fmt.Errorf("change the index line of %s %s: %w", t.Name.Canon, t.Version, err)
	}
	_, row, err := parseLine(t.Name.Canon, line)
	if err != nil || row == nil {
		return nil, fmt.Errorf("read the index line of %s %s: %w", t.Name.Canon, t.Version, err)
	}
	row.Aux = v.Aux
	head, err := in.Head(t.Name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.Name.Canon, err)
	}
	if head != nil {
		moved := *head
		moved.Modified = in.Now().UTC()
		change.Head = &moved
	}
	change.Versions = []formats.VersionChange{{V: v.V, Row: row, Amend: true, Expect: v.Hosting.Revision}}
	return change, nil
}

// setYanked replaces the value of "yanked" and leaves every other byte of the
// line as it is; a line without the field gets it at its end.
func setYanked(line []byte, yanked bool) ([]byte, error) {
	value := []byte("false")
	if yanked {
		value = []byte("true")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		if key == "yanked" {
			end := dec.InputOffset()
			start := end - int64(len(raw))
			return bytes.Join([][]byte{line[:start], value, line[end:]}, nil), nil
		}
	}
	end := bytes.LastIndexByte(line, '}')
	if end < 0 {
		return nil, errors.New("not a JSON object")
	}
	return bytes.Join([][]byte{line[:end], []byte(`,"yanked":`), value, line[end:]}, nil), nil
}
