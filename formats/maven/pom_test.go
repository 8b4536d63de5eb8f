package maven

import (
	"slices"
	"strings"
	"testing"

	"larder/formats"
)

func TestInspect(t *testing.T) {
	for _, c := range []struct{ what, body, want string }{
		{"default", "<project><artifactId>a</artifactId></project>", `{"packaging":"jar"}`},
		{"pom", "<project><packaging> pom </packaging></project>", `{"packaging":"pom"}`},
		{"deeper packaging is another's", "<project><build><plugins><plugin><packaging>pom</packaging></plugin></plugins></build></project>", `{"packaging":"jar"}`},
		{"marker", "<!-- do_not_remove: published-with-gradle-metadata --><project/>", `{"packaging":"jar","module":true}`},
		{"namespace", `<project xmlns="urn:example:pom"><packaging>war</packaging></project>`, `{"packaging":"war"}`},
		{"old encoding", "<?xml version='1.0' encoding='ISO-8859-1'?><project><name>M\xfcller</name><packaging>pom</packaging></project>", `{"packaging":"pom"}`},
		{"html", "<html/>", "error"},
		{"entity", "<!DOCTYPE p [<!ENTITY e \"pom\">]><project><packaging>&e;</packaging></project>", "error"},
		{"truncated", "<project><packaging>pom", "error"},
		{"deep", strings.Repeat("<project>", 100), "error"},
		{"empty", "", "error"},
		{"strange encoding", "<?xml version='1.0' encoding='EBCDIC'?><project/>", "error"},
	} {
		_, aux, err := New().Inspect(formats.Target{File: "a-1.pom"}, file(c.body))
		got := string(aux)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.what, got, err, c.want)
		}
	}
	if derived, aux, err := New().Inspect(formats.Target{File: "a-1.jar"}, file("PK")); derived != nil || aux != nil || err != nil {
		t.Errorf("a jar gives %v %s %v", derived, aux, err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte("<project><packaging>pom</packaging></project>"))
	f.Add([]byte("<?xml version='1.0' encoding='latin1'?><project>\xff</project>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, aux, err := New().Inspect(formats.Target{File: "a-1.pom"}, file(string(body)))
		if err == nil && (len(aux) == 0 || len(aux) > 2048) {
			t.Fatalf("%d bytes of facts", len(aux))
		}
	})
}

func TestAvailable(t *testing.T) {
	pom, jar := []byte(`{"packaging":"pom"}`), []byte(`{"packaging":"jar"}`)
	for _, c := range []struct {
		what, version string
		files         []string
		aux           []byte
		want          bool
	}{
		{"nothing", "1", nil, nil, false},
		{"pom of a library", "1", []string{"a-1.pom"}, jar, false},
		{"pom of unknown packaging", "1", []string{"a-1.pom"}, nil, false},
		{"pom alone is enough", "1", []string{"a-1.pom"}, pom, true},
		{"jar without pom", "1", []string{"a-1.jar"}, nil, false},
		{"both", "1", []string{"a-1.pom", "a-1.jar"}, jar, true},
		{"only a classifier", "1", []string{"a-1.pom", "a-1-linux.so"}, jar, true},
		{"company only", "1", []string{"a-1.pom", "a-1.jar.asc", "a-1-sources.jar", "a-1-javadoc.jar", "a-1.module", "a-1.jar.sha1"}, jar, false},
		{"one build", "1-SNAPSHOT", []string{"a-1-20240101.120000-1.pom", "a-1-20240101.120000-1.jar"}, jar, true},
		{"two halves of builds", "1-SNAPSHOT", []string{"a-1-20240101.120000-1.pom", "a-1-20240102.120000-2.jar"}, jar, false},
	} {
		v := &formats.Version{V: c.version, State: formats.Held, Held: map[string]formats.HeldAsset{}}
		for _, file := range c.files {
			v.Held[file] = formats.HeldAsset{File: file, Aux: c.aux}
		}
		if got, ok := New().Available(v); ok != c.want || got != v {
			t.Errorf("%s: %v, want %v", c.what, ok, c.want)
		}
	}
}

// TestOrder holds pairs that the version order of Maven 3.8.7 itself was asked
// for (maven-artifact ComparableVersion).
func TestOrder(t *testing.T) {
	asc := []string{
		"0.9.9-x", "1.0-alpha-1", "1.0-beta", "1.0-M1", "1.0-RC1", "1.0-SNAPSHOT", "1.0", "1.0-sp", "1.0-foo", "1.0-1", "1.0.1", "1.9", "1.10",
		"31.1", "31.1-android", "31.1-jre", "20040616", "99999999999999999999",
	}
	shuffled := slices.Clone(asc)
	slices.Reverse(shuffled)
	shuffled = append(shuffled, "1.9", "1.0")
	if got := sortVersions(shuffled); !slices.Equal(got, asc) {
		t.Errorf("sorted:\n%q\nwant\n%q", got, asc)
	}
	// What Maven holds for equal keeps one fixed order.
	same := [][]string{{"1.0", "1"}, {"1", "1.0"}}
	if a, b := sortVersions(same[0]), sortVersions(same[1]); !slices.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("1.0-alpha-1", "1.0", "99999999999999999999")
	f.Add("1..0", "-", "x.-1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		x, y, z := order(a), order(b), order(c)
		if x.compare(y) != -y.compare(x) || (x.compare(y) == 0) != (a == b) {
			t.Fatalf("%q %q: %d, %d", a, b, x.compare(y), y.compare(x))
		}
		if x.compare(y) < 0 && y.compare(z) < 0 && x.compare(z) >= 0 {
			t.Skip("Maven's own order is not transitive everywhere")
		}
	})
}
