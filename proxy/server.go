// Package proxy owns one HTTP request from socket to response: request id,
// principal, the one URL switch of the program, policy, the order of
// read-through, rendering and the answer. It knows no format by name and dials
// nothing itself: formats translate, proxy/upstream dials, cache fills.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/hot"
	"larder/cache/store"
	"larder/formats"
	"larder/policy"
	"larder/proxy/access"
	"larder/proxy/upstream"
)

// Limits bound what one request may cost.
type Limits struct {
	MetadataMax      int64         // bytes of one decoded upstream listing
	ArtifactMax      int64         // bytes of one artifact; 0 none
	RevalidateBudget time.Duration // how long a client waits for a stale document's revalidation
	NegativeTTL      time.Duration // how long "no such package" is kept
	RefreshTimeout   time.Duration // bound of one listing fetch, behind the clients' backs
	// RequestBodyTimeout is how long a client may take to send a request's body;
	// 0 is 30 s.
	RequestBodyTimeout time.Duration
}

// Site is what a reload may change; it is replaced as a whole.
type Site struct {
	// Graph has the connections, and the repositories that the configuration
	// declares in the default domain; those made through the API are in the
	// catalog.
	Graph          *catalog.Graph
	Rules          *policy.Rules
	Offline        bool
	ExternalURLs   []string       // without trailing slash; first is the default
	TrustedProxies []netip.Prefix // whose Forwarded headers are believed
	Partial        bool           // Graph may still grow: repositories that it lacks are not taken for gone
	LocalTags      bool           // a tag set here wins over the upstream's of the same name

	open   bool   // some repository may be read without a credential
	epoch  uint64 // rises with every site; part of what a kept answer depends on
	state  *catalog.State
	graphs map[string]*catalog.Graph // by domain
}

// Config wires a Server. All pointers are required unless noted.
type Config struct {
	Formats  []formats.Format
	Domain   string
	Owner    string // 12 digits
	Store    *store.DB
	Catalog  *catalog.Catalog
	Cache    *cache.Cache
	Upstream *upstream.Client
	HotBytes int64 // memory for rendered documents and small bodies together
	Limits   Limits
	Logger   *slog.Logger
	Access   io.Writer            // access log lines; nil is off
	Metrics  *prometheus.Registry // nil: a private one
	Now      func() time.Time     // nil: time.Now
	// Sign signs with the site's registry key; nil: the site has none.
	Sign func(payload []byte) (formats.Signature, error)
	// RegistryKey is the public half of that key: its id, and DER.
	RegistryKeyID string
	RegistryKey   []byte
	// Gate says who asks and what they may do; nil: one without users, in which
	// only what is open to everybody can be read.
	Gate *access.Gate
	// API answers below /v1/, STS a POST to the root and /-/sts; nil: not here.
	// The API is made with the Server it works through, so it may come later: by
	// SetAPI, before the first request.
	API, STS http.Handler
}

// Server is the node's HTTP handler. It is safe for concurrent use; Close ends
// its background work.
type Server struct {
	cfg     Config
	formats map[string]formats.Format
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	access  *accessLog

	base     atomic.Pointer[Site] // as configured
	reload   sync.Mutex           // one Reload at a time; taken before building
	building sync.Mutex           // held while a site is made
	site     atomic.Pointer[Site]

	routes     *hot.Cache[*route] // raw request -> where its answer is
	bodies     *hot.Cache[[]byte] // content identity -> bytes
	render     *group[*rendered]  // one rendering per variant
	fresh      *refresher         // one revalidation per listing
	absent     *negatives         // names an upstream said it does not have
	keys       sync.Pool          // *[]byte for express keys
	reqSeq     atomic.Uint64      // request ids
	reqRun     string             // random prefix of request ids
	life       context.Context    // ends background work
	stop       context.CancelFunc //
	keep       sync.Mutex         // held while a format's own document is written
	behind     sync.Map           // flight key -> func(): what follows a kept asset
	work       sync.WaitGroup     // background work
	writing    [64]sync.Mutex     // by name; held while a small write is read and applied
	writeSeed  maphash.Seed
	askers     chan struct{} // bounds how many ask for sessions at one time
	retentions chan retention
	retaining  tally                 // queued retentions
	health     atomic.Pointer[drain] // non-nil while draining
}

type drain struct{}

