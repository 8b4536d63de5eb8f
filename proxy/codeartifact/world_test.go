package codeartifact

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
)

const (
	account = "111122223333"
	other   = "444455556666"
)

// world is a handler over a real catalog in memory, with a gate that lets
// everything through but what it is told to deny.
type world struct {
	t    testing.TB
	h    *Handler
	cat  *catalog.Catalog
	db   *store.DB
	gate *fakeGate
	back *fakeBackend

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 64 << 20, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, db: db, gate: &fakeGate{deny: map[string]bool{}}, now: time.Date(2026, 11, 1, 12, 0, 0, 250e6, time.UTC)}
	w.cat, err = catalog.New(catalog.Config{Store: db, Domain: "main", Now: w.tick})
	if err != nil {
		t.Fatal(err)
	}
	w.back = &fakeBackend{w: w, upstream: map[string]string{}}
	w.h, err = New(Config{Catalog: w.cat, Gate: w.gate, Backend: w.back, Formats: []formats.Format{fakeNPM{}},
		Region: "eu-central-1", Endpoint: func(r *http.Request) string { return "http://" + r.Host },
		Connections: func() map[string]string { return map[string]string{"corp:npm": "npm"} }})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// tick is a clock on which every change has a time of its own.
func (w *world) tick() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(time.Second)
	return w.now
}

// given are the members of a request. Lists, maps and structures go as JSON.
type given map[string]any

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

// call sends an operation as an SDK would.
func (w *world) call(op string, in given) answer { w.t.Helper(); return w.callAs(account, op, in) }

func (w *world) callAs(who, op string, in given) answer {
	w.t.Helper()
	return w.send(w.request(who, op, in))
}

func (w *world) request(who, name string, in given) *http.Request {
	w.t.Helper()
	var op *operation
	for _, o := range operations() {
		if o.name == name {
			op = &o
			break
		}
	}
	if op == nil {
		w.t.Fatalf("no operation %s", name)
	}
	query, body, header := url.Values{}, map[string]any{}, http.Header{}
	var payload string
	known := map[string]bool{"_body": true}
	for _, f := range op.fields {
		known[f.member] = true
		v, ok := in[f.member]
		switch {
		case !ok:
		case f.query != "":
			query.Set(f.query, fmt.Sprint(v))
		case f.header != "":
			header.Set(f.header, fmt.Sprint(v))
		default:
			body[f.member] = v
		}
	}
	for k := range in {
		if !known[k] {
			w.t.Fatalf("%s has no member %s", name, k)
		}
	}
	if op.hasBody() {
		raw, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		payload = string(raw)
	}
	if s, ok := in["_body"].(string); ok {
		payload = s
	}
	r := httptest.NewRequest(op.method, "http://larder.test"+op.path+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"), strings.NewReader(payload))
	for k := range header {
		r.Header.Set(k, header.Get(k))
	}
	r.Header.Set("X-Test-Account", who)
	return r
}

func (w *world) send(r *http.Request) answer {
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), raw: rec.Body.String()}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal([]byte(a.raw), &a.body); err != nil {
			w.t.Errorf("%s %s: body is no JSON: %v\n%s", r.Method, r.URL, err, a.raw)
		}
	}
	return a
}

// must sends an operation that has to succeed.
func (w *world) must(op string, in given) answer {
	w.t.Helper()
	a := w.call(op, in)
	if a.status != http.StatusOK {
		w.t.Fatalf("%s %v: %d %s", op, in, a.status, a.raw)
	}
	return a
}

// refused sends an operation that has to fail by an error, with words in its
// message.
func (w *world) refused(code, says, op string, in given) answer {
	w.t.Helper()
	a := w.call(op, in)
	if a.status != status(code) || a.header.Get("X-Amzn-Errortype") != code || !strings.Contains(a.raw, says) {
		w.t.Errorf("%s %v: got %d %s %s, want %s saying %q", op, in, a.status, a.header.Get("X-Amzn-Errortype"), a.raw, code, says)
	}
	return a
}

