package formats

import "testing"

// TestDisagree: any algorithm in common can tell two files apart; people are
// shown the one that they can compare.
func TestDisagree(t *testing.T) {
	md5, sum := Digest{MD5, "00"}, Digest{SHA256, "aa"}
	for what, c := range map[string]struct {
		a, b     []Digest
		was      Digest
		conflict bool
	}{
		"the same":       {[]Digest{md5, sum}, []Digest{sum, md5}, Digest{}, false},
		"none in common": {[]Digest{md5}, []Digest{sum}, Digest{}, false},
		"a weak one":     {[]Digest{md5, sum}, []Digest{{MD5, "01"}, sum}, md5, true},
		"both":           {[]Digest{md5, sum}, []Digest{{MD5, "01"}, {SHA256, "bb"}}, sum, true},
		"both, reversed": {[]Digest{sum, md5}, []Digest{{MD5, "01"}, {SHA256, "bb"}}, sum, true},
	} {
		was, is, conflict := Disagree(c.a, c.b)
		if was != c.was || conflict != c.conflict || conflict && is.Alg != was.Alg {
			t.Errorf("%s: %v, %v, %v", what, was, is, conflict)
		}
	}
}
