package golang

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
)

var publishedAt = time.Date(2026, 11, 3, 4, 5, 6, 789, time.UTC)

const hosted = "corp.example/Team/lib"

// hostedZip is a module in good order; files stand below its root.
func hostedZip(t testing.TB, path, version string, files ...zipEntry) []byte {
	root := path + "@" + version + "/"
	entries := []zipEntry{{root + "go.mod", "module " + path + "\n\ngo 1.21\n\nrequire (\n\tcorp.example/a v1.2.3\n\tcorp.example/B v0.1.0 // indirect\n)\n"},
		{root + "README.md", "# lib\n"}, {root + "lib.go", "package lib\n"}}
	for _, f := range files {
		entries = append(entries, zipEntry{root + f.name, f.body})
	}
	return makeZip(t, entries...)
}

func put(r *formattest.Repository, path string, body []byte) (*formats.Change, error) {
	return r.Publish(New(), request(http.MethodPut, path), bytes.NewReader(body))
}

func document(t *testing.T, r *formattest.Repository, path, doc string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := New().Render(&out, r.View(formats.Name{Canon: path}, ""), formats.Target{Kind: formats.KindListing, Doc: doc}); err != nil {
		t.Fatalf("render %q of %s: %v", doc, path, err)
	}
	return out.String()
}

