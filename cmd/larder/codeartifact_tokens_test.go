package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/formats/all"
	"larder/proxy/identity"
)

// The checks of endpoints and bearer tokens, and what login does for clients
// whose formats this node does not serve yet.
func tokenChecks() []check {
	return []check{
		{19, "login-dotnet", checkLoginDotnet},
		{20, "login-swift", checkLoginSwift},
		{21, "endpoints", checkEndpoints},
		{22, "token-durations", checkTokenDurations},
		{22, "expired-token", checkExpiredToken},
		{22, "revoked-token", checkRevokedToken},
		{23, "token-of-another-node", checkOtherNode},
		{33, "nuget-api", func(t *testing.T, s *site) { checkUnserved(t, s, "nuget", "dotnet-api", "public:nuget-org") }},
		{34, "ruby-api", func(t *testing.T, s *site) { checkUnserved(t, s, "ruby", "gem-api", "public:ruby-gems-org") }},
	}
}

// standIn puts a program on the clients' path that notes how it is called, and
// returns the environment and the file of notes.
func (s *site) standIn(name string) (env []string, notes string) {
	s.Helper()
	dir := filepath.Join(s.dir, "stand-in-"+name)
	notes = filepath.Join(dir, "calls")
	script := s.write("stand-in-"+name+"/"+name, "#!/bin/sh\necho \"$*\" >>"+notes+"\n")
	if err := os.Chmod(script, 0o755); err != nil {
		s.Fatal(err)
	}
	for _, kv := range s.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			return []string{"PATH=" + dir + string(os.PathListSeparator) + path}, notes
		}
	}
	return nil, notes
}

// checkLoginDotnet: the half of the check that is the API's. The client is a
// stand-in that notes its calls; restore and push belong to the format nuget.
func checkLoginDotnet(t *testing.T, s *site) {
	s.makeDomain("c19-dotnet")
	s.makeRepository("c19-dotnet", "repo")
	env, notes := s.standIn("dotnet")
	s.aws(admin(), append(env, "login", "--tool", "dotnet", "--domain", "c19-dotnet", "--repository", "repo")...).good()
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nuget add source " + s.base + endpoint("nuget", "c19-dotnet", "repo") + "v3/index.json", "--name c19-dotnet/repo", "--username aws --password eyJ"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("login does not call dotnet with %q:\n%s", want, text)
		}
	}
}

// checkLoginSwift: as checkLoginDotnet; publishing and resolving, and TLS, belong
// to the format swift.
func checkLoginSwift(t *testing.T, s *site) {
	s.makeDomain("c20-swift")
	s.makeRepository("c20-swift", "repo")
	env, notes := s.standIn("swift")
	s.aws(admin(), append(env, "login", "--tool", "swift", "--namespace", "team", "--domain", "c20-swift", "--repository", "repo")...).good()
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	at := s.base + endpoint("swift", "c20-swift", "repo")
	for _, want := range []string{"package-registry set " + at + " --scope team", "package-registry login " + at + "login"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("login does not call swift with %q:\n%s", want, text)
		}
	}
	netrc, err := os.ReadFile(filepath.Join(s.dir, "home", ".netrc"))
	if err != nil || !strings.Contains(string(netrc), "machine 127.0.0.1 login token password eyJ") {
		t.Errorf("netrc: %.60q, %v", netrc, err)
	}
}

// checkUnserved: a format of the API that this node does not serve can be named
// in every operation, and its data plane refuses clearly. The clients' own
// checks belong to the format.
func checkUnserved(t *testing.T, s *site, format, domain, connection string) {
	s.makeDomain(domain)
	s.makeRepository(domain, "repo")
	s.aws(admin(), "associate-external-connection", "--domain", domain, "--repository", "repo", "--external-connection", connection).good()
	on := []string{"--domain", domain, "--repository", "repo", "--format", format}
	same(t, "packages", s.aws(admin(), append([]string{"list-packages"}, on...)...).json().at("packages"), "[]")
	s.aws(admin(), append([]string{"list-package-versions", "--package", "thing"}, on...)...).bad("ResourceNotFoundException")
	s.aws(admin(), append([]string{"describe-package-version", "--package", "thing", "--package-version", "1.0.0"}, on...)...).bad("ResourceNotFoundException")
	got := s.aws(admin(), append([]string{"get-associated-package-group"}, "--domain", domain, "--format", format, "--package", "thing")...).json()
	same(t, "group", got.at("packageGroup.pattern"), "/*")
	url := strings.TrimPrefix(s.aws(admin(), append([]string{"get-repository-endpoint"}, on...)...).json().at("repositoryEndpoint"), s.base)
	same(t, "endpoint", url, endpoint(format, domain, "repo"))
	for _, f := range all.Formats() {
		if f.ID() == format {
			return // its own checks drive it
		}
	}
	r := s.get(url, s.token(admin(), domain))
	if r.status != 404 || !strings.Contains(r.body, "no format \""+format+"\"") {
		t.Errorf("the data plane answers %d %q", r.status, r.body)
	}
}

