package formats

import (
	"net/http"
	"net/url"
)

// Request is one client request below a repository's endpoint. The proxy has
// already refused traversal, NUL, control characters, backslashes, empty
// segments and oversize paths (see proxy/path.go), so a format sees only clean
// segments; a decoded segment may still hold "/" (npm's "@s%2fn") and the
// format decides whether that is legal for it.
type Request struct {
	Method   string
	Repo     string      // repository name
	Base     string      // absolute endpoint URL as the client spelled it, no trailing slash
	Path     string      // below the endpoint, no leading slash, decoded once
	Raw      string      // the same as sent, still escaped
	Segments []string    // Raw split at "/", each decoded once; last is "" after a trailing slash
	Query    url.Values  // parsed leniently
	Header   http.Header // the client's; read only
	// Principal is who asks, "" without a credential.
	Principal string
	Auth      bool // reading this repository needs a credential
}

// Kind says how the proxy answers a target.
type Kind uint8

const (
	KindLocal    Kind = iota // Reply is the answer; no I/O (ping, config.json, redirects)
	KindListing              // rendered from the rows of one name
	KindAsset                // one file of a version: looked up, filled, verified, kept
	KindSidecar              // made by Deriver from the asset in Derive
	KindDocument             // an upstream document outside packages, kept whole, served as it is
	KindPass                 // forwarded to the first connection, never stored (audit)
	KindSearch               // forwarded; offline answered by Searcher from names held here
	KindPublish              // a write: read by Publisher, applied by the catalog
)

func (k Kind) String() string {
	return [...]string{"local", "listing", "asset", "sidecar", "document", "pass", "search", "publish"}[k]
}

// Freshness says how long what was fetched for a target stays true.
type Freshness uint8

const (
	Revalidate Freshness = iota // until the connection's metadata TTL
	Immutable                   // for ever; other bytes under the key are refused
	NoStore                     // never kept
)

// Target is a parsed request: what is asked, never how it was spelled.
type Target struct {
	Kind    Kind
	Name    Name
	Version string
	File    string
	// Doc names the listing document where a name has several ("" is the main
	// one; Go has "latest"), and is the key of a KindDocument: a clean relative
	// path that Locate understands.
	Doc string
	// Variant is the negotiated rendering ("abbreviated", "full", "json", ...).
	Variant string
	Fresh   Freshness
	// Prime asks the proxy to know the name's listing rows before this asset is
	// filled, since the digest and URL live there (npm, PyPI, Cargo).
	Prime bool
	// ContentType of the answer for assets and documents; "" lets upstream decide.
	ContentType string
	Derive      *Target // KindSidecar: the asset it is made from
	Reply       *Reply  // KindLocal
	// Hosted answers a KindDocument instead where the version of this target is
	// one that the repository, or a repository upstream of it, holds with the
	// file in question (npm's attestations of a version that was published
	// here): a KindAsset, or a KindSidecar of one. It is never fetched.
	Hosted *Target
	Deed   Deed // KindPublish
	Auth   bool // KindLocal: the answer is for those who may read the repository, and a client that sent no credential is challenged (npm's whoami)
}

// Reply is a complete small answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSONReply builds a Reply with the given status and JSON body.
func JSONReply(status int, body string) *Reply {
	return &Reply{status, http.Header{"Content-Type": {"application/json"}}, []byte(body)}
}

// TextReply builds a plain text Reply; a newline is added.
func TextReply(status int, body string) *Reply {
	return &Reply{status, http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}, []byte(body + "\n")}
}
