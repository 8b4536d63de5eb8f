package npm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// entry is one entry of a tarball; a zero type is a regular file.
type entry struct {
	name, body string
	kind       byte
	link       string
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packageJSON(name, version string) entry {
	return entry{name: "package/package.json", body: fmt.Sprintf(`{"name":%q,"version":%q}`, name, version)}
}

func put(repo *formattest.Repository, path string, body []byte, header ...string) (*formats.Change, error) {
	return send(repo, http.MethodPut, path, body, header...)
}

func send(repo *formattest.Repository, method, path string, body []byte, header ...string) (*formats.Change, error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return repo.Publish(New(), formattest.NewRequest(method, testBase, path, h), bytes.NewReader(body))
}

// render is the document of a repository in memory.
func render(t *testing.T, repo *formattest.Repository, n formats.Name, variant string) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := New().Render(&out, repo.View(n, testBase), formats.Target{Name: n, Variant: variant}); err != nil {
		t.Fatalf("render %s: %v", variant, err)
	}
	if !json.Valid(out.Bytes()) {
		t.Fatalf("render %s is not JSON: %s", variant, out.Bytes())
	}
	return out.Bytes()
}

func wantRefusal(t *testing.T, what string, err error, kind formats.RefusalKind, say string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted, want %s", what, kind)
		return
	}
	if r := formats.AsRefusal(err); r.Kind != kind || !strings.Contains(r.Message, say) {
		t.Errorf("%s: %s %q (%v), want %s %q", what, r.Kind, r.Message, err, kind, say)
	}
}

