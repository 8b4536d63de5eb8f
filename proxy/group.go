package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// group runs one call per key at a time and gives every caller its result. The
// call runs on its own goroutine, so a caller that leaves does not end it.
type group[V any] struct {
	mu    sync.Mutex
	calls map[string]*call[V]
}

type call[V any] struct {
	done chan struct{}
	val  V
	err  error
}

func newGroup[V any]() *group[V] { return &group[V]{calls: map[string]*call[V]{}} }

// start returns the running call for key, or starts fn as one.
func (g *group[V]) start(key string, fn func() (V, error)) (c *call[V], leader bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c, false
	}
	c = &call[V]{done: make(chan struct{})}
	g.calls[key] = c
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c.err = fmt.Errorf("panic: %v", p)
			}
			g.mu.Lock()
			delete(g.calls, key)
			g.mu.Unlock()
			close(c.done)
		}()
		c.val, c.err = fn()
	}()
	return c, true
}

func (c *call[V]) wait(ctx context.Context) (V, error) {
	select {
	case <-c.done:
		return c.val, c.err
	case <-ctx.Done():
		var zero V
		return zero, ctx.Err()
	}
}

// negatives remembers for a short time what an upstream said it does not have.
type negatives struct {
	ttl time.Duration
	mu  sync.Mutex
	m   map[string]time.Time // until
}

// maxNegatives bounds the memory of a client that asks for many unknown names.
const maxNegatives = 1 << 16

func newNegatives(ttl time.Duration) *negatives {
	return &negatives{ttl: ttl, m: map[string]time.Time{}}
}

func (n *negatives) add(key string, now time.Time) {
	if n.ttl <= 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.m) >= maxNegatives {
		for k, until := range n.m {
			if now.After(until) {
				delete(n.m, k)
			}
		}
		for k := range n.m {
			if len(n.m) < maxNegatives {
				break
			}
			delete(n.m, k)
		}
	}
	n.m[key] = now.Add(n.ttl)
}

func (n *negatives) has(key string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	until, ok := n.m[key]
	if ok && now.After(until) {
		delete(n.m, key)
		ok = false
	}
	return ok
}

func (n *negatives) drop(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.m, key)
}
