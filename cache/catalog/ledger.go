package catalog

import (
	"fmt"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// Cause says why a ledger entry was written.
type Cause string

// The closed list of causes.
const (
	CauseIngested  Cause = "ingested"  // first time these bytes came in under this coordinate
	CauseRefetched Cause = "refetched" // came in again after eviction, same bytes
	CauseDerived   Cause = "derived"   // made here from another asset
	CauseWithdrawn Cause = "withdrawn" // the upstream stopped listing it
	CauseMutation  Cause = "mutation"  // other bytes were offered and refused
)

// Entry is one line of the ledger.
type Entry struct {
	Place   Place          `cbor:"1,keyasint"`
	Format  string         `cbor:"2,keyasint"`
	Name    string         `cbor:"3,keyasint"`
	Version string         `cbor:"4,keyasint,omitempty"`
	File    string         `cbor:"5,keyasint,omitempty"`
	Digest  formats.Digest `cbor:"6,keyasint,omitempty"`
	Size    int64          `cbor:"7,keyasint,omitempty"`
	Time    time.Time      `cbor:"8,keyasint"`
	Origin  string         `cbor:"9,keyasint,omitempty"`
	Cause   Cause          `cbor:"10,keyasint"`
	Note    string         `cbor:"11,keyasint,omitempty"`
}

func (c *Catalog) ledger(b *store.Batch, e Entry) error {
	val, err := c.enc.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode ledger entry: %w", err)
	}
	b.Ledger(val)
	return nil
}

// RecordMutation writes a refused change to the ledger.
func (c *Catalog) RecordMutation(k AssetKey, was, is formats.Digest, at time.Time) error {
	b := c.db.NewBatch()
	err := c.ledger(b, Entry{Place: k.Place, Format: k.Format, Name: k.Name, Version: k.Version, File: k.File,
		Digest: is, Time: at, Cause: CauseMutation, Note: "known as " + was.String()})
	if err != nil {
		return err
	}
	return b.Commit(true)
}

// Ledger calls fn for every entry after a sequence number.
func (c *Catalog) Ledger(after uint64, fn func(seq uint64, e Entry) error) error {
	return c.db.LedgerRange(after, func(seq uint64, raw []byte) error {
		var e Entry
		if err := c.dec.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("decode ledger entry %d: %w", seq, err)
		}
		return fn(seq, e)
	})
}
