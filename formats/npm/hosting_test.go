package npm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

const testToken = "token-of-ada"

// host is the least proxy that publishes: it puts a real client in front of a
// repository in memory, and notes what the client sent.
type host struct {
	t    *testing.T
	f    *Format
	repo *formattest.Repository

	mu   sync.Mutex
	sent []string
}

func testNow() time.Time { return time.Date(2026, 11, 25, 12, 30, 15, 123e6, time.UTC) }

func newHost(t *testing.T) (*host, string) {
	h := &host{t: t, f: New(), repo: formattest.NewRepository(t, testNow())}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return h, srv.URL + "/npm/main"
}

func (h *host) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := strings.TrimPrefix(q.URL.EscapedPath(), "/npm/main/")
	rq := formattest.NewRequest(q.Method, "http://"+q.Host+"/npm/main", raw, q.Header)
	rq.Query = q.URL.Query()
	if q.Header.Get("Authorization") == "Bearer "+testToken {
		rq.Principal = "ada"
	}
	reply, err := h.answer(rq, q)
	if err != nil {
		reply = h.f.Refuse(rq, formats.AsRefusal(err))
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (h *host) answer(rq *formats.Request, q *http.Request) (*formats.Reply, error) {
	t, err := h.f.Route(rq)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case formats.KindLocal:
		return t.Reply, nil
	case formats.KindPublish:
		if rq.Principal == "" {
			return nil, formats.Refuse(formats.Unauthorized, "no credential")
		}
		var body bytes.Buffer
		c, err := h.repo.Publish(h.f, rq, io.TeeReader(q.Body, &body))
		h.sent = append(h.sent, shape(q, body.Bytes()))
		if err != nil {
			return nil, err
		}
		return c.Reply, nil
	case formats.KindListing:
		v := h.repo.View(t.Name, rq.Base)
		if len(v.Versions) == 0 {
			return nil, formats.Refuse(formats.NotFound, "%s is not here", t.Name.Canon)
		}
		var out bytes.Buffer
		header, err := h.f.Render(&out, v, t)
		return &formats.Reply{Status: http.StatusOK, Header: header, Body: out.Bytes()}, err
	case formats.KindAsset:
		return h.asset(t)
	case formats.KindDocument:
		if t.Hosted != nil {
			return h.sidecar(*t.Hosted)
		}
		out, _, err := h.f.Mend(t, nil, formats.SiteFacts{KeyID: "SHA256:test", PublicKey: []byte("key")})
		return formats.JSONReply(http.StatusOK, string(out)), err
	}
	return nil, formats.Refuse(formats.NotFound, "no %s here", t.Kind)
}

func (h *host) asset(t formats.Target) (*formats.Reply, error) {
	f, err := h.repo.Open(t.Name.Canon, t.Version, t.File)
	if err != nil {
		return nil, formats.Refuse(formats.NotFound, "%s is not here", t.File)
	}
	body := make([]byte, f.Size())
	_, err = f.ReadAt(body, 0)
	return &formats.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {t.ContentType}}, Body: body}, err
}

func (h *host) sidecar(t formats.Target) (*formats.Reply, error) {
	row := h.repo.Version(t.Name.Canon, t.Version)
	if row == nil || row.Held[t.Derive.File].File == "" {
		return nil, formats.Refuse(formats.NotFound, "no attestations of %s", t.Name.Canon)
	}
	f, err := h.repo.Open(t.Name.Canon, t.Version, t.Derive.File)
	if err != nil {
		return nil, err
	}
	return h.f.Derive(t, row.Held[t.Derive.File], f)
}

