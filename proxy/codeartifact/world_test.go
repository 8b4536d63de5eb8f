package codeartifact

import (
	"encoding/json"
	"fmt"
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
