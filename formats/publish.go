package formats

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Deed is what a write request does, in the classes that policy tells apart.
type Deed uint8

const (
	DeedPublish  Deed = iota // adds files to a version: PublishPackageVersion
	DeedMetadata             // changes what is said of versions (tags, deprecation, yank): PutPackageMetadata
	DeedDelete               // takes versions away: DeletePackageVersions
)

func (d Deed) String() string { return [...]string{"publish", "metadata", "delete"}[d] }

// Publisher turns a write request into the change of rows it asks for. Route
// gives such a request a Target of KindPublish with its Deed, and with the Name
// and Version where the URL has them.
type Publisher interface {
	// Publish reads the request's body from in and returns the change. It checks
	// that archives are what they claim (name, version and digests inside equal
	// to the coordinate, no traversal, no bombs). It decides nothing about
	// rights, immutability or upstreams: the proxy asks policy about the
	// coordinate of the change and the catalog refuses other bytes under a known
	// file. An error is worded as a *Refusal where the client is to blame.
	Publish(ctx context.Context, rq *Request, t Target, in Intake) (*Change, error)
}

// Intake is what a Publisher may ask of the proxy while it reads one request.
// It belongs to one request and one goroutine.
type Intake interface {
	// Read reads the request's body. It fails with a *Refusal (TooLarge) at the
	// node's limit.
	io.Reader
	// Now is when the request arrived; the publish time of what it publishes.
	Now() time.Time
	// Spool takes all of r into the store, without showing it to anybody, and
	// hashes it on the way (MD5, SHA-1, SHA-256, SHA-512).
	Spool(ctx context.Context, r io.Reader) (Spool, error)
	// Head is what the repository itself keeps at the level of a name, nil where
	// it has none. Upstreams are not looked at.
	Head(n Name) (*Head, error)
	// Version is a version that the repository itself holds, with Held and
	// Hosting set, or nil.
	Version(n Name, v string) (*Version, error)
	// Versions are all of them, oldest first, with Held and Hosting set.
	Versions(n Name) ([]*Version, error)
	// Open opens a file that the repository itself holds. The caller closes it.
	Open(n Name, v, file string) (OpenFile, error)
	// Similar finds another name of the repository that is equal to n.Canon
	// after fold, for formats that forbid look-alikes.
	Similar(n Name, fold func(string) string) (string, bool, error)
	// Sign signs with the site's registry key (ECDSA P-256 over SHA-256, as npm
	// does). A site without a key returns a zero Signature.
	Sign(payload []byte) (Signature, error)
}

// OpenFile is a held file while it is read.
type OpenFile interface {
	File
	io.Closer
}

// Spool is a file that was taken in but belongs to no coordinate yet.
type Spool interface {
	File
	Digests() []Digest // MD5, SHA-1, SHA-256 and SHA-512
}

// Signature is a registry signature (npm: dist.signatures).
type Signature struct {
	KeyID string // "SHA256:" and base64
	Sig   string // base64 of the DER signature
}

// Change is what one write request changes in one repository: all of it
// together, or nothing.
type Change struct {
	Name     Name
	Versions []VersionChange
	// Tags are set (dist-tag -> version) or, with an empty value, removed.
	Tags map[string]string
	// Head, if not nil, replaces Raw, Aux, Display and Modified of the name's
	// head; Tags of the head change through Tags alone.
	Head *Head
	// Reply is the answer once the change is durable.
	Reply *Reply
}

// Version returns the change to one version, or nil.
func (c *Change) Version(v string) *VersionChange {
	for i := range c.Versions {
		if c.Versions[i].V == v {
			return &c.Versions[i]
		}
	}
	return nil
}

// Deed is what the change turned out to do, which the URL alone may not tell
// (npm publishes and deprecates by the same request): taking a version away
// weighs most, then adding files.
func (c *Change) Deed() Deed {
	deed := DeedMetadata
	for i := range c.Versions {
		switch vc := &c.Versions[i]; {
		case vc.Delete:
			return DeedDelete
		case len(vc.Files) > 0:
			deed = DeedPublish
		}
	}
	return deed
}

