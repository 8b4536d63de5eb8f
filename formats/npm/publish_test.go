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
	"time"

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

func TestTarballRefuses(t *testing.T) {
	ok := packageJSON("x", "1.0.0")
	plainTar := func() []byte {
		z, _ := gzip.NewReader(bytes.NewReader(pack(t, ok)))
		b, _ := io.ReadAll(z)
		return b
	}
	regzip := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	many := []entry{ok}
	for what, c := range map[string]struct {
		tarball []byte
		say     string
	}{
		"climbs":           {pack(t, ok, entry{name: "package/../../etc/x"}), "leads out"},
		"absolute":         {pack(t, ok, entry{name: "/etc/passwd"}), "leads out"},
		"drive":            {pack(t, ok, entry{name: "package/C:/x"}), "leads out"},
		"backslash":        {pack(t, ok, entry{name: `package/..\x`}), "cannot be the name"},
		"control":          {pack(t, ok, entry{name: "package/a\nb"}), "cannot be the name"},
		"symlink":          {pack(t, ok, entry{name: "package/l", kind: tar.TypeSymlink, link: "/etc"}), "is a link"},
		"hard link":        {pack(t, ok, entry{name: "package/l", kind: tar.TypeLink, link: "package/package.json"}), "is a link"},
		"device":           {pack(t, ok, entry{name: "package/d", kind: tar.TypeChar}), "neither"},
		"twice":            {pack(t, ok, entry{name: "package/a"}, entry{name: "package/a", body: "x"}), "twice"},
		"twice stripped":   {pack(t, ok, entry{name: "package/a"}, entry{name: "other/a", body: "x"}), "twice"},
		"second manifest":  {pack(t, ok, entry{name: "other/package.json", body: ok.body}), "twice"},
		"spelled manifest": {pack(t, ok, entry{name: "package/Package.json", body: ok.body}), "two spellings"},
		"beside":           {pack(t, ok, entry{name: "package.json", body: ok.body}), "beside"},
		"no manifest":      {pack(t, entry{name: "package/a"}), "no package.json"},
		"other name":       {pack(t, packageJSON("y", "1.0.0")), `of "y"`},
		"other version":    {pack(t, packageJSON("x", "1.0.1")), "has version"},
		"two names":        {pack(t, entry{name: "package/package.json", body: `{"name":"x","version":"1.0.0","name":"x"}`}), "twice"},
		"manifest broken":  {pack(t, entry{name: "package/package.json", body: `{"name":`}), "cannot be read"},
		"behind the end":   {regzip(append(plainTar(), "more"...)), "follow the end"},
		"second archive":   {regzip(append(plainTar(), plainTar()...)), "follow the end"},
		"second stream":    {append(pack(t, ok), pack(t, entry{name: "package/b"})...), "follow the end"},
		"cut":              {pack(t, ok)[:60], "damaged"},
		"behind gzip":      {append(pack(t, ok), "more"...), "damaged"},
		"no tar":           {regzip([]byte(strings.Repeat("x", 2000))), "not a well-formed"},
		"empty":            {pack(t, many[:0]...), "no package.json"},
		"bomb":             {pack(t, ok, entry{name: "package/zeros", body: string(make([]byte, 100<<20))}), "times its size"},
		"big manifest":     {pack(t, entry{name: "package/package.json", body: strings.Repeat(" ", maxPackageJSON+1)}), "over"},
	} {
		found, err := inspectTarball(t.Context(), formattest.SpoolOf(c.tarball))
		if err == nil {
			err = found.check("x", "1.0.0")
		}
		wantRefusal(t, what, err, formats.BadRequest, c.say)
	}
	for what, tgz := range map[string][]byte{
		"other folder": pack(t, entry{name: "x-1.0.0/", kind: tar.TypeDir}, entry{name: "x-1.0.0/package.json", body: "\xef\xbb\xbf" + ok.body}),
		"v":            pack(t, packageJSON("x", "v1.0.0")),
		"build":        pack(t, packageJSON("x", "1.0.0+b.1")),
		"padding":      regzip(append(plainTar(), make([]byte, 10240)...)),
		"git archive":  pack(t, ok, entry{name: "package/deep/package.json", body: `{}`}),
	} {
		found, err := inspectTarball(t.Context(), formattest.SpoolOf(tgz))
		if err == nil {
			err = found.check("x", "1.0.0")
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

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
