package maven

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"larder/formats"
	"larder/formats/formattest"
)

const base = "http://larder.example:5273/maven/main"

// request is what the proxy hands over for a path below an endpoint.
func request(method, raw string) *formats.Request {
	return formattest.NewRequest(method, base, raw, nil)
}

func TestContract(t *testing.T) {
	up := "https://registry.example/maven2/"
	artifact := func(group, art, rest string) formattest.Listing {
		p := strings.ReplaceAll(group, ".", "/") + "/" + art + "/maven-metadata.xml"
		return formattest.Listing{Path: p, URL: up + p, Upstream: http.Header{"Content-Type": {"text/xml"}}, Body: []byte(
			"<metadata><groupId>" + group + "</groupId><artifactId>" + art + "</artifactId><versioning>" + rest + "</versioning></metadata>")}
	}
	formattest.Run(t, New(), formattest.Spec{
		Connection: formats.Connection{Name: "public:maven-central", URL: up},
		Listings: []formattest.Listing{
			artifact("org.example", "a", "<latest>2.0</latest><release>2.0</release><versions><version>1.0-alpha-1</version><version>1.0</version><version>2.0</version></versions><lastUpdated>20240101120000</lastUpdated>"),
			artifact("org.example", "site", "<versions><version>1</version></versions><site>"+up+"x</site><note>kept</note>"),
		},
		Assets: []string{
			"org/example/a/1.0/a-1.0.pom", "org/example/a/1.0/a-1.0-sources.jar", "junit/junit/4.13/junit-4.13.jar.asc",
			"org/example/a/1.0%2B1/a-1.0%2B1.jar", "org/example/a/1.0-SNAPSHOT/a-1.0-20240101.120000-3.jar",
		},
		Coordinates: []formattest.Coordinate{
			{Name: nameOf("org.example", "a"), Version: "1.0"},
			{Name: nameOf("Com.Example", "Delta.Core_2.12"), Version: "1.0+build@5=x"},
		},
	})
}

// TestRoute runs testdata/route: a path per line, the target or refusal below.
func TestRoute(t *testing.T) {
	f := New()
	datadriven.RunTest(t, "testdata/route", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		for _, raw := range strings.Fields(d.Input) {
			fmt.Fprintf(&b, "%s\n", raw)
			tg, err := f.Route(request(d.Cmd, raw))
			if err != nil {
				r := formats.AsRefusal(err)
				fmt.Fprintf(&b, "  %s: %s\n", r.Kind, r.Message)
				continue
			}
			fmt.Fprintf(&b, "  %s\n", show(tg))
			if tg.Kind == formats.KindPublish {
				continue
			}
			fetch, err := f.Locate(t.Context(), formats.Connection{URL: "https://registry.example/m2/"}, tg, nil, nil)
			fmt.Fprintf(&b, "  <- %s %v\n", strings.TrimPrefix(fetch.URL, "https://registry.example/m2/"), err)
		}
		return b.String()
	})
}

func show(t formats.Target) string {
	s := fmt.Sprintf("%s %s", t.Kind, t.Name.Canon)
	for _, f := range []struct{ k, v string }{{"version", t.Version}, {"file", t.File}, {"doc", t.Doc}, {"variant", t.Variant}, {"type", t.ContentType}} {
		if f.v != "" {
			s += " " + f.k + "=" + f.v
		}
	}
	if t.Kind == formats.KindPublish {
		return s + " " + t.Deed.String()
	}
	s += [...]string{" revalidate", " immutable", " nostore"}[t.Fresh]
	if t.Derive != nil {
		s += " of (" + show(*t.Derive) + ")"
	}
	return s
}

// layer is one parsed upstream document.
type layer struct {
	head     *formats.Head
	versions []*formats.Version
}

func parse(f *Format, tg formats.Target, doc string) (layer, error) {
	var l layer
	var err error
	l.head, err = f.Parse(tg, formats.Source{}, strings.NewReader(doc), func(v *formats.Version) error {
		v.Seq = len(l.versions) + 1
		l.versions = append(l.versions, v)
		return nil
	})
	return l, err
}

// union merges layers as the catalog does for formats.Union.
func union(tg formats.Target, layers ...layer) *formats.View {
	v := &formats.View{Name: tg.Name, Base: base}
	seen := map[string]bool{}
	for i, l := range layers {
		v.Layers = append(v.Layers, formats.Layer{Place: fmt.Sprintf("layer%d", i+1), Head: l.head})
		for _, row := range l.versions {
			if !seen[row.V] {
				seen[row.V] = true
				v.Versions = append(v.Versions, row)
			}
		}
	}
	return v
}

