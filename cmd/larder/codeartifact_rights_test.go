package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
)

// guestAccount is the account of a user of the config who is not of the owner's.
const guestAccount = "444455556666"

// rightsConfig has users who are declared, beside those that come by their keys.
func rightsConfig() string {
	return `
[[user]]
name = "guest"
account = "` + guestAccount + `"
policies = ["read"]
[[user]]
name = "nobody"
account = "` + guestAccount + `"
[[user]]
name = "scoped"
policies = ["read", "web-team"]
[[policy]]
name = "web-team"
document = '''{"Version": "2012-10-17", "Statement": [{"Sid": "WebOnly", "Effect": "Allow",
  "Action": ["codeartifact:PublishPackageVersion", "codeartifact:PutPackageMetadata"],
  "Resource": "arn:aws:codeartifact:*:*:package/c50-rights/team/npm/web/*"}]}'''
`
}

// The checks of who may do what.
func rightsChecks() []check {
	return []check{
		{50, "reader-cannot-publish", checkReader},
		{50, "one-scope", checkOneScope},
		{50, "deny-beats-allow", checkDeny},
		{50, "cross-account", checkCrossAccount},
		{50, "no-lock-out", checkNoLockOut},
		{50, "explanations", checkExplanations},
	}
}

// rights makes the domain of these checks, once.
func (s *site) rights() {
	s.Helper()
	if _, err := s.sdk(admin()).DescribeDomain(s.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("c50-rights")}); err == nil {
		return
	}
	s.makeDomain("c50-rights")
	s.makeRepository("c50-rights", "team")
	s.npmPublish("c50-rights", "team", s.token(admin(), "c50-rights"), "ready", "1.0.0").good()
}

func statement(sid, effect, principal, actions string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":%q,"Effect":%q,"Principal":{"AWS":%q},"Action":[%s],"Resource":"*"}]}`, sid, effect, principal, `"`+strings.ReplaceAll(actions, " ", `","`)+`"`)
}

func (s *site) domainPolicy(domain, document string) {
	s.Helper()
	s.aws(admin(), "put-domain-permissions-policy", "--domain", domain, "--policy-document", document).good()
}

func (s *site) repositoryPolicy(domain, repo, document string) {
	s.Helper()
	s.aws(admin(), "put-repository-permissions-policy", "--domain", domain, "--repository", repo, "--policy-document", document).good()
}

func checkReader(t *testing.T, s *site) {
	s.rights()
	reader := s.credential("c50-reader", "--policy", "read")
	token := s.token(reader, "c50-rights")
	s.npmInstall("c50-rights", "team", token, "ready@1.0.0").good()
	s.npmPublish("c50-rights", "team", token, "mine", "1.0.0").bad("403", "c50-reader may not publish")
	s.aws(reader, "describe-repository", "--domain", "c50-rights", "--repository", "team").good()
	for _, args := range [][]string{
		{"create-domain", "--domain", "c50-mine"},
		{"create-repository", "--domain", "c50-rights", "--repository", "mine"},
		{"delete-repository", "--domain", "c50-rights", "--repository", "team"},
		{"put-domain-permissions-policy", "--domain", "c50-rights", "--policy-document", statement("X", "Allow", "*", "codeartifact:*")},
		{"update-package-versions-status", "--domain", "c50-rights", "--repository", "team", "--format", "npm", "--package", "ready", "--versions", "1.0.0", "--target-status", "Archived"},
		{"delete-package", "--domain", "c50-rights", "--repository", "team", "--format", "npm", "--package", "ready"},
		{"put-package-origin-configuration", "--domain", "c50-rights", "--repository", "team", "--format", "npm", "--package", "ready", "--restrictions", "publish=ALLOW,upstream=ALLOW"},
		{"publish-package-version", "--domain", "c50-rights", "--repository", "team", "--format", "generic", "--namespace", "n", "--package", "p", "--package-version", "1", "--asset-name", "a",
			"--asset-content", s.write("reader.bin", "x"), "--asset-sha256", sha256Hex("x")},
		{"create-package-group", "--domain", "c50-rights", "--package-group", "/npm/*"},
		{"tag-resource", "--resource-arn", "arn:aws:codeartifact:local:" + siteOwner + ":domain/c50-rights", "--tags", "key=a,value=b"},
	} {
		s.aws(reader, args...).bad("AccessDeniedException", "c50-reader", "is not authorized to perform")
	}
	same(t, "an archived version would be gone", s.get(endpoint("npm", "c50-rights", "team")+"ready/-/ready-1.0.0.tgz", token).status, 200)
}

