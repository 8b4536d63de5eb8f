package pypi_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
	"larder/formats/pypi/pypitest"
)

// entry is a member of an archive that is built by hand.
type entry struct {
	name, body string
	mode       uint32 // Unix type and permission bits, 0 a plain file
	target     string // link target (tar)
	kind       byte   // tar type, 0 by the name
}

const (
	wheelMeta  = "Metadata-Version: 2.1\nName: De.Mo\nVersion: 1.0\n\ntext\n"
	wheelFacts = "Wheel-Version: 1.0\nTag: py3-none-any\n"
	info       = "De_Mo-1.0.dist-info/"
)

// wheelEntries are the members of a good wheel with RECORD left out.
func wheelEntries() []entry {
	return []entry{{name: "de_mo.py", body: "x = 1\n"}, {name: info + "METADATA", body: wheelMeta}, {name: info + "WHEEL", body: wheelFacts}}
}

// recorded adds the RECORD of what is there.
func recorded(in []entry) []entry {
	var b strings.Builder
	for _, e := range in {
		sum := sha256.Sum256([]byte(e.body))
		fmt.Fprintf(&b, "%s,sha256=%s,%d\n", e.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(e.body))
	}
	return append(in, entry{name: info + "RECORD", body: b.String() + info + "RECORD,,\n"})
}

func zipOf(in []entry) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range in {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if strings.HasSuffix(e.name, "/") {
			h.Method = zip.Store
		}
		h.ExternalAttrs = e.mode << 16
		p, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(p, e.body)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func tarOf(in []entry) []byte {
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	w := tar.NewWriter(gz)
	for _, e := range in {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: e.kind, Linkname: e.target}
		if e.kind == 0 && strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if e.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Name: e.name, Typeflag: e.kind, PAXRecords: map[string]string{"comment": "x"}}
		}
		err := w.WriteHeader(h)
		if err == nil && e.body != "" {
			_, err = io.WriteString(w, e.body)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	gz.Close()
	return b.Bytes()
}

func edited(body []byte, edit func([]byte) []byte) []byte { return edit(bytes.Clone(body)) }

