package npm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds nesting of foreign JSON. Real manifests stay under 20.
const maxDepth = 200

var (
	errJSON = errors.New("not valid JSON")
	// errCut: what is there is good so far, but ends inside a value.
	errCut = fmt.Errorf("%w: ends inside a value", errJSON)
)

// checkValue validates the JSON value at the start of b[i:] (RFC 8259) and
// returns the index behind it. Manifests are copied byte for byte into
// documents of other packages' versions, so one that is not well-formed would
// spoil the whole document.
func checkValue(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return i, fmt.Errorf("%w: nested deeper than %d", errJSON, maxDepth)
	}
	if i >= len(b) {
		return i, errCut
	}
	switch c := b[i]; {
	case c == '{':
		return checkObject(b, i, depth)
	case c == '[':
		return checkArray(b, i, depth)
	case c == '"':
		return checkString(b, i)
	case c == '-' || '0' <= c && c <= '9':
		return checkNumber(b, i)
	default:
		for _, lit := range [...]string{"true", "false", "null"} {
			if n := min(len(b)-i, len(lit)); string(b[i:i+n]) != lit[:n] {
				continue
			} else if n < len(lit) {
				return i, errCut
			}
			return i + len(lit), nil
		}
		return i, fmt.Errorf("%w: unexpected byte %q", errJSON, c)
	}
}

func checkObject(b []byte, i, depth int) (int, error) {
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(b) {
			return i, errCut
		} else if b[i] != '"' {
			return i, fmt.Errorf("%w: object key expected", errJSON)
		}
		var err error
		if i, err = checkString(b, i); err != nil {
			return i, err
		}
		if i = space(b, i); i >= len(b) {
			return i, errCut
		} else if b[i] != ':' {
			return i, fmt.Errorf("%w: colon expected", errJSON)
		}
		if i, err = checkValue(b, space(b, i+1), depth+1); err != nil {
			return i, err
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return i, errCut
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == '}':
			return i + 1, nil
		default:
			return i, fmt.Errorf("%w: comma or brace expected", errJSON)
		}
	}
}

func checkArray(b []byte, i, depth int) (int, error) {
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = checkValue(b, i, depth+1); err != nil {
			return i, err
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return i, errCut
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == ']':
			return i + 1, nil
		default:
			return i, fmt.Errorf("%w: comma or bracket expected", errJSON)
		}
	}
}

func checkString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		c := b[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		if c == '"' {
			return i + 1, nil
		}
		if c != '\\' {
			return i, fmt.Errorf("%w: control character in string", errJSON)
		}
		if i++; i >= len(b) {
			return i, errCut
		}
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			n := min(len(b)-i-1, 4)
			if !hex4(b[i+1 : i+1+n]) {
				return i, fmt.Errorf("%w: bad escape in string", errJSON)
			} else if n < 4 {
				return i, errCut
			}
			i += 4
		default:
			return i, fmt.Errorf("%w: bad escape in string", errJSON)
		}
	}
	return i, errCut
}

func hex4(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

func checkNumber(b []byte, i int) (int, error) {
	digits := func() bool {
		from := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return i, badNumber(b, i)
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return i, badNumber(b, i)
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return i, badNumber(b, i)
		}
	}
	return i, nil
}

func badNumber(b []byte, i int) error {
	if i >= len(b) {
		return errCut
	}
	return fmt.Errorf("%w: bad number", errJSON)
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index behind the value at b[i], which checkValue
// accepted before. On anything else it stops at the end of b.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
	default:
		for i < len(b) {
			switch b[i] {
			case ',', '}', ']', ' ', '\n', '\t', '\r':
				return i
			}
			i++
		}
		return i
	}
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		slashes := 0
		for n-slashes > 0 && b[i+n-slashes-1] == '\\' {
			slashes++
		}
		i += n + 1
		if slashes%2 == 0 {
			return i
		}
	}
	return len(b)
}

// member is one member of a JSON object by offsets into it.
type member struct {
	key        []byte // unescaped, without quotes
	start      int    // of the key's opening quote
	from, till int    // the value
}

// object walks the members of a valid JSON object in order.
type object struct {
	b []byte
	i int
}

// openObject starts a walk over the object at the start of b; ok is false for
// any other kind of value.
func openObject(b []byte) (object, bool) {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return object{}, false
	}
	return object{b, i + 1}, true
}

// next reads the following member; it returns false at the end.
func (o *object) next(m *member) bool {
	b := o.b
	i := space(b, o.i)
	if i < len(b) && b[i] == ',' {
		i = space(b, i+1)
	}
	if i >= len(b) || b[i] != '"' {
		o.i = len(b)
		return false
	}
	m.start = i
	i = skipString(b, i)
	m.key = unquote(b[m.start:i])
	if i = space(b, i); i >= len(b) || b[i] != ':' {
		o.i = len(b)
		return false
	}
	m.from = space(b, i+1)
	if m.till = skipValue(b, m.from); m.till == m.from {
		o.i = len(b)
		return false
	}
	o.i = m.till
	return true
}

// find returns the value of the last member with the given key, as JSON.parse
// would take it, or nil.
func find(b []byte, key string) []byte {
	var val []byte
	var m member
	for o, ok := openObject(b); ok && o.next(&m); {
		if string(m.key) == key {
			val = b[m.from:m.till]
		}
	}
	return val
}

// unquote returns the text of a JSON string, sharing b where nothing is
// escaped; anything else gives nil.
func unquote(b []byte) []byte {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return nil
	}
	if bytes.IndexByte(b, '\\') < 0 {
		return b[1 : len(b)-1]
	}
	var s string
	if json.Unmarshal(b, &s) != nil {
		return nil
	}
	return []byte(s)
}

// text is unquote as a string.
func text(b []byte) string { return string(unquote(b)) }

// appendString appends s as a JSON string. Only what must be escaped is.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // invalid bytes become U+FFFD
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}
