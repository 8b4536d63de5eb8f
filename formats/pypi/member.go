package pypi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// member is one member of a JSON object with its spelling kept: rawKey includes
// the quotes, raw is the value's exact bytes.
type member struct {
	key    string
	rawKey []byte
	raw    []byte
}

var errMalformed = errors.New("malformed JSON")

// members splits a valid JSON object into its members, in order, without
// copying values. A repeated name is an error: readers disagree on which of the
// two counts, and a check must not look at another one than the client.
func members(object []byte) ([]member, error) {
	out := make([]member, 0, 12)
	var seen map[string]bool // only for objects too large to look through
	err := eachElement(object, '{', '}', func(rawKey, raw []byte) error {
		key, err := stringValue(rawKey)
		if err != nil {
			return err
		}
		twice := seen[key]
		if len(out) < manyMembers {
			twice = slices.ContainsFunc(out, func(m member) bool { return m.key == key })
		}
		if twice {
			return fmt.Errorf("member %q appears twice", clip(key))
		}
		out = append(out, member{key, rawKey, raw})
		if len(out) == manyMembers {
			seen = make(map[string]bool)
			for _, m := range out {
				seen[m.key] = true
			}
		} else if seen != nil {
			seen[key] = true
		}
		return nil
	})
	return out, err
}

// manyMembers is where a map beats a look at each member.
const manyMembers = 32

// elements calls fn with each element of a valid JSON array.
func elements(array []byte, fn func(raw []byte) error) error {
	return eachElement(array, '[', ']', func(_, raw []byte) error { return fn(raw) })
}

// eachElement walks one level of an object or array. The text has passed
// json.Valid, but every index is checked all the same.
func eachElement(text []byte, open, end byte, fn func(key, raw []byte) error) error {
	s := jsonScanner{text: bytes.TrimSpace(text)}
	if !s.take(open) {
		return errMalformed
	}
	s.space()
	if s.take(end) {
		return nil
	}
	for {
		var key []byte
		if open == '{' {
			s.space()
			key = s.value()
			s.space()
			if len(key) == 0 || key[0] != '"' || !s.take(':') {
				return errMalformed
			}
		}
		s.space()
		raw := s.value()
		if len(raw) == 0 {
			return errMalformed
		}
		if err := fn(key, raw); err != nil {
			return err
		}
		s.space()
		if s.take(end) {
			return nil
		}
		if !s.take(',') {
			return errMalformed
		}
	}
}

type jsonScanner struct {
	text []byte
	pos  int
}

func (s *jsonScanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *jsonScanner) take(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// value returns the text of the value at pos and moves behind it.
func (s *jsonScanner) value() []byte {
	start, depth := s.pos, 0
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch c {
		case '"':
			s.skipString()
			if depth == 0 {
				return s.text[start:s.pos]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.text[start:s.pos]
			}
			if depth--; depth == 0 {
				s.pos++
				return s.text[start:s.pos]
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return s.text[start:s.pos]
			}
		}
		s.pos++
	}
	return s.text[start:]
}

func (s *jsonScanner) skipString() {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			return
		}
	}
	s.pos = len(s.text)
}

// stringValue decodes a JSON string.
func stringValue(raw []byte) (string, error) {
	if len(raw) >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var out string
	if len(raw) == 0 || raw[0] != '"' {
		return "", fmt.Errorf("want a string, got %s", clip(string(raw)))
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return "", err
	}
	return out, nil
}

func isNull(raw []byte) bool { return string(raw) == "null" }

// quote renders s as a JSON string without HTML escapes.
func quote(s string) []byte {
	if plain(s) {
		out := make([]byte, 0, len(s)+2)
		return append(append(append(out, '"'), s...), '"')
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return []byte(`""`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// plain reports whether s needs no escape in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// textMap decodes an object of strings; null counts as absent.
func textMap(raw []byte) (map[string]string, error) {
	ms, err := members(raw)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(ms))
	for _, m := range ms {
		if isNull(m.raw) {
			continue
		}
		if out[m.key], err = stringValue(m.raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// holdsURL reports whether any string inside a valid JSON value is a reference
// to another host. Members we do not know are passed on, but not those that
// would lead a client past this node.
func holdsURL(raw []byte) bool {
	if bytes.IndexByte(raw, '\\') < 0 && !bytes.Contains(raw, []byte("//")) {
		return false
	}
	var found bool
	s := jsonScanner{text: raw}
	for s.pos < len(s.text) && !found {
		if s.text[s.pos] != '"' {
			s.pos++
			continue
		}
		start := s.pos
		s.skipString()
		text, err := stringValue(s.text[start:s.pos])
		found = err != nil || strings.Contains(text, "://") || strings.HasPrefix(text, "//")
	}
	return found
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
