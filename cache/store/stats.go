package store

import "time"

// Stats is a look at the store. Sizes are in bytes.
type Stats struct {
	Blobs        int64 // all that can be opened
	InlineBlobs  int64
	InlineBytes  int64
	LargeBlobs   int64
	LargeBytes   int64
	MissingBlobs int64 // dropped as corrupt, still referred to
	PinnedBlobs  int64
	Rows         int64 // when last counted (in the background after Open, by Check and GC)
	LedgerSeq    uint64

	DiskUsed  int64 // by the whole store
	DiskFree  int64 // of the file system; 0 if unknown
	DiskTotal int64
	Budget    int64 // Config.Disk
	Reserve   int64
	Reserved  int64 // promised to running writers
	Writers   int
	Readers   int

	Evictions    int64
	EvictedBytes int64
	Full         bool
	FullReason   string
	Scrub        ScrubStats

	Pebble PebbleStats
}

// ScrubStats sums up scrubbing since Open.
type ScrubStats struct {
	Last    time.Time // end of the last full pass; zero if none
	Blobs   int64
	Bytes   int64
	Corrupt int64
}

// PebbleStats is what of the database's own metrics is worth watching.
type PebbleStats struct {
	Tables          int64
	TableBytes      int64
	WALBytes        int64
	MemTableBytes   int64
	BlockCacheBytes int64
	BlockCacheHits  int64
	BlockCacheMiss  int64
	Compactions     int64
	CompactionDebt  int64
	Flushes         int64
	ReadAmp         int
	BytesIn         int64 // user bytes written through the log
	BytesFlushed    int64
	BytesCompacted  int64
	BytesIngested   int64
}

// Stats returns the present state. It is cheap enough to be asked every second.
func (db *DB) Stats() Stats {
	var st Stats
	if db.gate.enter() != nil {
		return st
	}
	defer db.gate.leave()
	u := db.counts.Load()
	st.InlineBlobs, st.InlineBytes = u.inlineBlobs, u.inlineBytes
	st.LargeBlobs, st.LargeBytes = u.largeBlobs, u.largeBytes
	st.Blobs, st.MissingBlobs, st.PinnedBlobs = u.inlineBlobs+u.largeBlobs, u.missing, u.pinned
	st.Rows, st.LedgerSeq = db.rows.n.Load(), db.LedgerSeq()
	m := db.pebble.Metrics()
	st.DiskUsed = int64(m.DiskSpaceUsage())
	db.space.mu.Lock()
	st.DiskFree, st.DiskTotal = db.space.free, db.space.total
	st.Reserved = db.space.reserved
	st.FullReason = db.space.full
	db.space.mu.Unlock()
	st.Full = st.FullReason != ""
	st.Budget, st.Reserve = db.cfg.Disk, db.reserveBytes(st.DiskTotal)
	db.ids.mu.Lock()
	st.Writers = len(db.ids.live)
	db.ids.mu.Unlock()
	db.readers.mu.Lock()
	st.Readers = len(db.readers.n)
	db.readers.mu.Unlock()
	st.Evictions, st.EvictedBytes = db.evict.n.Load(), db.evict.bytes.Load()
	db.scrubs.mu.Lock()
	st.Scrub = db.scrubs.s
	db.scrubs.mu.Unlock()
	total := m.Total()
	st.Pebble = PebbleStats{
		Tables: total.TablesCount, TableBytes: int64(total.TablesSize),
		WALBytes: int64(m.WAL.Size), MemTableBytes: int64(m.MemTable.Size),
		BlockCacheBytes: m.BlockCache.Size, BlockCacheHits: m.BlockCache.Hits, BlockCacheMiss: m.BlockCache.Misses,
		Compactions: m.Compact.Count, CompactionDebt: int64(m.Compact.EstimatedDebt), Flushes: m.Flush.Count,
		ReadAmp: m.ReadAmp(), BytesIn: int64(m.WAL.BytesIn),
		BytesFlushed: int64(total.TableBytesFlushed), BytesCompacted: int64(total.TableBytesCompacted),
		BytesIngested: int64(total.TableBytesIngested),
	}
	return st
}
