package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Do asks a connection and returns its answer once the header is there.
// Redirects that may be followed have been followed, failures that may pass
// have been tried again. Any status but 429 and 5xx is an answer. The errors
// are ErrOffline, ErrNoConnection, ErrClosed, *Refused, *Unavailable, or the
// context's own error.
func (c *Client) Do(ctx context.Context, rq Request) (*Response, error) {
	l, err := c.link(rq.Connection)
	if err != nil {
		return nil, err
	}
	u, o, err := l.resolve(&rq)
	if err != nil {
		l.tally.refused.Add(1)
		return nil, err
	}
	x := &exchange{c: c, l: l, ctx: ctx, rq: &rq, url: u, at: o, home: o == l.own, retries: max(l.cfg.Retries, 0)}
	if rq.NoRetry || !rq.repeatable() {
		x.retries = 0
	}
	x.places = l.documents
	if rq.bulk() {
		x.places = l.bulk
	}
	resp, err := x.run()
	if err != nil {
		x.leave()
		var refused *Refused
		if errors.As(err, &refused) {
			l.tally.refused.Add(1)
		}
		return nil, err
	}
	return resp, nil
}

// exchange is one Do: a chain of hops, each of one or more attempts.
type exchange struct {
	c   *Client
	l   *link
	ctx context.Context
	rq  *Request

	url  *url.URL
	at   origin
	home bool // still at the connection's own origin; never true again once left

	redirects int
	retries   int           // attempts left after the first
	tries     int           // backoffs taken
	waited    time.Duration // of MaxWait

	places places
	placed bool
}

// answer is a response header and what keeps its body alive.
type answer struct {
	*http.Response
	cancel context.CancelCauseFunc
	ctx    context.Context
	began  time.Time
}

// discard ends an answer whose body is of no interest; a short one is read so
// that the connection can be used again.
func (a *answer) discard() {
	if a.ContentLength >= 0 && a.ContentLength <= 4<<10 {
		t := time.AfterFunc(250*time.Millisecond, func() { a.cancel(errIdleTime) })
		io.CopyN(io.Discard, a.Body, a.ContentLength+1)
		t.Stop()
	}
	a.Body.Close()
	a.cancel(nil)
}

func (x *exchange) run() (*Response, error) {
	for {
		a, err := x.hop()
		if err != nil {
			return nil, err
		}
		if !isRedirect(a.StatusCode) {
			return x.respond(a)
		}
		location := a.Header.Values("Location")
		status := a.StatusCode
		a.discard()
		if err := x.follow(status, location); err != nil {
			return nil, err
		}
	}
}

// hop sends the request to the present URL until it gives an answer or the
// attempts are used up.
func (x *exchange) hop() (*answer, error) {
	for {
		if err := x.take(); err != nil {
			return nil, err
		}
		a, err := x.attempt()
		if err == nil {
			return a, nil
		}
		var fault *fault
		if !errors.As(err, &fault) {
			return nil, err
		}
		wait, again := x.pause(fault)
		if !again {
			return nil, fault.public(x.l.cfg.Name)
		}
		x.leave()
		if err := x.sleep(wait); err != nil {
			return nil, err
		}
	}
}

// fault is a failed attempt.
type fault struct {
	status int
	after  time.Duration // the upstream's or the gate's own time; 0 unknown
	retry  bool          // another attempt may help
	gated  bool          // nothing was sent: the host is paused
	err    error
}

func (f *fault) Error() string { return f.err.Error() }

func (f *fault) public(name string) error {
	return &Unavailable{Connection: name, Status: f.status, RetryAfter: f.after, Err: f.err}
}

// pause decides whether to try again and after how long.
func (x *exchange) pause(f *fault) (time.Duration, bool) {
	wait := f.after
	switch {
	case f.gated:
		if x.rq.NoRetry {
			return 0, false
		}
		wait += time.Duration(x.c.env.random() * float64(firstBackoff))
	case !f.retry || x.retries == 0:
		return 0, false
	default:
		x.retries--
		if wait == 0 {
			wait = backoff(x.tries, x.c.env.random())
		}
		x.tries++
	}
	if x.waited+wait > x.l.cfg.MaxWait {
		return 0, false
	}
	if end, ok := x.ctx.Deadline(); ok && time.Until(end) <= wait {
		return 0, false // the caller would be gone
	}
	x.waited += wait
	return wait, true
}

func (x *exchange) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-x.ctx.Done():
		return x.ended(x.ctx.Err())
	case <-x.c.base.Done():
		return ErrClosed
	}
}

// take waits for a place; a placed exchange keeps its own.
func (x *exchange) take() error {
	if x.placed {
		return nil
	}
	select {
	case x.places <- struct{}{}:
		x.placed = true
		x.l.tally.running.Add(1)
		return nil
	case <-x.ctx.Done():
		return x.ended(x.ctx.Err())
	case <-x.c.base.Done():
		return ErrClosed
	}
}

func (x *exchange) leave() {
	if x.placed {
		x.placed = false
		x.l.tally.running.Add(-1)
		<-x.places
	}
}

func (x *exchange) ended(err error) error {
	return fmt.Errorf("connection %q: ask upstream: %w", x.l.cfg.Name, err)
}

