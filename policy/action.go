package policy

import "strings"

// Action is what is done to a resource: one of a closed list. The zero value is
// no action and is never allowed.
type Action uint8

// The actions of CodeArtifact (AWS service authorization reference): one for
// each of its 48 operations, three that are no operations, and the two of STS
// that stand on the way to a token.
const (
	AssociateExternalConnection Action = iota + 1
	CopyPackageVersions
	CreateDomain
	CreatePackageGroup
	CreateRepository
	DeleteDomain
	DeleteDomainPermissionsPolicy
	DeletePackage
	DeletePackageGroup
	DeletePackageVersions
	DeleteRepository
	DeleteRepositoryPermissionsPolicy
	DescribeDomain
	DescribePackage
	DescribePackageGroup
	DescribePackageVersion
	DescribeRepository
	DisassociateExternalConnection
	DisposePackageVersions
	GetAssociatedPackageGroup
	GetAuthorizationToken
	GetDomainPermissionsPolicy
	GetPackageVersionAsset
	GetPackageVersionReadme
	GetRepositoryEndpoint
	GetRepositoryPermissionsPolicy
	ListAllowedRepositoriesForGroup
	ListAssociatedPackages
	ListDomains
	ListPackageGroups
	ListPackageVersionAssets
	ListPackageVersionDependencies
	ListPackageVersions
	ListPackages
	ListRepositories
	ListRepositoriesInDomain
	ListSubPackageGroups
	ListTagsForResource
	PublishPackageVersion
	PutDomainPermissionsPolicy
	PutPackageOriginConfiguration
	PutRepositoryPermissionsPolicy
	TagResource
	UntagResource
	UpdatePackageGroup
	UpdatePackageGroupOriginConfiguration
	UpdatePackageVersionsStatus
	UpdateRepository

	// AssociateWithDownstreamRepository makes a repository the upstream of another.
	AssociateWithDownstreamRepository
	// PutPackageMetadata sets tags, deprecations and Maven metadata.
	PutPackageMetadata
	// ReadFromRepository is any GET or HEAD of a package manager.
	ReadFromRepository

	AssumeRoleWithWebIdentity // sts
	GetServiceBearerToken     // sts

	actionCount
)

