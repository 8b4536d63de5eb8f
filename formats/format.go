package formats

import (
	"context"
	"io"
	"net/http"
)

// Format is the small core that every ecosystem's room implements. All methods
// are safe for concurrent use and do no I/O of their own. What a format can do
// beyond routing is found by type assertion on the interfaces below.
type Format interface {
	// ID is the first path segment of the format's endpoints and the key of its
	// rows: "npm", "pypi", "maven", "go", "cargo", "generic".
	ID() string
	// Route parses a request. It returns a *Refusal for what is not a legal
	// request of the protocol. It must be total: no panic for any input.
	Route(rq *Request) (Target, error)
	// Refuse words a refusal in the dialect that the format's clients show.
	Refuse(rq *Request, r *Refusal) *Reply
	// PURL returns the package URL of a coordinate (version may be "").
	PURL(n Name, version string) string
	// ParsePURL is its inverse for the purl type(s) of this format; ok is false
	// for others.
	ParsePURL(purl string) (n Name, version string, ok bool)
}

// Connection is what a format may know of an external connection.
type Connection struct {
	Name    string            // "public:npmjs"
	URL     string            // the registry's base, always with a trailing slash
	Options map[string]string // format's own settings (go: "sumdb", "sumdb_url")
}

// Fetch is one request to an upstream.
type Fetch struct {
	Method string // "" is GET
	URL    string
	Header http.Header // Accept and the like; never credentials
}

// Docs reads small upstream documents of one connection through the shared
// cache (same flights, freshness, offline rules). It returns ErrNoDocument for
// an upstream 404 and refuses bodies over 16 MiB.
type Docs interface {
	Document(ctx context.Context, t Target) ([]byte, error)
}

// Keeper is what Docs may offer besides, to a Prover.
type Keeper interface {
	// Held returns what is kept under t.Doc without asking anybody, and
	// ErrNoDocument when nothing is.
	Held(ctx context.Context, t Target) ([]byte, error)
	// Keep stores data under t.Doc, durably, in place of what was there.
	Keep(ctx context.Context, t Target, data []byte) error
}

// Prover is a format in which a document cannot be proved by itself when it
// arrives, only together with others (the tiles of Go's checksum database). The
// proxy serves such a document when it is held and else fetches it for whoever
// asks; it is kept when the format has proved it, through Keeper.
type Prover interface {
	Proves(c Connection, t Target) bool
}

// Upstreamer says how a target is asked of a registry.
type Upstreamer interface {
	// Locate returns the upstream request for t. a is the asset's row where the
	// listing named it, else nil.
	Locate(ctx context.Context, c Connection, t Target, a *Asset, docs Docs) (Fetch, error)
}

// Source describes an upstream answer to Parse.
type Source struct {
	Connection Connection
	URL        string // final URL, for relative references
	Header     http.Header
}

// Lister turns upstream listings into rows and rows into listings.
type Lister interface {
	// Parse reads one upstream listing and emits its versions in order. It must
	// bound its own memory to a small multiple of the largest version, keep raw
	// fragments byte-exact, and fail on anything that is not the document it
	// expects (an HTML error page with status 200, other package's name).
	Parse(t Target, src Source, r io.Reader, emit func(*Version) error) (*Head, error)
	// Render writes the listing document of v for t.Variant and returns its
	// header fields (Content-Type required; Last-Modified and others optional).
	// No upstream host may survive in the output. ErrNotFound-like outcomes
	// (unknown version of a version document) are *Refusal.
	Render(w io.Writer, v *View, t Target) (http.Header, error)
}

// MergeRule says how the rows of several upstreams become one view.
type MergeRule uint8

const (
	FirstOwner MergeRule = iota // a name belongs to the first upstream that has it
	Union                       // versions are united; each version belongs to the first that has it
)

// Merger overrides FirstOwner.
type Merger interface{ Merge() MergeRule }

// Anchorer is a format that unites versions and can tell that an upstream has a
// version although it lacks one of its files. Without it such a file comes from
// the next upstream that has it, and the version with it.
type Anchorer interface {
	// Anchor returns the listing or the asset whose presence at an upstream
	// means that the version of t is that upstream's; false if t is that itself.
	Anchor(t Target) (Target, bool)
}

// Want is what an asset's bytes must be.
type Want struct {
	Digests []Digest // all that are computable must match
	Size    int64    // 0 unknown
	Whole   bool     // Check must pass on the complete file as well
	Private any      // for Check
}

// Verifier refines what the proxy demands of an asset. Without it the digests
// and size of the asset's row are demanded.
type Verifier interface {
	// Expect runs beside the download, after the upstream's response header h
	// arrived; it may read documents (checksum files, checksum database).
	Expect(ctx context.Context, c Connection, t Target, a *Asset, h http.Header, docs Docs) (Want, error)
	// Check inspects the complete file before it becomes visible and before the
	// last block reaches any client.
	Check(ctx context.Context, t Target, f File, w Want) error
}

// DocumentVerifier is a Verifier whose Expect and Check cover documents too
// (Go's checksum database): without it a document is kept as it came.
type DocumentVerifier interface {
	Verifier
	VerifiesDocuments() bool
}

// Companion names assets that belong to one that has just been kept and should
// be fetched behind it, so that the version can be used offline.
type Companion interface {
	Companions(t Target) []Target
}

// Hasher names digests beyond SHA-256 to compute at ingest, because clients ask
// for them (Maven's .sha1 and .md5).
type Hasher interface{ Algs() []Alg }

// Derived is a small file made from an asset at ingest.
type Derived struct {
	File        string
	ContentType string
	Body        []byte
}

// Inspector looks into a freshly verified asset and returns files derived from
// it (core metadata of a wheel), and private facts to keep in the asset row's
// Aux. Limits on output bytes, entries and ratio are its duty. An error keeps
// the asset and is logged; it must therefore not be used for verification.
type Inspector interface {
	Inspect(t Target, f File) (derived []Derived, aux []byte, err error)
}

// Deriver answers KindSidecar from the asset it belongs to.
type Deriver interface {
	Derive(t Target, of HeldAsset, f File) (*Reply, error)
}

// Decorator adds response headers to an asset (X-Checksum-Sha1).
type Decorator interface {
	AssetHeader(t Target, h HeldAsset) http.Header
}

// Closure is the offline predicate.
type Closure interface {
	// Available reports whether v can be installed from what is held, and
	// returns v restricted to held files where the format lists files one by
	// one (PyPI). It may return v itself.
	Available(v *Version) (*Version, bool)
}

// SearchHit is one name of the local catalogue.
type SearchHit struct {
	Name    Name
	Head    *Head
	Version *Version // the newest listed one, may be nil
}

// Searcher answers a search from names held here.
type Searcher interface {
	// Query extracts the search text and window from a request.
	Query(rq *Request) (text string, from, size int)
	Results(rq *Request, hits []SearchHit, total int) *Reply
}
