package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"larder/cache"
	"larder/formats"
)

// Header values shared by all answers, read-only. What is immutable clients may
// keep for ever; revalidated documents are checked by ETag on every use, which
// costs a 304.
var (
	immutableCache  = []string{"public, max-age=31536000, immutable"}
	revalidateCache = []string{"no-cache"}
	nosniff         = []string{"nosniff"}
	acceptRanges    = []string{"bytes"}
	sandbox         = []string{"default-src 'none'; sandbox"}
)

// refuse answers with an error in the client's own dialect.
func (x *exchange) refuse(r *formats.Refusal) {
	x.detail, x.cause = r.Kind.String(), r.Err
	if x.tier == "" {
		x.tier = "none"
	}
	var rep *formats.Reply
	if x.format != nil && x.rq != nil {
		rep = x.format.Refuse(x.rq, r)
	}
	if rep == nil {
		rep = formats.TextReply(r.Code(), r.Message)
	}
	h := x.w.Header()
	if r.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int((r.RetryAfter + time.Second - 1) / time.Second))}
	}
	h["X-Request-Id"] = []string{x.requestID()}
	h["Cache-Control"] = []string{"no-store"}
	x.reply(rep)
}

// reply sends a small complete answer.
func (x *exchange) reply(rep *formats.Reply) {
	h := x.w.Header()
	for k, v := range rep.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	h["X-Content-Type-Options"] = nosniff
	h["Content-Length"] = []string{strconv.Itoa(len(rep.Body))}
	x.status = rep.Status
	x.w.WriteHeader(rep.Status)
	if x.r.Method != http.MethodHead {
		n, _ := x.w.Write(rep.Body)
		x.bytes += int64(n)
	}
}

// content is an answer of known bytes: rendered documents and small files.
type content struct {
	header   http.Header // shared, never changed after it was made
	etag     string      // quoted, strong
	modified time.Time   // zero unknown
	ranges   bool        // artifacts answer single ranges; documents do not
}

// serveBytes answers GET and HEAD with conditions and, for artifacts, ranges.
func (x *exchange) serveBytes(c *content, body []byte, age int64) {
	h := x.w.Header()
	for k, v := range c.header {
		h[k] = v
	}
	if age >= 0 {
		h["Age"] = []string{strconv.FormatInt(age, 10)}
	}
	if notModified(x.r.Header, c.etag, c.modified) {
		delete(h, "Content-Type")
		delete(h, "Content-Length")
		delete(h, "Content-Encoding")
		x.status = http.StatusNotModified
		x.w.WriteHeader(http.StatusNotModified)
		return
	}
	size := int64(len(body))
	off, n, status := int64(0), size, http.StatusOK
	if rg := x.r.Header["Range"]; c.ranges && len(rg) > 0 && rangeApplies(x.r.Header, c.etag, c.modified) {
		off, n, status = parseRange(rg[0], size)
	}
	if !x.writeRangeHead(h, off, n, size, status) {
		return
	}
	piece := body[off : off+n]
	if n > leadFrom {
		piece = piece[x.lead(piece[:leadPiece]):]
	}
	w, err := x.w.Write(piece)
	x.bytes += int64(w)
	if err != nil {
		x.detail = "client_gone"
	}
}

// Where many clients wait for one large body, each gets a first piece before
// any gets the rest: else the last one's first byte waits for everybody's
// bodies to pass through the processor.
const (
	leadPiece = 4 << 10
	leadFrom  = 256 << 10
)

// lead sends a first piece, lets the others do the same, and returns how many
// bytes went.
func (x *exchange) lead(p []byte) int {
	w, err := x.w.Write(p)
	x.bytes += int64(w)
	if err == nil {
		err = http.NewResponseController(x.w).Flush()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		x.detail = "client_gone"
	}
	runtime.Gosched()
	return w
}

// writeRangeHead sends status and length; false means that no body follows.
func (x *exchange) writeRangeHead(h http.Header, off, n, size int64, status int) bool {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(size, 10)}
		h["Content-Length"] = []string{"0"}
		delete(h, "Content-Type")
		x.status = status
		x.w.WriteHeader(status)
		return false
	case http.StatusPartialContent:
		setRange(h, off, n, size)
	default:
		if h["Content-Length"] == nil && size >= 0 {
			h["Content-Length"] = []string{strconv.FormatInt(n, 10)}
		}
	}
	x.status = status
	if status != http.StatusOK {
		x.w.WriteHeader(status)
	} else if x.r.Method == http.MethodHead {
		x.w.WriteHeader(status)
	}
	return x.r.Method != http.MethodHead
}

func setRange(h http.Header, off, n, size int64) {
	h["Content-Range"] = []string{"bytes " + strconv.FormatInt(off, 10) + "-" + strconv.FormatInt(off+n-1, 10) + "/" + strconv.FormatInt(size, 10)}
	h["Content-Length"] = []string{strconv.FormatInt(n, 10)}
}

// source is a body too large for memory: a finished blob or a running flight.
type source interface {
	WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error)
}