// New builds a Server around cfg; it does not listen.
func New(cfg Config, site Site) (*Server, error) {
	if cfg.Store == nil || cfg.Catalog == nil || cfg.Cache == nil || cfg.Upstream == nil {
		return nil, errors.New("proxy needs a store, a catalog, a cache and an upstream client")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Gate == nil {
		var err error
		if cfg.Gate, err = access.New(access.Config{Catalog: cfg.Catalog, Owner: cfg.Owner, Domain: cfg.Domain, Now: cfg.Now}); err != nil {
			return nil, fmt.Errorf("open gate: %w", err)
		}
	}
	if cfg.Limits.RequestBodyTimeout == 0 {
		cfg.Limits.RequestBodyTimeout = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	s := &Server{cfg: cfg, formats: map[string]formats.Format{}, log: cfg.Logger, now: cfg.Now,
		render: newGroup[*rendered](), absent: newNegatives(cfg.Limits.NegativeTTL)}
	for _, f := range cfg.Formats {
		if s.formats[f.ID()] != nil {
			return nil, fmt.Errorf("format %q stands twice", f.ID())
		}
		s.formats[f.ID()] = f
	}
	// A twentieth for the small route entries; the rest for bodies.
	routeBytes := max(cfg.HotBytes/20, 1<<20)
	var err error
	if s.routes, err = hot.NewCache[*route](hot.Config{MaxBytes: routeBytes, MaxItem: 64 << 10}); err != nil {
		return nil, fmt.Errorf("open route cache: %w", err)
	}
	bodyBytes := max(cfg.HotBytes-routeBytes, 1<<20)
	if s.bodies, err = hot.NewCache[[]byte](hot.Config{MaxBytes: bodyBytes, MaxItem: max(bodyBytes/16, 256<<10)}); err != nil {
		return nil, fmt.Errorf("open body cache: %w", err)
	}
	s.keys.New = func() any { b := make([]byte, 0, 512); return &b }
	s.reqRun = randomID()
	s.life, s.stop = context.WithCancel(context.Background())
	s.fresh = newRefresher(s)
	s.access = newAccessLog(cfg.Access)
	s.writeSeed = maphash.MakeSeed()
	s.askers = make(chan struct{}, 4)
	s.retentions = make(chan retention, retainQueue)
	for range retainWorkers {
		s.work.Add(1)
		go s.retainLoop()
	}
	s.metrics = newMetrics(cfg.Metrics, s)
	cfg.Catalog.Watch(func(state *catalog.State) {
		if err := s.rebuild(state); err != nil {
			// The command is durable; the former links stay in force.
			s.log.Error("control state could not be put into force", "event", "rebuild_failed", "error", err)
		}
	})
	if err := s.Reload(site); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload replaces what may change while running. Answers kept under the former
// site are never served under the new one.
func (s *Server) Reload(site Site) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	s.base.Store(&site)
	var rows []catalog.RepositoryRow
	for _, name := range site.Graph.Repositories() {
		r, _ := site.Graph.Repository(name)
		rows = append(rows, catalog.RepositoryRow{Name: r.Name, Description: r.Description, Upstreams: r.Upstreams,
			Connection: r.Connection, Offline: r.Offline, Anonymous: r.Anonymous})
	}
	if _, err := s.cfg.Catalog.Propose(s.cfg.Domain, "", &catalog.Declare{Owner: s.cfg.Owner, Repositories: rows, Partial: site.Partial}); err != nil {
		return fmt.Errorf("declare repositories: %w", err)
	}
	return s.rebuild(s.cfg.Catalog.State())
}

// rebuild makes the site that follows from the configuration and the control
// rows, and puts it into force.
func (s *Server) rebuild(state *catalog.State) error {
	s.building.Lock()
	defer s.building.Unlock()
	site := *s.base.Load()
	if was := s.site.Load(); was != nil && was.state != nil && was.state.Seq > state.Seq {
		state = was.state
	}
	// What is denied is denied whatever becomes of the rest.
	if err := s.cfg.Gate.Refresh(state); err != nil {
		return fmt.Errorf("put policies into force: %w", err)
	}
	site.state, site.graphs = state, map[string]*catalog.Graph{}
	for _, name := range state.Domains() {
		d, _ := state.Domain(name)
		g, err := catalog.DomainGraph(d, site.Graph.AllConnections())
		if err != nil {
			return fmt.Errorf("link repositories of domain %s: %w", name, err)
		}
		site.graphs[name] = g
		for _, repo := range d.Repositories() {
			r, _ := d.Repository(repo)
			site.open = site.open || r.Anonymous
		}
	}
	// The epoch is a part of the site: read beside it, an answer made under the
	// former site could be kept under the new one's.
	if was := s.site.Load(); was != nil {
		site.epoch = was.epoch + 1
	}
	s.site.Store(&site)
	return nil
}

// SetAPI mounts the API. It must be called before the first request.
func (s *Server) SetAPI(h http.Handler) { s.cfg.API = h }

// Site returns what is in force.
func (s *Server) Site() *Site { return s.site.Load() }

// Drain makes readyz answer 503 from now on, so that balancers look elsewhere
// while open requests finish.
func (s *Server) Drain() { s.health.Store(&drain{}) }

// Close ends background revalidation and flushes the access log. Requests must
// have ended.
func (s *Server) Close() {
	s.stop()
	s.work.Wait()
	s.access.close()
	s.routes.Close()
	s.bodies.Close()
}

// exchange is one request on its way.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	id    string
	site  *Site

	caller  *access.Caller
	format  formats.Format
	domain  string
	repo    string
	graph   *catalog.Graph // of the domain
	srcName string         // the name that srcs was made for
	srcs    []supplier
	rq      *formats.Request
	target  formats.Target

	// for the log and the metrics
	status    int
	bytes     int64
	tier      string
	detail    string // reason of a refusal
	conn      string // the connection that answered
	cause     error
	absentFor *formats.Refusal // why a file is not there, where its format knows
	key       []byte           // express key, empty when the request cannot take that lane
	gz        bool
	kept      *route // the kept answer that was given
	ingest    bool   // what is found is retained before the answer
	retainErr error  // why it was not
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: w, r: r, start: s.now(), site: s.site.Load(), tier: "none"}
	s.metrics.inflight.Inc()
	defer s.metrics.inflight.Dec()
	defer x.finish()
	defer func() {
		// http.ErrAbortHandler is how a torn body ends; it goes on up.
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				x.detail = "aborted"
				panic(p)
			}
			x.cause = fmt.Errorf("panic: %v", p)
			s.metrics.panics.Inc()
			s.log.Error("request panicked", "event", "panic", "request_id", x.requestID(), "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", stack())
			if x.status == 0 {
				x.refuse(&formats.Refusal{Kind: formats.Internal, Message: "larder failed to answer this request; its log has the cause"})
				return
			}
			panic(http.ErrAbortHandler)
		}
	}()
	if len(r.TransferEncoding) > 0 {
		// net/http has dropped a Content-Length that stood beside it; whoever
		// sent both may see the request end elsewhere (RFC 9112 section 6.1).
		w.Header()["Connection"] = []string{"close"}
	}
	if x.s.signs(r) {
		// The API and STS verify signatures themselves.
		x.caller = s.cfg.Gate.Anonymous()
		x.dispatch()
		return
	}
	if !x.authenticate() {
		return
	}
	if x.express() {
		return
	}
	x.dispatch()
}

