package golang

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"larder/formats"
	"larder/formats/golang/golangtest"
)

// bridge is the smallest proxy around the format: no cache, no policy. It lets
// a real client judge routing, location, verification, parsing and rendering.
type bridge struct {
	o *outside

	mu   sync.Mutex
	fail []string // verification failures; guarded by mu
}

func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq := request(r.Method, strings.TrimPrefix(r.URL.EscapedPath(), "/go/main/"))
	reply, err := b.answer(r.Context(), rq)
	if errors.Is(err, formats.ErrNoDocument) {
		err = formats.Refuse(formats.NotFound, "the proxy outside does not have %s", rq.Path)
	}
	if err != nil {
		reply = b.o.docs.f.Refuse(rq, formats.AsRefusal(err))
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (b *bridge) answer(ctx context.Context, rq *formats.Request) (*formats.Reply, error) {
	d := b.o.docs
	target, err := d.f.Route(rq)
	if err != nil {
		return nil, err
	}
	fetch, err := d.f.Locate(ctx, d.c, target, nil, d)
	if err != nil {
		return nil, err
	}
	body, header, err := d.get(ctx, fetch.URL)
	if err != nil {
		return nil, err
	}
	if target.Kind == formats.KindListing {
		return b.listing(target, rq, body, header)
	}
	want, err := d.f.Expect(ctx, d.c, target, nil, header, d)
	if err == nil {
		err = d.f.Check(ctx, target, bytes.NewReader(body), want)
	}
	if err != nil {
		b.mu.Lock()
		b.fail = append(b.fail, err.Error())
		b.mu.Unlock()
		return nil, formats.Refuse(formats.Upstream, "verification failed: %v", err)
	}
	return &formats.Reply{Status: 200, Header: http.Header{"Content-Type": {target.ContentType}}, Body: body}, nil
}

func (b *bridge) listing(target formats.Target, rq *formats.Request, body []byte, header http.Header) (*formats.Reply, error) {
	view, err := viewOf(b.o.docs.f, target, body)
	if err != nil {
		return nil, err
	}
	view.Base = rq.Base
	var out bytes.Buffer
	h, err := b.o.docs.f.Render(&out, view, target)
	return &formats.Reply{Status: 200, Header: h, Body: out.Bytes()}, err
}

// viewOf parses a listing into the view that one upstream alone gives.
func viewOf(f *Format, target formats.Target, body []byte) (*formats.View, error) {
	view := &formats.View{Name: target.Name, Base: "http://127.0.0.1:5273/go/main"}
	head, err := f.Parse(target, formats.Source{}, bytes.NewReader(body), func(v *formats.Version) error {
		v.Seq = len(view.Versions)
		view.Versions = append(view.Versions, v)
		return nil
	})
	view.Layers = []formats.Layer{{Place: "public:go-proxy", Head: head}}
	return view, err
}

// goClient runs the real go command in an empty world of its own.
type goClient struct {
	dir string
	env []string
}

func newGoClient(t *testing.T, proxy, sumdb string) *goClient {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED: no go command on this machine; the real client was not tested")
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := &goClient{dir: t.TempDir()}
	c.env = append(os.Environ(), "GOPROXY="+proxy, "GOSUMDB="+sumdb, "GOMODCACHE="+filepath.Join(c.dir, "mod"),
		"GOPATH="+filepath.Join(c.dir, "path"), "GOCACHE="+strings.TrimSpace(string(cache)), "GOENV=off", "GOWORK=off",
		"GOFLAGS=-mod=mod -modcacherw", "GONOSUMDB=", "GOPRIVATE=", "GONOPROXY=", "GOTOOLCHAIN=local")
	return c
}

// run returns what go prints; files are written below the working directory
// first, replacing those of earlier runs.
func (c *goClient) run(t *testing.T, files map[string]string, args ...string) (string, error) {
	t.Helper()
	work := filepath.Join(c.dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = work, c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *goClient) mustRun(t *testing.T, files map[string]string, args ...string) string {
	t.Helper()
	out, err := c.run(t, files, args...)
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

const appOutput = "v0.3.1 on v1.2.0 v2.0.0 after v1.5.0 v2.1.0 v1.2.0 " + golangtest.PseudoVersion

func TestRealGoThroughFormat(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	b := &bridge{o: o}
	server := httptest.NewServer(b)
	defer server.Close()
	client := newGoClient(t, server.URL+"/go/main", o.SumDBKey())
	client.mustRun(t, map[string]string{"go.mod": "module x.example/x\n\ngo 1.21\n"}, "get", golangtest.App+"@latest")
	if out := client.mustRun(t, nil, "run", golangtest.App); strings.TrimSpace(out) != appOutput {
		t.Errorf("go run %s prints %q, want %q", golangtest.App, out, appOutput)
	}
	client.mustRun(t, nil, "get", golangtest.Pseudo+"@main")
	if out := client.mustRun(t, nil, "list", "-m", "-versions", golangtest.Plain); out != golangtest.Plain+" v1.0.0 v1.2.0 v1.3.0-rc.1\n" {
		t.Errorf("go list -versions prints %q", out)
	}
	out, err := client.run(t, nil, "get", "registry.example/nobody/knows/this")
	if err == nil || !strings.Contains(out, "does not have") {
		t.Errorf("an unknown module: %v, %s\nwant the refusal's text", err, out)
	}
	if len(b.fail) > 0 {
		t.Errorf("verification failed: %s", b.fail)
	}
}

func TestRealGoSeesPoisonRefused(t *testing.T) {
	o := newOutside(t, nil)
	o.docs.c.Options = map[string]string{OptSumDB: o.SumDBKey()}
	b := &bridge{o: o}
	server := httptest.NewServer(b)
	defer server.Close()
	o.Mutate(golangtest.Plain, "v1.2.0", "zip", otherZip(t, golangtest.Plain, "v1.2.0"))
	client := newGoClient(t, server.URL+"/go/main", o.SumDBKey())
	out, err := client.run(t, map[string]string{"go.mod": "module x.example/x\n\ngo 1.21\n"}, "mod", "download", golangtest.Plain+"@v1.2.0")
	if err == nil || !strings.Contains(out, "checksum mismatch") {
		t.Errorf("go mod download of a poisoned module: %v\n%s", err, out)
	}
}
