package pypi

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

// Limits on what is read out of an archive.
const (
	maxEntries   = 65_535   // more would need ZIP64's count; a wheel that large goes without metadata here
	maxDirectory = 32 << 20 // bytes of the central directory
	maxMetadata  = 4 << 20  // bytes of METADATA, unpacked
	maxRatio     = 200      // unpacked to packed; text stays far below
)

// wheelFacts is kept in a held wheel's row, for pages made without a listing.
type wheelFacts struct {
	RequiresPython string `json:"requires_python,omitempty"`
}

func readWheelFacts(aux []byte) wheelFacts {
	var facts wheelFacts
	if len(aux) == 0 || json.Unmarshal(aux, &facts) != nil {
		return wheelFacts{}
	}
	return facts
}

// Inspect takes the core metadata out of a wheel, so that it can be served and
// advertised even where upstream has none (PEP 658). A wheel about which two
// readers could disagree gets no metadata; clients then read the wheel.
func (f *Format) Inspect(t formats.Target, file formats.File) ([]formats.Derived, []byte, error) {
	if extension(t.File) != ".whl" {
		return nil, nil, nil
	}
	body, err := wheelMetadata(t, file)
	if err != nil {
		return nil, nil, fmt.Errorf("extract metadata of %s: %w", t.File, err)
	}
	aux, err := json.Marshal(wheelFacts{RequiresPython: parseMetadata(body)["requires-python"]})
	if err != nil {
		return nil, nil, fmt.Errorf("encode facts of %s: %w", t.File, err)
	}
	return []formats.Derived{{File: t.File + metadataSuffix, ContentType: fileType(metadataSuffix), Body: body}}, aux, nil
}

func wheelMetadata(t formats.Target, file formats.File) ([]byte, error) {
	fields := strings.Split(strings.TrimSuffix(t.File, ".whl"), "-")
	if n := len(fields); n != 5 && n != 6 {
		return nil, errors.New("not a wheel's file name")
	}
	z, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	entry, err := metadataEntry(z, t.Name.Canon, fields[1])
	if err != nil {
		return nil, err
	}
	body, err := unpack(file, entry)
	if err != nil {
		return nil, err
	}
	headers := parseMetadata(body)
	if headers["metadata-version"] == "" {
		return nil, errors.New("METADATA has no Metadata-Version")
	}
	if got := headers["name"]; normalizeName(got) != t.Name.Canon {
		return nil, fmt.Errorf("METADATA is of %q", clip(got))
	}
	if got := headers["version"]; versionKey(got) != versionKey(fields[1]) {
		return nil, fmt.Errorf("METADATA is of version %q", clip(got))
	}
	return body, nil
}

