package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"
)

// The checks of domains, repositories, their policies and tags.
func domainChecks() []check {
	return []check{
		{8, "domains", checkDomains},
		{9, "upstreams", checkUpstreamLists},
		{10, "update-keeps-upstreams", checkUpdateKeeps},
		{11, "external-connections", checkConnections},
		{12, "repository-lists", checkRepositoryLists},
		{13, "policies", checkPolicyDocuments},
		{14, "tags", checkTags},
	}
}

func checkDomains(t *testing.T, s *site) {
	d := s.aws(admin(), "create-domain", "--domain", "c8-one").json()
	same(t, "arn", d.at("domain.arn"), "arn:aws:codeartifact:local:"+siteOwner+":domain/c8-one")
	same(t, "status", d.at("domain.status"), "Active")
	d = s.aws(admin(), "describe-domain", "--domain", "c8-one").json()
	same(t, "name", d.at("domain.name"), "c8-one")
	same(t, "repositories", d.at("domain.repositoryCount"), "0")
	same(t, "size", d.at("domain.assetSizeBytes"), "0")
	s.aws(admin(), "create-domain", "--domain", "c8-one").bad("ConflictException")
	s.makeDomain("c8-two")
	s.makeRepository("c8-two", "repo")
	s.aws(admin(), "delete-domain", "--domain", "c8-two").bad("ConflictException")

	// Paging stands in the body of this one.
	ca, names := s.sdk(admin()), []string{}
	pages := codeartifact.NewListDomainsPaginator(ca, &codeartifact.ListDomainsInput{}, func(o *codeartifact.ListDomainsPaginatorOptions) { o.Limit = 1 })
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Domains) > 1 {
			t.Fatalf("a page of 1 has %d domains", len(out.Domains))
		}
		for _, d := range out.Domains {
			names = append(names, *d.Name)
		}
	}
	all := strings.Join(names, " ")
	if !strings.Contains(all, "c8-one c8-two") {
		t.Errorf("SDK for Go lists %s", all)
	}
	same(t, "AWS CLI lists", s.aws(admin(), "list-domains", "--page-size", "2").json().all("domains", "name"), all)
	same(t, "boto3 lists", s.boto(admin(), "print(' '.join(d['name'] for p in ca.get_paginator('list_domains').paginate(PaginationConfig={'PageSize': 1}) for d in p['domains']))").good().out, all+"\n")

	gone := s.aws(admin(), "delete-domain", "--domain", "c8-one").json()
	same(t, "status of a deleted domain", gone.at("domain.status"), "Active")
	s.aws(admin(), "describe-domain", "--domain", "c8-one").bad("ResourceNotFoundException")
	s.aws(admin(), "delete-repository", "--domain", "c8-two", "--repository", "repo").good()
	if _, err := ca.DeleteDomain(t.Context(), &codeartifact.DeleteDomainInput{Domain: aws.String("c8-two")}); err != nil {
		t.Error(err)
	}
	// A name that is free again can be taken.
	s.makeDomain("c8-one")
}

// upstreamNames are a repository's upstreams in order, by the SDK for Go.
func (s *site) upstreamNames(domain, repo string) string {
	s.Helper()
	out, err := s.sdk(admin()).DescribeRepository(s.Context(), &codeartifact.DescribeRepositoryInput{Domain: &domain, Repository: &repo})
	if err != nil {
		s.Fatal(err)
	}
	var names []string
	for _, u := range out.Repository.Upstreams {
		names = append(names, *u.RepositoryName)
	}
	return strings.Join(names, " ")
}

