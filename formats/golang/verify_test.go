package golang

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"larder/formats"
	"larder/formats/golang/golangtest"
)

// zipEntry is one entry of a hand-made zip.
type zipEntry struct{ name, body string }

func makeZip(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		f, err := w.Create(e.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// otherZip is a legal module zip with other contents.
func otherZip(t testing.TB, path, version string) []byte {
	prefix := path + "@" + version + "/"
	return makeZip(t, zipEntry{prefix + "go.mod", "module " + path + "\n"}, zipEntry{prefix + "evil.go", "package evil\n"})
}

func TestChecksumDatabase(t *testing.T) {
	zipFile, modFile := asset(golangtest.Plain, "v1.2.0", "zip"), asset(golangtest.Plain, "v1.2.0", "mod")
	poison := func(o *outside) {
		o.Mutate(golangtest.Plain, "v1.2.0", "zip", otherZip(t, golangtest.Plain, "v1.2.0"))
		o.Mutate(golangtest.Plain, "v1.2.0", "mod", []byte("module "+golangtest.Plain+"\n"))
	}
	for _, tc := range []struct {
		name    string
		options func(o *outside, direct string) map[string]string
		relay   bool
		poison  bool
		want    string // "" accepted
	}{
		{name: "key, relayed", relay: true,
			options: func(o *outside, _ string) map[string]string { return map[string]string{OptSumDB: o.SumDBKey()} }},
		{name: "key, relayed, poisoned", relay: true, poison: true, want: "checksum mismatch",
			options: func(o *outside, _ string) map[string]string { return map[string]string{OptSumDB: o.SumDBKey()} }},
		{name: "key, direct, poisoned", poison: true, want: "checksum mismatch",
			options: func(o *outside, direct string) map[string]string {
				return map[string]string{OptSumDB: o.SumDBKey(), OptSumDBURL: direct}
			}},
		{name: "name only, direct, poisoned", poison: true, want: "checksum mismatch",
			options: func(o *outside, direct string) map[string]string {
				return map[string]string{OptSumDB: golangtest.SumDBName, OptSumDBURL: direct}
			}},
		{name: "other key", relay: true, want: "reading tree note",
			options: func(o *outside, direct string) map[string]string {
				// A valid key of the same name that did not sign this tree.
				return map[string]string{OptSumDB: golangtest.SumDBName + "+" + otherKey, OptSumDBURL: direct}
			}},
		{name: "private", relay: true, poison: true,
			options: func(o *outside, _ string) map[string]string {
				o.Private(golangtest.Plain)
				return map[string]string{OptSumDB: o.SumDBKey(), OptNoSumDB: "other.example,registry.example/pl*"}
			}},
		{name: "off", relay: true, poison: true,
			options: func(*outside, string) map[string]string { return map[string]string{OptSumDB: "off"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOutside(t, nil)
			o.Relay(tc.relay)
			direct := httptest.NewServer(o.SumDB())
			defer direct.Close()
			o.docs.c.Options = tc.options(o, direct.URL)
			if tc.poison {
				poison(o)
			}
			for _, target := range []formats.Target{zipFile, modFile} {
				err := o.fill(t.Context(), target)
				if tc.want == "" && err != nil {
					t.Errorf("%s: %v, want it accepted", target.File, err)
				}
				if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("%s: %v, want %q", target.File, err, tc.want)
				}
			}
			if leaked := o.Leaked(); len(leaked) > 0 {
				t.Errorf("the database was asked for %s", leaked)
			}
		})
	}
}

// otherKey is the hash and public key (32 bytes of 1) of a key that is named
// golangtest.SumDBName and signed nothing.
const otherKey = "e6b4260a+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"

func TestUnknownToDatabase(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	d := o.docs
	_, err := d.f.Expect(t.Context(), d.c, asset("registry.example/nobody", "v1.0.0", "zip"), nil, nil, d)
	if r := formats.AsRefusal(err); r.Kind != formats.NotFound || !strings.Contains(r.Message, "nosumdb") {
		t.Errorf("Expect of a module unknown to the database: %v, want a refusal that says what to set", err)
	}
	o.server.Close()
	_, err = d.f.Expect(t.Context(), d.c, asset(golangtest.Plain, "v1.0.0", "zip"), nil, nil, d)
	if err == nil || errors.Is(err, formats.ErrNoDocument) {
		t.Errorf("Expect with the database down: %v, want its failure", err)
	}
}

func TestExpectGivesDigest(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	d := o.docs
	want, err := d.f.Expect(t.Context(), d.c, asset(golangtest.Plain, "v1.0.0", "zip"), nil, nil, d)
	if err != nil {
		t.Fatal(err)
	}
	digest, ok := formats.Find(want.Digests, formats.GoH1)
	if !ok || !want.Whole {
		t.Fatalf("Expect gives %+v, want an h1 digest and a whole-file check", want)
	}
	file := filepath.Join(t.TempDir(), "m.zip")
	if err := os.WriteFile(file, o.File(golangtest.Plain, "v1.0.0", "zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil || sum != "h1:"+digest.Hex {
		t.Errorf("HashZip gives %s, %v; Expect gives h1:%s", sum, err, digest.Hex)
	}
}

func TestExpectConcurrently(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	targets := []formats.Target{
		asset(golangtest.Plain, "v1.0.0", "zip"), asset(golangtest.Plain, "v1.0.0", "mod"), asset(golangtest.Plain, "v1.2.0", "zip"),
		asset(golangtest.Capital, "v0.3.1", "zip"), asset(golangtest.Major2, "v2.0.0", "zip"), asset(golangtest.Major, "v1.5.0", "mod"),
		asset(golangtest.Pseudo, golangtest.PseudoVersion, "zip"), asset(golangtest.Incompatible, "v2.1.0+incompatible", "mod"),
		asset(golangtest.Incompatible, "v2.1.0+incompatible", "zip"), asset(golangtest.App, "v1.0.0", "zip"),
	}
	var group sync.WaitGroup
	for range 3 {
		for _, target := range targets {
			group.Go(func() {
				if err := o.fill(t.Context(), target); err != nil {
					t.Errorf("%s %s: %v", target.Name.Canon, target.File, err)
				}
			})
		}
	}
	group.Wait()
}

// TestTwoHistories gives the database a new log under the same key: the tree
// heads that were seen no longer fit.
func TestTwoHistories(t *testing.T) {
	first, second := newOutside(t, nil), newOutside(t, nil)
	// Both logs have grown, differently, from the same beginning.
	first.Add("registry.example/first", "v1.0.0", time.Unix(0, 0), map[string]string{"go.mod": "module registry.example/first\n"})
	second.Add("registry.example/second", "v1.0.0", time.Unix(0, 0), map[string]string{"go.mod": "module registry.example/second\n"})
	second.docs.f = first.docs.f
	for _, o := range []*outside{first, second} {
		o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	}
	for _, v := range []string{"v1.0.0", "v1.1.0", "v1.2.0"} {
		if err := first.fill(t.Context(), asset(golangtest.Plain, v, "zip")); err != nil {
			t.Fatal(err)
		}
	}
	err := second.fill(t.Context(), asset(golangtest.Major, "v1.5.0", "zip"))
	if err == nil || !strings.Contains(err.Error(), "inconsistent") && !strings.Contains(err.Error(), "misbehavior") {
		t.Errorf("a database with another history: %v", err)
	}
	// The same registry under another connection is another matter.
	second.docs.c.Name = "public:go-proxy-2"
	if err := second.fill(t.Context(), asset(golangtest.Major, "v1.5.0", "zip")); err != nil {
		t.Errorf("another connection: %v", err)
	}
}

func TestCheckInfo(t *testing.T) {
	f := New()
	for _, tc := range []struct{ body, want string }{
		{`{"Version":"v1.0.0","Time":"2025-01-01T00:00:00Z","Origin":{"VCS":"git"}}`, ""},
		{`{"Version":"v1.0.0"}`, ""},
		{`{"Version":"v1.0.1"}`, "names \"v1.0.1\" instead"},
		{`{"Time":"2025-01-01T00:00:00Z"}`, "no Version"},
		{`<html><body>200 OK</body></html>`, "parse version information"},
		{`{"Version":"v1.0.0"`, "parse version information"},
		{strings.Repeat("[", 200000), "parse version information"},
		{`{"Version":"v1.0.0","X":"` + strings.Repeat("x", maxInfo) + `"}`, "more than"},
	} {
		err := f.Check(t.Context(), asset("a.example/b", "v1.0.0", "info"), strings.NewReader(tc.body), formats.Want{Whole: true})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("Check(%.60q) = %v, want %q", tc.body, err, tc.want)
		}
	}
}

func TestCheckGoModWithoutDatabase(t *testing.T) {
	f := New()
	for _, tc := range []struct {
		body string
		ok   bool
	}{
		{"module a.example/b\n", true},
		{"// comment\nmodule a.example/other\n\nfuture directive\n", true},
		{"<!DOCTYPE html>\n<html></html>\n", false},
		{"", false},
		{"{}", false},
	} {
		err := f.Check(t.Context(), asset("a.example/b", "v1.0.0", "mod"), strings.NewReader(tc.body), formats.Want{Whole: true})
		if (err == nil) != tc.ok {
			t.Errorf("Check(%q) = %v, want ok=%v", tc.body, err, tc.ok)
		}
	}
}

func TestCheckZip(t *testing.T) {
	const prefix = "a.example/b@v1.0.0/"
	lying := makeZip(t, zipEntry{prefix + "x", strings.Repeat("x", 1000)})
	// The uncompressed size in both headers, deflated data longer than it says.
	lying = bytes.ReplaceAll(lying, []byte{0xe8, 0x03, 0, 0}, []byte{0x10, 0, 0, 0})
	for _, tc := range []struct {
		name string
		zip  []byte
		want string
	}{
		{"good", makeZip(t, zipEntry{prefix + "go.mod", "module a.example/b\n"}, zipEntry{prefix + "b.go", "package b\n"}), ""},
		{"other module", otherZip(t, "a.example/c", "v1.0.0"), "outside"},
		{"other version", otherZip(t, "a.example/b", "v1.0.1"), "outside"},
		{"traversal", makeZip(t, zipEntry{prefix + "../../evil", "x"}), "invalid path element"},
		{"unclean", makeZip(t, zipEntry{prefix + "a/./b", "x"}), "not a clean path"},
		{"absolute", makeZip(t, zipEntry{"/etc/passwd", "x"}), "outside"},
		{"backslash", makeZip(t, zipEntry{prefix + `a\b`, "x"}), "invalid char"},
		{"device name", makeZip(t, zipEntry{prefix + "aux", "x"}), "disallowed"},
		{"case twins", makeZip(t, zipEntry{prefix + "A.go", "x"}, zipEntry{prefix + "a.go", "x"}), "by case alone"},
		{"Kelvin twin", makeZip(t, zipEntry{prefix + "K.go", "x"}, zipEntry{prefix + "\u212a.go", "x"}), ""}, // named below
		{"same twice", makeZip(t, zipEntry{prefix + "a.go", "x"}, zipEntry{prefix + "a.go", "y"}), "twice"},
		{"file and directory", makeZip(t, zipEntry{prefix + "a", "x"}, zipEntry{prefix + "a/b", "y"}), "both a file and a directory"},
		{"inner go.mod", makeZip(t, zipEntry{prefix + "sub/go.mod", "x"}), "belongs at the root"},
		{"GO.MOD", makeZip(t, zipEntry{prefix + "GO.MOD", "x"}), "belongs at the root"},
		{"lying size", lying, "check module zip"},
		{"HTML", []byte("<html>not found</html>"), "not a valid zip"},
		{"empty", nil, "not a valid zip"},
		{"truncated", makeZip(t, zipEntry{prefix + "b.go", "package b\n"})[:60], "not a valid zip"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := New().Check(t.Context(), asset("a.example/b", "v1.0.0", "zip"), bytes.NewReader(tc.zip), formats.Want{Whole: true})
			if tc.name == "Kelvin twin" {
				tc.want = "by case alone"
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Check = %v, want %q", err, tc.want)
			}
		})
	}
}

// TestZipBomb announces more than a module may have, in one file and in sum;
// what is delivered beyond the announcement is in TestCheckZip.
func TestZipBomb(t *testing.T) {
	for _, sizes := range [][]uint64{{maxZip + 1}, {maxZip - 1, 2}, {1 << 63, 1 << 63}} {
		var buf bytes.Buffer
		w := zip.NewWriter(&buf)
		for i, size := range sizes {
			h := &zip.FileHeader{Name: fmt.Sprintf("a.example/b@v1.0.0/%d", i), Method: zip.Deflate, UncompressedSize64: size}
			if _, err := w.CreateRaw(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		err := New().Check(t.Context(), asset("a.example/b", "v1.0.0", "zip"), bytes.NewReader(buf.Bytes()), formats.Want{Whole: true})
		if err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("a zip that announces %d bytes: %v, want it refused", sizes, err)
		}
	}
}

func TestZipDirectoryTooLarge(t *testing.T) {
	header := make([]byte, 46)
	copy(header, "PK\x01\x02")
	build := func(entries int) *bytes.Reader {
		data := bytes.Repeat(header, entries)
		end := make([]byte, 22)
		copy(end, "PK\x05\x06")
		binary.LittleEndian.PutUint16(end[8:], uint16(entries))
		binary.LittleEndian.PutUint16(end[10:], uint16(entries))
		binary.LittleEndian.PutUint32(end[12:], uint32(len(data)))
		return bytes.NewReader(append(data, end...))
	}
	if z, err := openZip(build(1000), 1<<20, 1000); err != nil || len(z.File) != 1000 {
		t.Errorf("1000 entries: %v", err)
	}
	if _, err := openZip(build(1000), 1<<20, 999); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Errorf("one entry too many: %v", err)
	}
	// The count in the end record has 16 bits and lies about the rest.
	if _, err := openZip(build(1<<16+1), 1<<20, 1<<18); !errors.Is(err, errDirectory) {
		t.Errorf("a directory of 3 MiB: %v", err)
	}
}

func TestCheckIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := New().Check(ctx, asset("a.example/b", "v1.0.0", "zip"), bytes.NewReader(otherZip(t, "a.example/b", "v1.0.0")), formats.Want{Whole: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Check with a cancelled context = %v", err)
	}
}

func TestCheckDocument(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	d := o.docs
	lookup := "sumdb/" + golangtest.SumDBName + "/lookup/" + golangtest.Plain + "@"
	route := func(raw string) formats.Target {
		target, err := d.f.Route(request("GET", raw))
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	good := func(raw string) []byte {
		body, err := d.Document(t.Context(), route(raw))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	record, latest := good(lookup+"v1.0.0"), good("sumdb/"+golangtest.SumDBName+"/latest")
	tile := good("sumdb/" + golangtest.SumDBName + "/tile/8/0/000.p/1")
	forged := bytes.Replace(record, []byte("go.sum database tree\n1"), []byte("go.sum database tree\n2"), 1)
	html := []byte("<html><body>welcome</body></html>")
	for _, tc := range []struct {
		name, raw string
		body      []byte
		ok        bool
	}{
		{"record", lookup + "v1.0.0", record, true},
		{"record of another version", lookup + "v1.1.0", record, false},
		{"record with a forged head", lookup + "v1.0.0", forged, false},
		{"record cut", lookup + "v1.0.0", record[:len(record)/2], false},
		{"record as HTML", lookup + "v1.0.0", html, false},
		{"latest", "sumdb/" + golangtest.SumDBName + "/latest", latest, true},
		{"latest as HTML", "sumdb/" + golangtest.SumDBName + "/latest", html, false},
		{"tile", "sumdb/" + golangtest.SumDBName + "/tile/8/0/000.p/1", tile, true},
		{"tile too short", "sumdb/" + golangtest.SumDBName + "/tile/8/0/000.p/2", tile, false},
		{"tile as HTML", "sumdb/" + golangtest.SumDBName + "/tile/8/0/000.p/1", html, false},
		{"supported", "sumdb/" + golangtest.SumDBName + "/supported", nil, true},
		{"branch", golangtest.Pseudo + "/@v/main.info", good(golangtest.Pseudo + "/@v/main.info"), true},
		{"branch as HTML", golangtest.Pseudo + "/@v/main.info", html, false},
		{"endless", lookup + "v1.0.0", make([]byte, maxDocument+10), false},
	} {
		for _, key := range []string{o.SumDBKey(), golangtest.SumDBName} {
			c := d.c
			c.Options = map[string]string{OptSumDB: key}
			target := route(tc.raw)
			want, err := d.f.Expect(t.Context(), c, target, nil, nil, d)
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			err = d.f.Check(t.Context(), target, bytes.NewReader(tc.body), want)
			ok := tc.ok || tc.name == "record with a forged head" && key == golangtest.SumDBName
			if (err == nil) != ok {
				t.Errorf("%s (key %s): Check = %v, want ok=%v", tc.name, key, err, ok)
			}
		}
	}
}

// FuzzHashZip holds the check against the go command's own.
func FuzzHashZip(f *testing.F) {
	const prefix = "a.example/b@v1.0.0/"
	f.Add(makeZip(f, zipEntry{prefix + "go.mod", "module a.example/b\n"}, zipEntry{prefix + "b.go", "package b\n"}))
	f.Add(makeZip(f, zipEntry{prefix + "sub/", ""}, zipEntry{prefix + "sub/b.go", "package b\n"}))
	f.Add(makeZip(f, zipEntry{prefix, ""}, zipEntry{prefix + "B.go", ""}, zipEntry{prefix + "b.go", ""}))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	mod := module.Version{Path: "a.example/b", Version: "v1.0.0"}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := hashZip(t.Context(), mod, bytes.NewReader(data))
		if err != nil {
			return
		}
		file := filepath.Join(t.TempDir(), "m.zip")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := modzip.CheckZip(mod, file); err != nil {
			t.Errorf("accepted what the go command refuses: %v", err)
		}
		if want, err := dirhash.HashZip(file, dirhash.Hash1); err != nil || want != got {
			t.Errorf("hash %s, want %s, %v", got, want, err)
		}
	})
}
