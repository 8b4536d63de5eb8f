package formattest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fault answers a request wrongly. next is the upstream's own handler. Every
// fault ends when its client leaves or the upstream stops.
type Fault func(rw http.ResponseWriter, rq *http.Request, next http.Handler)

// endlessLimit bounds Endless, so that a client without a limit fails a test
// instead of filling the machine.
const endlessLimit = 4 << 30

// Times lets f answer the first n requests; later ones get the right answer.
func Times(n int, f Fault) Fault {
	var done atomic.Int64
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		if done.Add(1) > int64(n) {
			next.ServeHTTP(rw, rq)
			return
		}
		f(rw, rq, next)
	}
}

// right is the answer that next would give, kept whole.
func right(rq *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, rq)
	return rec
}

// send writes an answer with the given announced length; a shorter body breaks
// the connection.
func send(rw http.ResponseWriter, rec *httptest.ResponseRecorder, body []byte, announced int) {
	maps.Copy(rw.Header(), rec.Result().Header)
	rw.Header().Set("Content-Length", strconv.Itoa(announced))
	rw.WriteHeader(rec.Code)
	rw.Write(body)
	if len(body) < announced {
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Truncate breaks the connection after n bytes of the body, with the right
// Content-Length.
func Truncate(n int) Fault {
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		rec := right(rq, next)
		body := rec.Body.Bytes()
		send(rw, rec, body[:min(n, len(body))], len(body))
	}
}

// Shorten sends only the first n bytes, announced as if that were all.
func Shorten(n int) Fault {
	return rewrite(func(body []byte) []byte { return body[:min(n, len(body))] })
}

// Lengthen appends n bytes, announced as if they belonged to the file.
func Lengthen(n int) Fault {
	return rewrite(func(body []byte) []byte { return append(body, bytes.Repeat([]byte{'+'}, n)...) })
}

// Corrupt flips one bit of the byte at offset off (from the end if negative).
func Corrupt(off int) Fault {
	return rewrite(func(body []byte) []byte {
		i := off
		if i < 0 {
			i += len(body)
		}
		if i >= 0 && i < len(body) {
			body[i] ^= 1
		}
		return body
	})
}

// Replace sends other bytes under the right header: content that changed
// though it must not.
func Replace(with []byte) Fault {
	return rewrite(func([]byte) []byte { return with })
}

func rewrite(fn func([]byte) []byte) Fault {
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		rec := right(rq, next)
		body := fn(bytes.Clone(rec.Body.Bytes()))
		send(rw, rec, body, len(body))
	}
}

// Overrun sends the right body under the right Content-Length and n bytes more
// behind it, on the same connection.
func Overrun(n int) Fault {
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		rec := right(rq, next)
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()
		header := rec.Result().Header
		header.Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\n", rec.Code, http.StatusText(rec.Code))
		header.Write(buf)
		buf.WriteString("\r\n")
		buf.Write(rec.Body.Bytes())
		buf.Write(bytes.Repeat([]byte{'+'}, n))
		buf.Flush()
	}
}

// HTML answers 200 with a page, as captive portals and login walls do.
func HTML() Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(rw, "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n")
	}
}

// Status answers with a status and header fields, given as name, value, ...:
// Status(429, "Retry-After", "2").
func Status(code int, header ...string) Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		rw.WriteHeader(code)
		fmt.Fprintln(rw, code, http.StatusText(code))
	}
}

// Reset breaks the connection before any header.
func Reset() Fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
}

// Redirect sends every request to location.
func Redirect(code int, location string) Fault {
	return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Location", location)
		rw.WriteHeader(code)
	}
}

// RedirectLoop sends every request back to where it came.
func RedirectLoop() Fault {
	return func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
		rw.Header().Set("Location", rq.URL.RequestURI())
		rw.WriteHeader(http.StatusFound)
	}
}

// Hang answers nothing until release is called; then the right answer follows.
func Hang() (f Fault, release func()) {
	return hang(func(rw http.ResponseWriter, rq *http.Request, next http.Handler, wait func() bool) {
		if wait() {
			next.ServeHTTP(rw, rq)
		}
	})
}

// HangBody sends the header and n bytes of the body, and the rest when release
// is called.
func HangBody(n int) (f Fault, release func()) {
	return hang(func(rw http.ResponseWriter, rq *http.Request, next http.Handler, wait func() bool) {
		rec := right(rq, next)
		body := rec.Body.Bytes()
		cut := min(n, len(body))
		maps.Copy(rw.Header(), rec.Result().Header)
		rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
		rw.WriteHeader(rec.Code)
		rw.Write(body[:cut])
		http.NewResponseController(rw).Flush()
		if !wait() {
			panic(http.ErrAbortHandler)
		}
		rw.Write(body[cut:])
	})
}

func hang(do func(rw http.ResponseWriter, rq *http.Request, next http.Handler, wait func() bool)) (Fault, func()) {
	released := make(chan struct{})
	var once sync.Once
	f := func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		do(rw, rq, next, func() bool {
			select {
			case <-released:
				return true
			case <-rq.Context().Done():
				return false
			}
		})
	}
	return f, func() { once.Do(func() { close(released) }) }
}

// Endless sends block again and again, without a Content-Length, until the
// client leaves or 4 GiB are sent. header is given as for Status.
func Endless(block []byte, header ...string) Fault {
	return func(rw http.ResponseWriter, rq *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		if len(block) == 0 {
			return
		}
		big := bytes.Repeat(block, max(1, (32<<10)/len(block)))
		for sent := 0; sent < endlessLimit && rq.Context().Err() == nil; sent += len(big) {
			if _, err := rw.Write(big); err != nil {
				return
			}
		}
		panic(http.ErrAbortHandler)
	}
}

// Slow waits for latency before the header and sends at most bytesPerSecond (0:
// no bound) on each connection. The answer is the right one.
func Slow(latency time.Duration, bytesPerSecond int) Fault {
	return func(rw http.ResponseWriter, rq *http.Request, next http.Handler) {
		if !rest(rq.Context(), latency) {
			panic(http.ErrAbortHandler)
		}
		if bytesPerSecond > 0 {
			rw = &throttle{ResponseWriter: rw, ctx: rq.Context(), rate: bytesPerSecond, began: time.Now()}
		}
		next.ServeHTTP(rw, rq)
	}
}

// throttle keeps the mean rate from the first byte on.
type throttle struct {
	http.ResponseWriter
	ctx   context.Context
	rate  int
	sent  int
	began time.Time
}

func (t *throttle) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		block := p[:min(len(p), max(1, min(16<<10, t.rate/20)))]
		due := t.began.Add(time.Duration(float64(t.sent+len(block)) / float64(t.rate) * float64(time.Second)))
		if !rest(t.ctx, time.Until(due)) {
			return n, t.ctx.Err()
		}
		k, err := t.ResponseWriter.Write(block)
		n, t.sent, p = n+k, t.sent+k, p[k:]
		if err != nil {
			return n, err
		}
		http.NewResponseController(t.ResponseWriter).Flush()
	}
	return n, nil
}

// Unwrap serves http.ResponseController.
func (t *throttle) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// rest waits for d and reports whether the client is still there.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
