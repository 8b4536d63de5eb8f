package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"larder/cache/catalog"
	"larder/formats"
	"larder/policy"
)

// rendered is one variant of a listing, with its identity.
type rendered struct {
	header   http.Header
	identity []byte // the plain body
	sum      string // hex SHA-256 of identity

	once   sync.Once
	packed []byte // gzip of identity; nil when not worth it
}

// minGzip is the size from which packing a document pays.
const minGzip = 512

// layer is one place's contribution to an answer.
type layer struct {
	place   catalog.Place
	name    string              // of the connection or the repository
	conn    *catalog.Connection // nil: what a repository itself holds
	row     *catalog.HeadRow    // nil: only held files are known
	stale   bool                // the upstream did not confirm it in time
	filled  bool                // the upstream was waited for
	offline bool
}

func (l layer) removed() bool { return l.row != nil && l.row.Standing == catalog.Removed }

// listing answers a document rendered from rows.
func (x *exchange) listing(t formats.Target) error {
	lister, ok := x.format.(formats.Lister)
	if !ok {
		return fmt.Errorf("format %s cannot list", x.format.ID())
	}
	layers, err := x.layers(t)
	if err != nil {
		return err
	}
	// The generation is read before the rows are, so that a change in between
	// makes the kept answer void rather than wrong. Reading the rows and
	// rendering them happens once for all who ask for this variant now.
	gen := x.s.cfg.Catalog.Gen(x.format.ID(), t.Name.Canon)
	seen := gen.Load()
	call, _ := x.s.render.start(x.variantKey(t, layers, seen), func() (*rendered, error) {
		view, err := x.view(t, layers)
		if err != nil {
			return nil, err
		}
		return renderView(lister, view, t)
	})
	out, err := call.wait(x.r.Context())
	if err != nil {
		var ref *formats.Refusal
		if errors.As(err, &ref) {
			return ref
		}
		return &formats.Refusal{Kind: formats.Upstream, Status: http.StatusBadGateway, Err: err,
			Message: "what upstream says of " + t.Name.Show() + " could not be rendered"}
	}
	x.sendRendered(t, layers, out, gen.Load() == seen, &route{gen: gen, genSeen: seen})
	return nil
}

func (x *exchange) sendRendered(t formats.Target, layers []layer, out *rendered, current bool, rt *route) {
	checked, until := x.freshness(layers)
	body, etag, enc := out.identity, `"`+out.sum[:32]+`"`, ""
	if packed := out.pack(x.gz); packed != nil {
		body, etag, enc = packed, `"`+out.sum[:32]+`-gz"`, "gzip"
	}
	h := make(http.Header, 10)
	for k, v := range out.header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	h["Etag"] = []string{etag}
	h["Cache-Control"] = revalidateCache
	h["X-Content-Type-Options"] = nosniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	addVary(h, "Accept-Encoding")
	if enc != "" {
		h["Content-Encoding"] = []string{enc}
	}
	modified, _ := http.ParseTime(h.Get("Last-Modified"))
	rt.content = content{header: h, etag: etag, modified: modified}
	rt.body = "r" + out.sum + enc
	rt.checked, rt.until = checked, until
	rt.labels = x.labelsFor(t)
	age := int64(-1)
	if !checked.IsZero() {
		age = max(int64(x.s.now().Sub(checked)/time.Second), 0)
	}
	stale := false
	for _, l := range layers {
		stale = stale || l.stale
	}
	if x.tier == "none" {
		x.tier = "store"
	}
	if stale {
		x.tier = "stale"
		x.s.metrics.stale.Inc()
		x.w.Header()["Warning"] = []string{`110 larder "response is stale"`}
	} else if current {
		x.keep(rt, body)
	}
	x.serveBytes(&rt.content, body, age)
}

func addVary(h http.Header, field string) {
	for _, v := range h["Vary"] {
		if v == field {
			return
		}
	}
	if old := h["Vary"]; len(old) > 0 {
		h["Vary"] = []string{old[0] + ", " + field}
		return
	}
	h["Vary"] = []string{field}
}

