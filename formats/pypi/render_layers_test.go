package pypi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/pypi"
)

// layered is what a repository shows that holds versions of its own and reads
// through to a connection.
func layered(t *testing.T, status string) *formats.View {
	t.Helper()
	repo := newRepository(t)
	upload(t, repo, demoSource, "De.Mo", "1.0", built(demo)[demoSource])
	name := formats.Name{Canon: "de-mo"}
	view := repo.View(name, endpoint)
	page := `{"meta":{"api-version":"1.4","_x":1},"name":"DE_MO","project-status":{"status":"` + status + `"},"_extra":"kept","versions":["0.9","2.0.0"],"files":[` +
		`{"filename":"de_mo-0.9.tar.gz","url":"https://files.invalid/0.9","hashes":{},"size":1,"upload-time":"2026-01-01T00:00:00Z"},` +
		`{"filename":"de_mo-2.0.0.tar.gz","url":"https://files.invalid/2","hashes":{},"size":1,"yanked":"bad"}]}`
	src := formats.Source{URL: "https://registry.example/simple/de-mo/", Header: http.Header{"Content-Type": {"application/vnd.pypi.simple.v1+json"}}}
	up, err := parsePage(pypi.New(), formats.Target{Name: name}, src, []byte(page))
	if err != nil {
		t.Fatal(err)
	}
	view.Layers = append(view.Layers, up.Layers...)
	view.Versions = append(view.Versions, up.Versions...)
	return view
}

// TestLayers: files of all layers are listed, and the package-level members are
// those of the first layer that has any.
func TestLayers(t *testing.T) {
	for _, c := range []struct {
		status          string
		versions, files []string
		says            []string
	}{
		{"archived", []string{"0.9", "2.0.0", "1.0"}, []string{"De_Mo-1.0.tar.gz", "de_mo-0.9.tar.gz", "de_mo-2.0.0.tar.gz"}, []string{`"project-status":{"status":"archived"}`, `"_extra":"kept"`, `"_x":1`}},
		{"quarantined", []string{"1.0"}, []string{"De_Mo-1.0.tar.gz"}, []string{`"_extra":"kept"`}},
	} {
		view := layered(t, c.status)
		doc := render(t, pypi.New(), view, formats.Target{Name: view.Name, Variant: "json"})
		var page struct {
			Name     string
			Versions []string
			Files    []struct{ Filename string }
		}
		if err := json.Unmarshal(doc, &page); err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, f := range page.Files {
			files = append(files, f.Filename)
		}
		if page.Name != "de-mo" || !slices.Equal(page.Versions, c.versions) || !slices.Equal(files, c.files) {
			t.Errorf("%s page:\n%s", c.status, doc)
		}
		for _, text := range c.says {
			if !strings.Contains(string(doc), text) {
				t.Errorf("%s page lacks %s:\n%s", c.status, text, doc)
			}
		}
		if strings.Contains(string(doc), "quarantined") {
			t.Errorf("a page with files says that it is quarantined:\n%s", doc)
		}
		html := string(render(t, pypi.New(), view, formats.Target{Name: view.Name, Variant: "html"}))
		if strings.Count(html, "<a href") != len(c.files) {
			t.Errorf("%s page in HTML:\n%s", c.status, html)
		}
		project := string(render(t, pypi.New(), view, formats.Target{Name: view.Name, Variant: "project-json"}))
		if !strings.Contains(project, `"name":"De.Mo"`) {
			t.Errorf("project document does not show the name as published first:\n%s", project)
		}
	}
}

// TestQuarantinedAlone: without anything published here the page is empty, as
// the index has it.
func TestQuarantinedAlone(t *testing.T) {
	view := layered(t, "quarantined")
	view.Versions = view.Versions[1:]
	doc := string(render(t, pypi.New(), view, formats.Target{Name: view.Name, Variant: "json"}))
	if !strings.Contains(doc, `"versions":[],"files":[]`) || !strings.Contains(doc, "quarantined") {
		t.Errorf("page:\n%s", doc)
	}
}

