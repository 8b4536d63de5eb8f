package golang

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
	"larder/formats/golang/golangtest"
)

func describe(t formats.Target) string {
	out := t.Kind.String()
	if t.Kind == formats.KindPublish {
		out += " deed=" + t.Deed.String()
	}
	for _, field := range []struct{ name, value string }{
		{"name", t.Name.Canon}, {"version", t.Version}, {"file", t.File}, {"doc", t.Doc}, {"variant", t.Variant},
		{"fresh", [...]string{"revalidate", "immutable", "nostore"}[t.Fresh]}, {"type", t.ContentType},
	} {
		if field.value != "" {
			out += " " + field.name + "=" + strings.ReplaceAll(field.value, " ", "")
		}
	}
	return out
}

func describeRefusal(err error) string {
	r := formats.AsRefusal(err)
	return fmt.Sprintf("%d %s", r.Code(), r.Message)
}

// TestRoute runs testdata/route: "route" lists raw paths, "locate" gives the
// upstream URLs for a connection's options.
func TestRoute(t *testing.T) {
	f := New()
	datadriven.Walk(t, "testdata/route", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			method, options, relays := "GET", map[string]string{}, false
			for _, arg := range d.CmdArgs {
				switch arg.Key {
				case "method":
					method = arg.Vals[0]
				case "relays":
					relays = true
				default:
					options[arg.Key] = strings.Join(arg.Vals, ",")
				}
			}
			registry := golangtest.Empty()
			registry.Relay(relays)
			server := httptest.NewServer(registry)
			defer server.Close()
			c := formats.Connection{Name: "c", URL: server.URL + "/base/", Options: options}
			docs := upstreamDocs{f: f, c: formats.Connection{Name: "c", URL: server.URL + "/", Options: options}, client: server.Client()}
			for raw := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
				target, err := f.Route(request(method, raw))
				switch {
				case err != nil:
					fmt.Fprintln(&out, describeRefusal(err))
				case d.Cmd == "route":
					fmt.Fprintln(&out, describe(target))
				default:
					fetch, err := f.Locate(context.Background(), c, target, nil, docs)
					if err != nil {
						fmt.Fprintln(&out, describeRefusal(err))
						continue
					}
					fmt.Fprintln(&out, strings.ReplaceAll(fetch.URL, server.URL, "http://proxy.example"))
				}
			}
			return out.String()
		})
	})
}

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"", "/", "@v/list", "a.example/b/@v/list", "a.example/%21b/@v/v1.0.0.info", "a.example/!b/@latest",
		"sumdb/x.example/supported", "sumdb/x.example/lookup/a.example/b@v1.0.0", "sumdb/x.example/tile/8/0/x001/000.p/7",
		"sumdb/x.example/sub/tile/8/data/000", "a.example/b/@v/main.info", "a.example/b/@v/..info", "sumdb/lookup/lookup/a.example/b@v1.0.0",
		"a.example/b/@v/v1.0.0+meta.zip", "a.example/b/@v/v2.0.0.zip", "sumdb/../latest", "a.example/b/@v/%2e%2e%2fx.info",
	} {
		f.Add("GET", seed)
	}
	f.Add("POST", "a.example/b/@v/list")
	format := New()
	f.Fuzz(func(t *testing.T, method, raw string) {
		target, err := format.Route(request(method, raw))
		if err != nil {
			var refusal *formats.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("Route(%q) fails with %v, which is no refusal", raw, err)
			}
			return
		}
		for _, key := range []string{target.Doc, target.File, target.Name.Canon, target.Version} {
			if strings.HasPrefix(key, "/") || strings.Contains("/"+key+"/", "/../") || strings.ContainsRune(key, 0) || strings.Contains(key, "//") {
				t.Fatalf("Route(%q): %q is not a clean key", raw, key)
			}
		}
		if strings.Contains(target.Doc, relayed) {
			t.Fatalf("Route(%q): a client can name %s", raw, target.Doc)
		}
		c := formats.Connection{URL: "https://proxy.example/x/"}
		fetch, err := format.Locate(context.Background(), c, target, nil, nil)
		if err == nil && !strings.HasPrefix(fetch.URL, c.URL) {
			t.Fatalf("Locate(%q) leaves the connection: %s", raw, fetch.URL)
		}
	})
}