// actionNames are the names in documents, by action; read-only.
var actionNames = [actionCount]string{
	AssociateExternalConnection:           "codeartifact:AssociateExternalConnection",
	CopyPackageVersions:                   "codeartifact:CopyPackageVersions",
	CreateDomain:                          "codeartifact:CreateDomain",
	CreatePackageGroup:                    "codeartifact:CreatePackageGroup",
	CreateRepository:                      "codeartifact:CreateRepository",
	DeleteDomain:                          "codeartifact:DeleteDomain",
	DeleteDomainPermissionsPolicy:         "codeartifact:DeleteDomainPermissionsPolicy",
	DeletePackage:                         "codeartifact:DeletePackage",
	DeletePackageGroup:                    "codeartifact:DeletePackageGroup",
	DeletePackageVersions:                 "codeartifact:DeletePackageVersions",
	DeleteRepository:                      "codeartifact:DeleteRepository",
	DeleteRepositoryPermissionsPolicy:     "codeartifact:DeleteRepositoryPermissionsPolicy",
	DescribeDomain:                        "codeartifact:DescribeDomain",
	DescribePackage:                       "codeartifact:DescribePackage",
	DescribePackageGroup:                  "codeartifact:DescribePackageGroup",
	DescribePackageVersion:                "codeartifact:DescribePackageVersion",
	DescribeRepository:                    "codeartifact:DescribeRepository",
	DisassociateExternalConnection:        "codeartifact:DisassociateExternalConnection",
	DisposePackageVersions:                "codeartifact:DisposePackageVersions",
	GetAssociatedPackageGroup:             "codeartifact:GetAssociatedPackageGroup",
	GetAuthorizationToken:                 "codeartifact:GetAuthorizationToken",
	GetDomainPermissionsPolicy:            "codeartifact:GetDomainPermissionsPolicy",
	GetPackageVersionAsset:                "codeartifact:GetPackageVersionAsset",
	GetPackageVersionReadme:               "codeartifact:GetPackageVersionReadme",
	GetRepositoryEndpoint:                 "codeartifact:GetRepositoryEndpoint",
	GetRepositoryPermissionsPolicy:        "codeartifact:GetRepositoryPermissionsPolicy",
	ListAllowedRepositoriesForGroup:       "codeartifact:ListAllowedRepositoriesForGroup",
	ListAssociatedPackages:                "codeartifact:ListAssociatedPackages",
	ListDomains:                           "codeartifact:ListDomains",
	ListPackageGroups:                     "codeartifact:ListPackageGroups",
	ListPackageVersionAssets:              "codeartifact:ListPackageVersionAssets",
	ListPackageVersionDependencies:        "codeartifact:ListPackageVersionDependencies",
	ListPackageVersions:                   "codeartifact:ListPackageVersions",
	ListPackages:                          "codeartifact:ListPackages",
	ListRepositories:                      "codeartifact:ListRepositories",
	ListRepositoriesInDomain:              "codeartifact:ListRepositoriesInDomain",
	ListSubPackageGroups:                  "codeartifact:ListSubPackageGroups",
	ListTagsForResource:                   "codeartifact:ListTagsForResource",
	PublishPackageVersion:                 "codeartifact:PublishPackageVersion",
	PutDomainPermissionsPolicy:            "codeartifact:PutDomainPermissionsPolicy",
	PutPackageOriginConfiguration:         "codeartifact:PutPackageOriginConfiguration",
	PutRepositoryPermissionsPolicy:        "codeartifact:PutRepositoryPermissionsPolicy",
	TagResource:                           "codeartifact:TagResource",
	UntagResource:                         "codeartifact:UntagResource",
	UpdatePackageGroup:                    "codeartifact:UpdatePackageGroup",
	UpdatePackageGroupOriginConfiguration: "codeartifact:UpdatePackageGroupOriginConfiguration",
	UpdatePackageVersionsStatus:           "codeartifact:UpdatePackageVersionsStatus",
	UpdateRepository:                      "codeartifact:UpdateRepository",
	AssociateWithDownstreamRepository:     "codeartifact:AssociateWithDownstreamRepository",
	PutPackageMetadata:                    "codeartifact:PutPackageMetadata",
	ReadFromRepository:                    "codeartifact:ReadFromRepository",
	AssumeRoleWithWebIdentity:             "sts:AssumeRoleWithWebIdentity",
	GetServiceBearerToken:                 "sts:GetServiceBearerToken",
}

// String is the action's name as documents write it, such as
// "codeartifact:ReadFromRepository".
func (a Action) String() string {
	if a == 0 || a >= actionCount {
		return "unknown action"
	}
	return actionNames[a]
}

// ParseAction finds an action by its full name. Case does not matter, as in IAM.
func ParseAction(name string) (Action, bool) {
	for a := Action(1); a < actionCount; a++ {
		if strings.EqualFold(actionNames[a], name) {
			return a, true
		}
	}
	return 0, false
}

// actionMask is a set of actions, one bit each.
type actionMask uint64

const allActions actionMask = 1<<actionCount - 2 // bit 0 is no action

func maskOf(a Action) actionMask {
	if a >= actionCount {
		return 0
	}
	return 1 << a & allActions
}

// parseActionPattern turns a pattern such as "codeartifact:Get*" into the
// actions it names, or says what is wrong with it.
func parseActionPattern(s string) (actionMask, string) {
	if s == "*" {
		return allActions, ""
	}
	service, name, ok := strings.Cut(s, ":")
	if !ok || service == "" || name == "" || strings.ContainsAny(service, "*?") {
		return 0, `must be "*" or begin with a service prefix such as "codeartifact:" or "sts:"`
	}
	var m actionMask
	p := compileGlob(strings.ToLower(s))
	for a := Action(1); a < actionCount; a++ {
		if p.match(strings.ToLower(actionNames[a]), nil) {
			m |= maskOf(a)
		}
	}
	if m == 0 {
		return 0, "matches no action of codeartifact or sts known here"
	}
	return m, ""
}
