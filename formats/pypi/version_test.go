package pypi

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"deps.dev/util/semver"
)

func TestNormalizeVersion(t *testing.T) {
	for in, want := range map[string]string{
		"1.0": "1.0", "1.0.0": "1.0.0", "v1.0": "1.0", "01.002": "1.2", "0": "0", "00": "0", "1!2": "1!2", "0!2": "2",
		"1.0alpha1": "1.0a1", "1.0-Beta.2": "1.0b2", "1.0c3": "1.0rc3", "1.0preview": "1.0rc0", "1.0_pre_4": "1.0rc4", "1.0.rc.5": "1.0rc5",
		"1.0-1": "1.0.post1", "1.0.rev2": "1.0.post2", "1.0r3": "1.0.post3", "1.0post": "1.0.post0", "1.0dev": "1.0.dev0", "1.0-DEV_07": "1.0.dev7",
		"1.0a1.post2.dev3": "1.0a1.post2.dev3", "1.0+CU118": "1.0+cu118", "1.0+ubuntu-1_2": "1.0+ubuntu.1.2", "1.0+007": "1.0+7",
		"99999999999999999999999.0": "99999999999999999999999.0",
		// Not PEP 440: kept as they are.
		"2004d": "2004d", "1.0.": "1.0.", "1..0": "1..0", "": "", "1.0+": "1.0+", "1.0+a..b": "1.0+a..b", "1.0+-a": "1.0+-a", "1.0a1b2": "1.0a1b2",
		"1.*": "1.*", "a": "a", "1.0-": "1.0-", "1!": "1!", "1.0+a!": "1.0+a!", "1.0 ": "1.0 ", "1.0+ä": "1.0+ä",
	} {
		if got := normalizeVersion(in); got != want {
			t.Errorf("normalizeVersion(%q) = %q, want %q", in, got, want)
		}
	}
}

// ordered is ascending; equal versions stand in one line.
const ordered = `1.dev0
1.0.dev456 1.dev456
1.0a1
1.0a2.dev456
1.0a12.dev456
1.0a12 1.0.0a12
1.0b1.dev456
1.0b2
1.0b2.post345.dev456
1.0b2.post345
1.0rc1.dev456
1.0rc1 1c1
1.0 1 1.0.0.0 v1
1.0+abc.5
1.0+abc.7
1.0+5
1.0+5.0
1.0+10
1.0.post456.dev34
1.0.post456
1.1.dev1
1.9
1.10
20261122
1!0.1`

func TestCompareVersions(t *testing.T) {
	lines := strings.Split(ordered, "\n")
	for i, a := range lines {
		for j, b := range lines {
			for _, x := range strings.Fields(a) {
				for _, y := range strings.Fields(b) {
					v, ok1 := parseVersion(x)
					w, ok2 := parseVersion(y)
					if got, want := v.compare(w), compareBoolInt(i, j); got != want || !ok1 || !ok2 {
						t.Errorf("compare(%s, %s) = %d, want %d", x, y, got, want)
					}
					if (v.key() == w.key()) != (i == j) {
						t.Errorf("keys of %s and %s are %s and %s", x, y, v.key(), w.key())
					}
				}
			}
		}
	}
}

func compareBoolInt(i, j int) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

