package pypi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

// maxPage bounds a project page. Grouping files by version needs all of it,
// since an index may list them in any order.
const maxPage = 64 << 20

var errNotPage = errors.New("not a project page of a Python package index")

// page is a project page in one shape, whatever it was written in.
type page struct {
	head  []byte   // JSON object: every member but "files"
	name  string   // as upstream wrote it, "" where HTML does not say
	files [][]byte // JSON objects
	known []string // "versions"
	base  *url.URL // resolves the files' references
}

// Parse reads a project page in JSON or HTML and emits its versions in the
// order in which their files appear, then the versions that have no files.
func (f *Format) Parse(t formats.Target, src formats.Source, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxPage+1))
	if err != nil {
		return nil, fmt.Errorf("read project page: %w", err)
	}
	if len(body) > maxPage {
		return nil, fmt.Errorf("project page is larger than %d bytes", maxPage)
	}
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: not UTF-8", errNotPage)
	}
	base, err := url.Parse(src.URL)
	if err != nil {
		return nil, fmt.Errorf("parse address of project page: %w", err)
	}
	var p *page
	if isHTML(src.Header.Get("Content-Type"), body) {
		p, err = readHTML(body, base, t.Name.Canon)
	} else {
		p, err = readJSON(body, base)
	}
	if err != nil {
		return nil, fmt.Errorf("read project page of %s: %w", t.Name.Canon, err)
	}
	if p.name != "" && normalizeName(p.name) != t.Name.Canon {
		return nil, fmt.Errorf("read project page of %s: it is the page of %q", t.Name.Canon, clip(p.name))
	}
	versions, err := p.versions(t.Name.Canon)
	if err != nil {
		return nil, fmt.Errorf("read project page of %s: %w", t.Name.Canon, err)
	}
	head := &formats.Head{Raw: p.head}
	if p.name != "" && p.name != t.Name.Canon {
		head.Display = p.name
	}
	for _, v := range versions {
		if v.Published.After(head.Modified) {
			head.Modified = v.Published
		}
		if err := emit(v); err != nil {
			return nil, err
		}
	}
	return head, nil
}

// isHTML decides by the declared type, and by the first character where the
// type says nothing about it: static mirrors declare all sorts of types.
func isHTML(declared string, body []byte) bool {
	kind, _, _ := mime.ParseMediaType(declared)
	switch {
	case strings.HasSuffix(kind, "+json"), kind == "application/json":
		return false
	case strings.HasSuffix(kind, "html"), kind == "application/xhtml+xml":
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

func readJSON(body []byte, base *url.URL) (*page, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return nil, fmt.Errorf("%w: not a JSON object", errNotPage)
	}
	ms, err := members(body)
	if err != nil {
		return nil, err
	}
	p := &page{base: base}
	head := bytes.NewBuffer([]byte("{"))
	var named, filed bool
	for _, m := range ms {
		switch m.key {
		case "files":
			filed = true
			err = elements(m.raw, func(raw []byte) error { p.files = append(p.files, raw); return nil })
			if err != nil {
				return nil, fmt.Errorf(`member "files": %w`, err)
			}
			continue
		case "name":
			named = true
			p.name, err = stringValue(m.raw)
		case "versions":
			err = json.Unmarshal(m.raw, &p.known)
		case "meta":
			err = checkMeta(m.raw)
		}
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", clip(m.key), err)
		}
		writeMember(head, m.rawKey, m.raw)
	}
	if !named || !filed || !validName(p.name) {
		return nil, fmt.Errorf("%w: no name or no files", errNotPage)
	}
	head.WriteByte('}')
	p.head = head.Bytes()
	return p, nil
}

// checkMeta refuses another major version of the protocol (PEP 629).
func checkMeta(raw []byte) error {
	var meta struct {
		Version string `json:"api-version"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return err
	}
	if major, _, _ := strings.Cut(meta.Version, "."); major != "1" {
		return fmt.Errorf("api-version %q is not known", clip(meta.Version))
	}
	return nil
}

func writeMember(b *bytes.Buffer, rawKey, raw []byte) {
	if b.Len() > 1 {
		b.WriteByte(',')
	}
	b.Write(rawKey)
	b.WriteByte(':')
	b.Write(raw)
}

// versions groups the files of a page. A file that appears twice counts once,
// unless its digests disagree.
func (p *page) versions(canon string) ([]*formats.Version, error) {
	var out []*formats.Version
	byVersion := make(map[string]*formats.Version)
	byFile := make(map[string][]formats.Digest)
	keys := make(map[string]bool)
	for _, raw := range p.files {
		f, err := decodeFile(raw)
		if err != nil {
			return nil, err
		}
		assets, err := f.assets(p.base, raw)
		if err != nil {
			return nil, err
		}
		if before, twice := byFile[f.name]; twice {
			if was, is, conflict := formats.Disagree(before, assets[0].Digests); conflict {
				return nil, fmt.Errorf("file %s appears with %s and with %s", f.name, was, is)
			}
			continue
		}
		byFile[f.name] = assets[0].Digests
		text := versionOf(canon, f.name)
		v := byVersion[text]
		if v == nil {
			v = &formats.Version{V: text, Flags: formats.Yanked}
			byVersion[text] = v
			keys[versionKey(text)] = true
			out = append(out, v)
		}
		v.Assets = append(v.Assets, assets...)
		if !f.yanked {
			v.Flags &^= formats.Yanked
		}
		if at := assets[0].Uploaded; !at.IsZero() && (v.Published.IsZero() || at.Before(v.Published)) {
			v.Published, v.From = at, assets[0].From
		}
	}
	for _, text := range p.known {
		if !cleanSegment(text) {
			return nil, fmt.Errorf("version %q is not usable", clip(text))
		}
		if key := versionKey(text); !keys[key] {
			keys[key] = true
			out = append(out, &formats.Version{V: normalizeVersion(text)})
		}
	}
	return out, nil
}
