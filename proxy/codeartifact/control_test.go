package codeartifact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestDomains(t *testing.T) {
	w := newWorld(t)
	a := w.must("CreateDomain", given{"domain": "main", "tags": []tag{{"team", "a"}}})
	w.want(a, `"arn:aws:codeartifact:eu-central-1:111122223333:domain/main"`, "domain", "arn")
	w.want(a, `"Active"`, "domain", "status")
	w.want(a, `0`, "domain", "repositoryCount")
	w.want(a, `0`, "domain", "assetSizeBytes")
	if !regexp.MustCompile(`"createdTime":17[0-9]{8}\.250,`).MatchString(a.raw) {
		t.Errorf("times are numbers with a fraction: %s", a.raw)
	}
	if key := fmt.Sprint(a.at("domain", "encryptionKey")); !regexp.MustCompile(`^arn:aws:kms:eu-central-1:111122223333:key/[0-9a-f-]{36}$`).MatchString(key) {
		t.Errorf("key: %s", key)
	}
	a = w.must("CreateDomain", given{"domain": "second", "encryptionKey": "arn:aws:kms:us-east-1:111122223333:key/x"})
	w.want(a, `"arn:aws:kms:us-east-1:111122223333:key/x"`, "domain", "encryptionKey")
	w.want(w.must("CreateDomain", given{"domain": "third", "encryptionKey": "alias/k"}), `"arn:aws:kms:eu-central-1:111122223333:alias/k"`, "domain", "encryptionKey")
	a = w.refused("ValidationException", "KMS", "CreateDomain", given{"domain": "fourth", "encryptionKey": "arn:aws:s3:::bucket"})
	w.want(a, `"ENCRYPTION_KEY_ERROR"`, "reason")

	a = w.refused("ConflictException", "exists", "CreateDomain", given{"domain": "main"})
	w.want(a, `"domain"`, "resourceType")
	a = w.refused("ResourceNotFoundException", "not found", "DescribeDomain", given{"domain": "absent"})
	w.want(a, `"absent"`, "resourceId")
	w.want(a, `"domain"`, "resourceType")
	// A domain of another account is only there for those who name its owner.
	if a := w.callAs(other, "DescribeDomain", given{"domain": "main"}); a.status != 404 {
		t.Errorf("without its owner: %d %s", a.status, a.raw)
	}
	if a := w.callAs(other, "DescribeDomain", given{"domain": "main", "domainOwner": account}); a.status != 200 {
		t.Errorf("with its owner: %d %s", a.status, a.raw)
	}
	w.refused("ResourceNotFoundException", "main", "DescribeDomain", given{"domain": "main", "domainOwner": other})

	if a := w.callAs(other, "ListDomains", given{}); a.raw != `{"domains":[]}` {
		t.Errorf("domains of another account: %s", a.raw)
	}
	got, pages := w.pages("ListDomains", given{"maxResults": 1}, "domains", "name")
	if got != "main second third" || pages != 3 {
		t.Errorf("%s on %d pages", got, pages)
	}
	w.must("CreateRepository", given{"domain": "main", "repository": "team"})
	w.refused("ConflictException", "repositories", "DeleteDomain", given{"domain": "main"})
	w.must("DeleteRepository", given{"domain": "main", "repository": "team"})
	w.want(w.must("DeleteDomain", given{"domain": "main"}), `"Active"`, "domain", "status")
	w.refused("ResourceNotFoundException", "main", "DeleteDomain", given{"domain": "main"})
}

func up(names ...string) []map[string]string {
	out := []map[string]string{}
	for _, n := range names {
		out = append(out, map[string]string{"repositoryName": n})
	}
	return out
}

