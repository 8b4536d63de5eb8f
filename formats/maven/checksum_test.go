package maven

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"larder/formats"
)

const (
	sumSHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	sumMD5  = "d41d8cd98f00b204e9800998ecf8427e"
)

func TestParseChecksum(t *testing.T) {
	for _, c := range []struct{ what, body, want string }{
		{"bare", sumSHA1, sumSHA1},
		{"bare, new line", sumSHA1 + "\r\n", sumSHA1},
		{"upper case", strings.ToUpper(sumSHA1), sumSHA1},
		{"byte order mark", "\ufeff" + sumSHA1, sumSHA1},
		{"coreutils", sumSHA1 + "  a-1.jar\n", sumSHA1},
		{"coreutils, binary", sumSHA1 + " *target/a-1.jar\n", sumSHA1},
		{"reversed", "a-1.jar " + sumSHA1, sumSHA1},
		{"bsd", "SHA1 (a-1.jar) = " + sumSHA1, sumSHA1},
		{"openssl", "SHA1(a-1.jar)= " + sumSHA1, sumSHA1},
		{"gpg", "a-1.jar: DA39 A3EE 5E6B 4B0D 3255\n         BFEF 9560 1890 AFD8 0709\n", sumSHA1},
		{"several files", strings.Repeat("0", 40) + "  b-1.jar\n" + sumSHA1 + "  a-1.jar\n", sumSHA1},
		{"comment line", "# made by hand\n" + sumSHA1, sumSHA1},
		{"empty", " \n", "none"},
		{"html", "<html><body>" + sumSHA1 + "</body></html>", "error"},
		{"other algorithm", sumMD5, "error"},
		{"too long", sumSHA1 + "00", "error"},
		{"not hex", strings.Replace(sumSHA1, "d", "g", 1), "error"},
		{"huge", strings.Repeat(sumSHA1+"\n", 1000), "error"},
	} {
		d, err := parseChecksum(formats.SHA1, []byte(c.body), "a-1.jar")
		got := d.Hex
		switch {
		case errors.Is(err, errNoChecksum):
			got = "none"
		case err != nil:
			got = "error"
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.what, got, err, c.want)
		}
	}
}

func FuzzParseChecksum(f *testing.F) {
	f.Add([]byte(sumSHA1 + "  a-1.jar"))
	f.Add([]byte("SHA1 (a-1.jar) = " + sumSHA1))
	f.Add([]byte("a: DA39 A3EE 5E6B 4B0D 3255\nBFEF 9560 1890 AFD8 0709"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseChecksum(formats.SHA1, body, "a-1.jar")
		if err != nil {
			return
		}
		if again, err := formats.ParseDigest(formats.SHA1, d.Hex); err != nil || again != d {
			t.Fatalf("%q gives %v (%v)", body, d, err)
		}
		squeezed := strings.ToLower(strings.Join(strings.Fields(string(body)), ""))
		if !strings.Contains(squeezed, d.Hex) {
			t.Fatalf("%q does not hold %s", body, d.Hex)
		}
	})
}

// library is an upstream's documents by path.
type library struct {
	docs   map[string]string
	asked  []string
	err    error
	refuse map[string]error
}

func (l *library) Document(_ context.Context, t formats.Target) ([]byte, error) {
	l.asked = append(l.asked, t.Doc)
	if l.err != nil {
		return nil, l.err
	}
	if err := l.refuse[t.Doc]; err != nil {
		return nil, err
	}
	if body, ok := l.docs[t.Doc]; ok {
		return []byte(body), nil
	}
	return nil, formats.ErrNoDocument
}