// freshness is when the oldest layer was confirmed, and until when the answer
// may be given without asking again.
func (x *exchange) freshness(layers []layer) (checked, until time.Time) {
	for _, l := range layers {
		if l.row == nil {
			continue
		}
		at := l.row.Checked
		if l.conn == nil && len(layers) > 1 {
			continue // what is held here is never out of date
		}
		if checked.IsZero() || at.Before(checked) {
			checked = at
		}
		if l.offline || l.conn == nil {
			continue
		}
		if u := at.Add(l.conn.MetadataTTL); until.IsZero() || u.Before(until) {
			until = u
		}
	}
	return checked, until
}

// variantKey names everything a rendering depends on.
func (x *exchange) variantKey(t formats.Target, layers []layer, gen uint64) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\x00%s\x00%s\x00%s\x00%s\x00%s\x00%d\x00%d", x.format.ID(), t.Name.Canon, t.Doc, t.Version, t.Variant, x.rq.Base, gen, x.site.epoch)
	for _, l := range layers {
		fmt.Fprintf(&b, "\x00%s %v %v", l.place, l.offline, l.removed())
	}
	return b.String()
}

func renderView(l formats.Lister, v *formats.View, t formats.Target) (*rendered, error) {
	var buf bytes.Buffer
	h, err := l.Render(&buf, v, t)
	if err != nil {
		return nil, err
	}
	out := &rendered{header: h, identity: buf.Bytes()}
	sum := sha256.Sum256(out.identity)
	out.sum = hex.EncodeToString(sum[:])
	return out, nil
}

// pack returns the gzip form, made when the first client wants it, or nil.
func (r *rendered) pack(wanted bool) []byte {
	if !wanted || len(r.identity) < minGzip {
		return nil
	}
	r.once.Do(func() {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(r.identity); err != nil {
			return // a bytes.Buffer does not fail
		}
		if err := w.Close(); err == nil && z.Len() < len(r.identity) {
			r.packed = z.Bytes()
		}
	})
	return r.packed
}

// mergeRule is the format's way of uniting several upstreams.
func mergeRule(f formats.Format) formats.MergeRule {
	if m, ok := f.(formats.Merger); ok {
		return m.Merge()
	}
	return formats.FirstOwner
}

// ownerLayer finds the one connection that supplies a name: the pinned one, else
// the first that has the name. An upstream that fails before the owner is known
// is an error, never a reason to try the next: else whoever can disturb the
// first registry decides what the name means.
func (x *exchange) ownerLayer(t formats.Target, conns []*catalog.Connection) ([]layer, error) {
	pinned, isPinned, err := x.s.cfg.Catalog.Owner(x.scope(), x.format.ID(), t.Name.Canon)
	if err != nil {
		return nil, err
	}
	held := true
	for _, c := range conns {
		if isPinned && catalog.ConnectionPlace(c.Name) != pinned {
			continue
		}
		l, err := x.ensure(x.r.Context(), c, t, false)
		switch {
		case err == nil:
			if !isPinned {
				if err := x.s.cfg.Catalog.SetOwner(x.scope(), x.format.ID(), t.Name.Canon, catalog.ConnectionPlace(c.Name)); err != nil {
					return nil, err
				}
			}
			x.conn = c.Name
			x.noteFill(l)
			return []layer{*l}, nil
		case errors.Is(err, errAbsent):
			held = held && x.isOffline(c)
		default:
			return nil, err
		}
	}
	if isPinned {
		if err := x.orphaned(t, pinned, conns); err != nil {
			return nil, err
		}
	}
	return nil, x.absence(t, held)
}

// orphaned words the case that a name belongs to a connection which the
// repository no longer reaches. No other place may take the name over by itself.
func (x *exchange) orphaned(t formats.Target, owner catalog.Place, conns []*catalog.Connection) error {
	for _, c := range conns {
		if catalog.ConnectionPlace(c.Name) == owner {
			return nil
		}
	}
	name := strings.TrimPrefix(string(owner), "c:")
	return formats.Refuse(formats.NotFound, "%s was supplied by connection %q, which repository %q no longer reaches; no other connection may take the name over", t.Name.Show(), name, x.repo)
}

