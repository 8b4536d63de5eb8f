package maven

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// zipOf packs "name=content" entries; a name may come twice.
func zipOf(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		name, content, _ := strings.Cut(e, "=")
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// patched changes bytes at an offset from the first central header.
func patched(z []byte, at int, value uint32) []byte {
	z = bytes.Clone(z)
	i := bytes.Index(z, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(z[i+at:], value)
	return z
}

// patchedEnd changes two bytes at an offset from the end record.
func patchedEnd(z []byte, at int, value uint16) []byte {
	z = bytes.Clone(z)
	binary.LittleEndian.PutUint16(z[bytes.LastIndex(z, []byte("PK\x05\x06"))+at:], value)
	return z
}

func TestArchives(t *testing.T) {
	good := zipOf(t, "META-INF/=", "META-INF/MANIFEST.MF=Multi-Release: true", "a/A.class=1", "META-INF/versions/9/a/A.class=2", "META-INF/versions/11/a/A.class=3")
	var wide bytes.Buffer
	w := zip.NewWriter(&wide)
	for i := range 70_000 {
		if _, err := w.CreateHeader(&zip.FileHeader{Name: strings.Repeat("d/", i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i/26%50) + string(rune('A'+i/1300%26)) + string(rune('A'+i/33800)), Method: zip.Store}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, name, says string
		data             []byte
	}{
		{"multi-release", "a.jar", "", good},
		{"self-extracting", "a.jar", "", append([]byte("#!/bin/sh\nexec java -jar \"$0\"\n"), good...)},
		{"zip64", "a.jar", "", wide.Bytes()},
		{"empty archive", "a.jar", "", zipOf(t)},
		{"no archive", "a.jar", "", []byte("not a jar")},
		{"nothing", "a.jar", "", nil},
		{"same entry twice", "a.jar", "", zipOf(t, "a/A.class=1", "a/A.class=1")},
		{"two notices", "a.jar", "", zipOf(t, "META-INF/LICENSE=1", "META-INF/LICENSE=2", "META-INF/services/x=1", "META-INF/services/x=2")},
		{"dots", "a.zip", "", zipOf(t, "a/..b/c=1", "..a=1", "a../b=1")},
		{"other extension", "a.txt", "", zipOf(t, "../x=1")},

		{"traversal", "a.jar", "leads out", zipOf(t, "a/../../x=1")},
		{"traversal", "a.war", "leads out", zipOf(t, "..=1")},
		{"backslashes", "a.aar", "leads out", zipOf(t, `a\..\..\x=1`)},
		{"absolute", "a.zip", "absolute", zipOf(t, "/etc/x=1")},
		{"drive", "a.zip", "absolute", zipOf(t, `C:\x=1`)},
		{"unc", "a.zip", "absolute", zipOf(t, `\\host\x=1`)},
		{"nul", "a.zip", "no legal name", zipOf(t, "a\x00b=1")},
		{"nameless", "a.zip", "no legal name", zipOf(t, "=1")},
		{"two classes", "a.jar", "twice", zipOf(t, "a/A.class=1", "a/A.class=2")},
		{"two manifests", "a.jar", "twice", zipOf(t, "META-INF/MANIFEST.MF=1", "META-INF/MANIFEST.MF=2")},
		{"two signatures", "a.jar", "twice", zipOf(t, "META-INF/A.SF=1", "META-INF/A.SF=2")},
		{"two of a release", "a.jar", "twice", zipOf(t, "META-INF/versions/9/A.txt=1", "META-INF/versions/9/A.txt=2")},
		{"lying about the unpacked size", "a.jar", "cannot become", patched(good, 24, 1<<30)},
		{"lying about the packed size", "a.jar", "does not lie inside", patched(good, 20, 1<<30)},
		{"lying about the place", "a.jar", "does not lie inside", patched(good, 42, 1<<30)},
		{"lying about the count", "a.jar", "claims", patchedEnd(good, 10, 3)},
		{"lying about the directory", "a.jar", "does not lie where it should", patchedEnd(good, 12, 60000)},
		{"several parts", "a.jar", "several parts", patchedEnd(good, 4, 1)},
		{"broken directory", "a.jar", "broken", bytes.Replace(good, []byte("PK\x01\x02"), []byte("PK\x01\x03"), 1)},
		{"cut off", "a.jar", "no end", good[:len(good)-30]},
		{"overlapping", "a.jar", "overlap", overlapping(t)},
		{"bomb", "a.jar", "would become", bomb(t)},
	} {
		err := checkArchive(c.name, formattest.SpoolOf(c.data))
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || formats.AsRefusal(err).Kind != formats.BadRequest):
			t.Errorf("%s: %v, want a bad request that says %q", c.what, err, c.says)
		}
	}
	d := newDesk(t)
	d.want(400, "lib/1.0/lib-1.0.jar", string(zipOf(t, "../x=1")), "lib-1.0.jar is not accepted")
	d.wantStatus(map[string]formats.Status{"1.0": formats.StatusNone})
}

// overlapping lists one packed file under many names.
func overlapping(t testing.TB) []byte {
	z := zipOf(t, "a="+strings.Repeat("random enough 8147", 100))
	i, end := bytes.Index(z, []byte("PK\x01\x02")), bytes.LastIndex(z, []byte("PK\x05\x06"))
	header := z[i:end]
	out := bytes.Clone(z[:i])
	const n = 26
	for k := range n {
		h := bytes.Clone(header)
		h[46] = byte('A' + k)
		out = append(out, h...)
	}
	tail := bytes.Clone(z[end:])
	binary.LittleEndian.PutUint16(tail[8:], n)
	binary.LittleEndian.PutUint16(tail[10:], n)
	binary.LittleEndian.PutUint32(tail[12:], uint32(n*len(header)))
	return append(out, tail...)
}

// bomb has entries of many zeros, each within what deflate can do.
func bomb(t testing.TB) []byte {
	t.Helper()
	const size = 64 << 20
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range 20 {
		f, err := z.CreateRaw(&zip.FileHeader{Name: string(rune('a' + i)), Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: size})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(packed.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzArchive(f *testing.F) {
	f.Add(zipOf(f, "META-INF/MANIFEST.MF=x", "a/A.class=1"))
	f.Add(zipOf(f, "../x=1"))
	f.Add(overlapping(f))
	f.Add([]byte("PK\x03\x04"))
	f.Add(patchedEnd(zipOf(f, "a=1"), 10, 0xffff))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := checkArchive("a.jar", formattest.SpoolOf(data))
		if err != nil {
			if formats.AsRefusal(err).Kind != formats.BadRequest {
				t.Fatalf("%v is no bad request", err)
			}
			return
		}
		// What the standard library reads out of an accepted archive is safe.
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(data, []byte("PK\x03\x04")) || !bytes.Equal(data[len(data)-2:], []byte{0, 0}) {
			return // the library looks for the end elsewhere
		}
		for _, file := range r.File {
			name := strings.ReplaceAll(file.Name, `\`, "/")
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Fatalf("accepted with an entry %q", file.Name)
			}
		}
	})
}
