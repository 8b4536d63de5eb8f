package codeartifact

import (
	"fmt"
	"time"

	"larder/cache/catalog"
)

// timestamp is a time as rest-json has it: a number of seconds with a fraction.
// SDKs refuse a string.
type timestamp time.Time

// MarshalJSON writes the number.
func (t timestamp) MarshalJSON() ([]byte, error) {
	ms := time.Time(t).UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

// at is a time in an answer; the zero time is left out.
func at(t time.Time) *timestamp {
	if t.IsZero() || t.UnixMilli() < 0 {
		return nil
	}
	ts := timestamp(t)
	return &ts
}

// The answers below have the members of the service model, under its names.
// Optional members that are not set are left out; lists never are.

type domainDescription struct {
	Name            string     `json:"name"`
	Owner           string     `json:"owner"`
	ARN             string     `json:"arn"`
	Status          string     `json:"status"`
	CreatedTime     *timestamp `json:"createdTime,omitempty"`
	EncryptionKey   string     `json:"encryptionKey,omitempty"`
	RepositoryCount *int       `json:"repositoryCount,omitempty"` // not in lists
	AssetSizeBytes  *int64     `json:"assetSizeBytes,omitempty"`  // not in lists
}

type domainAnswer struct {
	Domain domainDescription `json:"domain"`
}

type domainList struct {
	Domains   []domainDescription `json:"domains"`
	NextToken string              `json:"nextToken,omitempty"`
}

type repositorySummary struct {
	Name                 string     `json:"name"`
	AdministratorAccount string     `json:"administratorAccount,omitempty"`
	DomainName           string     `json:"domainName"`
	DomainOwner          string     `json:"domainOwner"`
	ARN                  string     `json:"arn"`
	Description          string     `json:"description,omitempty"`
	CreatedTime          *timestamp `json:"createdTime,omitempty"`
}

type upstreamInfo struct {
	RepositoryName string `json:"repositoryName"`
}

type connectionInfo struct {
	ExternalConnectionName string `json:"externalConnectionName"`
	PackageFormat          string `json:"packageFormat,omitempty"`
	Status                 string `json:"status"`
}

type repositoryDescription struct {
	repositorySummary
	Upstreams           []upstreamInfo   `json:"upstreams"`
	ExternalConnections []connectionInfo `json:"externalConnections"`
}

type repositoryAnswer struct {
	Repository repositoryDescription `json:"repository"`
}

type repositoryList struct {
	Repositories []repositorySummary `json:"repositories"`
	NextToken    string              `json:"nextToken,omitempty"`
}

type resourcePolicy struct {
	ResourceARN string `json:"resourceArn"`
	Revision    string `json:"revision"`
	Document    string `json:"document"`
}

type policyAnswer struct {
	Policy resourcePolicy `json:"policy"`
}

type tokenAnswer struct {
	AuthorizationToken string     `json:"authorizationToken"`
	Expiration         *timestamp `json:"expiration,omitempty"`
}

type endpointAnswer struct {
	RepositoryEndpoint string `json:"repositoryEndpoint"`
}

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type tagsAnswer struct {
	Tags []tag `json:"tags"`
}

type emptyAnswer struct{}

type originRestrictions struct {
	Publish  string `json:"publish"`
	Upstream string `json:"upstream"`
}

type originConfiguration struct {
	Restrictions originRestrictions `json:"restrictions"`
}

type originAnswer struct {
	OriginConfiguration originConfiguration `json:"originConfiguration"`
}

// packageSummary calls the package "package", packageDescription "name" and
// versionDescription "packageName".
type packageSummary struct {
	Format              string               `json:"format"`
	Namespace           string               `json:"namespace,omitempty"`
	Package             string               `json:"package"`
	OriginConfiguration *originConfiguration `json:"originConfiguration,omitempty"`
	AssociationType     string               `json:"associationType,omitempty"` // of ListAssociatedPackages
}

type packageList struct {
	Packages  []packageSummary `json:"packages"`
	NextToken string           `json:"nextToken,omitempty"`
}

type deletedPackage struct {
	DeletedPackage packageSummary `json:"deletedPackage"`
}

type packageDescription struct {
	Format              string              `json:"format"`
	Namespace           string              `json:"namespace,omitempty"`
	Name                string              `json:"name"`
	OriginConfiguration originConfiguration `json:"originConfiguration"`
}

type packageAnswer struct {
	Package packageDescription `json:"package"`
}

type entryPoint struct {
	RepositoryName         string `json:"repositoryName,omitempty"`
	ExternalConnectionName string `json:"externalConnectionName,omitempty"`
}

type versionOrigin struct {
	DomainEntryPoint *entryPoint `json:"domainEntryPoint,omitempty"`
	OriginType       string      `json:"originType"`
}

type license struct {
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

type versionDescription struct {
	Format               string        `json:"format"`
	Namespace            string        `json:"namespace,omitempty"`
	PackageName          string        `json:"packageName"`
	DisplayName          string        `json:"displayName,omitempty"`
	Version              string        `json:"version"`
	Summary              string        `json:"summary,omitempty"`
	HomePage             string        `json:"homePage,omitempty"`
	SourceCodeRepository string        `json:"sourceCodeRepository,omitempty"`
	PublishedTime        *timestamp    `json:"publishedTime,omitempty"`
	Licenses             []license     `json:"licenses"`
	Revision             string        `json:"revision"`
	Status               string        `json:"status"`
	Origin               versionOrigin `json:"origin"`
}

type versionAnswer struct {
	PackageVersion versionDescription `json:"packageVersion"`
}

type versionSummary struct {
	Version  string        `json:"version"`
	Revision string        `json:"revision,omitempty"`
	Status   string        `json:"status"`
	Origin   versionOrigin `json:"origin"`
}

type versionListAnswer struct {
	DefaultDisplayVersion string           `json:"defaultDisplayVersion,omitempty"`
	Format                string           `json:"format"`
	Namespace             string           `json:"namespace,omitempty"`
	Package               string           `json:"package"`
	Versions              []versionSummary `json:"versions"`
	NextToken             string           `json:"nextToken,omitempty"`
}

// versionHead stands in answers about one version.
type versionHead struct {
	Format          string `json:"format"`
	Namespace       string `json:"namespace,omitempty"`
	Package         string `json:"package"`
	Version         string `json:"version"`
	VersionRevision string `json:"versionRevision,omitempty"`
}

type assetSummary struct {
	Name   string            `json:"name"`
	Size   int64             `json:"size"`
	Hashes map[string]string `json:"hashes"`
}

type assetList struct {
	versionHead
	Assets    []assetSummary `json:"assets"`
	NextToken string         `json:"nextToken,omitempty"`
}

type dependency struct {
	Namespace          string `json:"namespace,omitempty"`
	Package            string `json:"package,omitempty"`
	DependencyType     string `json:"dependencyType,omitempty"`
	VersionRequirement string `json:"versionRequirement,omitempty"`
}

type dependencyList struct {
	versionHead
	Dependencies []dependency `json:"dependencies"`
	NextToken    string       `json:"nextToken,omitempty"`
}

type readmeAnswer struct {
	versionHead
	Readme string `json:"readme"`
}

type publishAnswer struct {
	versionHead
	Status string       `json:"status"`
	Asset  assetSummary `json:"asset"`
}

type batchSuccess struct {
	Revision string `json:"revision,omitempty"`
	Status   string `json:"status"`
}

type batchFailure struct {
	ErrorCode    string `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
}

type batchAnswer struct {
	SuccessfulVersions map[string]batchSuccess `json:"successfulVersions"`
	FailedVersions     map[string]batchFailure `json:"failedVersions"`
}

// ofBatch words the result of a batch.
func ofBatch(r *catalog.Result) batchAnswer {
	out := batchAnswer{map[string]batchSuccess{}, map[string]batchFailure{}}
	for v, s := range r.Versions {
		out.SuccessfulVersions[v] = batchSuccess{s.Revision, s.Status}
	}
	for v, f := range r.Failed {
		out.FailedVersions[v] = batchFailure{f.Code, f.Message}
	}
	return out
}

type groupReference struct {
	ARN     string `json:"arn"`
	Pattern string `json:"pattern"`
}

type groupRestriction struct {
	Mode              string          `json:"mode"`
	EffectiveMode     string          `json:"effectiveMode"`
	InheritedFrom     *groupReference `json:"inheritedFrom,omitempty"`
	RepositoriesCount *int            `json:"repositoriesCount,omitempty"`
}

type groupOrigin struct {
	Restrictions map[string]groupRestriction `json:"restrictions"`
}

type groupDescription struct {
	ARN                 string          `json:"arn"`
	Pattern             string          `json:"pattern"`
	DomainName          string          `json:"domainName"`
	DomainOwner         string          `json:"domainOwner"`
	CreatedTime         *timestamp      `json:"createdTime,omitempty"`
	ContactInfo         string          `json:"contactInfo,omitempty"`
	Description         string          `json:"description,omitempty"`
	OriginConfiguration groupOrigin     `json:"originConfiguration"`
	Parent              *groupReference `json:"parent,omitempty"`
}

type groupAnswer struct {
	PackageGroup groupDescription `json:"packageGroup"`
}

type associatedGroup struct {
	PackageGroup    groupDescription `json:"packageGroup"`
	AssociationType string           `json:"associationType"`
}

type configuredGroup struct {
	PackageGroup             groupDescription               `json:"packageGroup"`
	AllowedRepositoryUpdates map[string]map[string][]string `json:"allowedRepositoryUpdates"`
}

type groupList struct {
	PackageGroups []groupDescription `json:"packageGroups"`
	NextToken     string             `json:"nextToken,omitempty"`
}

type allowedRepositories struct {
	AllowedRepositories []string `json:"allowedRepositories"`
	NextToken           string   `json:"nextToken,omitempty"`
}
