package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact"
	"github.com/aws/aws-sdk-go-v2/service/codeartifact/types"

	"larder/cache/catalog"
	"larder/cache/store"
	api "larder/proxy/codeartifact"
)

// The checks of the wire: signatures, errors, endpoints.
func wireChecks() []check {
	return []check{
		{1, "signatures", checkSignatures},
		{1, "sessions", checkSessions},
		{2, "go-decodes", checkGoDecodes},
		{3, "typed-errors", checkTypedErrors},
		{4, "quota-and-throttling", checkThrottling},
		{5, "validation", checkValidation},
		{6, "unknown-path", checkUnknownPath},
		{7, "endpoint-settings", checkEndpointSettings},
	}
}

// oddName has every character that clients and servers disagree about in a query.
const oddName = "odd(1)'*~+%25%é☃@,;=&!$"

func checkSignatures(t *testing.T, s *site) {
	s.makeDomain("c1-wire")
	s.makeRepository("c1-wire", "odd")
	where := []string{"--domain", "c1-wire", "--repository", "odd", "--format", "generic", "--namespace", oddName, "--package", oddName}
	asset := s.write("odd.bin", "odd bytes\n")
	file := "a ~!@^&()-_+[]{};,.é"
	s.aws(admin(), append([]string{"publish-package-version", "--package-version", "1+(2)'*~%é", "--asset-name", file, "--asset-content", asset,
		"--asset-sha256", sha256Hex("odd bytes\n")}, where...)...).good()
	got := s.aws(admin(), append([]string{"describe-package-version", "--package-version", "1+(2)'*~%é"}, where...)...).json()
	same(t, "AWS CLI: package", got.at("packageVersion.packageName"), oddName)
	in := &codeartifact.GetPackageVersionAssetInput{Domain: aws.String("c1-wire"), Repository: aws.String("odd"), Format: types.PackageFormatGeneric,
		Namespace: aws.String(oddName), Package: aws.String(oddName), PackageVersion: aws.String("1+(2)'*~%é"), Asset: aws.String(file)}
	out, err := s.sdk(admin()).GetPackageVersionAsset(t.Context(), in)
	if err != nil {
		t.Fatalf("SDK for Go: %v", err)
	}
	defer out.Asset.Close()
	if body, err := io.ReadAll(out.Asset); err != nil || string(body) != "odd bytes\n" {
		t.Errorf("SDK for Go: got %q, %v", body, err)
	}
	said := s.boto(admin(), fmt.Sprintf("print(ca.describe_package_version(domain='c1-wire', repository='odd', format='generic', namespace=%q, package=%q, packageVersion=\"1+(2)'*~%%é\")['packageVersion']['version'])", oddName, oddName)).good()
	same(t, "boto3: version", said.out, "1+(2)'*~%é\n")

	unsigned := s.aws(admin(), "describe-domain", "--domain", "c1-wire", "--no-sign-request")
	unsigned.bad("MissingAuthenticationToken")
	s.aws(keyPair{id: adminKeyID, secret: "another secret than the right one"}, "describe-domain", "--domain", "c1-wire").bad("InvalidSignatureException")
	s.aws(keyPair{id: "AKIANOBODYHASTHISKEY", secret: adminSecret}, "describe-domain", "--domain", "c1-wire").bad("UnrecognizedClientException")
	checkFlips(t, s)
}

// checkFlips signs requests as the SDK for Go does and changes one byte after.
func checkFlips(t *testing.T, s *site) {
	body := `{"maxResults":10}`
	send := func(change func(rq *http.Request, body *string)) (int, string) {
		rq, err := http.NewRequestWithContext(t.Context(), "POST", s.base+"/v1/domains", nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Content-Type", "application/json")
		text := body
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: adminKeyID, SecretAccessKey: adminSecret}, rq, sha256Hex(body), "codeartifact", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		change(rq, &text)
		rq.Body, rq.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		resp, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.Header.Get("X-Amzn-Errortype")
	}
	flip := func(rq *http.Request, from, to string) {
		auth := rq.Header.Get("Authorization")
		rq.Header.Set("Authorization", strings.Replace(auth, from, to, 1))
	}
	for _, c := range []struct {
		name   string
		status int
		code   string
		change func(rq *http.Request, body *string)
	}{
		{"nothing changed", 200, "", func(*http.Request, *string) {}},
		{"signature", 403, "InvalidSignatureException", func(rq *http.Request, _ *string) {
			auth := rq.Header.Get("Authorization")
			last := auth[len(auth)-1]
			rq.Header.Set("Authorization", auth[:len(auth)-1]+string("0123456789abcdef0"[strings.IndexByte("0123456789abcdef", last)+1]))
		}},
		{"body", 403, "InvalidSignatureException", func(_ *http.Request, body *string) { *body = `{"maxResults":11}` }},
		{"query", 403, "InvalidSignatureException", func(rq *http.Request, _ *string) { rq.URL.RawQuery = "x=y" }},
		{"path", 403, "InvalidSignatureException", func(rq *http.Request, _ *string) { rq.URL.Path = "/v1/repositories" }},
		{"signed header", 403, "InvalidSignatureException", func(rq *http.Request, _ *string) { rq.Header.Set("Content-Type", "application/jso") }},
		{"another service", 403, "", func(rq *http.Request, _ *string) { flip(rq, "/codeartifact/", "/execute-api/") }},
		{"no Authorization", 403, "MissingAuthenticationTokenException", func(rq *http.Request, _ *string) { rq.Header.Del("Authorization") }},
	} {
		status, code := send(c.change)
		if status != c.status || c.code != "" && code != c.code {
			t.Errorf("%s: got %d %s, want %d %s", c.name, status, code, c.status, c.code)
		}
	}
}