func checkUpstreamLists(t *testing.T, s *site) {
	s.makeDomain("c9-ups")
	for _, r := range []string{"zz", "aa", "mm"} {
		s.makeRepository("c9-ups", r)
	}
	got := s.aws(admin(), append([]string{"create-repository", "--domain", "c9-ups", "--repository", "team"}, upstreamArgs([]string{"zz", "aa", "mm"})...)...).json()
	same(t, "order", got.at("repository.upstreams.0.repositoryName")+got.at("repository.upstreams.2.repositoryName"), "zzmm")
	same(t, "order kept", s.upstreamNames("c9-ups", "team"), "zz aa mm")
	update := func(ups ...string) error {
		in := &codeartifact.UpdateRepositoryInput{Domain: aws.String("c9-ups"), Repository: aws.String("team"), Upstreams: []types.UpstreamRepository{}}
		for _, u := range ups {
			in.Upstreams = append(in.Upstreams, types.UpstreamRepository{RepositoryName: aws.String(u)})
		}
		_, err := s.sdk(admin()).UpdateRepository(t.Context(), in)
		return err
	}
	if err := update("mm", "zz"); err != nil {
		t.Fatal(err)
	}
	same(t, "replaced", s.upstreamNames("c9-ups", "team"), "mm zz")
	var missing *types.ResourceNotFoundException
	if err := update("mm", "nowhere"); !errors.As(err, &missing) {
		t.Errorf("unknown upstream: got %v, want a ResourceNotFoundException", err)
	}
	var eleven []string
	for i := range 11 {
		eleven = append(eleven, fmt.Sprintf("u-%d", i))
		s.makeRepository("c9-ups", eleven[i])
	}
	var quota *types.ServiceQuotaExceededException
	if err := update(eleven...); !errors.As(err, &quota) {
		t.Errorf("11 upstreams: got %v, want a ServiceQuotaExceededException", err)
	}
	if err := update(eleven[:10]...); err != nil {
		t.Errorf("10 upstreams: %v", err)
	}
	for _, circle := range []string{"team", "u-0"} {
		s.aws(admin(), append([]string{"update-repository", "--domain", "c9-ups", "--repository", "u-0"}, upstreamArgs([]string{circle})...)...).bad("ValidationException")
	}
	s.aws(admin(), append([]string{"update-repository", "--domain", "c9-ups", "--repository", "u-0"}, upstreamArgs([]string{"team"})...)...).bad("ValidationException")
	same(t, "what was refused changed nothing", s.upstreamNames("c9-ups", "u-0"), "")
	s.aws(admin(), "update-repository", "--domain", "c9-ups", "--repository", "team", "--upstreams", "[]").good()
	same(t, "cleared by the AWS CLI", s.upstreamNames("c9-ups", "team"), "")
	if err := update("mm"); err != nil {
		t.Fatal(err)
	}
	if err := update(); err != nil {
		t.Fatal(err)
	}
	same(t, "cleared by the SDK for Go", s.upstreamNames("c9-ups", "team"), "")
	if err := update("mm"); err != nil {
		t.Fatal(err)
	}
	s.aws(admin(), "delete-repository", "--domain", "c9-ups", "--repository", "mm").good()
	same(t, "a deleted repository is nobody's upstream", s.upstreamNames("c9-ups", "team"), "")
}

// checkUpdateKeeps: Terraform leaves the list out when only the description
// changes.
func checkUpdateKeeps(t *testing.T, s *site) {
	s.makeDomain("c10-keep")
	s.makeRepository("c10-keep", "base")
	s.makeRepository("c10-keep", "team", "base")
	out, err := s.sdk(admin()).UpdateRepository(t.Context(), &codeartifact.UpdateRepositoryInput{Domain: aws.String("c10-keep"), Repository: aws.String("team"), Description: aws.String("ours")})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "description", aws.ToString(out.Repository.Description), "ours")
	same(t, "upstreams", s.upstreamNames("c10-keep", "team"), "base")
	s.aws(admin(), append([]string{"update-repository", "--domain", "c10-keep", "--repository", "team"}, upstreamArgs([]string{"base"})...)...).good()
	got := s.aws(admin(), "describe-repository", "--domain", "c10-keep", "--repository", "team").json()
	same(t, "description after a new list", got.at("repository.description"), "ours")
}

