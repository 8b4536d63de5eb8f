package npm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

// FuzzRoute: Route is total, and what it lets through is spelled cleanly.
func FuzzRoute(f *testing.F) {
	for _, p := range formattest.NastyPaths() {
		if len(p) < 500 {
			f.Add("GET", p, "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*")
		}
	}
	f.Add("PUT", "@tiny%2fcore/-/core-1.0.0.tgz", "")
	f.Fuzz(func(t *testing.T, method, path, accept string) {
		rq := formattest.NewRequest(method, testBase, path, http.Header{"Accept": {accept}})
		target, err := New().Route(rq)
		if err != nil {
			if reply := New().Refuse(rq, formats.AsRefusal(err)); !json.Valid(reply.Body) || reply.Status < 400 {
				t.Errorf("Route(%q): refusal %d %q", path, reply.Status, reply.Body)
			}
			return
		}
		for _, s := range []string{target.Name.Canon, target.Version, target.File} {
			if strings.ContainsAny(s, "\\%\x00 ") || strings.Contains("/"+s+"/", "/../") || strings.Contains("/"+s, "/.") {
				t.Errorf("Route(%q) gives %q", path, s)
			}
		}
		if target.Kind == formats.KindAsset {
			again, err := New().Route(formattest.NewRequest("GET", testBase, target.Name.Canon+"/-/"+target.File, nil))
			if err != nil || again.File != target.File || again.Version != target.Version || again.Name != target.Name {
				t.Errorf("Route(%q) gives %+v, which routes to %+v, %v", path, target, again, err)
			}
		}
	})
}

// FuzzCheckValue: the scanner accepts exactly what encoding/json accepts.
func FuzzCheckValue(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `""`, `0`, `-0.1e+5`, `01`, `1.`, `{"a":[1,2,{"b":null}]}`, `{"a":1,}`, `"\u12"`, `"\ud800"`, "\"\x01\"", `tru`, `{"a" :	1 }`, `[1 2]`, "\"\xff\"", `{"a":"\""}`, `-`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) >= maxDepth {
			return
		}
		from := space(b, 0)
		end, err := checkValue(b, from, 0)
		ok := err == nil && space(b, end) == len(b)
		if want := json.Valid(b); ok != want {
			t.Fatalf("checkValue(%q) = %d, %v; encoding/json says %v", b, end, err, want)
		}
		if !ok {
			return
		}
		if got := skipValue(b, from); got != end {
			t.Errorf("skipValue(%q) = %d, checkValue %d", b, got, end)
		}
		var want map[string]json.RawMessage
		if b[from] != '{' || json.Unmarshal(b, &want) != nil {
			return
		}
		for k := range want {
			if !bytes.Contains(b, []byte("\xff")) && !strings.ContainsRune(k, '\ufffd') && !bytes.Equal(find(b, k), want[k]) {
				t.Errorf("find(%q, %q) = %q, want %q", b, k, find(b, k), want[k])
			}
		}
	})
}

// FuzzPackument: whatever parses also renders, in every variant, as JSON that
// parses to the same rows; with a manifest that differs in its URLs only.
func FuzzPackument(f *testing.F) {
	r := npmtest.Default()
	for _, name := range []string{"tiny-sha1"} {
		f.Add(bytes.Replace(upstreamDoc(f, r, name), []byte(`"`+name+`"`), []byte(`"x"`), -1))
	}
	f.Add([]byte(`{"name":"x","versions":{"1.0.0":{"dist":{"tarball":"https://registry.example/x"},"dist":{"tarball":5,"attestations":{"url":1}}}},"time":{"1.0.0":{}},"dist-tags":{"latest":"2.0.0","":"1.0.0"}}`))
	f.Add([]byte(`{"name":"x","versions":{"1.0.0":{"dist":null,"deprecated":false},"1":{"os":["!a"]}},"time":null,"dist-tags":null,"policyRestrictions":{"versions":{"3.0.0":{}}}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var b bench
		if err := b.parse("x", string(doc)); err != nil {
			return
		}
		view := &formats.View{Name: b.name, Base: testBase, Layers: []formats.Layer{{Place: "up", Head: b.head}}, Versions: b.versions}
		for _, variant := range []string{variantFull, variantAbbreviated, variantTags} {
			var out bytes.Buffer
			if _, err := New().Render(&out, view, formats.Target{Variant: variant}); err != nil {
				t.Fatalf("render %s: %v", variant, err)
			}
			if !json.Valid(out.Bytes()) {
				t.Fatalf("render %s of %q is not JSON: %q", variant, doc, out.Bytes())
			}
			if variant == variantTags {
				continue
			}
			var again bench
			if err := again.parse("x", out.String()); err != nil {
				t.Fatalf("render %s does not parse: %v\n%q", variant, err, out.Bytes())
			}
			if len(again.versions) != len(b.versions) {
				t.Fatalf("render %s has %d versions, want %d", variant, len(again.versions), len(b.versions))
			}
			for i, was := range b.versions {
				is := again.versions[i]
				if is.V != was.V || is.Flags != was.Flags || !is.Published.Equal(was.Published) || !reflect.DeepEqual(is.Assets[0].Digests, was.Assets[0].Digests) {
					t.Errorf("version %+v became %+v", was, is)
				}
				if variant == variantFull && !sameButURLs(was.Raw, is.Raw) {
					t.Errorf("manifest %q became %q", was.Raw, is.Raw)
				}
			}
		}
	})
}

// sameButURLs compares manifests with the two replaced values blanked.
func sameButURLs(a, b []byte) bool {
	blank := func(raw []byte) string {
		out := &output{}
		// Rendering for an empty endpoint gives the same URLs for both.
		out.manifest("v", raw, newTarballs("", "x"), false)
		return string(out.buf)
	}
	return blank(a) == blank(b)
}

// FuzzNpmrc: foreign configuration files never upset discovery.
func FuzzNpmrc(f *testing.F) {
	f.Add([]byte("registry=https://registry.example/\n//registry.example/:_authToken=${TOKEN}\n@s:registry='https://s.example'\n; c\n[x]\ny=z"))
	f.Add([]byte("a=\"\\\nb=${\n=\n[]=x\n\\;=\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rc := parseNpmrc(b, func(k string) string { return strings.ToLower(k) })
		credentialFor("registry.example", "/a/b/", func(k string) string { return rc[k] })
		for _, v := range rc {
			if a := registryURL(v); a != "" && !strings.HasSuffix(a, "/") {
				t.Errorf("registryURL(%q) = %q", v, a)
			}
		}
	})
}
