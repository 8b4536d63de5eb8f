package store

// loans bounds how long and how often bytes of the block cache are lent to
// slow writers.
type loans struct{}

func (db *DB) getChunk() []byte { return (*db.chunks.Get().(*[]byte))[:0] }

func (db *DB) putChunk(b []byte) {
	b = b[:cap(b)]
	db.chunks.Put(&b)
}
