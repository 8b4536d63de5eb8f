package maven

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

func TestPOMIsOfItsCoordinate(t *testing.T) {
	const head = "<project><artifactId>lib</artifactId>"
	for _, c := range []struct {
		what, path, pom string
		status          int
		says            string
	}{
		{"all three", "lib/1.0/lib-1.0.pom", pomOf("1.0"), 201, ""},
		{"inherited", "lib/1.0/lib-1.0.pom", head + "<parent><groupId>com.example</groupId><artifactId>p</artifactId><version>1.0</version></parent></project>", 201, ""},
		{"own before inherited", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId><version>1.0</version><parent><groupId>x</groupId><artifactId>p</artifactId><version>7</version></parent></project>", 201, ""},
		{"property", "lib/1.0/lib-1.0.pom", head + "<groupId>${g}.example</groupId><version>${a}.0</version><properties><g>com</g><a>${b}</a><b>1</b></properties></project>", 201, ""},
		{"parent's version", "lib/1.0/lib-1.0.pom", head + "<groupId>${project.parent.groupId}</groupId><version>${parent.version}</version><parent><groupId>com.example</groupId><artifactId>p</artifactId><version>1.0</version></parent></project>", 201, ""},
		{"command line", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId><version>${revision}</version><properties><revision>0</revision></properties></project>", 201, ""},
		{"elsewhere", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId><version>${of.parent}</version></project>", 201, ""},
		{"endless", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId><version>${a}</version><properties><a>${b}</a><b>${a}</b></properties></project>", 201, ""},
		{"snapshot", "lib/1-SNAPSHOT/lib-1-20260101.120000-1.pom", pomOf("1-SNAPSHOT"), 201, ""},
		{"build", "lib/1-SNAPSHOT/lib-1-20260101.120000-1.pom", pomOf("1-20260101.120000-1"), 201, ""},
		{"entities", "lib/1.0/lib-1.0.pom", "<!DOCTYPE project>" + strings.Replace(pomOf("1.0"), "<groupId>", "<name>Bj&oslash;rn</name><groupId>", 1), 201, ""},
		{"old encoding", "lib/1.0/lib-1.0.pom", "<?xml version='1.0' encoding='ISO-8859-1'?>" + pomOf("1.0"), 201, ""},
		{"second POM", "lib/1.0/lib-1.0-other.pom", "anything", 201, ""},

		{"other version", "lib/1.0/lib-1.0.pom", pomOf("1.1"), 400, `says version "1.1", but is deployed as "1.0"`},
		{"other build", "lib/1-SNAPSHOT/lib-1-20260101.120000-1.pom", pomOf("1-20260101.120000-2"), 400, "says version"},
		{"property", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId><version>${a}</version><properties><a>2</a></properties></project>", 400, `says version "2"`},
		{"other group", "lib/1.0/lib-1.0.pom", strings.Replace(pomOf("1.0"), "com.example", "org.evil", 1), 400, "says groupId"},
		{"other artifact", "lib/1.0/lib-1.0.pom", strings.Replace(pomOf("1.0"), ">lib<", ">bil<", 1), 400, "says artifactId"},
		{"no version", "lib/1.0/lib-1.0.pom", head + "<groupId>com.example</groupId></project>", 400, `says version ""`},
		{"no POM", "lib/1.0/lib-1.0.pom", "<html></html>", 400, "is not a POM"},
		{"nothing", "lib/1.0/lib-1.0.pom", "", 400, "no <project>"},
		{"cut off", "lib/1.0/lib-1.0.pom", pomOf("1.0")[:40], 400, "is not a POM"},
		{"entity", "lib/1.0/lib-1.0.pom", "<!DOCTYPE p [<!ENTITY e 'x'>]><project>&e;</project>", 400, "is not a POM"},
		{"large", "lib/1.0/lib-1.0.pom", pomOf("1.0") + strings.Repeat(" ", maxPOM), 400, "more than"},
	} {
		d := newDesk(t)
		if code, text := d.put(c.path, c.pom); code != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s, want %d %s", c.what, code, text, c.status, c.says)
		}
	}
}

const describedPOM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <parent><groupId>com.example</groupId><artifactId>parent</artifactId><version>7</version></parent>
  <artifactId>lib</artifactId><version>1.0</version>
  <name>The ${project.artifactId}</name>
  <description>Does
    things.</description>
  <url>https://home.example/${project.artifactId}</url>
  <scm><connection>scm:git:x</connection><url>https://scm.example/${project.groupId}/lib</url></scm>
  <licenses><license><name>Apache-2.0</name><url>https://l.example/a</url></license><license><name>MIT</name></license></licenses>
  <properties><beta.version>2.${minor}</beta.version><minor>5</minor></properties>
  <dependencyManagement><dependencies><dependency><groupId>x</groupId><artifactId>bom</artifactId><version>1</version><scope>import</scope></dependency></dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>org.a</groupId><artifactId>plain</artifactId><version>1</version></dependency>
    <dependency><groupId>org.a</groupId><artifactId>beta</artifactId><version>${beta.version}</version><scope>runtime</scope></dependency>
    <dependency><groupId>${project.groupId}</groupId><artifactId>sister</artifactId><version>${project.version}</version><scope>test</scope></dependency>
    <dependency><groupId>org.a</groupId><artifactId>given</artifactId><version>[1,2)</version><scope>provided</scope></dependency>
    <dependency><groupId>org.a</groupId><artifactId>local</artifactId><version>1</version><scope>system</scope></dependency>
    <dependency><groupId>org.a</groupId><artifactId>maybe</artifactId><version>1</version><optional>true</optional></dependency>
    <dependency><groupId>org.a</groupId><artifactId>managed</artifactId></dependency>
    <dependency><groupId>org.a</groupId><artifactId>unknown</artifactId><version>${of.parent}</version></dependency>
  </dependencies>
  <profiles><profile><id>p</id><dependencies><dependency><groupId>no</groupId><artifactId>no</artifactId></dependency></dependencies></profile></profiles>
</project>`

func describe(d *desk, version string) (*formats.Facts, error) {
	row := d.repo.Version("com.example:lib", version)
	return d.f.Describe(nameOf("com.example", "lib"), row, func(file string) (formats.OpenFile, error) {
		return d.repo.Open("com.example:lib", row.V, file)
	})
}

func TestDescribe(t *testing.T) {
	d := newDesk(t)
	d.want(201, "lib/1.0/lib-1.0.pom", describedPOM)
	facts, err := describe(d, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %q %v\n", facts.DisplayName, facts.Summary, facts.HomePage, facts.SourceCode, facts.Licenses)
	for _, dep := range facts.Dependencies {
		fmt.Fprintf(&b, "%s %s:%s %s\n", dep.Type, dep.Namespace, dep.Package, dep.Requirement)
	}
	want := `"The lib" "Does\n    things." "https://home.example/lib" "https://scm.example/com.example/lib" [{Apache-2.0 https://l.example/a} {MIT }]
parent com.example:parent 7
compile org.a:plain 1
runtime org.a:beta 2.5
test com.example:sister 1.0
provided org.a:given [1,2)
system org.a:local 1
optional org.a:maybe 1
compile org.a:managed 
compile org.a:unknown ${of.parent}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}

	d.want(201, "lib/2.0/lib-2.0.jar", "jar")
	if facts, err := describe(d, "2.0"); err != nil || facts == nil || len(facts.Dependencies) > 0 {
		t.Errorf("a version without a POM: %v, %v", facts, err)
	}
	d.deployBuild("3-SNAPSHOT", "20260101.120000", 1, "pom")
	if _, err := describe(d, "3-SNAPSHOT"); err != nil {
		t.Error(err)
	}
	if _, err := describe(d, "3-20260101.120000-1"); err != nil {
		t.Error(err)
	}
}

// Properties that double each other stay within their budget.
func TestExpressionsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("<project><name>${p0}${p0}</name><properties><p30>" + strings.Repeat("x", 1000) + "</p30>")
	for i := range 30 {
		fmt.Fprintf(&b, "<p%d>${p%d}${p%d}</p%d>", i, i+1, i+1, i)
	}
	b.WriteString("</properties></project>")
	p, err := readProject(formattest.SpoolOf([]byte(b.String())))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(p.value(p.Name)); got > 2*maxExpanded {
		t.Errorf("a name of %d bytes became %d", len(p.Name), got)
	}
}

func FuzzPOM(f *testing.F) {
	f.Add([]byte(describedPOM))
	f.Add([]byte(pomOf("1.0")))
	f.Add([]byte("<project><properties><a>${a}</a></properties><name>${a}${</name></project>"))
	f.Add([]byte("<project><dependencies><dependency/></dependencies><parent/></project>"))
	format := New()
	n := nameOf("com.example", "lib")
	tg := formats.Target{Name: n, Version: "1.0", File: "lib-1.0.pom"}
	f.Fuzz(func(t *testing.T, pom []byte) {
		sp := formattest.SpoolOf(pom)
		err := checkPOM(tg, sp)
		if err != nil && formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Fatalf("%v is no bad request", err)
		}
		row := &formats.Version{V: "1.0", Held: map[string]formats.HeldAsset{tg.File: {File: tg.File}}}
		facts, described := format.Describe(n, row, func(string) (formats.OpenFile, error) { return opened{bytes.NewReader(pom)}, nil })
		if err == nil && described != nil {
			t.Fatalf("accepted, but not described: %v", described)
		}
		if facts != nil && len(facts.Dependencies) > maxDependencies+1 {
			t.Fatalf("%d dependencies", len(facts.Dependencies))
		}
	})
}

type opened struct{ *bytes.Reader }

func (o opened) Size() int64 { return o.Reader.Size() }
func (opened) Close() error  { return nil }