func (x *exchange) requestID() string {
	if x.id == "" {
		x.id = x.s.reqRun + "-" + strconv.FormatUint(x.s.reqSeq.Add(1), 36)
	}
	return x.id
}

// dispatch is the only URL switch of the program.
func (x *exchange) dispatch() {
	if x.s.cfg.API != nil && strings.HasPrefix(x.r.URL.Path, "/v1/") {
		// Its paths are fixed, so it needs no guard, and its clients want every
		// refusal in JSON.
		x.delegate("api", x.s.cfg.API)
		return
	}
	ep, err := splitEndpoint(x.r.URL.EscapedPath())
	if err != nil {
		x.speak()
		x.refuse(formats.AsRefusal(err))
		return
	}
	switch {
	case ep.format == "-" && x.r.Method == http.MethodPost && x.r.URL.Path == stsPath && x.s.cfg.STS != nil:
		x.delegate("sts", x.s.cfg.STS)
		return
	case ep.format == "-":
		x.own(ep)
		return
	case ep.format == "" && x.r.Method == http.MethodPost && x.s.cfg.STS != nil:
		x.delegate("sts", x.s.cfg.STS)
		return
	case ep.format == "":
		x.welcome()
		return
	}
	f := x.s.formats[ep.format]
	if f == nil {
		x.refuse(formats.Refuse(formats.NotFound, "no format %q here; this node serves %s", printable(ep.format), x.s.formatList()))
		return
	}
	x.format = f
	rq, ref := x.request(ep)
	x.rq = rq
	if ref != nil {
		x.refuse(ref)
		return
	}
	if !x.enter(ep) {
		// Who may not know what is here learns nothing about what is not.
		if x.caller.Anonymous && !x.site.open {
			x.challenge()
			return
		}
		x.refuse(formats.Refuse(formats.NotFound, "no repository %q in this domain", printable(ep.repo)))
		return
	}
	t, err := x.admit()
	if err != nil {
		x.fail(err)
		return
	}
	if ref := x.decide(t.Name, t.Version, t.File); ref != nil {
		x.refuse(ref)
		return
	}
	if err := x.answer(t); err != nil {
		if errors.Is(err, http.ErrAbortHandler) {
			panic(http.ErrAbortHandler)
		}
		if x.r.Context().Err() != nil && errors.Is(err, context.Canceled) {
			err = &formats.Refusal{Kind: formats.Unavailable, Message: "the client left before the answer", Err: err}
		}
		x.fail(err)
	}
}

// fail answers with an error.
func (x *exchange) fail(err error) {
	if errors.Is(err, errChallenge) {
		x.challenge()
		return
	}
	x.refuse(formats.AsRefusal(err))
}

