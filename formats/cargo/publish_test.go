package cargo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
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

var publishedAt = time.Date(2026, 11, 3, 4, 5, 6, 789, time.UTC)

// entry is one entry of a crate under test.
type entry struct {
	name, body, link string
	kind             byte // tar.TypeReg by default
}

// crateOf packs entries as they are, in the order given.
func crateOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			hdr.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(hdr); err != nil {
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
	return buf.Bytes()
}

func cargoTOML(name, version string) entry {
	return entry{name: name + "-" + version + "/Cargo.toml", body: fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n"+
		"description = \"does nothing\"\nlicense = \"MIT OR Apache-2.0\"\nhomepage = \"https://corp.example/\"\nrepository = \"https://git.corp.example/x\"\nreadme = \"README.md\"\n", name, version)}
}

// goodCrate is a small crate in good order.
func goodCrate(t testing.TB, name, version string) []byte {
	return crateOf(t, cargoTOML(name, version), entry{name: name + "-" + version + "/src/lib.rs", body: "pub fn f() {}\n"},
		entry{name: name + "-" + version + "/README.md", body: "# " + name + "\n"})
}

// upload frames metadata and an archive as cargo publish does.
func upload(meta string, crate []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(meta)))
	out = append(out, meta...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(crate)))
	return append(out, crate...)
}

func metaOf(name, version string) string {
	return fmt.Sprintf(`{"name":%q,"vers":%q,"deps":null,"features":{},"description":"does nothing","license":"MIT"}`, name, version)
}

func publish(t *testing.T, r *formattest.Repository, body []byte) (*formats.Change, error) {
	t.Helper()
	return r.Publish(New(), request(http.MethodPut, base, "api/v1/crates/new"), bytes.NewReader(body))
}

func mustPublish(t *testing.T, r *formattest.Repository, name, version string) {
	t.Helper()
	if _, err := publish(t, r, upload(metaOf(name, version), goodCrate(t, name, version))); err != nil {
		t.Fatalf("publish %s %s: %v", name, version, err)
	}
}

func rendered(t *testing.T, r *formattest.Repository, name string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := New().Render(&out, r.View(formats.Name{Canon: name}, base), index(name)); err != nil {
		t.Fatalf("render the index of %s: %v", name, err)
	}
	return out.String()
}

