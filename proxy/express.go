package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"larder/policy"
)

// route is a kept answer: where its bytes are and for how long they are true.
// It is made by the ordinary path only, after policy allowed the coordinate,
// and holds exactly while nothing that path depended on has changed.
type route struct {
	content  content
	body     string // key in bodies
	labels   labels
	domain   string
	epoch    uint64         // site configuration and policy
	gen      *atomic.Uint64 // the name's rows
	genSeen  uint64
	until    time.Time // when the listing must be asked again; zero: never
	checked  time.Time // for Age; zero: no Age
	counters *routeCounters
}

// labels are what log and metrics say of an answer.
type labels struct{ format, repo, name, version, kind string }

// expressKey builds the key of the raw request, or "" when the request is not
// one that the express lane may answer. Two requests with one key get the same
// answer by construction: every input of Route and Render that is taken from
// the request is in it.
func (x *exchange) expressKey() []byte {
	r := x.r
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	h := r.Header
	if h["Forwarded"] != nil || h["X-Forwarded-Host"] != nil || h["X-Forwarded-Proto"] != nil || h["X-Forwarded-Prefix"] != nil {
		return nil
	}
	// "/a%252Db" has the path that "/a%2Db" has for its raw one.
	path, form := r.URL.RawPath, byte('r')
	if path == "" {
		path, form = r.URL.Path, 'd'
	}
	if len(path) > 1024 || len(r.URL.RawQuery) > 256 || len(r.Host) > 256 {
		return nil
	}
	x.gz = acceptsGzip(h)
	k := (*x.s.keys.Get().(*[]byte))[:0]
	if x.gz {
		k = append(k, 'z')
	} else {
		k = append(k, '-')
	}
	if r.TLS != nil {
		k = append(k, 's')
	} else {
		k = append(k, '-')
	}
	k = append(k, r.Host...)
	k = append(k, 0, form)
	k = append(k, path...)
	k = append(k, '?')
	k = append(k, r.URL.RawQuery...)
	k = append(k, 0)
	for _, a := range h["Accept"] {
		k = append(k, a...)
		k = append(k, 0)
	}
	return k
}

// express answers a request whose whole answer is already known. It takes no
// lock and parses nothing.
func (x *exchange) express() bool {
	k := x.expressKey()
	if k == nil {
		x.gz = acceptsGzip(x.r.Header)
		return false
	}
	x.key = k
	rt, ok := x.s.routes.Get(unsafe.String(unsafe.SliceData(k), len(k)))
	if !ok || rt.epoch != x.site.epoch || rt.gen != nil && rt.gen.Load() != rt.genSeen {
		return false
	}
	if d := x.s.cfg.Gate.MayRead(x.caller, rt.domain, rt.labels.repo, x.circumstances()); d.Verdict != policy.Allow {
		return false // the ordinary path says why
	}
	if !rt.until.IsZero() && x.start.After(rt.until) {
		return false
	}
	body, ok := x.s.bodies.Get(rt.body)
	if !ok {
		return false
	}
	age := int64(-1)
	if !rt.checked.IsZero() {
		age = max(int64(x.start.Sub(rt.checked)/time.Second), 0)
	}
	x.tier = "hot"
	x.repo, x.kept = rt.labels.repo, rt
	x.serveBytes(&rt.content, body, age)
	return true
}

// keep stores a finished answer for the express lane.
func (x *exchange) keep(rt *route, body []byte) {
	if x.key == nil || x.site.Offline != x.s.site.Load().Offline {
		return
	}
	if !x.s.bodies.Add(rt.body, body, int64(len(body))) {
		if _, ok := x.s.bodies.Get(rt.body); !ok {
			return
		}
	}
	rt.epoch, rt.domain = x.site.epoch, x.domain
	rt.counters = x.s.metrics.forRoute(rt.labels)
	cost := int64(256 + len(rt.body) + 8*len(rt.content.header) + 64*len(rt.content.header))
	key := string(x.key)
	if old, ok := x.s.routes.Get(key); ok && !x.stale(old) {
		return
	}
	// A stale entry under this key must go first: a second Add of a present
	// key keeps the old value.
	x.s.routes.Del(key)
	x.s.routes.Add(key, rt, cost)
}

func (x *exchange) stale(rt *route) bool {
	return rt.epoch != x.site.epoch || rt.gen != nil && rt.gen.Load() != rt.genSeen || !rt.until.IsZero() && x.start.After(rt.until)
}

func (x *exchange) releaseKey() {
	if x.key != nil {
		k := x.key
		x.s.keys.Put(&k)
		x.key = nil
	}
}

// acceptsGzip understands the forms clients send: a list with optional
// q-values, where q=0 forbids (RFC 9110 section 12.5.3).
func acceptsGzip(h http.Header) bool {
	v := h["Accept-Encoding"]
	if len(v) == 0 {
		return false
	}
	for _, line := range v {
		for line != "" {
			var one string
			one, line, _ = strings.Cut(line, ",")
			name, params, _ := strings.Cut(strings.TrimSpace(one), ";")
			name = strings.TrimSpace(name)
			if !strings.EqualFold(name, "gzip") && name != "*" {
				continue
			}
			q := strings.ReplaceAll(strings.TrimSpace(params), " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
