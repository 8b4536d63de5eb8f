package upstream

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// respond checks an answer's header and wraps its body.
func (x *exchange) respond(a *answer) (*Response, error) {
	bad := func(format string, args ...any) (*Response, error) {
		a.discard()
		return nil, &Unavailable{Connection: x.l.cfg.Name, Status: a.StatusCode, Err: fmt.Errorf(format, args...)}
	}
	h := make(http.Header, len(a.Header))
	for name, values := range a.Header {
		if hopHeader(strings.ToLower(name)) || name == "Set-Cookie" || name == "Set-Cookie2" {
			continue
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return bad("response header %q holds control characters", clip(name, 40))
			}
		}
		h[name] = values
	}
	if a.StatusCode < 200 || a.StatusCode > 599 {
		return bad("status %d is none of a response", a.StatusCode)
	}
	if a.StatusCode == http.StatusNotModified && x.rq.ETag == "" && x.rq.LastModified == "" {
		return bad("not modified, though nothing was compared")
	}
	if a.StatusCode == http.StatusPartialContent {
		if from, ok := rangeStart(h.Get("Content-Range")); !ok || x.rq.whole() || from != x.rq.From {
			return bad("partial content %q is not the range asked for", clip(h.Get("Content-Range"), 60))
		}
	}
	b := &body{x: x, a: a, raw: a.Body, max: x.rq.MaxBytes}
	out := &Response{Status: a.StatusCode, Header: h, Body: b, ContentLength: a.ContentLength, URL: x.shown()}
	if !x.rq.bulk() {
		if b.max == 0 {
			b.max = maxDocument
		}
		switch coding := strings.ToLower(strings.Join(h.Values("Content-Encoding"), ",")); coding {
		case "", "identity":
			h.Del("Content-Encoding")
		case "gzip", "x-gzip":
			h.Del("Content-Encoding")
			h.Del("Content-Length")
			b.coded, out.ContentLength = a.ContentLength != 0, -1
		default:
			return bad("content coding %q was not asked for", clip(coding, 40))
		}
	}
	if b.max > 0 && out.ContentLength > b.max {
		a.discard()
		return nil, &Unavailable{Connection: x.l.cfg.Name, Status: a.StatusCode,
			Err: fmt.Errorf("%d bytes announced, %d allowed: %w", out.ContentLength, b.max, ErrTooLarge)}
	}
	b.timer = time.AfterFunc(x.l.cfg.IdleTimeout, func() { a.cancel(errIdleTime) })
	b.timer.Stop()
	if x.rq.method() == http.MethodHead || a.StatusCode == http.StatusNotModified || a.StatusCode == http.StatusNoContent {
		b.finish(io.EOF)
		b.end = io.EOF
	}
	return out, nil
}

// shown is the URL of the answer as the caller may see it.
func (x *exchange) shown() string {
	u := *x.url
	u.User = nil
	if x.redirects > 0 {
		u.RawQuery, u.ForceQuery = "", false
	}
	return u.String()
}

// rangeStart reads the first number of "bytes 5-9/10" (RFC 9110 section 14.4).
func rangeStart(s string) (int64, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(s), "bytes ")
	if !ok {
		return 0, false
	}
	first, _, ok := strings.Cut(strings.TrimSpace(rest), "-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(first, 10, 64)
	return n, err == nil && n >= 0
}

// body is a response body under an idle deadline and a size limit. Read and
// Close are for one goroutine, except that Close may end a Read that hangs.
type body struct {
	x     *exchange
	a     *answer
	raw   io.ReadCloser
	timer *time.Timer
	coded bool
	zip   *gzip.Reader
	max   int64        // of what Read gives; 0 none
	wire  atomic.Int64 // bytes read from the network; Close reads it too
	given int64
	end   error // what Read says from now on

	once sync.Once
}

// network reads raw bytes under the idle deadline.
type network struct{ b *body }

func (n network) Read(p []byte) (int, error) {
	b := n.b
	b.timer.Reset(b.x.l.cfg.IdleTimeout)
	k, err := b.raw.Read(p)
	b.timer.Stop()
	b.wire.Add(int64(k))
	return k, err
}

func (b *body) Read(p []byte) (int, error) {
	if b.end != nil {
		return 0, b.end
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.max > 0 && int64(len(p)) > b.max-b.given+1 {
		p = p[:b.max-b.given+1]
	}
	n, err := b.decoded(p)
	b.given += int64(n)
	if b.max > 0 && b.given > b.max {
		n -= int(b.given - b.max)
		err = ErrTooLarge
	}
	if err != nil {
		b.end = b.explain(err)
		b.finish(b.end)
		if b.zip != nil {
			b.x.l.gunzip.Put(b.zip)
			b.zip = nil
		}
		err = b.end
	}
	return n, err
}

func (b *body) decoded(p []byte) (int, error) {
	if !b.coded {
		return network{b}.Read(p)
	}
	if b.zip == nil {
		z, err := b.x.l.gzipReader(network{b})
		if err != nil {
			if err == io.EOF && b.wire.Load() == 0 {
				return 0, io.EOF // nothing at all is no gzip, but an empty body
			}
			return 0, fmt.Errorf("decode gzip: %w", unexpected(err))
		}
		b.zip = z
	}
	n, err := b.zip.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decode gzip: %w", err)
	}
	return n, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// gzipReader takes a decoder from the link's pool.
func (l *link) gzipReader(r io.Reader) (*gzip.Reader, error) {
	if z, ok := l.gunzip.Get().(*gzip.Reader); ok {
		if err := z.Reset(r); err != nil {
			return nil, err
		}
		return z, nil
	}
	return gzip.NewReader(r)
}

// explain names the reason for a body that broke.
func (b *body) explain(err error) error {
	if err == io.EOF {
		return err
	}
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("connection %q: more than %d bytes: %w", b.x.l.cfg.Name, b.max, err)
	}
	if cause := context.Cause(b.a.ctx); cause != nil {
		if errors.Is(cause, errIdleTime) {
			cause = fmt.Errorf("%w (%v)", errIdleTime, b.x.l.cfg.IdleTimeout)
		}
		if b.x.ctx.Err() != nil {
			return b.x.ended(cause)
		}
		err = cause
	}
	return &Unavailable{Connection: b.x.l.cfg.Name, Err: fmt.Errorf("read body after %d bytes: %w", b.wire.Load(), err)}
}

// finish frees what the exchange holds; the first call counts.
func (b *body) finish(err error) {
	b.once.Do(func() {
		b.a.cancel(context.Canceled) // first: it wakes a Read that hangs
		b.raw.Close()
		b.x.leave()
		b.x.done(b.a, b.wire.Load(), err)
	})
}

// Close ends the exchange. It returns nil.
func (b *body) Close() error {
	b.finish(nil)
	return nil
}