func TestPublish(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	const path = "corp.example/%21team/lib/@v/"
	first := hostedZip(t, hosted, "v1.0.0")
	change, err := put(r, path+"v1.0.0.zip", first)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Path, Version, Sum, GoModSum string }
	if err := json.Unmarshal(change.Reply.Body, &answer); err != nil || change.Reply.Status != 201 || answer.Path != hosted || !strings.HasPrefix(answer.Sum, "h1:") || !strings.HasPrefix(answer.GoModSum, "h1:") {
		t.Errorf("%d %s", change.Reply.Status, change.Reply.Body)
	}
	row := r.Version(hosted, "v1.0.0")
	if _, ok := New().Available(row); !ok || row.From != formats.TimeUpstream || len(row.Assets) != 3 {
		t.Errorf("the row is %+v", row)
	}
	facts, err := New().Describe(formats.Name{Canon: hosted}, row, func(file string) (formats.OpenFile, error) { return r.Open(hosted, row.V, file) })
	if err != nil || facts.Readme != "# lib\n" || len(facts.Dependencies) != 2 ||
		facts.Dependencies[1] != (formats.Dependency{Package: "corp.example%2FB", Type: "indirect", Requirement: "v0.1.0"}) {
		t.Errorf("facts %+v, %v", facts, err)
	}

	// Again, from a node whose clock went on: the same bytes are no change.
	later := formattest.NewRepository(t, publishedAt.Add(time.Hour))
	if _, err := put(later, path+"v1.0.0.zip", first); err != nil {
		t.Fatal(err)
	}
	later.Version(hosted, "v1.0.0").Published = publishedAt
	if change, err = put(later, path+"v1.0.0.zip", first); err != nil || change.Reply.Status != 200 {
		t.Errorf("the same again: %v", err)
	}
	if _, err := put(r, path+"v1.0.0.zip", hostedZip(t, hosted, "v1.0.0", zipEntry{"more.go", "package lib\n"})); formats.AsRefusal(err).Kind != formats.Conflict {
		t.Errorf("other bytes: %v", err)
	}
	for _, v := range []string{"v1.1.0-rc.1", "v1.0.1"} {
		if _, err := put(r, path+v+".zip", hostedZip(t, hosted, v)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := document(t, r, hosted, ""), "v1.0.0 2026-11-03T04:05:06Z\nv1.1.0-rc.1 2026-11-03T04:05:06Z\nv1.0.1 2026-11-03T04:05:06Z\n"; got != want {
		t.Errorf("@v/list is\n%swant\n%s", got, want)
	}
	if got, want := document(t, r, hosted, docLatest), `{"Version":"v1.0.1","Time":"2026-11-03T04:05:06Z"}`; got != want {
		t.Errorf("@latest is %s, want %s", got, want)
	}
}

// TestLatestOverLayers: what is published here and what an upstream lists are
// one list, and the newest of both is the latest.
func TestLatestOverLayers(t *testing.T) {
	r := formattest.NewRepository(t, publishedAt)
	if _, err := put(r, "corp.example/%21team/lib/@v/v1.0.0.zip", hostedZip(t, hosted, "v1.0.0")); err != nil {
		t.Fatal(err)
	}
	for outside, want := range map[string]string{"v0.9.0": "v1.0.0", "v1.2.0": "v1.2.0"} {
		view := r.View(formats.Name{Canon: hosted}, "")
		view.Layers = append(view.Layers, formats.Layer{Place: "public:go-proxy", Head: &formats.Head{}})
		view.Versions = append(view.Versions, &formats.Version{V: outside, Raw: []byte(`{"Version":"` + outside + `"}`)})
		var out bytes.Buffer
		if _, err := New().Render(&out, view, formats.Target{Doc: docLatest}); err != nil || !strings.Contains(out.String(), `"Version":"`+want+`"`) {
			t.Errorf("beside %s the latest is %s (%v), want %s", outside, out.String(), err, want)
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	const version = "v1.0.0"
	root := hosted + "@" + version + "/"
	good := hostedZip(t, hosted, version)
	gomod := zipEntry{root + "go.mod", "module " + hosted + "\n"}
	lying := bytes.Clone(good)
	at := bytes.Index(lying, []byte("PK\x01\x02"))
	lying[at+24]++ // the uncompressed size of the first entry in the directory
	for what, tc := range map[string]struct {
		body []byte
		says string
	}{
		"empty":            {nil, "zip"},
		"no zip":           {[]byte("<html>"), "zip"},
		"cut":              {good[:len(good)-3], "zip"},
		"trailing bytes":   {append(bytes.Clone(good), "x"...), "zip"},
		"lying size":       {lying, ""},
		"other module":     {hostedZip(t, "corp.example/other", version), "outside"},
		"other version":    {hostedZip(t, hosted, "v1.0.1"), "outside"},
		"no go.mod":        {makeZip(t, zipEntry{root + "a.go", "package a\n"}), "no go.mod"},
		"go.mod elsewhere": {makeZip(t, zipEntry{root + "x/go.mod", gomod.body}), "go.mod"},
		"go.mod of other":  {makeZip(t, zipEntry{root + "go.mod", "module corp.example/other\n"}), "another module"},
		"go.mod of none":   {makeZip(t, zipEntry{root + "go.mod", "go 1.21\n"}), "another module"},
		"go.mod broken":    {makeZip(t, zipEntry{root + "go.mod", "module (\n"}), "parse"},
		"go.mod too large": {makeZip(t, zipEntry{root + "go.mod", gomod.body + "// " + strings.Repeat("x", maxPublishedGoMod)}), "more than"},
		"traversal":        {makeZip(t, gomod, zipEntry{root + "../../x", ""}), "invalid path element"},
		"absolute":         {makeZip(t, gomod, zipEntry{"/etc/passwd", ""}), "outside"},
		"twice":            {makeZip(t, gomod, gomod), "twice"},
		"case":             {makeZip(t, gomod, zipEntry{root + "A.go", ""}, zipEntry{root + "a.go", ""}), "case"},
		"root directory":   {makeZip(t, zipEntry{root, ""}, gomod), "is a directory"},
		"directory":        {makeZip(t, gomod, zipEntry{root + "sub/", ""}, zipEntry{root + "sub/a.go", ""}), "is a directory"},
		"bad name":         {makeZip(t, gomod, zipEntry{root + "con.go", ""}), "con"},
	} {
		r := formattest.NewRepository(t, publishedAt)
		_, err := put(r, "corp.example/%21team/lib/@v/v1.0.0.zip", tc.body)
		if refusal := formats.AsRefusal(err); err == nil || refusal.Kind != formats.BadRequest || !strings.Contains(refusal.Message, tc.says) {
			t.Errorf("%s: %v, want the client to be blamed with %q", what, err, tc.says)
		}
		if r.Version(hosted, version) != nil {
			t.Errorf("%s: it is kept", what)
		}
	}
}

func TestReserved(t *testing.T) {
	f := New()
	for path, want := range map[string]int{
		"sumdb/db.example/lookup/corp.example/lib@v1.0.0":      403,
		"corp.example/lib/@v/main.info":                        404,
		"sumdb/db.example/latest":                              0,
		"sumdb/db.example/tile/8/0/001":                        0,
		"sumdb/db.example/lookup/" + toolchain + "@v0.0.1-go1": 0,
		"corp.example/lib/@v/list":                             0,
	} {
		target, err := f.Route(request("GET", path))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got := 0
		if r := f.Reserved(target); r != nil {
			got = r.Code()
		}
		if got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

func TestCoordinates(t *testing.T) {
	f := New()
	for _, path := range []string{hosted, "corp.example/a/v2", "corp.example/a.b-c_d~e"} {
		ns, pkg := f.Coordinate(formats.Name{Canon: path})
		n, err := f.FromCoordinate(ns, pkg)
		if err != nil || n.Canon != path || ns != "" || strings.Contains(pkg, "/") {
			t.Errorf("%s is %q, %q and back %q, %v", path, ns, pkg, n.Canon, err)
		}
	}
	for _, bad := range [][2]string{{"corp.example", "a"}, {"", "a b"}, {"", ""}, {"", "corp.example%252Fa"}, {"", "corp.example%2F..%2Fa"}} {
		if n, err := f.FromCoordinate(bad[0], bad[1]); formats.AsRefusal(err).Kind != formats.BadRequest {
			t.Errorf("%q is %q, %v", bad, n.Canon, err)
		}
	}
}

// FuzzPublish: whatever is sent is refused by name, or is a zip whose go.mod
// names the module.
func FuzzPublish(f *testing.F) {
	f.Add(hostedZip(f, hosted, "v1.0.0"))
	f.Add(makeZip(f, zipEntry{hosted + "@v1.0.0/go.mod", "module (\n"}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, body []byte) {
		change, err := put(formattest.NewRepository(t, publishedAt), "corp.example/%21team/lib/@v/v1.0.0.zip", body)
		if err != nil {
			if formats.AsRefusal(err).Kind == formats.Internal {
				t.Fatalf("a fault of ours: %v", err)
			}
			return
		}
		if _, err := zip.NewReader(bytes.NewReader(body), int64(len(body))); err != nil || len(change.Versions[0].Files) != 3 {
			t.Fatalf("published: %v, %d files", err, len(change.Versions[0].Files))
		}
	})
}

// host is the smallest server around a repository in memory.
type host struct {
	mu  sync.Mutex
	r   *formattest.Repository
	log []string
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := strings.TrimPrefix(r.URL.EscapedPath(), "/go/main/")
	h.log = append(h.log, r.Method+" "+raw)
	rq := request(r.Method, raw)
	reply, err := h.answer(rq, r.Body)
	if err != nil {
		reply = New().Refuse(rq, formats.AsRefusal(err))
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (h *host) answer(rq *formats.Request, body io.Reader) (*formats.Reply, error) {
	f := New()
	target, err := f.Route(rq)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	switch target.Kind {
	case formats.KindPublish:
		change, err := h.r.Publish(f, rq, body)
		if err != nil {
			return nil, err
		}
		return change.Reply, nil
	case formats.KindListing:
		view := h.r.View(target.Name, "")
		if len(view.Versions) == 0 {
			return nil, formats.Refuse(formats.NotFound, "no such module")
		}
		_, err := f.Render(&out, view, target)
		return &formats.Reply{Status: 200, Body: out.Bytes()}, err
	case formats.KindDocument:
		if r := f.Reserved(target); r != nil {
			return nil, r
		}
		if strings.HasSuffix(target.Doc, "/supported") {
			return &formats.Reply{Status: 200}, nil
		}
		return nil, formats.Refuse(formats.NotFound, "no such document")
	}
	file, err := h.r.Open(target.Name.Canon, target.Version, target.File)
	if err != nil {
		return nil, formats.Refuse(formats.NotFound, "no %s", target.File)
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
	return &formats.Reply{Status: 200, Body: data}, err
}

// TestRealGoUsesPublished: go takes a module that was put here, without asking
// a checksum database, and shows what Reserved says where it does ask.
func TestRealGoUsesPublished(t *testing.T) {
	h := &host{r: formattest.NewRepository(t, publishedAt)}
	server := httptest.NewServer(h)
	defer server.Close()
	for _, v := range []string{"v1.0.0", "v1.1.0"} {
		root := hosted + "@" + v + "/"
		body := makeZip(t, zipEntry{root + "go.mod", "module " + hosted + "\n\ngo 1.21\n"}, zipEntry{root + "lib.go", "package lib\n\nfunc V() string { return \"" + v + "\" }\n"})
		rq, err := http.NewRequest(http.MethodPut, server.URL+"/go/main/corp.example/!team/lib/@v/"+v+".zip", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 201 {
			t.Fatalf("PUT %s: %s", v, response.Status)
		}
	}
	db := golangtest.New()
	client := newGoClient(t, server.URL+"/go/main", db.SumDBKey())
	asking := append([]string(nil), client.env...)
	client.env = append(client.env, "GONOSUMDB=corp.example")
	client.mustRun(t, map[string]string{"go.mod": "module x.example/x\n\ngo 1.21\n", "main.go": "package main\n\nimport \"" + hosted + "\"\n\nfunc main() { println(lib.V()) }\n"}, "get", hosted)
	if out := client.mustRun(t, nil, "run", "."); out != "v1.1.0\n" {
		t.Errorf("go run prints %q", out)
	}
	if out := client.mustRun(t, nil, "list", "-m", "-versions", hosted); out != hosted+" v1.0.0 v1.1.0\n" {
		t.Errorf("go list prints %q", out)
	}
	h.mu.Lock()
	log := strings.Join(h.log, "\n")
	h.mu.Unlock()
	if strings.Contains(log, "sumdb") {
		t.Errorf("go asked a checksum database:\n%s", log)
	}
	if out, err := client.run(t, nil, "get", hosted+"@main"); err == nil || !strings.Contains(out, "has versions only") {
		t.Errorf("go get of a branch: %v\n%s", err, out)
	}
	client.env = asking
	out, err := client.run(t, map[string]string{"go.sum": ""}, "get", hosted+"@v1.0.0")
	if err == nil || !strings.Contains(out, "403 Forbidden") || !strings.Contains(out, "set GONOSUMDB="+hosted) {
		t.Errorf("without GONOSUMDB: %v\n%s\nwant the refusal's text", err, out)
	}
}
