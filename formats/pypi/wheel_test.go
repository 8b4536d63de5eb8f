package pypi_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/pypi"
	"larder/formats/pypi/pypitest"
)

const metadata = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\nRequires-Python: >=3.8,\n  <4\n\nText\n"

func wheel(entries ...string) []byte {
	files := map[string][]byte{}
	var order []string
	for _, e := range entries {
		name, body, _ := strings.Cut(e, "=")
		order = append(order, name)
		files[name] = []byte(body)
	}
	return pypitest.Zip(order, files)
}

func TestInspect(t *testing.T) {
	const file = "Foo_Bar-1.0-py3-none-any.whl"
	const info = "Foo_Bar-1.0.dist-info/"
	good := wheel("foo_bar.py=x", info+"METADATA="+metadata, info+"WHEEL=y")
	other := func(old, new string) []byte {
		return wheel(info + "METADATA=" + strings.Replace(metadata, old, new, 1))
	}
	for _, c := range []struct {
		name string
		body []byte
		err  string // "" good
	}{
		{"good", good, ""},
		{"other spelling of the directory", wheel("foo.bar-1.0.0.dist-info/METADATA=" + metadata), ""},
		{"nested look-alike", wheel(info+"METADATA="+metadata, "vendor/x-1.dist-info/METADATA=z"), ""},
		{"none", wheel("foo_bar.py=x"), "no METADATA"},
		{"empty file", nil, "one end record"},
		{"not a zip", []byte("<html>not found</html>"), "one end record"},
		{"cut short", good[:len(good)-30], "one end record"},
		{"bytes behind", append(bytes.Clone(good), "tail"...), "behind its end record"},
		{"bytes before", append([]byte("#!/bin/sh\n"), good...), "not where its end record says"},
		{"two archives", append(bytes.Clone(good), good...), "one end record"},
		{"end record in the comment", inComment(good), "one end record"},
		{"wrong count", wrongCount(good), "open archive"},
		{"duplicate METADATA", wheel(info+"METADATA="+metadata, info+"METADATA="+metadata), "more than one"},
		{"duplicate in another case", wheel(info+"METADATA="+metadata, info+"metadata="+metadata), "more than one"},
		{"duplicate with a backslash", wheel(info+"METADATA="+metadata, `Foo_Bar-1.0.dist-info\METADATA=`+metadata), "more than one"},
		{"two dist-info", wheel(info+"METADATA="+metadata, "Other-1.0.dist-info/METADATA="+metadata), "more than one"},
		{"another project's directory", wheel("Other-1.0.dist-info/METADATA=" + metadata), "does not belong"},
		{"another version's directory", wheel("Foo_Bar-2.0.dist-info/METADATA=" + metadata), "does not belong"},
		{"another name inside", other("Foo.Bar", "Other"), "is of \"Other\""},
		{"another version inside", other("1.0", "2.0"), "is of version"},
		{"no metadata version", other("Metadata-Version", "X"), "no Metadata-Version"},
		{"not UTF-8", other("Text", "\xff"), "not as its entry says"},
		{"bomb by ratio", other("Text", strings.Repeat("0", 3<<20)), "unpacks from"},
		{"too large", other("Text", random(5<<20)), "unpacks from"},
		{"symbolic link", symlink(info + "METADATA"), "plain entry"},
		{"local header of another name", bytes.Replace(good, []byte(info+"METADATA"), []byte(info+"METADAT_"), 1), "names another file"},
		{"lying size", lyingSize(info + "METADATA"), "read METADATA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := formats.Target{Kind: formats.KindAsset, Name: formats.Name{Canon: "foo-bar"}, Version: "1.0", File: file}
			derived, aux, err := pypi.New().Inspect(target, bytes.NewReader(c.body))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || derived != nil {
					t.Fatalf("Inspect = %v, %v, want an error with %q", derived, err, c.err)
				}
				return
			}
			if err != nil || len(derived) != 1 || derived[0].File != file+".metadata" || string(derived[0].Body) != metadata {
				t.Fatalf("Inspect = %q, %v", derived, err)
			}
			if !strings.Contains(string(aux), `,`) || !json.Valid(aux) {
				t.Errorf("aux = %s", aux)
			}
		})
	}
}

func TestInspectPassesOverOtherFiles(t *testing.T) {
	for _, file := range []string{"foo-1.0.tar.gz", "foo-1.0.zip", "foo-1.0-py3-none-any.whl.metadata"} {
		derived, aux, err := pypi.New().Inspect(formats.Target{File: file}, bytes.NewReader([]byte("x")))
		if derived != nil || aux != nil || err != nil {
			t.Errorf("Inspect(%s) = %v, %v, %v", file, derived, aux, err)
		}
	}
}