func checkConnections(t *testing.T, s *site) {
	s.makeDomain("c11-public")
	for name, format := range map[string]string{"public:npmjs": "npm", "public:pypi": "pypi", "public:maven-central": "maven", "public:maven-googleandroid": "maven",
		"public:maven-gradleplugins": "maven", "public:maven-commonsware": "maven", "public:maven-clojars": "maven", "public:nuget-org": "nuget",
		"public:ruby-gems-org": "ruby", "public:crates-io": "cargo"} {
		repo := strings.TrimPrefix(name, "public:") + "-store"
		s.makeRepository("c11-public", repo)
		on := []string{"--domain", "c11-public", "--repository", repo, "--external-connection"}
		associate := &codeartifact.AssociateExternalConnectionInput{Domain: aws.String("c11-public"), Repository: aws.String(repo), ExternalConnection: aws.String(name)}
		if name != "public:npmjs" {
			out, err := s.sdk(admin()).AssociateExternalConnection(t.Context(), associate)
			if err != nil || len(out.Repository.ExternalConnections) != 1 || string(out.Repository.ExternalConnections[0].PackageFormat) != format {
				t.Errorf("%s: %v, %v", name, out, err)
			}
			continue
		}
		got := s.aws(admin(), append(append([]string{"associate-external-connection"}, on...), name)...).json()
		same(t, name, got.at("repository.externalConnections.0.externalConnectionName")+" "+got.at("repository.externalConnections.0.packageFormat"), name+" "+format)
		same(t, name+" status", strings.ToUpper(got.at("repository.externalConnections.0.status")), "AVAILABLE")
		s.aws(admin(), append(append([]string{"associate-external-connection"}, on...), "public:pypi")...).bad("ConflictException")
		s.aws(admin(), append(append([]string{"disassociate-external-connection"}, on...), "public:pypi")...).bad("ResourceNotFoundException")
		_, err := s.sdk(admin()).DisassociateExternalConnection(t.Context(), &codeartifact.DisassociateExternalConnectionInput{Domain: aws.String("c11-public"), Repository: aws.String(repo), ExternalConnection: aws.String(name)})
		if err != nil {
			t.Error(err)
		}
		out, err := s.sdk(admin()).AssociateExternalConnection(t.Context(), associate)
		if err != nil || len(out.Repository.ExternalConnections) != 1 || out.Repository.ExternalConnections[0].PackageFormat != types.PackageFormatNpm {
			t.Errorf("associate again: %v, %v", out, err)
		}
	}
	s.makeRepository("c11-public", "none")
	for _, unknown := range []string{"public:nowhere", "private:npmjs", "npmjs"} {
		s.aws(admin(), "associate-external-connection", "--domain", "c11-public", "--repository", "none", "--external-connection", unknown).bad("ValidationException")
	}
	s.aws(admin(), "associate-external-connection", "--domain", "c11-public", "--repository", "nowhere", "--external-connection", "public:npmjs").bad("ResourceNotFoundException")
}

func checkRepositoryLists(t *testing.T, s *site) {
	s.makeDomain("c12-list")
	for _, r := range []string{"app-1", "app-2", "app-3", "lib-1"} {
		s.makeRepository("c12-list", r)
	}
	in := []string{"list-repositories-in-domain", "--domain", "c12-list"}
	list := func(args ...string) object { t.Helper(); return s.aws(admin(), append(in[:3:3], args...)...).json() }
	same(t, "all", list().all("repositories", "name"), "app-1 app-2 app-3 lib-1")
	same(t, "prefix", list("--repository-prefix", "app").all("repositories", "name"), "app-1 app-2 app-3")
	same(t, "administrator", list("--administrator-account", siteOwner).all("repositories", "name"), "app-1 app-2 app-3 lib-1")
	same(t, "another administrator", list("--administrator-account", "999999999999").all("repositories", "name"), "")
	same(t, "prefix everywhere", s.aws(admin(), "list-repositories", "--repository-prefix", "lib-1").json().all("repositories", "name"), "lib-1")
	var walked []string
	next := ""
	for range 10 {
		args := []string{"--max-items", "1", "--page-size", "1", "--repository-prefix", "app"}
		if next != "" {
			args = append(args, "--starting-token", next)
		}
		got := list(args...)
		walked = append(walked, got.all("repositories", "name"))
		if next = got.at("NextToken"); next == "" {
			break
		}
	}
	same(t, "resumed one by one", strings.Join(walked, " "), "app-1 app-2 app-3")
	same(t, "pages of 3", list("--page-size", "3").all("repositories", "name"), "app-1 app-2 app-3 lib-1")
	s.aws(admin(), append(in, "--next-token", "not-a-token")...).bad("ValidationException")
	s.aws(admin(), "list-repositories-in-domain", "--domain", "nowhere").bad("ResourceNotFoundException")
}

