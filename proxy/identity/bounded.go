package identity

import "sync"

// bounded is a map that never holds more than its size: when the young half is
// full it becomes the old one, and what nobody asked for since then goes. It is
// safe for concurrent use; a hit in the young half takes a read lock only and
// allocates nothing.
type bounded[K comparable, V any] struct {
	half int

	mu         sync.RWMutex
	young, old map[K]V
}

func newBounded[K comparable, V any](size int) *bounded[K, V] {
	return &bounded[K, V]{half: max(1, size/2), young: map[K]V{}}
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	b.mu.RLock()
	v, ok := b.young[k]
	if ok {
		b.mu.RUnlock()
		return v, true
	}
	v, ok = b.old[k]
	b.mu.RUnlock()
	if ok {
		b.put(k, v)
	}
	return v, ok
}

func (b *bounded[K, V]) put(k K, v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.young[k]; !ok && len(b.young) >= b.half {
		b.old, b.young = b.young, make(map[K]V, b.half/4)
	}
	b.young[k] = v
}

func (b *bounded[K, V]) remove(k K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.young, k)
	delete(b.old, k)
}

func (b *bounded[K, V]) len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.young) + len(b.old)
}
