package pypi

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest project name accepted, in bytes. Names are a path
// segment and the start of a file name, and file systems end those at 255.
const maxName = 214

// maxSegment is the longest file name or version accepted, in bytes.
const maxSegment = 255

// validName reports whether s is a project name by the core metadata grammar:
// ASCII letters, digits, ".", "-", "_", beginning and ending with a letter or
// digit.
func validName(s string) bool {
	if s == "" || len(s) > maxName || !alnum(s[0]) || !alnum(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alnum(c) && !separator(c) {
			return false
		}
	}
	return true
}

// normalizeName lower-cases ASCII and turns every run of "-", "_" and "." into
// one "-" (PEP 503).
func normalizeName(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if separator(c) {
			for i+1 < len(s) && separator(s[i+1]) {
				i++
			}
			c = '-'
		} else if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// cleanSegment reports whether s can be a file name or a version: one path
// segment that no file system or URL library will read as anything else.
func cleanSegment(s string) bool {
	if s == "" || len(s) > maxSegment || !utf8.ValidString(s) || s[0] == '.' {
		return false
	}
	if last := s[len(s)-1]; last == '.' || last == ' ' || s[0] == ' ' {
		return false
	}
	for _, r := range s {
		if r == '/' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// escapeSegment percent-encodes s for use as one path segment, also where a
// ":" in the first segment of a relative reference would read as a scheme.
func escapeSegment(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 6)
	for i := range len(s) {
		c := s[i]
		if alnum(c) || separator(c) || c == '~' || c == '!' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digit(c)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func separator(c byte) bool { return c == '-' || c == '_' || c == '.' }