// checkSessions: the AWS CLI assumes a role with a token of the identity provider
// and signs with the session that it gets.
func checkSessions(t *testing.T, s *site) {
	role := "arn:aws:iam::" + siteOwner + ":role/build"
	tokenFile := s.write("web.jwt", s.identityToken(t, "repo:app"))
	env := []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_ROLE_ARN=" + role, "AWS_WEB_IDENTITY_TOKEN_FILE=" + tokenFile, "AWS_ROLE_SESSION_NAME=job"}
	got := s.aws(keyPair{}, append(env, "describe-domain", "--domain", "main")...).json()
	same(t, "domain", got.at("domain.name"), "main")

	session := s.assume(t, role, s.identityToken(t, "repo:app"))
	if _, err := s.sdk(session).DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("main")}); err != nil {
		t.Errorf("SDK for Go with a session: %v", err)
	}
	for name, broken := range map[string]keyPair{
		"no session token":    {session.id, session.secret, ""},
		"another secret":      {session.id, adminSecret, session.session},
		"a changed token":     {session.id, session.secret, session.session[:len(session.session)-8] + "AAAAAAAA"},
		"another's key":       {adminKeyID, session.secret, session.session},
		"token with its key":  {adminKeyID, adminSecret, session.session},
		"a token of nobody's": {session.id, session.secret, "nonsense"},
	} {
		if _, err := s.sdk(broken).DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("main")}); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
	if _, err := s.tryAssume(role, s.identityToken(t, "repo:other")); err == nil {
		t.Error("a job of another repository could assume the role")
	}
}

func checkGoDecodes(t *testing.T, s *site) {
	ca := s.sdk(admin())
	tok, err := ca.GetAuthorizationToken(t.Context(), &codeartifact.GetAuthorizationTokenInput{Domain: aws.String("main")})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(*tok.Expiration); left < 11*time.Hour || left > 13*time.Hour {
		t.Errorf("the token expires %s from now, want 12 h", left)
	}
	d, err := ca.DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("main")})
	if err != nil {
		t.Fatal(err)
	}
	if ago := time.Since(*d.Domain.CreatedTime); ago < -time.Minute || ago > time.Hour {
		t.Errorf("the domain was created %s ago", ago)
	}
	same(t, "owner", *d.Domain.Owner, siteOwner)
	same(t, "boto3", s.boto(admin(), "print(ca.describe_domain(domain='main')['domain']['createdTime'].year > 2020)").good().out, "True\n")
}

func checkTypedErrors(t *testing.T, s *site) {
	_, err := s.sdk(admin()).DescribeDomain(t.Context(), &codeartifact.DescribeDomainInput{Domain: aws.String("nowhere")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a ResourceNotFoundException", err)
	}
	same(t, "resourceType", missing.ResourceType, types.ResourceTypeDomain)
	same(t, "resourceId", aws.ToString(missing.ResourceId), "nowhere")
	_, err = s.sdk(admin()).DescribeRepository(t.Context(), &codeartifact.DescribeRepositoryInput{Domain: aws.String("main"), Repository: aws.String("nowhere")})
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a ResourceNotFoundException", err)
	}
	same(t, "resourceType", missing.ResourceType, types.ResourceTypeRepository)
	s.boto(admin(), "try:\n    ca.describe_domain(domain='nowhere')\nexcept ca.exceptions.ResourceNotFoundException as e:\n    print(e.response['resourceType'], e.response['resourceId'])\n").good()
}

// throttler is a gate that has had enough.
type throttler struct{ asked atomic.Int64 }

func (g *throttler) Identify(*http.Request, bool) (api.Caller, error) {
	g.asked.Add(1)
	return api.Caller{}, &api.APIError{Code: "ThrottlingException", Message: "Rate exceeded", RetryAfter: time.Second}
}
func (*throttler) Allow(context.Context, api.Caller, api.Ask) error { return errors.New("not asked") }
func (*throttler) Token(context.Context, api.Caller, string, string, int, bool) (string, time.Time, error) {
	return "", time.Time{}, errors.New("not asked")
}
func (*throttler) CheckPolicy(string, api.Kind) error { return errors.New("not asked") }

