package pypi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
)

const endpoint = "http://larder.example:5273/pypi/main"

// TestRoute reads one request per line, "METHOD PATH [Accept]", and writes where
// it leads.
func TestRoute(t *testing.T) {
	f := pypi.New()
	datadriven.Walk(t, "testdata/route", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
				method, rest, _ := strings.Cut(line, " ")
				raw, accept, has := strings.Cut(rest, " ")
				h := http.Header{}
				if has {
					h.Set("Accept", accept)
				}
				rq := formattest.NewRequest(method, endpoint, strings.TrimPrefix(raw, "/"), h)
				target, err := f.Route(rq)
				fmt.Fprintf(&out, "%s\n  %s\n", line, describe(f, rq, target, err))
			}
			return out.String()
		})
	})
}

func describe(f *pypi.Format, rq *formats.Request, t formats.Target, err error) string {
	if err != nil {
		r := formats.AsRefusal(err)
		reply := f.Refuse(rq, r)
		return fmt.Sprintf("%d %s %s: %s", reply.Status, reply.Header.Get("Content-Type"), r.Kind, strings.TrimSpace(string(reply.Body)))
	}
	if t.Kind == formats.KindLocal {
		return fmt.Sprintf("%d -> %s", t.Reply.Status, t.Reply.Header.Get("Location"))
	}
	s := fmt.Sprintf("%s %s", t.Kind, t.Name.Canon)
	for _, part := range []struct{ key, val string }{{"version", t.Version}, {"file", t.File}, {"variant", t.Variant}, {"type", t.ContentType}} {
		if part.val != "" {
			s += " " + part.key + "=" + part.val
		}
	}
	if t.Prime {
		s += " prime"
	}
	return s
}

// TestPage parses upstream pages and renders them: "parse [html] name=NAME",
// "hold version=V file=F [sha256=HEX] [derived]", "render VARIANT [version=V]",
// "offline".
func TestPage(t *testing.T) {
	datadriven.Walk(t, "testdata/page", func(t *testing.T, path string) {
		p := &pageDriver{format: pypi.New()}
		datadriven.RunTest(t, path, p.run)
	})
}

type pageDriver struct {
	format *pypi.Format
	view   *formats.View
	full   []*formats.Version
}

func (p *pageDriver) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "parse":
		return p.parse(d)
	case "hold":
		return p.hold(t, d)
	case "offline":
		p.view.Offline, p.view.Versions = true, nil
		for _, v := range p.full {
			if r, ok := p.format.Available(v); ok {
				p.view.Versions = append(p.view.Versions, r)
			}
		}
		return fmt.Sprintf("%d of %d versions\n", len(p.view.Versions), len(p.full))
	case "render":
		var b bytes.Buffer
		target := formats.Target{Kind: formats.KindListing, Name: p.view.Name, Variant: d.CmdArgs[0].Key}
		if d.HasArg("version") {
			d.ScanArgs(t, "version", &target.Version)
		}
		h, err := p.format.Render(&b, p.view, target)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return h.Get("Content-Type") + "; vary " + h.Get("Vary") + "\n" + pretty(b.Bytes())
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (p *pageDriver) parse(d *datadriven.TestData) string {
	name := "demo-pkg"
	if d.HasArg("name") {
		name = d.CmdArgs[len(d.CmdArgs)-1].Vals[0]
	}
	src := formats.Source{URL: "https://registry.example/simple/" + name + "/", Header: http.Header{"Content-Type": {"application/vnd.pypi.simple.v1+json"}}}
	if d.HasArg("html") {
		src.Header.Set("Content-Type", "text/html")
	}
	if d.HasArg("untyped") {
		src.Header.Set("Content-Type", "application/octet-stream")
	}
	p.full = nil
	target := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: name}}
	head, err := p.format.Parse(target, src, strings.NewReader(d.Input), func(v *formats.Version) error {
		p.full = append(p.full, v)
		return nil
	})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	p.view = &formats.View{Name: target.Name, Base: endpoint, Layers: []formats.Layer{{Place: "public:pypi", Head: head}}, Versions: p.full}
	var out strings.Builder
	fmt.Fprintf(&out, "head %s\n", head.Raw)
	if !head.Modified.IsZero() {
		fmt.Fprintf(&out, "modified %s\n", head.Modified.Format(time.RFC3339Nano))
	}
	for _, v := range p.full {
		fmt.Fprintf(&out, "%s flags=%d", v.V, v.Flags)
		if !v.Published.IsZero() {
			fmt.Fprintf(&out, " published=%s", v.Published.Format(time.RFC3339Nano))
		}
		out.WriteByte('\n')
		for _, a := range v.Assets {
			fmt.Fprintf(&out, "  %s %s", a.File, a.URL)
			for _, digest := range a.Digests {
				fmt.Fprintf(&out, " %s", digest)
			}
			if a.Size > 0 {
				fmt.Fprintf(&out, " %dB", a.Size)
			}
			if a.Flags != 0 {
				fmt.Fprintf(&out, " flags=%d", a.Flags)
			}
			out.WriteByte('\n')
			if len(a.Raw) > 0 {
				fmt.Fprintf(&out, "    raw %s\n", strings.Join(strings.Fields(string(a.Raw)), " "))
			}
		}
	}
	return out.String()
}

func (p *pageDriver) hold(t *testing.T, d *datadriven.TestData) string {
	var version, file string
	d.ScanArgs(t, "version", &version)
	d.ScanArgs(t, "file", &file)
	sum := strings.Repeat("ee", 32)
	if d.HasArg("sha256") {
		var pair string
		d.ScanArgs(t, "sha256", &pair)
		sum = strings.Repeat(pair, 32)
	}
	var row *formats.Version
	for _, v := range p.full {
		if v.V == version {
			row = v
		}
	}
	if row == nil {
		row = &formats.Version{V: version, State: formats.Held}
		p.full = append(p.full, row)
		p.view.Versions = p.full
	}
	if row.Held == nil {
		row.Held = map[string]formats.HeldAsset{}
	}
	h := formats.HeldAsset{File: file, Size: 4321, Derived: d.HasArg("derived"), Digests: []formats.Digest{{Alg: formats.SHA256, Hex: sum}},
		LastModified: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	if d.HasArg("requires") {
		h.Aux = []byte(`{"requires_python":">=3.8"}`)
	}
	row.Held[file] = h
	var names []string
	for name := range row.Held {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, "\n") + "\n"
}

// pretty puts one member on a line, so that differences read well.
func pretty(doc []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, doc, "", " ") == nil {
		return b.String() + "\n"
	}
	return string(doc)
}