// at finds a value by a path of keys and indices in the answer.
func (a answer) at(path ...any) any {
	var v any = a.body
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// want compares a value of the answer, as JSON.
func (w *world) want(a answer, want string, path ...any) {
	w.t.Helper()
	got, err := json.Marshal(a.at(path...))
	if err != nil {
		w.t.Fatal(err)
	}
	if string(got) != want {
		w.t.Errorf("%v is %s, want %s\nin %s", path, got, want, a.raw)
	}
}

// column collects one member of a list of structures.
func (a answer) column(list, member string) string {
	var out []string
	l, _ := a.body[list].([]any)
	for _, e := range l {
		m, _ := e.(map[string]any)
		out = append(out, fmt.Sprint(m[member]))
	}
	return strings.Join(out, " ")
}

// pages follows nextToken and joins a column; the token is never on the last
// page.
func (w *world) pages(op string, in given, list, member string) (joined string, pages int) {
	w.t.Helper()
	for {
		a := w.must(op, in)
		if got := a.column(list, member); got != "" {
			joined = strings.TrimPrefix(joined+" "+got, " ")
		}
		pages++
		next, ok := a.body["nextToken"]
		if !ok {
			return joined, pages
		}
		in["nextToken"] = next
		if pages > 1000 {
			w.t.Fatal("pages do not end")
		}
	}
}

// site makes a domain with repositories.
func (w *world) site(domain string, repos ...string) {
	w.t.Helper()
	w.must("CreateDomain", given{"domain": domain})
	for _, r := range repos {
		w.must("CreateRepository", given{"domain": domain, "repository": r})
	}
}

// fakeGate knows callers by a header and denies what it is told to.
type fakeGate struct {
	mu   sync.Mutex
	deny map[string]bool
	asks []Ask
}

func (g *fakeGate) Identify(r *http.Request, _ bool) (Caller, error) {
	who := r.Header.Get("X-Test-Account")
	if who == "" {
		return Caller{}, &APIError{Code: "MissingAuthenticationTokenException", Status: http.StatusForbidden, Message: "Missing Authentication Token"}
	}
	return Caller{ARN: "arn:aws:iam::" + who + ":user/dev", Account: who, Name: "dev"}, nil
}

func (g *fakeGate) Allow(_ context.Context, c Caller, ask Ask) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asks = append(g.asks, ask)
	if g.deny[ask.Action] {
		return Denied("User: %s is not authorized to perform: %s on resource: %s", c.ARN, ask.Action, ask.Resource.ARN("eu-central-1"))
	}
	return nil
}

// asked returns the questions since the last call as "action resource".
func (g *fakeGate) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, a := range g.asks {
		out = append(out, a.Action+" "+a.Resource.ARN("eu-central-1"))
	}
	g.asks = nil
	return out
}

func (g *fakeGate) Token(_ context.Context, c Caller, domain, owner string, seconds int, given bool) (string, time.Time, error) {
	if !given {
		seconds = 43200
	}
	return fmt.Sprintf("token.%s.%s.%s", c.Name, domain, owner), time.Unix(1800000000+int64(seconds), 123456789), nil
}

func (g *fakeGate) CheckPolicy(document string, _ Kind) error {
	if !json.Valid([]byte(document)) {
		return Invalid(ReasonCannotParse, "The policy document is not JSON")
	}
	return nil
}

// fakeBackend publishes into the real store. Its upstream holds versions, "npm
// name version" -> content.
type fakeBackend struct {
	w        *world
	upstream map[string]string
}

func (b *fakeBackend) PublishAsset(_ context.Context, c Caller, p Publication, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.SHA256 {
		return Invalid(ReasonField, "the SHA-256 of the body is not %s", p.SHA256)
	}
	st := formats.Published
	if p.Unfinished {
		st = formats.Unfinished
	}
	return b.w.publish(p.Domain, p.Repository, "generic", p.Name, p.Version, st, nil, map[string]string{p.Asset: string(data)})
}

func (b *fakeBackend) OpenAsset(_ context.Context, domain, repo, format string, n formats.Name, version, file string) (formats.OpenFile, error) {
	row, err := b.w.cat.Asset(catalog.AssetKey{Place: catalog.RepositoryPlace(domain, repo), Format: format, Name: n.Canon, Version: version, File: file})
	if err != nil {
		return nil, err
	}
	sum, _ := catalog.SumOf(row.Digests)
	return b.w.db.OpenBlob(sum)
}

func (b *fakeBackend) Ingest(_ context.Context, domain, repo, format string, n formats.Name, version string) error {
	data, ok := b.upstream[format+" "+n.Canon+" "+version]
	if !ok {
		return formats.Refuse(formats.NotFound, "no upstream has %s %s", n.Canon, version)
	}
	h, done := b.w.stage(data, "x.tgz", false)
	_, err := b.w.cat.Propose(domain, "", &catalog.Retain{Repositories: []string{repo}, Format: format, Name: n,
		Row:     formats.Version{V: version, Assets: []formats.Asset{{File: "x.tgz"}}},
		Hosting: formats.Hosting{Origin: formats.OriginExternal, EntryConnection: "public:npmjs"}, Files: []formats.HeldAsset{h}}, done)
	return err
}

