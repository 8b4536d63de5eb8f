package identity

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// unreserved reports the bytes that stand for themselves (RFC 3986 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

func appendEscaped(dst []byte, c byte) []byte {
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// normalQuery decodes one part of a raw query and encodes it in the one way of
// SigV4. A plus sign is itself, never a space. It reports false for a broken
// escape.
func normalQuery(s string) (string, bool) {
	dst := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, ok := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok || !ok2 {
				return "", false
			}
			c, i = hi<<4|lo, i+2
		}
		if unreserved(c) {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return string(dst), true
}

// appendCanonicalQuery writes the canonical form of a raw query: parts
// re-encoded, sorted by name and then by value, a missing "=" added.
func appendCanonicalQuery(dst []byte, raw string) ([]byte, bool) {
	if raw == "" {
		return dst, true
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, ok := normalQuery(name)
		v, ok2 := normalQuery(value)
		if !ok || !ok2 {
			return dst, false
		}
		pairs = append(pairs, pair{n, v})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, p.name...)
		dst = append(dst, '=')
		dst = append(dst, p.value...)
	}
	return dst, true
}

// appendCanonicalPath encodes the path as it was sent once more, which is the
// rule of every service but S3. Dot segments and double slashes are not folded:
// SDKs disagree about that, and no path of these APIs holds any.
func appendCanonicalPath(dst []byte, path string) []byte {
	if path == "" {
		return append(dst, '/')
	}
	for i := range len(path) {
		if c := path[i]; unreserved(c) || c == '/' {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

// appendCanonicalHeader writes "name:values\n", values trimmed, runs of spaces
// folded, several joined by a comma. It reports false for a header that was
// signed but not sent.
func appendCanonicalHeader(dst []byte, r *http.Request, name string) ([]byte, bool) {
	dst = append(dst, name...)
	dst = append(dst, ':')
	values := r.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		// net/http takes these out of the header.
		switch {
		case name == "host":
			values = []string{r.Host}
		case name == "content-length" && r.ContentLength >= 0:
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		case name == "transfer-encoding" && len(r.TransferEncoding) > 0:
			values = r.TransferEncoding
		default:
			return dst, false
		}
	} else if name == "host" {
		return dst, false // cannot come from net/http, so it is not what routed the request
	}
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFolded(dst, v)
	}
	return append(dst, '\n'), true
}

// appendFolded writes v without the spaces around it and with single ones in it.
func appendFolded(dst []byte, v string) []byte {
	v = strings.TrimSpace(v)
	for i := range len(v) {
		if v[i] == ' ' && v[i-1] == ' ' { // i > 0: trimmed
			continue
		}
		dst = append(dst, v[i])
	}
	return dst
}

// canonicalRequest is the text whose digest is signed. It reports what it could
// not take as an *Error.
func canonicalRequest(r *http.Request, signed []string, payload string) ([]byte, error) {
	dst := make([]byte, 0, 1024)
	dst = append(dst, r.Method...)
	dst = append(dst, '\n')
	dst = appendCanonicalPath(dst, r.URL.EscapedPath())
	dst = append(dst, '\n')
	dst, ok := appendCanonicalQuery(dst, r.URL.RawQuery)
	if !ok {
		return nil, incomplete("The query string holds a malformed escape.")
	}
	dst = append(dst, '\n')
	for _, name := range signed {
		if dst, ok = appendCanonicalHeader(dst, r, name); !ok {
			return nil, invalidSignature("The header '%s' is signed, but not in the request.", name)
		}
	}
	dst = append(dst, '\n')
	for i, name := range signed {
		if i > 0 {
			dst = append(dst, ';')
		}
		dst = append(dst, name...)
	}
	dst = append(dst, '\n')
	return append(dst, payload...), nil
}
