package npm

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// TestLayers: a package of which this repository holds one version, another
// repository nothing but tags, and an upstream lists more.
func TestLayers(t *testing.T) {
	repo := hosted(t, "5.0.0")
	n := formats.Name{Canon: "x"}
	v := repo.View(n, testBase)
	own := v.Layers[0]
	var up bench
	if err := up.parse("x", `{"_id":"x","_rev":"77-theirs","name":"x","description":"theirs","dist-tags":{"latest":"1.1.0","beta":"1.2.0-b","gone":"9.9.9"},
		"versions":{"1.0.0":{"name":"x","version":"1.0.0","dist":{"tarball":"https://registry.example/x/-/x-1.0.0.tgz"}},"1.1.0":{"name":"x","version":"1.1.0"},"1.2.0-b":{"name":"x","version":"1.2.0-b"}},
		"time":{"created":"2011-01-01T00:00:00.000Z","modified":"2012-01-01T00:00:00.000Z","0.9.0":"2011-02-01T00:00:00.000Z","1.0.0":"2011-03-01T00:00:00Z","5.0.0":"2011-04-01T00:00:00.000Z","unpublished":{}},
		"policyRestrictions":{"message":"theirs","versions":{"8.0.0":{},"5.0.0":{}}}}`); err != nil {
		t.Fatal(err)
	}
	layer := func(tags map[string]string, raw string) formats.Layer {
		return formats.Layer{Local: true, Head: &formats.Head{Tags: tags, Raw: []byte(raw)}}
	}
	v.Layers = []formats.Layer{layer(map[string]string{"mine": "5.0.0", "beta": "5.0.0"}, ""), {Local: true, Head: own.Head}, {Place: "up", Head: up.head}}
	v.Versions = append(v.Versions, up.versions...)
	doc := func(variant string) []byte {
		t.Helper()
		var out bytes.Buffer
		if _, err := New().Render(&out, v, formats.Target{Name: n, Variant: variant}); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(out.Bytes()) || strings.Contains(out.String(), "registry.example") {
			t.Fatalf("%s: %s", variant, out.Bytes())
		}
		return out.Bytes()
	}
	full := doc(variantFull)
	for key, want := range map[string]string{
		"dist-tags": `{"latest":"1.1.0","beta":"1.2.0-b","mine":"5.0.0"}`,
		"readme":    `"# x"`,
		"time": `{"created":"2011-01-01T00:00:00.000Z","modified":"2026-11-25T12:30:15.123Z","0.9.0":"2011-02-01T00:00:00.000Z",` +
			`"5.0.0":"2026-11-25T12:30:15.123Z","1.0.0":"2011-03-01T00:00:00Z"}`,
		"description":        "",
		"policyRestrictions": `{"message":"theirs","versions":{"8.0.0":{"name":"x","version":"8.0.0"}}}`,
	} {
		if got := string(find(full, key)); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if got := text(find(doc(variantAbbreviated), "modified")); got != "2026-11-25T12:30:15.123Z" {
		t.Errorf("modified %s", got)
	}
	if got := string(doc(variantWrite)); strings.Count(got, `"_rev"`) != 1 || strings.Contains(got, "77-theirs") {
		t.Errorf("revisions in %s", got)
	}
	v.LocalTags = true
	if got := string(find(doc(variantFull), "dist-tags")); got != `{"latest":"5.0.0","beta":"5.0.0","mine":"5.0.0"}` {
		t.Errorf("own tags first: %s", got)
	}
	// One layer alone is passed on byte for byte, an empty one beside it or not.
	v.Layers, v.Versions = []formats.Layer{layer(nil, ""), {Place: "up", Head: up.head}}, up.versions
	with := doc(variantFull)
	v.Layers = v.Layers[1:]
	if !bytes.Equal(with, doc(variantFull)) {
		t.Error("an empty layer changes the document")
	}
}

func TestMendKeys(t *testing.T) {
	f := New()
	target := document(keysPath)
	site := formats.SiteFacts{KeyID: "SHA256:ours", PublicKey: []byte{1, 2, 3}}
	ours := `{"expires":null,"keyid":"SHA256:ours","keytype":"ecdsa-sha2-nistp256","scheme":"ecdsa-sha2-nistp256","key":"AQID"}`
	for _, c := range []struct{ body, want string }{
		{"", `{"keys":[` + ours + `]}`},
		{`{"keys":[]}`, `{"keys":[` + ours + `]}`},
		{` {"keys" : [ {"keyid":"a", "x":[1]} , {"keyid":"SHA256:ours","key":"evil"}, 5 ] } `, `{"keys":[{"keyid":"a", "x":[1]},5,` + ours + `]}`},
	} {
		var body []byte
		if c.body != "" {
			body = []byte(c.body)
		}
		out, ok, err := f.Mend(target, body, site)
		if err != nil || !ok || string(out) != c.want {
			t.Errorf("Mend(%q) = %s, %t, %v; want %s", c.body, out, ok, err, c.want)
		}
	}
	for _, bad := range []string{`{}`, `{"keys":{}}`, `<html>`, `{"keys":[`, `{"keys":[]} x`} {
		if out, ok, err := f.Mend(target, []byte(bad), site); err == nil || ok {
			t.Errorf("Mend(%q) = %s", bad, out)
		}
	}
	if _, ok, err := f.Mend(target, []byte(`{"keys":[]}`), formats.SiteFacts{}); ok || err != nil {
		t.Errorf("a site without a key mends: %v", err)
	}
	if _, ok, _ := f.Mend(document("-/other"), nil, site); ok {
		t.Error("another document is mended")
	}
}

func TestCoordinates(t *testing.T) {
	f := New()
	for _, c := range []struct{ ns, pkg, canon string }{{"", "left-pad", "left-pad"}, {"tiny", "core", "@tiny/core"}} {
		n, err := f.FromCoordinate(c.ns, c.pkg)
		if err != nil || n.Canon != c.canon {
			t.Errorf("FromCoordinate(%q, %q) = %+v, %v", c.ns, c.pkg, n, err)
		}
		if ns, pkg := f.Coordinate(n); ns != c.ns || pkg != c.pkg {
			t.Errorf("Coordinate(%+v) = %q, %q", n, ns, pkg)
		}
		file := tarballFile(n.Canon, "1.0.0")
		if a := f.AssetName(n, "1.0.0", file); a != "package.tgz" || f.FileName(n, "1.0.0", a) != file {
			t.Errorf("asset of %s is %q", file, a)
		}
		if a := f.AssetName(n, "1.0.0", "x.sigstore"); a != "x.sigstore" || f.FileName(n, "1.0.0", a) != a {
			t.Errorf("asset of x.sigstore is %q", a)
		}
	}
	if n, err := f.FromCoordinate("@tiny", "core"); err != nil || n.Canon != "@tiny/core" {
		t.Errorf("a scope with its @: %+v, %v", n, err)
	}
	for _, bad := range [][2]string{{"", ""}, {"", "@tiny/core"}, {"a/b", "c"}, {"tiny", "../x"}, {"", ".x"}, {"tiny", ""}} {
		_, err := f.FromCoordinate(bad[0], bad[1])
		wantRefusal(t, bad[0]+" "+bad[1], err, formats.BadRequest, "not an npm package name")
	}
}

func TestDescribeManifests(t *testing.T) {
	for raw, want := range map[string]formats.Facts{
		`{"license":{"type":"MIT","url":"https://l.example"},"repository":{"type":"git","url":"git+https://g.example/x.git"}}`: {
			Licenses: []formats.License{{Name: "MIT", URL: "https://l.example"}}, SourceCode: "https://g.example/x.git"},
		`{"licenses":[{"type":"MIT"},"BSD"],"repository":"user/x","homepage":"https://h.example"}`: {
			Licenses: []formats.License{{Name: "MIT"}, {Name: "BSD"}}, SourceCode: "user/x", HomePage: "https://h.example"},
		`{"dependencies":{"a":"1","o":"2",".bad":"3"},"optionalDependencies":{"o":"2"},"devDependencies":{"@s/d":"*"},"peerDependencies":{"p":">=1"}}`: {
			Dependencies: []formats.Dependency{{Package: "a", Type: "regular", Requirement: "1"}, {Namespace: "s", Package: "d", Type: "dev", Requirement: "*"},
				{Package: "p", Type: "peer", Requirement: ">=1"}, {Package: "o", Type: "optional", Requirement: "2"}}},
		`{"license":5,"licenses":[],"repository":null,"dependencies":[]}`: {},
	} {
		got, err := New().Describe(formats.Name{Canon: "x"}, &formats.Version{V: "1.0.0", Raw: []byte(raw)}, nil)
		if err != nil || !slices.Equal(got.Licenses, want.Licenses) || !slices.Equal(got.Dependencies, want.Dependencies) ||
			got.SourceCode != want.SourceCode || got.HomePage != want.HomePage {
			t.Errorf("Describe(%s) = %+v, %v", raw, got, err)
		}
	}
	big := strings.Repeat("x", maxReadme+1)
	for _, c := range []struct {
		named, want string
		files       []entry
	}{
		{"", "# md", []entry{{name: "package/README", body: "plain"}, {name: "package/readme.md", body: "# md"}}},
		{"README", "plain", []entry{{name: "package/README", body: "plain"}, {name: "package/readme.md", body: "# md"}}},
		{"", "", []entry{{name: "package/lib/README.md", body: "deep"}, {name: "package/README.md", body: big}}},
		{"", "", []entry{{name: "package/README.md", body: "\xff\xfe"}}},
	} {
		if got := findReadme(formattest.SpoolOf(pack(t, c.files...)), c.named); got != c.want {
			t.Errorf("readme is %.20q, want %q", got, c.want)
		}
	}
	if got := findReadme(formattest.SpoolOf([]byte("no tarball")), ""); got != "" {
		t.Errorf("readme %q of no tarball", got)
	}
}

// TestSearchHosted: a package that was published here is found with what its
// head or its version says, and with the members npm search needs.
func TestSearchHosted(t *testing.T) {
	repo := formattest.NewRepository(t, testNow())
	doc := publishDoc("@tiny/core", "1.0.0", pack(t, packageJSON("@tiny/core", "1.0.0")), func(doc map[string]any) {
		m := doc["versions"].(map[string]any)["1.0.0"].(map[string]any)
		m["description"], m["keywords"] = "tiny", []string{"small"}
	})
	if _, err := put(repo, "@tiny%2fcore", doc); err != nil {
		t.Fatal(err)
	}
	n := formats.Name{Canon: "@tiny/core", NS: "tiny"}
	row := repo.Version(n.Canon, "1.0.0")
	row.Hosting.Publisher = "ada"
	for _, head := range []*formats.Head{nil, {}, repo.View(n, testBase).Layers[0].Head} {
		reply := New().Results(nil, []formats.SearchHit{{Name: n, Head: head, Version: row}}, 1)
		want := `"package":{"name":"@tiny/core","scope":"tiny","version":"1.0.0","description":"tiny","keywords":["small"],"date":"2026-11-25T12:30:15.123Z",` +
			`"publisher":{"username":"ada"},"maintainers":[],"links":{}}`
		if !strings.Contains(string(reply.Body), want) {
			t.Errorf("head %v: %s, want %s", head, reply.Body, want)
		}
	}
}

// TestUploadBounds: nothing of a document is kept beyond its limits.
func TestUploadBounds(t *testing.T) {
	long := strings.Repeat("k", maxMemberName+1)
	repo := formattest.NewRepository(t, testNow())
	_, err := put(repo, "x", []byte(`{"`+long+`":1}`))
	wantRefusal(t, "long name", err, formats.BadRequest, "too long a name")
	_, err = put(repo, "x", []byte(`{"dist-tags":{"a":"`+strings.Repeat("k", maxReadme)+`"}}`))
	wantRefusal(t, "long tags", err, formats.TooLarge, "")
	_, err = put(repo, "x", []byte(`{"_attachments":{"x.sigstore":{"data":"`+strings.Repeat("k", maxBundle)+`"}}}`))
	wantRefusal(t, "long bundle", err, formats.TooLarge, "")
	f := New()
	f.maxUpload = 1000
	_, err = repo.Publish(f, formattest.NewRequest("PUT", testBase, "x", nil), strings.NewReader(`{"a":"`+long+`"}`))
	wantRefusal(t, "long body", err, formats.TooLarge, "")
}
