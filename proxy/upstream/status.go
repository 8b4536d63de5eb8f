package upstream

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Observer is told what goes over the wire, for metrics. Its methods are called
// from many goroutines and must not block.
type Observer interface {
	// Attempt is called once per request sent, when its header has come or it
	// has failed. host is "scheme://host:port"; status is 0 on an error.
	Attempt(connection, host, method string, status int, took time.Duration, err error)
	// Body is called once per response given to a caller, when its body was
	// read or closed: bytes as they came over the wire, and the time since the
	// header. err is nil if it was read to its end or closed early.
	Body(connection string, bytes int64, took time.Duration, err error)
	// Breaker is called when the breaker of a host changes.
	Breaker(connection, host string, state State)
}

type noObserver struct{}

func (noObserver) Attempt(string, string, string, int, time.Duration, error) {}
func (noObserver) Body(string, int64, time.Duration, error)                  {}
func (noObserver) Breaker(string, string, State)                             {}

// ConnStatus is a connection's health and counts since New.
type ConnStatus struct {
	Name    string
	URL     string // without credentials
	Offline bool
	// State, Failures (in a row) and RetryIn (breaker or pause) are those of the
	// connection's own host. Other holds the other hosts that are not well.
	State    State
	Failures int
	RetryIn  time.Duration
	Other    map[string]State

	Running   int64 // requests with a place, bodies included
	Requests  int64 // sent, further attempts and redirects included
	Failed    int64 // without a good answer: no header, 429 or 5xx
	Broken    int64 // bodies that broke off
	Refused   int64 // places that were not asked
	Bytes     int64 // of bodies, as they came over the wire
	Dials     int64
	LastError string // of the last failure; no secrets
	LastFail  time.Time
	LastGood  time.Time
}

// tally counts for one connection name over all reloads.
type tally struct {
	running, requests, failed, broken, refused, bytes, dials atomic.Int64

	mu struct {
		sync.Mutex
		lastError          string
		lastFail, lastGood time.Time
	}
}

func (t *tally) fail(err error, now time.Time) {
	t.mu.Lock()
	t.mu.lastError, t.mu.lastFail = clip(err.Error(), 300), now
	t.mu.Unlock()
}

func (t *tally) good(now time.Time) {
	t.mu.Lock()
	t.mu.lastGood = now
	t.mu.Unlock()
}

// Status reports every connection in the order of the configuration.
func (c *Client) Status() []ConnStatus {
	st := c.state.Load()
	now := c.env.now()
	out := make([]ConnStatus, 0, len(st.order))
	for _, name := range st.order {
		l := st.links[name]
		t := l.tally
		s := ConnStatus{
			Name: name, URL: l.base.String(), Offline: st.offline || l.cfg.Offline,
			Running: t.running.Load(), Requests: t.requests.Load(), Failed: t.failed.Load(), Broken: t.broken.Load(),
			Refused: t.refused.Load(), Bytes: t.bytes.Load(), Dials: t.dials.Load(),
		}
		t.mu.Lock()
		s.LastError, s.LastFail, s.LastGood = t.mu.lastError, t.mu.lastFail, t.mu.lastGood
		t.mu.Unlock()
		l.gates.Lock()
		for o, g := range l.gates.m {
			state, failures, wait := g.snapshot(now)
			if o == l.own {
				s.State, s.Failures, s.RetryIn = state, failures, wait
			} else if state != Closed {
				if s.Other == nil {
					s.Other = map[string]State{}
				}
				s.Other[o.String()] = state
			}
		}
		l.gates.Unlock()
		out = append(out, s)
	}
	return out
}

// report records one attempt.
func (x *exchange) report(a *answer, err error, began time.Time) {
	var refused *Refused
	if errors.As(err, &refused) || errors.Is(err, ErrOffline) {
		return // nothing was sent
	}
	now := x.c.env.now()
	status := 0
	if a != nil {
		status = a.StatusCode
	}
	t := x.l.tally
	t.requests.Add(1)
	switch {
	case err == nil:
		t.good(now)
	case x.ctx.Err() == nil:
		t.failed.Add(1)
		t.fail(err, now)
	}
	x.c.env.observer.Attempt(x.l.cfg.Name, x.at.String(), x.rq.method(), status, now.Sub(began), err)
}

// done records one body.
func (x *exchange) done(a *answer, bytes int64, err error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	t := x.l.tally
	t.bytes.Add(bytes)
	if err != nil {
		t.broken.Add(1)
		t.fail(err, x.c.env.now())
	}
	x.c.env.observer.Body(x.l.cfg.Name, bytes, x.c.env.now().Sub(a.began), err)
}