func checkOneScope(t *testing.T, s *site) {
	s.rights()
	scoped := s.credential("scoped")
	token := s.token(scoped, "c50-rights")
	s.npmPublish("c50-rights", "team", token, "@web/ui", "1.0.0").good()
	s.npmInstall("c50-rights", "team", token, "@web/ui@1.0.0").good()
	for _, pkg := range []string{"@api/ui", "web", "@website/ui"} {
		s.npmPublish("c50-rights", "team", token, pkg, "1.0.0").bad("403", "scoped may not publish")
	}
	s.makeRepository("c50-rights", "team2")
	s.npmPublish("c50-rights", "team2", token, "@web/ui", "1.0.0").bad("403")
	// Tags are metadata of the same package.
	dir := s.npmProject("c50-tags", "c50-rights", "team", token)
	s.run(dir, nil, "npm", "dist-tag", "add", "@web/ui@1.0.0", "stable").good()
	s.run(dir, nil, "npm", "dist-tag", "add", "ready@1.0.0", "stable").bad("403")
}

// checkDeny: a deny in a policy of the domain or of the repository, put after the
// token was issued, stops it at once.
func checkDeny(t *testing.T, s *site) {
	s.makeDomain("c50-deny")
	s.makeRepository("c50-deny", "team")
	writer := s.credential("c50-writer", "--policy", "publish")
	other := s.credential("c50-other", "--policy", "publish")
	token, others := s.token(writer, "c50-deny"), s.token(other, "c50-deny")
	s.npmPublish("c50-deny", "team", token, "first", "1.0.0").good()
	packument := endpoint("npm", "c50-deny", "team") + "first"
	same(t, "reads before", s.get(packument, token).status, 200)
	arn := "arn:aws:iam::" + siteOwner + ":user/c50-writer"

	s.repositoryPolicy("c50-deny", "team", statement("NoMore", "Deny", arn, "codeartifact:PublishPackageVersion"))
	s.npmPublish("c50-deny", "team", token, "second", "1.0.0").bad("403")
	same(t, "still reads", s.get(packument, token).status, 200)
	s.npmPublish("c50-deny", "team", others, "third", "1.0.0").good()

	s.repositoryPolicy("c50-deny", "team", statement("NoReads", "Deny", arn, "codeartifact:ReadFromRepository"))
	r := s.get(packument, token)
	same(t, "a new deny stops an old token", r.status, 403)
	if !strings.Contains(r.body, "NoReads") {
		t.Errorf("the refusal does not name the statement: %s", r.body)
	}
	same(t, "and nobody else's", s.get(packument, others).status, 200)
	s.aws(admin(), "delete-repository-permissions-policy", "--domain", "c50-deny", "--repository", "team").good()
	same(t, "without the policy", s.get(packument, token).status, 200)

	s.domainPolicy("c50-deny", statement("NoTokens", "Deny", arn, "codeartifact:GetAuthorizationToken codeartifact:DescribeDomain"))
	s.aws(writer, "get-authorization-token", "--domain", "c50-deny").bad("AccessDeniedException", "NoTokens")
	s.aws(writer, "describe-domain", "--domain", "c50-deny").bad("AccessDeniedException")
	// Deny beats allow also where both stand in identity policies.
	both := s.credential("c50-both", "--policy", "publish", "--policy", s.write("deny.json", `{"Version":"2012-10-17","Statement":{"Sid":"Never","Effect":"Deny","Action":"codeartifact:Publish*","Resource":"*"}}`))
	s.npmPublish("c50-deny", "team", s.token(both, "c50-deny"), "fourth", "1.0.0").bad("403", "Never")
	same(t, "what was refused is not there", s.get(endpoint("npm", "c50-deny", "team")+"fourth", others).status, 404)
	// NumericLessThanEquals caps the life of tokens.
	short := s.credential("c50-short", "--policy", "read", "--policy", s.write("short.json",
		`{"Version":"2012-10-17","Statement":{"Sid":"Short","Effect":"Deny","Action":"sts:GetServiceBearerToken","Resource":"*","Condition":{"NumericGreaterThan":{"sts:DurationSeconds":"3600"}}}}`))
	s.aws(short, "get-authorization-token", "--domain", "c50-deny").bad("AccessDeniedException")
	s.aws(short, "get-authorization-token", "--domain", "c50-deny", "--duration-seconds", "3600").good()
}