// VersionChange is the change to one version.
type VersionChange struct {
	V string
	// Row describes the version as Parse would have: Raw, Aux, Flags, Published
	// and the Assets that come with this change. For a version that exists,
	// assets it does not know yet are added and the rest of Row is passed over,
	// unless Amend is set. nil changes the status alone.
	Row *Version
	// Amend replaces Raw, Aux and Flags of an existing version by those of Row,
	// and Raw, Aux and Flags of the assets that Row names. A version that does
	// not exist is an error.
	Amend bool
	// Expect is the revision that an amendment was computed from; another one in
	// the store refuses the change. "" does not compare.
	Expect string
	// Files are the bytes that come with the change. The same bytes under a known
	// file are no change; other bytes refuse the whole change.
	Files []NewFile
	// Status is the status wanted afterwards; StatusNone is Published for a new
	// version and no change for a known one. Unfinished counts for a new version
	// only: nothing leads back to it.
	Status Status
	// Open refuses the change (Conflict) where the version is there with another
	// status than Unfinished when the change is applied, unless all of Files are
	// there already with the same bytes; then it is no change at all, not even of
	// the status. So nothing is added to a version that is complete (generic),
	// and none is opened again. It is judged with the change, so that two writers
	// at once cannot get around it.
	Open bool
	// Delete takes the version away; its name may be used again.
	Delete bool
}

// NewFile is one file of a VersionChange.
type NewFile struct {
	File        string // canonical file name inside the version
	ContentType string
	Spool       Spool
	Derived     bool   // made here from another file of the version (core metadata)
	Aux         []byte // format-private, kept in the asset row
}

// Redactor is a format whose passed-on requests may name packages that must not
// leave the site (npm's audits).
type Redactor interface {
	// Redact returns the body of a KindPass request without the names for which
	// private is true, and changes h, the header that goes with it, to fit.
	Redact(t Target, h http.Header, body []byte, private func(Name) (bool, error)) ([]byte, error)
}

// Ingester is a format whose listings name versions but no files (Maven, Go).
type Ingester interface {
	// Files are the files of a version that are worth asking an upstream for when
	// the version as a whole is wanted. Some of them may not exist.
	Files(n Name, version string) []string
}

// Coordinator maps between a format's names and CodeArtifact's (API reference,
// "PackageDescription": format, namespace, package).
type Coordinator interface {
	// Coordinate splits a name: npm "@scope/x" is ("scope", "x"), Maven "g:a" is
	// ("g", "a").
	Coordinate(n Name) (namespace, pkg string)
	// FromCoordinate is the inverse; any spelling that the format normalises is
	// accepted. What is no legal name is a *Refusal (BadRequest).
	FromCoordinate(namespace, pkg string) (Name, error)
	// AssetName is what CodeArtifact calls a file of a version (npm: always
	// "package.tgz"); FileName is the inverse.
	AssetName(n Name, version, file string) string
	FileName(n Name, version, asset string) string
}

// Describer tells what CodeArtifact's API says of a version beyond its files.
type Describer interface {
	// Describe reads the version's row and, through open, its held files. It must
	// bound what it reads. Facts that are not there stay empty.
	Describe(n Name, v *Version, open func(file string) (OpenFile, error)) (*Facts, error)
}

// Builder is a format in which one version is built again and again, each time
// under a name of its own (Maven: "1.0-20260101.120000-1" is a build of
// "1.0-SNAPSHOT"). Both are version rows; what is decided of the version holds for
// its builds.
type Builder interface {
	// Base returns the version that v is a build of; false where v is no build.
	Base(v string) (string, bool)
	// Build returns the build whose files are those of the row v, which has none
	// of its own; false where v is no such row.
	Build(v *Version) (string, bool)
}

// Facts are the descriptive members of CodeArtifact's PackageVersionDescription.
type Facts struct {
	DisplayName  string
	Summary      string
	HomePage     string
	SourceCode   string
	Licenses     []License
	Dependencies []Dependency
	Readme       string // text as it lies in the package, "" none
}

// License is a licence as the package names it.
type License struct{ Name, URL string }

// Dependency is one dependency (CodeArtifact API reference, "PackageDependency").
type Dependency struct {
	Namespace, Package, Type, Requirement string
}

// DocumentMender is a format in which this site adds to a document that comes
// from an upstream (npm's registry keys: the site signs what it publishes).
type DocumentMender interface {
	// Mend returns the document as this site serves it. body is nil where no
	// upstream has it. ok is false where t's document is served as it is.
	Mend(t Target, body []byte, site SiteFacts) (out []byte, ok bool, err error)
}

// Reserver is a format some of whose upstream documents are about one name
// (Target.Name of a KindDocument), and must not be asked of an upstream where
// this site publishes that name itself: its versions are unknown outside, and
// the name may be a secret.
type Reserver interface {
	// Reserved is the refusal for such a document, nil where an upstream may be
	// asked all the same. The proxy calls it for names with a version whose origin
	// is internal.
	Reserved(t Target) *Refusal
}

// SiteFacts is what a DocumentMender may know of this site.
type SiteFacts struct {
	KeyID     string // of the registry key; "" none
	PublicKey []byte // DER, SubjectPublicKeyInfo
	Domain    string
	Repo      string
	// Auth says that reading this repository needs a credential (Cargo's
	// "auth-required").
	Auth bool
}
