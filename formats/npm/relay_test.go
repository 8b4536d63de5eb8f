package npm

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/npm/npmtest"
)

// relay is the least proxy that drives the format: enough to put a real client
// on one side and a fake registry on the other. It verifies what it hands on.
type relay struct {
	t    *testing.T
	f    *Format
	conn formats.Connection

	mu      sync.Mutex
	names   map[string]*bench // by name
	held    map[string][]byte // tarballs by name + file
	offline bool
	hide    map[string]string // name@version -> reason
}

func newRelay(t *testing.T, upstream http.Handler) (*relay, string) {
	up := httptest.NewServer(upstream)
	t.Cleanup(up.Close)
	r := &relay{
		t: t, f: New(), conn: formats.Connection{Name: "public:npmjs", URL: up.URL + "/"},
		names: map[string]*bench{}, held: map[string][]byte{}, hide: map[string]string{},
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return r, srv.URL + "/npm/main"
}

func (r *relay) set(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

func (r *relay) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw := strings.TrimPrefix(q.URL.EscapedPath(), "/npm/main/")
	rq := formattest.NewRequest(q.Method, "http://"+q.Host+"/npm/main", raw, q.Header)
	rq.Query = q.URL.Query()
	target, err := r.f.Route(rq)
	var reply *formats.Reply
	if err == nil {
		reply, err = r.answer(q, rq, target)
	}
	if err != nil {
		reply = r.f.Refuse(rq, formats.AsRefusal(err))
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body)
}

func (r *relay) answer(q *http.Request, rq *formats.Request, t formats.Target) (*formats.Reply, error) {
	switch t.Kind {
	case formats.KindLocal:
		return t.Reply, nil
	case formats.KindListing:
		b, err := r.rows(q, t.Name)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		h, err := r.f.Render(&out, r.view(b, rq.Base), t)
		return &formats.Reply{Status: http.StatusOK, Header: h, Body: out.Bytes()}, err
	case formats.KindAsset:
		body, err := r.tarball(q, t)
		return &formats.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {t.ContentType}}, Body: body}, err
	case formats.KindSearch:
		if r.offline {
			var hits []formats.SearchHit
			for _, b := range r.names {
				hits = append(hits, formats.SearchHit{Name: b.name, Head: b.head, Version: b.versions[0]})
			}
			return r.f.Results(rq, hits, len(hits)), nil
		}
	}
	if r.offline {
		return nil, formats.Refuse(formats.NotHeld, "not held here")
	}
	body, status, err := r.fetch(q, t, nil)
	return &formats.Reply{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}, err
}

// fetch asks upstream for t.
func (r *relay) fetch(q *http.Request, t formats.Target, a *formats.Asset) ([]byte, int, error) {
	f, err := r.f.Locate(q.Context(), r.conn, t, a, nil)
	if err != nil {
		return nil, 0, err
	}
	up, err := http.NewRequestWithContext(q.Context(), f.Method, f.URL, q.Body)
	if err != nil {
		return nil, 0, err
	}
	for k, v := range f.Header {
		up.Header[k] = v
	}
	for _, k := range []string{"Content-Type", "Content-Encoding"} {
		if v := q.Header.Values(k); len(v) > 0 {
			up.Header[k] = v
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(up)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}

func (r *relay) rows(q *http.Request, n formats.Name) (*bench, error) {
	if b := r.names[n.Canon]; b != nil {
		return b, nil
	}
	if r.offline {
		return nil, formats.Refuse(formats.NotHeld, "%s is not held here and this node is offline", n.Canon)
	}
	body, status, err := r.fetch(q, formats.Target{Kind: formats.KindListing, Name: n}, nil)
	if err != nil || status != http.StatusOK {
		return nil, formats.Refuse(formats.NotFound, "%s was not found upstream", n.Canon).Because(err)
	}
	b := &bench{}
	if err := b.parse(n.Canon, string(body)); err != nil {
		return nil, err
	}
	r.names[n.Canon] = b
	return b, nil
}

func (r *relay) view(b *bench, base string) *formats.View {
	v := &formats.View{Name: b.name, Base: base, Layers: []formats.Layer{{Place: r.conn.Name, Head: b.head}}, Offline: r.offline}
	for _, row := range b.versions {
		row := *row
		row.Held = map[string]formats.HeldAsset{}
		if r.held[b.name.Canon+" "+row.Assets[0].File] != nil {
			row.Held[row.Assets[0].File] = formats.HeldAsset{File: row.Assets[0].File}
		}
		if reason := r.hide[b.name.Canon+"@"+row.V]; reason != "" {
			v.Hidden = append(v.Hidden, formats.Hidden{Version: &row, Reason: reason})
			continue
		}
		if _, ok := r.f.Available(&row); r.offline && !ok {
			v.Missing++
			continue
		}
		v.Versions = append(v.Versions, &row)
	}
	return v
}

func (r *relay) tarball(q *http.Request, t formats.Target) ([]byte, error) {
	if reason := r.hide[t.Name.Canon+"@"+t.Version]; reason != "" {
		return nil, formats.Refuse(formats.Blocked, "%s", reason)
	}
	key := t.Name.Canon + " " + t.File
	if body := r.held[key]; body != nil {
		return body, nil
	}
	b, err := r.rows(q, t.Name)
	if err != nil {
		return nil, err
	}
	for _, v := range b.versions {
		a := v.Asset(t.File)
		if a == nil || v.V != t.Version {
			continue
		}
		if r.offline {
			break
		}
		body, status, err := r.fetch(q, t, a)
		if err != nil || status != http.StatusOK {
			return nil, formats.Refuse(formats.Upstream, "status %d", status).Because(err)
		}
		want, err := r.f.Expect(q.Context(), r.conn, t, a, nil, nil)
		if err != nil {
			return nil, err
		}
		for _, d := range want.Digests {
			h := d.Alg.New()
			h.Write(body)
			if got := fmt.Sprintf("%x", h.Sum(nil)); got != d.Hex {
				r.t.Errorf("%s has %s %s, want %s", key, d.Alg, got, d.Hex)
			}
		}
		r.held[key] = body
		return body, nil
	}
	return nil, formats.Refuse(formats.NotFound, "%s is not held here", t.File)
}

// realClients returns the clients to test with. All are started only where
// LARDER_REQUIRE_CLIENTS says that all must be there, since each takes seconds;
// elsewhere the first one stands for the rest.
func realClients(t *testing.T) []npmtest.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("short: real clients are not started")
	}
	clients := npmtest.Clients(t.Context())
	missing := npmtest.Missing(clients)
	if os.Getenv("LARDER_REQUIRE_CLIENTS") != "" {
		if len(missing) > 0 {
			t.Fatalf("these clients are not installed: %v", missing)
		}
		return clients
	}
	if len(clients) == 0 {
		t.Skipf("SKIPPED: the real clients %v are not installed; nothing was checked", missing)
	}
	t.Logf("only %s is tested; set LARDER_REQUIRE_CLIENTS to test with all (not installed here: %v)", clients[0].Name, missing)
	return clients[:1]
}

