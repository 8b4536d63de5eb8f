package pypi

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxFields bounds the header fields of core metadata.
const maxFields = 16_384

var errNotMetadata = errors.New("not core metadata")

// coreMetadata is a METADATA or PKG-INFO file, read whole.
type coreMetadata struct {
	fields map[string][]string // name in lower case
	body   string              // what follows the header: the description
}

// readCoreMetadata reads header fields and body. Folded lines are joined as
// they stand, each after a newline.
func readCoreMetadata(text []byte) (*coreMetadata, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", errNotMetadata)
	}
	m := &coreMetadata{fields: make(map[string][]string)}
	last, n := "", 0
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			m.body = string(rest)
			break
		}
		text = rest
		if line[0] == ' ' || line[0] == '\t' {
			if last == "" {
				return nil, fmt.Errorf("%w: it begins with a folded line", errNotMetadata)
			}
			continued(m.fields, last, &text, line)
			continue
		}
		key, val, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(key) == 0 || bytes.ContainsAny(key, " \t") {
			return nil, fmt.Errorf("%w: %q is no header field", errNotMetadata, clip(string(line)))
		}
		if n++; n > maxFields {
			return nil, fmt.Errorf("%w: more than %d header fields", errNotMetadata, maxFields)
		}
		last = strings.ToLower(string(key))
		m.fields[last] = append(m.fields[last], string(bytes.TrimSpace(val)))
	}
	return m, nil
}

// continued appends a run of folded lines to the last value of a field.
func continued(fields map[string][]string, key string, text *[]byte, line []byte) {
	values := fields[key]
	var b strings.Builder
	b.WriteString(values[len(values)-1])
	for {
		b.WriteByte('\n')
		b.Write(line)
		if len(*text) == 0 || (*text)[0] != ' ' && (*text)[0] != '\t' {
			break
		}
		var rest []byte
		line, rest, _ = bytes.Cut(*text, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		*text = rest
	}
	values[len(values)-1] = b.String()
}

// first is a field's first value, "" where it is absent.
func (m *coreMetadata) first(key string) string {
	if values := m.fields[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// belongs reports why m does not describe d. The three fields that identify
// must appear once: readers differ on which of two counts.
func (m *coreMetadata) belongs(d *distribution) error {
	for _, key := range [...]string{"metadata-version", "name", "version"} {
		if n := len(m.fields[key]); n != 1 {
			return fmt.Errorf("%w: %d fields %q", errNotMetadata, n, key)
		}
	}
	if major, _, _ := strings.Cut(m.first("metadata-version"), "."); major != "1" && major != "2" {
		return fmt.Errorf("metadata version %q is not known", clip(m.first("metadata-version")))
	}
	if name := m.first("name"); !validName(name) || normalizeName(name) != d.canon {
		return fmt.Errorf("its metadata is of %q, not of %s", clip(name), d.canon)
	}
	if v, ok := parseVersion(m.first("version")); !ok || v.String() != d.version {
		return fmt.Errorf("its metadata is of version %q, not of %s", clip(m.first("version")), d.version)
	}
	return nil
}

// description is the README: the body, or the older header field, in which
// continuation lines are marked.
func (m *coreMetadata) description() string {
	if strings.TrimSpace(m.body) != "" {
		return m.body
	}
	text := m.first("description")
	if text == "UNKNOWN" {
		return ""
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines[1:] {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "       |"), "        ")
		lines[i+1] = line
	}
	return strings.Join(lines, "\n")
}
