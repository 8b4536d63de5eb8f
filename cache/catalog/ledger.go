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
	CauseCommand   Cause = "command"   // carries a command; its effects follow
	CauseControl   Cause = "control"   // control state changed
	CausePublished Cause = "published" // a client published a file
	CauseRetained  Cause = "retained"  // a repository keeps a version that it reached upstream
	CauseChanged   Cause = "changed"   // state or metadata of a version changed
	CauseDeleted   Cause = "deleted"   // a version was deleted
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

	By         string        `cbor:"12,keyasint,omitempty"` // principal
	Domain     string        `cbor:"13,keyasint,omitempty"`
	Repository string        `cbor:"14,keyasint,omitempty"`
	Command    []byte        `cbor:"15,keyasint,omitempty"` // the encoded Command
	Event      *VersionEvent `cbor:"16,keyasint,omitempty"`
}

// VersionEvent is what an entry tells of a version in a repository: the content
// of one "Package Version State Change" event (user guide, "CodeArtifact event
// format and example").
type VersionEvent struct {
	Administrator string       `cbor:"1,keyasint,omitempty"` // of the repository
	Owner         string       `cbor:"2,keyasint,omitempty"` // of the domain
	Name          formats.Name `cbor:"3,keyasint"`
	Status        string       `cbor:"4,keyasint"`
	Revision      string       `cbor:"5,keyasint,omitempty"`
	Operation     string       `cbor:"6,keyasint"` // Created, Updated, Deleted
	Added         int          `cbor:"7,keyasint,omitempty"`
	Removed       int          `cbor:"8,keyasint,omitempty"`
	Updated       int          `cbor:"9,keyasint,omitempty"`
	Metadata      bool         `cbor:"10,keyasint,omitempty"`
	StatusChanged bool         `cbor:"11,keyasint,omitempty"`
	Sequence      uint64       `cbor:"12,keyasint"` // rises with each event of a package
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