func checkPolicyDocuments(t *testing.T, s *site) {
	s.makeDomain("c13-policy")
	s.makeRepository("c13-policy", "repo")
	document := func(sid string) string {
		return `{"Version":"2012-10-17","Statement":[{"Sid":"` + sid + `","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + siteOwner + `:root"},"Action":"codeartifact:Describe*","Resource":"*"}]}`
	}
	for _, c := range []struct {
		kind string
		on   []string
		arn  string
	}{
		{"domain", []string{"--domain", "c13-policy"}, ":domain/c13-policy"},
		{"repository", []string{"--domain", "c13-policy", "--repository", "repo"}, ":repository/c13-policy/repo"},
	} {
		do := func(verb string, args ...string) outcome {
			t.Helper()
			return s.aws(admin(), append(append([]string{verb + "-" + c.kind + "-permissions-policy"}, c.on...), args...)...)
		}
		do("get").bad("ResourceNotFoundException")
		do("delete").bad("ResourceNotFoundException")
		first := do("put", "--policy-document", document("one")).json()
		same(t, c.kind+": arn", first.at("policy.resourceArn"), "arn:aws:codeartifact:local:"+siteOwner+c.arn)
		if !json.Valid([]byte(first.at("policy.document"))) {
			t.Errorf("%s: the document is %q", c.kind, first.at("policy.document"))
		}
		stale := first.at("policy.revision")
		second := do("put", "--policy-document", document("two"), "--policy-revision", stale).json()
		do("put", "--policy-document", document("three"), "--policy-revision", stale).bad("ConflictException")
		do("delete", "--policy-revision", stale).bad("ConflictException")
		same(t, c.kind+": document", do("get").json().at("policy.document"), document("two"))
		gone := do("delete", "--policy-revision", second.at("policy.revision")).json()
		same(t, c.kind+": deleted document", gone.at("policy.document"), document("two"))
		do("get").bad("ResourceNotFoundException")
	}
	out, err := s.sdk(admin()).PutDomainPermissionsPolicy(t.Context(), &codeartifact.PutDomainPermissionsPolicyInput{Domain: aws.String("c13-policy"), DomainOwner: aws.String(siteOwner), PolicyDocument: aws.String(document("go"))})
	if err != nil || aws.ToString(out.Policy.Document) != document("go") {
		t.Errorf("SDK for Go: %v, %v", out, err)
	}
}

func checkTags(t *testing.T, s *site) {
	s.aws(admin(), "create-domain", "--domain", "c14-tags", "--tags", "key=made,value=early").good()
	s.makeRepository("c14-tags", "repo")
	s.aws(admin(), "create-package-group", "--domain", "c14-tags", "--package-group", "/npm/web/ui~").good()
	prefix := "arn:aws:codeartifact:local:" + siteOwner + ":"
	group := s.aws(admin(), "describe-package-group", "--domain", "c14-tags", "--package-group", "/npm/web/ui~").json().at("packageGroup.arn")
	for _, arn := range []string{prefix + "domain/c14-tags", prefix + "repository/c14-tags/repo", group} {
		s.aws(admin(), "tag-resource", "--resource-arn", arn, "--tags", "key=team,value=web ü", "key=empty,value=").good()
		s.aws(admin(), "tag-resource", "--resource-arn", arn, "--tags", "key=team,value=api").good()
		s.aws(admin(), "untag-resource", "--resource-arn", arn, "--tag-keys", "made", "absent").good()
		out, err := s.sdk(admin()).ListTagsForResource(t.Context(), &codeartifact.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil {
			t.Errorf("%s: %v", arn, err)
			continue
		}
		got := map[string]string{}
		for _, tag := range out.Tags {
			got[*tag.Key] = *tag.Value
		}
		same(t, arn, got, map[string]string{"team": "api", "empty": ""})
		s.aws(admin(), "untag-resource", "--resource-arn", arn, "--tag-keys", "team", "empty").good()
		same(t, arn+" untagged", s.aws(admin(), "list-tags-for-resource", "--resource-arn", arn).json().all("tags", "key"), "")
	}
	// The root has no row before something is written to it; clients may encode.
	for _, arn := range []string{strings.ReplaceAll(group, "~", "%7E"), prefix + "package-group/c14-tags/*"} {
		_, err := s.sdk(admin()).TagResource(t.Context(), &codeartifact.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
		if err != nil {
			t.Errorf("%s: %v", arn, err)
		}
	}
	same(t, "tag by the encoded ARN", s.aws(admin(), "list-tags-for-resource", "--resource-arn", group).json().all("tags", "key"), "k")
	s.aws(admin(), "list-tags-for-resource", "--resource-arn", prefix+"domain/nowhere").bad("ResourceNotFoundException")
	s.aws(admin(), "tag-resource", "--resource-arn", prefix+"domain/c14-tags", "--tags", "key=aws:x,value=y").bad("ValidationException")
	s.aws(admin(), "list-tags-for-resource", "--resource-arn", prefix+"package/c14-tags/repo/npm//x").bad("ValidationException")
}