// TestListing runs testdata/listing: "parse path=P" adds a layer for a path,
// "render" writes the union; arguments hide versions, go offline or hold files.
func TestListing(t *testing.T) {
	f := New()
	var tg formats.Target
	var layers []layer
	datadriven.RunTest(t, "testdata/listing", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "path":
			var err error
			if tg, err = f.Route(request("GET", strings.TrimSpace(d.Input))); err != nil {
				return err.Error() + "\n"
			}
			layers = nil
			return show(tg) + "\n"
		case "parse":
			l, err := parse(f, tg, d.Input)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			layers = append(layers, l)
			var b strings.Builder
			for _, v := range l.versions {
				fmt.Fprintf(&b, "version %s\n", v.V)
			}
			fmt.Fprintf(&b, "tags %v modified %s\nraw %q\n", l.head.Tags, l.head.Modified.Format("2006-01-02T15:04:05"), l.head.Raw)
			return b.String()
		case "render":
			v := union(tg, layers...)
			for _, arg := range d.CmdArgs {
				switch arg.Key {
				case "hide":
					hide(v, arg.Vals, false)
				case "keep":
					v.Offline = true
					hide(v, arg.Vals, true)
				case "held":
					v.Offline = true
					row := &formats.Version{V: arg.Vals[0], State: formats.Held, Held: map[string]formats.HeldAsset{}}
					for _, file := range arg.Vals[1:] {
						row.Held[file] = formats.HeldAsset{File: file}
					}
					v.Versions = append(v.Versions, row)
				case "empty":
					v.Layers, v.Versions = []formats.Layer{{Place: "x", Head: &formats.Head{}}}, nil
				}
			}
			return render(t, f, v, tg)
		}
		return "unknown command\n"
	})
}

// hide removes the named versions, or with keep all others.
func hide(v *formats.View, names []string, keep bool) {
	var out []*formats.Version
	for _, row := range v.Versions {
		named := strings.Contains(" "+strings.Join(names, " ")+" ", " "+row.V+" ")
		switch {
		case named == keep:
			out = append(out, row)
		case keep:
			v.Missing++
		default:
			v.Hidden = append(v.Hidden, formats.Hidden{Version: row, Reason: "too young"})
		}
	}
	v.Versions = out
}

// render renders and checks the checksum variants against the document, and
// that parsing and rendering it again changes nothing.
func render(t *testing.T, f *Format, v *formats.View, tg formats.Target) string {
	t.Helper()
	var b bytes.Buffer
	h, err := f.Render(&b, v, tg)
	if err != nil {
		r := formats.AsRefusal(err)
		return fmt.Sprintf("%s: %s\n", r.Kind, r.Message)
	}
	doc := b.String()
	for _, alg := range []formats.Alg{formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512} {
		side := tg
		side.Variant = string(alg)
		var sum bytes.Buffer
		if _, err := f.Render(&sum, v, side); err != nil {
			t.Errorf("render %s: %v", alg, err)
		}
		hash := alg.New()
		hash.Write([]byte(doc))
		if want := fmt.Sprintf("%x", hash.Sum(nil)); sum.String() != want {
			t.Errorf("%s file says %s, the document has %s", alg, &sum, want)
		}
	}
	again, err := parse(f, tg, doc)
	if err != nil {
		t.Errorf("parse of the rendered document: %v\n%s", err, doc)
		return doc
	}
	var b2 bytes.Buffer
	if _, err := f.Render(&b2, union(tg, again), tg); err != nil || b2.String() != doc {
		t.Errorf("second rendering differs (%v):\n%s", err, &b2)
	}
	return fmt.Sprintf("last-modified %q\n%s", h.Get("Last-Modified"), doc)
}

func TestMethodsAreRefused(t *testing.T) {
	f := New()
	for _, method := range []string{"POST", "DELETE", "PATCH", "OPTIONS", ""} {
		rq := request(method, "org/example/a/1/a-1.pom")
		_, err := f.Route(rq)
		r := formats.AsRefusal(err)
		if err == nil || r.Kind != formats.Method {
			t.Errorf("%s: %v, want a method refusal", method, err)
			continue
		}
		if got := f.Refuse(rq, r).Header.Get("Allow"); got != "GET, HEAD, PUT" {
			t.Errorf("%s: Allow is %q", method, got)
		}
	}
}

