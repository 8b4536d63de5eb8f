package cargo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
)

func describe(t formats.Target) string {
	out := t.Kind.String()
	if t.Kind == formats.KindPublish {
		out += " deed=" + t.Deed.String()
	}
	for _, field := range []struct{ name, value string }{
		{"name", t.Name.Canon}, {"display", t.Name.Display}, {"version", t.Version}, {"file", t.File}, {"doc", t.Doc}, {"variant", t.Variant},
		{"fresh", [...]string{"revalidate", "immutable", "nostore"}[t.Fresh]}, {"type", strings.ReplaceAll(t.ContentType, " ", "")},
	} {
		if field.value != "" {
			out += " " + field.name + "=" + field.value
		}
	}
	if t.Prime {
		out += " prime"
	}
	if t.Reply != nil {
		out += fmt.Sprintf(" %d %s", t.Reply.Status, strings.TrimSpace(string(t.Reply.Body)))
	}
	return out
}

// TestRoute runs testdata/route:
//
//	route [method=M]: raw paths to targets
//	locate dl=TEMPLATE [api=URL] [cksum] [as=NAME]: raw paths to upstream URLs
func TestRoute(t *testing.T) {
	f := New()
	datadriven.Walk(t, "testdata/route", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			args := make(map[string]string)
			for _, arg := range d.CmdArgs {
				args[arg.Key] = strings.Join(arg.Vals, ",")
			}
			method := args["method"]
			if method == "" {
				method = "GET"
			}
			var out strings.Builder
			for raw := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
				target, err := f.Route(request(method, base, raw))
				switch {
				case err != nil:
					r := formats.AsRefusal(err)
					reply := f.Refuse(nil, r)
					fmt.Fprintf(&out, "%d %s\n", reply.Status, reply.Body)
				case d.Cmd == "route":
					fmt.Fprintln(&out, describe(target))
				default:
					fmt.Fprintln(&out, locate(f, target, args))
				}
			}
			return out.String()
		})
	})
}

func locate(f *Format, target formats.Target, args map[string]string) string {
	config := fmt.Sprintf(`{"dl":%q,"auth-required":true}`, args["dl"])
	if api := args["api"]; api != "" {
		config = fmt.Sprintf(`{"dl":%q,"api":%q}`, args["dl"], api)
	}
	docs := fixedDocs{text: config}
	if args["dl"] == "404" {
		docs = fixedDocs{err: formats.ErrNoDocument}
	}
	var asset *formats.Asset
	if as, ok := args["as"]; ok {
		asset = &formats.Asset{Aux: []byte(as), Digests: []formats.Digest{{Alg: formats.SHA256, Hex: strings.Repeat("ab", 32)}}}
	}
	fetch, err := f.Locate(context.Background(), formats.Connection{Name: "c", URL: "https://registry.example/index/"}, target, asset, docs)
	if err != nil {
		var refusal *formats.Refusal
		if errors.As(err, &refusal) {
			return fmt.Sprintf("%d %s", refusal.Code(), refusal.Message)
		}
		return "error: " + err.Error()
	}
	return fetch.URL
}

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"", "/", "config.json", "1/q", "2/ab", "3/x/xyz", "ti/ny/tiny-core", "Ti/ny/Tiny-core", "api/v1/crates", "api/v1/crates/",
		"api/v1/crates?q=x&page=2", "api/v1/crates/a/1.0.0/download", "api/v1/crates/a/1.0.0+b%2B/download", "api/v1/crates/a/versions", "api/v1/crates/new", "..%2f/x"} {
		f.Add("GET", seed)
	}
	f.Add("PUT", "api/v1/crates/new")
	format := New()
	f.Fuzz(func(t *testing.T, method, raw string) {
		target, err := format.Route(request(method, base, raw))
		if err != nil {
			var refusal *formats.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("Route(%q) fails with %v, which is no refusal", raw, err)
			}
			return
		}
		for _, key := range []string{target.File, target.Name.Canon, target.Version} {
			if strings.ContainsAny(key, "/\\\x00") || key == ".." {
				t.Fatalf("Route(%q): %q is not a clean key", raw, key)
			}
		}
		c := formats.Connection{URL: "https://registry.example/index/"}
		fetch, err := format.Locate(context.Background(), c, target, nil, fixedDocs{text: `{"dl":"https://files.example/x","api":"https://api.example"}`})
		if err == nil && !strings.HasPrefix(fetch.URL, c.URL) && !strings.HasPrefix(fetch.URL, "https://files.example/x/") && !strings.HasPrefix(fetch.URL, "https://api.example/api/v1/crates?") {
			t.Fatalf("Locate(%q) leaves the connection: %s", raw, fetch.URL)
		}
	})
}
