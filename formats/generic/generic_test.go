package generic

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
	"larder/formats/formattest"
)

const base = "http://127.0.0.1:5273/generic/main"

var publishedAt = time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)

func name(t *testing.T, namespace, pkg string) formats.Name {
	t.Helper()
	n, err := nameOf(namespace, pkg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConformance(t *testing.T) {
	formattest.Run(t, New(), formattest.Spec{
		Assets: []string{"team/tool/1.0/tool.tar.gz", "team/tool/1.0/a%20b%60c.txt", "@x/y:z/v%C3%A9/%E6%96%87.bin"},
		Coordinates: []formattest.Coordinate{
			{Name: name(t, "team", "tool"), Version: "1.0"}, {Name: name(t, "a@b", "c?d%e+f"), Version: "é+1@2"},
		},
	})
}

// TestRoute runs testdata/route: one "METHOD path" a line.
func TestRoute(t *testing.T) {
	f := New()
	datadriven.RunTest(t, "testdata/route", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for line := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
			method, raw, _ := strings.Cut(line, " ")
			target, err := f.Route(formattest.NewRequest(method, base, raw, nil))
			if err != nil {
				reply := f.Refuse(nil, formats.AsRefusal(err))
				fmt.Fprintf(&out, "%d %s", reply.Status, reply.Body)
				continue
			}
			fmt.Fprintf(&out, "%s name=%s ns=%s", target.Kind, target.Name.Canon, target.Name.NS)
			for _, field := range [][2]string{{"version", target.Version}, {"file", target.File}, {"variant", target.Variant}} {
				if field[1] != "" {
					fmt.Fprintf(&out, " %s=%s", field[0], field[1])
				}
			}
			if target.Kind == formats.KindPublish {
				fmt.Fprintf(&out, " deed=%s", target.Deed)
			}
			out.WriteByte('\n')
		}
		return out.String()
	})
}

func do(t *testing.T, r *formattest.Repository, method, path, body string, header ...string) (*formats.Change, error) {
	t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return r.Publish(New(), formattest.NewRequest(method, base, path, h), strings.NewReader(body))
}

func list(t *testing.T, r *formattest.Repository, path string) (string, error) {
	t.Helper()
	target, err := New().Route(formattest.NewRequest("GET", base, path, nil))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = New().Render(&out, r.View(target.Name, base), target)
	return out.String(), err
}

// TestVersionLife: open, complete, closed for ever, deleted, free again.
func TestVersionLife(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	for i, step := range []struct {
		method, path, body string
		header             []string
		status             int // of the reply, or of the refusal
		now                formats.Status
		assets             int
	}{
		{"PUT", "t/p/1/a.txt?unfinished=true", "one", nil, 201, formats.Unfinished, 1},
		{"PUT", "t/p/1/b.txt?unfinished=true", "two", nil, 201, formats.Unfinished, 2},
		{"PUT", "t/p/1/a.txt?unfinished=true", "one", nil, 201, formats.Unfinished, 2},
		{"PUT", "t/p/1/a.txt?unfinished=true", "other", nil, 409, formats.Unfinished, 2},
		{"PUT", "t/p/1/a.txt?unfinished=true", "one", []string{"If-None-Match", "*"}, 412, formats.Unfinished, 2},
		{"PUT", "t/p/1/c.txt?unfinished=perhaps", "three", nil, 400, formats.Unfinished, 2},
		{"PUT", "t/p/1/c.txt", "three", []string{"If-None-Match", "*"}, 201, formats.Published, 3},
		{"PUT", "t/p/1/d.txt", "four", nil, 409, formats.Published, 3},
		{"PUT", "t/p/1/d.txt?unfinished=true", "four", nil, 409, formats.Published, 3},
		{"PUT", "t/p/1/c.txt", "three", nil, 200, formats.Published, 3},
		{"PUT", "t/p/1/c.txt?unfinished=true", "three", nil, 200, formats.Published, 3},
		{"PUT", "t/p/1/c.txt", "other", nil, 409, formats.Published, 3},
		{"PUT", "t/p/2/c.txt", "other", nil, 201, formats.Published, 3},
		{"DELETE", "t/p/3/", "", nil, 404, formats.Published, 3},
		{"DELETE", "t/p/1", "", nil, 204, formats.StatusNone, 0},
		{"PUT", "t/p/1/c.txt", "other", nil, 201, formats.Published, 1},
	} {
		change, err := do(t, r, step.method, step.path, step.body, step.header...)
		got := 0
		if err != nil {
			got = formats.AsRefusal(err).Code()
		} else {
			got = change.Reply.Status
		}
		status, assets := formats.StatusNone, 0
		if row := r.Version("t/p", "1"); row != nil {
			status, assets = row.Hosting.Status, len(row.Assets)
		}
		if got != step.status || status != step.now || assets != step.assets {
			t.Errorf("step %d, %s %s: %d (%v), then %q with %d assets; want %d, then %q with %d", i, step.method, step.path, got, err, status, assets, step.status, step.now, step.assets)
		}
	}
	r.Version("t/p", "1").Hosting.Status = formats.Archived
	if _, err := do(t, r, "PUT", "t/p/1/c.txt", "other"); formats.AsRefusal(err).Kind != formats.Conflict {
		t.Errorf("an archived version: %v", err)
	}
}

