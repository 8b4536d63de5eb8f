package codeartifact

import (
	"net/http"
	"slices"
)

// operation is one of CodeArtifact's operations.
type operation struct {
	name, method, path string
	fields             []field
	raw                bool // the body is no JSON and stays on the wire
	run                func(*call) (any, error)
}

// in is an optional query parameter, must a required one.
func in(member, query string, s *shape) field { return field{member: member, query: query, shape: s} }

func must(member, query string, s *shape) field {
	return field{member: member, query: query, shape: s, required: true}
}

// body is an optional member of the body, needs a required one.
func body(member string, s *shape) field { return field{member: member, shape: s} }

func needs(member string, s *shape) field { return field{member: member, shape: s, required: true} }

// The members by which operations name their resource.
func onDomain(more ...field) []field {
	return slices.Concat([]field{must("domain", "domain", domainName), in("domainOwner", "domain-owner", accountID)}, more)
}

func onRepository(more ...field) []field {
	return onDomain(slices.Concat([]field{must("repository", "repository", repositoryName)}, more)...)
}

func coordinate(more ...field) []field {
	return slices.Concat([]field{must("format", "format", packageFormat), in("namespace", "namespace", packagePart), must("package", "package", packagePart)}, more)
}

func onPackage(more ...field) []field { return onRepository(coordinate(more...)...) }

func onVersion(more ...field) []field {
	return onPackage(slices.Concat([]field{must("packageVersion", "version", packagePart)}, more)...)
}

func onGroup(more ...field) []field {
	return onDomain(slices.Concat([]field{must("packageGroup", "package-group", groupName)}, more)...)
}

func paged(fields ...field) []field {
	return slices.Concat(fields, []field{in("maxResults", "max-results", pageSize), in("nextToken", "next-token", pageToken)})
}

// operations is the service model: every operation with its path, its members
// and what answers it. Members are spelled as there, traps included: the plural
// "policies" of one path, the underscore of "update_status", "duration", and
// query parameters in camel case.
func operations() []operation {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		put    = http.MethodPut
		remove = http.MethodDelete
	)
	return slices.Concat([]operation{
		{"CreateDomain", post, "/v1/domain", []field{must("domain", "domain", domainName), body("encryptionKey", arnText), body("tags", tagList)}, false, (*call).createDomain},
		{"DescribeDomain", get, "/v1/domain", onDomain(), false, (*call).describeDomain},
		{"DeleteDomain", remove, "/v1/domain", onDomain(), false, (*call).deleteDomain},
		{"ListDomains", post, "/v1/domains", []field{body("maxResults", pageSize), body("nextToken", pageToken)}, false, (*call).listDomains},
		{"PutDomainPermissionsPolicy", put, "/v1/domain/permissions/policy", []field{needs("domain", domainName), body("domainOwner", accountID),
			body("policyRevision", policyRevision), needs("policyDocument", document)}, false, (*call).putDomainPolicy},
		{"GetDomainPermissionsPolicy", get, "/v1/domain/permissions/policy", onDomain(), false, (*call).getDomainPolicy},
		{"DeleteDomainPermissionsPolicy", remove, "/v1/domain/permissions/policy", onDomain(in("policyRevision", "policy-revision", policyRevision)), false, (*call).deleteDomainPolicy},
		{"GetAuthorizationToken", post, "/v1/authorization-token", onDomain(in("durationSeconds", "duration", durationSeconds)), false, (*call).getToken},

		{"CreateRepository", post, "/v1/repository", onRepository(body("description", prose), body("upstreams", upstreamList), body("tags", tagList)), false, (*call).createRepository},
		{"DescribeRepository", get, "/v1/repository", onRepository(), false, (*call).describeRepository},
		{"UpdateRepository", put, "/v1/repository", onRepository(body("description", prose), body("upstreams", upstreamList)), false, (*call).updateRepository},
		{"DeleteRepository", remove, "/v1/repository", onRepository(), false, (*call).deleteRepository},
		{"ListRepositories", post, "/v1/repositories", paged(in("repositoryPrefix", "repository-prefix", repositoryName)), false, (*call).listRepositories},
		{"ListRepositoriesInDomain", post, "/v1/domain/repositories", paged(onDomain(in("administratorAccount", "administrator-account", accountID),
			in("repositoryPrefix", "repository-prefix", repositoryName))...), false, (*call).listRepositoriesInDomain},
		{"AssociateExternalConnection", post, "/v1/repository/external-connection", onRepository(must("externalConnection", "external-connection", connectionName)), false, (*call).associate},
		{"DisassociateExternalConnection", remove, "/v1/repository/external-connection", onRepository(must("externalConnection", "external-connection", connectionName)), false, (*call).disassociate},
		{"PutRepositoryPermissionsPolicy", put, "/v1/repository/permissions/policy", onRepository(body("policyRevision", policyRevision), needs("policyDocument", document)), false, (*call).putRepositoryPolicy},
		{"GetRepositoryPermissionsPolicy", get, "/v1/repository/permissions/policy", onRepository(), false, (*call).getRepositoryPolicy},
		{"DeleteRepositoryPermissionsPolicy", remove, "/v1/repository/permissions/policies", onRepository(in("policyRevision", "policy-revision", policyRevision)), false, (*call).deleteRepositoryPolicy},
		{"GetRepositoryEndpoint", get, "/v1/repository/endpoint", onRepository(must("format", "format", packageFormat), in("endpointType", "endpointType", endpointType)), false, (*call).getEndpoint},

		{"TagResource", post, "/v1/tag", []field{must("resourceArn", "resourceArn", arnText), needs("tags", tagList)}, false, (*call).tagResource},
		{"UntagResource", post, "/v1/untag", []field{must("resourceArn", "resourceArn", arnText), needs("tagKeys", tagKeyList)}, false, (*call).untagResource},
		{"ListTagsForResource", post, "/v1/tags", []field{must("resourceArn", "resourceArn", arnText)}, false, (*call).listTags},
	}, packageOperations(), groupOperations())
}

