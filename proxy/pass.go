package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"

	"larder/cache/catalog"
	"larder/formats"
	"larder/proxy/upstream"
)

// maxPass bounds the body of a request that is forwarded, and its answer.
const maxPass = 16 << 20

// passHeaders are the only request headers that are forwarded, read-only:
// nothing that carries a credential or tells who asks.
var passHeaders = []string{"Content-Type", "Content-Encoding", "Accept"}

// pass forwards a request to the first connection and stores nothing.
func (x *exchange) pass(t formats.Target) error {
	conns, err := x.askable(t.Name)
	if err != nil {
		return err
	}
	var c *catalog.Connection
	for _, one := range conns {
		if !x.isOffline(one) {
			c = one
			break
		}
	}
	if c == nil {
		if len(conns) == 0 {
			return x.noConnection()
		}
		return &formats.Refusal{Kind: formats.NotHeld, Message: "this is answered by the registry outside only, and this node is offline"}
	}
	resp, err := x.forward(c, t)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.tier, x.conn = "pass", c.Name
	if t.Kind == formats.KindSearch && (isGone(resp.Status) || resp.Status == http.StatusNotImplemented) {
		// Mirrors without a search say so with an empty page.
		return formats.Refuse(formats.NotSupported, "upstream %s offers no search", c.Name)
	}
	h := x.w.Header()
	if ct := contentType(resp.Header); ct != "" {
		h["Content-Type"] = []string{ct}
	}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = nosniff
	x.status = resp.Status
	x.w.WriteHeader(resp.Status)
	n, err := io.Copy(x.w, &limitedBody{r: resp.Body, left: maxPass})
	x.bytes += n
	if err != nil {
		x.cause, x.detail = err, "torn"
		return http.ErrAbortHandler
	}
	return nil
}

func (x *exchange) forward(c *catalog.Connection, t formats.Target) (*upstream.Response, error) {
	up, ok := x.format.(formats.Upstreamer)
	if !ok {
		return nil, formats.Refuse(formats.NotSupported, "format %s forwards nothing", x.format.ID())
	}
	fetch, err := up.Locate(x.r.Context(), c.Connection, t, nil, x.s.docs(c, x.format))
	if err != nil {
		return nil, x.s.upstreamRefusal(c, t, err)
	}
	rq := upstream.Request{Connection: c.Name, Method: fetch.Method, URL: fetch.URL, Header: fetch.Header.Clone(), NoRetry: true}
	if rq.Method == "" {
		rq.Method = x.r.Method
	}
	if rq.Header == nil {
		rq.Header = http.Header{}
	}
	for _, k := range passHeaders {
		if v := x.r.Header.Values(k); len(v) > 0 && rq.Header.Get(k) == "" {
			rq.Header[k] = v
		}
	}
	if rq.Method == http.MethodPost || rq.Method == http.MethodPut {
		body, err := x.readBody()
		if err != nil {
			return nil, err
		}
		if r, ok := x.format.(formats.Redactor); ok {
			if body, err = r.Redact(t, rq.Header, body, x.private); err != nil {
				return nil, err
			}
		}
		rq.Body = bytes.NewReader(body)
	}
	resp, err := x.s.cfg.Upstream.Do(x.r.Context(), rq)
	if err != nil {
		return nil, x.s.upstreamRefusal(c, t, err)
	}
	return resp, nil
}

// private reports whether origin controls keep a name from being asked for
// outside.
func (x *exchange) private(n formats.Name) (bool, error) {
	_, err := x.askable(n)
	var ref *formats.Refusal
	if errors.As(err, &ref) && ref.Kind == formats.NotFound {
		return true, nil
	}
	return false, err
}