// shape says what a client sent, without what differs from run to run.
func shape(q *http.Request, body []byte) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s command=%q encoding=%q", q.Method, strings.TrimPrefix(q.URL.RequestURI(), "/npm/main/"), q.Header.Get("Npm-Command"), q.Header.Get("Content-Encoding"))
	keys := func(raw []byte) (names []string) {
		var m member
		for o, ok := openObject(raw); ok && o.next(&m); {
			names = append(names, string(m.key))
		}
		return names
	}
	fmt.Fprintf(&out, " members=%v", keys(body))
	var m member
	for o, ok := openObject(find(body, "versions")); ok && o.next(&m); {
		raw := find(body, "versions")[m.from:m.till]
		fmt.Fprintf(&out, "\n    version %s has %v, dist %v", m.key, keys(raw), keys(find(raw, "dist")))
	}
	for o, ok := openObject(find(body, "_attachments")); ok && o.next(&m); {
		fmt.Fprintf(&out, "\n    attachment %s %v", m.key, keys(find(body, "_attachments")[m.from:m.till]))
	}
	return out.String()
}

// TestClientsPublish publishes with every client of this machine and installs
// the result with every one.
func TestClientsPublish(t *testing.T) {
	t.Parallel()
	clients := realClients(t)
	h, base := newHost(t)
	deps := map[string]string{}
	for _, c := range clients {
		for _, name := range []string{"by-" + c.Name, "@larder/by-" + c.Name} {
			dir, home := t.TempDir(), t.TempDir()
			manifest := map[string]any{"name": name, "version": "1.2.3-rc.1", "license": "MIT", "description": "made by " + c.Name,
				"bin": map[string]string{strings.TrimPrefix(name, "@larder/") + "-tool": "index.js"}, "keywords": []string{"larder"}}
			if err := c.Package(dir, base, testToken, manifest); err != nil {
				t.Fatal(err)
			}
			out, err := c.Publish(t.Context(), dir, home, "next")
			if err != nil {
				t.Fatalf("%s publish: %v\n%s", c.Name, err, out)
			}
			row := h.repo.Version(name, "1.2.3-rc.1")
			if row == nil || len(row.Held) != 1 {
				t.Fatalf("%s published %+v\n%s", c.Name, row, out)
			}
			facts, err := h.f.Describe(formats.Name{Canon: name}, row, func(file string) (formats.OpenFile, error) { return h.repo.Open(name, row.V, file) })
			if err != nil || !strings.Contains(facts.Readme, c.Name) || facts.Summary != "made by "+c.Name || !slices.Equal(facts.Licenses, []formats.License{{Name: "MIT"}}) {
				t.Errorf("%s: facts %+v, %v", c.Name, facts, err)
			}
			deps[name] = "next"
		}
	}
	for _, line := range h.sent {
		t.Log(line)
	}
	for _, c := range clients {
		dir, home := t.TempDir(), t.TempDir()
		if err := c.Project(dir, base, deps); err != nil {
			t.Fatal(err)
		}
		out, err := c.Install(t.Context(), dir, home, false)
		if err != nil {
			t.Fatalf("%s install: %v\n%s", c.Name, err, out)
		}
		for name := range deps {
			if got := npmtest.Installed(dir, name); got != "1.2.3-rc.1" {
				t.Errorf("%s installed %s %q\n%s", c.Name, name, got, out)
			}
		}
	}
}

