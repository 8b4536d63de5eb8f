package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"larder/cache/catalog"
	"larder/formats"
	"larder/policy"
	"larder/policy/origin"
	"larder/proxy/upstream"
)

// own answers larder's own endpoints below /-/.
func (x *exchange) own(ep endpoint) {
	x.repo, x.tier = "-", "local"
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		x.w.Header()["Allow"] = []string{"GET, HEAD"}
		x.refuse(formats.Refuse(formats.Method, "%s is not supported on this path", x.r.Method))
		return
	}
	switch strings.Join(ep.segments, "/") {
	case "healthz":
		x.reply(formats.TextReply(http.StatusOK, "ok"))
	case "readyz":
		x.ready()
	case "metrics":
		x.status = http.StatusOK
		promhttp.HandlerFor(x.s.cfg.Metrics, promhttp.HandlerOpts{DisableCompression: !x.gz && !acceptsGzip(x.r.Header)}).ServeHTTP(x.w, x.r)
	case "why":
		x.why()
	default:
		x.refuse(formats.Refuse(formats.NotFound, "no such page; there are /-/healthz, /-/readyz, /-/metrics and /-/why?purl="))
	}
}

// welcome answers the root for a person with a browser or curl.
func (x *exchange) welcome() {
	x.tier = "local"
	origin, ok := x.origin()
	if !ok {
		x.refuse(formats.Refuse(formats.BadRequest, "the Host header is not a host name"))
		return
	}
	var b strings.Builder
	b.WriteString("larder: a read-through package cache\n\n")
	graph := x.site.graphs[x.s.cfg.Domain]
	for _, repo := range graph.Repositories() {
		if x.s.cfg.Gate.MayRead(x.caller, x.s.cfg.Domain, repo, x.circumstances()).Verdict != policy.Allow {
			continue
		}
		for _, f := range x.s.cfg.Formats {
			if len(graph.Connections(repo, f.ID())) > 0 {
				b.WriteString(origin + "/" + f.ID() + "/" + repo + "/\n")
			}
		}
	}
	b.WriteString("\nstate: " + origin + "/-/readyz   metrics: " + origin + "/-/metrics   why: " + origin + "/-/why?purl=pkg:...")
	x.reply(formats.TextReply(http.StatusOK, b.String()))
}

// Reason is one line of readyz.
type Reason struct {
	Name   string `json:"name"`
	State  string `json:"state"` // "ok", "degraded", "failing"
	Reason string `json:"reason,omitempty"`
}

// Readiness lists what a balancer and an operator must know. Degraded parts do
// not make the node unready: it goes on serving what it holds.
func (s *Server) Readiness() (ready bool, reasons []Reason) {
	ready = true
	if s.health.Load() != nil {
		ready = false
		reasons = append(reasons, Reason{"drain", "failing", "the node is shutting down"})
	}
	st := s.cfg.Store.Stats()
	if st.Full {
		ready = false
		reasons = append(reasons, Reason{"store", "failing", "the store takes no new blobs (" + st.FullReason + "); what is held is served and the rest streams through"})
	} else {
		reasons = append(reasons, Reason{"store", "ok", ""})
	}
	site := s.site.Load()
	if site.Offline {
		reasons = append(reasons, Reason{"mode", "ok", "offline: no upstream is asked"})
	}
	for _, c := range s.cfg.Upstream.Status() {
		r := Reason{Name: "connection " + c.Name, State: "ok"}
		switch {
		case c.Offline:
			r.Reason = "offline by configuration"
		case c.State != upstream.Closed:
			r.State, r.Reason = "degraded", condition(c)
		}
		reasons = append(reasons, r)
	}
	return ready, reasons
}

func (x *exchange) ready() {
	ok, reasons := x.s.Readiness()
	out := struct {
		Ready   bool     `json:"ready"`
		Reasons []Reason `json:"reasons"`
	}{ok, reasons}
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	x.jsonReply(status, out)
}