// attempt sends the request once. A *fault may be tried again; other errors are
// final.
func (x *exchange) attempt() (*answer, error) {
	if x.l.offlineNow() {
		return nil, fmt.Errorf("connection %q: %w", x.l.cfg.Name, ErrOffline)
	}
	g := x.l.gate(x.at)
	ticket, wait, paused := g.enter(x.c.env.now())
	if wait > 0 && paused {
		return nil, &fault{after: wait, gated: true, err: errors.New("the upstream asked for a pause")}
	}
	if wait > 0 {
		return nil, &fault{after: wait, err: fmt.Errorf("it failed repeatedly and is left alone for a while, the last time: %w", g.lastError())}
	}
	began := x.c.env.now()
	a, err := x.send()
	v, err := x.judge(g, a, err, began)
	x.report(a, err, began)
	before, after := g.leave(ticket, v, err, x.c.env.now(), x.c.env.random())
	if before != after {
		x.c.env.log.Info("upstream breaker", "connection", x.l.cfg.Name, "host", x.at.String(), "from", before.String(), "to", after.String())
		x.c.env.observer.Breaker(x.l.cfg.Name, x.at.String(), after)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// send writes one request and waits for its header.
func (x *exchange) send() (*answer, error) {
	proxy, err := x.way()
	if err != nil {
		return nil, err
	}
	body, err := x.rq.body()
	if err != nil {
		return nil, fmt.Errorf("open request body: %w", err)
	}
	ctx, cancel := context.WithCancelCause(x.ctx)
	detach := context.AfterFunc(x.c.base, func() { cancel(ErrClosed) })
	ended := func(err error) { detach(); cancel(err) }
	req, err := http.NewRequestWithContext(ctx, x.rq.method(), "", body)
	if err != nil {
		ended(nil)
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.URL, req.Host = x.url, x.url.Host
	req.Header = x.l.header(x.rq, x.home)
	if x.rq.Length > 0 {
		req.ContentLength = x.rq.Length
	}
	if x.rq.GetBody != nil {
		req.GetBody = x.rq.GetBody
	}
	began := x.c.env.now()
	limit := func() bool { return true }
	if x.rq.repeatable() {
		// The transport bounds each phase but not a server that stops reading.
		whole := 2*x.l.cfg.ConnectTimeout + x.l.cfg.HeaderTimeout
		limit = time.AfterFunc(whole, func() { cancel(errHeaderTime) }).Stop
	}
	resp, err := x.l.transport(x.home, proxy).RoundTrip(req)
	limit()
	if err != nil {
		cause := context.Cause(ctx)
		ended(nil)
		if cause != nil && x.ctx.Err() == nil {
			return nil, cause
		}
		return nil, err
	}
	return &answer{Response: resp, cancel: ended, ctx: ctx, began: began}, nil
}

// way chooses between the egress proxy and a direct connection.
func (x *exchange) way() (*url.URL, error) {
	if x.l.proxy == nil {
		return nil, nil
	}
	proxy, err := x.l.proxy(x.url)
	if err != nil {
		return nil, errEgress // the original error repeats the variable, secrets included
	}
	if proxy != nil && x.home && x.at.scheme == "http" && !x.l.cred.empty() {
		return nil, &Refused{Connection: x.l.cfg.Name, URL: redact(x.url),
			Reason: "the egress proxy would read the credentials of an http connection"}
	}
	return proxy, nil
}

func (rq *Request) body() (io.Reader, error) {
	if rq.GetBody != nil {
		return rq.GetBody()
	}
	return rq.Body, nil
}

// judge turns the outcome of send into an error for hop and a verdict for the
// gate, and records pauses.
func (x *exchange) judge(g *gate, a *answer, err error, began time.Time) (verdict, error) {
	if err != nil {
		return x.judgeError(err, began)
	}
	now := x.c.env.now()
	after := retryAfter(a.Header.Get("Retry-After"), now)
	switch status := a.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && after > 0:
		after = g.hold(after, now)
		x.c.env.log.Info("upstream asked for a pause", "connection", x.l.cfg.Name, "host", x.at.String(), "status", status, "pause", after)
		a.discard()
		v := healthy
		if status == http.StatusServiceUnavailable {
			v = failed
		}
		return v, &fault{status: status, after: after, retry: true, err: errors.New("the upstream asked for a pause")}
	case status >= 500:
		a.discard()
		return failed, &fault{status: status, retry: worthRetrying(status), err: errors.New(statusText(status))}
	case status == http.StatusProxyAuthRequired:
		a.discard()
		return failed, &fault{status: status, err: errors.New("the egress proxy demands credentials")}
	case worthRetrying(status) && x.retries > 0:
		a.discard()
		return neutral, &fault{status: status, retry: true, err: errors.New(statusText(status))}
	}
	g.unthrottle()
	return healthy, nil
}

func statusText(status int) string {
	if s := http.StatusText(status); s != "" {
		return s
	}
	return "unknown status"
}

func (x *exchange) judgeError(err error, began time.Time) (verdict, error) {
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		return neutral, &Refused{Connection: x.l.cfg.Name, URL: redact(x.url), Reason: refused.Reason}
	case errors.Is(err, ErrOffline), errors.Is(err, ErrClosed):
		return neutral, err
	case x.ctx.Err() != nil:
		// A caller that gave up says nothing about the upstream, unless it had
		// waited long enough to call it a hang.
		if errors.Is(x.ctx.Err(), context.DeadlineExceeded) && x.c.env.now().Sub(began) >= time.Second {
			return failed, x.ended(x.ctx.Err())
		}
		return neutral, x.ended(x.ctx.Err())
	}
	var dial *dialError
	var timeout net.Error
	var distrust *tls.CertificateVerificationError
	hang := errors.Is(err, errHeaderTime) || errors.As(err, &timeout) && timeout.Timeout()
	// What hung once would cost the client the same time again, and a
	// certificate does not get better.
	retry := (errors.As(err, &dial) || !hang) && !errors.As(err, &distrust)
	return failed, &fault{retry: retry, err: err}
}
