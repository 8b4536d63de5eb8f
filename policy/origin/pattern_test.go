package origin

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"larder/formats"
)

func TestParsePattern(t *testing.T) {
	for _, c := range []struct {
		in, out string
		form    Form
	}{
		{"/*", "/*", FormRoot},
		{"/npm/*", "/npm/*", FormFormat},
		{"/maven/com.anycompany~", "/maven/com.anycompany~", FormNamespacePrefix},
		{"/npm/space/*", "/npm/space/*", FormNamespace},
		{"/npm//*", "/npm//*", FormNamespace},
		{"/npm/space/anycompany-ui~", "/npm/space/anycompany-ui~", FormNamePrefix},
		{"/npm//react~", "/npm//react~", FormNamePrefix},
		{"/maven/org.apache/log4j-core$", "/maven/org.apache/log4j-core$", FormExact},
		{"/npm//AsyncStorage$", "/npm//AsyncStorage$", FormExact},
		{"/npm//foo~bar$", "/npm//foo~bar$", FormExact},
		{"/npm//été~", "/npm//été~", FormNamePrefix},
		{"/npm//e\u0301~", "/npm//e\u0301~", FormNamePrefix}, // a mark goes on with a word
		{"/pypi//Foo_.Bar$", "/pypi//foo-bar$", FormExact},
		{"/pypi//foo.bar~", "/pypi//foo-bar~", FormNamePrefix},
		{"/pypi//*", "/pypi//*", FormNamespace},
		{"/nuget//Newtonsoft.Json$", "/nuget//newtonsoft.json$", FormExact},
		{"/swift/Apple/Swift-NIO$", "/swift/apple/swift-nio$", FormExact},
		{"/generic/builds/nightly$", "/generic/builds/nightly$", FormExact},
		{"/ruby//rails$", "/ruby//rails$", FormExact},
		{"/cargo//serde_json~", "/cargo//serde_json~", FormNamePrefix},
		{"/go//example.com/acme~", "/go//example.com/acme~", FormNamePrefix},
		{"/go//example.com/acme/tool/v2$", "/go//example.com/acme/tool/v2$", FormExact},
	} {
		p, err := ParsePattern(c.in)
		if err != nil || p.String() != c.out || p.Form() != c.form {
			t.Errorf("ParsePattern(%q) = %q form %d, %v; want %q form %d", c.in, p, p.Form(), err, c.out, c.form)
			continue
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Errorf("ParsePattern(%q) = %+v, %v; want %+v", p.String(), again, err, p)
		}
		if p.Length() != utf8.RuneCountInString(c.out) {
			t.Errorf("length of %q is %d", c.out, p.Length())
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for in, why := range map[string]string{
		"":                             "characters",
		"/":                            "characters",
		"/" + strings.Repeat("a", 520): "characters",
		"/npm":                         "want /*",
		"/npm/":                        "want /*",
		"/~":                           "want /*",
		"npm//foo$":                    "want /*",
		"//npm/*":                      "format",
		"/NPM/*":                       "format",
		"/python//requests$":           "format",
		"/debian/*":                    "format",
		"/npm//foo":                    "want /*",
		"/npm/foo$":                    "want /*",
		"/npm//$":                      "want /*",
		"/npm/a/b/c$":                  "want /*",
		"/npm/a/b/c~":                  "want /*",
		"/npm/a/b/*":                   "'*'",
		"/npm//foo-*":                  "'*'",
		"/npm//foo*":                   "'*'",
		"/npm/foo*":                    "'*'",
		"/npm/*/foo$":                  "'*'",
		"/npm//f*o$":                   "'*'",
		"/npm/space~/foo$":             "'~'",
		"/npm//foo-~":                  "'~'",
		"/npm//~":                      "'~'",
		"/npm/~":                       "'~'",
		"/npm//foo~~":                  "'~'",
		"/npm/@space/*":                "'@'",
		"/npm//foo bar$":               "space",
		"/npm//foo\u00a0bar$":          "space",
		"/npm//foo\tbar$":              "space",
		"/npm//foo\u200bbar$":          "invisible",
		"/npm//foo\u3164$":             "invisible", // a Hangul filler is a letter
		"/npm//foo#bar$":               "'#'",
		"/npm//foo\xff$":               "UTF-8",
		"/pypi/foo/*":                  "no namespace",
		"/pypi/foo~":                   "no namespace",
		"/nuget/a/b$":                  "no namespace",
		"/ruby/a/b$":                   "no namespace",
		"/cargo/a/b$":                  "no namespace",
		"/go/example.com/acme~":        "no namespace",
		"/go//example.com/acme/*":      "'*'",
		"/go//example.com//acme$":      "module path",
		"/go///acme$":                  "module path",
		"/go//acme/$":                  "module path",
		"/maven//log4j$":               "must give it",
		"/maven//log4j~":               "must give it",
		"/maven//*":                    "must give it",
		"/swift//nio$":                 "must give it",
		"/generic//nightly$":           "must give it",
		"/npm//" + strings.Repeat("a", 256) + "$": "255",
	} {
		_, err := ParsePattern(in)
		if !errors.Is(err, ErrValidation) || !strings.Contains(err.Error(), why) {
			t.Errorf("ParsePattern(%q) = %v; want a validation error with %q", in, err, why)
		}
	}
}

func mustParse(t testing.TB, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern    string
		coordinate Coordinate
		want       Strength
	}{
		{"/*", Coordinate{"debian", "", "bash"}, Strong},
		{"/npm/*", Coordinate{"npm", "", "react"}, Strong},
		{"/npm/*", Coordinate{"pypi", "", "react"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "foo"}, Strong},
		{"/npm//foo~", Coordinate{"npm", "", "foo-bar"}, Strong},
		{"/npm//foo~", Coordinate{"npm", "", "foo..bar"}, Strong}, // the separators stand behind the prefix
		{"/npm//foo~", Coordinate{"npm", "", "food"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "foo1"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "fooBar"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "foo\u0301"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "fo"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "x", "foo"}, NoMatch},
		{"/npm//foo~", Coordinate{"npm", "", "Foo"}, Weak},
		{"/npm//foo~", Coordinate{"npm", "", "Foo_Bar"}, Weak},
		{"/npm//foo~", Coordinate{"npm", "", "f0o-bar"}, Weak},
		{"/npm//foo~", Coordinate{"npm", "", "Food"}, NoMatch},
		{"/npm//foo-bar~", Coordinate{"npm", "", "Foo_Bar"}, Weak},
		{"/npm//foo-bar~", Coordinate{"npm", "", "foo..bar"}, Weak},
		{"/npm//foo-bar~", Coordinate{"npm", "", "foo._-bar-x"}, Weak},
		{"/npm//foo-bar~", Coordinate{"npm", "", "foobar"}, NoMatch},
		{"/npm//foo-bar$", Coordinate{"npm", "", "foo-bar"}, Strong},
		{"/npm//foo-bar$", Coordinate{"npm", "", "foo-bar-x"}, NoMatch},
		{"/npm//foo-bar$", Coordinate{"npm", "", "foo_bar"}, Weak},
		{"/npm//foo-bar$", Coordinate{"npm", "", "foobar"}, NoMatch},
		{"/npm//modern$", Coordinate{"npm", "", "modem"}, Weak},
		{"/npm//acme$", Coordinate{"npm", "", "аcmе"}, Weak},         // Cyrillic а and е
		{"/npm//acme$", Coordinate{"npm", "", "ａｃｍｅ"}, Weak},         // full width
		{"/npm//acme$", Coordinate{"npm", "", "ac\u200bme"}, Weak},   // zero width space
		{"/npm//acme$", Coordinate{"npm", "", "acmé"}, NoMatch},      // accents can be seen
		{"/npm//utils$", Coordinate{"npm", "", "uti1s"}, Weak},       // one
		{"/npm//utils$", Coordinate{"npm", "", "utiIs"}, Weak},       // capital i
		{"/npm//node-foo$", Coordinate{"npm", "", "nοde‐fоо"}, Weak}, // Greek, hyphen, Cyrillic
		{"/npm/space/*", Coordinate{"npm", "space", "any"}, Strong},
		{"/npm/space/*", Coordinate{"npm", "@space", "any"}, Strong},
		{"/npm/space/*", Coordinate{"npm", "Space", "any"}, Weak},
		{"/npm/space/*", Coordinate{"npm", "spaces", "any"}, NoMatch},
		{"/npm/space/*", Coordinate{"npm", "", "space"}, NoMatch},
		{"/npm/space/ui~", Coordinate{"npm", "Space", "ui-x"}, Weak},
		{"/npm//*", Coordinate{"npm", "", "react"}, Strong},
		{"/npm//*", Coordinate{"npm", "space", "react"}, NoMatch},
		{"/maven/com.anycompany~", Coordinate{"maven", "com.anycompany", "x"}, Strong},
		{"/maven/com.anycompany~", Coordinate{"maven", "com.anycompany.util", "x"}, Strong},
		{"/maven/com.anycompany~", Coordinate{"maven", "com.anycompanyfoo", "x"}, NoMatch},
		{"/maven/com.anycompany~", Coordinate{"maven", "com-anycompany", "x"}, Weak},
		{"/pypi//foo-bar$", Coordinate{"pypi", "", "Foo__Bar"}, Strong},
		{"/pypi//foo-bar$", Coordinate{"pypi", "ignored", "foo-bar"}, Strong},
		{"/pypi//foo-bar$", Coordinate{"pypi", "", "f00-bar"}, Weak},
		{"/nuget//a.b$", Coordinate{"nuget", "", "A.B"}, Strong},
		{"/nuget//a.b$", Coordinate{"nuget", "", "a-b"}, Weak},
		{"/swift/acme/nio$", Coordinate{"swift", "ACME", "NIO"}, Strong},
		{"/cargo//serde_json$", Coordinate{"cargo", "", "serde-json"}, Weak},
		{"/go//example.com/acme~", Coordinate{"go", "", "example.com/acme"}, Strong},
		{"/go//example.com/acme~", Coordinate{"go", "example.com/acme", "tool"}, Strong},
		{"/go//example.com/acme~", Coordinate{"go", "", "example.com/acme/tool/v2"}, Strong},
		{"/go//example.com/acme~", Coordinate{"go", "", "example.com/acme-x"}, Strong},
		{"/go//example.com/acme~", Coordinate{"go", "", "example.com/acmex"}, NoMatch},
		{"/go//example.com/acme~", Coordinate{"go", "", "example.com/Acme/tool"}, Weak},
	} {
		if got := mustParse(t, c.pattern).Match(c.coordinate); got != c.want {
			t.Errorf("%s matches %+v %v; want %v", c.pattern, c.coordinate, got, c.want)
		}
	}
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		format string
		name   formats.Name
		want   Coordinate
	}{
		{"npm", formats.Name{Canon: "@scope/x", NS: "scope"}, Coordinate{"npm", "scope", "x"}},
		{"npm", formats.Name{Canon: "@scope/x"}, Coordinate{"npm", "scope", "x"}},
		{"npm", formats.Name{Canon: "x"}, Coordinate{"npm", "", "x"}},
		{"maven", formats.Name{Canon: "g.h:a", NS: "g.h"}, Coordinate{"maven", "g.h", "a"}},
		{"pypi", formats.Name{Canon: "x-y", Display: "X_Y"}, Coordinate{"pypi", "", "x-y"}},
		{"go", formats.Name{Canon: "example.com/a/b"}, Coordinate{"go", "", "example.com/a/b"}},
		{"go", formats.Name{Canon: "example.com/a/b", NS: "example.com/a"}, Coordinate{"go", "", "example.com/a/b"}},
	} {
		if got := Of(c.format, c.name); got != c.want {
			t.Errorf("Of(%s, %+v) = %+v; want %+v", c.format, c.name, got, c.want)
		}
	}
}

