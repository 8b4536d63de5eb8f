package cargo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"larder/formats"
)

// maxLine bounds one line of an index file in bytes. Crates with thousands of
// features have lines beyond 64 KiB.
const maxLine = 8 << 20

// Parse reads an index file: one JSON object a line, one line a version (The
// Cargo Book, "Index files"). Each line is kept byte for byte, so fields that
// larder does not know reach the client.
func (*Format) Parse(t formats.Target, src formats.Source, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head := &formats.Head{}
	if at, err := http.ParseTime(src.Header.Get("Last-Modified")); err == nil {
		head.Modified = at
	}
	seen := make(map[string]bool)
	for number := 1; ; number++ {
		line, err := readLine(br)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read index of %s: line %d: %w", t.Name.Canon, number, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			entry, v, lineErr := parseLine(t.Name.Canon, line)
			if lineErr != nil {
				return nil, fmt.Errorf("read index of %s: line %d: %w", t.Name.Canon, number, lineErr)
			}
			if entry.Name != t.Name.Canon {
				head.Display = entry.Name
			}
			switch {
			case v == nil: // no semantic version: cargo passes over the line too
			case seen[v.V]:
				return nil, fmt.Errorf("read index of %s: line %d: version %s is there twice", t.Name.Canon, number, v.V)
			default:
				seen[v.V] = true
				if err := emit(v); err != nil {
					return nil, err
				}
			}
		}
		if err == io.EOF {
			break
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("read index of %s: it names no version", t.Name.Canon)
	}
	return head, nil
}

// readLine returns a fresh slice without the line end. io.EOF comes with the
// last line, terminated or not.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
}

// indexEntry is the part of a line that larder acts on.
type indexEntry struct {
	Name, Vers, Cksum, PubTime string
	Yanked                     bool
}

// parseLine reads one line. v is nil where the version is no semantic version.
func parseLine(canon string, line []byte) (indexEntry, *formats.Version, error) {
	entry, err := decodeEntry(line)
	if err != nil {
		return entry, nil, err
	}
	if strings.ToLower(entry.Name) != canon || !validName(entry.Name) {
		return entry, nil, fmt.Errorf("it is about crate %.80q", entry.Name)
	}
	if !validVersion(entry.Vers) {
		return entry, nil, nil
	}
	sum, err := formats.ParseDigest(formats.SHA256, entry.Cksum)
	if err != nil {
		return entry, nil, fmt.Errorf("checksum of %s: %w", entry.Vers, err)
	}
	asset := formats.Asset{File: crateFile(canon, entry.Vers), Digests: []formats.Digest{sum}}
	if entry.Name != canon {
		asset.Aux = []byte(entry.Name) // download templates need this spelling
	}
	v := &formats.Version{V: entry.Vers, Raw: line}
	if at, err := time.Parse(time.RFC3339, entry.PubTime); err == nil {
		v.Published, v.From = at, formats.TimeUpstream
		asset.Uploaded, asset.From = at, formats.TimeUpstream
	}
	if entry.Yanked {
		v.Flags |= formats.Yanked
		asset.Flags |= formats.Yanked
	}
	v.Assets = []formats.Asset{asset}
	return entry, v, nil
}

// decodeEntry reads a line's object with exact field names, as cargo does;
// encoding/json alone would also take "CKSUM" for "cksum" and let the last of
// two win, so that larder and cargo could see two different versions.
func decodeEntry(line []byte) (indexEntry, error) {
	var e indexEntry
	dec := json.NewDecoder(bytes.NewReader(line))
	if tok, err := dec.Token(); err != nil {
		return e, fmt.Errorf("not JSON: %w", err)
	} else if tok != json.Delim('{') {
		return e, errors.New("not a JSON object")
	}
	seen := make(map[string]bool, 16)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return e, fmt.Errorf("not JSON: %w", err)
		}
		key, _ := tok.(string)
		if seen[key] {
			return e, fmt.Errorf("field %.80q is there twice", key)
		}
		seen[key] = true
		var into any = new(json.RawMessage)
		switch key {
		case "name":
			into = &e.Name
		case "vers":
			into = &e.Vers
		case "cksum":
			into = &e.Cksum
		case "pubtime":
			into = &e.PubTime
		case "yanked":
			into = &e.Yanked
		}
		if err := dec.Decode(into); err != nil {
			return e, fmt.Errorf("field %.80q: %w", key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return e, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return e, errors.New("text after the JSON object")
	}
	return e, nil
}

