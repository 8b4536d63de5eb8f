package origin

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"larder/formats"
)

// Coordinate names a package. Spellings that the format holds for the same are
// the same here: it is normalised before it is compared.
type Coordinate struct {
	Format    string
	Namespace string // npm scope without "@", Maven group; "" where there is none
	Name      string // Go: the whole module path
}

// Of is the coordinate of a name as larder's rows have it.
func Of(format string, n formats.Name) Coordinate {
	c := Coordinate{Format: format, Namespace: n.NS, Name: n.Canon}
	switch format {
	case "npm":
		if scope, name, ok := strings.Cut(n.Canon, "/"); ok && strings.HasPrefix(scope, "@") {
			c.Namespace, c.Name = scope[1:], name
		}
	case "maven":
		if group, artifact, ok := strings.Cut(n.Canon, ":"); ok {
			c.Namespace, c.Name = group, artifact
		}
	case "go":
		c.Namespace = ""
	case "generic":
		if ns, name, ok := strings.Cut(n.Canon, "/"); ok {
			c.Namespace, c.Name = ns, name
		}
	}
	return c
}

// normal returns c as patterns are spelled.
func (c Coordinate) normal() Coordinate {
	switch {
	case c.Format == "go" && c.Namespace != "":
		c.Namespace, c.Name = "", c.Namespace+"/"+c.Name
	case blankNamespace(c.Format):
		c.Namespace = ""
	case c.Format == "npm":
		c.Namespace = strings.TrimPrefix(c.Namespace, "@")
	}
	c.Namespace, c.Name = normalize(c.Format, c.Namespace), normalize(c.Format, c.Name)
	return c
}

// normalize is the format's own normalisation of a namespace or a name: PEP 503
// for PyPI, lower case for NuGet and Swift, nothing for the others.
func normalize(format, s string) string {
	switch format {
	case "pypi":
		return normalizePyPI(s)
	case "nuget", "swift":
		return strings.ToLower(s)
	}
	return s
}

func normalizePyPI(s string) string {
	s = strings.ToLower(s)
	if !strings.ContainsAny(s, "._") && !strings.Contains(s, "--") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if isSeparator(c) {
			if len(b) > 0 && b[len(b)-1] == '-' {
				continue
			}
			c = '-'
		}
		b = append(b, c)
	}
	return string(b)
}

func isSeparator(c byte) bool { return c == '-' || c == '.' || c == '_' }

// Strength says how a coordinate matches a pattern.
type Strength uint8

// A greater strength is a better match.
const (
	NoMatch Strength = iota
	Weak             // only the spelling is alike: a variation of what the pattern names
	Strong           // exactly what the pattern names
)

func (s Strength) String() string { return [...]string{"NONE", "WEAK", "STRONG"}[s] }

// Match says how c matches p, whatever other groups there are.
func (p Pattern) Match(c Coordinate) Strength {
	if p.form == FormRoot {
		return Strong
	}
	c = c.normal()
	switch {
	case p.format != c.Format:
		return NoMatch
	case p.covers(p.namespace, p.name, c.Namespace, c.Name):
		return Strong
	case p.covers(Fold(p.namespace), Fold(p.name), Fold(c.Namespace), Fold(c.Name)):
		return Weak
	}
	return NoMatch
}

// covers compares by p's form: the first pair is the pattern's, the second the
// coordinate's.
func (p Pattern) covers(namespace, name, cNamespace, cName string) bool {
	switch p.form {
	case FormNamespacePrefix:
		return hasWordPrefix(cNamespace, namespace)
	case FormNamespace:
		return cNamespace == namespace
	case FormNamePrefix:
		return cNamespace == namespace && hasWordPrefix(cName, name)
	case FormExact:
		return cNamespace == namespace && cName == name
	}
	return true
}

// hasWordPrefix reports whether s starts with prefix and prefix ends where a word
// of s ends. A word is [\p{L}\p{N}][\p{L}\p{N}\p{M}]*; there are no boundaries
// inside CamelCase.
func hasWordPrefix(s, prefix string) bool {
	return strings.HasPrefix(s, prefix) && endsWord(prefix) && !startsInWord(s[len(prefix):])
}

// endsWord reports whether s ends in a word.
func endsWord(s string) bool {
	for s != "" {
		if c := s[len(s)-1]; c < utf8.RuneSelf {
			return isWordByte(c)
		}
		r, size := utf8.DecodeLastRuneInString(s)
		if !unicode.IsMark(r) {
			return unicode.IsLetter(r) || unicode.IsNumber(r)
		}
		s = s[:len(s)-size]
	}
	return false
}

// startsInWord reports whether s goes on with a word that stands before it.
func startsInWord(s string) bool {
	if s == "" {
		return false
	}
	if s[0] < utf8.RuneSelf {
		return isWordByte(s[0])
	}
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z'
}

// wordEnd returns the greatest i <= limit at which a word of s ends, -1 for none.
// limit may stand inside a character. The order of the two questions keeps a long
// run of marks linear.
func wordEnd(s string, limit int) int {
	for i := limit; i > 0; i-- {
		if !startsInWord(s[i:]) && endsWord(s[:i]) {
			return i
		}
	}
	return -1
}
