package identity

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const publishRole = "arn:aws:iam::123456789012:role/ci/publish"

// signedBy is a request signed with temporary credentials.
func signedBy(t testing.TB, c aws.Credentials, at time.Time) *http.Request {
	t.Helper()
	r := httptest.NewRequest("GET", "http://larder.example/v1/domain?domain=main", nil)
	sign(t, r, c, emptySHA256, "codeartifact", at)
	return r
}

func awsCredentials(c *Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

func TestSessionSignsRequests(t *testing.T) {
	s := newSite(t)
	c := must[*Credentials](t)(s.sessions.Open(publishRole, "run-1", time.Hour))
	if len(c.AccessKeyID) != 20 || !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.SecretAccessKey) != 40 {
		t.Errorf("credentials look like %+v", c)
	}
	caller, err := s.signatures.Verify(signedBy(t, awsCredentials(c), s.clock.now()), Check{Service: "codeartifact"})
	if err != nil {
		t.Fatal(err)
	}
	want := Principal{ARN: "arn:aws:sts::123456789012:assumed-role/publish/run-1", Account: owner, Name: "publish/run-1", Kind: KindRole,
		Role: publishRole, Session: c.AccessKeyID[4:], Expires: s.clock.now().Add(time.Hour)}
	if caller.Principal != want || c.Principal != want {
		t.Errorf("got %+v, want %+v", caller.Principal, want)
	}
	// A bearer token made from it goes when the session is revoked.
	token, _, err := s.issuer.Issue(caller.Principal, "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.verifier.Verify(token, "main", owner); err != nil {
		t.Fatal(err)
	}
	if _, err := s.revoked.Merge(s.clock.now(), Revocation{RevokeToken, want.Session, s.clock.now().Unix()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.verifier.Verify(token, "main", owner); !errors.Is(err, ErrRevoked) {
		t.Errorf("got %v", err)
	}
	_, err = s.signatures.Verify(signedBy(t, awsCredentials(c), s.clock.now()), Check{Service: "codeartifact"})
	wantCode(t, err, CodeUnrecognizedClient, 403)
}

func TestSessionRefusals(t *testing.T) {
	s := newSite(t)
	mine := awsCredentials(must[*Credentials](t)(s.sessions.Open(publishRole, "run-1", time.Hour)))
	theirs := awsCredentials(must[*Credentials](t)(s.sessions.Open(publishRole, "run-2", time.Hour)))
	bearer, _, err := s.issuer.Issue(ciRun(), "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// The other site has the same name and secret, but keys that nobody trusts.
	other := newSite(t)
	other.issuer.cfg.Key = testKey("mallory")
	foreign := awsCredentials(must[*Credentials](t)(other.sessions.Open(publishRole, "run-1", time.Hour)))
	// And this one has our key, but another secret.
	secretless := newSite(t)
	secretless.sessions = must[*Sessions](t)(NewSessions(SessionConfig{Issuer: s.issuer, Verifier: s.verifier, Secrets: [][]byte{make([]byte, 32)}, Now: s.clock.now}))
	unknownSecret := awsCredentials(must[*Credentials](t)(secretless.sessions.Open(publishRole, "run-1", time.Hour)))
	with := func(c aws.Credentials, change func(*aws.Credentials)) aws.Credentials {
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name string
		c    aws.Credentials
		code string
	}{
		{"no token", with(mine, func(c *aws.Credentials) { c.SessionToken = "" }), CodeUnrecognizedClient},
		{"token of another session", with(mine, func(c *aws.Credentials) { c.SessionToken = theirs.SessionToken }), CodeUnrecognizedClient},
		{"key id of another session", with(mine, func(c *aws.Credentials) { c.AccessKeyID = theirs.AccessKeyID }), CodeUnrecognizedClient},
		{"secret of another session", with(mine, func(c *aws.Credentials) { c.SecretAccessKey = theirs.SecretAccessKey }), CodeInvalidSignature},
		{"bearer token", with(mine, func(c *aws.Credentials) { c.SessionToken = bearer }), CodeUnrecognizedClient},
		{"token of another issuer", foreign, CodeUnrecognizedClient},
		{"unknown secret", unknownSecret, CodeUnrecognizedClient},
		{"garbage", with(mine, func(c *aws.Credentials) { c.SessionToken = "FwoGZXIvYXdzE" }), CodeUnrecognizedClient},
		{"long-lived key with a session's token", with(suiteCredentials(), func(c *aws.Credentials) { c.SessionToken = mine.SessionToken }), CodeUnrecognizedClient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.signatures.Verify(signedBy(t, tt.c, s.clock.now()), Check{Service: "codeartifact"})
			wantCode(t, err, tt.code, 403)
		})
	}
	if _, err := s.verifier.VerifyAnyDomain(mine.SessionToken); !errors.Is(err, ErrMalformed) {
		t.Errorf("a session's token opens the data plane: %v", err)
	}
	t.Run("expired", func(t *testing.T) {
		verify := func() error {
			_, err := s.signatures.Verify(signedBy(t, mine, s.clock.now()), Check{Service: "codeartifact"})
			return err
		}
		s.clock.add(time.Hour + Skew - time.Second)
		if err := verify(); err != nil {
			t.Error(err)
		}
		s.clock.add(time.Second)
		wantCode(t, verify(), CodeExpiredToken, 403)
		s.verifier.cache = newBounded[[32]byte, verified](8) // and the same without the cache
		wantCode(t, verify(), CodeExpiredToken, 403)
	})
	t.Run("no sessions", func(t *testing.T) {
		s := newSite(t)
		s.signatures.cfg.Sessions = nil
		_, err := s.signatures.Verify(signedBy(t, mine, s.clock.now()), Check{Service: "codeartifact"})
		wantCode(t, err, CodeUnrecognizedClient, 403)
	})
}

// TestSessionSecretRotation: sessions of the former secret live on.
func TestSessionSecretRotation(t *testing.T) {
	s := newSite(t)
	old, fresh := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	open := func(secrets ...[]byte) *Sessions {
		return must[*Sessions](t)(NewSessions(SessionConfig{Issuer: s.issuer, Verifier: s.verifier, Secrets: secrets, Now: s.clock.now}))
	}
	before := must[*Credentials](t)(open(old).Open(publishRole, "run-1", time.Hour))
	after := must[*Credentials](t)(open(fresh, old).Open(publishRole, "run-1", time.Hour))
	for _, c := range []*Credentials{before, after} {
		k, err := open(fresh, old).lookup(c.AccessKeyID, c.SessionToken)
		if err != nil || k.Secret != c.SecretAccessKey {
			t.Errorf("got %v, %v", k, err)
		}
	}
	_, err := open(old).lookup(after.AccessKeyID, after.SessionToken)
	wantCode(t, err, CodeUnrecognizedClient, 403)
}

func TestOpenRefusals(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		role, name string
		life       time.Duration
	}{
		{"arn:aws:iam::123456789012:user/alice", "run", time.Hour},
		{"arn:aws:iam::1234:role/x", "run", time.Hour},
		{"arn:aws:iam::123456789012:role/", "run", time.Hour},
		{"publish", "run", time.Hour},
		{publishRole, "a/b", time.Hour},
		{publishRole, "x", time.Hour},
		{publishRole, "", time.Hour},
		{publishRole, "run\n", time.Hour},
		{publishRole, "run", time.Minute},
		{publishRole, "run", 13 * time.Hour},
	} {
		if c, err := s.sessions.Open(tt.role, tt.name, tt.life); err == nil {
			t.Errorf("%+v: got %+v", tt, c)
		}
	}
}
