package upstream

import (
	"sync"
	"time"
)

// State is what a breaker does.
type State uint8

const (
	Closed   State = iota // requests pass
	Open                  // requests fail at once
	HalfOpen              // one probe is out, the others fail at once
)

func (s State) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// verdict is what an attempt says about the health of its host.
type verdict uint8

const (
	neutral verdict = iota // the attempt ended for reasons of ours
	healthy
	failed
)

// gate is the breaker and the pause of one host of one connection.
type gate struct {
	limit int           // failures in a row that open it; below 0 never
	pause time.Duration // first open time

	mu struct {
		sync.Mutex
		state    State
		failures int       // in a row
		opened   int       // times opened in a row, for doubling
		until    time.Time // open: when a probe may go
		probe    uint64    // the ticket of the probe
		tickets  uint64
		last     error // of the last failure

		paused    time.Time // no request before
		throttled int       // 429s in a row
	}
}

// enter asks for passage. wait is zero when it is granted; otherwise it is the
// time after which asking again makes sense, and paused says that waiting for
// it is enough (429), as opposed to an open breaker.
func (g *gate) enter(now time.Time) (ticket uint64, wait time.Duration, paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.mu.paused.Sub(now); d > 0 {
		return 0, d, true
	}
	switch g.mu.state {
	case Open:
		if d := g.mu.until.Sub(now); d > 0 {
			return 0, d, false
		}
		g.mu.state = HalfOpen
		g.mu.tickets++
		g.mu.probe = g.mu.tickets
		return g.mu.probe, 0, false
	case HalfOpen:
		return 0, time.Second, false
	}
	g.mu.tickets++
	return g.mu.tickets, 0, false
}

// leave reports how the attempt with this ticket went and returns the state
// before and after. err is the failure; jitter is in [0,1).
func (g *gate) leave(ticket uint64, v verdict, err error, now time.Time, jitter float64) (before, after State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before = g.mu.state
	if v == failed {
		g.mu.last = err
	}
	probing := g.mu.state == HalfOpen && g.mu.probe == ticket
	switch {
	case v == healthy:
		if g.mu.state == Closed || probing {
			g.mu.state, g.mu.failures, g.mu.opened = Closed, 0, 0
		}
	case v == neutral:
		if probing { // nothing learned: the next request probes
			g.mu.state, g.mu.until = Open, now
		}
	case g.mu.state == Closed:
		if g.mu.failures++; g.limit > 0 && g.mu.failures >= g.limit {
			g.open(now, jitter)
		}
	case probing:
		g.mu.failures++
		g.open(now, jitter)
	}
	return before, g.mu.state
}

// open starts an open time: doubled per round up to 16 times, plus up to a
// quarter of jitter.
func (g *gate) open(now time.Time, jitter float64) {
	d := g.pause << min(g.mu.opened, 4)
	g.mu.opened++
	g.mu.state = Open
	g.mu.until = now.Add(d + time.Duration(jitter*float64(d)/4))
}

// hold pauses the host: for d if the upstream named a time, else for a time
// that doubles with each 429 in a row. It returns the pause.
func (g *gate) hold(d time.Duration, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d <= 0 {
		d = time.Second << min(g.mu.throttled, 5)
	}
	d = min(d, maxRetryAfter)
	g.mu.throttled++
	if until := now.Add(d); until.After(g.mu.paused) {
		g.mu.paused = until
	}
	return d
}

// unthrottle forgets earlier 429s after an answer of another kind.
func (g *gate) unthrottle() {
	g.mu.Lock()
	g.mu.throttled = 0
	g.mu.Unlock()
}

// lastError is the failure that opened the gate.
func (g *gate) lastError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.last
}

// snapshot is the gate's state at now.
func (g *gate) snapshot(now time.Time) (s State, failures int, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = g.mu.paused.Sub(now)
	if g.mu.state == Open {
		wait = max(wait, g.mu.until.Sub(now))
	}
	return g.mu.state, g.mu.failures, max(wait, 0)
}

// maxGates bounds the hosts of one connection that are watched one by one;
// metadata can name any number of hosts.
const maxGates = 256

// gate returns the gate of a host, making room by dropping quiet ones.
func (l *link) gate(o origin) *gate {
	l.gates.Lock()
	defer l.gates.Unlock()
	if g := l.gates.m[o]; g != nil {
		return g
	}
	if len(l.gates.m) >= maxGates {
		for k, g := range l.gates.m {
			if s, n, wait := g.snapshot(l.client.env.now()); k != l.own && s == Closed && n == 0 && wait == 0 {
				delete(l.gates.m, k)
			}
		}
		if len(l.gates.m) >= maxGates && o != l.own {
			o = origin{} // the rest share one
			if g := l.gates.m[o]; g != nil {
				return g
			}
		}
	}
	g := &gate{limit: l.cfg.BreakerFailures, pause: l.cfg.BreakerPause}
	l.gates.m[o] = g
	return g
}