func checkEndpoints(t *testing.T, s *site) {
	s.makeDomain("c21-with-hyphens")
	s.makeRepository("c21-with-hyphens", "Repo.1_x-y")
	for i, format := range []types.PackageFormat{types.PackageFormatNpm, types.PackageFormatPypi, types.PackageFormatMaven, types.PackageFormatNuget, types.PackageFormatGeneric, "ruby", "swift", "cargo"} {
		want := s.base + endpoint(string(format), "c21-with-hyphens", "Repo.1_x-y")
		out, err := s.sdk(admin()).GetRepositoryEndpoint(t.Context(), &codeartifact.GetRepositoryEndpointInput{Domain: aws.String("c21-with-hyphens"), Repository: aws.String("Repo.1_x-y"), Format: format})
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		same(t, string(format), *out.RepositoryEndpoint, want)
		kind := []string{"dualstack", "ipv4"}[i%2]
		got := s.aws(admin(), "get-repository-endpoint", "--domain", "c21-with-hyphens", "--repository", "Repo.1_x-y", "--format", string(format), "--endpoint-type", kind).json()
		same(t, string(format)+" "+kind, got.at("repositoryEndpoint"), want)
	}
	// The endpoint leads to the repository.
	token := s.token(admin(), "c21-with-hyphens")
	same(t, "ping", s.get(endpoint("npm", "c21-with-hyphens", "Repo.1_x-y")+"-/ping", token).status, 200)
	s.aws(admin(), "get-repository-endpoint", "--domain", "c21-with-hyphens", "--repository", "nowhere", "--format", "npm").bad("ResourceNotFoundException")
}

