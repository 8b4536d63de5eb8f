package store

import (
	"sync/atomic"
	"time"
)

const (
	maxLoans = 32
	// lateLoan is how long bytes may be lent out before no more are lent to
	// anybody.
	lateLoan = time.Second
	// quickWrite is how fast a chunk must be taken for the next one to be
	// lent.
	quickWrite = 100 * time.Millisecond
)

// loans limits the lending of stored bytes to whoever reads them. Bytes lent
// straight from the database keep the tables and memtables of that moment
// alive. Were it done without limit, clients that stall one after another could
// each keep another memtable. So the number of loans is bounded, and while one
// is late nothing is lent: readers get copies.
type loans struct {
	start time.Time
	since [maxLoans]atomic.Int64 // nanoseconds since start, 0: free
}

func (l *loans) init() { l.start = time.Now() }

// take opens a loan and returns its number, or -1 if nothing may be lent now.
func (l *loans) take() int {
	now := int64(time.Since(l.start)) + 1
	free := -1
	for i := range l.since {
		switch t := l.since[i].Load(); {
		case t == 0:
			free = i
		case now-t > int64(lateLoan):
			return -1
		}
	}
	if free < 0 || !l.since[free].CompareAndSwap(0, now) {
		return -1
	}
	return free
}

func (l *loans) end(i int) { l.since[i].Store(0) }

// getChunk returns an empty slice with room for a chunk.
func (db *DB) getChunk() []byte { return (*db.chunks.Get().(*[]byte))[:0] }

func (db *DB) putChunk(b []byte) {
	b = b[:cap(b)]
	db.chunks.Put(&b)
}
