package codeartifact

import (
	"context"
	"io"
	"net/http"
	"time"

	"larder/formats"
)

// Caller is who signed a request.
type Caller struct {
	ARN     string
	Account string // 12 digits
	Name    string // for logs
	// Session is whatever the Gate wants to find again when the same request asks
	// it further questions. It is not read here.
	Session any
}

// Gate says who asks and what they may do. Its refusals are *APIError; any other
// error is a fault of the node and tells the client nothing. It must be safe for
// concurrent use.
type Gate interface {
	// Identify verifies the signature of r. Without stream it reads the body (at
	// most 256 KiB) and gives it back on r.Body. With stream the body stays on the
	// wire, and fails at its end when its bytes are not those that were signed.
	Identify(r *http.Request, stream bool) (Caller, error)
	// Allow decides one question. A refusal is made with Denied.
	Allow(ctx context.Context, c Caller, ask Ask) error
	// Token makes a bearer token for the domain. Without given, seconds is 0 and
	// the default applies; with it, seconds is 0 (what is left of the caller's
	// session) or 900 to 43200.
	Token(ctx context.Context, c Caller, domain, owner string, seconds int, given bool) (token string, expires time.Time, err error)
	// CheckPolicy says whether a document may be attached to a resource of a kind
	// (ResourceDomain or ResourceRepository); a refusal is made with Invalid. The
	// document has at most 7,168 characters.
	CheckPolicy(document string, kind Kind) error
}

// Kind says what a Resource is.
type Kind string

// The kinds of resources. The names are those of resourceType in errors.
const (
	ResourceAny        Kind = "" // the operation is about no resource; "*" in policies
	ResourceDomain     Kind = "domain"
	ResourceRepository Kind = "repository"
	ResourcePackage    Kind = "package"
	ResourceGroup      Kind = "package-group"
)

// Resource is what an action is done to. It need not exist, and its owner need
// not be the owner of the domain of that name: a Gate attaches the policies of a
// domain only where the owners are the same.
type Resource struct {
	Kind       Kind
	Owner      string // account of the domain's owner
	Domain     string
	Repository string // of repositories and packages
	Format     string // of packages
	Namespace  string // of packages, "" none
	Package    string
	Pattern    string            // of package groups
	Tags       map[string]string // aws:ResourceTag/K; read only
}

// ARN is the resource's name in policies and answers; "*" for ResourceAny. The
// account in it is the domain owner's also where another one administers the
// repository (service authorization reference).
func (r Resource) ARN(region string) string {
	prefix := "arn:aws:codeartifact:" + region + ":" + r.Owner + ":" + string(r.Kind) + "/" + r.Domain
	switch r.Kind {
	case ResourceDomain:
		return prefix
	case ResourceRepository:
		return prefix + "/" + r.Repository
	case ResourcePackage:
		return prefix + "/" + r.Repository + "/" + r.Format + "/" + r.Namespace + "/" + r.Package
	case ResourceGroup:
		return prefix + r.Pattern
	}
	return "*"
}

// Ask is one question to a Gate.
type Ask struct {
	Action   string // "codeartifact:DescribeDomain", "sts:GetServiceBearerToken"
	Resource Resource
	// RequestTags are aws:RequestTag/K; TagKeys are aws:TagKeys.
	RequestTags map[string]string
	TagKeys     []string
	Context     map[string]string // further condition keys: "sts:DurationSeconds"
}

// Backend moves bytes. Its refusals are *APIError, *catalog.Fault or
// *formats.Refusal. It must be safe for concurrent use.
type Backend interface {
	// Ingest makes sure that the repository itself holds a version which its
	// upstreams have. A refusal of kind NotFound says that none of them has it.
	Ingest(ctx context.Context, domain, repo, format string, n formats.Name, version string) error
	// OpenAsset opens a file that the repository itself holds. The caller closes
	// it.
	OpenAsset(ctx context.Context, domain, repo, format string, n formats.Name, version, file string) (formats.OpenFile, error)
	// PublishAsset takes body in as an asset of a version in the generic format.
	// When it returns without error the asset is durable and in the catalog. Other
	// bytes than sha256hex says are refused.
	PublishAsset(ctx context.Context, c Caller, p Publication, body io.Reader) error
}

// Publication is one call of PublishPackageVersion.
type Publication struct {
	Domain, Repository string
	Name               formats.Name
	Version, Asset     string
	SHA256             string // 64 hexadecimal digits, lower case
	Size               int64  // Content-Length, -1 unknown
	Unfinished         bool   // more assets follow
}
