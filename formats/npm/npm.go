// Package npm translates the npm registry protocol: packuments (full and
// abbreviated), version documents, dist-tags, tarballs, signing keys,
// attestations, audit and search, as npm, pnpm, Yarn 1 and 4 and Bun speak it.
//
// It owns the grammar of names and paths, the byte-exact cutting of a packument
// into rows, the rebuilding of documents from rows, and the reading of what is
// published. It refuses to fetch, to store, to decide policy, to keep accounts
// and owners, to publish a tarball that is not what its manifest says, and to
// re-encode JSON that a publisher signed: inside a version's manifest only
// dist.tarball and dist.attestations.url are replaced.
//
// DESIGN.md says how a packument maps to rows.
package npm

import "larder/formats"

// ID is the first path segment of npm endpoints.
const ID = "npm"

// Limits of one packument. The proxy bounds the body too; these hold when a
// format is used alone.
const (
	maxPackument = 512 << 20 // bytes of one document, decoded
	maxManifest  = 32 << 20  // bytes of one version's manifest or one other member
	maxVersions  = 200_000
)

// Format is the npm ecosystem. It holds no state and is safe for concurrent
// use.
type Format struct {
	maxDoc    int64 // bytes of one packument
	maxUpload int64 // bytes of one publish request, decoded
}

// New returns the npm format.
func New() *Format { return &Format{maxDoc: maxPackument, maxUpload: maxUpload} }

// ID returns "npm".
func (f *Format) ID() string { return ID }

var (
	_ formats.Format     = (*Format)(nil)
	_ formats.Upstreamer = (*Format)(nil)
	_ formats.Lister     = (*Format)(nil)
	_ formats.Verifier   = (*Format)(nil)
	_ formats.Closure    = (*Format)(nil)
	_ formats.Searcher   = (*Format)(nil)
	_ formats.Discoverer = (*Format)(nil)

	_ formats.Publisher      = (*Format)(nil)
	_ formats.Coordinator    = (*Format)(nil)
	_ formats.Describer      = (*Format)(nil)
	_ formats.Deriver        = (*Format)(nil)
	_ formats.DocumentMender = (*Format)(nil)
)
