package pypi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/pypi"
)

// node is the least program around the format that a real client can use: it
// fetches, parses, renders, verifies and inspects in the order in which the
// proxy does, without its caching. Tests drive clients through it, so that the
// translation is proved apart from the rest.
type node struct {
	t       *testing.T
	format  *pypi.Format
	conn    formats.Connection
	offline bool

	mu       sync.Mutex
	versions map[string][]*formats.Version // by name, as last parsed
	heads    map[string]*formats.Head
	held     map[string]map[string]formats.HeldAsset // by name and version, then file
	bodies   map[string][]byte                       // by file
}

func newNode(t *testing.T, index string) (*node, *httptest.Server) {
	n := &node{t: t, format: pypi.New(), conn: formats.Connection{Name: "public:pypi", URL: index},
		versions: map[string][]*formats.Version{}, heads: map[string]*formats.Head{},
		held: map[string]map[string]formats.HeldAsset{}, bodies: map[string][]byte{}}
	srv := httptest.NewServer(n)
	t.Cleanup(srv.Close)
	return n, srv
}

func (n *node) goOffline() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.offline = true
}

func (n *node) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rest := strings.TrimPrefix(q.URL.EscapedPath(), "/pypi/main/")
	if q.URL.RawQuery != "" {
		rest += "?" + q.URL.RawQuery
	}
	rq := formattest.NewRequest(q.Method, "http://"+q.Host+"/pypi/main", rest, q.Header)
	reply, err := n.answer(q.Context(), rq)
	if err != nil {
		reply = n.format.Refuse(rq, formats.AsRefusal(err))
	}
	for key, values := range reply.Header {
		w.Header()[key] = values
	}
	if reply.Status != http.StatusOK {
		w.WriteHeader(reply.Status)
		w.Write(reply.Body)
		return
	}
	sum := sha256.Sum256(reply.Body)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, q, "", n.heads[""].Modified, bytes.NewReader(reply.Body))
}

func (n *node) answer(ctx context.Context, rq *formats.Request) (*formats.Reply, error) {
	n.heads[""] = &formats.Head{}
	t, err := n.format.Route(rq)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case formats.KindLocal:
		return t.Reply, nil
	case formats.KindListing:
		if err := n.load(ctx, t); err != nil {
			return nil, err
		}
		var b bytes.Buffer
		h, err := n.format.Render(&b, n.view(rq.Base, t.Name), t)
		if err != nil {
			return nil, err
		}
		return &formats.Reply{Status: http.StatusOK, Header: h, Body: b.Bytes()}, nil
	case formats.KindAsset:
		body, err := n.asset(ctx, t)
		return &formats.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {t.ContentType}}, Body: body}, err
	}
	n.t.Errorf("%s routes to a %s", rq.Raw, t.Kind)
	return nil, formats.Refuse(formats.Internal, "no")
}

func (n *node) load(ctx context.Context, t formats.Target) error {
	if n.offline {
		return nil
	}
	t.Kind, t.Version, t.File = formats.KindListing, "", ""
	resp, err := n.get(ctx, t, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var versions []*formats.Version
	src := formats.Source{Connection: n.conn, URL: resp.Request.URL.String(), Header: resp.Header}
	head, err := n.format.Parse(t, src, resp.Body, func(v *formats.Version) error { versions = append(versions, v); return nil })
	if err != nil {
		return formats.Refuse(formats.Upstream, "the index answered nonsense").Because(err)
	}
	n.versions[t.Name.Canon], n.heads[t.Name.Canon] = versions, head
	return nil
}

func (n *node) get(ctx context.Context, t formats.Target, a *formats.Asset) (*http.Response, error) {
	if n.offline {
		return nil, formats.Refuse(formats.NotHeld, "%s is not held here", t.Name.Canon)
	}
	fetch, err := n.format.Locate(ctx, n.conn, t, a, nil)
	if err != nil {
		return nil, err
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, fetch.URL, nil)
	if err != nil {
		return nil, err
	}
	rq.Header = fetch.Header
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, formats.Refuse(formats.Upstream, "the index does not answer").Because(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, formats.Refuse(formats.NotFound, "the index has no %s", t.Name.Canon)
	}
	return resp, nil
}

func (n *node) view(base string, name formats.Name) *formats.View {
	v := &formats.View{Name: name, Base: base, Offline: n.offline}
	if head := n.heads[name.Canon]; head != nil {
		v.Layers = []formats.Layer{{Place: n.conn.Name, Head: head}}
	}
	for _, version := range n.versions[name.Canon] {
		row := *version
		row.Held = n.held[name.Canon+" "+row.V]
		if n.offline {
			restricted, ok := n.format.Available(&row)
			if !ok {
				v.Missing++
				continue
			}
			row = *restricted
		}
		v.Versions = append(v.Versions, &row)
	}
	return v
}

func (n *node) asset(ctx context.Context, t formats.Target) ([]byte, error) {
	if body, ok := n.bodies[t.File]; ok {
		return body, nil
	}
	if n.versions[t.Name.Canon] == nil {
		if err := n.load(ctx, t); err != nil {
			return nil, err
		}
	}
	var a *formats.Asset
	for _, v := range n.versions[t.Name.Canon] {
		if v.V == t.Version {
			a = v.Asset(t.File)
		}
	}
	resp, err := n.get(ctx, t, a)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	want, err := n.format.Expect(ctx, n.conn, t, a, resp.Header, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	for _, d := range want.Digests {
		h := d.Alg.New()
		h.Write(body)
		if got := hex.EncodeToString(h.Sum(nil)); got != d.Hex {
			return nil, formats.Refuse(formats.Upstream, "%s has digest %s, want %s", t.File, got, d.Hex)
		}
	}
	if want.Whole {
		if err := n.format.Check(ctx, t, bytes.NewReader(body), want); err != nil {
			return nil, formats.Refuse(formats.Upstream, "bad file").Because(err)
		}
	}
	derived, aux, err := n.format.Inspect(t, bytes.NewReader(body))
	if err != nil {
		n.t.Errorf("Inspect(%s): %v", t.File, err)
	}
	n.hold(t, t.File, body, aux, false)
	for _, d := range derived {
		if _, there := n.bodies[d.File]; !there {
			n.hold(t, d.File, d.Body, nil, true)
		}
	}
	return body, nil
}

func (n *node) hold(t formats.Target, file string, body, aux []byte, derived bool) {
	key := t.Name.Canon + " " + t.Version
	if n.held[key] == nil {
		n.held[key] = map[string]formats.HeldAsset{}
	}
	sum := sha256.Sum256(body)
	n.bodies[file] = body
	n.held[key][file] = formats.HeldAsset{File: file, Size: int64(len(body)), Derived: derived, Aux: aux,
		Digests: []formats.Digest{{Alg: formats.SHA256, Hex: hex.EncodeToString(sum[:])}}}
}