func (x *exchange) unionLayers(t formats.Target, conns []*catalog.Connection) ([]layer, error) {
	type result struct {
		l   *layer
		err error
	}
	results := make([]chan result, len(conns))
	for i, c := range conns {
		results[i] = make(chan result, 1)
		go func() {
			l, err := x.ensure(x.r.Context(), c, t, false)
			results[i] <- result{l, err}
		}()
	}
	var out []layer
	held := true
	var failed error
	for i, c := range conns {
		r := <-results[i]
		switch {
		case r.err == nil:
			x.noteFill(r.l)
			out = append(out, *r.l)
		case errors.Is(r.err, errAbsent):
			held = held && x.isOffline(c)
		case failed == nil:
			failed = r.err
		}
	}
	if failed != nil {
		return nil, failed
	}
	if len(out) == 0 {
		return nil, x.absence(t, held)
	}
	x.conn = out[0].conn.Name
	return out, nil
}

func (x *exchange) connections() []*catalog.Connection {
	return x.graph.Connections(x.repo, x.format.ID())
}

func (x *exchange) isOffline(c *catalog.Connection) bool { return x.site.Offline || c.Offline }

func (x *exchange) noConnection() error {
	return formats.Refuse(formats.NotFound, "repository %q has no upstream for %s packages", x.repo, x.format.ID())
}

// absence words why nothing is there.
func (x *exchange) absence(t formats.Target, offline bool) error {
	if offline {
		x.s.metrics.notHeld.Inc()
		return formats.Refuse(formats.NotHeld, "%s is not held here and this node is offline", printable(what(t)))
	}
	return formats.Refuse(formats.NotFound, "%s was not found upstream", printable(what(t)))
}

// what names a target for people.
func what(t formats.Target) string {
	s := t.Name.Show()
	if s == "" {
		s = t.Doc
	}
	if t.Version != "" {
		s += " " + t.Version
	}
	if t.File != "" {
		s += " (" + t.File + ")"
	}
	return s
}

func (x *exchange) listingKey(c *catalog.Connection, t formats.Target) catalog.ListingKey {
	return catalog.ListingKey{Place: catalog.ConnectionPlace(c.Name), Format: x.format.ID(), Name: t.Name.Canon, Doc: t.Doc}
}

// noteFill notes for the log that the answer waited for an upstream.
func (x *exchange) noteFill(l *layer) {
	if l.filled {
		x.tier = "fill"
	}
}

// ensure returns what one connection knows of a name, asking it where that is
// due. errAbsent means that it has no such name. It changes nothing of x, since
// several connections are asked at one time.
func (x *exchange) ensure(ctx context.Context, c *catalog.Connection, t formats.Target, force bool) (*layer, error) {
	k := x.listingKey(c, t)
	offline := x.isOffline(c)
	if !offline {
		state, err := x.s.fresh.ensure(ctx, refresh{conn: c, format: x.format, target: t, key: k, force: force})
		if err != nil {
			return nil, err
		}
		row, err := x.s.cfg.Catalog.Head(k)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil, errAbsent
		}
		if err != nil {
			return nil, err
		}
		return &layer{place: k.Place, name: c.Name, conn: c, row: row, stale: state.stale, filled: state.filled}, nil
	}
	row, err := x.s.cfg.Catalog.Head(k)
	if errors.Is(err, catalog.ErrNotFound) {
		known, err := x.s.cfg.Catalog.Knows(k.Place, k.Format, k.Name)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, errAbsent
		}
		return &layer{place: k.Place, name: c.Name, conn: c, offline: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return &layer{place: k.Place, name: c.Name, conn: c, row: row, offline: true}, nil
}

// merge is a view while it is put together.
type merge struct {
	x        *exchange
	t        formats.Target
	v        *formats.View
	taken    map[string]bool
	retained []*formats.Version // of repositories, shown unless a connection describes them better
	filter   bool
	closure  formats.Closure
	vanished bool // every layer was withdrawn upstream
}