// TestWheels: what two installers could read in two ways, or what is not what
// its name says, is refused, and by name.
func TestWheels(t *testing.T) {
	with := func(extra ...entry) []byte { return zipOf(recorded(append(wheelEntries(), extra...))) }
	plain := func(in ...entry) []byte { return zipOf(in) }
	good := with()
	meta := func(text string) []byte {
		e := wheelEntries()
		e[1].body = text
		return zipOf(recorded(e))
	}
	for _, c := range []struct {
		what, says string
		body       []byte
	}{
		{"good", "", good},
		{"directory entries", "", zipOf(append(recorded(wheelEntries()), entry{name: "data/", mode: 0o40755}))},
		{"signed record", "", zipOf(append(recorded(wheelEntries()), entry{name: info + "RECORD.jws", body: "{}"}))},
		{"regular file bits", "", with(entry{name: "a", mode: 0o100644})},
		{"no RECORD", "no RECORD", zipOf(wheelEntries())},
		{"unrecorded file", "does not name", zipOf(append(recorded(wheelEntries()), entry{name: "more.py"}))},
		{"recorded, not there", "not there", zipOf(append(wheelEntries(), entry{name: info + "RECORD", body: recorded(append(wheelEntries(), entry{name: "gone.py"}))[4].body}))},
		{"wrong digest", "RECORD names", zipOf(append(append([]entry{{name: "de_mo.py", body: "x = 2\n"}}, wheelEntries()[1:]...), recorded(wheelEntries())[3]))},
		{"weak digest", "SHA-256", zipOf(append(wheelEntries(), entry{name: info + "RECORD", body: "de_mo.py,md5=abc,6\n"}))},
		{"wide record", "too long", zipOf(append(wheelEntries(), entry{name: info + "RECORD", body: strings.Repeat(",", 1<<20)}))},
		{"record over lines", "quotes", zipOf(append(wheelEntries(), entry{name: info + "RECORD", body: "\"a\nb\",,\n"}))},
		{"no WHEEL", "no WHEEL", zipOf(recorded(wheelEntries()[:2]))},
		{"wheel version 2", "wheel version", zipOf(recorded([]entry{wheelEntries()[1], {name: info + "WHEEL", body: "Wheel-Version: 2.0\n"}}))},
		{"no METADATA", "no METADATA", zipOf(recorded(append(wheelEntries()[:1], wheelEntries()[2])))},
		{"two METADATA", "more than one", with(entry{name: "Other-1.dist-info/METADATA", body: wheelMeta})},
		{"second dist-info", "another package", with(entry{name: "other-1.dist-info/top_level.txt"})},
		{"other name inside", "other", meta(strings.Replace(wheelMeta, "De.Mo", "other", 1))},
		{"other version inside", "version", meta(strings.Replace(wheelMeta, "1.0", "1.1", 1))},
		{"name twice inside", "2 fields", meta("Name: De.Mo\n" + wheelMeta)},
		{"metadata 3", "metadata version", meta(strings.Replace(wheelMeta, "2.1", "3.0", 1))},
		{"traversal", "leads out", with(entry{name: "../evil"})},
		{"inner traversal", "leads out", with(entry{name: "a/../../evil"})},
		{"absolute", "absolute", with(entry{name: "/etc/passwd"})},
		{"drive", "absolute", with(entry{name: "C:evil"})},
		{"backslash", "absolute", with(entry{name: `..\evil`})},
		{"control", "control", with(entry{name: "a\x01b"})},
		{"empty segment", "leads out", with(entry{name: "a//b"})},
		{"deep", "deeper", with(entry{name: strings.Repeat("a/", 70) + "b"})},
		{"symlink", "link", with(entry{name: "l", body: "/etc/passwd", mode: 0o120777})},
		{"device", "link", with(entry{name: "d", mode: 0o020666})},
		{"twice", "twice", with(entry{name: "a", body: "1"}, entry{name: "a", body: "2"})},
		{"file as directory", "file and a directory", with(entry{name: "a"}, entry{name: "a/b"})},
		{"bomb", "bomb", with(entry{name: "zeros", body: strings.Repeat("\x00", 80<<20)})},
		{"prefix", "directory is not where", append([]byte("#!/bin/sh\n"), good...)},
		{"suffix", "end record", append(bytes.Clone(good), 0)},
		{"cut", "end record", good[:len(good)-30]},
		{"not a zip", "ZIP", []byte("PK\x03\x04")},
		{"empty", "METADATA", plain()},
		{"other local name", "agree", edited(good, func(b []byte) []byte { b[30] = 'X'; return b })},
		{"other local method", "agree", edited(good, func(b []byte) []byte { b[8] = 0; return b })},
		{"other descriptor", "agree", edited(good, func(b []byte) []byte {
			b[bytes.Index(b, []byte("PK\x07\x08"))+4] ^= 1
			return b
		})},
	} {
		_, err := publish(newRepository(t), form(fields(demoWheel, "De.Mo", "1.0", c.body)))
		expect(t, c.what, err, c.says)
	}
}

func expect(t *testing.T, what string, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says) || formats.AsRefusal(err).Kind != formats.BadRequest):
		t.Errorf("%s: %v, want a refusal that says %q", what, err, says)
	}
}

