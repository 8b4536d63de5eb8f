package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// providerURL is the issuer of the identity provider that every site trusts; its
// keys lie in a file, so nobody dials it.
const providerURL = "https://idp.example"

// provide makes the identity provider's key and the file that the config names.
func (s *site) provide() {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		s.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	if err != nil {
		s.Fatal(err)
	}
	s.write("idp.json", string(set))
	s.provider = key
}

// providerConfig is the identity provider and a role that the jobs of the
// subject repo:app may assume.
func providerConfig() string {
	return fmt.Sprintf(`
[[identity_provider]]
url = %q
audiences = ["larder"]
algorithms = ["ES256"]
jwks_file = "idp.json"
[[role]]
name = "build"
policies = ["publish"]
max_session = "1h"
[[role.trust]]
issuer = %q
claims = { sub = ["repo:app"] }
`, providerURL, providerURL)
}

// identityToken is what the provider gives to a job.
func (s *site) identityToken(t *testing.T, subject string) string {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": providerURL, "aud": "larder", "sub": subject, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "jti": fmt.Sprint(now.UnixNano())})
	tok.Header["kid"] = "k1"
	text, err := tok.SignedString(s.provider)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// assume gets a session of a role, by the AWS CLI.
func (s *site) assume(t *testing.T, role, token string) keyPair {
	t.Helper()
	k, err := s.tryAssume(role, token)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s *site) tryAssume(role, token string) (keyPair, error) {
	o := s.driver().do(s, "aws sts assume-role-with-web-identity", driverOrder{Env: []string{"AWS_ENDPOINT_URL=" + s.base}, Args: []string{"sts", "assume-role-with-web-identity",
		"--role-arn", role, "--role-session-name", "job", "--web-identity-token", token, "--duration-seconds", "900"}})
	if o.code != 0 {
		return keyPair{}, fmt.Errorf("%s: %s", o.what, o.err)
	}
	v := o.json()
	return keyPair{v.at("Credentials.AccessKeyId"), v.at("Credentials.SecretAccessKey"), v.at("Credentials.SessionToken")}, nil
}

// tokenID is the id of a bearer token, by which it is revoked.
func tokenID(token string) (string, error) {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	return claims.ID, err
}

// field is what stands behind a word in a program's output.
func field(t *testing.T, out, word string) string {
	t.Helper()
	for _, line := range strings.Split(out, "\n") {
		if rest, ok := strings.CutPrefix(line, word); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("nothing stands behind %q in\n%s", word, out)
	return ""
}