// TestOpenIsJudgedLate: a change computed while the version was open is refused
// once another completed it, and cannot open it again.
func TestOpenIsJudgedLate(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	change := func(asset, body string, unfinished bool) *formats.Change {
		c, err := NewChange("t", "p", "1", asset, "", formattest.SpoolOf([]byte(body)), unfinished, nil, publishedAt)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := r.Apply(change("a", "one", false)); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(change("b", "two", true)); formats.AsRefusal(err).Kind != formats.Conflict {
		t.Errorf("a late asset: %v", err)
	}
	if err := r.Apply(change("a", "one", true)); err != nil || r.Version("t/p", "1").Hosting.Status != formats.Published {
		t.Errorf("the same asset, late: %v, then %s", err, r.Version("t/p", "1").Hosting.Status)
	}
}

func TestIntegrity(t *testing.T) {
	const body = "the file"
	s256, m5 := sha256.Sum256([]byte(body)), md5.Sum([]byte(body))
	hex256, b256, b5 := hex.EncodeToString(s256[:]), base64.StdEncoding.EncodeToString(s256[:]), base64.StdEncoding.EncodeToString(m5[:])
	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tc := range []struct {
		header, value string
		status        int
	}{
		{"x-amz-content-sha256", hex256, 201},
		{"x-amz-content-sha256", strings.ToUpper(hex256), 201},
		{"x-amz-content-sha256", "UNSIGNED-PAYLOAD", 201},
		{"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 501},
		{"x-amz-content-sha256", strings.Repeat("0", 64), 400},
		{"x-amz-content-sha256", hex256[:62], 400},
		{"x-amz-content-sha256", "", 400},
		{"Content-MD5", b5, 201},
		{"Content-MD5", zero, 400},
		{"Content-MD5", base64.StdEncoding.EncodeToString(make([]byte, 16)), 400},
		{"Content-Digest", "sha-256=:" + b256 + ":", 201},
		{"Content-Digest", "md5=:" + b5 + ":, unknown=:AAAA:, sha-256=:" + b256 + ":", 201},
		{"Content-Digest", "sha-256=:" + zero + ":", 400},
		{"Content-Digest", "sha-256=" + b256, 400},
		{"Content-Digest", "sha-512=:" + b256 + ":", 400},
		{"Repr-Digest", "sha-256=:" + b256 + ":,  sha-256=:" + zero + ":", 400},
		{"Repr-Digest", "md5=:" + b5 + ":", 201},
		{"Repr-Digest", "SHA-256=:" + b256 + ":", 400},
		{"Content-Encoding", "gzip", 400},
		{"Content-Range", "bytes 0-1/2", 400},
		{"If-Match", "*", 400},
		{"Content-Type", "multipart/form-data; boundary=x", 400},
	} {
		r := formattest.NewRepository(t, publishedAt)
		_, err := do(t, r, "PUT", "t/p/1/f", body, tc.header, tc.value)
		if got := map[bool]int{true: 201, false: formats.AsRefusal(err).Code()}[err == nil]; got != tc.status {
			t.Errorf("%s: %s: %d (%v), want %d", tc.header, tc.value, got, err, tc.status)
		}
		if held := r.Version("t/p", "1") != nil; held != (tc.status == 201) {
			t.Errorf("%s: %s: kept: %v", tc.header, tc.value, held)
		}
	}
}

func TestContentTypes(t *testing.T) {
	for sent, want := range map[string]string{"": typeUnknown, "text/html": "text/html", "Text/Plain; Charset=utf-8": "text/plain; charset=utf-8",
		"application/x-www-form-urlencoded": typeUnknown, "nonsense": typeUnknown, "a/b; " + strings.Repeat("x", 300): typeUnknown} {
		r := formattest.NewRepository(t, publishedAt)
		if _, err := do(t, r, "PUT", "t/p/1/f", "x", "Content-Type", sent); err != nil {
			t.Errorf("%q: %v", sent, err)
		} else if got := r.Version("t/p", "1").Held["f"].ContentType; got != want {
			t.Errorf("%q is kept as %q, want %q", sent, got, want)
		}
	}
	h := New().AssetHeader(formats.Target{File: "a \"é.html"}, formats.HeldAsset{ContentType: "text/html"})
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a browser gets %v", h)
	}
}

func TestLists(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	for _, path := range []string{"t/p/1/b?unfinished=true", "t/p/1/a%20%C3%A9", "t/p/2/c", "t/p/3/d?unfinished=true"} {
		if _, err := do(t, r, "PUT", path, path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := list(t, r, "t/p/")
	var got packageJSON
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if err != nil || got.Namespace != "t" || got.Package != "p" || len(got.Versions) != 2 || got.Versions[0].PublishedTime != "2026-11-03T04:05:06Z" {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = list(t, r, "t/p/1")
	var one versionJSON
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		t.Fatal(err)
	}
	if err != nil || one.Version != "1" || len(one.Assets) != 2 || one.Assets[0].Name != "a é" || len(one.Assets[0].Hashes) != 4 {
		t.Errorf("%v\n%s", err, text)
	}
	for _, a := range one.Assets {
		u, err := url.Parse(a.URL)
		if err != nil || !strings.HasPrefix(a.URL, base+"/") {
			t.Fatalf("%s: %v", a.URL, err)
		}
		target, err := New().Route(formattest.NewRequest("GET", base, strings.TrimPrefix(a.URL, base+"/"), nil))
		if err != nil || target.File != a.Name || u.RawQuery != "" {
			t.Errorf("%s leads to %+v, %v", a.URL, target, err)
		}
	}
	for path, want := range map[string]formats.RefusalKind{"t/p/3/": formats.NotFound, "t/p/9/": formats.NotFound, "t/q/": formats.NotFound} {
		if text, err := list(t, r, path); formats.AsRefusal(err).Kind != want {
			t.Errorf("%s: %v %s", path, err, text)
		}
	}
}

func TestAssetLimit(t *testing.T) {
	existing := &formats.Version{V: "1", Hosting: &formats.Hosting{Status: formats.Unfinished}, Assets: make([]formats.Asset, maxAssets)}
	_, err := NewChange("t", "p", "1", "one more", "", formattest.SpoolOf(nil), true, existing, publishedAt)
	if formats.AsRefusal(err).Kind != formats.TooLarge {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	for s, ok := range map[string]bool{"a": true, "..a": true, "a:b@c": true, "é": true, strings.Repeat("é", 255): true, strings.Repeat("a", 256): false,
		"": false, ".": false, "..": false, "a b": false, "a\tb": false, "a\u00a0b": false, "a#b": false, "a/b": false, `a\b`: false, "a\x00": false, "\xff": false} {
		if got := validPart(s); got != ok {
			t.Errorf("validPart(%.20q) = %v", s, got)
		}
	}
	for s, ok := range map[string]bool{"a": true, "a b": true, "Ⅷ٣ǅʰ文": true, assetMarks: true, "...": true, strings.Repeat("a", 255): true,
		strings.Repeat("a", 256): false, "": false, ".": false, "..": false, " a": false, "a ": false, "a  b": false, "a/b": false, `a\b`: false, "a*": false, "a#": false,
		"a%": false, "a=b": false, "a'b": false, "e\u0301": false, "a\u202e": false, "½": false, "a\xff": false, "a\ufffd": false} {
		if err := checkAsset(s); (err == nil) != ok {
			t.Errorf("checkAsset(%.20q) = %v", s, err)
		}
	}
	if _, err := nameOf(strings.Repeat("é", 255), strings.Repeat("文", 255)); err == nil {
		t.Error("a name beyond the limit of keys is taken")
	}
	if _, err := New().FromCoordinate("", "p"); formats.AsRefusal(err).Kind != formats.BadRequest {
		t.Errorf("no namespace: %v", err)
	}
}

// FuzzPublish: paths and headers of any kind are refused by name or lead to one
// asset with the digests that were promised.
func FuzzPublish(f *testing.F) {
	f.Add("t/p/1/f", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "", "")
	f.Add("t/p/1/f?unfinished=true", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "")
	f.Add("t/p/1/a%20b", "a=:,b", "UNSIGNED-PAYLOAD", "text/html; x=\"y\"")
	f.Fuzz(func(t *testing.T, path, digest, amz, contentType string) {
		h := http.Header{}
		for key, v := range map[string]string{"Content-Digest": digest, "X-Amz-Content-Sha256": amz, "Content-Type": contentType} {
			if v != "" {
				h.Set(key, v)
			}
		}
		rq := formattest.NewRequest("PUT", base, path, h)
		change, err := formattest.NewRepository(t, publishedAt).Publish(New(), rq, strings.NewReader(""))
		if err != nil {
			return
		}
		if len(change.Versions) != 1 || len(change.Versions[0].Files) != 1 {
			t.Fatalf("%+v", change)
		}
		if file := change.Versions[0].Files[0]; checkAsset(file.File) != nil || strings.ContainsAny(file.ContentType, "\r\n\x00") {
			t.Fatalf("%+v", file)
		}
	})
}
