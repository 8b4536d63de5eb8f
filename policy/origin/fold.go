package origin

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold maps spellings that a person may take for one another to one string:
// compatibility forms to plain ones (NFKD: full width, mathematical, circled
// letters), upper case to lower case, runs of '-', '.' and '_' to one '.',
// confusable characters to the letters they look like, and invisible characters to
// nothing. Two names of one format are variations of each other when they fold
// alike. The result is for comparing, not for showing. Fold is idempotent, and it
// works character by character, so a prefix folds to a prefix.
//
// As in Unicode TS #39, "0" is "o", "1" and "I" are "l", "m" is "rn", "æ" is "ae";
// since case is folded too, "i" joins "l", as in the comparison that PyPI makes of
// new project names. Accents are not removed: they can be seen.
func Fold(s string) string {
	b := make([]byte, 0, len(s)+len(s)/4+4)
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			b = foldASCII(b, s[i])
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		b = foldRune(b, r)
		i += size
	}
	return string(b)
}

func foldASCII(b []byte, c byte) []byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	switch c {
	case '-', '.', '_':
		if len(b) > 0 && b[len(b)-1] == '.' {
			return b
		}
		return append(b, '.')
	case '0':
		return append(b, 'o')
	case '1', 'i':
		return append(b, 'l')
	case 'm':
		return append(b, 'r', 'n')
	}
	if c < ' ' || c == 0x7f {
		return b
	}
	return append(b, c)
}

func foldRune(b []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		return foldASCII(b, byte(r))
	}
	if ignorable(r) {
		return b
	}
	if plain, ok := confusables[r]; ok {
		return foldPlain(b, plain)
	}
	// Each of the following steps leads to a character that the step leaves alone,
	// so the recursion ends.
	if wide := string(r); !norm.NFKD.IsNormalString(wide) {
		for _, d := range norm.NFKD.String(wide) {
			b = foldRune(b, d)
		}
		return b
	}
	if lower := unicode.ToLower(unicode.ToUpper(r)); lower != r {
		return foldRune(b, lower)
	}
	if plain, ok := confusables[unicode.ToUpper(r)]; ok {
		return foldPlain(b, plain)
	}
	return utf8.AppendRune(b, r)
}

func foldPlain(b []byte, plain string) []byte {
	for i := range len(plain) {
		b = foldASCII(b, plain[i])
	}
	return b
}

// ignorable reports what nobody sees: format and control characters, variation
// selectors, fillers.
func ignorable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