func checkCrossAccount(t *testing.T, s *site) {
	s.makeDomain("c50-shared")
	s.makeRepository("c50-shared", "team")
	s.npmPublish("c50-shared", "team", s.token(admin(), "c50-shared"), "ours", "1.0.0").good()
	guest, nobody := s.credential("guest", "--account", guestAccount), s.credential("nobody", "--account", guestAccount)
	ask := []string{"get-authorization-token", "--domain", "c50-shared", "--domain-owner", siteOwner}
	s.aws(guest, ask...).bad("AccessDeniedException")
	s.domainPolicy("c50-shared", statement("Guests", "Allow", "arn:aws:iam::"+guestAccount+":root", "codeartifact:GetAuthorizationToken codeartifact:DescribeDomain"))
	s.aws(nobody, ask...).bad("AccessDeniedException")
	token := s.aws(guest, ask...).json().at("authorizationToken")
	packument := endpoint("npm", "c50-shared", "team") + "ours"
	same(t, "with the domain's policy only", s.get(packument, token).status, 403)
	s.repositoryPolicy("c50-shared", "team", statement("GuestsRead", "Allow", guestAccount, "codeartifact:ReadFromRepository codeartifact:PublishPackageVersion codeartifact:PutPackageMetadata"))
	s.npmInstall("c50-shared", "team", token, "ours@1.0.0").good()
	s.npmPublish("c50-shared", "team", token, "theirs", "1.0.0").bad("403", "no identity policy")
	// The other account sees the domain only where it is named as owner's.
	s.aws(guest, "describe-domain", "--domain", "c50-shared").bad("ResourceNotFoundException")
	s.aws(guest, "describe-domain", "--domain", "c50-shared", "--domain-owner", siteOwner).good()
	same(t, "domains of the guest's account", s.aws(guest, "list-domains").json().at("domains"), "[]")
	s.aws(guest, "describe-repository", "--domain", "c50-shared", "--domain-owner", siteOwner, "--repository", "team").bad("AccessDeniedException")
	s.aws(admin(), "delete-repository-permissions-policy", "--domain", "c50-shared", "--repository", "team").good()
	same(t, "without the repository's policy", s.get(packument, token).status, 403)
}

