package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the node's counters. Their names are an interface: dashboards
// stand on them.
type metrics struct {
	requests *prometheus.CounterVec   // format, kind, tier, code
	seconds  *prometheus.HistogramVec // format, tier
	sent     *prometheus.CounterVec   // format, tier
	changes  *prometheus.CounterVec   // format, deed

	inflight                                                                                 prometheus.Gauge
	panics, coalesced, stale, blocked, denied, notHeld, torn, lost, unretained, verifyFailed prometheus.Counter
	withdrawn, mutations                                                                     prometheus.Counter

	mu     sync.RWMutex
	routes map[labels]*routeCounters
}

// routeCounters are resolved once per kept answer, so that a hit costs no map.
type routeCounters struct {
	hits, sent prometheus.Counter
	seconds    prometheus.Observer
}

func newMetrics(reg *prometheus.Registry, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_requests_total", Help: "Requests by format, target kind, the tier that answered and status code."}, []string{"format", "kind", "tier", "code"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "larder_request_seconds", Help: "Time from request to last byte.", Buckets: []float64{.0005, .002, .01, .05, .2, 1, 5, 30, 120}}, []string{"format", "tier"}),
		sent:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_sent_bytes_total", Help: "Body bytes sent to clients."}, []string{"format", "tier"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "larder_requests_in_flight", Help: "Requests being answered now."}),
		routes:   map[labels]*routeCounters{},
	}
	count := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m.panics = count("larder_panics_total", "Requests that ended in a panic.")
	m.coalesced = count("larder_coalesced_total", "Requests that joined a running upstream fetch.")
	m.stale = count("larder_stale_total", "Answers given past their time because the upstream did not confirm them.")
	m.blocked = count("larder_blocked_total", "Requests refused by policy.")
	m.denied = count("larder_denied_total", "Requests of known callers that policy denied.")
	m.notHeld = count("larder_not_held_total", "Offline requests for something that is not held.")
	m.torn = count("larder_torn_total", "Bodies cut off because their source failed.")
	m.unretained = count("larder_unretained_total", "Versions that were served but not retained, because too many waited.")
	m.lost = count("larder_lost_blobs_total", "Held files whose bytes could not be read.")
	m.verifyFailed = count("larder_verify_failures_total", "Upstream bodies that failed verification.")
	m.withdrawn = count("larder_withdrawn_total", "Listings that answered 404 after a 200.")
	m.mutations = count("larder_mutations_total", "Attempts of an upstream to change an immutable coordinate.")
	m.changes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "larder_changes_total", Help: "Acknowledged writes of clients by format and deed: publish, metadata, delete."}, []string{"format", "deed"})
	reg.MustRegister(m.changes, m.requests, m.seconds, m.sent, m.inflight, newStoreCollector(s))
	return m
}

func (m *metrics) forRoute(l labels) *routeCounters {
	k := labels{format: l.format, kind: l.kind}
	m.mu.RLock()
	rc := m.routes[k]
	m.mu.RUnlock()
	if rc != nil {
		return rc
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rc = m.routes[k]; rc == nil {
		rc = &routeCounters{
			hits:    m.requests.WithLabelValues(l.format, l.kind, "hot", "200"),
			sent:    m.sent.WithLabelValues(l.format, "hot"),
			seconds: m.seconds.WithLabelValues(l.format, "hot"),
		}
		m.routes[k] = rc
	}
	return rc
}

// storeCollector turns the store's, the hot tier's and the upstreams' own
// figures into metrics at scrape time.
type storeCollector struct {
	s                                                 *Server
	diskUsed, diskBudget, diskFree, blobs, rows, full *prometheus.Desc
	evicted, hotBytes, hotItems, hotDrop, ledger      *prometheus.Desc
}

func newStoreCollector(s *Server) *storeCollector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &storeCollector{s: s,
		diskUsed:   d("larder_store_used_bytes", "Bytes the store takes on disk."),
		diskBudget: d("larder_store_budget_bytes", "Bytes the store may take."),
		diskFree:   d("larder_store_free_bytes", "Free bytes of the store's file system."),
		blobs:      d("larder_store_blobs", "Blobs held."),
		rows:       d("larder_store_reserved_bytes", "Bytes reserved by running downloads."),
		full:       d("larder_store_full", "1 while the store takes no new blobs."),
		evicted:    d("larder_store_evicted_total", "Blobs evicted."),
		ledger:     d("larder_ledger_seq", "Sequence number of the last ledger entry."),
		hotBytes:   d("larder_hot_bytes", "Memory of the hot tier.", "cache"),
		hotItems:   d("larder_hot_items", "Entries of the hot tier.", "cache"),
		hotDrop:    d("larder_hot_refused_total", "Entries the hot tier did not take.", "cache"),
	}
}

func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.diskUsed, c.diskBudget, c.diskFree, c.blobs, c.rows, c.full, c.evicted, c.ledger, c.hotBytes, c.hotItems, c.hotDrop} {
		ch <- d
	}
}

func randomID() string {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "00000000"
	}
	return hex.EncodeToString(b[:])
}

func stack() string { return string(debug.Stack()) }