func (x *exchange) jsonReply(status int, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		x.refuse(&formats.Refusal{Kind: formats.Internal, Message: "the answer could not be encoded", Err: err})
		return
	}
	rep := formats.JSONReply(status, string(raw)+"\n")
	rep.Header["Cache-Control"] = []string{"no-store"}
	x.reply(rep)
}

// Why is the answer of /-/why: what is known of a coordinate and what a
// request for it would meet.
type Why struct {
	PURL       string     `json:"purl"`
	Repository string     `json:"repository"`
	Format     string     `json:"format"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Decision   string     `json:"decision"` // allow, hold, deny
	Rule       string     `json:"rule"`
	Reason     string     `json:"reason"`
	Offline    bool       `json:"offline"`
	Owner      string     `json:"owner,omitempty"`  // the connection that supplies the name
	Access     WhyAccess  `json:"access"`           // whether whoever asks may read, and what decides
	Origin     []string   `json:"origin,omitempty"` // origin controls that keep places out
	Places     []WhyPlace `json:"places"`
	Outcome    string     `json:"outcome"` // one sentence
}

// WhyAccess is the statement that decides about reading.
type WhyAccess struct {
	Caller   string `json:"caller"`
	Verdict  string `json:"verdict"`
	Document string `json:"document,omitempty"`
	Sid      string `json:"statement,omitempty"`
	Reason   string `json:"reason"`
}

// WhyPlace is one place's part of the answer: what a repository itself holds, or
// what a connection has.
type WhyPlace struct {
	Repository  string     `json:"repository,omitempty"`
	Connection  string     `json:"connection,omitempty"`
	Status      string     `json:"status,omitempty"` // of the version in the repository
	Offline     bool       `json:"offline,omitempty"`
	Listing     string     `json:"listing"` // never asked, listed, withdrawn, unknown there
	Checked     *time.Time `json:"checked,omitempty"`
	FreshUntil  *time.Time `json:"fresh_until,omitempty"`
	Versions    int        `json:"versions"`
	Held        int        `json:"versions_held"`
	RetryAfter  *time.Time `json:"next_try,omitempty"`
	Version     string     `json:"version_state,omitempty"` // live, withdrawn, held, unknown
	FirstSeen   *time.Time `json:"first_seen,omitempty"`
	Published   *time.Time `json:"published,omitempty"`
	Files       []WhyFile  `json:"files,omitempty"`
	Installable *bool      `json:"installable_offline,omitempty"`
	Upstream    string     `json:"upstream,omitempty"` // the connection's condition
}

// WhyFile is one file of the version.
type WhyFile struct {
	File    string   `json:"file"`
	Held    bool     `json:"held"`
	Size    int64    `json:"size,omitempty"`
	Digests []string `json:"digests,omitempty"`
	Origin  string   `json:"origin,omitempty"`
}

func (x *exchange) why() {
	q := x.r.URL.Query()
	purl := q.Get("purl")
	x.domain = x.s.cfg.Domain
	if d := q.Get("domain"); d != "" {
		x.domain = d
	}
	// Who may not know what is here learns nothing about what is not.
	closed := x.caller.Anonymous && !x.site.open
	if x.graph = x.site.graphs[x.domain]; x.graph == nil && closed {
		x.challenge()
		return
	} else if x.graph == nil {
		x.refuse(formats.Refuse(formats.NotFound, "no domain %q here", printable(x.domain)))
		return
	}
	repo := q.Get("repo")
	if repo == "" {
		repo = "main"
		if all := x.graph.Repositories(); len(all) > 0 {
			if _, ok := x.graph.Repository("main"); !ok {
				repo = all[0]
			}
		}
	}
	if _, ok := x.graph.Repository(repo); !ok && closed {
		x.challenge()
		return
	} else if !ok {
		x.refuse(formats.Refuse(formats.NotFound, "no repository %q in this domain", printable(repo)))
		return
	}
	x.repo = repo
	if err := x.mayRead(); err != nil {
		x.fail(err)
		return
	}
	for _, f := range x.s.cfg.Formats {
		n, v, ok := f.ParsePURL(purl)
		if !ok {
			continue
		}
		x.format, x.repo = f, repo
		out, err := x.explain(f, repo, n, v)
		if err != nil {
			x.refuse(formats.AsRefusal(err))
			return
		}
		x.jsonReply(http.StatusOK, out)
		return
	}
	x.refuse(formats.Refuse(formats.BadRequest, "purl %q is not a package URL of a format served here, such as pkg:npm/left-pad@1.3.0", printable(purl)))
}

func (x *exchange) explain(f formats.Format, repo string, n formats.Name, version string) (*Why, error) {
	d := x.decideRead(n, version, "")
	out := &Why{PURL: f.PURL(n, version), Repository: repo, Format: f.ID(), Name: n.Canon, Version: version,
		Decision: d.Verdict.String(), Rule: d.Rule, Reason: d.Reason, Offline: x.site.Offline, Places: []WhyPlace{}}
	ownerKey := n.Canon
	if mergeRule(f) == formats.Union {
		ownerKey += "\x01" + version
	}
	if p, ok, err := x.s.cfg.Catalog.Owner(x.scope(), f.ID(), ownerKey); err != nil {
		return nil, err
	} else if ok {
		out.Owner = strings.TrimPrefix(string(p), "c:")
	}
	rd := x.s.cfg.Gate.MayRead(x.caller, x.domain, repo, x.circumstances())
	out.Access = WhyAccess{Caller: x.who(), Verdict: rd.Verdict.String(), Document: rd.Document, Sid: rd.Sid, Reason: rd.Reason}
	held, known := false, false
	if err := x.explainOrigin(f, n, out); err != nil {
		return nil, err
	}
	local, err := x.explainHere(f, n, version)
	if err != nil {
		return nil, err
	}
	for _, p := range local {
		held = held || p.Held > 0 && (version == "" || p.Installable != nil && *p.Installable)
		out.Places = append(out.Places, *p)
	}
	for _, c := range x.connections() {
		p, err := x.explainPlace(f, c, n, version)
		if err != nil {
			return nil, err
		}
		held = held || p.Installable != nil && *p.Installable || version == "" && p.Held > 0
		known = known || p.Version == "live" || version == "" && p.Versions > 0
		out.Places = append(out.Places, *p)
	}
	switch {
	case d.Verdict != policy.Allow:
		out.Outcome = "refused by policy: " + d.Reason
	case len(out.Places) == 0:
		out.Outcome = "this repository has no upstream for the format"
	case held:
		out.Outcome = "served from this node's store"
	case x.site.Offline:
		out.Outcome = "not held here, and the node is offline"
	case known:
		out.Outcome = "listed upstream and fetched on the first request"
	default:
		out.Outcome = "not known yet; the first request asks the upstreams in order"
	}
	return out, nil
}

// explainOrigin says which origin controls keep places out.
func (x *exchange) explainOrigin(f formats.Format, n formats.Name, out *Why) error {
	d, _ := x.site.state.Domain(x.domain)
	for _, node := range x.graph.Walk(x.repo) {
		own := origin.PackageRestrictions{}
		p, err := x.s.cfg.Catalog.Package(catalog.RepositoryPlace(x.domain, node.Repository), f.ID(), n.Canon)
		if err == nil {
			own = origin.PackageRestrictions{Publish: origin.Mode(p.Publish), Upstream: origin.Mode(p.Upstream)}
		} else if !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		ways := []origin.Type{origin.Publish, origin.InternalUpstream}
		if node.Connection != nil {
			ways = []origin.Type{origin.Publish, origin.ExternalUpstream}
		}
		for _, way := range ways {
			if v := origin.Decide(d.Origins(), own, origin.Of(f.ID(), n), way, node.Repository); !v.Allowed {
				out.Origin = append(out.Origin, node.Repository+": "+v.Reason)
			}
		}
	}
	return nil
}

// explainHere tells what the repositories of the search hold themselves.
func (x *exchange) explainHere(f formats.Format, n formats.Name, version string) ([]*WhyPlace, error) {
	closure, _ := f.(formats.Closure)
	var out []*WhyPlace
	for _, node := range x.graph.Walk(x.repo) {
		place := catalog.RepositoryPlace(x.domain, node.Repository)
		l, err := x.s.cfg.Catalog.Listing(catalog.ListingKey{Place: place, Format: f.ID(), Name: n.Canon})
		if errors.Is(err, catalog.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := &WhyPlace{Repository: node.Repository, Listing: "held here"}
		for _, v := range l.Versions {
			p.Versions++
			ok := len(v.Held) > 0
			if closure != nil {
				_, ok = closure.Available(v)
			}
			if v.Hosting != nil {
				ok = ok && v.Hosting.Status.Downloadable()
			}
			if ok {
				p.Held++
			}
			if version == "" || v.V != version {
				continue
			}
			p.Installable, p.Files = &ok, whyFiles(v)
			if h := v.Hosting; h != nil {
				p.Status, p.FirstSeen = h.Status.String(), &h.Since
				p.Version = strings.ToLower(h.Origin.String())
			}
			if !v.Published.IsZero() {
				p.Published = &v.Published
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func (x *exchange) explainPlace(f formats.Format, c *catalog.Connection, n formats.Name, version string) (*WhyPlace, error) {
	k := catalog.ListingKey{Place: catalog.ConnectionPlace(c.Name), Format: f.ID(), Name: n.Canon}
	p := &WhyPlace{Connection: c.Name, Offline: x.isOffline(c), Listing: "never asked"}
	id := refresh{key: k}.id()
	if x.s.absent.has(id, x.s.now()) {
		p.Listing = "unknown there"
	}
	x.s.fresh.mu.Lock()
	if t, ok := x.s.fresh.after[id]; ok && t.After(x.s.now()) {
		p.RetryAfter = &t
	}
	x.s.fresh.mu.Unlock()
	for _, st := range x.s.cfg.Upstream.Status() {
		if st.Name == c.Name && st.State != upstream.Closed {
			p.Upstream = condition(st)
		}
	}
	l, err := x.s.cfg.Catalog.Listing(k)
	if errors.Is(err, catalog.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	if l.Row != nil {
		p.Listing = "listed"
		if l.Row.Standing == catalog.Removed {
			p.Listing = "withdrawn"
		}
		until := l.Row.Checked.Add(c.MetadataTTL)
		p.Checked, p.FreshUntil = &l.Row.Checked, &until
	}
	closure, _ := f.(formats.Closure)
	for _, v := range l.Versions {
		p.Versions++
		ok := len(v.Held) > 0
		if closure != nil {
			_, ok = closure.Available(v)
		}
		if ok {
			p.Held++
		}
		if version == "" || v.V != version {
			continue
		}
		p.Version = [...]string{"live", "withdrawn", "held", "disposed"}[v.State]
		p.Installable = &ok
		if !v.FirstSeen.IsZero() {
			p.FirstSeen = &v.FirstSeen
		}
		if !v.Published.IsZero() {
			p.Published = &v.Published
		}
		p.Files = whyFiles(v)
	}
	if version != "" && p.Version == "" {
		p.Version = "unknown"
	}
	return p, nil
}

func whyFiles(v *formats.Version) []WhyFile {
	var out []WhyFile
	show := func(ds []formats.Digest) (s []string) {
		for _, d := range ds {
			s = append(s, d.String())
		}
		return s
	}
	for _, a := range v.Assets {
		w := WhyFile{File: a.File, Size: a.Size, Digests: show(a.Digests)}
		if h, ok := v.Held[a.File]; ok {
			w.Held, w.Size, w.Digests, w.Origin = true, h.Size, show(h.Digests), h.Origin
		}
		out = append(out, w)
	}
	for file, h := range v.Held {
		if v.Asset(file) == nil {
			out = append(out, WhyFile{File: file, Held: true, Size: h.Size, Digests: show(h.Digests), Origin: h.Origin})
		}
	}
	return out
}

// condition says why a connection is not asked.
func condition(c upstream.ConnStatus) string {
	return fmt.Sprintf("%s after %d failures, next try in %s: %s", c.State, c.Failures, c.RetryIn.Round(time.Second), c.LastError)
}