// checkNoLockOut: a resource's own policy does not count while it is put.
func checkNoLockOut(t *testing.T, s *site) {
	s.makeDomain("c50-locked")
	s.makeRepository("c50-locked", "team")
	nothing := statement("Nothing", "Deny", "*", "codeartifact:*")
	for _, c := range []struct {
		kind string
		on   []string
	}{
		{"repository", []string{"--domain", "c50-locked", "--repository", "team"}},
		{"domain", []string{"--domain", "c50-locked"}},
	} {
		do := func(verb string, args ...string) outcome {
			t.Helper()
			return s.aws(admin(), append(append([]string{verb + "-" + c.kind + "-permissions-policy"}, c.on...), args...)...)
		}
		do("put", "--policy-document", nothing).good()
		s.aws(admin(), append([]string{"describe-" + c.kind}, c.on...)...).bad("AccessDeniedException", "Nothing")
		do("put", "--policy-document", statement("Something", "Allow", siteOwner, "codeartifact:Describe*")).good()
		s.aws(admin(), append([]string{"describe-" + c.kind}, c.on...)...).good()
	}
	// Nor can it be given away by the resource's own policy.
	friend := s.credential("c50-friend", "--policy", "read")
	s.domainPolicy("c50-locked", statement("Friends", "Allow", "arn:aws:iam::"+siteOwner+":user/c50-friend", "codeartifact:*"))
	s.aws(friend, "get-domain-permissions-policy", "--domain", "c50-locked").good()
	s.aws(friend, "put-domain-permissions-policy", "--domain", "c50-locked", "--policy-document", nothing).bad("AccessDeniedException")
}

// checkExplanations: the page and the subcommand name the statement that decides.
func checkExplanations(t *testing.T, s *site) {
	s.makeDomain("c50-why")
	s.makeRepository("c50-why", "team")
	s.npmPublish("c50-why", "team", s.token(admin(), "c50-why"), "thing", "1.0.0").good()
	user := s.credential("c50-why", "--policy", "read")
	token := s.token(user, "c50-why")
	arn := "arn:aws:iam::" + siteOwner + ":user/c50-why"
	page := "/-/why?domain=c50-why&repo=team&purl=" + url.QueryEscape("pkg:npm/thing@1.0.0")
	r := s.get(page, token)
	var why struct {
		Access struct{ Caller, Verdict, Document, Statement, Reason string }
	}
	if err := json.Unmarshal([]byte(r.body), &why); r.status != 200 || err != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	same(t, "the page", fmt.Sprint(why.Access.Caller, " ", why.Access.Verdict, " ", why.Access.Document, " ", why.Access.Statement), "c50-why allow identity:read Read")
	same(t, "the page without a credential", s.get(page, "").status, 401)

	explain := func(action, resource string, more ...string) string {
		t.Helper()
		return s.larder(append([]string{"policy", "explain", "--config", "larder.toml", "--data", "data", "--principal", arn, "--action", action, "--resource", resource}, more...)...)
	}
	repo := "arn:aws:codeartifact:local:" + siteOwner + ":repository/c50-why/team"
	pkg := "arn:aws:codeartifact:local:" + siteOwner + ":package/c50-why/team/npm//thing"
	for _, c := range []struct{ name, out, want string }{
		{"an allow", explain("codeartifact:ReadFromRepository", repo), "allow:|identity:read Read (Allow) matches"},
		{"nothing allows", explain("codeartifact:PublishPackageVersion", pkg), "deny:"},
	} {
		for _, want := range strings.Split(c.want, "|") {
			if !strings.Contains(c.out, want) {
				t.Errorf("%s: want %q in\n%s", c.name, want, c.out)
			}
		}
	}
	s.repositoryPolicy("c50-why", "team", statement("Closed", "Deny", arn, "codeartifact:ReadFromRepository"))
	if out := explain("codeartifact:ReadFromRepository", repo); !strings.HasPrefix(out, "deny:") || !strings.Contains(out, "repository:c50-why/team Closed (Deny) matches") {
		t.Errorf("a deny:\n%s", out)
	}
	var e struct{ Sid, Document string }
	if err := json.Unmarshal([]byte(explain("codeartifact:ReadFromRepository", repo, "--json")), &e); err != nil || e.Sid != "Closed" || e.Document != "repository:c50-why/team" {
		t.Errorf("as JSON: %+v, %v", e, err)
	}
	r = s.get(page, token)
	if r.status != 403 || !strings.Contains(r.body, "Closed") {
		t.Errorf("the page to whom a statement refuses: %d %s", r.status, r.body)
	}
}
