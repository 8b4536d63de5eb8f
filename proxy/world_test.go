package proxy_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/store"
	"larder/formats"
	"larder/formats/all"
	"larder/formats/npm/npmtest"
	"larder/policy"
	"larder/proxy"
	"larder/proxy/access"
	"larder/proxy/upstream"
)

// world is one node over a memory file system, with a clock of its own and
// upstreams on loopback that a test can break.
type world struct {
	t     testing.TB
	clock *clock
	fs    vfs.FS
	dir   string // of the store
	conns []upstream.Connection
	site  proxy.Site

	store    *store.DB
	catalog  *catalog.Catalog
	cache    *cache.Cache
	upstream *upstream.Client
	proxy    *proxy.Server
	metrics  *prometheus.Registry
	srv      *httptest.Server
	busy     sync.WaitGroup // requests; a client may have its answer before its handler ends
	free     atomic.Int64   // bytes of the pretended disk
	budget   time.Duration
	limits   func(*proxy.Limits)    // nil: those of open
	dialler  func(*upstream.Config) // nil: a plain one
	config   func(*proxy.Config)    // nil: that of open

	catConns []catalog.Connection
	repos    []catalog.Repository
	gate     *access.Gate         // nil: one without users
	access   func(*access.Config) // nil: no gate is made
}

// clock stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// faulty is a handler in front of a fake registry that a test can break.
type faulty struct {
	http.Handler
	mu    sync.Mutex
	fault http.HandlerFunc // nil: healthy
	when  func(*http.Request) bool
	hits  atomic.Int64
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.hits.Add(1)
	f.mu.Lock()
	fault, when := f.fault, f.when
	f.mu.Unlock()
	if fault != nil && (when == nil || when(r)) {
		fault(w, r)
		return
	}
	f.Handler.ServeHTTP(w, r)
}

func (f *faulty) breakWith(when func(*http.Request) bool, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.when = h, when
}

func (f *faulty) heal() { f.breakWith(nil, nil) }

func isTarball(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".tgz") }

// newWorld builds a node with the repository main over the given npm
// registries, in order.
func newWorld(t testing.TB, regs ...http.Handler) (*world, []*faulty) {
	t.Helper()
	return newWorldOf(t, "npm", regs...)
}

// newWorldOf does the same for any format.
func newWorldOf(t testing.TB, format string, regs ...http.Handler) (*world, []*faulty) {
	t.Helper()
	return newWorldWith(t, format, nil, regs...)
}

// newWorldWith lets change alter the world before it opens.
func newWorldWith(t testing.TB, format string, change func(*world), regs ...http.Handler) (*world, []*faulty) {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}, fs: vfs.NewMem(), dir: "store", budget: 20 * time.Second}
	w.free.Store(1 << 40)
	var fs []*faulty
	main := catalog.Repository{Name: "main", Anonymous: true}
	for i, h := range regs {
		f := &faulty{Handler: h}
		fs = append(fs, f)
		up := httptest.NewServer(f)
		t.Cleanup(up.Close)
		name := string(rune('a'+i)) + "-registry"
		w.conns = append(w.conns, upstream.Connection{Name: name, URL: up.URL + "/", ConnectTimeout: time.Second, HeaderTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, MaxConcurrent: 64, Retries: -1})
		w.catConns = append(w.catConns, catalog.Connection{Connection: formats.Connection{Name: name, URL: up.URL + "/"}, Format: format, MetadataTTL: 5 * time.Minute})
		w.repos = append(w.repos, catalog.Repository{Name: name + "-store", Connection: name})
		main.Upstreams = append(main.Upstreams, name+"-store")
	}
	w.repos = append(w.repos, main)
	if change != nil {
		change(w)
	}
	w.open()
	t.Cleanup(w.close)
	return w, fs
}

func (w *world) rules(cfg policy.Config) *policy.Rules {
	w.t.Helper()
	r, err := policy.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) open() {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	w.store, err = store.Open(store.Config{Dir: w.dir, FS: w.fs, BlockCache: 4 << 20, Now: w.clock.now, FreeSpace: func(string) (int64, int64, error) { return w.free.Load(), 64 << 20, nil }})
	must(err)
	w.catalog, err = catalog.New(catalog.Config{Store: w.store, Domain: "main", Now: w.clock.now})
	must(err)
	w.metrics = prometheus.NewRegistry()
	watch := proxy.NewWatch(w.metrics)
	up := upstream.Config{Connections: w.conns, Observer: watch.Upstreams()}
	if w.dialler != nil {
		w.dialler(&up)
	}
	w.upstream, err = upstream.New(up)
	must(err)
	w.cache, err = cache.New(cache.Config{Store: w.store, Observer: watch.Flights(), Backoff: time.Millisecond})
	must(err)
	if w.site.Rules == nil {
		w.site.Rules = w.rules(policy.Config{})
	}
	w.site.Graph, err = catalog.NewGraph(w.repos, w.catConns)
	must(err)
	limits := proxy.Limits{MetadataMax: 64 << 20, RevalidateBudget: w.budget, NegativeTTL: 30 * time.Second, RefreshTimeout: time.Minute}
	if w.limits != nil {
		w.limits(&limits)
	}
	if w.access != nil {
		gate := access.Config{Catalog: w.catalog, Owner: "000000000000", Domain: "main", Now: w.clock.now}
		w.access(&gate)
		w.gate, err = access.New(gate)
		must(err)
	}
	cfg := proxy.Config{
		Formats: all.Formats(), Domain: "main", Owner: "000000000000", Store: w.store, Catalog: w.catalog, Cache: w.cache, Upstream: w.upstream,
		HotBytes: 64 << 20, Metrics: w.metrics, Now: w.clock.now, Gate: w.gate,
		Limits: limits,
	}
	if w.config != nil {
		w.config(&cfg)
	}
	w.proxy, err = proxy.New(cfg, w.site)
	must(err)
	watch.Attach(w.proxy)
	w.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.busy.Add(1)
		defer w.busy.Done()
		w.proxy.ServeHTTP(rw, r)
	}))
	w.srv.Config.ErrorLog = log.New(io.Discard, "", 0) // aborted requests are what tests provoke
	w.srv.Start()
}

func (w *world) close() {
	w.srv.Close()
	w.cache.Close()
	w.proxy.Close()
	w.upstream.Close()
	w.store.Close()
}

// offline reloads the site with the switch set.
func (w *world) offline(on bool) {
	w.site.Offline = on
	w.proxy.Reload(w.site)
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (w *world) get(path string, header ...string) answer {
	w.t.Helper()
	return w.do(http.MethodGet, path, header...)
}

func (w *world) do(method, path string, header ...string) answer {
	w.t.Helper()
	return w.send(method, path, nil, header...)
}

func (w *world) send(method, path string, sent io.Reader, header ...string) answer {
	w.t.Helper()
	rq, err := http.NewRequest(method, w.srv.URL+path, sent)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		rq.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(rq)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

func (w *world) want(a answer, status int, parts ...string) answer {
	w.t.Helper()
	if a.status != status || a.err != nil {
		w.t.Fatalf("got %d (%v) %.300s, want %d", a.status, a.err, a.body, status)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			w.t.Fatalf("body lacks %q: %.600s", p, a.body)
		}
	}
	return a
}

func registry(pkgs ...npmtest.Package) *npmtest.Registry {
	r := npmtest.New()
	for _, p := range pkgs {
		r.Add(p)
	}
	return r
}
