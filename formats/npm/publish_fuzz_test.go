package npm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// FuzzPublish: whatever is PUT either is refused in words for people or gives a
// change that renders as a document that parses.
func FuzzPublish(f *testing.F) {
	tgz := pack(f, packageJSON("x", "1.0.0"))
	f.Add("x", publishDoc("x", "1.0.0", tgz, nil))
	f.Add("x/-rev/1-18eb499d019c7ac0", []byte(`{"name":"x","versions":{},"time":{"0.1.0":"x"}}`))
	f.Add("x", []byte(`{"name":"x","versions":{"0.1.0":{"name":"x","version":"0.1.0","deprecated":"d"}},"_attachments":null}`))
	f.Add("-/package/x/dist-tags/b", []byte(`"0.1.0"`))
	f.Add("x", []byte(`{"_attachments":{"x.tgz":{"data":"\/\u0041==","length":1},"x.sigstore":{"data":"{}"}},"versions":{"1.0.0":{}}}`))
	first := publishDoc("x", "0.1.0", pack(f, packageJSON("x", "0.1.0")), nil)
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		repo := formattest.NewRepository(t, testNow())
		if _, err := put(repo, "x", first); err != nil {
			t.Fatal(err)
		}
		rq := formattest.NewRequest(http.MethodPut, testBase, path, nil)
		if target, err := New().Route(rq); err != nil || target.Kind != formats.KindPublish || target.Name.Canon != "x" {
			return
		}
		c, err := repo.Publish(New(), rq, bytes.NewReader(body))
		if err != nil {
			if r := formats.AsRefusal(err); r.Kind == formats.Internal {
				t.Fatalf("PUT %s %q: %v", path, body, err)
			}
			return
		}
		if len(repo.View(c.Name, testBase).Versions) == 0 {
			return
		}
		for _, variant := range []string{variantFull, variantAbbreviated, variantWrite} {
			doc := render(t, repo, c.Name, variant)
			var b bench
			if err := b.parse("x", string(doc)); err != nil {
				t.Fatalf("PUT %s %q renders %s: %v", path, body, doc, err)
			}
		}
	})
}

// FuzzTarball: no tarball upsets the inspection, and what passes has one
// manifest of the coordinate.
func FuzzTarball(f *testing.F) {
	f.Add(pack(f, packageJSON("x", "1.0.0")))
	f.Add(pack(f, packageJSON("x", "1.0.0"), entry{name: "package/README.md", body: "# x"}, entry{name: "package/d/", kind: '5'}))
	f.Fuzz(func(t *testing.T, b []byte) {
		spool := formattest.SpoolOf(b)
		findReadme(spool, "")
		found, err := inspectTarball(t.Context(), spool)
		if err == nil {
			err = found.check("x", "1.0.0")
		}
		if err != nil {
			if r := formats.AsRefusal(err); r.Kind != formats.BadRequest {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if !json.Valid(found.packageJSON) || found.files < 1 {
			t.Errorf("%q passes with %+v", b, found)
		}
	})
}

// FuzzAttachment: base64 in a JSON string is read as encoding/json and
// encoding/base64 together read it, or refused.
func FuzzAttachment(f *testing.F) {
	f.Add([]byte(`"QUJD"`), 3)
	f.Add([]byte(`"Q\u0055JD\/\/+="`), 1)
	f.Add([]byte(`"QQ==QQ=="`), 2)
	f.Fuzz(func(t *testing.T, doc []byte, size int) {
		if len(doc) < 2 || doc[0] != '"' {
			return
		}
		s := newStream(&slow{bytes.NewReader(doc), max(1, size&7)}, 1<<20)
		if _, err := s.take(`"`); err != nil {
			return
		}
		r := &stringReader{s: s}
		got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, r))
		if err != nil || !r.done || s.atEnd() != nil {
			return
		}
		var text string
		if err := json.Unmarshal(doc, &text); err != nil {
			t.Fatalf("%q was accepted: %v", doc, err)
		}
		want, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q gives %q, want %q, %v", doc, got, want, err)
		}
	})
}

// slow hands out a few bytes at a time.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// FuzzMendKeys: a foreign list of keys gives JSON or an error.
func FuzzMendKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"keyid":"a"},{"keyid":"b"}]}`))
	f.Add([]byte(`{"keys":[1,"]"],"keys":[[]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out, ok, err := New().Mend(document(keysPath), body, formats.SiteFacts{KeyID: "SHA256:x"})
		if ok && err == nil && !json.Valid(out) {
			t.Errorf("Mend(%q) = %q", body, out)
		}
	})
}
