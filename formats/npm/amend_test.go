package npm

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
)

// hosted is a repository with some versions of x, one a second.
func hosted(t *testing.T, versions ...string) *formattest.Repository {
	t.Helper()
	repo := formattest.NewRepository(t, testNow())
	for i, v := range versions {
		if _, err := put(repo, "x", publishDoc("x", v, pack(t, packageJSON("x", v)), nil)); err != nil {
			t.Fatal(err)
		}
		repo.Version("x", v).Hosting.Since = testNow().Add(time.Duration(i) * time.Second)
	}
	return repo
}

// edited is what a client PUTs after it changed a document.
func edited(t *testing.T, doc []byte, change func(versions map[string]any)) []byte {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	change(d["versions"].(map[string]any))
	out, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDeprecate(t *testing.T) {
	repo := hosted(t, "1.0.0", "1.1.0")
	n := formats.Name{Canon: "x"}
	doc := render(t, repo, n, variantWrite)
	set := func(v, key string, val any) func(map[string]any) {
		return func(vs map[string]any) { vs[v].(map[string]any)[key] = val }
	}
	was := string(repo.Version("x", "1.0.0").Raw)
	c, err := put(repo, "x", edited(t, doc, set("1.0.0", "deprecated", "old <b>\n")))
	if err != nil || len(c.Versions) != 1 || c.Versions[0].Expect == "" || c.Deed() != formats.DeedMetadata {
		t.Fatalf("deprecate: %+v, %v", c, err)
	}
	row := repo.Version("x", "1.0.0")
	if text(find(row.Raw, "deprecated")) != "old <b>\n" || row.Flags != formats.Deprecated || len(row.Aux) == 0 {
		t.Errorf("deprecated row: %s", row.Raw)
	}
	if _, err := put(repo, "x", edited(t, doc, set("1.0.0", "deprecated", ""))); err != nil {
		t.Fatal(err)
	}
	if row := repo.Version("x", "1.0.0"); string(row.Raw) != was || row.Flags != 0 {
		t.Errorf("undeprecated row: %s, was %s", row.Raw, was)
	}
	if c, err := put(repo, "x", doc); err != nil || len(c.Versions) != 0 {
		t.Errorf("no change: %+v, %v", c, err)
	}
	_, err = put(repo, "x", edited(t, doc, set("1.0.0", "bin", "evil")))
	wantRefusal(t, "other member", err, formats.BadRequest, `1.0.0 in "bin"`)
	_, err = put(repo, "x", edited(t, doc, func(vs map[string]any) { delete(vs["1.1.0"].(map[string]any), "_id") }))
	wantRefusal(t, "member gone", err, formats.BadRequest, `1.1.0 in "_id"`)
	foreign := edited(t, doc, func(vs map[string]any) {
		vs["9.0.0"] = map[string]any{"name": "x", "version": "9.0.0", "deprecated": "no"}
	})
	_, err = put(repo, "x", foreign)
	wantRefusal(t, "an upstream's version", err, formats.BadRequest, "upstream")
	_, err = put(repo, "x", []byte(`{"name":"x","versions":{"9.0.0":{"name":"x","version":"9.0.0"}}}`))
	wantRefusal(t, "no tarball", err, formats.BadRequest, "no tarball")
	_, err = put(repo, "x", []byte(`{"_id":"x","maintainers":[]}`))
	wantRefusal(t, "owners", err, formats.NotSupported, "owners")
	_, err = put(repo, "x", publishDoc("x", "1.2.0", pack(t, packageJSON("x", "1.2.0")), nil), headerCommand, "deprecate")
	wantRefusal(t, "publish called deprecate", err, formats.BadRequest, "may not carry")
	_, err = put(repo, "x", edited(t, doc, set("1.0.0", "deprecated", strings.Repeat("x", maxDeprecation+1))))
	wantRefusal(t, "long text", err, formats.BadRequest, "longer")
}

func TestTags(t *testing.T) {
	repo := hosted(t, "1.0.0", "1.1.0")
	if _, err := put(repo, "-/package/x/dist-tags/old", []byte(` "1.0.0" `)); err != nil {
		t.Fatal(err)
	}
	if got := string(render(t, repo, formats.Name{Canon: "x"}, variantTags)); got != `{"latest":"1.1.0","old":"1.0.0"}` {
		t.Errorf("tags %s", got)
	}
	for body, say := range map[string]string{`"2.0.0"`: "version not found", `"1.0.0`: "one JSON string", `{}`: "one JSON string", ``: "one JSON string", `"a b"`: "one JSON string"} {
		_, err := put(repo, "-/package/x/dist-tags/old", []byte(body))
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("body %q: %v, want %q", body, err, say)
		}
	}
	_, err := put(repo, "-/package/x/dist-tags/1.x", []byte(`"1.0.0"`))
	wantRefusal(t, "range", err, formats.BadRequest, "range")
	_, err = send(repo, http.MethodDelete, "-/package/x/dist-tags/latest", nil)
	wantRefusal(t, "rm latest", err, formats.BadRequest, "latest")
	_, err = send(repo, http.MethodDelete, "-/package/x/dist-tags/new", nil)
	wantRefusal(t, "rm unknown", err, formats.NotFound, "no tag")
	if _, err := send(repo, http.MethodDelete, "-/package/x/dist-tags/old", nil); err != nil {
		t.Error(err)
	}
	if _, err := put(repo, "x", publishDoc("x", "2.0.0-a", pack(t, packageJSON("x", "2.0.0-a")), func(d map[string]any) { d["dist-tags"] = map[string]any{"next": "2.0.0-a"} })); err != nil {
		t.Fatal(err)
	}
	if got := string(render(t, repo, formats.Name{Canon: "x"}, variantTags)); got != `{"latest":"1.1.0","next":"2.0.0-a"}` {
		t.Errorf("tags %s", got)
	}
}

