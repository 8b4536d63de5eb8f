package proxy

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"larder/cache"
	"larder/cache/catalog"
	"larder/cache/hot"
	"larder/formats"
	"larder/proxy/upstream"
)

// Watch turns what the cache's flights and the upstream client report into
// metrics, log lines and generation changes. It is made before the Server,
// since both are given to it; Attach joins them.
type Watch struct {
	s *Server

	attempts *prometheus.CounterVec   // connection, code
	latency  *prometheus.HistogramVec // connection
	bytes    *prometheus.CounterVec   // connection
	breaker  *prometheus.GaugeVec     // connection, host
	flights  *prometheus.CounterVec   // event
	filled   prometheus.Counter
}

// NewWatch registers its metrics with reg.
func NewWatch(reg *prometheus.Registry) *Watch {
	w := &Watch{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_upstream_requests_total", Help: "Requests sent upstream by connection and status (0: no answer)."}, []string{"connection", "code"}),
		latency:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "larder_upstream_header_seconds", Help: "Time to an upstream's response header.", Buckets: []float64{.005, .02, .05, .1, .3, 1, 5, 30}}, []string{"connection"}),
		bytes:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_upstream_bytes_total", Help: "Body bytes that came over the wire."}, []string{"connection"}),
		breaker:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "larder_upstream_breaker", Help: "0 closed, otherwise the connection is not asked."}, []string{"connection", "host"}),
		flights:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_flights_total", Help: "Downloads by what happened to them: started, joined, resumed, through, finished, failed."}, []string{"event"}),
		filled:   prometheus.NewCounter(prometheus.CounterOpts{Name: "larder_fill_bytes_total", Help: "Bytes of downloads as they arrived."}),
	}
	reg.MustRegister(w.attempts, w.latency, w.bytes, w.breaker, w.flights, w.filled)
	return w
}

// Attach gives the watch its server. It must come before the first request.
func (w *Watch) Attach(s *Server) { w.s = s }

// Flights is the observer for the cache.
func (w *Watch) Flights() cache.Observer {
	return cache.Observer{
		Started: func(string) { w.flights.WithLabelValues("started").Inc() },
		Joined:  func(string) { w.flights.WithLabelValues("joined").Inc() },
		Resumed: func(key string, at int64, cause error) {
			w.flights.WithLabelValues("resumed").Inc()
			w.s.log.Warn("download resumed", "event", "fill_resumed", "key", printable(key), "at", at, "error", cause)
		},
		Bytes: func(n int) { w.filled.Add(float64(n)) },
		Through: func(key string, cause error) {
			w.flights.WithLabelValues("through").Inc()
			w.s.log.Warn("the store takes no more; the download streams through", "event", "fill_through", "key", printable(key), "error", cause)
		},
		VerifyFailed: func(key string, err *cache.ErrVerify) {
			w.s.metrics.verifyFailed.Inc()
			w.s.log.Error("upstream sent bytes that fail verification", "event", "verify_failed", "key", printable(key), "error", err)
		},
		Finished: func(key string, res cache.Result, took time.Duration) {
			w.flights.WithLabelValues("finished").Inc()
			w.bump(key)
			if fn, ok := w.s.behind.LoadAndDelete(key); ok && res.Kept {
				w.s.work.Go(fn.(func()))
			}
		},
		Failed: func(key string, err error, took time.Duration) {
			w.s.behind.Delete(key)
			if errors.Is(err, errAbsent) || errors.Is(err, errNotModified) {
				return
			}
			w.flights.WithLabelValues("failed").Inc()
			w.mutated(key, err)
		},
	}
}

// bump tells keepers of rendered answers that more of a name is held.
func (w *Watch) bump(key string) {
	if p := strings.Split(key, "\x00"); p[0] == "a" && len(p) == 6 {
		w.s.cfg.Catalog.Bump(p[2], p[3])
	}
}

// mutated raises the alarm when a flight failed because known bytes were to be
// replaced by others.
func (w *Watch) mutated(key string, err error) {
	p := strings.Split(key, "\x00")
	if p[0] != "a" || len(p) != 6 {
		return
	}
	k := catalog.AssetKey{Place: catalog.Place(p[1]), Format: p[2], Name: p[3], Version: p[4], File: p[5]}
	var verify *cache.ErrVerify
	var mut *catalog.MutationError
	switch {
	case errors.As(err, &mut):
		w.s.alarm(mut.Key, mut.Was, mut.Is)
	case errors.As(err, &verify):
		row, rowErr := w.s.cfg.Catalog.Asset(k)
		if rowErr != nil {
			return
		}
		sum, _ := catalog.SumOf(row.Digests)
		alg, hex, ok := strings.Cut(verify.Got, ":")
		if ok {
			w.s.alarm(k, catalog.DigestOf(sum), formats.Digest{Alg: formats.Alg(alg), Hex: hex})
		}
	}
}

// Upstreams is the observer for the upstream client.
func (w *Watch) Upstreams() upstream.Observer { return upstreamWatch{w} }

type upstreamWatch struct{ *Watch }

func (w upstreamWatch) Attempt(connection, _, _ string, status int, took time.Duration, _ error) {
	w.attempts.WithLabelValues(connection, strconv.Itoa(status)).Inc()
	w.latency.WithLabelValues(connection).Observe(took.Seconds())
}

func (w upstreamWatch) Body(connection string, bytes int64, _ time.Duration, _ error) {
	w.bytes.WithLabelValues(connection).Add(float64(bytes))
}

func (w upstreamWatch) Breaker(connection, host string, state upstream.State) {
	v := 0.0
	if state != upstream.Closed {
		v = 1
	}
	w.breaker.WithLabelValues(connection, host).Set(v)
}

// Collect reads the store's and the hot tier's own figures.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.s.cfg.Store.Stats()
	g := func(d *prometheus.Desc, v float64, l ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l...)
	}
	n := func(d *prometheus.Desc, v float64, l ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, l...)
	}
	g(c.diskUsed, float64(st.DiskUsed))
	g(c.diskBudget, float64(st.Budget))
	g(c.diskFree, float64(st.DiskFree))
	g(c.blobs, float64(st.Blobs))
	g(c.rows, float64(st.Reserved))
	full := 0.0
	if st.Full {
		full = 1
	}
	g(c.full, full)
	n(c.evicted, float64(st.Evictions))
	n(c.ledger, float64(st.LedgerSeq))
	for _, h := range []struct {
		name  string
		stats hot.Stats
	}{{"routes", c.s.routes.Stats()}, {"bodies", c.s.bodies.Stats()}} {
		g(c.hotBytes, float64(h.stats.Bytes), h.name)
		g(c.hotItems, float64(h.stats.Items), h.name)
		n(c.hotDrop, float64(h.stats.Dropped+h.stats.Rejected+h.stats.Refused), h.name)
	}
}
