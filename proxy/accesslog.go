package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// accessLog writes one JSON line per request. Lines are buffered and flushed
// every 200 ms, so that a hot hit does not cost a system call.
type accessLog struct {
	mu   sync.Mutex
	w    *bufio.Writer
	buf  []byte
	stop chan struct{}
	done sync.WaitGroup
}

func newAccessLog(w io.Writer) *accessLog {
	if w == nil {
		return nil
	}
	l := &accessLog{w: bufio.NewWriterSize(w, 64<<10), stop: make(chan struct{})}
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				l.mu.Lock()
				l.w.Flush()
				l.mu.Unlock()
			case <-l.stop:
				return
			}
		}
	}()
	return l
}

func (l *accessLog) close() {
	if l == nil {
		return
	}
	close(l.stop)
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Flush()
}

// finish writes the access line and the metrics of an ended request.
func (x *exchange) finish() {
	s := x.s
	d := time.Since(x.start)
	if x.kept != nil && x.status == http.StatusOK {
		c := x.kept.counters
		c.hits.Inc()
		c.sent.Add(float64(x.bytes))
		c.seconds.Observe(d.Seconds())
	} else {
		l := x.about()
		s.metrics.requests.WithLabelValues(l.format, l.kind, x.tier, strconv.Itoa(x.status)).Inc()
		s.metrics.seconds.WithLabelValues(l.format, x.tier).Observe(d.Seconds())
		s.metrics.sent.WithLabelValues(l.format, x.tier).Add(float64(x.bytes))
	}
	if x.cause != nil && x.status >= 500 {
		s.log.Warn("request failed", "event", "request_failed", "request_id", x.requestID(), "path", x.r.URL.Path, "status", x.status, "detail", x.detail, "error", x.cause)
	}
	s.access.line(x, d)
	x.releaseKey()
}

// about names what was asked for. The format of larder's own pages is "-".
func (x *exchange) about() labels {
	switch {
	case x.kept != nil:
		return x.kept.labels
	case x.format != nil:
		return x.labelsFor(x.target)
	}
	return labels{format: "-", kind: "-"}
}

// line appends one access record. The keys are an interface: ts, id, remote,
// user, method, path, status, bytes, ms, tier, format, repo, name, version,
// file, connection, detail, agent.
func (l *accessLog) line(x *exchange, d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf[:0]
	b = append(b, `{"ts":"`...)
	b = x.start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, '"')
	if x.id != "" {
		b = appendField(b, "id", x.id)
	}
	host, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		host = x.r.RemoteAddr
	}
	b = appendField(b, "remote", host)
	b = appendField(b, "user", x.who())
	b = appendField(b, "method", x.r.Method)
	b = appendField(b, "path", x.r.URL.EscapedPath())
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, x.bytes, 10)
	b = append(b, `,"ms":`...)
	b = strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', 3, 64)
	b = appendField(b, "tier", x.tier)
	about := x.about()
	for _, f := range [...][2]string{{"format", about.format}, {"repo", x.repo}, {"name", about.name}, {"version", about.version}, {"file", x.target.File},
		{"connection", x.conn}, {"detail", x.detail}, {"agent", x.r.UserAgent()}} {
		if f[1] != "" {
			b = appendField(b, f[0], f[1])
		}
	}
	b = append(b, "}\n"...)
	l.buf = b
	l.w.Write(b)
}

func appendField(b []byte, key, val string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":"`...)
	if len(val) > 512 {
		val = val[:512]
	}
	for i := 0; i < len(val); {
		c := val[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < 0x20 || c == 0x7f:
				b = append(b, `\u00`...)
				b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(val[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, `\ufffd`...)
		} else {
			b = append(b, val[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}
