package maven

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"larder/formats"
)

// metadata is what larder reads of one maven-metadata.xml (Maven repository
// metadata model 1.1.0), without the version list.
type metadata struct {
	model                    string // modelVersion attribute
	group, artifact, version string
	latest, release          string
	updated                  string // lastUpdated, yyyyMMddHHmmss
	versioned                bool   // has <versioning>
	plugins                  []plugin
	snap                     *snapshotInfo
	builds                   []snapshotVersion
	extra, versioningExtra   [][]byte // unknown elements, byte-exact
}

// plugin is one entry of group-level metadata.
type plugin struct {
	name, prefix, artifact string
	extra                  [][]byte
}

// snapshotInfo is versioning/snapshot.
type snapshotInfo struct {
	timestamp string
	number    int
	localCopy bool
}

// snapshotVersion is one versioning/snapshotVersions/snapshotVersion.
type snapshotVersion struct {
	classifier, extension, value, updated string
}

const stampLayout = "20060102150405"

// time returns lastUpdated, zero when it is absent or malformed.
func (m *metadata) time() time.Time {
	t, err := time.Parse(stampLayout, m.updated)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Parse reads an artifact-, group- or snapshot-level maven-metadata.xml. The
// head's Raw is the document without the children of <versions>, byte-exact;
// a snapshot-level or group-level document has a head only.
func (f *Format) Parse(t formats.Target, _ formats.Source, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	seen := map[string]struct{}{}
	var raw bytes.Buffer
	m, err := scan(r, &raw, func(v string) error {
		if _, dup := seen[v]; dup || t.Doc != "" || !isVersion(v) {
			return nil // not addressable by any client, or said before
		}
		if len(seen) >= maxVersions {
			return fmt.Errorf("more than %d versions", maxVersions)
		}
		seen[v] = struct{}{}
		return emit(&formats.Version{V: v})
	})
	if err == nil {
		err = m.mustBe(t)
	}
	if err == nil && len(seen) == 0 && t.Doc == "" {
		// Some old documents name a release but list nothing.
		for _, v := range sortVersions([]string{m.release, m.latest}) {
			if err == nil && v != "" {
				err = emit(&formats.Version{V: v})
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", metadataFile, t.Name.Show(), err)
	}
	h := &formats.Head{Raw: raw.Bytes(), Modified: m.time()}
	if m.latest != "" || m.release != "" {
		h.Tags = map[string]string{}
		for tag, v := range map[string]string{"latest": m.latest, "release": m.release} {
			if v != "" {
				h.Tags[tag] = v
			}
		}
	}
	return h, nil
}

// mustBe refuses another package's document. Both levels of "a/b" are legal
// there, and Maven itself leaves the ids out of group-level documents.
func (m *metadata) mustBe(t formats.Target) error {
	group, artifact := coordinates(t.Name)
	if m.artifact == "" {
		if m.group != "" && m.group != group && m.group != strings.ReplaceAll(t.Name.Canon, ":", ".") {
			return fmt.Errorf("document is of group %q", m.group)
		}
	} else if m.artifact != artifact || m.group != "" && m.group != group {
		return fmt.Errorf("document is of %s:%s", m.group, m.artifact)
	}
	if t.Doc != "" && m.version != "" && m.version != t.Doc {
		return fmt.Errorf("document is of version %q", m.version)
	}
	return nil
}

// scanner walks one document.
type scanner struct {
	dec   *xml.Decoder
	tape  *tape
	prev  int64 // offset before the last token
	depth int
	raw   *bytes.Buffer // receives everything but the version list; may be nil
	m     metadata
	space string // namespace of the root
}

// scan reads a whole document; onVersion gets each text of versions/version.
func scan(r io.Reader, raw *bytes.Buffer, onVersion func(string) error) (*metadata, error) {
	tp := newTape(r)
	s := &scanner{dec: xml.NewDecoder(tp), tape: tp, raw: raw}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	s.space = root.Name.Space
	for _, a := range root.Attr {
		if a.Name.Local == "modelVersion" && a.Name.Space == "" && len(a.Value) <= 16 {
			s.m.model = a.Value
		}
	}
	if err := s.children(func(e xml.StartElement) error { return s.top(e, onVersion) }); err != nil {
		return nil, err
	}
	for {
		tok, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, ok := tok.(xml.StartElement); ok {
			return nil, errors.New("a second root element")
		}
		if c, ok := tok.(xml.CharData); ok && len(bytes.TrimSpace(c)) > 0 {
			return nil, errors.New("text after the document")
		}
	}
	s.flush()
	return &s.m, nil
}

// flush moves what is on the tape to raw.
func (s *scanner) flush() {
	end := s.tape.base + int64(len(s.tape.buf))
	s.flushTo(end)
}

func (s *scanner) flushTo(end int64) {
	if s.raw != nil {
		s.raw.Write(s.tape.cut(s.tape.base, end))
	}
	s.tape.drop(end)
}

// next returns the next token; document type declarations are refused, so no
// entity is ever defined.
func (s *scanner) next() (xml.Token, error) {
	s.prev = s.dec.InputOffset()
	tok, err := s.dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok.(type) {
	case xml.Directive:
		return nil, errors.New("document type declarations are not allowed")
	case xml.StartElement:
		if s.depth++; s.depth > maxDepth {
			return nil, fmt.Errorf("elements are nested deeper than %d", maxDepth)
		}
	case xml.EndElement:
		s.depth--
	}
	return tok, nil
}

func (s *scanner) root() (xml.StartElement, error) {
	for {
		tok, err := s.next()
		if errors.Is(err, io.EOF) {
			return xml.StartElement{}, errors.New("empty document")
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Local != "metadata" {
				return tok, fmt.Errorf("root element is <%.40s>, not <metadata>", tok.Name.Local)
			}
			return tok, nil
		case xml.CharData:
			if len(bytes.TrimSpace(bytes.TrimPrefix(tok, []byte("\ufeff")))) > 0 {
				return xml.StartElement{}, errors.New("text before the document")
			}
		}
	}
}

// children calls fn for each child of the element just opened; fn must consume
// the child's end tag.
func (s *scanner) children(fn func(xml.StartElement) error) error {
	for {
		tok, err := s.next()
		if err != nil {
			return unexpected(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if err := fn(tok); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// text returns the trimmed text of the element just opened; elements inside
// are passed over.
func (s *scanner) text() (string, error) {
	var b []byte
	depth := s.depth
	for {
		tok, err := s.next()
		if err != nil {
			return "", unexpected(err)
		}
		switch tok := tok.(type) {
		case xml.CharData:
			if s.depth == depth {
				b = append(b, tok...)
			}
		case xml.EndElement:
			if s.depth < depth {
				return string(bytes.TrimSpace(b)), nil
			}
		}
	}
}

// into reads the element's text into dst unless it fails the grammar.
func (s *scanner) into(dst *string, legal func(string) bool) error {
	text, err := s.text()
	if err == nil && legal(text) {
		*dst = text
	}
	return err
}

func isText(s string) bool    { return len(s) <= 1024 }
func isUpdated(s string) bool { _, err := time.Parse(stampLayout, s); return err == nil }

// unknown keeps an element that the model does not name, unless it could not
// stand in a document of ours: a foreign namespace, or an absolute URL.
func (s *scanner) unknown(e xml.StartElement, into *[][]byte) error {
	from, depth := s.prev, s.depth
	foreign := s.foreign(e)
	for s.depth >= depth {
		tok, err := s.next()
		if err != nil {
			return unexpected(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			foreign = foreign || s.foreign(e)
		}
	}
	raw := s.tape.cut(from, s.dec.InputOffset())
	if !foreign && len(raw) <= maxFragment && !bytes.Contains(raw, []byte("://")) {
		*into = append(*into, bytes.Clone(raw))
	}
	return nil
}

func (s *scanner) foreign(e xml.StartElement) bool {
	if e.Name.Space != s.space {
		return true
	}
	for _, a := range e.Attr {
		if a.Name.Space != "" || a.Name.Local == "xmlns" {
			return true
		}
	}
	return false
}

// top reads one child of <metadata>.
func (s *scanner) top(e xml.StartElement, onVersion func(string) error) error {
	switch e.Name.Local {
	case "groupId":
		return s.into(&s.m.group, isText)
	case "artifactId":
		return s.into(&s.m.artifact, isText)
	case "version":
		return s.into(&s.m.version, isText)
	case "versioning":
		s.m.versioned = true
		return s.children(func(e xml.StartElement) error { return s.versioning(e, onVersion) })
	case "plugins":
		return s.children(s.plugin)
	}
	return s.unknown(e, &s.m.extra)
}

func (s *scanner) versioning(e xml.StartElement, onVersion func(string) error) error {
	switch e.Name.Local {
	case "latest":
		return s.into(&s.m.latest, isVersion)
	case "release":
		return s.into(&s.m.release, isVersion)
	case "lastUpdated":
		return s.into(&s.m.updated, isUpdated)
	case "versions":
		return s.versions(onVersion)
	case "snapshot":
		return s.snapshot()
	case "snapshotVersions":
		return s.children(s.snapshotVersion)
	}
	return s.unknown(e, &s.m.versioningExtra)
}

// versions hands the list over one by one and keeps nothing of it.
func (s *scanner) versions(onVersion func(string) error) error {
	s.flushTo(s.dec.InputOffset())
	err := s.children(func(e xml.StartElement) error {
		text, err := s.text()
		if err != nil {
			return err
		}
		s.tape.drop(s.dec.InputOffset())
		if e.Name.Local != "version" || onVersion == nil {
			return nil
		}
		return onVersion(text)
	})
	if err != nil {
		return err
	}
	s.tape.drop(s.prev) // raw goes on with the end tag
	return nil
}

func (s *scanner) plugin(e xml.StartElement) error {
	var p plugin
	err := s.children(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "name":
			return s.into(&p.name, func(s string) bool { return isText(s) && !strings.Contains(s, "://") })
		case "prefix":
			return s.into(&p.prefix, isText)
		case "artifactId":
			return s.into(&p.artifact, isArtifact)
		}
		return s.unknown(e, &p.extra)
	})
	if err == nil && e.Name.Local == "plugin" && p.artifact != "" {
		s.m.plugins = append(s.m.plugins, p)
	}
	return err
}

func (s *scanner) snapshot() error {
	var info snapshotInfo
	var number, local string
	err := s.children(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "timestamp":
			return s.into(&info.timestamp, isTimestamp)
		case "buildNumber":
			return s.into(&number, isText)
		case "localCopy":
			return s.into(&local, isText)
		}
		_, err := s.text()
		return err
	})
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(number, 10, 30); err == nil {
		info.number = int(n)
	}
	info.localCopy = local == "true"
	s.m.snap = &info
	return nil
}

func (s *scanner) snapshotVersion(xml.StartElement) error {
	var v snapshotVersion
	err := s.children(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "classifier":
			return s.into(&v.classifier, func(s string) bool { return s == "" || isFile(s) })
		case "extension":
			return s.into(&v.extension, isFile)
		case "value":
			return s.into(&v.value, isVersion)
		case "updated":
			return s.into(&v.updated, isUpdated)
		}
		_, err := s.text()
		return err
	})
	if err == nil && v.extension != "" && v.value != "" {
		s.m.builds = append(s.m.builds, v)
	}
	return err
}
