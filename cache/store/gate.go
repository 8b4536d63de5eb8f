package store

import (
	"math"
	"sync"
	"sync/atomic"
)

// gate counts running calls so that Close can wait for them. Entering again
// while inside is allowed; after closing it fails, also for those inside.
type gate struct {
	n    atomic.Int64 // calls inside; closing subtracts gateClosed
	once sync.Once
	idle chan struct{} // closed when shut and empty
}

const gateClosed = math.MinInt64

func (g *gate) init() { g.idle = make(chan struct{}) }

func (g *gate) enter() error {
	if g.n.Add(1) < 0 {
		g.leave()
		return ErrClosed
	}
	return nil
}

func (g *gate) leave() {
	if g.n.Add(-1) == gateClosed {
		g.once.Do(func() { close(g.idle) })
	}
}

// close shuts the gate, runs stop, and waits until nobody is inside. It
// reports whether this call was the one that shut it.
func (g *gate) close(stop func()) bool {
	for {
		n := g.n.Load()
		if n < 0 {
			return false
		}
		// One more inside, this call, keeps idle from being closed early.
		if g.n.CompareAndSwap(n, n+1+gateClosed) {
			break
		}
	}
	stop()
	g.leave()
	<-g.idle
	return true
}