// packageOperations are those about packages and their versions.
func packageOperations() []operation {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		remove = http.MethodDelete
	)
	batch := func(more ...field) []field {
		return onPackage(slices.Concat([]field{needs("versions", versionList), body("versionRevisions", revisionMap), body("expectedStatus", versionStatus)}, more)...)
	}
	return []operation{
		{"ListPackages", post, "/v1/packages", paged(onRepository(in("format", "format", packageFormat), in("namespace", "namespace", packagePart),
			in("packagePrefix", "package-prefix", packagePart), in("publish", "publish", allowOrBlock), in("upstream", "upstream", allowOrBlock))...), false, (*call).listPackages},
		{"DescribePackage", get, "/v1/package", onPackage(), false, (*call).describePackage},
		{"DeletePackage", remove, "/v1/package", onPackage(), false, (*call).deletePackage},
		{"PutPackageOriginConfiguration", post, "/v1/package", onPackage(needs("restrictions", restrictions)), false, (*call).putOrigin},
		{"ListPackageVersions", post, "/v1/package/versions", paged(onPackage(in("status", "status", versionStatus), in("sortBy", "sortBy", versionSort),
			in("originType", "originType", originType))...), false, (*call).listVersions},
		{"DescribePackageVersion", get, "/v1/package/version", onVersion(), false, (*call).describeVersion},
		{"PublishPackageVersion", post, "/v1/package/version/publish", onVersion(must("assetName", "asset", assetName), in("unfinished", "unfinished", truth),
			field{member: "assetSHA256", header: "X-Amz-Content-Sha256", shape: digest, required: true}), true, (*call).publishVersion},
		{"GetPackageVersionAsset", get, "/v1/package/version/asset", onVersion(must("asset", "asset", assetName), in("packageVersionRevision", "revision", revision)), false, (*call).getAsset},
		{"ListPackageVersionAssets", post, "/v1/package/version/assets", paged(onVersion()...), false, (*call).listAssets},
		{"ListPackageVersionDependencies", post, "/v1/package/version/dependencies", onVersion(in("nextToken", "next-token", pageToken)), false, (*call).listDependencies},
		{"GetPackageVersionReadme", get, "/v1/package/version/readme", onVersion(), false, (*call).getReadme},
		{"UpdatePackageVersionsStatus", post, "/v1/package/versions/update_status", batch(needs("targetStatus", targetStatus)), false, (*call).updateStatus},
		{"DisposePackageVersions", post, "/v1/package/versions/dispose", batch(), false, (*call).disposeVersions},
		{"DeletePackageVersions", post, "/v1/package/versions/delete", onPackage(needs("versions", versionList), body("expectedStatus", versionStatus)), false, (*call).deleteVersions},
		{"CopyPackageVersions", post, "/v1/package/versions/copy", onDomain(slices.Concat([]field{must("sourceRepository", "source-repository", repositoryName),
			must("destinationRepository", "destination-repository", repositoryName)}, coordinate(body("versions", versionList), body("versionRevisions", revisionMap),
			body("allowOverwrite", truth), body("includeFromUpstream", truth)))...), false, (*call).copyVersions},
	}
}

// groupOperations are those about package groups.
func groupOperations() []operation {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		put    = http.MethodPut
		remove = http.MethodDelete
	)
	return []operation{
		{"CreatePackageGroup", post, "/v1/package-group", onDomain(needs("packageGroup", groupName), body("contactInfo", prose), body("description", prose), body("tags", tagList)), false, (*call).createGroup},
		{"DescribePackageGroup", get, "/v1/package-group", onGroup(), false, (*call).describeGroup},
		{"UpdatePackageGroup", put, "/v1/package-group", onDomain(needs("packageGroup", groupName), body("contactInfo", prose), body("description", prose)), false, (*call).updateGroup},
		{"DeletePackageGroup", remove, "/v1/package-group", onGroup(), false, (*call).deleteGroup},
		{"ListPackageGroups", post, "/v1/package-groups", paged(onDomain(in("prefix", "prefix", groupPrefix))...), false, (*call).listGroups},
		{"ListSubPackageGroups", post, "/v1/package-groups/sub-groups", paged(onGroup()...), false, (*call).listSubGroups},
		{"UpdatePackageGroupOriginConfiguration", put, "/v1/package-group-origin-configuration", onGroup(body("restrictions", restrictionModes),
			body("addAllowedRepositories", allowedList), body("removeAllowedRepositories", allowedList)), false, (*call).configureGroup},
		{"ListAllowedRepositoriesForGroup", get, "/v1/package-group-allowed-repositories", paged(onGroup(must("originRestrictionType", "originRestrictionType", restrictionType))...), false, (*call).listAllowed},
		{"GetAssociatedPackageGroup", get, "/v1/get-associated-package-group", onDomain(coordinate()...), false, (*call).getAssociatedGroup},
		{"ListAssociatedPackages", get, "/v1/list-associated-packages", paged(onGroup(in("preview", "preview", truth))...), false, (*call).listAssociated},
	}
}