func TestPublishRow(t *testing.T) {
	repo := formattest.NewRepository(t, testNow())
	tgz := pack(t, packageJSON("@tiny/core", "1.0.0"), entry{name: "package/lib/a.js", body: "12345"}, entry{name: "package/README.md", body: "# read"})
	doc := publishDoc("@tiny/core", "1.0.0", tgz, func(doc map[string]any) {
		m := doc["versions"].(map[string]any)["1.0.0"].(map[string]any)
		m["description"], m["_npmUser"] = "tiny", map[string]string{"name": "eve"}
		m["dependencies"] = map[string]string{"@s/a": "^1", "b": "2"}
	})
	c, err := put(repo, "@tiny%2fcore", doc)
	if err != nil {
		t.Fatal(err)
	}
	if c.Deed() != formats.DeedPublish || c.Reply.Status != http.StatusCreated || string(c.Reply.Body) != replyPublished {
		t.Errorf("change %s, reply %d %s", c.Deed(), c.Reply.Status, c.Reply.Body)
	}
	row := repo.Version("@tiny/core", "1.0.0")
	if string(row.Aux) != `"2026-11-25T12:30:15.123Z"` || !row.Published.Equal(testNow()) || row.From != formats.TimeUpstream {
		t.Errorf("time of the row: %s %s %d", row.Aux, row.Published, row.From)
	}
	dist := find(row.Raw, "dist")
	sum, _ := formats.Find(formattest.SpoolOf(tgz).Digests(), formats.SHA512)
	for key, want := range map[string]string{
		"integrity": `"` + sum.SRI() + `"`, "fileCount": "3", "tarball": `"core-1.0.0.tgz"`,
		"unpackedSize": fmt.Sprint(len(packageJSON("@tiny/core", "1.0.0").body) + 5 + 6),
		"signatures":   fmt.Sprintf(`[{"keyid":"SHA256:test","sig":"%x"}]`, "@tiny/core@1.0.0:"+sum.SRI()),
	} {
		if got := string(find(dist, key)); got != want {
			t.Errorf("dist.%s is %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"readme", "_npmUser"} {
		if got := find(row.Raw, key); got != nil {
			t.Errorf("the manifest keeps %s: %s", key, got)
		}
	}
	n := formats.Name{Canon: "@tiny/core", NS: "tiny"}
	full := render(t, repo, n, variantFull)
	for key, want := range map[string]string{
		"name": `"@tiny/core"`, "description": `"tiny"`, "readme": `"# x"`, "dist-tags": `{"latest":"1.0.0"}`,
		"time": `{"created":"2026-11-25T12:30:15.123Z","modified":"2026-11-25T12:30:15.123Z","1.0.0":"2026-11-25T12:30:15.123Z"}`,
	} {
		if got := string(find(full, key)); got != want {
			t.Errorf("%s of the packument is %s, want %s", key, got, want)
		}
	}
	if got := text(find(find(find(find(full, "versions"), "1.0.0"), "dist"), "tarball")); got != testBase+"/@tiny/core/-/core-1.0.0.tgz" {
		t.Errorf("tarball at %s", got)
	}
	if got := text(find(render(t, repo, n, variantAbbreviated), "modified")); got != "2026-11-25T12:30:15.123Z" {
		t.Errorf("modified of the abbreviated packument is %q", got)
	}
	if find(full, "_rev") != nil {
		t.Error("a reader gets a _rev")
	}
	rev := text(find(render(t, repo, n, variantWrite), "_rev"))
	if newest, ok := parseRevision(rev); !ok || !newest.Equal(testNow()) {
		t.Errorf("_rev %q is of %s", rev, newest)
	}
}

// TestPublishAgain: a version is published once.
func TestPublishAgain(t *testing.T) {
	repo := formattest.NewRepository(t, testNow())
	n := formats.Name{Canon: "@tiny/core", NS: "tiny"}
	doc := publishDoc(n.Canon, "1.0.0", pack(t, packageJSON(n.Canon, "1.0.0"), entry{name: "package/README.md", body: "# read"}), func(doc map[string]any) {
		doc["versions"].(map[string]any)["1.0.0"].(map[string]any)["dependencies"] = map[string]string{"@s/a": "^1", "b": "2"}
	})
	if _, err := put(repo, "@tiny%2fcore", doc); err != nil {
		t.Fatal(err)
	}
	row := repo.Version(n.Canon, "1.0.0")
	full := render(t, repo, n, variantFull)
	var b bench // what we render, another larder can read
	if err := b.parse("@tiny/core", string(full)); err != nil || len(b.versions) != 1 || b.versions[0].Assets[0].Digests == nil {
		t.Errorf("parse of the rendered packument: %v", err)
	}
	again, err := put(repo, "@tiny%2fcore", doc)
	if err != nil || len(again.Tags) != 0 || again.Head != nil {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	other := publishDoc("@tiny/core", "1.0.0", pack(t, packageJSON("@tiny/core", "1.0.0")), nil)
	_, err = put(repo, "@tiny%2fcore", other)
	wantRefusal(t, "other bytes", err, formats.Conflict, "")
	facts, err := New().Describe(n, row, func(file string) (formats.OpenFile, error) { return repo.Open(n.Canon, "1.0.0", file) })
	if err != nil || facts.Readme != "# read" || fmt.Sprint(facts.Dependencies) != "[{s a regular ^1} { b regular 2}]" {
		t.Errorf("facts %+v, %v", facts, err)
	}
}

// TestPublishSpellings: how clients may write the same request.
func TestPublishSpellings(t *testing.T) {
	tgz := pack(t, packageJSON("x", "1.0.0"))
	doc := publishDoc("x", "1.0.0", tgz, nil)
	b64 := base64.StdEncoding.EncodeToString(tgz)
	gz := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	manifest := `"name":"x","versions":{"1.0.0":{"name":"x","version":"1.0.0"}}`
	for what, body := range map[string][]byte{
		"plain":             doc,
		"attachments first": []byte(`{"_attachments":{"x-1.0.0.tgz":{"data":"` + b64 + `"}},` + manifest + `}`),
		"slashes escaped":   bytes.Replace(doc, []byte(b64), []byte(strings.ReplaceAll(b64, "/", `\/`)), 1),
		"plus escaped":      bytes.Replace(doc, []byte(b64), []byte(strings.ReplaceAll(b64, "+", `\u002B`)), 1),
		"all escaped": bytes.Replace(doc, []byte(b64), []byte(func() (s string) {
			for _, c := range b64 {
				s += fmt.Sprintf(`\u%04x`, c)
			}
			return s
		}()), 1),
	} {
		repo := formattest.NewRepository(t, testNow())
		if _, err := put(repo, "x", body); err != nil {
			t.Errorf("%s: %v", what, err)
		} else if row := repo.Version("x", "1.0.0"); row.Held["x-1.0.0.tgz"].Size != int64(len(tgz)) {
			t.Errorf("%s: held %+v, want %d bytes", what, row.Held, len(tgz))
		}
	}
	repo := formattest.NewRepository(t, testNow())
	if _, err := put(repo, "x", gz(doc), "Content-Encoding", "gzip"); err != nil {
		t.Errorf("gzip: %v", err)
	}
	bomb := append([]byte(`{"name":"x","readme":"`), bytes.Repeat([]byte("a"), 40<<20)...)
	_, err := put(repo, "x", gz(bomb), "Content-Encoding", "gzip")
	wantRefusal(t, "bomb", err, formats.TooLarge, "")
	_, err = put(repo, "x", gz(doc)[:100], "Content-Encoding", "gzip")
	wantRefusal(t, "cut gzip", err, formats.BadRequest, "")
	_, err = put(repo, "x", doc, "Content-Encoding", "br")
	wantRefusal(t, "brotli", err, formats.BadRequest, "content-encoding")
}

// TestPublishRefuses: what is not what it claims is refused whole.
func TestPublishRefuses(t *testing.T) {
	good := pack(t, packageJSON("x", "1.0.0"))
	manifest := func(doc map[string]any) map[string]any {
		return doc["versions"].(map[string]any)["1.0.0"].(map[string]any)
	}
	dist := func(doc map[string]any) map[string]any { return manifest(doc)["dist"].(map[string]any) }
	attachment := func(doc map[string]any) map[string]any {
		return doc["_attachments"].(map[string]any)["x-1.0.0.tgz"].(map[string]any)
	}
	for what, c := range map[string]struct {
		change func(map[string]any)
		say    string
	}{
		"another name":       {func(d map[string]any) { d["name"] = "y" }, "about"},
		"manifest's name":    {func(d map[string]any) { manifest(d)["name"] = "y" }, "manifest is of"},
		"manifest's version": {func(d map[string]any) { manifest(d)["version"] = "1.0.1" }, "manifest is of"},
		"integrity": {func(d map[string]any) {
			dist(d)["integrity"] = formats.Digest{Alg: formats.SHA512, Hex: strings.Repeat("00", 64)}.SRI()
		}, "damaged"},
		"shasum":            {func(d map[string]any) { dist(d)["shasum"] = strings.Repeat("0", 40) }, "damaged"},
		"unknown integrity": {func(d map[string]any) { dist(d)["integrity"] = "md6-xx" }, "cannot be read"},
		"sha384 only": {func(d map[string]any) {
			delete(dist(d), "shasum")
			dist(d)["integrity"] = formats.Digest{Alg: formats.SHA384, Hex: strings.Repeat("00", 48)}.SRI()
		}, "no digest that is known"},
		"length":        {func(d map[string]any) { attachment(d)["length"] = 5 }, "claims 5"},
		"length's type": {func(d map[string]any) { attachment(d)["length"] = "5" }, "no number"},
		"base64":        {func(d map[string]any) { attachment(d)["data"] = "ab.c" }, "not base64"},
		"cut base64":    {func(d map[string]any) { attachment(d)["data"] = "H4s" }, "not base64"},
		"padded inside": {func(d map[string]any) { attachment(d)["data"] = "QQ==QQ==" }, "not base64"},
		"data no text":  {func(d map[string]any) { attachment(d)["data"] = 5 }, "cannot be read"},
		"no data":       {func(d map[string]any) { delete(attachment(d), "data") }, "no data"},
		"two tarballs": {func(d map[string]any) {
			d["_attachments"].(map[string]any)["y.tgz"] = map[string]any{"data": "QUJD"}
		}, "more than one"},
		"two versions": {func(d map[string]any) {
			d["versions"].(map[string]any)["1.0.1"] = map[string]any{"name": "x", "version": "1.0.1"}
		}, "has one version"},
		"no version":    {func(d map[string]any) { delete(d, "versions") }, "has one version"},
		"foreign tag":   {func(d map[string]any) { d["dist-tags"] = map[string]any{"beta": "2.0.0"} }, "does not publish"},
		"range as tag":  {func(d map[string]any) { d["dist-tags"] = map[string]any{"1.x": "1.0.0"} }, "range"},
		"odd tag":       {func(d map[string]any) { d["dist-tags"] = map[string]any{"a/b": "1.0.0"} }, "cannot be a dist-tag"},
		"no gzip":       {func(d map[string]any) { attachment(d)["data"], attachment(d)["length"] = "QUJD", 3 }, "not compressed"},
		"bundle broken": {func(d map[string]any) { d["_attachments"].(map[string]any)["x.sigstore"] = map[string]any{"data": "{"} }, "provenance"},
	} {
		repo := formattest.NewRepository(t, testNow())
		_, err := put(repo, "x", publishDoc("x", "1.0.0", good, c.change))
		wantRefusal(t, what, err, formats.BadRequest, c.say)
		if repo.Version("x", "1.0.0") != nil {
			t.Errorf("%s: published", what)
		}
	}
}

// TestPublishRefusesDocuments: bodies that are no document of a package, and
// coordinates that may be read but not published.
func TestPublishRefusesDocuments(t *testing.T) {
	for what, body := range map[string]string{
		"twice":  `{"name":"x","name":"x"}`,
		"array":  `[]`,
		"empty":  ``,
		"torn":   `{"name":"x","_attachments":{"x.tgz":{"data":"QUJ`,
		"escape": `{"name":"x","_attachments":{"x.tgz":{"data":"QU\n"}}}`,
		"behind": `{"name":"x"} x`,
	} {
		_, err := put(formattest.NewRepository(t, testNow()), "x", []byte(body))
		wantRefusal(t, what, err, formats.BadRequest, "")
	}
	for _, v := range []string{"1", "1.0", "01.0.0", "1.0.0+b", "1.0.0-01", "1.0.0_x"} {
		_, err := put(formattest.NewRepository(t, testNow()), "x", publishDoc("x", v, pack(t, packageJSON("x", v)), nil))
		wantRefusal(t, v, err, formats.BadRequest, "not a version that can be published")
	}
	for _, name := range []string{"Big", "a~b", "x" + strings.Repeat("y", 220), "@_s/x"} {
		_, err := put(formattest.NewRepository(t, testNow()), escapeName(name), publishDoc(name, "1.0.0", pack(t, packageJSON(name, "1.0.0")), nil))
		wantRefusal(t, name, err, formats.BadRequest, "name of a new package")
	}
}