// view merges the layers and applies policy and the offline filter.
func (x *exchange) view(t formats.Target, layers []layer) (*formats.View, error) {
	m := &merge{x: x, t: t, taken: map[string]bool{}, filter: x.site.Rules.HasBlocks(x.format.ID()), vanished: true,
		v: &formats.View{Name: t.Name, Base: x.rq.Base, Offline: true, LocalTags: x.site.LocalTags, Auth: x.needsAuth()}}
	m.closure, _ = x.format.(formats.Closure)
	for _, l := range layers {
		if err := m.layer(l); err != nil {
			return nil, err
		}
	}
	for _, ver := range m.retained {
		if !m.taken[ver.V] {
			m.taken[ver.V] = true
			m.add(ver, m.x.site.Offline)
		}
	}
	v, vanished := m.v, m.vanished
	// What a repository merely retains says nothing about the package.
	if spoken := slices.DeleteFunc(slices.Clone(v.Layers), func(l formats.Layer) bool { return l.Local && emptyHead(l.Head) }); len(spoken) > 0 {
		v.Layers = spoken
	}
	if len(v.Versions) > 0 {
		return v, nil
	}
	// A listing that is no list of versions (Maven's plugin groups) is its head.
	for _, l := range v.Layers {
		if len(v.Hidden) == 0 && v.Missing == 0 && len(l.Head.Raw) > 0 {
			return v, nil
		}
	}
	switch {
	case len(v.Hidden) > 0 && len(v.Hidden) >= v.Missing:
		return nil, formats.Refuse(formats.Blocked, "every version of %s is blocked by policy: %s", t.Name.Show(), v.Hidden[0].Reason)
	case v.Offline:
		return nil, x.absence(t, true)
	case vanished:
		return nil, formats.Refuse(formats.NotFound, "%s was withdrawn upstream and none of its versions is held here", t.Name.Show())
	}
	return v, nil
}

func emptyHead(h *formats.Head) bool {
	return len(h.Raw) == 0 && len(h.Aux) == 0 && len(h.Tags) == 0
}

// layer adds what one place knows.
func (m *merge) layer(l layer) error {
	key := catalog.ListingKey{Place: l.place, Format: m.x.format.ID(), Name: m.t.Name.Canon, Doc: m.t.Doc}
	if l.conn == nil {
		key.Doc = "" // a repository keeps one listing of a name, whatever document is made of it
	}
	got, err := m.x.s.cfg.Catalog.Listing(key)
	if errors.Is(err, catalog.ErrNotFound) {
		got = &catalog.Listing{}
	} else if err != nil {
		return err
	}
	head, removed := &formats.Head{}, false
	if got.Row != nil {
		head = &got.Row.Head
		removed = got.Row.Standing == catalog.Removed
	}
	m.vanished = m.vanished && removed
	m.v.Layers = append(m.v.Layers, formats.Layer{Place: l.name, Head: head, Local: l.conn == nil})
	if l.conn != nil {
		m.v.Offline = m.v.Offline && l.offline
	} else {
		m.v.Offline = m.v.Offline && m.x.site.Offline
	}
	if head.Display != "" && m.v.Name.Display == "" && head.Display != m.v.Name.Canon {
		m.v.Name.Display = head.Display
	}
	for _, ver := range got.Versions {
		switch {
		case m.taken[ver.V]:
		case l.conn == nil:
			m.held(ver)
		case !l.offline && !removed && ver.State != formats.Live:
			// Online, only what upstream lists is listed. Offline, and when the
			// whole name vanished upstream, what is held is.
		default:
			m.taken[ver.V] = true
			m.add(ver, l.offline || removed)
		}
	}
	return nil
}

// held adds a version that a repository itself holds, as its status allows.
func (m *merge) held(ver *formats.Version) {
	h := ver.Hosting
	switch {
	case h == nil || h.Status == formats.Unfinished:
	case !h.Status.Listed():
		m.taken[ver.V] = true
	case h.Origin == formats.OriginInternal:
		m.taken[ver.V] = true
		m.add(ver, m.x.site.Offline)
	default:
		m.retained = append(m.retained, ver)
	}
}

// add shows a version, unless policy hides it or, with onlyHeld, files that it
// needs are missing.
func (m *merge) add(ver *formats.Version, onlyHeld bool) {
	x, v := m.x, m.v
	if onlyHeld {
		if m.closure != nil {
			kept, ok := m.closure.Available(ver)
			if !ok {
				v.Missing++
				return
			}
			ver = kept
		} else if len(ver.Held) == 0 {
			v.Missing++
			return
		}
	}
	if m.filter {
		if d := x.decideRead(m.t.Name, ver.V, ""); d.Verdict != policy.Allow {
			v.Hidden = append(v.Hidden, formats.Hidden{Version: ver, Reason: d.Reason})
			return
		}
	}
	v.Versions = append(v.Versions, ver)
}

func (x *exchange) labelsFor(t formats.Target) labels {
	return labels{format: x.format.ID(), repo: x.repo, name: t.Name.Canon, version: t.Version, kind: t.Kind.String()}
}