// metadataEntry finds the one NAME-VERSION.dist-info/METADATA of the archive.
func metadataEntry(z *zip.Reader, canon, versionText string) (*zip.File, error) {
	var found *zip.File
	for _, e := range z.File {
		dir, base, ok := strings.Cut(strings.ReplaceAll(e.Name, `\`, "/"), "/")
		stem, isInfo := cutSuffixFold(dir, ".dist-info")
		if !ok || !isInfo || !strings.EqualFold(base, "METADATA") {
			continue
		}
		if found != nil {
			return nil, errors.New("more than one METADATA")
		}
		found = e
		name, v, ok := strings.Cut(stem, "-")
		if !ok || normalizeName(name) != canon || versionKey(v) != versionKey(versionText) || e.Name != dir+"/METADATA" {
			return nil, fmt.Errorf("%q does not belong to this wheel", clip(e.Name))
		}
	}
	if found == nil {
		return nil, errors.New("no METADATA")
	}
	return found, nil
}

// unpack reads one entry within the limits, and only if its local header says
// the same as the directory: readers differ on which of the two they believe.
func unpack(file formats.File, e *zip.File) ([]byte, error) {
	if !e.Mode().IsRegular() || e.Flags&1 != 0 || e.Method != zip.Store && e.Method != zip.Deflate {
		return nil, errors.New("METADATA is not a plain entry")
	}
	if e.UncompressedSize64 > maxMetadata || e.UncompressedSize64 > maxRatio*(e.CompressedSize64+1) {
		return nil, fmt.Errorf("METADATA unpacks from %d to %d bytes", e.CompressedSize64, e.UncompressedSize64)
	}
	if err := sameLocalName(file, e); err != nil {
		return nil, err
	}
	r, err := e.Open()
	if err != nil {
		return nil, fmt.Errorf("open METADATA: %w", err)
	}
	defer r.Close()
	// The declared size is the archive's word only: count what comes out.
	body, err := io.ReadAll(io.LimitReader(r, int64(e.UncompressedSize64)+1))
	if err != nil {
		return nil, fmt.Errorf("read METADATA: %w", err)
	}
	if uint64(len(body)) != e.UncompressedSize64 || !utf8.Valid(body) {
		return nil, errors.New("METADATA is not as its entry says")
	}
	return body, nil
}

func sameLocalName(file formats.File, e *zip.File) error {
	data, err := e.DataOffset()
	if err != nil {
		return fmt.Errorf("find METADATA: %w", err)
	}
	// The name ends where the extra field begins; both lengths are in the local
	// header, whose start is at most 30 bytes and two 16-bit lengths before.
	const fixed = 30
	window := make([]byte, min(data, fixed+2*65_535))
	if _, err := file.ReadAt(window, data-int64(len(window))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read local header: %w", err)
	}
	for at := len(window) - fixed - len(e.Name); at >= 0; at-- {
		h := window[at:]
		if binary.LittleEndian.Uint32(h) != 0x04034b50 {
			continue
		}
		nameLen, extraLen := int(binary.LittleEndian.Uint16(h[26:])), int(binary.LittleEndian.Uint16(h[28:]))
		if at+fixed+nameLen+extraLen == len(window) {
			if string(h[fixed:fixed+nameLen]) == e.Name {
				return nil
			}
			break
		}
	}
	return errors.New("the local header of METADATA names another file")
}

const (
	endSignature = 0x06054b50
	endSize      = 22
)

// endRecord is what the end of a ZIP file says of it.
type endRecord struct {
	entries     int
	start, size int64 // of the directory
}

// readEnd reads the end record of a ZIP file that has exactly one: at the very
// end, right behind the directory that it names.
func readEnd(file formats.File) (endRecord, error) {
	tail := make([]byte, min(file.Size(), endSize+65_535))
	if _, err := file.ReadAt(tail, file.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return endRecord{}, fmt.Errorf("read end of archive: %w", err)
	}
	mark := binary.LittleEndian.AppendUint32(nil, endSignature)
	at := bytes.LastIndex(tail, mark)
	if at < 0 || len(tail)-at < endSize || bytes.Count(tail, mark) != 1 {
		return endRecord{}, errors.New("not a ZIP archive with one end record")
	}
	end := tail[at:]
	r := endRecord{
		entries: int(binary.LittleEndian.Uint16(end[10:])),
		size:    int64(binary.LittleEndian.Uint32(end[12:])),
		start:   int64(binary.LittleEndian.Uint32(end[16:])),
	}
	comment := int(binary.LittleEndian.Uint16(end[20:]))
	switch {
	case comment != len(end)-endSize:
		return r, errors.New("archive has bytes behind its end record")
	case r.entries == maxEntries || r.size > maxDirectory:
		return r, errors.New("archive has too many entries")
	case r.start+r.size != file.Size()-int64(len(end)):
		return r, errors.New("archive's directory is not where its end record says")
	}
	return r, nil
}

// openArchive opens a ZIP file that has exactly one reading.
func openArchive(file formats.File) (*zip.Reader, error) {
	end, err := readEnd(file)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(file, file.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if len(z.File) != end.entries {
		return nil, errors.New("archive's entry count is wrong")
	}
	return z, nil
}

// maxField bounds one header field of core metadata, in bytes.
const maxField = 4 << 10

// parseMetadata reads the header fields of core metadata that matter here,
// names in lower case; of a repeated field the first counts.
func parseMetadata(body []byte) map[string]string {
	out := make(map[string]string)
	last := ""
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last != "" && len(out[last])+len(line) < maxField {
				out[last] += " " + string(bytes.TrimSpace(line))
			}
			continue
		}
		key, val, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			break
		}
		last = ""
		name := strings.ToLower(string(key[:min(len(key), 32)]))
		switch name {
		case "metadata-version", "name", "version", "requires-python":
			if _, again := out[name]; !again && len(val) < maxField {
				out[name], last = string(bytes.TrimSpace(val)), name
			}
		}
	}
	return out
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}
