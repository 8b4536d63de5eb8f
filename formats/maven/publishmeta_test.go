package maven

import (
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"

	"larder/formats"
)

func TestMetadataOfAWrongLevel(t *testing.T) {
	d := newDesk(t)
	d.want(201, "lib/1.0/lib-1.0.pom", pomOf("1.0"))
	d.want(201, "lib/1-SNAPSHOT/lib-1-20260101.120000-1.jar", "jar")
	builds := buildsOf("1-SNAPSHOT", "20260101.120000", 1, "jar")
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"lib/1.0/maven-metadata.xml", listOf("1.0"), 400, "does not belong at this path"},
		{"lib/2-SNAPSHOT/maven-metadata.xml", builds, 400, "of version"},
		{"lib/1-SNAPSHOT/maven-metadata.xml", listOf("1.0"), 400, "names no build"},
		{"lib/maven-metadata.xml", builds, 400, "of one snapshot"},
		{"other/maven-metadata.xml", listOf("1.0"), 400, "of com.example:lib"},
		{"maven-metadata.xml", listOf("1.0"), 400, "of com.example:lib"},
		{"lib/maven-metadata.xml", "<metadata/>", 400, "does not say"},
		{"lib/maven-metadata.xml", "<metadata><artifactId>lib</artifactId><versioning/></metadata>", 400, "does not say"},
		{"lib/maven-metadata.xml", "<html/>", 400, "no maven-metadata.xml"},
		{"lib/maven-metadata.xml", "", 400, "empty document"},
		{"lib/maven-metadata.xml", "<!DOCTYPE m><metadata/>", 400, "document type"},
		{"lib/maven-metadata.xml", listOf("../1"), 400, "cannot be a version"},
		{"lib/maven-metadata.xml", listOf("1") + strings.Repeat(" ", maxDeployed), 413, "more than"},
		{"new/maven-metadata.xml", strings.ReplaceAll(listOf("1.0"), ">lib<", ">new<"), 404, "comes last"},
	} {
		d.want(c.status, c.path, c.body, c.says)
	}
	d.wantStatus(map[string]formats.Status{"1.0": formats.Unfinished, "1-20260101.120000-1": formats.Unfinished, "1-SNAPSHOT": formats.StatusNone})
}

func TestPluginGroups(t *testing.T) {
	plugins := func(entries ...string) string {
		s := "<metadata><plugins>"
		for _, e := range entries {
			prefix, name, _ := strings.Cut(e, " ")
			s += "<plugin><name>" + name + "</name><prefix>" + prefix + "</prefix><artifactId>" + prefix + "-maven-plugin</artifactId></plugin>"
		}
		return s + "</plugins></metadata>"
	}
	d := newDesk(t)
	one, two := plugins("one First"), plugins("two Second", "one Renamed")
	d.want(201, "maven-metadata.xml", one)
	d.want(201, "maven-metadata.xml", two)
	for _, doc := range []string{one, two} {
		d.want(200, "maven-metadata.xml.sha1", fmt.Sprintf("%x", sha1.Sum([]byte(doc))))
	}
	got := d.doc("maven-metadata.xml")
	for _, want := range []string{"<prefix>one</prefix>", "<name>Renamed</name>", "<prefix>two</prefix>"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("not once %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "First") {
		t.Errorf("the old name is still there:\n%s", got)
	}
}

// Versions published here stand beside an upstream's, and its choice of latest
// and release does not speak for them.
func TestRenderOverLocalAndUpstream(t *testing.T) {
	d := newDesk(t)
	d.want(201, "lib/3.0/lib-3.0.pom", pomOf("3.0"))
	d.want(201, "lib/maven-metadata.xml", listOf("3.0"))
	d.deployBuild("4-SNAPSHOT", "20260101.120000", 1, "pom", "jar")
	tg, err := d.f.Route(request("GET", "com/example/lib/maven-metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	up, err := parse(d.f, tg, "<metadata><groupId>com.example</groupId><artifactId>lib</artifactId><versioning><latest>2.0</latest><release>1.0</release><versions><version>1.0</version><version>2.0</version></versions><lastUpdated>20250101000000</lastUpdated></versioning></metadata>")
	if err != nil {
		t.Fatal(err)
	}
	v := d.repo.View(tg.Name, base)
	v.Layers = append(v.Layers, formats.Layer{Place: "public:x", Head: up.head})
	v.Versions = append(v.Versions, up.versions...)
	got := render(t, d.f, v, tg)
	for _, want := range []string{`last-modified ""`, "<latest>4-SNAPSHOT</latest>", "<release>3.0</release>", "<version>1.0</version>\n      <version>2.0</version>\n      <version>3.0</version>\n      <version>4-SNAPSHOT</version>", "<lastUpdated>20260102030405"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}

	// A version that is merely kept here does not change what upstream says.
	kept := &formats.Version{V: "2.0", Hosting: &formats.Hosting{Status: formats.Published, Origin: formats.OriginExternal}}
	v = &formats.View{Name: tg.Name, Layers: []formats.Layer{{Place: "r", Local: true, Head: &formats.Head{Modified: publishedAt}}, {Place: "public:x", Head: up.head}},
		Versions: []*formats.Version{up.versions[0], kept}}
	if got := render(t, d.f, v, tg); !strings.Contains(got, "<latest>2.0</latest>\n    <release>1.0</release>") || !strings.Contains(got, "<lastUpdated>20250101000000") {
		t.Errorf("an upstream's own choice is gone:\n%s", got)
	}

	// A snapshot that was published here is not mixed with an upstream's.
	snap, err := d.f.Route(request("GET", "com/example/lib/4-SNAPSHOT/maven-metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := parse(d.f, snap, buildsOf("4-SNAPSHOT", "20260909.120000", 9, "jar"))
	if err != nil {
		t.Fatal(err)
	}
	v = d.repo.View(snap.Name, base)
	v.Layers = append(v.Layers, formats.Layer{Place: "public:x", Head: other.head})
	if got := render(t, d.f, v, snap); !strings.Contains(got, "4-20260101.120000-1") || strings.Contains(got, "20260909") {
		t.Errorf("builds of two places in one document:\n%s", got)
	}
}

func TestCoordinator(t *testing.T) {
	f := New()
	n, err := f.FromCoordinate("com.example", "lib")
	if err != nil || n != nameOf("com.example", "lib") {
		t.Errorf("%v, %v", n, err)
	}
	if ns, pkg := f.Coordinate(n); ns != "com.example" || pkg != "lib" {
		t.Errorf("%q, %q", ns, pkg)
	}
	if f.AssetName(n, "1", "lib-1.jar") != "lib-1.jar" || f.FileName(n, "1", "lib-1.jar") != "lib-1.jar" {
		t.Error("an asset's name is not its file's")
	}
	for _, c := range [][2]string{{"", "lib"}, {"com.example", ""}, {"com..example", "lib"}, {"com/example", "lib"}, {"com.example", "a/b"}, {"com.example", "a:b"}, {"com", strings.Repeat("x", 300)}} {
		if n, err := f.FromCoordinate(c[0], c[1]); err == nil || formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Errorf("%q is %v (%v), want a bad request", c, n, err)
		}
	}
}
