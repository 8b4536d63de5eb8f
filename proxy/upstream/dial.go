package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// transportKey separates connections that must not be shared: those that show
// the client certificate from the others, and those of different ways out.
type transportKey struct {
	certificate bool
	proxy       string
}

// transport returns the transport for a way out. proxy is nil for a direct one.
func (l *link) transport(certificate bool, proxy *url.URL) *http.Transport {
	key := transportKey{certificate: certificate && l.cert != nil}
	if proxy != nil {
		key.proxy = proxy.String()
	}
	l.transports.Lock()
	defer l.transports.Unlock()
	t := l.transports.m[key]
	if t == nil {
		t = l.newTransport(key.certificate, proxy)
		l.transports.m[key] = t
	}
	return t
}

func (l *link) newTransport(certificate bool, proxy *url.URL) *http.Transport {
	t := &http.Transport{
		DialContext:            l.dialDirect,
		TLSClientConfig:        l.tlsConfig(certificate),
		TLSHandshakeTimeout:    l.cfg.ConnectTimeout,
		ResponseHeaderTimeout:  l.cfg.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           4 * l.cfg.MaxConcurrent,
		MaxIdleConnsPerHost:    2 * l.cfg.MaxConcurrent,
		IdleConnTimeout:        idleConnTime,
		DisableCompression:     true, // the coding is fixed by the request
		ForceAttemptHTTP2:      true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  15 * time.Second, // finds dead connections under many streams
			PingTimeout:      15 * time.Second,
			WriteByteTimeout: l.cfg.IdleTimeout,
		},
		ReadBufferSize: 32 << 10,
	}
	if proxy == nil {
		return t
	}
	t.Proxy = http.ProxyURL(proxy)
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return l.dialProxy(ctx, network, addr)
	}
	if proxy.Scheme == "https" {
		// TLSClientConfig would show the client certificate to the proxy too.
		t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := l.dialProxy(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			cfg := l.tlsConfig(false)
			cfg.ServerName = proxy.Hostname()
			cfg.NextProtos = []string{"http/1.1"}
			ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
			defer cancel()
			tc := tls.Client(conn, cfg)
			if err := tc.HandshakeContext(ctx); err != nil {
				conn.Close()
				return nil, &dialError{err}
			}
			return tc, nil
		}
	}
	return t
}

func (l *link) tlsConfig(certificate bool) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: l.trust}
	if certificate {
		cfg.Certificates = l.cert
	}
	return cfg
}

// dialError marks a failure before anything was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dialProxy dials the configured egress proxy, which the operator named and
// which may stand on any address.
func (l *link) dialProxy(ctx context.Context, network, addr string) (net.Conn, error) {
	return l.dial(ctx, network, addr, func(netip.Addr, bool) bool { return true })
}

// dialDirect dials a registry. Addresses are judged after the lookup and dialled
// as judged, so a name cannot change its address in between.
func (l *link) dialDirect(ctx context.Context, network, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &dialError{err}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, &dialError{err}
	}
	named := l.names(host, uint16(port))
	return l.dial(ctx, network, addr, func(a netip.Addr, literal bool) bool {
		if !named {
			return l.fence.public(a)
		}
		return literal || !needsLiteral(a)
	})
}

func (l *link) dial(ctx context.Context, network, addr string, fit func(a netip.Addr, literal bool) bool) (net.Conn, error) {
	if l.offlineNow() {
		return nil, fmt.Errorf("connection %q: %w", l.cfg.Name, ErrOffline)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.ConnectTimeout, fmt.Errorf("no connection within %v", l.cfg.ConnectTimeout))
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &dialError{err}
	}
	addrs, literal, err := l.lookup(ctx, host)
	if err != nil {
		return nil, &dialError{err}
	}
	var fitting []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); fit(a, literal) {
			fitting = append(fitting, a)
		}
	}
	if len(fitting) == 0 {
		return nil, &Refused{Connection: l.cfg.Name, URL: addr,
			Reason: fmt.Sprintf("its address %v is dialled only if the connection spells out the host, or this very address", addrs[0])}
	}
	conn, err := l.race(ctx, network, fitting, port)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// offlineNow reports whether a switch to offline has happened since the link
// was looked up.
func (l *link) offlineNow() bool {
	if l.cfg.Offline {
		return true
	}
	st := l.client.state.Load()
	if st.offline {
		return true
	}
	now, ok := st.links[l.cfg.Name]
	return ok && now.cfg.Offline
}

func (l *link) lookup(ctx context.Context, host string) (addrs []netip.Addr, literal bool, err error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, true, nil
	}
	l.client.lookups.Add(1)
	addrs, err = l.client.env.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, false, fmt.Errorf("look up %s: %w", host, lookupCause(ctx, err))
	}
	if len(addrs) == 0 {
		return nil, false, fmt.Errorf("look up %s: no address", host)
	}
	return addrs, false, nil
}

func lookupCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return errors.New("no such host")
	}
	return err
}

// race dials the addresses in turn, the next one when the last has failed or has
// taken dialStagger, families alternating (RFC 8305), and keeps the first
// connection.
func (l *link) race(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		conn net.Conn
		err  error
	}
	addrs = alternate(addrs)
	results := make(chan outcome)
	start := func(a netip.Addr) {
		l.client.dials.Add(1)
		l.tally.dials.Add(1)
		conn, err := l.client.env.dial(ctx, network, net.JoinHostPort(a.String(), port))
		select {
		case results <- outcome{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}
	next, running := 0, 0
	var first error
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	for {
		select {
		case <-stagger.C:
			if next < len(addrs) {
				go start(addrs[next])
				next, running = next+1, running+1
				stagger.Reset(dialStagger)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if first == nil {
				first = r.err
			}
			if running--; running == 0 && next == len(addrs) {
				return nil, first
			}
			stagger.Reset(0)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// alternate keeps the resolver's order inside each family and lets the families
// take turns, beginning with the resolver's first choice.
func alternate(addrs []netip.Addr) []netip.Addr {
	var lead, other []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			lead = append(lead, a)
		} else {
			other = append(other, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := 0; i < len(lead) || i < len(other); i++ {
		if i < len(lead) {
			out = append(out, lead[i])
		}
		if i < len(other) {
			out = append(out, other[i])
		}
	}
	return out
}
