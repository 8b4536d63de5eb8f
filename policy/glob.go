package policy

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// glob is a compiled pattern: * stands for any run of characters, also of
// slashes and colons, ? for one character (IAM's own rule). A policy variable
// is replaced by a caller's attribute, in which * and ? mean themselves.
type glob struct {
	source string
	parts  []part
}

type part struct {
	kind partKind
	text string   // of a literal; of varPrincipalTag: the tag's key
	v    variable // of a variable
}

type partKind uint8

const (
	literal partKind = iota
	star
	question
	variablePart
)

// variable is a policy variable of the closed list.
type variable uint8

const (
	noVariable variable = iota
	varUserName
	varUserID
	varPrincipalARN
	varPrincipalAccount
	varPrincipalTag
)

// parseVariable reads ${...} at the start of s and returns its length, 0 if it
// is none of the list.
func parseVariable(s string) (p part, n int) {
	p.kind = variablePart
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return p, 0
	}
	name, tag, tagged := strings.Cut(s[2:end], "/")
	switch name = strings.ToLower(name); {
	case tagged && tag != "" && name == "aws:principaltag":
		p.v, p.text = varPrincipalTag, tag
	case tagged:
		return p, 0
	case name == "aws:username":
		p.v = varUserName
	case name == "aws:userid":
		p.v = varUserID
	case name == "aws:principalarn":
		p.v = varPrincipalARN
	case name == "aws:principalaccount":
		p.v = varPrincipalAccount
	default:
		return p, 0
	}
	return p, end + 1
}

const variableProblem = "has a policy variable other than ${aws:username}, ${aws:userid}, ${aws:PrincipalArn}, ${aws:PrincipalAccount} and ${aws:PrincipalTag/KEY}"

// compileGlob compiles a pattern without policy variables.
func compileGlob(s string) glob {
	g, _ := compilePattern(s, true, false)
	return g
}

// compilePattern compiles s. Without wild, * and ? mean themselves; with
// variables, ${...} is a policy variable, and one that is not supported is a
// problem.
func compilePattern(s string, wild, variables bool) (g glob, problem string) {
	g.source = s
	from := 0
	flush := func(to int) {
		if to > from {
			g.parts = append(g.parts, part{kind: literal, text: s[from:to]})
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case wild && (c == '*' || c == '?'):
			flush(i)
			kind := question
			if c == '*' {
				kind = star
			}
			if n := len(g.parts); kind == question || n == 0 || g.parts[n-1].kind != star {
				g.parts = append(g.parts, part{kind: kind})
			}
			i++
			from = i
		case variables && c == '$' && strings.HasPrefix(s[i:], "${"):
			v, n := parseVariable(s[i:])
			if n == 0 {
				return glob{}, variableProblem
			}
			flush(i)
			g.parts = append(g.parts, v)
			i += n
			from = i
		default:
			i++
		}
	}
	flush(len(s))
	return g, ""
}

// prefix is the text that everything the pattern matches begins with.
func (g *glob) prefix() string {
	if len(g.parts) > 0 && g.parts[0].kind == literal {
		return g.parts[0].text
	}
	return ""
}

// unresolved reports whether the pattern names an attribute the caller lacks.
func (g *glob) unresolved(c *Caller) bool {
	for i := range g.parts {
		if g.parts[i].kind == variablePart && c.variable(&g.parts[i]) == "" {
			return true
		}
	}
	return false
}

// match reports whether all of s matches. A pattern with an unresolved variable
// matches nothing.
func (g *glob) match(s string, c *Caller) bool {
	var buf [256]byte // no name, ARN or tag is longer in plain letters
	return g.matchBytes(append(buf[:0], s...), c)
}

// matchBytes walks pattern and text once. On a mismatch only the last * is
// widened: an earlier one never needs to be, since the part between them was
// found at its leftmost place. So the cost is at most the product of the two
// lengths, whatever the number of stars.
func (g *glob) matchBytes(s []byte, c *Caller) bool {
	pi, si := 0, 0
	starPart, starAt := -1, 0
	for {
		if pi == len(g.parts) {
			if si == len(s) {
				return true
			}
		} else if p := &g.parts[pi]; p.kind == star {
			if pi == len(g.parts)-1 {
				return true
			}
			starPart, starAt = pi, si
			pi++
			if si = g.seek(pi, s, si); si < 0 {
				return false
			}
			starAt = si
			continue
		} else if n, ok := p.match(s[si:], c); ok {
			pi++
			si += n
			continue
		}
		if starPart < 0 || starAt >= len(s) {
			return false
		}
		pi = starPart + 1
		if si = g.seek(pi, s, starAt+runeLen(s[starAt:])); si < 0 {
			return false
		}
		starAt = si
	}
}

// seek is the first place from at where part pi, which follows a *, can stand:
// a literal is found at once, other parts are tried where they are. It is -1
// for nowhere.
func (g *glob) seek(pi int, s []byte, at int) int {
	if p := &g.parts[pi]; p.kind == literal {
		n := indexOf(s[at:], p.text)
		if n < 0 {
			return -1
		}
		at += n
	}
	return at
}

// indexOf is bytes.Index with a string.
func indexOf(s []byte, lit string) int {
	for from := 0; len(s)-from >= len(lit); from++ {
		at := bytes.IndexByte(s[from:len(s)-len(lit)+1], lit[0])
		if at < 0 {
			return -1
		}
		if from += at; string(s[from:from+len(lit)]) == lit {
			return from
		}
	}
	return -1
}

// match matches a part that is no star at the start of s.
func (p *part) match(s []byte, c *Caller) (n int, ok bool) {
	want := p.text
	switch p.kind {
	case question:
		if len(s) == 0 {
			return 0, false
		}
		return runeLen(s), true
	case variablePart:
		if want = c.variable(p); want == "" {
			return 0, false
		}
	}
	if len(s) < len(want) || string(s[:len(want)]) != want {
		return 0, false
	}
	return len(want), true
}

// runeLen is the length of the first character of s, which is not empty.
func runeLen(s []byte) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRune(s)
	return n
}

// matchARNPattern is ArnLike: the six parts of an ARN are matched one by one,
// so that a * stays within its part, except in the last.
func matchARNPattern(parts *[6]glob, s string, c *Caller) bool {
	for i := range parts {
		field := s
		if i < 5 {
			at := strings.IndexByte(s, ':')
			if at < 0 {
				return false
			}
			field, s = s[:at], s[at+1:]
		}
		if !parts[i].match(field, c) {
			return false
		}
	}
	return true
}