func TestRefuseDialect(t *testing.T) {
	f := New()
	r := formats.Refuse(formats.Blocked, "alpha 1.0 is too young")
	for accept, want := range map[string]string{
		"": "application/problem+json", "*/*": "application/problem+json", "application/json": "application/problem+json",
		"text/html,application/xhtml+xml,*/*;q=0.8": "text/plain; charset=utf-8",
	} {
		rq := request("GET", "org/example/a/1/a-1.pom")
		if accept != "" {
			rq.Header.Set("Accept", accept)
		}
		reply := f.Refuse(rq, r)
		if got := reply.Header.Get("Content-Type"); got != want || reply.Status != 403 {
			t.Errorf("Accept %q: %d %s, want 403 %s", accept, reply.Status, got, want)
		}
		if !bytes.Contains(reply.Body, []byte("alpha 1.0 is too young")) {
			t.Errorf("Accept %q: body %s", accept, reply.Body)
		}
	}
	if got := string(f.Refuse(request("GET", "x"), r).Body); got != `{"type":"about:blank","title":"Forbidden","status":403,"detail":"alpha 1.0 is too young"}`+"\n" {
		t.Errorf("problem details: %s", got)
	}
}

func FuzzRoute(f *testing.F) {
	for _, raw := range formattest.NastyPaths() {
		f.Add("GET", raw)
	}
	f.Add("HEAD", "org/example/a/1.0-SNAPSHOT/a-1.0-20240101.120000-1-sources.jar.sha1")
	f.Add("GET", "org/example/a/1.0-SNAPSHOT/maven-metadata.xml.md5")
	f.Add("GET", "org/example/a/1.0-20240101.120000-1/a-1.0-20240101.120000-1.jar")
	f.Add("PUT", "org/example/a/1.0-SNAPSHOT/a-1.0-20240101.120000-1.jar.asc.sha1")
	f.Add("PUT", "org/example/a/maven-metadata.xml.sha256")
	f.Add("GET", "a/SNAPSHOT/SNAPSHOT/SNAPSHOT-SNAPSHOT.jar")
	format := New()
	conn := formats.Connection{URL: "https://registry.example/m2/"}
	f.Fuzz(func(t *testing.T, method, raw string) {
		tg, err := format.Route(request(method, raw))
		if err != nil {
			var r *formats.Refusal
			if !errors.As(err, &r) {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		if tg.Kind == formats.KindPublish {
			// What is deployed is read again under the same path.
			read, err := format.Route(request("GET", raw))
			if err != nil || read.Name != tg.Name || read.Version != tg.Version || read.Variant != tg.Variant {
				t.Fatalf("PUT %q is %s, GET is %s (%v)", raw, show(tg), show(read), err)
			}
			return
		}
		fetch, err := format.Locate(context.Background(), conn, tg, nil, nil)
		if err != nil {
			t.Fatalf("locate %+v: %v", tg, err)
		}
		u, err := url.Parse(fetch.URL)
		if err != nil || u.Host != "registry.example" || u.RawQuery != "" || strings.Contains(u.Path, "..") && strings.Contains(u.Path, "/../") {
			t.Fatalf("%q leads to %q (%v)", raw, fetch.URL, err)
		}
		// One coordinate has one path: what is asked upstream, asked of us,
		// is the same target.
		back, err := format.Route(request("GET", strings.TrimPrefix(fetch.URL, conn.URL)))
		if tg.Derive != nil {
			tg = *tg.Derive
		}
		tg.Variant = ""
		if err != nil || show(back) != show(tg) {
			t.Fatalf("%q: upstream path of %s routes to %s (%v)", raw, show(tg), show(back), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, doc := range []string{
		"", "<metadata/>", "<metadata><versioning><versions><version>1</version></versions></versioning></metadata>",
		"<metadata modelVersion='1.1.0'><version>1.0-SNAPSHOT</version><versioning><snapshot><timestamp>20240101.120000</timestamp><buildNumber>3</buildNumber></snapshot><snapshotVersions><snapshotVersion><extension>jar</extension><value>1.0-20240101.120000-3</value><updated>20240101120000</updated></snapshotVersion></snapshotVersions></versioning></metadata>",
		"<metadata><plugins><plugin><name>N</name><prefix>p</prefix><artifactId>p-maven-plugin</artifactId><x>1</x></plugin></plugins></metadata>",
		"<metadata xmlns='urn:x' xmlns:y='urn:y'><y:z/><z a='1'>t<!-- c --></z><versioning><w/></versioning></metadata>",
		"<!DOCTYPE metadata [<!ENTITY a 'b'>]><metadata>&a;</metadata>", "<html><body>no</body></html>", "\ufeff<?xml version='1.0'?><metadata></metadata>",
		"<metadata><versioning><versions/><versions><version>1</version></versions></versioning></metadata>",
	} {
		f.Add(doc, false)
		f.Add(doc, true)
	}
	format := New()
	f.Fuzz(func(t *testing.T, doc string, snap bool) {
		tg := formats.Target{Kind: formats.KindListing, Name: nameOf("g", "a")}
		if snap {
			tg.Doc, tg.Version = "1.0-SNAPSHOT", "1.0-SNAPSHOT"
		}
		l, err := parse(format, tg, doc)
		if err != nil {
			return
		}
		for _, v := range l.versions {
			if !isVersion(v.V) {
				t.Fatalf("version %q", v.V)
			}
		}
		var b bytes.Buffer
		if _, err := format.Render(&b, union(tg, l), tg); err != nil {
			t.Fatalf("render: %v", err)
		}
		first := b.String()
		again, err := parse(format, tg, first)
		if err != nil {
			t.Fatalf("parse of the rendered document: %v\n%s", err, first)
		}
		b.Reset()
		if _, err := format.Render(&b, union(tg, again), tg); err != nil || b.String() != first {
			t.Fatalf("second rendering (%v)\n%s\nfirst\n%s", err, &b, first)
		}
	})
}

func TestParseRefusesForeignDocuments(t *testing.T) {
	tg := formats.Target{Kind: formats.KindListing, Name: nameOf("org.example", "a")}
	snap := tg
	snap.Doc = "1-SNAPSHOT"
	for _, c := range []struct {
		what, doc, want string
		tg              formats.Target
	}{
		{"nothing", "", "empty document", tg},
		{"html", "<!DOCTYPE html><html></html>", "document type", tg},
		{"xhtml", "<html><body/></html>", "root element is <html>", tg},
		{"entity", "<!DOCTYPE m [<!ENTITY a \"b\">]><metadata>&a;</metadata>", "document type", tg},
		{"undefined entity", "<metadata>&a;</metadata>", "entity", tg},
		{"truncated", "<metadata><versioning><versions><version>1</version>", "EOF", tg},
		{"second root", "<metadata/><metadata/>", "second root", tg},
		{"text behind", "<metadata/>oops", "text after", tg},
		{"text before", "{}<metadata/>", "text before", tg},
		{"other artifact", "<metadata><groupId>org.example</groupId><artifactId>b</artifactId></metadata>", "document is of org.example:b", tg},
		{"other group", "<metadata><groupId>org.evil</groupId><artifactId>a</artifactId></metadata>", "document is of org.evil:a", tg},
		{"other group only", "<metadata><groupId>org.evil</groupId></metadata>", "of group", tg},
		{"other version", "<metadata><version>2-SNAPSHOT</version></metadata>", "of version", snap},
		{"deep", strings.Repeat("<metadata>", 100), "nested deeper", tg},
		{"another encoding", "<?xml version='1.0' encoding='UTF-16'?><metadata/>", "encoding", tg},
	} {
		if _, err := parse(New(), c.tg, c.doc); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.what, err, c.want)
		}
	}
}

// endless repeats a text for ever.
type endless struct {
	head, body string
	off        int
}

func (e *endless) Read(p []byte) (int, error) {
	src := e.body
	if e.head != "" {
		src = e.head
	}
	n := copy(p, src[e.off:])
	if e.off += n; e.off == len(src) {
		e.head, e.off = "", 0
	}
	return n, nil
}

func TestParseIsBounded(t *testing.T) {
	tg := formats.Target{Kind: formats.KindListing, Name: nameOf("org.example", "a")}
	for what, r := range map[string]io.Reader{
		"text":     &endless{head: "<metadata><latest>", body: strings.Repeat("x", 4096)},
		"comment":  &endless{head: "<metadata><!--", body: strings.Repeat("x", 4096)},
		"elements": &endless{head: "<metadata>", body: "<x>y</x>"},
		"version":  &endless{head: "<metadata><versioning><versions><version>", body: strings.Repeat("1", 4096)},
	} {
		if _, err := New().Parse(tg, formats.Source{}, r, func(*formats.Version) error { return nil }); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("endless %s: %v, want a limit", what, err)
		}
	}
	n := 0
	r := &endless{head: "<metadata><versioning><versions>", body: manyVersions()}
	if _, err := New().Parse(tg, formats.Source{}, r, func(*formats.Version) error { n++; return nil }); err == nil {
		t.Error("an endless version list parses")
	}
	if n > maxVersions {
		t.Errorf("%d versions emitted", n)
	}
}

// manyVersions is a list that never repeats within its first maxVersions+1.
func manyVersions() string {
	var b strings.Builder
	for i := range maxVersions + 2 {
		fmt.Fprintf(&b, "<version>%d</version>", i)
	}
	return b.String()
}
