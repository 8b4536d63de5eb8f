package formattest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// logLimit bounds the request log; counters go on beyond it.
const logLimit = 10_000

// awaitLimit bounds Await: a test that is right never comes near it.
const awaitLimit = 20 * time.Second

// Upstream is a registry on loopback that counts what it is asked, can be
// switched off and on at one address, and breaks on demand. It is safe for
// concurrent use and ends with the test.
type Upstream struct {
	// URL is "http://127.0.0.1:PORT", without a trailing slash.
	URL string

	t    testing.TB
	next http.Handler
	addr string

	bytes atomic.Int64

	life struct {
		sync.Mutex // held over Stop and Start; taken before mu
		srv        *httptest.Server
	}
	mu struct {
		sync.Mutex
		total   int
		counts  map[string]int
		log     []Asked
		faults  []*fault
		arrived chan struct{} // closed and replaced with every request
	}
}

// Asked is one request as it arrived.
type Asked struct {
	Method string
	Path   string // escaped, as sent
	Query  string
	Header http.Header
}

type fault struct {
	match Match
	do    Fault
}

// Serve starts h as an upstream until the test ends.
func Serve(t testing.TB, h http.Handler) *Upstream {
	t.Helper()
	u := &Upstream{t: t, next: h, addr: "127.0.0.1:0"}
	u.Reset()
	u.Start()
	t.Cleanup(u.Stop)
	return u
}

// Start listens again after Stop, at the same address.
func (u *Upstream) Start() {
	u.t.Helper()
	u.life.Lock()
	defer u.life.Unlock()
	if u.life.srv != nil {
		return
	}
	l, err := net.Listen("tcp", u.addr)
	if err != nil {
		u.t.Fatalf("start upstream at %s: %v", u.addr, err)
	}
	srv := httptest.NewUnstartedServer(u)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	u.life.srv = srv
	if u.URL == "" { // a restart must not write what others read
		u.addr = l.Addr().String()
		u.URL = "http://" + u.addr
	}
}

// Stop closes the listener and every connection and returns when no handler
// runs any more: the upstream is down.
func (u *Upstream) Stop() {
	u.life.Lock()
	defer u.life.Unlock()
	if u.life.srv == nil {
		return
	}
	u.life.srv.Listener.Close()
	u.life.srv.CloseClientConnections() // ends the contexts that faults wait on
	u.life.srv.Close()                  // waits for the handlers
	u.life.srv = nil
}

// ServeHTTP counts a request and answers it through the newest fault that
// matches, or through the handler.
func (u *Upstream) ServeHTTP(rw http.ResponseWriter, rq *http.Request) {
	f := u.note(rq)
	counted := &counter{ResponseWriter: rw, n: &u.bytes}
	if f == nil {
		u.next.ServeHTTP(counted, rq)
		return
	}
	f.do(counted, rq, u.next)
}

func (u *Upstream) note(rq *http.Request) *fault {
	u.mu.Lock()
	defer u.mu.Unlock()
	path := rq.URL.EscapedPath()
	u.mu.total++
	u.mu.counts[path]++
	if len(u.mu.log) < logLimit {
		u.mu.log = append(u.mu.log, Asked{rq.Method, path, rq.URL.RawQuery, rq.Header.Clone()})
	}
	close(u.mu.arrived)
	u.mu.arrived = make(chan struct{})
	for _, f := range slices.Backward(u.mu.faults) {
		if f.match(rq) {
			return f
		}
	}
	return nil
}

// Break lets f answer the requests that match, until heal is called. A newer
// fault goes before an older one.
func (u *Upstream) Break(match Match, f Fault) (heal func()) {
	entry := &fault{match, f}
	u.mu.Lock()
	u.mu.faults = append(u.mu.faults, entry)
	u.mu.Unlock()
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mu.faults = slices.DeleteFunc(u.mu.faults, func(x *fault) bool { return x == entry })
	}
}

// Heal takes all faults away.
func (u *Upstream) Heal() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.faults = nil
}

// Requests returns what arrived since Reset, oldest first (the first 10,000).
func (u *Upstream) Requests() []Asked {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.mu.log)
}

// Count is the number of requests for one escaped path.
func (u *Upstream) Count(path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.counts[path]
}

// Total is the number of all requests.
func (u *Upstream) Total() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.total
}

// Bytes is the number of body bytes written.
func (u *Upstream) Bytes() int64 { return u.bytes.Load() }

// Reset empties the log and the counters.
func (u *Upstream) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.total, u.mu.counts, u.mu.log = 0, map[string]int{}, nil
	if u.mu.arrived == nil {
		u.mu.arrived = make(chan struct{})
	}
	u.bytes.Store(0)
}

// Await returns when path has been asked n times; the test fails if that does
// not happen. It is to be called from the test's goroutine.
func (u *Upstream) Await(path string, n int) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	for {
		u.mu.Lock()
		got, arrived := u.mu.counts[path], u.mu.arrived
		u.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			u.t.Fatalf("%s was asked %d times, want %d", path, got, n)
		}
	}
}

// Match chooses requests.
type Match func(*http.Request) bool

// OnAny matches every request.
func OnAny() Match { return func(*http.Request) bool { return true } }

// OnPath matches an escaped path.
func OnPath(path string) Match {
	return func(rq *http.Request) bool { return rq.URL.EscapedPath() == path }
}

// OnPrefix matches the beginning of an escaped path.
func OnPrefix(prefix string) Match {
	return func(rq *http.Request) bool { return strings.HasPrefix(rq.URL.EscapedPath(), prefix) }
}

// OnSuffix matches the end of an escaped path.
func OnSuffix(suffix string) Match {
	return func(rq *http.Request) bool { return strings.HasSuffix(rq.URL.EscapedPath(), suffix) }
}

// counter counts body bytes.
type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// Unwrap serves http.ResponseController.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