func TestExpect(t *testing.T) {
	const jar = "org/example/a/1.0/a-1.0.jar"
	sha1 := formats.Digest{Alg: formats.SHA1, Hex: sumSHA1}
	md5 := formats.Digest{Alg: formats.MD5, Hex: sumMD5}
	forbidden := fmt.Errorf("ask: %w", &formats.Refusal{Kind: formats.Upstream, Status: http.StatusForbidden})
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	for _, c := range []struct {
		what   string
		header http.Header
		row    *formats.Asset
		docs   map[string]string
		docErr error
		refuse map[string]error
		want   []formats.Digest
		asked  []string
		whole  bool
		err    string
	}{
		{what: "header", header: header("X-Checksum-SHA1", strings.ToUpper(sumSHA1), "X-Checksum-Md5", sumMD5), want: []formats.Digest{sha1, md5}},
		{what: "object metadata", header: header("x-amz-meta-checksum-sha1", sumSHA1), want: []formats.Digest{sha1}},
		{what: "object metadata of the other cloud", header: header("x-goog-meta-checksum-sha1", sumSHA1), want: []formats.Digest{sha1}},
		{what: "etag", header: header("ETag", `"{SHA1{`+sumSHA1+`}}"`), want: []formats.Digest{sha1}},
		{what: "malformed header", header: header("X-Checksum-Sha1", "none"), docs: map[string]string{jar + ".sha1": sumSHA1}, want: []formats.Digest{sha1}, asked: []string{jar + ".sha1"}},
		{what: "md5 header only", header: header("X-Checksum-Md5", sumMD5), docs: map[string]string{jar + ".sha1": sumSHA1}, want: []formats.Digest{md5, sha1}, asked: []string{jar + ".sha1"}},
		{what: "sha1 file", header: header(), docs: map[string]string{jar + ".sha1": sumSHA1}, want: []formats.Digest{sha1}, asked: []string{jar + ".sha1"}},
		{what: "md5 file", header: header(), docs: map[string]string{jar + ".md5": sumMD5}, want: []formats.Digest{md5}, asked: []string{jar + ".sha1", jar + ".md5"}},
		{what: "empty sha1 file", header: header(), docs: map[string]string{jar + ".sha1": "", jar + ".md5": sumMD5}, want: []formats.Digest{md5}, asked: []string{jar + ".sha1", jar + ".md5"}},
		{what: "none: trust on first use", header: header(), asked: []string{jar + ".sha1", jar + ".md5"}, whole: true},
		{what: "known row", header: header(), row: &formats.Asset{Digests: []formats.Digest{sha1}, Size: 7}, want: []formats.Digest{sha1}},
		{what: "row and header differ", header: header("X-Checksum-Sha1", strings.Repeat("0", 40)), row: &formats.Asset{Digests: []formats.Digest{sha1}}, err: "header says"},
		{what: "html type", header: header("Content-Type", "text/html", "X-Checksum-Sha1", sumSHA1), want: []formats.Digest{sha1}, whole: true},
		{what: "html checksum file", header: header(), docs: map[string]string{jar + ".sha1": "<html>log in</html>"}, err: "not a checksum file", asked: []string{jar + ".sha1"}},
		{what: "sha1 file forbidden", header: header(), refuse: map[string]error{jar + ".sha1": forbidden}, docs: map[string]string{jar + ".md5": sumMD5}, want: []formats.Digest{md5}, asked: []string{jar + ".sha1", jar + ".md5"}},
		{what: "sha1 file forbidden, no md5", header: header(), refuse: map[string]error{jar + ".sha1": forbidden}, err: "forbids its checksum files", asked: []string{jar + ".sha1", jar + ".md5"}},
		{what: "sha1 file forbidden, md5 in the header", header: header("X-Checksum-Md5", sumMD5), refuse: map[string]error{jar + ".sha1": forbidden}, want: []formats.Digest{md5}, asked: []string{jar + ".sha1"}},
		{what: "checksum file fails", header: header(), docErr: errors.New("boom"), err: "boom", asked: []string{jar + ".sha1"}},
	} {
		f := New()
		tg, err := f.Route(request("GET", jar))
		if err != nil {
			t.Fatal(err)
		}
		lib := &library{docs: c.docs, err: c.docErr, refuse: c.refuse}
		w, err := f.Expect(t.Context(), formats.Connection{}, tg, c.row, c.header, lib)
		if !slices.Equal(lib.asked, c.asked) {
			t.Errorf("%s: asked %v, want %v", c.what, lib.asked, c.asked)
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.what, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(w.Digests, c.want) || w.Whole != c.whole {
			t.Errorf("%s: %v whole=%v (%v), want %v whole=%v", c.what, w.Digests, w.Whole, err, c.want, c.whole)
		}
		if c.row != nil && w.Size != c.row.Size {
			t.Errorf("%s: size %d", c.what, w.Size)
		}
	}
}

// memory is a formats.File.
type memory struct{ *strings.Reader }

func (m memory) Size() int64 { return m.Reader.Size() }

func file(s string) formats.File { return memory{strings.NewReader(s)} }

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		file, body string
		ok         bool
	}{
		{"a-1.pom", "<?xml version='1.0'?><project/>", true},
		{"a-1.jar", "PK\x03\x04", true},
		{"a-1.jar", "", true},
		{"a-1.jar", "<!DOCTYPE html><html>", false},
		{"a-1.pom", "\ufeff \n<!-- portal --><HTML lang=en>", false},
		{"a-1.pom", "<?xml version='1.0'?>\n<!DOCTYPE HTML PUBLIC \"x\">", false},
		{"a-1.pom", "<!-- never closed", true},
		{"a-1-report.html", "<html>", true},
	} {
		err := New().Check(t.Context(), formats.Target{File: c.file}, file(c.body), formats.Want{})
		if (err == nil) != c.ok {
			t.Errorf("%s %q: %v", c.file, c.body, err)
		}
	}
}

func TestDeriveAndHeaders(t *testing.T) {
	f := New()
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	held := formats.HeldAsset{File: "a-1.jar", LastModified: at, Digests: []formats.Digest{
		{Alg: formats.SHA256, Hex: strings.Repeat("ab", 32)}, {Alg: formats.SHA1, Hex: sumSHA1}, {Alg: formats.MD5, Hex: sumMD5},
	}}
	for variant, want := range map[string]string{
		"sha1": sumSHA1, "md5": sumMD5, "sha256": strings.Repeat("ab", 32),
		// Not among the held digests: computed from the file, here an empty one.
		"sha512": "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
	} {
		reply, err := f.Derive(formats.Target{Variant: variant}, held, file(""))
		if err != nil || string(reply.Body) != want || reply.Status != 200 {
			t.Errorf("%s: %+v (%v)", variant, reply, err)
		}
	}
	if _, err := f.Derive(formats.Target{Variant: "crc32"}, held, file("")); formats.AsRefusal(err).Kind != formats.NotFound {
		t.Errorf("crc32: %v", err)
	}
	h := f.AssetHeader(formats.Target{}, held)
	for key, want := range map[string]string{
		"X-Checksum-Sha1": sumSHA1, "X-Checksum-Md5": sumMD5, "X-Checksum-Sha256": strings.Repeat("ab", 32),
		"Last-Modified": "Tue, 02 Jan 2024 03:04:05 GMT",
	} {
		if h.Get(key) != want {
			t.Errorf("%s: %q, want %q", key, h.Get(key), want)
		}
	}
}