// readBody reads the body of a request that is forwarded, of bounded size and
// in bounded time.
func (x *exchange) readBody() ([]byte, error) {
	rc := http.NewResponseController(x.w)
	// Not every ResponseWriter can; net/http's can.
	_ = rc.SetReadDeadline(time.Now().Add(x.s.cfg.Limits.RequestBodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxPass))
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
		return body, nil
	}
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return nil, formats.Refuse(formats.TooLarge, "the request body is larger than 16 MiB")
	case errors.Is(err, os.ErrDeadlineExceeded):
		if x.r.ProtoMajor == 1 { // a field that HTTP/3 forbids (RFC 9114 section 4.2)
			x.w.Header()["Connection"] = []string{"close"}
		}
		return nil, &formats.Refusal{Kind: formats.BadRequest, Status: http.StatusRequestTimeout, Message: "the request body did not arrive in time", Err: err}
	}
	return nil, formats.Refuse(formats.BadRequest, "the request body could not be read").Because(err)
}

// search asks the registry outside; offline it answers from names held here.
func (x *exchange) search(t formats.Target) error {
	s, local := x.format.(formats.Searcher)
	for _, c := range x.connections() {
		if !x.isOffline(c) {
			return x.pass(t)
		}
	}
	if !local {
		return formats.Refuse(formats.NotHeld, "search is answered by the registry outside only, and this node is offline")
	}
	text, from, size := s.Query(x.rq)
	hits, total, err := x.searchHeld(strings.ToLower(text), from, size)
	if err != nil {
		return err
	}
	x.tier = "store"
	x.reply(s.Results(x.rq, hits, total))
	return nil
}

// maxSearch bounds how many names one search looks at.
const maxSearch = 200_000

func (x *exchange) searchHeld(text string, from, size int) ([]formats.SearchHit, int, error) {
	type hit struct {
		name    string
		display string
	}
	var all []hit
	seen := map[string]bool{}
	looked := 0
	take := func(name, display string) bool {
		looked++
		if !seen[name] && strings.Contains(strings.ToLower(name), text) {
			seen[name] = true
			all = append(all, hit{name, display})
		}
		return looked < maxSearch
	}
	for _, node := range x.graph.Walk(x.repo) {
		err := x.s.cfg.Catalog.Packages(catalog.RepositoryPlace(x.domain, node.Repository), x.format.ID(), "", "", func(p *catalog.Package) bool {
			return take(p.Name.Canon, p.Name.Display)
		})
		if err != nil {
			return nil, 0, err
		}
	}
	for _, c := range x.connections() {
		err := x.s.cfg.Catalog.Names(catalog.ConnectionPlace(c.Name), x.format.ID(), "", func(name string, row *catalog.HeadRow) bool {
			return take(name, row.Head.Display)
		})
		if err != nil {
			return nil, 0, err
		}
	}
	// Exact and prefix matches first, then by name.
	rank := func(n string) int {
		switch {
		case n == text:
			return 0
		case strings.HasPrefix(n, text):
			return 1
		}
		return 2
	}
	sort.SliceStable(all, func(i, j int) bool {
		if a, b := rank(all[i].name), rank(all[j].name); a != b {
			return a < b
		}
		return all[i].name < all[j].name
	})
	var out []formats.SearchHit
	total := 0
	for _, h := range all {
		if err := x.r.Context().Err(); err != nil {
			return nil, 0, err // nobody waits for so long a look
		}
		t := formats.Target{Kind: formats.KindListing, Name: formats.Name{Canon: h.name, Display: h.display}}
		if ref := x.decide(t.Name, "", ""); ref != nil {
			continue
		}
		ls, err := x.layers(t)
		if err != nil {
			continue // held by no place that may be asked
		}
		v, err := x.view(t, ls)
		if err != nil || len(v.Versions) == 0 {
			continue // nothing of it can be installed from here
		}
		total++
		if total <= from || len(out) >= size {
			continue
		}
		out = append(out, formats.SearchHit{Name: v.Name, Head: v.Layers[0].Head, Version: newest(v)})
	}
	return out, total, nil
}

// newest is the version that a search shows: the one that upstream calls latest
// if the view has it, else the last listed. Patches of an old line are listed
// after a new major version, so the last alone would be wrong.
func newest(v *formats.View) *formats.Version {
	latest := v.Layers[0].Head.Tags["latest"]
	for _, ver := range v.Versions {
		if ver.V == latest {
			return ver
		}
	}
	return v.Versions[len(v.Versions)-1]
}