// TestNpmChanges drives npm's commands that change or refuse to.
func TestNpmChanges(t *testing.T) {
	t.Parallel()
	npm := realClients(t)[0]
	if npm.Name != "npm" {
		t.Skip("SKIPPED: the real client npm is not installed; nothing was checked")
	}
	h, base := newHost(t)
	dir, home := t.TempDir(), t.TempDir()
	run := func(wantErr bool, want string, args ...string) {
		t.Helper()
		out, err := npm.Run(t.Context(), dir, home, args...)
		if (err != nil) != wantErr || !strings.Contains(out, want) {
			t.Errorf("npm %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	publish := func(version string, extra ...string) {
		t.Helper()
		if err := npm.Package(dir, base, testToken, map[string]any{"name": "@larder/mine", "version": version}); err != nil {
			t.Fatal(err)
		}
		run(false, "+ @larder/mine@"+version, append([]string{"publish"}, extra...)...)
	}
	publish("1.0.0")
	publish("1.1.0")
	publish("2.0.0-rc.1", "--tag", "next")
	publish("2.0.0-rc.1", "--tag", "next") // the same bytes again
	writeFile(t, dir+"/index.js", "module.exports = 2")
	run(true, "409", "publish", "--tag", "next")
	run(false, "ada", "whoami")
	run(false, "PONG", "ping")
	run(false, "next: 2.0.0-rc.1", "dist-tag", "ls", "@larder/mine")
	run(false, "+old: @larder/mine@1.0.0", "dist-tag", "add", "@larder/mine@1.0.0", "old")
	run(false, "old: 1.0.0", "dist-tag", "ls", "@larder/mine")
	run(true, "holds no @larder/mine@9.9.9", "dist-tag", "add", "@larder/mine@9.9.9", "old")
	run(false, "-old: @larder/mine@1.0.0", "dist-tag", "rm", "@larder/mine", "old")
	run(true, "latest cannot be removed", "dist-tag", "rm", "@larder/mine", "latest")
	run(false, "", "deprecate", "@larder/mine@<2", "leaks")
	if v := h.repo.Version("@larder/mine", "1.0.0"); deprecation(find(v.Raw, "deprecated")) != "leaks" || v.Flags&formats.Deprecated == 0 {
		t.Errorf("after deprecate: %s, flags %d", v.Raw, v.Flags)
	}
	if v := h.repo.Version("@larder/mine", "2.0.0-rc.1"); v.Flags != 0 {
		t.Errorf("2.0.0-rc.1 was deprecated too: %s", v.Raw)
	}
	run(false, "leaks", "view", "@larder/mine@1.0.0", "deprecated")
	run(false, "", "undeprecate", "@larder/mine@<2")
	if v := h.repo.Version("@larder/mine", "1.0.0"); find(v.Raw, "deprecated") != nil || v.Flags != 0 {
		t.Errorf("after undeprecate: %s, flags %d", v.Raw, v.Flags)
	}
	for _, args := range [][]string{{"not offered", "owner", "add", "bob"}, {"not kept", "star"}, {"not kept", "access", "list", "collaborators"}, {"not offered", "token", "list"}} {
		run(true, args[0], append(args[1:], "@larder/mine")...)
	}
	run(false, "- @larder/mine@1.1.0", "unpublish", "@larder/mine@1.1.0")
	if h.repo.Version("@larder/mine", "1.1.0") != nil {
		t.Error("1.1.0 is still there")
	}
	run(false, "latest: 1.0.0", "dist-tag", "ls", "@larder/mine")
	run(false, "- @larder/mine", "unpublish", "@larder/mine", "--force")
	if h.repo.Version("@larder/mine", "1.0.0") != nil {
		t.Error("1.0.0 is still there")
	}
	run(true, "404", "view", "@larder/mine")
	for _, line := range h.sent {
		t.Log(line)
	}
	// Without the token.
	if err := npm.Package(dir, base, "wrong", map[string]any{"name": "@larder/mine", "version": "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	run(true, "E401", "whoami")
	run(true, "E401", "publish")
}

// publishDoc makes the document that npm would PUT for a tarball.
func publishDoc(name, version string, tarball []byte, change func(doc map[string]any)) []byte {
	spool := formattest.SpoolOf(tarball)
	sum, _ := formats.Find(spool.Digests(), formats.SHA512)
	old, _ := formats.Find(spool.Digests(), formats.SHA1)
	doc := map[string]any{
		"_id": name, "name": name, "dist-tags": map[string]any{"latest": version},
		"versions": map[string]any{version: map[string]any{"name": name, "version": version, "_id": name + "@" + version, "readme": "# x",
			"dist": map[string]any{"integrity": sum.SRI(), "shasum": old.Hex, "tarball": "http://elsewhere.example/x.tgz"}}},
		"_attachments": map[string]any{name + "-" + version + ".tgz": map[string]any{
			"content_type": "application/octet-stream", "data": tarball, "length": len(tarball)}},
	}
	if change != nil {
		change(doc)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return out
}