// signs reports whether a request is for a part of the node that verifies AWS
// signatures.
func (s *Server) signs(r *http.Request) bool {
	return s.cfg.API != nil && strings.HasPrefix(r.URL.Path, "/v1/") ||
		s.cfg.STS != nil && r.Method == http.MethodPost && (r.URL.Path == stsPath || r.URL.Path == "/")
}

// stsPath is where STS answers beside the root, which some clients rewrite.
const stsPath = "/-/sts"

// delegate lets another room answer.
func (x *exchange) delegate(what string, h http.Handler) {
	x.repo, x.tier = what, "local"
	if what == "sts" {
		// Whoever asks for a session is unknown yet, and each question costs a
		// verification of a foreign signature.
		select {
		case x.s.askers <- struct{}{}:
			defer func() { <-x.s.askers }()
		case <-x.r.Context().Done():
			return
		}
	}
	rec := &recorder{ResponseWriter: x.w}
	x.r.Body = &patientBody{ReadCloser: x.r.Body, rc: http.NewResponseController(x.w), limit: x.s.cfg.Limits.RequestBodyTimeout}
	h.ServeHTTP(rec, x.r)
	x.status, x.bytes = rec.status, rec.bytes
}

// patientBody lets a client be slow with its body, but not silent.
type patientBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	limit time.Duration
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	// Not every ResponseWriter can; net/http's can.
	_ = b.rc.SetReadDeadline(time.Now().Add(b.limit))
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// recorder notes what another room answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// enter finds the domain and the repository of a path.
func (x *exchange) enter(ep endpoint) bool {
	x.domain = x.s.cfg.Domain
	owner := ""
	if ep.domain != "" {
		// The owner is the last twelve digits; domain names hold hyphens.
		x.domain, owner = ep.domain[:len(ep.domain)-13], ep.domain[len(ep.domain)-12:]
	}
	d, ok := x.site.state.Domain(x.domain)
	if !ok || owner != "" && d.Owner != owner {
		return false
	}
	x.graph = x.site.graphs[x.domain]
	_, ok = x.graph.Repository(ep.repo)
	return ok
}

// speak lets the format word the refusal of a path that no one may parse: its
// first segment alone tells which client asks.
func (x *exchange) speak() {
	first, _, _ := strings.Cut(strings.TrimPrefix(x.r.URL.EscapedPath(), "/"), "/")
	if f := x.s.formats[first]; f != nil {
		x.format, x.rq = f, &formats.Request{Method: x.r.Method, Header: x.r.Header}
	}
}

// answer runs the target's kind.
func (x *exchange) answer(t formats.Target) error {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead && t.Kind != formats.KindPass && t.Kind != formats.KindLocal && t.Kind != formats.KindSearch && t.Kind != formats.KindPublish {
		return formats.Refuse(formats.Method, "%s is not supported on this path", x.r.Method)
	}
	switch t.Kind {
	case formats.KindLocal:
		x.tier = "local"
		x.reply(t.Reply)
		return nil
	case formats.KindListing:
		return x.listing(t)
	case formats.KindAsset:
		return x.asset(t)
	case formats.KindSidecar:
		return x.sidecar(t)
	case formats.KindDocument:
		return x.document(t)
	case formats.KindPass:
		return x.pass(t)
	case formats.KindSearch:
		return x.search(t)
	case formats.KindPublish:
		return x.publish(t)
	}
	return fmt.Errorf("target kind %d is not answered", t.Kind)
}

// decide asks the site's blocks about a coordinate.
func (x *exchange) decide(n formats.Name, version, file string) *formats.Refusal {
	d := x.decideRead(n, version, file)
	if d.Verdict == policy.Allow {
		return nil
	}
	what := n.Show()
	if version != "" {
		what += " " + version
	}
	x.s.metrics.blocked.Inc()
	return formats.Refuse(formats.Blocked, "%s is blocked by policy (%s): %s", what, d.Rule, d.Reason)
}

// decideRead asks policy about a coordinate. What is decided of a version holds
// for its builds: nobody can name those beforehand (Maven's snapshots).
func (x *exchange) decideRead(n formats.Name, version, file string) policy.Decision {
	res := policy.Resource{Domain: x.domain, Repository: x.repo, Format: x.format.ID(), Name: n.Canon, Version: version, File: file}
	d := x.site.Rules.Decide(res)
	b, ok := x.format.(formats.Builder)
	if !ok || d.Verdict != policy.Allow {
		return d
	}
	if base, ok := b.Base(version); ok {
		res.Version = base
		return x.site.Rules.Decide(res)
	}
	return d
}

func (s *Server) formatList() string {
	out := ""
	for _, f := range s.cfg.Formats {
		if out != "" {
			out += ", "
		}
		out += f.ID()
	}
	return out
}