// FuzzPattern: parsing never panics, is idempotent and accepts only what matches
// itself strongly; a name that a pattern names is never its variation.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/*", "/npm/*", "/npm//foo~", "/pypi//Foo_Bar$", "/go//example.com/a~", "/maven/a.b/c$", "/swift/É/ß$", "/nuget//İ$", "//", "/npm/a/\xff$"} {
		f.Add(s, "foo-bar")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		p, err := ParsePattern(s)
		if err != nil {
			if !errors.Is(err, ErrValidation) {
				t.Fatalf("%q: %v is no validation error", s, err)
			}
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q -> %q -> %+v, %v", s, p, again, err)
		}
		self := Coordinate{p.format, p.namespace, p.name}
		if got := p.Match(self); got != Strong {
			t.Fatalf("%q matches what it names %v", p, got)
		}
		tr, err := New([]Group{{Pattern: s}})
		if p.form == FormRoot || err != nil {
			return
		}
		for _, c := range []Coordinate{self, {p.format, p.namespace, name}, {p.format, p.namespace, strings.ToUpper(p.name)}, {p.format, name, p.name},
			{p.format, p.namespace, p.name + name}, {p.format, p.namespace + name, p.name}} {
			got, want := tr.root, p.Match(c)
			if want != NoMatch {
				got = tr.groups[p.String()]
			}
			if n, strong := tr.associate(c); n != got || strong == (want == Weak) {
				t.Fatalf("%q and %q: the tree says %s, strong %v; the pattern says %v", p, c, n.text, strong, want)
			}
			n := c.normal()
			if spelled := p.covers(p.namespace, p.name, n.Namespace, n.Name); spelled != (want == Strong) {
				t.Fatalf("%q names %q (%v), but the match is %v", p, c, spelled, want)
			}
		}
	})
}