// checkThrottling: a node has no rates of its own, so the handler of the API is
// given a gate that refuses, in this process; the quota is the node's.
func checkThrottling(t *testing.T, s *site) {
	db, err := store.Open(store.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cat, err := catalog.New(catalog.Config{Store: db, Domain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	gate := &throttler{}
	h, err := api.New(api.Config{Catalog: cat, Gate: gate, Backend: apiBackend{}, Endpoint: func(*http.Request) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	s.aws(admin(), "AWS_MAX_ATTEMPTS=3", "AWS_RETRY_MODE=standard", "--endpoint-url", srv.URL, "describe-domain", "--domain", "main").bad("ThrottlingException", "Rate exceeded")
	same(t, "requests for one throttled command", gate.asked.Load(), 3)

	s.makeDomain("c4-quota")
	var ups []string
	for i := range 11 {
		ups = append(ups, fmt.Sprintf("up%d", i))
		s.makeRepository("c4-quota", ups[i])
	}
	s.aws(admin(), append([]string{"create-repository", "--domain", "c4-quota", "--repository", "too-many"}, upstreamArgs(ups)...)...).bad("ServiceQuotaExceededException")
}

func checkValidation(t *testing.T, s *site) {
	s.makeDomain("c5-valid")
	s.makeRepository("c5-valid", "repo")
	on := []string{"--domain", "c5-valid", "--repository", "repo"}
	large := s.write("large.json", `{"Version":"2012-10-17","Statement":[]}`+strings.Repeat(" ", 7169-39))
	if info, err := os.Stat(large); err != nil || info.Size() != 7169 {
		t.Fatalf("the large policy is not 7169 bytes: %v, %v", info.Size(), err)
	}
	for _, args := range [][]string{
		append([]string{"get-repository-endpoint", "--format", "golang"}, on...),
		append([]string{"describe-package", "--format", "npm", "--package", "a/b"}, on...),
		append([]string{"list-package-versions", "--format", "npm", "--package", "a#b"}, on...),
		{"describe-domain", "--domain", "UPPER"},
		{"create-domain", "--domain", "ends-with-"},
		{"describe-domain", "--domain", "c5-valid", "--domain-owner", "12345678901x"},
		{"get-authorization-token", "--domain", "c5-valid", "--duration-seconds", "60"},
		{"get-authorization-token", "--domain", "c5-valid", "--duration-seconds", "43201"},
		{"put-domain-permissions-policy", "--domain", "c5-valid", "--policy-document", "file://" + large},
		{"put-domain-permissions-policy", "--domain", "c5-valid", "--policy-document", "{"},
		{"put-domain-permissions-policy", "--domain", "c5-valid", "--policy-document", `{"Version":"2012-10-17","Statement":[{"Effect":"Maybe"}]}`},
		append([]string{"describe-package", "--format", "maven", "--package", "app"}, on...),
		{"create-repository", "--domain", "c5-valid", "--repository", "_starts-wrong"},
		{"list-packages", "--domain", "c5-valid", "--repository", "repo", "--max-results", "1001"},
		{"tag-resource", "--resource-arn", "arn:aws:s3:::bucket", "--tags", "key=a,value=b"},
	} {
		s.aws(admin(), args...).bad("ValidationException")
	}
	_, err := s.sdk(admin()).GetAuthorizationToken(t.Context(), &codeartifact.GetAuthorizationTokenInput{Domain: aws.String("c5-valid"), DurationSeconds: aws.Int64(60)})
	var invalid *types.ValidationException
	if !errors.As(err, &invalid) || invalid.Reason != types.ValidationExceptionReasonFieldValidationFailed {
		t.Errorf("SDK for Go: got %v, want a ValidationException for a field", err)
	}
}

func checkUnknownPath(t *testing.T, s *site) {
	// The CLI appends its path to that of the endpoint.
	for _, prefix := range []string{"/v1/nowhere", "/v1"} {
		o := s.aws(admin(), "--endpoint-url", s.base+prefix, "describe-domain", "--domain", "main").bad("An error occurred (")
		if strings.Contains(o.err, "<") {
			t.Errorf("below %s the CLI shows markup:\n%s", prefix, o.err)
		}
	}
	for _, path := range []string{"/v1/nowhere", "/v1/", "/v1/domain/", "/v1/%00", "/v1/../v1/domain", "/v1/domain/permissions/policies"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := s.request(method, path, "", nil)
			if ct := r.header.Get("Content-Type"); r.status < 400 || r.status >= 500 || !strings.HasPrefix(ct, "application/json") || !strings.HasPrefix(r.body, "{") {
				t.Errorf("%s %s: got %d, %s: %.80q", method, path, r.status, ct, r.body)
			}
		}
	}
}

func checkEndpointSettings(t *testing.T, s *site) {
	nobody := "http://127.0.0.1:1"
	for _, args := range [][]string{
		{"AWS_ENDPOINT_URL=" + nobody, "AWS_ENDPOINT_URL_CODEARTIFACT=" + s.base},
		{"AWS_ENDPOINT_URL=" + nobody, "AWS_ENDPOINT_URL_CODEARTIFACT=" + nobody, "--endpoint-url", s.base},
		{"AWS_ENDPOINT_URL=" + s.base},
	} {
		got := s.aws(admin(), append(args, "describe-domain", "--domain", "main")...).json()
		same(t, strings.Join(args, " "), got.at("domain.name"), "main")
	}
}