// Render writes the index file, or the web API's version list.
func (*Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	var rows []*formats.Version
	for _, row := range v.Versions {
		if len(row.Raw) > 0 { // a version known by its archive alone has no line
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return nil, nothing(v)
	}
	if t.Variant == variantVersions {
		return renderVersions(w, v, rows)
	}
	bw := bufio.NewWriter(w)
	for _, row := range rows {
		bw.Write(row.Raw)
		bw.WriteByte('\n')
	}
	if err := bw.Flush(); err != nil {
		return nil, fmt.Errorf("write index: %w", err)
	}
	return header(v, typeIndex), nil
}

// header gives Last-Modified beside the type where upstream told it.
func header(v *formats.View, contentType string) http.Header {
	h := http.Header{"Content-Type": {contentType}}
	var modified time.Time
	for _, layer := range v.Layers {
		if layer.Head != nil && layer.Head.Modified.After(modified) {
			modified = layer.Head.Modified
		}
	}
	if !modified.IsZero() && len(v.Hidden) == 0 && !v.Offline {
		h.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	return h
}

// nothing words an index file without lines. 404 makes cargo say that the crate
// does not exist, 403 shows the message.
func nothing(v *formats.View) *formats.Refusal {
	switch {
	case len(v.Hidden) > 0:
		return formats.Refuse(formats.Blocked, "every version of crate %s is blocked here: %s", v.Name.Show(), v.Hidden[0].Reason)
	case v.Offline:
		return formats.Refuse(formats.NotHeld, "crate %s is not held here, and this node is offline", v.Name.Show())
	}
	return formats.Refuse(formats.NotFound, "crate %s does not exist here", v.Name.Show())
}

// apiVersion is one entry of the web API's version list.
type apiVersion struct {
	Crate    string `json:"crate"`
	Num      string `json:"num"`
	DLPath   string `json:"dl_path"`
	Checksum string `json:"checksum,omitempty"`
	Created  string `json:"created_at,omitempty"`
	Yanked   bool   `json:"yanked"`
}

// renderVersions writes {"versions":[...]}, newest first, with what the index
// knows.
func renderVersions(w io.Writer, v *formats.View, rows []*formats.Version) (http.Header, error) {
	list := struct {
		Versions []apiVersion `json:"versions"`
	}{}
	for i := len(rows) - 1; i >= 0; i-- {
		row := rows[i]
		out := apiVersion{Crate: v.Name.Show(), Num: row.V, Yanked: row.Flags&formats.Yanked != 0}
		if asset := row.Asset(crateFile(v.Name.Canon, row.V)); asset != nil {
			out.Crate = spelling(v.Name, asset)
			if d, ok := formats.Find(asset.Digests, formats.SHA256); ok {
				out.Checksum = d.Hex
			}
		}
		out.DLPath = v.Base + "/api/v1/crates/" + out.Crate + "/" + row.V + "/download"
		if !row.Published.IsZero() && row.From == formats.TimeUpstream {
			out.Created = row.Published.UTC().Format(time.RFC3339)
		}
		list.Versions = append(list.Versions, out)
	}
	if err := json.NewEncoder(w).Encode(list); err != nil {
		return nil, fmt.Errorf("write version list: %w", err)
	}
	return header(v, typeJSON), nil
}

// spelling is the crate's name as its index line has it.
func spelling(n formats.Name, a *formats.Asset) string {
	if a != nil && len(a.Aux) > 0 {
		return string(a.Aux)
	}
	if a != nil {
		return n.Canon
	}
	return n.Show()
}

// Available reports whether the crate's archive is held.
func (*Format) Available(v *formats.Version) (*formats.Version, bool) {
	for i := range v.Assets {
		if _, ok := v.Held[v.Assets[i].File]; ok {
			return v, true
		}
	}
	return v, false
}