func TestRepositories(t *testing.T) {
	w := newWorld(t)
	w.site("main", "store", "zz", "aa")
	a := w.must("CreateRepository", given{"domain": "main", "repository": "Team.1", "description": "<b>&", "upstreams": up("zz", "aa")})
	w.want(a, `[{"repositoryName":"zz"},{"repositoryName":"aa"}]`, "repository", "upstreams")
	w.want(a, `[]`, "repository", "externalConnections")
	w.want(a, `"arn:aws:codeartifact:eu-central-1:111122223333:repository/main/Team.1"`, "repository", "arn")
	w.want(a, `"111122223333"`, "repository", "administratorAccount")
	if !strings.Contains(a.raw, `"description":"<b>&"`) {
		t.Errorf("texts come back as they are: %s", a.raw)
	}
	// A description alone keeps the upstreams; an empty list clears them.
	team := given{"domain": "main", "repository": "Team.1"}
	a = w.must("UpdateRepository", given{"domain": "main", "repository": "Team.1", "description": "new"})
	w.want(a, `[{"repositoryName":"zz"},{"repositoryName":"aa"}]`, "repository", "upstreams")
	a = w.must("UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up("store")})
	w.want(a, `"new"`, "repository", "description")
	w.want(a, `[{"repositoryName":"store"}]`, "repository", "upstreams")
	a = w.must("UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up()})
	w.want(a, `[]`, "repository", "upstreams")
	w.want(w.must("DescribeRepository", team), `"new"`, "repository", "description")

	w.refused("ResourceNotFoundException", "absent", "UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up("absent")})
	w.refused("ValidationException", "leads back", "UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up("Team.1")})
	var eleven []string
	for i := range 11 {
		name := fmt.Sprintf("up%02d", i)
		w.must("CreateRepository", given{"domain": "main", "repository": name})
		eleven = append(eleven, name)
	}
	w.must("UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up(eleven[:10]...)})
	a = w.refused("ServiceQuotaExceededException", "at most 10", "UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up(eleven...)})
	w.want(a, `"repository"`, "resourceType")
	w.refused("ConflictException", "exists", "CreateRepository", team)

	// Each new upstream is asked about, a known one is not.
	w.gate.asked()
	w.must("UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up("up00", "up10")})
	asked := w.gate.asked()
	if len(asked) != 2 || asked[1] != "codeartifact:AssociateWithDownstreamRepository arn:aws:codeartifact:eu-central-1:111122223333:repository/main/up10" {
		t.Errorf("asked %q", asked)
	}
	w.gate.deny["codeartifact:AssociateWithDownstreamRepository"] = true
	w.refused("AccessDeniedException", "up00", "CreateRepository", given{"domain": "main", "repository": "other", "upstreams": up("up00")})
	w.refused("AccessDeniedException", "up05", "UpdateRepository", given{"domain": "main", "repository": "Team.1", "upstreams": up("up05")})
	w.gate.deny = map[string]bool{}

	w.want(w.must("DeleteRepository", team), `"Team.1"`, "repository", "name")
	w.refused("ResourceNotFoundException", "Team.1", "DescribeRepository", team)
	w.refused("ResourceNotFoundException", "Team.1", "DeleteRepository", team)
}

func TestRepositoryLists(t *testing.T) {
	w := newWorld(t)
	w.site("main", "aa-1", "aa-2", "bb")
	w.site("second", "aa-3")
	if a := w.callAs(other, "CreateRepository", given{"domain": "main", "domainOwner": account, "repository": "aa-x"}); a.status != 200 {
		t.Fatal(a.raw)
	}
	for _, c := range []struct {
		op   string
		in   given
		want string
	}{
		{"ListRepositoriesInDomain", given{"domain": "main"}, "aa-1 aa-2 aa-x bb"},
		{"ListRepositoriesInDomain", given{"domain": "main", "repositoryPrefix": "aa"}, "aa-1 aa-2 aa-x"},
		{"ListRepositoriesInDomain", given{"domain": "main", "administratorAccount": other}, "aa-x"},
		{"ListRepositoriesInDomain", given{"domain": "main", "administratorAccount": account, "repositoryPrefix": "aa"}, "aa-1 aa-2"},
		{"ListRepositories", given{}, "aa-1 aa-2 aa-x bb aa-3"},
		{"ListRepositories", given{"repositoryPrefix": "aa-"}, "aa-1 aa-2 aa-x aa-3"},
		{"ListRepositories", given{"repositoryPrefix": "zz"}, ""},
	} {
		for _, size := range []int{1, 2, 1000} {
			in := given{"maxResults": size}
			for k, v := range c.in {
				in[k] = v
			}
			if got, _ := w.pages(c.op, in, "repositories", "name"); got != c.want {
				t.Errorf("%s %v: %q, want %q", c.op, c.in, got, c.want)
			}
		}
	}
	// Summaries have no lists.
	if a := w.must("ListRepositories", given{}); strings.Contains(a.raw, "upstreams") {
		t.Errorf("%s", a.raw)
	}
}

func TestExternalConnections(t *testing.T) {
	w := newWorld(t)
	w.site("main", "store", "team")
	for name, format := range map[string]string{"public:npmjs": "npm", "public:pypi": "pypi", "public:maven-central": "maven", "public:maven-googleandroid": "maven",
		"public:maven-gradleplugins": "maven", "public:maven-commonsware": "maven", "public:maven-clojars": "maven", "public:nuget-org": "nuget",
		"public:ruby-gems-org": "ruby", "public:crates-io": "cargo", "corp:npm": "npm"} {
		in := given{"domain": "main", "repository": "store", "externalConnection": name}
		a := w.must("AssociateExternalConnection", in)
		w.want(a, fmt.Sprintf(`[{"externalConnectionName":"%s","packageFormat":"%s","status":"AVAILABLE"}]`, name, format), "repository", "externalConnections")
		w.refused("ConflictException", "at most one", "AssociateExternalConnection", in)
		w.want(w.must("DisassociateExternalConnection", in), `[]`, "repository", "externalConnections")
		w.refused("ResourceNotFoundException", name, "DisassociateExternalConnection", in)
	}
	for _, op := range []string{"AssociateExternalConnection", "DisassociateExternalConnection"} {
		w.refused("ValidationException", "public:nothing", op, given{"domain": "main", "repository": "store", "externalConnection": "public:nothing"})
	}
	w.must("UpdateRepository", given{"domain": "main", "repository": "team", "upstreams": up("store")})
	w.refused("ValidationException", "not both", "AssociateExternalConnection", given{"domain": "main", "repository": "team", "externalConnection": "public:pypi"})
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	const doc = `{ "Version":"2012-10-17", "Statement":[] }  `
	for _, c := range []struct {
		kind string
		at   given
		arn  string
	}{
		{"Domain", given{"domain": "main"}, "domain/main"},
		{"Repository", given{"domain": "main", "repository": "team"}, "repository/main/team"},
	} {
		in := func(more ...any) given {
			g := given{}
			for k, v := range c.at {
				g[k] = v
			}
			for i := 0; i < len(more); i += 2 {
				g[more[i].(string)] = more[i+1]
			}
			return g
		}
		put, get, del := "Put"+c.kind+"PermissionsPolicy", "Get"+c.kind+"PermissionsPolicy", "Delete"+c.kind+"PermissionsPolicy"
		w.refused("ResourceNotFoundException", "No policy", get, in())
		w.refused("ResourceNotFoundException", "No policy", del, in())
		w.refused("ValidationException", "not JSON", put, in("policyDocument", "{"))
		w.refused("ValidationException", "7168", put, in("policyDocument", strings.Repeat("x", 7169)))
		a := w.must(put, in("policyDocument", doc))
		w.want(a, `"arn:aws:codeartifact:eu-central-1:111122223333:`+c.arn+`"`, "policy", "resourceArn")
		if a.at("policy", "document") != doc {
			t.Errorf("the document changed: %s", a.raw)
		}
		first := a.at("policy", "revision")
		if len(fmt.Sprint(first)) != 44 {
			t.Errorf("revision %v", first)
		}
		if got := w.must(get, in()); got.raw != a.raw {
			t.Errorf("%s, but was put as %s", got.raw, a.raw)
		}
		second := w.must(put, in("policyDocument", doc, "policyRevision", first)).at("policy", "revision")
		w.refused("ConflictException", "revision", put, in("policyDocument", doc, "policyRevision", first))
		w.refused("ConflictException", "revision", del, in("policyRevision", first))
		a = w.must(del, in("policyRevision", second))
		if a.at("policy", "revision") != second || a.at("policy", "document") != doc {
			t.Errorf("deleted: %s", a.raw)
		}
		w.refused("ResourceNotFoundException", "No policy", get, in())
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	w.site("main", "team")
	w.must("CreatePackageGroup", given{"domain": "main", "packageGroup": "/npm//a~"})
	const arn = "arn:aws:codeartifact:%s:111122223333:"
	for _, res := range []string{"domain/main", "repository/main/team", "package-group/main/npm//a~", "package-group/main/*"} {
		for _, region := range []string{"eu-central-1", "us-west-2"} {
			id := fmt.Sprintf(arn, region) + res
			w.want(w.must("ListTagsForResource", given{"resourceArn": id}), `[]`, "tags")
			if a := w.must("TagResource", given{"resourceArn": id, "tags": []tag{{"b", "2"}, {"a", ""}}}); a.raw != "{}" {
				t.Errorf("tag: %s", a.raw)
			}
			w.want(w.must("ListTagsForResource", given{"resourceArn": id}), `[{"key":"a","value":""},{"key":"b","value":"2"}]`, "tags")
			w.must("TagResource", given{"resourceArn": id, "tags": []tag{{"b", "3"}}})
			w.must("UntagResource", given{"resourceArn": id, "tagKeys": []string{"a", "absent"}})
			w.want(w.must("ListTagsForResource", given{"resourceArn": id}), `[{"key":"b","value":"3"}]`, "tags")
			w.must("UntagResource", given{"resourceArn": id, "tagKeys": []string{"b"}})
		}
	}
	w.must("TagResource", given{"resourceArn": fmt.Sprintf(arn, "x") + "package-group/main/npm//a%7E", "tags": []tag{{"k", "v"}}})
	w.want(w.must("ListTagsForResource", given{"resourceArn": fmt.Sprintf(arn, "x") + "package-group/main/npm//a~"}), `"k"`, "tags", 0, "key")
	id := fmt.Sprintf(arn, "x") + "domain/main"
	w.refused("ValidationException", "reserved", "TagResource", given{"resourceArn": id, "tags": []tag{{"AWS:x", "1"}}})
	w.refused("ValidationException", "once", "TagResource", given{"resourceArn": id, "tags": []tag{{"x", "1"}, {"x", "2"}}})
	for _, bad := range []string{"domain/main", "arn:aws:codeartifact:x:111122223333:package/main/team/npm//a", "arn:aws:s3:::b", "arn:aws:codeartifact:x:1:domain/main",
		"arn:aws:codeartifact:x:111122223333:domain/main/x", "arn:aws:codeartifact:x:111122223333:package-group/main/nonsense"} {
		w.refused("ValidationException", "resourceArn", "ListTagsForResource", given{"resourceArn": bad})
	}
	for _, absent := range []string{"domain/none", "repository/main/none", "package-group/main/npm//none~"} {
		w.refused("ResourceNotFoundException", "none", "ListTagsForResource", given{"resourceArn": fmt.Sprintf(arn, "x") + absent})
	}
	w.refused("ResourceNotFoundException", "main", "ListTagsForResource", given{"resourceArn": "arn:aws:codeartifact:x:" + other + ":domain/main"})
	// Conditions see the tags of the request and of the resource.
	w.must("TagResource", given{"resourceArn": id, "tags": []tag{{"stage", "prod"}}})
	w.gate.asked()
	w.must("UntagResource", given{"resourceArn": id, "tagKeys": []string{"stage"}})
	w.gate.asks = nil
	w.must("TagResource", given{"resourceArn": fmt.Sprintf(arn, "x") + "package-group/main/npm//a~", "tags": []tag{{"n", "1"}}})
	if ask := w.gate.asks[0]; ask.RequestTags["n"] != "1" || !slices.Equal(ask.TagKeys, []string{"n"}) || ask.Resource.Tags["k"] != "v" {
		t.Errorf("%+v", ask)
	}
}

func TestEndpointAndToken(t *testing.T) {
	w := newWorld(t)
	w.site("my-domain", "team")
	for _, f := range []string{"npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo", "go"} {
		for _, typ := range []string{"dualstack", "ipv4"} {
			a := w.must("GetRepositoryEndpoint", given{"domain": "my-domain", "repository": "team", "format": f, "endpointType": typ})
			w.want(a, `"http://larder.test/`+f+`/d/my-domain-111122223333/team/"`, "repositoryEndpoint")
		}
	}
	w.refused("ResourceNotFoundException", "none", "GetRepositoryEndpoint", given{"domain": "my-domain", "repository": "none", "format": "npm"})

	for _, seconds := range []any{nil, 0, 900, 43200} {
		in := given{"domain": "my-domain"}
		want := 1800043200
		if seconds != nil {
			in["durationSeconds"], want = seconds, 1800000000+seconds.(int)
		}
		w.gate.asked()
		a := w.must("GetAuthorizationToken", in)
		if !strings.Contains(a.raw, fmt.Sprintf(`{"authorizationToken":"token.dev.my-domain.111122223333","expiration":%d.123}`, want)) {
			t.Errorf("%v: %s", seconds, a.raw)
		}
		if asked := w.gate.asked(); !slices.Equal(asked, []string{"codeartifact:GetAuthorizationToken arn:aws:codeartifact:eu-central-1:111122223333:domain/my-domain", "sts:GetServiceBearerToken *"}) {
			t.Errorf("asked %q", asked)
		}
	}
	for _, seconds := range []int{1, 60, 899, 43201, -1} {
		w.refused("ValidationException", "durationSeconds", "GetAuthorizationToken", given{"domain": "my-domain", "durationSeconds": seconds})
	}
	for _, action := range []string{"codeartifact:GetAuthorizationToken", "sts:GetServiceBearerToken"} {
		w.gate.deny = map[string]bool{action: true}
		w.refused("AccessDeniedException", action, "GetAuthorizationToken", given{"domain": "my-domain"})
		w.refused("AccessDeniedException", action, "GetAuthorizationToken", given{"domain": "absent"})
	}
}