// serveSource answers from a source. size is -1 while unknown: then the body
// is sent chunked and ranges are ignored. A source that fails after the header
// went out ends the connection, so that no client takes a torn body for whole;
// before that its error is returned for a proper answer.
func (x *exchange) serveSource(c *content, src source, size int64) error {
	h := x.w.Header()
	for k, v := range c.header {
		h[k] = v
	}
	if notModified(x.r.Header, c.etag, c.modified) {
		delete(h, "Content-Type")
		delete(h, "Content-Length")
		x.status = http.StatusNotModified
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	off, n, status := int64(0), size, http.StatusOK
	if rg := x.r.Header["Range"]; len(rg) > 0 && size >= 0 && rangeApplies(x.r.Header, c.etag, c.modified) {
		off, n, status = parseRange(rg[0], size)
	}
	if size < 0 {
		delete(h, "Content-Length")
	}
	if status != http.StatusPartialContent || x.r.Method == http.MethodHead {
		if !x.writeRangeHead(h, off, n, size, status) {
			return nil
		}
	} else {
		setRange(h, off, n, size)
	}
	if _, running := src.(*cache.Reader); running && n == 0 {
		n = -1 // an empty file is awaited too: it may be the wrong one
	}
	fw := &flushWriter{w: x.w, status: status}
	written, err := src.WriteRange(x.r.Context(), fw, off, n)
	x.bytes += written
	x.status = status
	if err == nil && (n < 0 || written == n) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if x.r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		x.detail = "client_gone"
		return nil
	}
	if !fw.began {
		// Nothing went out yet, so there is still time for a proper answer.
		x.status = 0
		for _, own := range []http.Header{c.header, {"Content-Length": nil, "Content-Range": nil, "Age": nil}} {
			for k := range own {
				delete(h, k)
			}
		}
		return err
	}
	x.cause, x.detail = err, "torn"
	x.s.metrics.torn.Inc()
	return http.ErrAbortHandler
}

// flushWriter pushes the first bytes out at once, so that a follower's first
// byte is not held in a buffer while the flight waits for its upstream. The
// status goes out with the first byte.
type flushWriter struct {
	w      http.ResponseWriter
	status int
	began  bool
}

func (f *flushWriter) Write(p []byte) (int, error) {
	if !f.began {
		f.began = true
		if f.status != http.StatusOK {
			f.w.WriteHeader(f.status)
		}
	}
	n, err := f.w.Write(p)
	if err == nil && len(p) < 64<<10 {
		// Small pieces come from a source that waits; large ones overflow
		// net/http's buffer by themselves.
		err = http.NewResponseController(f.w).Flush()
		if errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

// notModified evaluates If-None-Match and, without it, If-Modified-Since
// (RFC 9110 section 13.2.2).
func notModified(h http.Header, etag string, modified time.Time) bool {
	if inm := h["If-None-Match"]; len(inm) > 0 {
		if etag == "" {
			return false
		}
		for _, line := range inm {
			if etagListed(line, etag) {
				return true
			}
		}
		return false
	}
	if ims := h["If-Modified-Since"]; len(ims) > 0 && !modified.IsZero() {
		if t, err := http.ParseTime(ims[0]); err == nil {
			return !modified.Truncate(time.Second).After(t)
		}
	}
	return false
}

func etagListed(line, etag string) bool {
	for line != "" {
		var one string
		one, line, _ = strings.Cut(line, ",")
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == etag || one == "*" {
			return true
		}
	}
	return false
}

// rangeApplies evaluates If-Range (RFC 9110 section 13.1.5): only a strong
// match lets the range stand.
func rangeApplies(h http.Header, etag string, modified time.Time) bool {
	v := h["If-Range"]
	if len(v) == 0 {
		return true
	}
	if strings.HasPrefix(v[0], `"`) {
		return etag != "" && v[0] == etag
	}
	t, err := http.ParseTime(v[0])
	return err == nil && !modified.IsZero() && modified.Truncate(time.Second).Equal(t)
}

// parseRange understands one byte range; several ranges are answered with the
// whole, which RFC 9110 section 14.2 allows and which keeps a request for a
// thousand ranges cheap.
func parseRange(v string, size int64) (off, n int64, status int) {
	whole := func() (int64, int64, int) { return 0, size, http.StatusOK }
	spec, ok := strings.CutPrefix(v, "bytes=")
	if !ok || strings.Contains(spec, ",") || size < 0 {
		return whole()
	}
	from, to, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole()
	}
	if from == "" {
		suffix, err := strconv.ParseInt(to, 10, 64)
		if err != nil || suffix < 0 {
			return whole()
		}
		if suffix == 0 || size == 0 {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		suffix = min(suffix, size)
		return size - suffix, suffix, http.StatusPartialContent
	}
	first, err := strconv.ParseUint(from, 10, 63)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		return whole()
	}
	if int64(first) >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	last := size - 1
	if to != "" {
		l, err := strconv.ParseUint(to, 10, 63)
		switch {
		case errors.Is(err, strconv.ErrRange):
		case err != nil || int64(l) < int64(first):
			return whole()
		default:
			last = min(int64(l), last)
		}
	}
	return int64(first), last - int64(first) + 1, http.StatusPartialContent
}