// stage puts bytes into the store and describes them, with four digests or one.
func (w *world) stage(data, file string, all bool) (formats.HeldAsset, *catalog.Staged) {
	w.t.Helper()
	wr, err := w.db.Create(context.Background(), int64(len(data)))
	if err != nil {
		w.t.Fatal(err)
	}
	defer wr.Release()
	if _, err := io.WriteString(wr, data); err != nil {
		w.t.Fatal(err)
	}
	s, err := w.cat.Stage(wr)
	if err != nil {
		w.t.Fatal(err)
	}
	h := formats.HeldAsset{File: file, Size: int64(len(data)), Digests: []formats.Digest{catalog.DigestOf(s.Sum)}}
	if all {
		a, b, c := md5.Sum([]byte(data)), sha1.Sum([]byte(data)), sha512.Sum512([]byte(data))
		h.Digests = append(h.Digests, formats.Digest{Alg: formats.MD5, Hex: hex.EncodeToString(a[:])},
			formats.Digest{Alg: formats.SHA1, Hex: hex.EncodeToString(b[:])}, formats.Digest{Alg: formats.SHA512, Hex: hex.EncodeToString(c[:])})
	}
	return h, s
}

// publish puts a version into a repository as the data plane does.
func (w *world) publish(domain, repo, format string, n formats.Name, version string, st formats.Status, tags, files map[string]string) error {
	w.t.Helper()
	edit := catalog.VersionEdit{V: version, Row: &formats.Version{V: version}, Status: st}
	var staged []*catalog.Staged
	for file, data := range files {
		h, s := w.stage(data, file, true)
		edit.Row.Assets = append(edit.Row.Assets, formats.Asset{File: file})
		edit.Files = append(edit.Files, h)
		staged = append(staged, s)
	}
	_, err := w.cat.Propose(domain, "arn:aws:iam::"+account+":user/dev", &catalog.Publish{Repository: repo, Format: format, Name: n, Versions: []catalog.VersionEdit{edit}, Tags: tags}, staged...)
	return err
}

// npm publishes npm versions of one file each.
func (w *world) npm(domain, repo, canon string, versions ...string) {
	w.t.Helper()
	n, _ := fakeNPM{}.name(canon)
	for _, v := range versions {
		if err := w.publish(domain, repo, "npm", n, v, formats.StatusNone, nil, map[string]string{"x.tgz": canon + v}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fakeNPM names packages as npm does and tells the same facts of all.
type fakeNPM struct{}

func (fakeNPM) ID() string { return "npm" }
func (fakeNPM) Route(*formats.Request) (formats.Target, error) {
	return formats.Target{}, formats.Refuse(formats.NotFound, "no route")
}
func (fakeNPM) Refuse(*formats.Request, *formats.Refusal) *formats.Reply { return nil }
func (fakeNPM) PURL(formats.Name, string) string                         { return "" }
func (fakeNPM) ParsePURL(string) (formats.Name, string, bool)            { return formats.Name{}, "", false }

func (fakeNPM) name(canon string) (formats.Name, error) {
	if scope, _, ok := strings.Cut(strings.TrimPrefix(canon, "@"), "/"); ok {
		return formats.Name{Canon: canon, NS: scope}, nil
	}
	return formats.Name{Canon: canon}, nil
}

func (fakeNPM) Coordinate(n formats.Name) (string, string) {
	if n.NS != "" {
		return n.NS, strings.TrimPrefix(n.Canon, "@"+n.NS+"/")
	}
	return "", n.Canon
}

func (f fakeNPM) FromCoordinate(ns, pkg string) (formats.Name, error) {
	if strings.ContainsAny(pkg, "!") {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "%q is no name", pkg)
	}
	if ns = strings.TrimPrefix(ns, "@"); ns != "" {
		return f.name("@" + ns + "/" + pkg)
	}
	return f.name(pkg)
}

func (fakeNPM) AssetName(_ formats.Name, _, file string) string {
	if file == "x.tgz" {
		return "package.tgz"
	}
	return file
}

func (fakeNPM) FileName(_ formats.Name, _, asset string) string { return asset }

func (fakeNPM) Describe(n formats.Name, v *formats.Version, open func(string) (formats.OpenFile, error)) (*formats.Facts, error) {
	if strings.HasPrefix(n.Canon, "broken") {
		return nil, fmt.Errorf("not a package")
	}
	f := &formats.Facts{DisplayName: n.Canon, Summary: "does things", HomePage: "https://home.example/", SourceCode: "https://code.example/x",
		Licenses: []formats.License{{Name: "MIT", URL: "https://mit.example/"}}}
	for i := range 60 {
		f.Dependencies = append(f.Dependencies, formats.Dependency{Namespace: "types", Package: fmt.Sprintf("d%d", i), Type: "dev", Requirement: "^1"})
	}
	file, err := open("x.tgz")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
	f.Readme = "# " + string(text)
	return f, err
}
