package listener

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

const (
	// maxStreams is how many requests one connection may have open; as many as
	// net/http allows by HTTP/2.
	maxStreams = 250
	// maxUniStreams leaves room for the control stream, the two of QPACK, and
	// streams of unknown kinds that a peer must be able to open (RFC 9114
	// section 6.2.3), but for no crowd of them.
	maxUniStreams = 8
	// A peer that is silent for quicDead is gone. Between pings of quicPing a
	// client may wait for a slow registry as long as by TCP; IdleTimeout ends
	// connections without a request.
	quicDead = 30 * time.Second
	quicPing = 10 * time.Second
)

// quicServer serves HTTP/3. It runs the streams itself rather than by
// http3.Server, which bounds neither the time in which a header must arrive nor
// a drain whose clients keep idle connections.
type quicServer struct {
	udp       *net.UDPConn
	transport *quic.Transport
	ln        *quic.Listener
	timeout   time.Duration // for a request's header
	log       *slog.Logger
	h3        http3.Server

	mu       sync.Mutex
	draining bool
	conns    map[*quicConn]struct{}
	running  sync.WaitGroup // one for each of conns
}

// newQUIC binds the UDP port of a TCP address and begins to take handshakes.
func newQUIC(cfg Config, tlsConfig *tls.Config, addr net.Addr) (*quicServer, error) {
	tcp := addr.(*net.TCPAddr)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: tcp.IP, Port: tcp.Port, Zone: tcp.Zone})
	if err != nil {
		return nil, err
	}
	q := &quicServer{
		udp: udp, transport: &quic.Transport{Conn: udp}, timeout: cfg.HeaderTimeout, log: cfg.Logger,
		conns: map[*quicConn]struct{}{},
		h3:    http3.Server{MaxHeaderBytes: cfg.MaxHeaderBytes, IdleTimeout: cfg.IdleTimeout, Logger: cfg.Logger},
	}
	tlsConfig.MinVersion = tls.VersionTLS13
	q.ln, err = q.transport.Listen(http3.ConfigureTLSConfig(tlsConfig), &quic.Config{
		HandshakeIdleTimeout: cfg.HeaderTimeout, MaxIdleTimeout: quicDead, KeepAlivePeriod: quicPing,
		MaxIncomingStreams: maxStreams, MaxIncomingUniStreams: maxUniStreams,
		// No early data at all: whoever records it can send it again (RFC 8470),
		// credential included, and even a read here has effects: a fetch, a row,
		// a line in the ledger. TCP has none either.
		Allow0RTT: false,
	})
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("listen for QUIC: %w", err)
	}
	return q, nil
}

// serve answers until the socket is closed.
func (q *quicServer) serve(h http.Handler) error {
	q.h3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The header is here in time. From now on a body's time is the
		// handler's to bound, as by TCP.
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			q.log.Error("a read deadline could not be lifted", "event", "http3_deadline", "error", err)
		}
		h.ServeHTTP(w, r)
	})
	for {
		conn, err := q.ln.Accept(context.Background())
		if err != nil {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.draining {
				return http.ErrServerClosed
			}
			return fmt.Errorf("accept QUIC: %w", err)
		}
		c := &quicConn{conn: conn, idle: make(chan struct{})}
		q.mu.Lock()
		if q.draining {
			q.mu.Unlock()
			c.close(http3.ErrCodeNoError, "shutting down")
			continue
		}
		q.conns[c] = struct{}{}
		q.running.Add(1)
		q.mu.Unlock()
		go func() {
			defer q.forget(c)
			q.serveConn(c)
		}()
	}
}

func (q *quicServer) forget(c *quicConn) {
	q.mu.Lock()
	delete(q.conns, c)
	q.mu.Unlock()
	q.running.Done()
}

// serveConn runs one connection until it is closed, and its handlers until they
// return.
func (q *quicServer) serveConn(c *quicConn) {
	h3, err := q.h3.NewRawServerConn(c.conn)
	if err != nil {
		q.log.Debug("HTTP/3 connection failed", "error", err)
		c.close(http3.ErrCodeInternalError, "")
		return
	}
	var handlers sync.WaitGroup
	defer handlers.Wait()
	go func() {
		for {
			str, err := c.conn.AcceptUniStream(context.Background())
			if err != nil {
				return // the connection is closed
			}
			go h3.HandleUnidirectionalStream(str)
		}
	}()
	for {
		str, err := c.conn.AcceptStream(context.Background())
		if err != nil {
			return // the connection is closed
		}
		if !c.begin() {
			// A client may send a rejected request again elsewhere (RFC 9114
			// section 4.1.1).
			str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
			str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestRejected))
			continue
		}
		if err := str.SetReadDeadline(time.Now().Add(q.timeout)); err != nil {
			q.log.Error("a read deadline could not be set", "event", "http3_deadline", "error", err)
		}
		handlers.Go(func() {
			defer c.end()
			h3.HandleRequestStream(str)
		})
	}
}

// shutdown takes no new connections and requests, lets running requests end,
// closes each connection when its last answer has had time to arrive, and then
// the socket. When ctx ends first it returns its error.
func (q *quicServer) shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.draining = true
	var conns []*quicConn
	for c := range q.conns {
		conns = append(conns, c)
	}
	q.mu.Unlock()
	err := q.ln.Close() // connections that stand are not affected
	for _, c := range conns {
		go c.drain(ctx)
	}
	done := make(chan struct{})
	go func() {
		q.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		q.close()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends everything at once, with a word to the peers. It does not wait for
// handlers, as http.Server.Close does not.
func (q *quicServer) close() {
	q.mu.Lock()
	q.draining = true
	var conns []*quicConn
	for c := range q.conns {
		conns = append(conns, c)
	}
	q.mu.Unlock()
	q.ln.Close()
	for _, c := range conns {
		c.close(http3.ErrCodeNoError, "shutting down")
	}
	q.transport.Close()
	q.udp.Close()
}

// quicConn counts the requests of one connection.
type quicConn struct {
	conn *quic.Conn

	mu       sync.Mutex
	active   int
	ended    time.Time // of the last request
	draining bool
	idle     chan struct{} // closed when it drains and no request is left
}

// begin counts a request in, unless the connection drains.
func (c *quicConn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	c.active++
	return true
}

func (c *quicConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	c.ended = time.Now()
	if c.draining && c.active == 0 {
		close(c.idle)
	}
}

// drain closes the connection after its last request. A handler has returned
// when its last bytes are handed to QUIC, not when they have arrived: three
// probe timeouts, as after a close (RFC 9000 section 10.2), leave time to
// repeat what was lost.
func (c *quicConn) drain(ctx context.Context) {
	c.mu.Lock()
	if !c.draining && c.active == 0 {
		close(c.idle)
	}
	c.draining = true
	c.mu.Unlock()
	select {
	case <-c.idle:
	case <-c.conn.Context().Done():
		return
	case <-ctx.Done():
		return
	}
	stats := c.conn.ConnectionStats()
	linger := 3 * (stats.SmoothedRTT + max(4*stats.MeanDeviation, time.Millisecond) + ackDelay)
	timer := time.NewTimer(linger - time.Since(c.ended))
	defer timer.Stop()
	select {
	case <-timer.C:
		c.close(http3.ErrCodeNoError, "shutting down")
	case <-c.conn.Context().Done():
	case <-ctx.Done():
	}
}

// ackDelay is the longest that a peer holds an acknowledgement back (RFC 9000
// section 18.2, max_ack_delay).
const ackDelay = 25 * time.Millisecond

func (c *quicConn) close(code http3.ErrCode, reason string) {
	// An error says that the connection is closed already.
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
}