// TestPublishedLine holds the conversion of a publish request to an index line
// against The Cargo Book.
func TestPublishedLine(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	crate := goodCrate(t, "Odd_Crate", "1.0.0-rc.1+b7")
	sum := sha256.Sum256(crate)
	meta := `{"name":"Odd_Crate","vers":"1.0.0-rc.1+b7","deps":[
		{"optional":false,"default_features":true,"name":"plain","features":[],"version_req":">=1.2, <2","target":null,"kind":"normal"},
		{"optional":true,"default_features":false,"name":"real-name","features":["a"],"version_req":"^1","target":"cfg(unix)","kind":"build",
		 "registry":"sparse+https://other.example/","explicit_name_in_toml":"alias"},
		{"optional":false,"default_features":true,"name":"t","features":[],"version_req":"*","target":null,"kind":"dev","registry":null,"explicit_name_in_toml":null}],
		"features":{"default":["std"],"std":[],"weak":["alias?/x"],"named":["dep:alias"]},"authors":["a"],"description":"x","documentation":null,"homepage":null,
		"readme":"# long","readme_file":"README.md","keywords":[],"categories":[],"license":"MIT","license_file":null,"repository":null,"badges":{},"links":"z","rust_version":"1.70"}`
	change, err := publish(t, r, upload(meta, crate))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"Odd_Crate","vers":"1.0.0-rc.1+b7","deps":[` +
		`{"name":"plain","req":">=1.2, <2","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"},` +
		`{"name":"alias","req":"^1","features":["a"],"optional":true,"default_features":false,"target":"cfg(unix)","kind":"build","registry":"sparse+https://other.example/","package":"real-name"},` +
		`{"name":"t","req":"*","features":[],"optional":false,"default_features":true,"target":null,"kind":"dev"}],` +
		`"cksum":"` + hex.EncodeToString(sum[:]) + `","features":{"default":["std"],"std":[]},"yanked":false,"links":"z","v":2,` +
		`"features2":{"named":["dep:alias"],"weak":["alias?/x"]},"rust_version":"1.70","pubtime":"2026-11-03T04:05:06Z"}` + "\n"
	if got := rendered(t, r, "odd_crate"); got != want {
		t.Errorf("the index is\n%swant\n%s", got, want)
	}
	if change.Name.Canon != "odd_crate" || change.Head.Display != "Odd_Crate" || !bytes.Contains(change.Reply.Body, []byte(`"warnings"`)) {
		t.Errorf("change of %+v with head %+v answers %s", change.Name, change.Head, change.Reply.Body)
	}
	row := r.Version("odd_crate", "1.0.0-rc.1+b7")
	if row.From != formats.TimeUpstream || !row.Published.Equal(publishedAt.Truncate(time.Second)) || row.Assets[0].Size != int64(len(crate)) {
		t.Errorf("the row is %+v", row)
	}
	facts, err := New().Describe(change.Name, row, func(file string) (formats.OpenFile, error) { return r.Open("odd_crate", row.V, file) })
	if err != nil {
		t.Fatal(err)
	}
	if facts.DisplayName != "Odd_Crate" || facts.Summary != "does nothing" || facts.Readme != "# Odd_Crate\n" || facts.Licenses[0].Name != "MIT OR Apache-2.0" ||
		facts.SourceCode != "https://git.corp.example/x" || len(facts.Dependencies) != 3 || facts.Dependencies[1] != (formats.Dependency{Package: "real-name", Type: "build", Requirement: "^1"}) {
		t.Errorf("facts %+v", facts)
	}
}

func TestPublishTwice(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	mustPublish(t, r, "Some-Crate", "1.0.0")
	mustPublish(t, r, "Some-Crate", "1.0.0") // the same bytes
	mustPublish(t, r, "Some-Crate", "1.1.0+x")
	other := crateOf(t, cargoTOML("Some-Crate", "1.0.0"))
	for what, body := range map[string][]byte{
		"other bytes":          upload(metaOf("Some-Crate", "1.0.0"), other),
		"build metadata alone": upload(metaOf("Some-Crate", "1.0.0+y"), goodCrate(t, "Some-Crate", "1.0.0+y")),
		"build metadata gone":  upload(metaOf("Some-Crate", "1.1.0"), goodCrate(t, "Some-Crate", "1.1.0")),
		"other case":           upload(metaOf("some-crate", "2.0.0"), goodCrate(t, "some-crate", "2.0.0")),
		"underscore":           upload(metaOf("some_crate", "2.0.0"), goodCrate(t, "some_crate", "2.0.0")),
	} {
		if _, err := publish(t, r, body); formats.AsRefusal(err).Kind != formats.Conflict {
			t.Errorf("%s: %v, want a conflict", what, err)
		}
	}
	if got := rendered(t, r, "some-crate"); strings.Count(got, "\n") != 2 {
		t.Errorf("the index is\n%s", got)
	}
}

func TestPublishRefuses(t *testing.T) {
	const n, v = "good", "1.0.0"
	good, meta := goodCrate(t, n, v), metaOf(n, v)
	framed := func(metaLength, crateLength uint32, tail string) []byte {
		out := binary.LittleEndian.AppendUint32(nil, metaLength)
		out = append(out, meta...)
		out = binary.LittleEndian.AppendUint32(out, crateLength)
		return append(append(out, good...), tail...)
	}
	dep := func(fields string) string {
		return `{"name":"good","vers":"1.0.0","deps":[{"name":"d","version_req":"1","kind":"normal"` + fields + `}]}`
	}
	toml, top := cargoTOML(n, v), n+"-"+v+"/"
	doubled := append(bytes.Clone(good), good...)
	for what, tc := range map[string]struct {
		body []byte
		says string
	}{
		"nothing":               {nil, "ends before its lengths"},
		"half a length":         {[]byte{1, 0}, "ends before its lengths"},
		"metadata too long":     {framed(uint32(len(meta)+len(good)+40), 0, ""), "ends within"},
		"metadata too large":    {framed(1<<31, 0, ""), "at most"},
		"metadata too short":    {framed(uint32(len(meta)-1), uint32(len(good)), ""), "not the JSON"},
		"archive too long":      {framed(uint32(len(meta)), uint32(len(good)+1), ""), "ends after"},
		"archive too short":     {framed(uint32(len(meta)), uint32(len(good)-1), ""), "more bytes follow"},
		"trailing bytes":        {framed(uint32(len(meta)), uint32(len(good)), "x"), "more bytes follow"},
		"not JSON":              {upload("<html>", good), "not the JSON"},
		"name with a slash":     {upload(metaOf("a/b", v), good), "not a name"},
		"name of a device":      {upload(metaOf("COM1", v), good), "device"},
		"name with a digit":     {upload(metaOf("1a", v), good), "begins with a letter"},
		"no version":            {upload(metaOf(n, "1.0"), good), "semantic version"},
		"bad requirement":       {upload(dep(`,"version_req":"one"`), good), "requirement"},
		"deps no list":          {upload(`{"name":"good","vers":"1.0.0","deps":{}}`, good), "not the JSON"},
		"endless deps":          {upload(`{"name":"good","vers":"1.0.0","deps":[{}`+strings.Repeat(",{}", maxDeps)+`]}`, good), "more than"},
		"bad kind":              {upload(dep(`,"kind":"test"`), good), "its kind"},
		"bad rename":            {upload(dep(`,"explicit_name_in_toml":"a b"`), good), "renamed"},
		"bad registry":          {upload(dep(`,"registry":"x\ny"`), good), "registry"},
		"bad feature":           {upload(`{"name":"good","vers":"1.0.0","features":{"a/b":[]}}`, good), "feature"},
		"bad rust-version":      {upload(`{"name":"good","vers":"1.0.0","rust_version":"new"}`, good), "rust-version"},
		"not gzip":              {upload(meta, []byte("PK\x03\x04")), "gzip"},
		"empty":                 {upload(meta, nil), "gzip"},
		"cut":                   {upload(meta, good[:len(good)-9]), "unexpected EOF"},
		"two members":           {upload(meta, doubled), "follow the end of the compressed"},
		"no Cargo.toml":         {upload(meta, crateOf(t, entry{name: top + "src/lib.rs"})), "no file"},
		"other name":            {upload(meta, crateOf(t, entry{name: top + "Cargo.toml", body: cargoTOML("bad", v).body})), "is of"},
		"other version":         {upload(meta, crateOf(t, entry{name: top + "Cargo.toml", body: cargoTOML(n, "1.0.1").body})), "is of"},
		"not TOML":              {upload(meta, crateOf(t, entry{name: top + "Cargo.toml", body: "="})), "cannot be read"},
		"deep TOML":             {upload(meta, crateOf(t, entry{name: top + "Cargo.toml", body: "a = " + strings.Repeat("[", maxCargoTOML-8)})), "cannot be read"},
		"other folder":          {upload(meta, crateOf(t, cargoTOML(n, "1.0.1"))), "outside"},
		"traversal":             {upload(meta, crateOf(t, toml, entry{name: top + "../x"})), "clean path"},
		"absolute":              {upload(meta, crateOf(t, toml, entry{name: "/etc/passwd"})), "outside"},
		"backslash":             {upload(meta, crateOf(t, toml, entry{name: top + `a\..\b`})), "clean path"},
		"twice":                 {upload(meta, crateOf(t, toml, toml)), "twice"},
		"case":                  {upload(meta, crateOf(t, toml, entry{name: top + "cargo.TOML"})), "twice"},
		"symbolic link":         {upload(meta, crateOf(t, toml, entry{name: top + "l", link: "/etc", kind: tar.TypeSymlink})), "neither"},
		"hard link":             {upload(meta, crateOf(t, toml, entry{name: top + "l", link: top + "Cargo.toml", kind: tar.TypeLink})), "neither"},
		"device":                {upload(meta, crateOf(t, toml, entry{name: top + "l", kind: tar.TypeChar})), "neither"},
		"more after the tar":    {upload(meta, gzipOf(t, append(gunzip(t, good), "x"...))), "follow the end of the tar"},
		"too many entries":      {upload(meta, crateOf(t, manyEntries(top, maxEntries+1)...)), "more than"},
		"a name that is a book": {upload(meta, crateOf(t, toml, entry{name: top + strings.Repeat("a/", maxEntryName) + "b"})), "too long"},
	} {
		t.Run(what, func(t *testing.T) {
			r := formattest.NewRepository(t, publishedAt)
			_, err := publish(t, r, tc.body)
			refusal := formats.AsRefusal(err)
			if err == nil || refusal.Kind != formats.BadRequest && refusal.Kind != formats.TooLarge {
				t.Fatalf("%v, want the client to be blamed", err)
			}
			if !strings.Contains(refusal.Message, tc.says) {
				t.Errorf("it says %q, want %q", refusal.Message, tc.says)
			}
		})
	}
}

func manyEntries(top string, n int) []entry {
	out := make([]entry, n)
	for i := range out {
		out[i].name = fmt.Sprintf("%sf%d", top, i)
	}
	return out
}

func gunzip(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestBomb: the limit counts what comes out, whatever headers say.
func TestBomb(t *testing.T) {
	bomb := crateOf(t, cargoTOML("good", "1.0.0"), entry{name: "good-1.0.0/zeros", body: strings.Repeat("\x00", 4<<20)})
	f := bytes.NewReader(bomb)
	nothing := func(*tar.Header, io.Reader) error { return nil }
	if err := eachEntry(f, 1<<20, nothing); err == nil || !strings.Contains(err.Error(), errUnpacked.Error()) {
		t.Errorf("a bomb of %d bytes: %v", len(bomb), err)
	}
	if err := eachEntry(f, 8<<20, nothing); err != nil {
		t.Errorf("below the limit: %v", err)
	}
}

func TestYank(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	mustPublish(t, r, "Some-Crate", "1.0.0")
	mustPublish(t, r, "Some-Crate", "1.1.0")
	before := rendered(t, r, "some-crate")
	do := func(method, path string) error {
		_, err := r.Publish(New(), request(method, base, "api/v1/crates/"+path), nil)
		return err
	}
	for _, step := range []struct {
		method, path string
		yanked       int
	}{
		{"DELETE", "some-crate/1.0.0/yank", 1}, {"DELETE", "Some-Crate/1.0.0/yank", 1}, {"DELETE", "Some-Crate/1.1.0/yank", 2},
		{"PUT", "Some-Crate/1.1.0/unyank", 1}, {"PUT", "Some-Crate/1.0.0/unyank", 0}, {"PUT", "Some-Crate/1.0.0/unyank", 0},
	} {
		if err := do(step.method, step.path); err != nil {
			t.Fatalf("%s %s: %v", step.method, step.path, err)
		}
		if got := strings.Count(rendered(t, r, "some-crate"), `"yanked":true`); got != step.yanked {
			t.Errorf("after %s %s %d versions are yanked, want %d", step.method, step.path, got, step.yanked)
		}
	}
	if after := rendered(t, r, "some-crate"); after != before {
		t.Errorf("yanking and unyanking changed the index from\n%sto\n%s", before, after)
	}
	if err := do("DELETE", "some-crate/2.0.0/yank"); formats.AsRefusal(err).Kind != formats.NotFound {
		t.Errorf("an unknown version: %v", err)
	}
	r.Version("some-crate", "1.0.0").Hosting.Origin = formats.OriginExternal
	if err := do("DELETE", "some-crate/1.0.0/yank"); formats.AsRefusal(err).Kind != formats.Forbidden {
		t.Errorf("a version from outside: %v", err)
	}
}

func TestSetYanked(t *testing.T) {
	for _, tc := range [][2]string{
		{`{"name":"a","yanked":false,"x":{"yanked":false}}`, `{"name":"a","yanked":true,"x":{"yanked":false}}`},
		{`{"x":{"yanked":false}, "yanked" : false , "z":1}`, `{"x":{"yanked":false}, "yanked" : true , "z":1}`},
		{`{"name":"}"}`, `{"name":"}","yanked":true}`},
		{`{"yanked":null}`, `{"yanked":true}`},
	} {
		if got, err := setYanked([]byte(tc[0]), true); err != nil || string(got) != tc[1] {
			t.Errorf("setYanked(%s) = %s, %v, want %s", tc[0], got, err, tc[1])
		}
	}
}

func TestConfigAnnouncesAuth(t *testing.T) {
	rq := request("GET", base, "config.json")
	rq.Auth = true
	target, err := New().Route(rq)
	if err != nil || !target.Auth || !strings.Contains(string(target.Reply.Body), `"auth-required":true`) {
		t.Errorf("%+v, %v", target, err)
	}
}

// TestLayers: the index of a crate that the repository holds and an upstream
// lists, merged by the proxy, has the lines of both.
func TestLayers(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	mustPublish(t, r, "mine", "1.0.0")
	view := r.View(formats.Name{Canon: "mine"}, base)
	_, outside, err := parseLine("mine", []byte(`{"name":"mine","vers":"0.9.0","deps":[],"cksum":"`+strings.Repeat("ab", 32)+`","features":{},"yanked":false}`))
	if err != nil {
		t.Fatal(err)
	}
	view.Layers = append(view.Layers, formats.Layer{Place: "public:crates-io", Head: &formats.Head{Modified: publishedAt.Add(-time.Hour)}})
	view.Versions = append([]*formats.Version{outside}, view.Versions...)
	var out bytes.Buffer
	header, err := New().Render(&out, view, index("mine"))
	if err != nil || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), `"0.9.0"`) {
		t.Errorf("%v\n%s", err, out.String())
	}
	if got := header.Get("Last-Modified"); got != publishedAt.Format(http.TimeFormat) {
		t.Errorf("Last-Modified %s", got)
	}
}

func TestSearchShowsHosted(t *testing.T) {
	reply := New().Results(nil, []formats.SearchHit{{Name: nameOf("Mine"), Head: &formats.Head{Aux: []byte("does nothing")}, Version: &formats.Version{V: "1.0.0"}}}, 1)
	if !bytes.Contains(reply.Body, []byte(`{"name":"Mine","max_version":"1.0.0","description":"does nothing"}`)) {
		t.Errorf("%s", reply.Body)
	}
}

func TestCoordinates(t *testing.T) {
	f := New()
	n, err := f.FromCoordinate("", "Some-Crate")
	if ns, pkg := f.Coordinate(n); err != nil || ns != "" || pkg != "some-crate" || n.Display != "Some-Crate" {
		t.Errorf("%q %q %+v %v", ns, pkg, n, err)
	}
	for _, asset := range []string{"some-crate-1.0.0-RC1.crate", "Some-Crate-1.0.0-RC1.crate"} {
		if got := f.FileName(n, "1.0.0-RC1", asset); got != crateFile(n.Canon, "1.0.0-RC1") {
			t.Errorf("%s is the file %s", asset, got)
		}
	}
	for _, bad := range [][2]string{{"ns", "a"}, {"", ""}, {"", "a/b"}, {"", "a.b"}} {
		if _, err := f.FromCoordinate(bad[0], bad[1]); formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Errorf("FromCoordinate(%q) = %v", bad, err)
		}
	}
}

// FuzzPublish: whatever is sent is refused by name or gives a line that cargo
// and larder read alike.
func FuzzPublish(f *testing.F) {
	f.Add(upload(metaOf("good", "1.0.0"), goodCrate(f, "good", "1.0.0")))
	f.Add(upload(`{"name":"good","vers":"1.0.0","deps":[{"name":"d","version_req":">=1, <2","kind":"dev","explicit_name_in_toml":"e"}],"features":{"a":["dep:e"]}}`, goodCrate(f, "good", "1.0.0")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := formattest.NewRepository(t, publishedAt)
		change, err := publish(t, r, body)
		if err != nil {
			if formats.AsRefusal(err).Kind == formats.Internal {
				t.Fatalf("a fault of ours: %v", err)
			}
			return
		}
		line := change.Versions[0].Row.Raw
		if bytes.ContainsAny(line, "\n\r") || !json.Valid(line) {
			t.Fatalf("the line is %q", line)
		}
	})
}
