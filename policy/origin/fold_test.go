package origin

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestFold(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"foo-bar", "FOO__.bar"},
		{"foo", "fοо"},
		{"lib", "1IB"},
		{"rnodel", "model"},
		{"æon", "AEON"},
		{"ｆｏｏ", "foo"},
		{"𝖋𝖔𝖔", "foo"},
		{"ⓕoo", "foo"},
		{"ﬁle", "file"},
		{"straße", "STRASSE"},
		{"Ꭰata", "ꭰata"},
		{"a\u00adb", "ab"},
		{"a\ufe0f", "a"},
		{"é", "e\u0301"},
		{"pаypаl", "paypal"},
		{"νue", "vue"},
		{"ΝODE", "node"},
		{"a–b", "a_b"},
	} {
		if Fold(c.a) != Fold(c.b) {
			t.Errorf("Fold(%q) = %q, Fold(%q) = %q; want them alike", c.a, Fold(c.a), c.b, Fold(c.b))
		}
	}
	for _, c := range []struct{ a, b string }{
		{"foobar", "foo-bar"}, {"foo", "foo."}, {"a", "á"}, {"foo2", "foo3"}, {"foo", "fooo"}, {"a/b", "a.b"}, {"u", "v"}, {"日本", "日木"},
	} {
		if Fold(c.a) == Fold(c.b) {
			t.Errorf("%q and %q fold alike to %q", c.a, c.b, Fold(c.a))
		}
	}
}

// TestFoldEveryCharacter: folding is idempotent, invariant under case, and never
// leaves what nobody sees.
func TestFoldEveryCharacter(t *testing.T) {
	// Greek letters whose capital and small form look like different letters.
	split := "ΝνΗηΥυϒΜμ"
	for r := rune(0); r <= 0xe01ff; r++ {
		if r == 0x20000 {
			r = 0xe0000 // nothing but ideographs between
		}
		if !utf8.ValidRune(r) {
			continue
		}
		once := Fold(string(r))
		if twice := Fold(once); twice != once {
			t.Errorf("%U folds to %q, and that to %q", r, once, twice)
		}
		if strings.ContainsFunc(once, ignorable) {
			t.Errorf("%U folds to %q", r, once)
		}
		if lower := unicode.ToLower(r); !strings.ContainsAny(norm.NFKD.String(string(r)), split) && Fold(string(lower)) != once && unicode.SimpleFold(r) != r {
			t.Errorf("%U folds to %q, its small form to %q", r, once, Fold(string(lower)))
		}
	}
}

func TestLookalikesAreSound(t *testing.T) {
	seen := map[rune]bool{}
	for line := range strings.Lines(lookalikes) {
		fields := strings.Fields(line)
		for i, f := range fields {
			for _, r := range f {
				if i == 0 && r >= utf8.RuneSelf {
					t.Errorf("a line starts with %U", r)
				}
				if i > 0 && (r < utf8.RuneSelf || seen[r] || utf8.RuneCountInString(f) != 1) {
					t.Errorf("%U (%c) stands in the table twice or should not stand there", r, r)
				}
				if i > 0 {
					seen[r] = true
				}
			}
		}
	}
}

// FuzzFold: idempotent, and prefixes fold to prefixes.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"foo-bar", "FOO__.bar", "аcmе", "ｆｏｏ", "ß", "İ", "㏒/℀", "e\u0301\u0327", "\xff\xfe", "\u115f"} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, s string, cut int) {
		once := Fold(s)
		if twice := Fold(once); twice != once {
			t.Fatalf("%q folds to %q, and that to %q", s, once, twice)
		}
		if cut >= 0 && cut < len(s) && utf8.RuneStart(s[cut]) && utf8.ValidString(s) && !strings.HasPrefix(once, Fold(s[:cut])) {
			t.Fatalf("%q folds to %q, its prefix %q to %q", s, once, s[:cut], Fold(s[:cut]))
		}
	})
}
