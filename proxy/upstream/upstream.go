// Package upstream is the only code that dials registries. It owns the way out:
// which addresses may be dialled, where credentials may go, which redirects may
// be followed, how long anything may hang, how often it is tried again, and
// whether anything may be dialled at all (offline).
//
// It refuses to know what it carries: it parses no document, verifies no
// digest, keeps nothing and knows no format. It never sends a credential to
// anything but the scheme, host and port of the connection it belongs to, and
// never puts one into an error or a log line.
package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Client sends requests to the configured connections. It is safe for
// concurrent use.
type Client struct {
	env   environment
	state atomic.Pointer[settings]

	base   context.Context // ends with Close; every exchange is bound to it
	cancel context.CancelFunc

	dials   atomic.Int64
	lookups atomic.Int64

	reload struct {
		sync.Mutex                   // one Reload or Close at a time
		tallies    map[string]*tally // by connection name; counts outlive a Reload
	}
}

// environment is everything a client takes from outside; tests replace it.
type environment struct {
	log      *slog.Logger
	observer Observer
	now      func() time.Time
	random   func() float64
	resolver Resolver
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	getenv   func(string) string
	readFile func(string) ([]byte, error)
}

// settings is one generation of configuration; it never changes once stored.
type settings struct {
	offline bool
	links   map[string]*link
	order   []string
}

// New checks cfg, reads the files and environment variables it names and
// returns a client. It dials nothing.
func New(cfg Config) (*Client, error) {
	c := &Client{env: environmentOf(cfg)}
	c.base, c.cancel = context.WithCancel(context.Background())
	c.reload.tallies = map[string]*tally{}
	next, err := c.build(cfg, nil)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.state.Store(next)
	return c, nil
}

func environmentOf(cfg Config) environment {
	env := environment{
		log: cfg.Logger, observer: cfg.Observer, now: cfg.Now, random: cfg.Random,
		resolver: cfg.Resolver, dial: cfg.Dial, getenv: cfg.Getenv, readFile: cfg.ReadFile,
	}
	if env.log == nil {
		env.log = slog.New(slog.DiscardHandler)
	}
	if env.observer == nil {
		env.observer = noObserver{}
	}
	if env.now == nil {
		env.now = time.Now
	}
	if env.random == nil {
		env.random = rand.Float64
	}
	if env.resolver == nil {
		env.resolver = net.DefaultResolver
	}
	if env.dial == nil {
		env.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	if env.getenv == nil {
		env.getenv = os.Getenv
	}
	if env.readFile == nil {
		env.readFile = os.ReadFile
	}
	return env
}

// Close ends every running exchange and closes idle connections. Requests made
// afterwards fail with ErrClosed.
func (c *Client) Close() {
	c.reload.Lock()
	defer c.reload.Unlock()
	c.cancel()
	for _, l := range c.state.Load().links {
		l.closeIdle()
	}
}

// Dials counts the network addresses dialled since New: the figure that must
// stay zero offline.
func (c *Client) Dials() int64 { return c.dials.Load() }

// Lookups counts the host names given to the resolver since New.
func (c *Client) Lookups() int64 { return c.lookups.Load() }

// link finds a connection that may be used now.
func (c *Client) link(name string) (*link, error) {
	if c.base.Err() != nil {
		return nil, ErrClosed
	}
	st := c.state.Load()
	l, ok := st.links[name]
	if !ok {
		return nil, fmt.Errorf("connection %q: %w", name, ErrNoConnection)
	}
	if st.offline || l.cfg.Offline {
		return nil, fmt.Errorf("connection %q: %w", name, ErrOffline)
	}
	return l, nil
}
