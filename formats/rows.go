package formats

import (
	"io"
	"time"
)

// Name identifies a package inside a format.
type Name struct {
	// Canon is the normalised, injective identity (PEP 503 name, "@scope/name",
	// "group:artifact", module path, lower-cased crate name). It keys rows and
	// is what policy matches. No NUL, at most 1,024 bytes.
	Canon string `cbor:"1,keyasint"`
	// Display is the spelling upstream uses, "" when equal to Canon.
	Display string `cbor:"2,keyasint,omitempty"`
	// NS is the namespace part as CodeArtifact has it (npm scope without "@",
	// Maven group), "" when the format has none.
	NS string `cbor:"3,keyasint,omitempty"`
}

// Show returns the spelling for people.
func (n Name) Show() string {
	if n.Display != "" {
		return n.Display
	}
	return n.Canon
}

// TimeSource says where a publish time was learned.
type TimeSource uint8

const (
	TimeUnknown   TimeSource = iota // no time known
	TimeUpstream                    // the registry's own metadata said so
	TimeHeader                      // Last-Modified of the file
	TimeAuthor                      // set by the author, forgeable (Go .info Time)
	TimeFirstSeen                   // this site's first sight
)

// State is what this site knows about a version's standing upstream.
type State uint8

const (
	Live      State = iota // listed upstream when last asked
	Withdrawn              // was listed, no longer is; held bytes stay servable
	Held                   // only held assets are known, no listing ever named it
	Disposed               // erased by an operator, never to return by itself
)

// Flags are facts of a version or asset that clients act on.
type Flags uint8

const (
	Yanked     Flags = 1 << iota // still installable by exact pin (PEP 592, Cargo yank)
	Deprecated                   // installable, with a warning
	Unlisted                     // fetchable, not named in the listing (Go pseudo-version)
)

// Asset is one file of a version as the upstream's metadata describes it.
type Asset struct {
	File     string     `cbor:"1,keyasint"`           // canonical file name inside the version
	URL      string     `cbor:"2,keyasint,omitempty"` // absolute upstream URL; "" when Locate derives it
	Size     int64      `cbor:"3,keyasint,omitempty"` // bytes; 0 unknown
	Digests  []Digest   `cbor:"4,keyasint,omitempty"`
	Uploaded time.Time  `cbor:"5,keyasint,omitempty"` // zero unknown
	From     TimeSource `cbor:"6,keyasint,omitempty"`
	Flags    Flags      `cbor:"7,keyasint,omitempty"`
	Raw      []byte     `cbor:"8,keyasint,omitempty"` // byte-exact upstream fragment of this file
	Aux      []byte     `cbor:"9,keyasint,omitempty"` // format-private
}

// Version is one version row. Parse fills the first group; the catalog fills
// the second and gives it back on reads.
type Version struct {
	V         string     `cbor:"1,keyasint"`
	Published time.Time  `cbor:"2,keyasint,omitempty"` // zero unknown
	From      TimeSource `cbor:"3,keyasint,omitempty"`
	Flags     Flags      `cbor:"4,keyasint,omitempty"`
	Assets    []Asset    `cbor:"5,keyasint,omitempty"`
	Raw       []byte     `cbor:"6,keyasint,omitempty"` // byte-exact upstream fragment of this version
	Aux       []byte     `cbor:"7,keyasint,omitempty"` // format-private (npm: the exact text of time[v])

	Seq       int       `cbor:"8,keyasint,omitempty"` // position in the upstream listing
	FirstSeen time.Time `cbor:"9,keyasint,omitempty"`
	State     State     `cbor:"10,keyasint,omitempty"`
	Origin    string    `cbor:"11,keyasint,omitempty"` // the connection or publisher that supplied it

	// Held maps file name to what the store holds of this version. Filled by
	// the catalog in views, never stored in the row.
	Held map[string]HeldAsset `cbor:"-"`

	// Hosting is set for a version that a repository itself holds. Filled by the
	// catalog, nil in rows of connections.
	Hosting *Hosting `cbor:"12,keyasint,omitempty"`
}

// Asset returns the asset with the given file name, or nil.
func (v *Version) Asset(file string) *Asset {
	for i := range v.Assets {
		if v.Assets[i].File == file {
			return &v.Assets[i]
		}
	}
	return nil
}

// HeldAsset is an asset row: what the store holds under a coordinate.
type HeldAsset struct {
	File         string    `cbor:"1,keyasint"`
	Size         int64     `cbor:"2,keyasint"`
	Digests      []Digest  `cbor:"3,keyasint"` // always has SHA256
	ContentType  string    `cbor:"4,keyasint,omitempty"`
	LastModified time.Time `cbor:"5,keyasint,omitempty"` // upstream's, zero unknown
	FirstSeen    time.Time `cbor:"6,keyasint"`
	Origin       string    `cbor:"7,keyasint,omitempty"`
	Derived      bool      `cbor:"8,keyasint,omitempty"` // made here from another asset (core metadata)
	URL          string    `cbor:"9,keyasint,omitempty"` // where it came from
	Aux          []byte    `cbor:"10,keyasint,omitempty"`
}

// Digest returns the held digest for alg.
func (h HeldAsset) Digest(alg Alg) (Digest, bool) { return Find(h.Digests, alg) }

// Head is the package-level row of one listing.
type Head struct {
	Raw      []byte            `cbor:"1,keyasint,omitempty"` // byte-exact package-level fragment
	Tags     map[string]string `cbor:"2,keyasint,omitempty"` // dist-tags and their like
	Modified time.Time         `cbor:"3,keyasint,omitempty"`
	Display  string            `cbor:"4,keyasint,omitempty"` // upstream's spelling of the name
	Aux      []byte            `cbor:"5,keyasint,omitempty"` // format-private
}

// Layer is one place that contributes to a view.
type Layer struct {
	Place string // connection or repository
	Head  *Head
	Local bool // what a repository itself holds, not what an upstream lists
}

// Hidden is a version that policy keeps out of a view, with the reason.
type Hidden struct {
	Version *Version
	Reason  string
}

// View is everything Render may use: rows of all contributing places, merged
// by the format's rule and already filtered.
type View struct {
	Name     Name
	Base     string     // absolute endpoint URL without trailing slash, as the client spelled it
	Layers   []Layer    // in merge order; at least one, Head never nil
	Versions []*Version // in upstream order; withdrawn ones are absent unless held and Offline
	Hidden   []Hidden   // removed by policy
	Offline  bool       // only versions whose needed files are held remain
	Missing  int        // how many versions the offline filter removed
	// LocalTags lets tags of this repository win over an upstream's of the same
	// name; by default the upstream's wins (CodeArtifact user guide, "npm tags").
	LocalTags bool
	Auth      bool // reading this repository needs a credential
}

// File is a complete file to be checked or inspected.
type File interface {
	io.ReaderAt
	Size() int64
}
