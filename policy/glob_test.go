package policy

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// globExpression is the pattern as a regular expression, whose engine is linear.
func globExpression(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
	for _, r := range pattern {
		switch r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"", "", true}, {"", "x", false}, {"?", "", false}, {"?", "é", true}, {"??", "é", false},
		{"a*c", "a/b:c", true}, {"a*c", "a/b:cd", false}, {"*.x", "a.x.x", true}, {"a**b", "ab", true}, {"*??", "€", false},
		{"arn:*:repository/*/x?", "arn:aws:codeartifact:eu-1:1:repository/d/e/x1", true},
		{"*ab*ab*", "xabyab", true}, {"*ab*ab", "xabyabz", false}, {"a?*?d", "abcd", true}, {"a?*?d", "abd", false},
	} {
		if g := compileGlob(c.pattern); g.match(c.text, nil) != c.want {
			t.Errorf("%q against %q: want %t", c.pattern, c.text, c.want)
		}
	}
}

func TestGlobEqualsRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet []rune, most int) string {
		out := make([]rune, r.IntN(most))
		for i := range out {
			out[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(out)
	}
	matched := 0
	for range 20000 {
		pattern, text := word([]rune("ab€**?/"), 8), word([]rune("ab€/"), 10)
		g, want := compileGlob(pattern), globExpression(pattern).MatchString(text)
		if g.match(text, nil) != want {
			t.Fatalf("%q against %q: want %t", pattern, text, want)
		}
		if want {
			matched++
		}
	}
	if matched < 1000 {
		t.Errorf("only %d pairs matched: the test compares nothing", matched)
	}
}

// TestGlobDoesNotBlowUp would not end in a matcher that tries every way to
// divide the text among the stars.
func TestGlobDoesNotBlowUp(t *testing.T) {
	text := strings.Repeat("a", 1000)
	for _, p := range []string{"*?", "*a", "*aa*?", "?*"} {
		pattern := strings.Repeat(p, 200) + "b"
		if g := compileGlob(pattern); g.match(text, nil) {
			t.Errorf("%.20s...: matched", pattern)
		}
		doc := allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/` + pattern + `"`)
		s, err := NewSet(Attached{Document: parse(t, IdentityDocument, doc)})
		if err != nil {
			t.Fatal(err)
		}
		q := &Request{Caller: reader, Action: ReadFromRepository, Resource: domainMain}
		q.Resource.Domain = text
		if d := Evaluate(q, s); d.Verdict != Deny {
			t.Errorf("%.20s...: got %+v", pattern, d)
		}
	}
}

// TestVariablesAreText: what a variable stands for is no pattern.
func TestVariablesAreText(t *testing.T) {
	g, problem := compilePattern("x/${aws:username}/*", true, true)
	if problem != "" {
		t.Fatal(problem)
	}
	for _, c := range []struct {
		user, text string
		want       bool
	}{{"ann", "x/ann/y", true}, {"ann", "x/bob/y", false}, {"*", "x/bob/y", false}, {"*", "x/*/y", true}, {"", "x//y", false}, {"??", "x/ab/y", false}} {
		if got := g.match(c.text, &Caller{UserName: c.user}); got != c.want {
			t.Errorf("user %q against %q: got %t", c.user, c.text, got)
		}
	}
}

func TestWords(t *testing.T) {
	for pattern, want := range map[string]string{
		"arn:aws:codeartifact:*:11:repository/main/r1/*": "arn: aws: codeartifact: 11: repository/ main/ r1/",
		"arn:aws:codeartifact:*:11:repository/main/r1*":  "arn: aws: codeartifact: 11: repository/ main/ r1",
		"*r/main": "main", "ab*": "ab", "*ab": "", "a?b/c": "a c", "a:b": "a: b", "*": "", "x//y": "x/ y",
	} {
		g := compileGlob(pattern)
		if got := strings.Join(g.words(), " "); got != want {
			t.Errorf("%s: got %q, want %q", pattern, got, want)
		}
	}
}
