package npm

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"larder/formats"
)

func TestLocate(t *testing.T) {
	conn := formats.Connection{Name: "c", URL: "https://registry.example/base/"}
	core := formats.Name{Canon: "@tiny/core", NS: "tiny"}
	tgz := formats.Target{Kind: formats.KindAsset, Name: core, Version: "1.0.0", File: "core-1.0.0.tgz"}
	for _, c := range []struct {
		what  string
		t     formats.Target
		a     *formats.Asset
		want  string
		wrong string // options that make the connection refuse
	}{
		{"packument", formats.Target{Kind: formats.KindListing, Name: core}, nil, "GET https://registry.example/base/@tiny%2fcore", ""},
		{"version document", formats.Target{Kind: formats.KindListing, Name: core, Version: "beta", Variant: variantVersion}, nil, "GET https://registry.example/base/@tiny%2fcore", ""},
		{"tarball without a row", tgz, nil, "GET https://registry.example/base/@tiny/core/-/core-1.0.0.tgz", ""},
		{"tarball elsewhere", tgz, &formats.Asset{URL: "https://cdn.example/x?y=z"}, "GET https://cdn.example/x?y=z", ""},
		{"tarball by http on the registry's host", tgz, &formats.Asset{URL: "http://registry.example/x"}, "GET https://registry.example/x", ""},
		{"tarball by http elsewhere", tgz, &formats.Asset{URL: "http://cdn.example/x"}, "GET http://cdn.example/x", ""},
		{"unreadable integrity", tgz, &formats.Asset{URL: "https://cdn.example/x", Aux: []byte(badIntegrity)}, "upstream", ""},
		{"unreadable address", tgz, &formats.Asset{URL: "https://cdn.example/\x7f"}, "upstream", ""},
		{"keys", formats.Target{Kind: formats.KindDocument, Doc: keysPath}, nil, "GET https://registry.example/base/-/npm/v1/keys", ""},
		{"attestations", formats.Target{Kind: formats.KindDocument, Name: core, Version: "1.0.0", Doc: attestationsPath + "@tiny/core@1.0.0"}, nil, "GET https://registry.example/base/-/npm/v1/attestations/@tiny%2fcore@1.0.0", ""},
		{"audit", formats.Target{Kind: formats.KindPass, Doc: bulkPath}, nil, "POST https://registry.example/base/-/npm/v1/security/advisories/bulk", ""},
		{"search", formats.Target{Kind: formats.KindSearch, Doc: searchPath + "?text=x"}, nil, "GET https://registry.example/base/-/v1/search?text=x", ""},
	} {
		f, err := New().Locate(t.Context(), conn, c.t, c.a, nil)
		got := f.URL
		if f.Method == "" {
			got = "GET " + got
		} else {
			got = f.Method + " " + got
		}
		if err != nil {
			got = formats.AsRefusal(err).Kind.String()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
}

// TestScopes: a scope is asked of its own registry and of no other.
func TestScopes(t *testing.T) {
	for _, c := range []struct {
		options map[string]string
		name    formats.Name
		asked   bool
	}{
		{nil, formats.Name{Canon: "@one/x", NS: "one"}, true},
		{map[string]string{"scope": "@one"}, formats.Name{Canon: "@one/x", NS: "one"}, true},
		{map[string]string{"scope": "@one"}, formats.Name{Canon: "@oneself/x", NS: "oneself"}, false},
		{map[string]string{"scope": "@one"}, formats.Name{Canon: "x"}, false},
		{map[string]string{"other_scopes": "@one,@two"}, formats.Name{Canon: "@two/x", NS: "two"}, false},
		{map[string]string{"other_scopes": "@one,@two"}, formats.Name{Canon: "@three/x", NS: "three"}, true},
		{map[string]string{"other_scopes": "@one,@two"}, formats.Name{Canon: "x"}, true},
	} {
		conn := formats.Connection{URL: "https://registry.example/", Options: c.options}
		_, err := New().Locate(t.Context(), conn, formats.Target{Kind: formats.KindListing, Name: c.name}, nil, nil)
		if asked := !errors.Is(err, formats.ErrNoDocument); asked != c.asked {
			t.Errorf("%v asked for %s: %v (%v), want %v", c.options, c.name.Canon, asked, err, c.asked)
		}
	}
}

type memFile struct{ *bytes.Reader }

func (f memFile) Size() int64 { return f.Reader.Size() }

func TestVerify(t *testing.T) {
	target := formats.Target{Name: formats.Name{Canon: "x"}, File: "x-1.0.0.tgz"}
	if _, err := New().Expect(t.Context(), formats.Connection{}, target, nil, nil, nil); err == nil {
		t.Error("a tarball that no version names is expected")
	}
	w, err := New().Expect(t.Context(), formats.Connection{}, target, &formats.Asset{}, nil, nil)
	if err != nil || !w.Whole {
		t.Errorf("a tarball without digests: %+v, %v, want a look at the file", w, err)
	}
	for body, ok := range map[string]bool{"\x1f\x8b\x08": true, "<html>": false, "": false, "\x1f": false} {
		if err := New().Check(t.Context(), target, memFile{bytes.NewReader([]byte(body))}, w); (err == nil) != ok {
			t.Errorf("Check of %q: %v", body, err)
		}
	}
}

func TestAvailable(t *testing.T) {
	held := map[string]formats.HeldAsset{"x-1.0.0.tgz": {}}
	assets := []formats.Asset{{File: "x-1.0.0.tgz"}}
	for _, c := range []struct {
		what string
		v    formats.Version
		want bool
	}{
		{"held", formats.Version{Raw: []byte(`{}`), Assets: assets, Held: held}, true},
		{"not held", formats.Version{Raw: []byte(`{"os":[],"cpu":null}`), Assets: assets}, false},
		{"for a platform", formats.Version{Raw: []byte(`{"a":1,"os":["aix"]}`), Assets: assets}, true},
		{"for a platform, as a word", formats.Version{Raw: []byte(`{"cpu":"ppc64"}`), Assets: assets}, true},
		{"held, never listed", formats.Version{Assets: assets, Held: held, State: formats.Held}, false},
	} {
		if _, got := New().Available(&c.v); got != c.want {
			t.Errorf("%s: Available = %v, want %v", c.what, got, c.want)
		}
	}
}

func TestSearch(t *testing.T) {
	f := New()
	head := &formats.Head{Raw: []byte(`{"name":"@tiny/core","description":"a \"core\"","keywords":["k"],"maintainers":[{"name":"ada","email":"a@x.example"}]}`)}
	hits := []formats.SearchHit{
		{Name: formats.Name{Canon: "@tiny/core", NS: "tiny"}, Head: head, Version: &formats.Version{V: "1.0.0", Raw: []byte(`{"_npmUser":{"name":"ada"}}`)}},
		{Name: formats.Name{Canon: "bare"}},
	}
	reply := f.Results(nil, hits, 7)
	var out struct {
		Total   int
		Objects []struct {
			Package struct {
				Name, Scope, Version, Description string
				Publisher                         struct{ Username string }
				Maintainers                       []struct{ Username string }
			}
		}
	}
	if err := json.Unmarshal(reply.Body, &out); err != nil || out.Total != 7 || len(out.Objects) != 2 {
		t.Fatalf("Results: %v %s", err, reply.Body)
	}
	p := out.Objects[0].Package
	if p.Scope != "tiny" || p.Version != "1.0.0" || p.Description != `a "core"` || p.Publisher.Username != "ada" || len(p.Maintainers) != 1 {
		t.Errorf("hit: %+v", p)
	}
	if bare := out.Objects[1].Package; bare.Scope != "unscoped" || bare.Maintainers == nil {
		t.Errorf("bare hit: %+v; npm needs a list of maintainers", bare)
	}
}