// TestHiddenEntries: an entry that only a reader from the start would see is
// refused, be it between entries or inside the packed bytes of one.
func TestHiddenEntries(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range recorded(wheelEntries()) {
		body := []byte(e.body)
		h := &zip.FileHeader{Name: e.name, Method: zip.Store, UncompressedSize64: uint64(len(body)), CompressedSize64: uint64(len(body)), CRC32: crc(body)}
		p, err := w.CreateRaw(h)
		if err == nil {
			_, err = p.Write(body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	if _, err := publish(newRepository(t), form(fields(demoWheel, "De.Mo", "1.0", good))); err != nil {
		t.Fatalf("the wheel itself: %v", err)
	}
	// A gap before the directory, which moves with its end record.
	at := bytes.Index(good, []byte("PK\x01\x02"))
	gap := append(append(bytes.Clone(good[:at]), "hidden"...), good[at:]...)
	end := len(gap) - 22
	binary.LittleEndian.PutUint32(gap[end+16:], binary.LittleEndian.Uint32(gap[end+16:])+6)
	_, err := publish(newRepository(t), form(fields(demoWheel, "De.Mo", "1.0", gap)))
	expect(t, "gap", err, "agree")
	// Bytes behind the end of the deflate stream of an entry.
	for _, junk := range []string{"", "junk"} {
		b.Reset()
		w = zip.NewWriter(&b)
		for i, e := range recorded(wheelEntries()) {
			packed := deflate(t, e.body)
			if i == 0 {
				packed = append(packed, junk...)
			}
			h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, UncompressedSize64: uint64(len(e.body)), CompressedSize64: uint64(len(packed)), CRC32: crc([]byte(e.body))}
			p, err := w.CreateRaw(h)
			if err == nil {
				_, err = p.Write(packed)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		says := ""
		if junk != "" {
			says = "agree"
		}
		_, err := publish(newRepository(t), form(fields(demoWheel, "De.Mo", "1.0", b.Bytes())))
		expect(t, "deflate then "+junk, err, says)
	}
}

func crc(body []byte) uint32 { return crc32.ChecksumIEEE(body) }

func deflate(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSources is TestWheels for source distributions.
func TestSources(t *testing.T) {
	const top = "De.Mo-1.0/"
	good := []entry{{name: top}, {name: top + "PKG-INFO", body: wheelMeta}, {name: top + "setup.py", body: "x"}}
	with := func(extra ...entry) []byte { return tarOf(append(good[:3:3], extra...)) }
	for _, c := range []struct {
		what, says string
		body       []byte
	}{
		{"good", "", with()},
		{"directory twice", "", with(entry{name: top})},
		{"global header", "", with(entry{name: "pax_global_header", kind: tar.TypeXGlobalHeader})},
		{"no PKG-INFO", "no PKG-INFO", tarOf(good[:1])},
		{"deep PKG-INFO only", "no PKG-INFO", tarOf([]entry{{name: top + "x/PKG-INFO", body: wheelMeta}})},
		{"other name", "other", tarOf([]entry{{name: top + "PKG-INFO", body: strings.Replace(wheelMeta, "De.Mo", "other", 1)}})},
		{"other version", "version", tarOf([]entry{{name: top + "PKG-INFO", body: strings.Replace(wheelMeta, "1.0", "2", 1)}})},
		{"other directory", "directory", tarOf([]entry{{name: "other-1.0/PKG-INFO", body: wheelMeta}})},
		{"two directories", "directory", with(entry{name: "x/y"})},
		{"file at the top", "directory", with(entry{name: "evil"})},
		{"traversal", "leads out", with(entry{name: top + "../../evil"})},
		{"absolute", "absolute", with(entry{name: "/evil"})},
		{"dot", "leads out", with(entry{name: "./" + top + "x"})},
		{"symlink", "link", with(entry{name: top + "l", target: "/etc/passwd", kind: tar.TypeSymlink})},
		{"hard link", "link", with(entry{name: top + "l", target: top + "setup.py", kind: tar.TypeLink})},
		{"device", "special", with(entry{name: top + "d", kind: tar.TypeChar})},
		{"fifo", "special", with(entry{name: top + "d", kind: tar.TypeFifo})},
		{"twice", "twice", with(entry{name: top + "setup.py", body: "y"})},
		{"file as directory", "file and a directory", with(entry{name: top + "setup.py/x"})},
		{"bomb", "bomb", with(entry{name: top + "zeros", body: strings.Repeat("\x00", 100<<20)})},
		{"large PKG-INFO", "larger", tarOf([]entry{{name: top + "PKG-INFO", body: wheelMeta + strings.Repeat("long text ", 500_000)}})},
		{"cut", "unexpected EOF", edited(with(), func(b []byte) []byte { return b[:len(b)-20] })},
		{"bytes behind", "end of tar archive", append(with(), "junk"...)},
		{"second archive behind", "follow", append(with(), tarOf([]entry{{name: top + "setup.py", body: "evil"}})...)},
		{"not gzip", "gzip", []byte("BZh9")},
	} {
		_, err := publish(newRepository(t), form(fields(demoSource, "De.Mo", "1.0", c.body)))
		expect(t, c.what, err, c.says)
	}
	for _, c := range []struct {
		what, says string
		body       []byte
	}{
		{"zip", "", zipOf(good)},
		{"zip symlink", "link", zipOf(append(good[:3:3], entry{name: top + "l", mode: 0o120777}))},
		{"zip of two directories", "directory", zipOf(append(good[:3:3], entry{name: "x/y"}))},
		{"zip without PKG-INFO", "no PKG-INFO", zipOf(good[2:])},
	} {
		_, err := publish(newRepository(t), form(fields("de-mo-1.0.zip", "De.Mo", "1.0", c.body)))
		expect(t, c.what, err, c.says)
	}
}

// FuzzUpload: any body is refused by the client's fault or leads back: its files
// are routed to the coordinate it was taken under, and its page renders and
// parses.
func FuzzUpload(f *testing.F) {
	// Small seeds: what is found is first made smaller, at the price of time.
	small := func(file string, body []byte) []byte {
		in := fields(file, "De.Mo", "1.0", body)
		return form(append(in[1:6:6], in[9:]...))
	}
	f.Add(small(demoWheel, zipOf(recorded(wheelEntries()))))
	f.Add(small(demoSource, tarOf([]entry{{name: "De.Mo-1.0/PKG-INFO", body: wheelMeta}})))
	f.Add(form([]field{{"content", "PK", "x-1.zip"}, {"attestations", "[]", ""}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := publish(newRepository(t), body)
		if err != nil {
			if code := formats.AsRefusal(err).Code(); code >= 500 {
				t.Errorf("%d: %v", code, err)
			}
			return
		}
		checkChange(t, c)
	})
}

// FuzzArchive is FuzzUpload for the archive inside a good form.
func FuzzArchive(f *testing.F) {
	for _, e := range [][]entry{recorded(wheelEntries()), append(recorded(wheelEntries()), entry{name: "l", mode: 0o120777})} {
		f.Add(demoWheel, zipOf(e))
	}
	f.Add(demoSource, tarOf([]entry{{name: "De.Mo-1.0/PKG-INFO", body: wheelMeta}}))
	f.Add("de-mo-1.0.zip", zipOf([]entry{{name: "De.Mo-1.0/PKG-INFO", body: wheelMeta}}))
	f.Fuzz(func(t *testing.T, file string, body []byte) {
		if strings.ContainsAny(file, "\"\\\r\n") {
			return
		}
		c, err := publish(newRepository(t), form(fields(file, "De.Mo", "1.0", body)))
		if err != nil {
			if code := formats.AsRefusal(err).Code(); code >= 500 {
				t.Errorf("%d: %v", code, err)
			}
			return
		}
		checkChange(t, c)
	})
}

func checkChange(t *testing.T, c *formats.Change) {
	t.Helper()
	vc := c.Versions[0]
	for i, nf := range vc.Files {
		path := "simple/" + c.Name.Canon + "/" + strings.ReplaceAll(vc.V, "+", "%2B") + "/" + strings.ReplaceAll(nf.File, "+", "%2B")
		to, err := pypi.New().Route(formattest.NewRequest("GET", endpoint, path, nil))
		if err != nil || to.Name.Canon != c.Name.Canon || to.Version != vc.V || to.File != nf.File {
			t.Errorf("%s leads to %+v, %v", path, to, err)
		}
		if vc.Row.Asset(nf.File) == nil || i > 0 && !nf.Derived {
			t.Errorf("file %s has no row", nf.File)
		}
	}
	repo := newRepository(t)
	if err := repo.Apply(c); err != nil {
		t.Fatalf("apply: %v", err)
	}
	page := render(t, pypi.New(), repo.View(c.Name, endpoint), formats.Target{Name: c.Name, Variant: "json"})
	src := formats.Source{URL: endpoint + "/simple/" + c.Name.Canon + "/"}
	if _, err := parsePage(pypi.New(), formats.Target{Name: formats.Name{Canon: c.Name.Canon}}, src, page); err != nil {
		t.Errorf("parse of the page: %v\n%s", err, page)
	}
}

// TestUploadInSmallPieces: the form is read alike however its bytes arrive.
func TestUploadInSmallPieces(t *testing.T) {
	body := form(fields(demoSource, "De.Mo", "1.0", built(demo)[demoSource]))
	rq := formattest.NewRequest("POST", endpoint, "legacy/", map[string][]string{"Content-Type": {"multipart/form-data; boundary=" + boundary}})
	if _, err := newRepository(t).Publish(pypi.New(), rq, iotest.OneByteReader(bytes.NewReader(body))); err != nil {
		t.Error(err)
	}
}

// BenchmarkInspect uploads a wheel of 16 MiB that does not compress.
func BenchmarkInspect(b *testing.B) {
	p := pypitest.Package{Name: "big", Version: "1", Size: 16 << 20}
	body := form(fields("big-1-py3-none-any.whl", "big", "1", built(p)["big-1-py3-none-any.whl"]))
	rq := formattest.NewRequest("POST", endpoint, "", map[string][]string{"Content-Type": {"multipart/form-data; boundary=" + boundary}})
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		in := formattest.NewRepository(nil, demo.At).Intake(bytes.NewReader(body))
		if _, err := pypi.New().Publish(b.Context(), rq, formats.Target{}, in); err != nil {
			b.Fatal(err)
		}
	}
}
