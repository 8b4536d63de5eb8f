package store

import "encoding/binary"

// LedgerSeq returns the sequence number of the newest ledger entry that is on
// disk; 0 if there is none. Numbers start at 1 and have no gaps.
func (db *DB) LedgerSeq() uint64 { return db.durableSeq.Load() }

func (db *DB) raiseDurable(seq uint64) {
	for {
		old := db.durableSeq.Load()
		if old >= seq || db.durableSeq.CompareAndSwap(old, seq) {
			return
		}
	}
}

// LedgerRange calls fn for the entries after the given sequence number in
// ascending order, up to the newest that is on disk when it starts. entry is
// valid only inside fn; fn may return ErrStop.
func (db *DB) LedgerRange(after uint64, fn func(seq uint64, entry []byte) error) error {
	end := db.durableSeq.Load()
	if after >= end {
		return nil
	}
	return db.scan(ledgerKey(after+1), ledgerKey(end+1), func(key, val []byte) error {
		return fn(binary.BigEndian.Uint64(key[1:]), val)
	})
}