func checkTokenDurations(t *testing.T, s *site) {
	s.makeDomain("c22-token")
	s.makeRepository("c22-token", "repo")
	life := func(who keyPair, seconds *int64) (time.Duration, error) {
		out, err := s.sdk(who).GetAuthorizationToken(t.Context(), &codeartifact.GetAuthorizationTokenInput{Domain: aws.String("c22-token"), DomainOwner: aws.String(siteOwner), DurationSeconds: seconds})
		if err != nil {
			return 0, err
		}
		same(t, "the token opens the domain", s.get(endpoint("npm", "c22-token", "repo")+"-/ping", *out.AuthorizationToken).status, 200)
		return time.Until(*out.Expiration), nil
	}
	session := s.assume(t, "arn:aws:iam::"+siteOwner+":role/build", s.identityToken(t, "repo:app"))
	for _, c := range []struct {
		name    string
		who     keyPair
		seconds *int64
		want    time.Duration
	}{
		{"none", admin(), nil, 12 * time.Hour},
		{"0 of a user", admin(), aws.Int64(0), 12 * time.Hour},
		{"900", admin(), aws.Int64(900), 15 * time.Minute},
		{"43200", admin(), aws.Int64(43200), 12 * time.Hour},
		{"0 of a session of 900 s", session, aws.Int64(0), 15 * time.Minute},
		{"3600 of a session of 900 s", session, aws.Int64(3600), time.Hour},
	} {
		got, err := life(c.who, c.seconds)
		if err != nil || got > c.want+time.Second || got < c.want-2*time.Minute {
			t.Errorf("duration %s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	for _, seconds := range []int64{1, 899, 43201} {
		_, err := life(admin(), &seconds)
		var invalid *types.ValidationException
		if !errors.As(err, &invalid) {
			t.Errorf("duration %d: got %v, want a ValidationException", seconds, err)
		}
	}
	for _, seconds := range []string{"0", "900", "43200"} {
		got := s.aws(admin(), "get-authorization-token", "--domain", "c22-token", "--duration-seconds", seconds).json()
		if !strings.HasPrefix(got.at("authorizationToken"), "eyJ") {
			t.Errorf("AWS CLI, duration %s: the token is %.20q", seconds, got.at("authorizationToken"))
		}
	}
	for _, seconds := range []string{"899", "43201"} {
		s.aws(admin(), "get-authorization-token", "--domain", "c22-token", "--duration-seconds", seconds).bad("ValidationException")
	}
	// A token opens the domain that it was issued for, and no other.
	s.makeDomain("c22-other")
	s.makeRepository("c22-other", "repo")
	token := s.token(admin(), "c22-token")
	same(t, "another domain", s.get(endpoint("npm", "c22-other", "repo")+"-/ping", token).status, 401)
}

// wantChallenges wants 401 with both schemes, as in CodeArtifact.
func wantChallenges(t *testing.T, what string, r reply, realm string) {
	t.Helper()
	same(t, what+": status", r.status, 401)
	same(t, what+": challenges", strings.Join(r.header.Values("Www-Authenticate"), ", "), `Bearer realm="`+realm+`", Basic realm="`+realm+`"`)
}

// oldToken is a token that the node issued to its administrator some time ago: it
// is made with the node's own key, so that nobody has to wait.
func (s *site) oldToken(domain string, ago, life time.Duration) string {
	s.Helper()
	ring, err := identity.OpenKeyring(identity.KeyringConfig{Dir: keysDir(s.data())})
	if err != nil {
		s.Fatal(err)
	}
	issuer, err := identity.NewIssuer(identity.IssuerConfig{Site: "larder", Key: ring.TokenKey(), Now: func() time.Time { return time.Now().Add(-ago) }})
	if err != nil {
		s.Fatal(err)
	}
	token, _, err := issuer.Issue(identity.Principal{ARN: "arn:aws:iam::" + siteOwner + ":user/admin", Account: siteOwner, Name: "admin", Kind: identity.KindUser}, domain, siteOwner, life)
	if err != nil {
		s.Fatal(err)
	}
	return token
}

func checkExpiredToken(t *testing.T, s *site) {
	s.makeDomain("c22-expired")
	s.makeRepository("c22-expired", "repo")
	ping := endpoint("npm", "c22-expired", "repo") + "-/ping"
	same(t, "one that still runs", s.get(ping, s.oldToken("c22-expired", 10*time.Minute, 15*time.Minute)).status, 200)
	wantChallenges(t, "expired", s.get(ping, s.oldToken("c22-expired", time.Hour, 15*time.Minute)), "c22-expired/repo")
	wantChallenges(t, "none", s.get(ping, ""), "c22-expired/repo")
	wantChallenges(t, "malformed", s.get(ping, "eyJ2ZXIiOjF9.nonsense"), "c22-expired/repo")
}

func checkRevokedToken(t *testing.T, s *site) {
	s.makeDomain("c22-revoked")
	s.makeRepository("c22-revoked", "repo")
	ping := endpoint("npm", "c22-revoked", "repo") + "-/ping"
	revoke := func(kind, value string) {
		t.Helper()
		s.larder("credential", "revoke", "--config", "larder.toml", "--data", "data", kind, value)
	}
	ann := s.credential("c22-ann", "--policy", "read")
	bob := s.credential("c22-bob", "--policy", "read")
	first, second, bobs := s.token(ann, "c22-revoked"), s.token(ann, "c22-revoked"), s.token(bob, "c22-revoked")
	same(t, "before", s.get(ping, first).status, 200)
	claims, err := tokenID(first)
	if err != nil {
		t.Fatal(err)
	}
	revoke("token", claims)
	wantChallenges(t, "the revoked token", s.get(ping, first), "c22-revoked/repo")
	same(t, "another token of the same user", s.get(ping, second).status, 200)
	revoke("subject", "arn:aws:iam::"+siteOwner+":user/c22-ann")
	same(t, "a token of a revoked subject", s.get(ping, second).status, 401)
	same(t, "a token of another user", s.get(ping, bobs).status, 200)
	// The access key ends by itself, and with it what the user may do.
	s.larder("credential", "disable", "--config", "larder.toml", "--data", "data", bob.id)
	s.aws(bob, "describe-domain", "--domain", "c22-revoked").bad("UnrecognizedClientException")
	same(t, "a token of a user whose only key is disabled", s.get(ping, bobs).status, 403)
	// Robots.
	out := s.larder("credential", "create", "--config", "larder.toml", "--data", "data", "--user", "c22-robot", "--policy", "read", "--token")
	id, secret := field(t, out, "id:"), field(t, out, "token:")
	same(t, "a robot", s.get(ping, secret).status, 200)
	s.larder("credential", "delete", "--config", "larder.toml", "--data", "data", id)
	same(t, "a deleted robot", s.get(ping, secret).status, 401)
}

// checkOtherNode: node B has A's public key, restarts, A is gone: A's token opens B.
func checkOtherNode(t *testing.T, s *site) {
	a, b := newSite(t, ""), newSite(t, "")
	a.makeRepository("main", "shared")
	b.makeRepository("main", "shared")
	user := a.credential("wanderer", "--policy", "read")
	b.credential("wanderer", "--policy", "read")
	token := a.aws(user, "get-authorization-token", "--domain", "main", "--query", "authorizationToken", "--output", "text").good().out
	token = strings.TrimSpace(token)
	ping := endpoint("npm", "main", "shared") + "-/ping"
	same(t, "at its own node", a.get(ping, token).status, 200)
	same(t, "before B trusts A", b.get(ping, token).status, 401)
	pem := a.larder("credential", "key", "--data", "data")
	if err := os.MkdirAll(filepath.Join(keysDir(b.data()), "trusted"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("data/keys/trusted/a.pub", pem)
	b.reload()
	same(t, "after a reload", b.get(ping, token).status, 200)
	a.stop()
	b.restart()
	same(t, "after B trusts A and A is gone", b.get(ping, token).status, 200)
	claims, err := tokenID(token)
	if err != nil {
		t.Fatal(err)
	}
	b.larder("credential", "revoke", "--data", "data", "token", claims)
	same(t, "after B revoked it", b.get(ping, token).status, 401)
	b.restart()
	same(t, "revocation after a restart", b.get(ping, token).status, 401)
	if other := b.larder("credential", "key", "--data", "data"); other == pem || !strings.HasPrefix(other, "-----BEGIN PUBLIC KEY-----") {
		t.Errorf("B's key is\n%s", other)
	}
}
