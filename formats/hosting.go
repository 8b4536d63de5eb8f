package formats

import "time"

// Status is CodeArtifact's status of a package version in a repository (API
// reference, "PackageVersionStatus").
type Status uint8

const (
	StatusNone Status = iota
	Published
	Unfinished
	UnlistedStatus
	Archived
	DisposedStatus
	Deleted
)

func (s Status) String() string {
	return [...]string{"", "Published", "Unfinished", "Unlisted", "Archived", "Disposed", "Deleted"}[s]
}

// ParseStatus is the inverse of String.
func ParseStatus(s string) (Status, bool) {
	for st := Published; st <= Deleted; st++ {
		if st.String() == s {
			return st, true
		}
	}
	return StatusNone, false
}

// Listed reports whether documents for clients name a version of this status.
func (s Status) Listed() bool { return s == Published }

// Downloadable reports whether its files are given out.
func (s Status) Downloadable() bool { return s == Published || s == UnlistedStatus }

// Blocks reports whether it keeps versions of the same name further upstream
// out of sight.
func (s Status) Blocks() bool { return s == Archived || s == DisposedStatus }

// OriginType says how a version came into its domain.
type OriginType uint8

const (
	OriginUnknown  OriginType = iota
	OriginInternal            // published here
	OriginExternal            // ingested from an external connection
)

func (o OriginType) String() string { return [...]string{"UNKNOWN", "INTERNAL", "EXTERNAL"}[o] }

// Hosting is what a repository itself says of a version it holds: one that was
// published to it, or one that it retained when a client fetched it.
type Hosting struct {
	Status   Status     `cbor:"1,keyasint"`
	Revision string     `cbor:"2,keyasint"` // base64 of SHA-256 over files and metadata; changes with them
	Since    time.Time  `cbor:"3,keyasint"` // when it came into this repository
	Origin   OriginType `cbor:"4,keyasint,omitempty"`
	// EntryRepository or EntryConnection is where it entered the domain; it never
	// changes.
	EntryRepository string `cbor:"5,keyasint,omitempty"`
	EntryConnection string `cbor:"6,keyasint,omitempty"`
	Publisher       string `cbor:"7,keyasint,omitempty"` // principal, "" where retained
}
