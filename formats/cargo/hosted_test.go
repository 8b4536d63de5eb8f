package cargo

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
)

// token is the credential of the hosting test.
const token = "secret-of-a-test"

// host is the smallest server around a repository in memory. Nothing is given
// out without a credential, so that cargo has to learn that it needs one.
type host struct {
	mu   sync.Mutex
	r    *formattest.Repository
	log  []string // method, path, and the Authorization value
	body []byte   // of the last publish
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := strings.TrimPrefix(r.URL.EscapedPath(), "/cargo/main/")
	authorization := r.Header.Get("Authorization")
	h.log = append(h.log, strings.TrimSpace(r.Method+" "+raw+" "+authorization))
	if r.URL.RawQuery != "" {
		raw += "?" + r.URL.RawQuery
	}
	rq := request(r.Method, "http://"+r.Host+"/cargo/main", raw)
	rq.Auth = true
	reply, err := h.answer(rq, r.Body, authorization == token)
	if err != nil {
		reply = New().Refuse(rq, formats.AsRefusal(err))
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (h *host) answer(rq *formats.Request, body io.Reader, known bool) (*formats.Reply, error) {
	f := New()
	target, err := f.Route(rq)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, formats.Refuse(formats.Unauthorized, "a credential is needed")
	case target.Kind == formats.KindLocal:
		return target.Reply, nil
	case target.Kind == formats.KindPublish:
		var copied bytes.Buffer
		change, err := h.r.Publish(f, rq, io.TeeReader(body, &copied))
		if target.Deed == formats.DeedPublish {
			h.body = copied.Bytes()
		}
		if err != nil {
			return nil, err
		}
		return change.Reply, nil
	case target.Kind == formats.KindListing:
		var out bytes.Buffer
		header, err := f.Render(&out, h.r.View(target.Name, rq.Base), target)
		return &formats.Reply{Status: 200, Header: header, Body: out.Bytes()}, err
	}
	file, err := h.r.Open(target.Name.Canon, target.Version, target.File)
	if err != nil {
		return nil, formats.Refuse(formats.NotFound, "no %s", target.File)
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
	return &formats.Reply{Status: 200, Header: http.Header{}, Body: data}, err
}

// writeCrate makes a package that cargo can publish.
func writeCrate(t *testing.T, dir, name, version, deps string) {
	t.Helper()
	for file, text := range map[string]string{
		"Cargo.toml": "[package]\nname = \"" + name + "\"\nversion = \"" + version + "\"\nedition = \"2021\"\ndescription = \"a test\"\nlicense = \"MIT\"\nreadme = \"README.md\"\n" + deps,
		"src/lib.rs": "pub fn answer() -> u32 { 42 }\n",
		"README.md":  "# " + name + "\n",
	} {
		file = filepath.Join(dir, name, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cargoClient) in(dir string, args ...string) (string, error) {
	cmd := exec.Command("cargo", args...)
	cmd.Dir, cmd.Env = filepath.Join(c.dir, dir), c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestRealCargoPublishes drives cargo publish, yank, add and build against a
// repository that needs a credential for reading too.
func TestRealCargoPublishes(t *testing.T) {
	h := &host{r: formattest.NewRepository(t, publishedAt)}
	server := httptest.NewServer(h)
	defer server.Close()
	client := newCargoClient(t, server.URL+"/cargo/main")
	client.env = append(client.env, "CARGO_REGISTRIES_LARDER_TOKEN="+token)
	writeCrate(t, client.dir, "Host_Core", "0.1.0", "[features]\nextra = []\n")
	writeCrate(t, client.dir, "host-lib", "1.0.0", "[features]\nweak = [\"hcore?/extra\"]\n[target.'cfg(unix)'.dependencies]\n"+
		"hcore = { package = \"Host_Core\", version = \">=0.1, <0.3\", registry = \"larder\", optional = true }\n")
	run := func(dir, says string, ok bool, args ...string) {
		t.Helper()
		out, err := client.in(dir, args...)
		if (err == nil) != ok || !strings.Contains(out, says) {
			t.Fatalf("cargo %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, says)
		}
	}
	publish := []string{"publish", "--registry", "larder", "--allow-dirty", "--no-verify"}
	run("Host_Core", "Published Host_Core v0.1.0", true, publish...)
	run("host-lib", "Published host-lib v1.0.0", true, publish...)
	meta, _, _ := bytes.Cut(h.body[4:], []byte("\x00"))
	t.Logf("metadata of host-lib: %q", meta)
	for _, want := range []string{`"name":"hcore"`, `"package":"Host_Core"`, `"features2":{`, `"weak":["hcore?/extra"]`, `"pubtime":"2026-11-03T04:05:06Z"`} {
		if line := rendered(t, h.r, "host-lib"); !strings.Contains(line, want) {
			t.Errorf("the line of host-lib is %s, without %s", line, want)
		}
	}

	if out, err := client.run(t, "", "add", "host-lib", "--registry", "larder", "--features", "weak,hcore"); err != nil {
		t.Fatalf("cargo add: %v\n%s", err, out)
	}
	run(".", "Finished", true, "build")
	run(".", "1.0.0", true, "info", "host-lib", "--registry", "larder")

	// Yanked, a version is found by a lockfile alone.
	run(".", "host-lib@1.0.0", true, "yank", "host-lib@1.0.0", "--registry", "larder")
	run(".", "Finished", true, "build")
	if err := os.Remove(filepath.Join(client.dir, "Cargo.lock")); err != nil {
		t.Fatal(err)
	}
	run(".", "yanked", false, "update")
	run(".", "host-lib@1.0.0", true, "yank", "--undo", "host-lib@1.0.0", "--registry", "larder")
	run(".", "", true, "update")

	// What is refused is told.
	run(".", "crates have no owners here", false, "owner", "--list", "host-lib", "--registry", "larder")
	writeCrate(t, client.dir, "host_lib", "1.0.0", "")
	run("host_lib", "crate host-lib is here already", false, publish...)
	run("host-lib", "already exists", false, publish...)

	log := strings.Join(h.log, "\n")
	t.Logf("cargo sent:\n%s", log)
	if !strings.HasPrefix(log, "GET config.json\nGET config.json "+token+"\nGET ho/st/host_core "+token+"\nPUT api/v1/crates/new "+token+"\nGET config.json "+token+"\nGET ho/st/host_core "+token) {
		t.Error("this is not the flow of cargo 1.95: config.json, again with the token, the index file, the upload, both again")
	}
}