func TestDescribe(t *testing.T) {
	const text = "Metadata-Version: 2.4\nName: De.Mo\nVersion: 1.0\nSummary: what\n  it does\nHome-page: UNKNOWN\n" +
		"Project-URL: Home Page, https://demo.example/\nProject-URL: Source Code, https://code.example/demo\nProject-URL: Bad, javascript:x\n" +
		"License: MIT\nLicense-Expression: MIT OR Apache-2.0\nClassifier: License :: OSI Approved :: MIT License\n" +
		"Requires-Dist: Other_One[x] (>=2) ; python_version > '3'\nRequires-Dist: plain\nRequires-Dist: ???\n\n# De.Mo\n\ntext\n"
	e := wheelEntries()
	e[1].body = text
	repo := newRepository(t)
	upload(t, repo, demoWheel, "De.Mo", "1.0", zipOf(recorded(e)))
	source := newRepository(t)
	upload(t, source, demoSource, "De.Mo", "1.0", tarOf([]entry{{name: "De.Mo-1.0/PKG-INFO", body: text}}))
	bare := newRepository(t)
	upload(t, bare, demoWheel, "De.Mo", "1.0", zipOf(recorded(e)))
	delete(bare.Version("de-mo", "1.0").Held, demoWheel+".metadata")
	for what, r := range map[string]interface {
		Version(canon, v string) *formats.Version
		Open(canon, v, file string) (formats.OpenFile, error)
	}{"metadata": repo, "source": source, "wheel": bare} {
		facts, err := pypi.New().Describe(formats.Name{Canon: "de-mo"}, r.Version("de-mo", "1.0"), func(file string) (formats.OpenFile, error) { return r.Open("de-mo", "1.0", file) })
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if facts.DisplayName != "De.Mo" || facts.Summary != "what it does" || facts.HomePage != "https://demo.example/" || facts.SourceCode != "https://code.example/demo" || facts.Readme != "# De.Mo\n\ntext\n" {
			t.Errorf("%s: facts %+v", what, facts)
		}
		if len(facts.Licenses) != 1 || facts.Licenses[0].Name != "MIT OR Apache-2.0" {
			t.Errorf("%s: licences %+v", what, facts.Licenses)
		}
		want := []formats.Dependency{
			{Package: "other-one", Type: "Requires-Dist", Requirement: "[x] (>=2) ; python_version > '3'"},
			{Package: "plain", Type: "Requires-Dist"},
		}
		if !slices.Equal(facts.Dependencies, want) {
			t.Errorf("%s: dependencies %+v", what, facts.Dependencies)
		}
	}
	none, err := pypi.New().Describe(formats.Name{Canon: "de-mo"}, &formats.Version{V: "1.0", Published: time.Now()}, nil)
	if err != nil || none.DisplayName != "de-mo" || none.Readme != "" {
		t.Errorf("nothing held: %+v, %v", none, err)
	}
}

func TestCoordinates(t *testing.T) {
	f := pypi.New()
	for _, spelled := range []string{"de-mo", "De.Mo", "DE__mo"} {
		n, err := f.FromCoordinate("", spelled)
		if ns, pkg := f.Coordinate(n); err != nil || n.Canon != "de-mo" || ns != "" || pkg != "de-mo" {
			t.Errorf("FromCoordinate(%q) = %+v, %v", spelled, n, err)
		}
	}
	for _, bad := range [][2]string{{"ns", "x"}, {"", ""}, {"", "-x"}, {"", "a/b"}, {"", "a b"}} {
		if n, err := f.FromCoordinate(bad[0], bad[1]); formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Errorf("FromCoordinate(%q) = %+v, %v", bad, n, err)
		}
	}
	if f.FileName(formats.Name{}, "1", f.AssetName(formats.Name{}, "1", demoWheel)) != demoWheel {
		t.Error("asset names do not lead back")
	}
}
