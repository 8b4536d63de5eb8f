package store

import "strconv"

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	EventEvicted  EventKind = iota + 1 // a blob made room for others
	EventOrphan                        // bytes without an index entry were removed
	EventCorrupt                       // stored bytes are not what was committed
	EventDropped                       // a corrupt blob was removed
	EventFull                          // writing of blobs stopped; Detail says why
	EventRoom                          // writing of blobs goes on
	EventNoSpace                       // the file system had no byte left; the ballast was given up
	EventError                         // background work failed
	EventRepaired                      // upkeep put something right
)

// String returns a stable name for logs and metrics.
func (k EventKind) String() string {
	names := [...]string{"", "evicted", "orphan", "corrupt", "dropped", "full", "room", "no-space", "error", "repaired"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return strconv.Itoa(int(k))
}

// Event is something the store did or found by itself.
type Event struct {
	Kind   EventKind
	Sum    Sum    // the blob concerned, if one is
	Bytes  int64  // its size, if known
	Detail string // for people
	Err    error
}

func (db *DB) event(e Event) {
	if db.cfg.OnEvent != nil {
		db.cfg.OnEvent(e)
	}
}