// TestCompareAgreesWithSemver sets our order against another implementation on
// random versions.
func TestCompareAgreesWithSemver(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	random := func() string {
		return pick("", "", "", "1!") + pick("0", "1", "2", "10") + pick("", ".0", ".1", ".1.0", ".2.3", ".10") +
			pick("", "", "a1", "b2", "rc1", "rc10") + pick("", "", ".post1", ".post2") + pick("", "", ".dev1", ".dev2")
	}
	for range 20_000 {
		a, b := random(), random()
		v, okV := parseVersion(a)
		w, okW := parseVersion(b)
		x, err1 := semver.PyPI.Parse(a)
		y, err2 := semver.PyPI.Parse(b)
		if !okV || !okW || err1 != nil || err2 != nil {
			t.Fatalf("%s or %s does not parse: %v %v %v %v", a, b, okV, okW, err1, err2)
		}
		if got, want := v.compare(w), x.Compare(y); got != want {
			t.Fatalf("compare(%s, %s) = %d, the other says %d", a, b, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range []struct{ canon, file, want string }{
		{"foo", "foo-1.0.tar.gz", "1.0"},
		{"foo-bar", "foo-bar-1.0.zip", "1.0"},
		{"foo-bar", "foo_bar-1.0.tar.gz", "1.0"},
		{"foo-bar", "Foo.Bar-1.0-rc1.tar.bz2", "1.0rc1"},
		{"foo", "foo-1.0-1.tar.gz", "1.0.post1"},
		{"foo-2", "foo-2-3.0.tar.gz", "3.0"},
		{"foo", "foo-2-3.0.tar.gz", "2-3.0"},
		{"zope-interface", "zope.interface-4.0.5.tar.gz", "4.0.5"},
		{"pytz", "pytz-2004d.tar.gz", "2004d"},
		{"foo", "foo-1.0-py3-none-any.whl", "1.0"},
		{"foo", "foo-1.0-2build-py3-none-any.whl", "1.0"},
		{"foo", "foo-1.0_1-py3-none-any.whl", "1.0.post1"},
		{"torch", "torch-2.1.0+cu118-cp311-cp311-linux_x86_64.whl", "2.1.0+cu118"},
		{"foo", "foo-1!2.0-py3-none-any.whl", "1!2.0"},
		{"foo", "Foo-0.6c11-py2.6.egg", "0.6rc11"},
		{"foo", "foo-0.6c11.win32-py2.7.exe", "0.6rc11"},
		{"foo", "foo-1.0.win-amd64-py2.7.msi", "1.0"},
		{"foo", "foo-1.0-1.noarch.rpm", "1.0.post1"},
		{"foo", "foo-1.0.linux-x86_64.tar.gz", "1.0"},
		{"foo", "foo-1.0-custom.tar.gz", "1.0-custom"},
		{"foo", "other-3.1.tar.gz", "3.1"},
		{"foo", "foo.tar.gz", "foo"},
		{"foo", "weird.zip", "weird"},
		{"foo", "foo-.tar.gz", "foo-"},
		{"foo", "noversion.whl", "noversion"},
		{"foo", "foo-1.0.unknown", "1.0.unknown"},
	} {
		if got := versionOf(c.canon, c.file); got != c.want {
			t.Errorf("versionOf(%s, %s) = %q, want %q", c.canon, c.file, got, c.want)
		}
	}
}

func FuzzVersionOf(f *testing.F) {
	for _, s := range []string{"foo-1.0.tar.gz", "foo-1.0-py3-none-any.whl", "foo-.egg", "-.exe", "foo-2004d.zip", "foo-1.win32.exe"} {
		f.Add("foo", s)
	}
	f.Fuzz(func(t *testing.T, canon, file string) {
		if !cleanSegment(file) {
			return
		}
		v := versionOf(canon, file)
		if !cleanSegment(v) || versionOf(canon, file) != v {
			t.Errorf("versionOf(%q, %q) = %q", canon, file, v)
		}
	})
}

func FuzzVersion(f *testing.F) {
	for s := range strings.FieldsSeq(ordered) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := normalizeVersion(s)
		if again := normalizeVersion(n); again != n {
			t.Errorf("normalizeVersion(%q) = %q, then %q", s, n, again)
		}
		if v, ok := parseVersion(s); ok && versionKey(n) != v.key() {
			t.Errorf("%q and its normal form %q have different keys", s, n)
		}
		if compareVersions(s, s) != 0 {
			t.Errorf("%q differs from itself", s)
		}
	})
}

func TestNormalizeName(t *testing.T) {
	for in, want := range map[string]string{"Foo": "foo", "foo.bar": "foo-bar", "Foo-_.Bar": "foo-bar", "a": "a", "A1": "a1", "foo--bar": "foo-bar"} {
		if got := normalizeName(in); got != want || !validName(in) {
			t.Errorf("normalizeName(%q) = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "-a", "a-", ".", "..", "a/b", "a b", "ä", "a\x00", "_a", strings.Repeat("a", 300)} {
		if validName(in) {
			t.Errorf("validName(%q)", in)
		}
	}
}

func TestSortVersionsIsTotal(t *testing.T) {
	in := []string{"2004d", "1.0", "x", "1.0.0", "2.0", "1!1"}
	slices.SortFunc(in, compareVersions)
	if got := strings.Join(in, " "); got != "2004d x 1.0 1.0.0 2.0 1!1" {
		t.Errorf("sorted: %s", got)
	}
}
