package npm

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
	"larder/formats/formattest"
)

const testBase = "http://larder.example:5273/npm/main"

// TestRoute runs testdata/route: one request a line.
func TestRoute(t *testing.T) {
	datadriven.RunTest(t, "testdata/route", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for _, line := range strings.Split(d.Input, "\n") {
			method, rest, _ := strings.Cut(line, " ")
			path, accept, _ := strings.Cut(rest, " ")
			h := http.Header{}
			if accept != "" {
				h.Set("Accept", accept)
			}
			rq := formattest.NewRequest(method, testBase, path, h)
			d.MaybeScanArgs(t, "principal", &rq.Principal)
			if d.HasArg("command") {
				var command string
				d.ScanArgs(t, "command", &command)
				rq.Header.Set(headerCommand, command)
			}
			target, err := New().Route(rq)
			fmt.Fprintf(&out, "%s\n    %s\n", line, showTarget(target, err))
		}
		return out.String()
	})
}

func showTarget(t formats.Target, err error) string {
	if err != nil {
		var r *formats.Refusal
		if !errors.As(err, &r) {
			return "not a refusal: " + err.Error()
		}
		reply := New().Refuse(&formats.Request{}, r)
		return fmt.Sprintf("%s -> %d %s", r.Kind, reply.Status, reply.Body)
	}
	out := t.Kind.String()
	add := func(k, v string) {
		if v != "" {
			out += " " + k + "=" + v
		}
	}
	add("name", t.Name.Canon)
	add("ns", t.Name.NS)
	add("version", t.Version)
	add("file", t.File)
	add("doc", t.Doc)
	add("variant", t.Variant)
	if t.Prime {
		out += " prime"
	}
	if t.Kind == formats.KindPublish {
		out += " deed=" + t.Deed.String()
	}
	if t.Auth {
		out += " auth"
	}
	if t.Hosted != nil {
		out += fmt.Sprintf(" hosted=[%s of %s]", t.Hosted.Kind, t.Hosted.Derive.File)
	}
	if t.Reply != nil {
		out += " " + string(t.Reply.Body)
	}
	return out + [...]string{"", " immutable", " nostore"}[t.Fresh]
}

// bench is a parsed packument on which the directives of testdata/packument
// work.
type bench struct {
	head     *formats.Head
	versions []*formats.Version
	name     formats.Name
}

func (b *bench) parse(name, doc string) error {
	n, ok := parseName(name)
	if !ok {
		return fmt.Errorf("bad name %q", name)
	}
	b.name, b.versions, b.head = n, nil, nil
	src := formats.Source{URL: "https://registry.example/base/" + escapeName(name)}
	head, err := New().Parse(formats.Target{Kind: formats.KindListing, Name: n}, src, strings.NewReader(doc), func(v *formats.Version) error {
		b.versions = append(b.versions, v)
		return nil
	})
	b.head = head
	return err
}

func (b *bench) view(d *datadriven.TestData) *formats.View {
	v := &formats.View{Name: b.name, Base: testBase, Layers: []formats.Layer{{Place: "up", Head: b.head}}, Offline: d.HasArg("offline")}
	hidden := map[string]string{}
	gone := map[string]bool{}
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "hide":
			for _, x := range arg.Vals {
				hidden[x] = "too young: " + x
			}
		case "hide-same":
			for _, x := range arg.Vals {
				hidden[x] = "not reviewed yet"
			}
		case "missing":
			for _, x := range arg.Vals {
				gone[x] = true
			}
		}
	}
	for _, row := range b.versions {
		switch {
		case hidden[row.V] != "":
			v.Hidden = append(v.Hidden, formats.Hidden{Version: row, Reason: hidden[row.V]})
		case gone[row.V]:
			v.Missing++
		default:
			v.Versions = append(v.Versions, row)
		}
	}
	return v
}

func (b *bench) rows() string {
	var out strings.Builder
	fmt.Fprintf(&out, "head %s\ntimes %s\n", b.head.Raw, b.head.Aux)
	tags := make([]string, 0, len(b.head.Tags))
	for k, v := range b.head.Tags {
		tags = append(tags, k+"="+v)
	}
	sort.Strings(tags)
	fmt.Fprintf(&out, "tags %s\nmodified %s\n", strings.Join(tags, " "), b.head.Modified.Format("2006-01-02T15:04:05.999Z"))
	for _, v := range b.versions {
		fmt.Fprintf(&out, "version %s flags=%d from=%d time=%s\n", v.V, v.Flags, v.From, v.Aux)
		for _, a := range v.Assets {
			fmt.Fprintf(&out, "  asset %s url=%s aux=%s\n", a.File, a.URL, a.Aux)
			for _, dg := range a.Digests {
				fmt.Fprintf(&out, "    %.30s\n", dg)
			}
		}
	}
	return out.String()
}

// TestPackument runs testdata/packument*: parse a document, look at its rows,
// render it under policy and offline.
func TestPackument(t *testing.T) {
	datadriven.Walk(t, "testdata/packument", func(t *testing.T, path string) {
		var b bench
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "parse":
				var name string
				d.ScanArgs(t, "name", &name)
				if err := b.parse(name, d.Input); err != nil {
					if len(b.versions) > 0 {
						t.Errorf("%s: a failing parse emitted %d versions", d.Pos, len(b.versions))
					}
					return "error: " + err.Error() + "\n"
				}
				return b.rows()
			case "render":
				target := formats.Target{Kind: formats.KindListing, Name: b.name}
				d.ScanArgs(t, "variant", &target.Variant)
				if d.HasArg("version") {
					d.ScanArgs(t, "version", &target.Version)
				}
				var out bytes.Buffer
				h, err := New().Render(&out, b.view(d), target)
				if err != nil {
					return showTarget(formats.Target{}, err) + "\n"
				}
				return fmt.Sprintf("%s; vary %q\n%s\n", h.Get("Content-Type"), h.Get("Vary"), strings.ReplaceAll(out.String(), `,"`, ",\n\""))
			}
			t.Fatalf("%s: unknown directive %s", d.Pos, d.Cmd)
			return ""
		})
	})
}