func TestUnpublish(t *testing.T) {
	n := formats.Name{Canon: "x"}
	repo := hosted(t, "1.0.0", "1.1.0", "2.0.0")
	doc := render(t, repo, n, variantWrite)
	rev := text(find(doc, "_rev"))
	_, err := put(repo, "x/-rev/"+rev, doc)
	wantRefusal(t, "nothing left out", err, formats.BadRequest, "nothing to unpublish")
	_, err = put(repo, "x/-rev/"+rev, edited(t, doc, func(vs map[string]any) { clear(vs) }))
	wantRefusal(t, "all left out", err, formats.BadRequest, "one version")
	_, err = put(repo, "x/-rev/"+rev, edited(t, doc, func(vs map[string]any) {
		delete(vs, "2.0.0")
		vs["1.0.0"].(map[string]any)["deprecated"] = "x"
	}))
	wantRefusal(t, "deprecates too", err, formats.BadRequest, "nothing but")

	// A version that came after the document was read is not taken for removed.
	if _, err := put(repo, "x", publishDoc("x", "2.1.0", pack(t, packageJSON("x", "2.1.0")), nil)); err != nil {
		t.Fatal(err)
	}
	repo.Version("x", "2.1.0").Hosting.Since = testNow().Add(time.Minute)
	c, err := put(repo, "x/-rev/"+rev, edited(t, doc, func(vs map[string]any) { delete(vs, "2.0.0") }))
	if err != nil || len(c.Versions) != 1 || c.Versions[0].V != "2.0.0" || c.Deed() != formats.DeedDelete {
		t.Fatalf("unpublish: %+v, %v", c, err)
	}
	_, err = send(repo, http.MethodDelete, "x/-/x-2.0.0.tgz/-rev/"+rev, nil)
	wantRefusal(t, "its tarball", err, formats.NotFound, "holds no x@2.0.0")
	if c, err := send(repo, http.MethodDelete, "x/-/x-2.1.0.tgz/-rev/"+rev, nil); err != nil || c.Tags["latest"] != "1.1.0" {
		t.Errorf("latest after its version went: %+v, %v", c, err)
	}
	if _, err := put(repo, "x", publishDoc("x", "3.0.0", pack(t, packageJSON("x", "3.0.0")), nil)); err != nil {
		t.Fatal(err)
	}
	repo.Version("x", "3.0.0").Hosting.Since = testNow().Add(time.Hour)
	for _, rev := range []string{rev, "7-abc", "-", "1-00000000000000zz"} {
		_, err = send(repo, http.MethodDelete, "x/-rev/"+rev, nil)
		wantRefusal(t, "revision "+rev, err, formats.Conflict, "")
	}
	rev = text(find(render(t, repo, n, variantWrite), "_rev"))
	if c, err := send(repo, http.MethodDelete, "x/-rev/"+rev, nil); err != nil || len(c.Versions) != 3 || len(repo.View(n, testBase).Versions) != 0 {
		t.Errorf("unpublish all: %+v, %v", c, err)
	}
	_, err = send(repo, http.MethodDelete, "x/-rev/"+rev, nil)
	wantRefusal(t, "nothing held", err, formats.BadRequest, "upstream")
	_, err = New().Render(io.Discard, repo.View(n, testBase), formats.Target{Name: n, Variant: variantFull})
	wantRefusal(t, "render of nothing", err, formats.NotFound, "no version")
}