// inComment hides a second end record in the comment of the first.
func inComment(z []byte) []byte {
	out := bytes.Clone(z)
	end := out[len(out)-22:]
	binary.LittleEndian.PutUint16(out[len(out)-2:], 22)
	return append(out, bytes.Clone(end)...)
}

func wrongCount(z []byte) []byte {
	out := bytes.Clone(z)
	end := out[len(out)-22:]
	binary.LittleEndian.PutUint16(end[8:], 1)
	binary.LittleEndian.PutUint16(end[10:], 1)
	return out
}

func symlink(name string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: name}
	h.SetMode(0o777 | 1<<27) // fs.ModeSymlink
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write([]byte("/etc/passwd"))
	}
	if err != nil || z.Close() != nil {
		panic(err)
	}
	return b.Bytes()
}

// lyingSize declares fewer bytes than the entry unpacks to.
func lyingSize(name string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	body := []byte(metadata)
	w, err := z.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(body),
		CompressedSize64: uint64(len(body)), UncompressedSize64: uint64(len(body)) - 9})
	if err == nil {
		_, err = w.Write(body)
	}
	if err != nil || z.Close() != nil {
		panic(err)
	}
	return b.Bytes()
}

// random is text that hardly compresses.
func random(n int) string {
	raw := make([]byte, n/2)
	_, _ = rand.NewChaCha8([32]byte{}).Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func FuzzInspect(f *testing.F) {
	f.Add(wheel("Foo_Bar-1.0.dist-info/METADATA=" + metadata))
	f.Add(lyingSize("Foo_Bar-1.0.dist-info/METADATA"))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	format := pypi.New()
	f.Fuzz(func(t *testing.T, body []byte) {
		target := formats.Target{Name: formats.Name{Canon: "foo-bar"}, File: "Foo_Bar-1.0-py3-none-any.whl"}
		derived, _, err := format.Inspect(target, bytes.NewReader(body))
		if err == nil && (len(derived) != 1 || len(derived[0].Body) > 4<<20) {
			t.Errorf("Inspect gives %d files", len(derived))
		}
	})
}

func TestCheckTrustsNothingThatLooksWrong(t *testing.T) {
	f := pypi.New()
	good := map[string]string{
		"a-1.tar.gz": "\x1f\x8b\x08rest", "a-1.tar.bz2": "BZh9", "a-1-py3-none-any.whl": string(wheel("a=b")), "a-1.zip": string(wheel("a=b")),
		"a-1-py3-none-any.whl.metadata": metadata, "a-1.zip.asc": "-----BEGIN PGP SIGNATURE-----", "a-1.exe": "MZ", "a-1.other": "anything",
		"a-1.zip.provenance": `{"version":1,"attestation_bundles":[]}`,
	}
	for file, body := range good {
		target := formats.Target{File: file, Name: formats.Name{Canon: "a"}}
		want, err := f.Expect(t.Context(), formats.Connection{}, target, &formats.Asset{File: file}, nil, nil)
		if err != nil || !want.Whole {
			t.Fatalf("Expect(%s) = %+v, %v, want the whole file", file, want, err)
		}
		if err := f.Check(t.Context(), target, bytes.NewReader([]byte(body)), want); err != nil {
			t.Errorf("Check(%s): %v", file, err)
		}
		if file == "a-1.other" {
			continue
		}
		for _, bad := range []string{"", "<!DOCTYPE html><title>404</title>", `{"message":"x"}`, body[:1]} {
			if err := f.Check(t.Context(), target, bytes.NewReader([]byte(bad)), want); err == nil {
				t.Errorf("Check(%s) takes %q", file, bad)
			}
		}
	}
	if err := f.Check(t.Context(), formats.Target{File: "a-1.zip"}, bytes.NewReader(wheel("a=b")[:40]), formats.Want{}); err == nil {
		t.Error("Check takes a cut archive")
	}
	strong := &formats.Asset{Size: 3, Digests: []formats.Digest{{Alg: formats.SHA256, Hex: "aa"}}}
	if want, err := f.Expect(t.Context(), formats.Connection{}, formats.Target{}, strong, nil, nil); err != nil || want.Whole || want.Size != 3 || len(want.Digests) != 1 {
		t.Errorf("Expect with a digest = %+v, %v", want, err)
	}
}