// TestRealClients puts every client of this machine in front of the format:
// a cold install, then the lockfile with empty caches while the upstream is
// away and only what was fetched is held.
func TestRealClients(t *testing.T) {
	t.Parallel()
	clients := realClients(t)
	want := map[string]string{
		"tiny-app": "1.0.0", "tiny-left": "", "@tiny/core": "2.0.0-beta.1", "tiny-script": "1.0.0",
		"tiny-deprecated": "1.0.0", "tiny-scattered": "1.0.1", "TinyCaps": "1.0.0",
	}
	deps := map[string]string{
		"tiny-app": "^1.0.0", "@tiny/core": "beta", "tiny-script": "*",
		"tiny-deprecated": "1.0.0", "tiny-scattered": "1", "TinyCaps": "latest",
	}
	for _, c := range clients {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r, base := newRelay(t, npmtest.Default())
			dir := t.TempDir()
			if err := c.Project(dir, base, deps); err != nil {
				t.Fatal(err)
			}
			check := func(what string, locked bool) {
				t.Helper()
				out, err := c.Install(t.Context(), dir, t.TempDir(), locked)
				if err != nil {
					t.Fatalf("%s: %v\n%s", what, err, out)
				}
				for name, v := range want {
					if got := npmtest.Installed(dir, name); v != "" && got != v {
						t.Errorf("%s: %s is %q, want %s\n%s", what, name, got, v, out)
					}
				}
				removeModules(t, dir)
			}
			check("cold install", false)
			r.set(func() { r.offline = true })
			check("offline from the lockfile", true)
			removeLocks(t, dir)
			check("offline without a lockfile", false)
		})
	}
}

// TestNpmCommands checks what npm shows of policy, tags, audit and search.
func TestNpmCommands(t *testing.T) {
	t.Parallel()
	npm := realClients(t)[0]
	if npm.Name != "npm" {
		t.Skip("SKIPPED: the real client npm is not installed; nothing was checked")
	}
	up := npmtest.Default()
	up.Advise("tiny-left", npmtest.Advisory{ID: 7, Title: "tiny-left leans", Severity: "high", Vulnerable: "<2", URL: "https://advice.example/7"})
	r, base := newRelay(t, up)
	dir, home := t.TempDir(), t.TempDir()
	if err := npm.Project(dir, base, map[string]string{"tiny-left": "^1.0.0"}); err != nil {
		t.Fatal(err)
	}
	run := func(wantErr bool, want string, args ...string) {
		t.Helper()
		out, err := npm.Run(t.Context(), dir, home, args...)
		if (err != nil) != wantErr || !strings.Contains(out, want) {
			t.Errorf("npm %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	r.set(func() { r.hide["tiny-left@1.1.0"] = "younger than 7 days" })
	run(false, "", "install", "--no-audit")
	if got := npmtest.Installed(dir, "tiny-left"); got != "1.0.0" {
		t.Errorf("^1.0.0 with 1.1.0 hidden: got %q, want 1.0.0", got)
	}
	run(true, "younger than 7 days", "install", "tiny-left@1.1.0", "--no-audit")
	run(true, "tiny-left leans", "audit")
	run(false, "1.2.0", "view", "@tiny/core@latest", "version")
	run(true, "E401", "whoami", "--//"+strings.TrimPrefix(base, "http://")+"/:_authToken=x")
	run(false, "@tiny/core", "search", "core")
	r.set(func() { r.offline = true })
	run(false, "tiny-left", "search", "left")
	run(true, "not held here", "view", "tiny-right")
}
