package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	idpURL   = "https://token.idp.example"
	audience = "sts.larder.example"
)

// fakeIDP is an identity provider: keys by id, and a count of who asked.
type fakeIDP struct {
	mu    sync.Mutex
	keys  map[string]crypto.Signer
	err   error
	asked int
}

func newFakeIDP(t testing.TB) *fakeIDP {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeIDP{keys: map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey, "ed": testKey("idp")}}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf writes a public key as a JWK.
func jwkOf(id string, pub crypto.PublicKey) map[string]string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": id, "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		raw, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		n := len(raw) / 2
		return map[string]string{"kty": "EC", "kid": id, "crv": k.Curve.Params().Name, "x": b64(raw[1 : n+1]), "y": b64(raw[n+1:]), "alg": "ES256"}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "kid": id, "crv": "Ed25519", "x": b64(k)}
	}
	panic("no such key")
}

func (f *fakeIDP) Keys(context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.err != nil {
		return nil, f.err
	}
	set := map[string]any{}
	keys := []any{map[string]string{"kty": "oct", "kid": "hmac", "k": "AAAA"}, map[string]string{"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"}}
	for id, k := range f.keys {
		keys = append(keys, jwkOf(id, k.Public()))
	}
	set["keys"] = keys
	return json.Marshal(set)
}

// token signs claims with the key kid by the method that fits it.
func (f *fakeIDP) token(t testing.TB, kid string, claims jwt.MapClaims) string {
	t.Helper()
	method := map[string]jwt.SigningMethod{"rsa": jwt.SigningMethodRS256, "ec": jwt.SigningMethodES256, "ed": jwt.SigningMethodEdDSA}[kid]
	return forged(t, method, f.keys[kid], map[string]any{"kid": kid}, claims)
}

// runClaims is what a CI system says of a run, with changes.
func runClaims(now time.Time, more ...any) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": idpURL, "aud": audience, "sub": "repo:acme/widget:ref:refs/heads/main", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Unix() + 600,
		"repository": "acme/widget", "repository_id": "4711", "ref": "refs/heads/main", "run_attempt": 1, "protected": true, "groups": []string{"dev", "release"},
	}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(c, more[i].(string))
		} else {
			c[more[i].(string)] = more[i+1]
		}
	}
	return c
}

// newFederation is a site that trusts idp.
func newFederation(t testing.TB, idp KeySource, change ...func(*FederationConfig)) (*site, *Federation) {
	t.Helper()
	s := newSite(t)
	cfg := FederationConfig{
		Issuers: []WebIssuer{{URL: idpURL, Audiences: []string{audience, "second"}, Algorithms: []string{"RS256", "ES256", "EdDSA"}, Keys: idp}},
		Roles: []Role{{ARN: publishRole, MaxSession: 2 * time.Hour, Trust: []Trust{
			{Issuer: idpURL, Claims: map[string][]string{"repository_id": {"4711"}, "sub": {"repo:acme/*:ref:refs/heads/main", "repo:acme/*:ref:refs/tags/v?*"}}},
		}}},
		Sessions: s.sessions, Signatures: s.signatures, Now: s.clock.now,
	}
	for _, c := range change {
		c(&cfg)
	}
	return s, must[*Federation](t)(NewFederation(cfg))
}

// stsCall posts a form to the handler.
func stsCall(h http.Handler, form url.Values) (int, string) {
	r := httptest.NewRequest("POST", "http://larder.example/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func assumeForm(token string, more ...string) url.Values {
	v := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {publishRole}, "RoleSessionName": {"run-1"}, "WebIdentityToken": {token}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// assumed is the part of the answer that SDKs read.
type assumed struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
	Result  struct {
		SubjectFromWebIdentityToken, Audience, Provider string
		AssumedRoleUser                                 struct{ Arn, AssumedRoleId string }
		Credentials                                     struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }
	} `xml:"AssumeRoleWithWebIdentityResult"`
}

func TestAssumeRole(t *testing.T) {
	idp := newFakeIDP(t)
	var heard []string
	s, f := newFederation(t, idp, func(c *FederationConfig) {
		c.Assumed = func(_ *http.Request, role string, p *Principal, err error) {
			if p != nil {
				role += " " + p.ARN
			}
			heard = append(heard, role)
		}
	})
	for _, kid := range []string{"rsa", "ec", "ed"} {
		status, body := stsCall(f, assumeForm(idp.token(t, kid, runClaims(s.clock.now())), "DurationSeconds", "900"))
		if status != 200 {
			t.Fatalf("%s: %d %s", kid, status, body)
		}
		var a assumed
		if err := xml.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		r := a.Result
		if r.SubjectFromWebIdentityToken != "repo:acme/widget:ref:refs/heads/main" || r.Audience != audience || r.Provider != idpURL ||
			r.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/publish/run-1" || !strings.HasSuffix(r.AssumedRoleUser.AssumedRoleId, ":run-1") ||
			r.Credentials.Expiration != "2015-08-30T12:51:00Z" {
			t.Errorf("%s: %s", kid, body)
		}
		c := &Credentials{AccessKeyID: r.Credentials.AccessKeyId, SecretAccessKey: r.Credentials.SecretAccessKey, SessionToken: r.Credentials.SessionToken}
		if _, err := s.signatures.Verify(signedBy(t, awsCredentials(c), s.clock.now()), Check{Service: "codeartifact"}); err != nil {
			t.Errorf("%s: %v", kid, err)
		}
	}
	if len(heard) != 3 || heard[0] != publishRole+" arn:aws:sts::123456789012:assumed-role/publish/run-1" {
		t.Errorf("the audit heard %v", heard)
	}
	if idp.asked != 1 {
		t.Errorf("the provider was asked %d times", idp.asked)
	}
	r := httptest.NewRequest("GET", "http://larder.example/?"+assumeForm(idp.token(t, "ec", runClaims(s.clock.now(), "aud", []string{"x", "second"}))).Encode(), nil)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<Audience>second</Audience>") || !strings.Contains(w.Body.String(), "2015-08-30T13:36:00Z") {
		t.Errorf("by GET: %d %s", w.Code, w.Body)
	}
}

func TestAssumeRoleRefusals(t *testing.T) {
	idp := newFakeIDP(t)
	s, f := newFederation(t, idp)
	now := s.clock.now()
	rsaPub := idp.keys["rsa"].Public()
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(rsaPub))
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	kid := func(id string) map[string]any { return map[string]any{"kid": id} }
	good := idp.token(t, "rsa", runClaims(now))
	tok := func(more ...any) url.Values { return assumeForm(idp.token(t, "rsa", runClaims(now, more...))) }
	skew := int64(Skew / time.Second)
	other := testKey("other idp")
	for _, tt := range []struct {
		name   string
		form   url.Values
		code   string
		status int
	}{
		{"alg none", assumeForm(forged(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid("rsa"), runClaims(now))), "InvalidIdentityToken", 400},
		{"HS256 with the public key", assumeForm(forged(t, jwt.SigningMethodHS256, rsaPEM, kid("rsa"), runClaims(now))), "InvalidIdentityToken", 400},
		{"algorithm not allowed", assumeForm(forged(t, jwt.SigningMethodRS512, idp.keys["rsa"], kid("rsa"), runClaims(now))), "InvalidIdentityToken", 400},
		{"key of another algorithm", assumeForm(forged(t, jwt.SigningMethodRS256, idp.keys["rsa"], kid("ec"), runClaims(now))), "InvalidIdentityToken", 400},
		{"unknown key id", assumeForm(forged(t, jwt.SigningMethodEdDSA, other, kid("new"), runClaims(now))), "InvalidIdentityToken", 400},
		{"no key id", assumeForm(forged(t, jwt.SigningMethodRS256, idp.keys["rsa"], nil, runClaims(now))), "InvalidIdentityToken", 400},
		{"symmetric key of the set", assumeForm(forged(t, jwt.SigningMethodHS256, []byte{0, 0, 0}, kid("hmac"), runClaims(now))), "InvalidIdentityToken", 400},
		{"forged", assumeForm(forged(t, jwt.SigningMethodEdDSA, other, kid("ed"), runClaims(now))), "InvalidIdentityToken", 400},
		{"critical extension", assumeForm(forged(t, jwt.SigningMethodRS256, idp.keys["rsa"], map[string]any{"kid": "rsa", "crit": []string{"x"}}, runClaims(now))), "InvalidIdentityToken", 400},
		{"expired", tok("exp", now.Unix()-skew), "ExpiredTokenException", 400},
		{"no expiry", tok("exp", nil), "InvalidIdentityToken", 400},
		{"future nbf", tok("nbf", now.Unix()+skew+1), "InvalidIdentityToken", 400},
		{"future iat", tok("iat", now.Unix()+skew+1), "InvalidIdentityToken", 400},
		{"no iat", tok("iat", nil), "InvalidIdentityToken", 400},
		{"no subject", tok("sub", nil), "InvalidIdentityToken", 400},
		{"wrong audience", tok("aud", "elsewhere"), "InvalidIdentityToken", 400},
		{"empty audience", tok("aud", ""), "InvalidIdentityToken", 400},
		{"no audience", tok("aud", nil), "InvalidIdentityToken", 400},
		{"unknown issuer", tok("iss", idpURL+"/"), "InvalidIdentityToken", 400},
		{"no issuer", tok("iss", nil), "InvalidIdentityToken", 400},
		{"garbage", assumeForm("not.a.token"), "InvalidIdentityToken", 400},
		{"other repository of the same name", tok("repository_id", "4712"), "AccessDenied", 403},
		{"claim missing", tok("repository_id", nil), "AccessDenied", 403},
		{"claim is an object", tok("repository_id", map[string]any{"4711": "4711"}), "AccessDenied", 403},
		{"not anchored at the front", tok("sub", "xrepo:acme/widget:ref:refs/heads/main"), "AccessDenied", 403},
		{"not anchored at the end", tok("sub", "repo:acme/widget:ref:refs/heads/main2"), "AccessDenied", 403},
		{"other organisation", tok("sub", "repo:acme2/widget:ref:refs/heads/main"), "AccessDenied", 403},
		{"unknown role", assumeForm(good, "RoleArn", "arn:aws:iam::123456789012:role/nobody"), "AccessDenied", 403},
		{"role without its path", assumeForm(good, "RoleArn", "arn:aws:iam::123456789012:role/publish"), "AccessDenied", 403},
		{"short role", assumeForm(good, "RoleArn", "publish"), "ValidationError", 400},
		{"bad session name", assumeForm(good, "RoleSessionName", "a/b"), "ValidationError", 400},
		{"no session name", assumeForm(good, "RoleSessionName", ""), "ValidationError", 400},
		{"no token", assumeForm(""), "ValidationError", 400},
		{"long token", assumeForm(strings.Repeat("a", maxWebToken+1)), "ValidationError", 400},
		{"899 seconds", assumeForm(good, "DurationSeconds", "899"), "ValidationError", 400},
		{"zero seconds", assumeForm(good, "DurationSeconds", "0"), "ValidationError", 400},
		{"longer than the role allows", assumeForm(good, "DurationSeconds", "7201"), "ValidationError", 400},
		{"seconds in words", assumeForm(good, "DurationSeconds", "1h"), "ValidationError", 400},
		{"session policy", assumeForm(good, "Policy", "{}"), "ValidationError", 400},
		{"managed session policy", assumeForm(good, "PolicyArns.member.1.arn", "x"), "ValidationError", 400},
		{"twice a parameter", url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "RoleArn": {publishRole, publishRole}}, "ValidationError", 400},
		{"other action", assumeForm(good, "Action", "AssumeRole"), "InvalidAction", 400},
		{"no action", url.Values{}, "MissingAction", 400},
		{"other version", assumeForm(good, "Version", "2010-01-01"), "InvalidAction", 400},
		{"caller without a signature", url.Values{"Action": {"GetCallerIdentity"}}, "MissingAuthenticationToken", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := stsCall(f, tt.form)
			var e struct {
				XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
				Type      string   `xml:"Error>Type"`
				Code      string   `xml:"Error>Code"`
				Message   string   `xml:"Error>Message"`
				RequestID string   `xml:"RequestId"`
			}
			if err := xml.Unmarshal([]byte(body), &e); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if status != tt.status || e.Code != tt.code || e.Type != "Sender" || e.Message == "" || len(e.RequestID) != 36 {
				t.Errorf("got %d %s, want %d %s", status, body, tt.status, tt.code)
			}
			if strings.Contains(body, "AccessKeyId") {
				t.Errorf("credentials in %s", body)
			}
		})
	}
	if status, body := stsCall(f, assumeForm(good)); status != 200 {
		t.Errorf("the good one: %d %s", status, body)
	}
	// An unknown key id asked again once, the rest of them not at all.
	if idp.asked > 2 {
		t.Errorf("the provider was asked %d times", idp.asked)
	}
}

func TestNoAudienceIsNotAnyAudience(t *testing.T) {
	idp := newFakeIDP(t)
	s, f := newFederation(t, idp, func(c *FederationConfig) { c.Issuers[0].Audiences = nil })
	for _, aud := range []any{audience, "", nil, []string{}} {
		if status, body := stsCall(f, assumeForm(idp.token(t, "ec", runClaims(s.clock.now(), "aud", aud)))); status != 400 || !strings.Contains(body, "InvalidIdentityToken") {
			t.Errorf("%v: %d %s", aud, status, body)
		}
	}
}

// TestRefetchIsBounded: unknown key ids are free to invent, questions are not.
func TestRefetchIsBounded(t *testing.T) {
	idp := newFakeIDP(t)
	s, f := newFederation(t, idp)
	call := func(kid string) int {
		status, _ := stsCall(f, assumeForm(idp.token(t, kid, runClaims(s.clock.now()))))
		return status
	}
	unknown := assumeForm(forged(t, jwt.SigningMethodEdDSA, testKey("x"), map[string]any{"kid": "x"}, runClaims(s.clock.now())))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { stsCall(f, unknown) })
	}
	wg.Wait()
	if idp.asked != 1 {
		t.Errorf("50 unknown keys asked %d times", idp.asked)
	}
	// A key that the provider began to use is found after the pause.
	delete(idp.keys, "ed")
	idp.keys["ed2"] = testKey("idp, next")
	rolled := assumeForm(forged(t, jwt.SigningMethodEdDSA, idp.keys["ed2"], map[string]any{"kid": "ed2"}, runClaims(s.clock.now())))
	if got, _ := stsCall(f, rolled); got != 400 {
		t.Errorf("before the pause: %d", got)
	}
	s.clock.add(refetchPause)
	if got, _ := stsCall(f, rolled); got != 200 || idp.asked != 2 {
		t.Errorf("after the pause: %d, asked %d times", got, idp.asked)
	}
	if got, _ := stsCall(f, unknown); got != 400 || idp.asked != 2 {
		t.Errorf("an unknown one after it: %d, asked %d times", got, idp.asked)
	}
	// Without an answer the old keys go on for a day.
	idp.err = errors.New("no route")
	s.clock.add(keysFresh + time.Second)
	if got := call("ec"); got != 200 || idp.asked != 3 {
		t.Errorf("with old keys: %d, asked %d times", got, idp.asked)
	}
	if got := call("ec"); got != 200 || idp.asked != 3 {
		t.Errorf("again: %d, asked %d times", got, idp.asked)
	}
	s.clock.add(keysUsable)
	for range 3 {
		status, body := stsCall(f, assumeForm(idp.token(t, "ec", runClaims(s.clock.now()))))
		if status != 400 || !strings.Contains(body, "IDPCommunicationError") || strings.Contains(body, "no route") {
			t.Errorf("with keys of two days ago: %d %s", status, body)
		}
	}
	idp.err = nil
	s.clock.add(refetchPause)
	if got := call("ec"); got != 200 {
		t.Errorf("when the provider is back: %d", got)
	}
}

func TestTrustPatterns(t *testing.T) {
	claims := map[string]any{"s": "repo:acme/widget", "n": json.Number("7"), "b": true, "l": []any{"dev", "release", []any{"nested"}}, "o": map[string]any{"x": "x"}, "null": nil}
	for _, tt := range []struct {
		name, pattern string
		want          bool
	}{
		{"s", "repo:acme/widget", true}, {"s", "repo:acme/*", true}, {"s", "repo:*/widget", true}, {"s", "repo:acme/widge?", true}, {"s", "*", true},
		{"s", "repo:acme", false}, {"s", "repo:acme/widget?", false}, {"s", "acme/widget", false}, {"s", "REPO:acme/widget", false}, {"s", "*x", false},
		{"n", "7", true}, {"n", "7.0", false}, {"b", "true", true}, {"b", "false", false},
		{"l", "release", true}, {"l", "rel*", true}, {"l", "admin", false}, {"l", "nested", false},
		{"o", "*", false}, {"null", "*", false}, {"absent", "*", false},
	} {
		if got := (Trust{Claims: map[string][]string{tt.name: {tt.pattern}}}).matches(claims); got != tt.want {
			t.Errorf("%s ~ %q: %v", tt.name, tt.pattern, got)
		}
	}
	if (Trust{}).matches(claims) {
		t.Error("a trust without claims matches")
	}
	if glob(strings.Repeat("*a", 1000)+"b", strings.Repeat("a", 10000)) {
		t.Error("a pattern that cannot match does")
	}
}

func TestFederationConfigRefusals(t *testing.T) {
	trust := func(claims map[string][]string) func(*FederationConfig) {
		return func(c *FederationConfig) { c.Roles[0].Trust[0].Claims = claims }
	}
	for name, change := range map[string]func(*FederationConfig){
		"no claims":           trust(nil),
		"only a wildcard":     trust(map[string][]string{"sub": {"*"}}),
		"one of two is open":  trust(map[string][]string{"sub": {"repo:acme/*", "*"}}),
		"only the audience":   trust(map[string][]string{"aud": {audience}}),
		"no pattern":          trust(map[string][]string{"sub": {"x"}, "ref": {}}),
		"empty pattern":       trust(map[string][]string{"sub": {"x"}, "ref": {""}}),
		"unknown issuer":      func(c *FederationConfig) { c.Roles[0].Trust[0].Issuer = "https://other.example" },
		"symmetric algorithm": func(c *FederationConfig) { c.Issuers[0].Algorithms = []string{"HS256"} },
		"no algorithm":        func(c *FederationConfig) { c.Issuers[0].Algorithms = []string{"none"} },
		"issuer twice":        func(c *FederationConfig) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
		"role twice":          func(c *FederationConfig) { c.Roles = append(c.Roles, c.Roles[0]) },
		"no URL":              func(c *FederationConfig) { c.Issuers[0].URL = "token.idp.example" },
		"no keys":             func(c *FederationConfig) { c.Issuers[0].Keys = nil },
		"empty audience":      func(c *FederationConfig) { c.Issuers[0].Audiences = []string{""} },
		"user as role":        func(c *FederationConfig) { c.Roles[0].ARN = alice().ARN },
		"long sessions":       func(c *FederationConfig) { c.Roles[0].MaxSession = 13 * time.Hour },
		"no sessions":         func(c *FederationConfig) { c.Sessions = nil },
	} {
		s := newSite(t)
		cfg := FederationConfig{
			Issuers:  []WebIssuer{{URL: idpURL, Audiences: []string{audience}, Keys: newFakeIDPKeys()}},
			Roles:    []Role{{ARN: publishRole, Trust: []Trust{{Issuer: idpURL, Claims: map[string][]string{"sub": {"x"}}}}}},
			Sessions: s.sessions, Signatures: s.signatures,
		}
		if _, err := NewFederation(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := NewFederation(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func newFakeIDPKeys() KeySource {
	return &fakeIDP{keys: map[string]crypto.Signer{"ed": testKey("idp")}}
}

func TestGetCallerIdentity(t *testing.T) {
	s, f := newFederation(t, newFakeIDP(t))
	const form = "Action=GetCallerIdentity&Version=2011-06-15"
	call := func(change func(*http.Request)) (int, string) {
		r := httptest.NewRequest("POST", "http://larder.example/", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sign(t, r, suiteCredentials(), sha256Hex(form), "sts", s.clock.now())
		change(r)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	status, body := call(func(*http.Request) {})
	if status != 200 || !strings.Contains(body, "<Arn>"+alice().ARN+"</Arn>") || !strings.Contains(body, "<Account>123456789012</Account>") ||
		!strings.Contains(body, "<UserId>AIDA") || !strings.Contains(body, `xmlns="`+stsNamespace+`"`) {
		t.Errorf("%d %s", status, body)
	}
	status, body = call(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(form + "&x=1")) })
	if status != 403 || !strings.Contains(body, "<Code>SignatureDoesNotMatch</Code>") {
		t.Errorf("%d %s", status, body)
	}
	failed := error(nil)
	f.cfg.Failed = func(_ *http.Request, err error) { failed = err }
	s.signatures.cfg.Keys = brokenKeys{}
	status, body = call(func(*http.Request) {})
	if status != 500 || !strings.Contains(body, "<Code>InternalFailure</Code>") || strings.Contains(body, "gone") || !errors.Is(failed, errStore) {
		t.Errorf("%d %s, %v", status, body, failed)
	}
}

func TestFormRefusals(t *testing.T) {
	_, f := newFederation(t, newFakeIDP(t))
	for _, tt := range []struct {
		method, contentType, body string
		status                    int
	}{
		{"PUT", "application/x-www-form-urlencoded", "", 405},
		{"POST", "application/json", "{}", 400},
		{"POST", "", "Action=GetCallerIdentity", 400},
		{"POST", "application/x-www-form-urlencoded", "Action=%zz", 400},
		{"POST", "application/x-www-form-urlencoded", "a;b", 400},
		{"POST", "application/x-www-form-urlencoded", strings.Repeat("x", maxSTSForm+1), 413},
	} {
		r := httptest.NewRequest(tt.method, "http://larder.example/", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.contentType, w.Code, w.Body)
		}
	}
}

func TestFileKeys(t *testing.T) {
	idp := newFakeIDP(t)
	path := filepath.Join(t.TempDir(), "jwks.json")
	s, f := newFederation(t, FileKeys(path))
	form := assumeForm(idp.token(t, "ec", runClaims(s.clock.now())))
	if status, body := stsCall(f, form); status != 400 || !strings.Contains(body, "IDPCommunicationError") || strings.Contains(body, path) {
		t.Errorf("without a file: %d %s", status, body)
	}
	if err := os.WriteFile(path, must[[]byte](t)(idp.Keys(context.Background())), 0o644); err != nil {
		t.Fatal(err)
	}
	s.clock.add(refetchPause)
	if status, body := stsCall(f, form); status != 200 {
		t.Errorf("with it: %d %s", status, body)
	}
}

func TestDiscoveredKeys(t *testing.T) {
	idp := newFakeIDP(t)
	var srv *httptest.Server
	doc, jwks := "", func() []byte { return must[[]byte](t)(idp.Keys(context.Background())) }
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			io.WriteString(w, doc)
		case "/jwks":
			w.Write(jwks())
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	keys := func(issuer string) error {
		_, err := DiscoveredKeys{Issuer: issuer, Client: srv.Client()}.Keys(context.Background())
		return err
	}
	doc = `{"issuer":"` + srv.URL + `","jwks_uri":"` + srv.URL + `/jwks"}`
	text, err := DiscoveredKeys{Issuer: srv.URL, Client: srv.Client()}.Keys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if set, err := parseJWKS(text); err != nil || len(set) != 3 {
		t.Errorf("got %d keys, %v", len(set), err)
	}
	for name, d := range map[string]string{
		"other issuer": `{"issuer":"https://evil.example","jwks_uri":"` + srv.URL + `/jwks"}`,
		"no issuer":    `{"jwks_uri":"` + srv.URL + `/jwks"}`,
		"file":         `{"issuer":"` + srv.URL + `","jwks_uri":"file:///etc/passwd"}`,
		"relative":     `{"issuer":"` + srv.URL + `","jwks_uri":"/jwks"}`,
		"absent":       `{"issuer":"` + srv.URL + `","jwks_uri":"` + srv.URL + `/gone"}`,
		"not JSON":     `<html>`,
		"huge":         `{"x":"` + strings.Repeat("x", maxJWKS) + `"}`,
	} {
		doc = d
		if err := keys(srv.URL); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := (func() error {
		_, err := DiscoveredKeys{Issuer: "https://idp.example"}.Keys(context.Background())
		return err
	})(); err == nil {
		t.Error("without a client it dials")
	}
}

// TestKeyIsForItsAlgorithm: a key of the set verifies what it says it is for.
func TestKeyIsForItsAlgorithm(t *testing.T) {
	_, f := newFederation(t, newFakeIDP(t))
	for _, tt := range []struct {
		kid, alg string
		ok       bool
	}{{"rsa", "RS256", true}, {"rsa", "PS512", true}, {"rsa", "ES256", false}, {"ec", "ES256", true}, {"ec", "ES384", false}, {"ed", "EdDSA", true},
		{"ed", "RS256", false}, {"enc", "RS256", false}, {"hmac", "HS256", false}, {"none", "none", false}} {
		if k, err := f.providers[idpURL].key(context.Background(), tt.kid, tt.alg); (err == nil) != tt.ok || tt.ok == (k == nil) {
			t.Errorf("%s for %s: %v, %v", tt.kid, tt.alg, k, err)
		}
	}
}

func TestKeySetRefusals(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec := jwkOf("k", must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public())
	with := func(k map[string]string, name, value string) map[string]string {
		out := map[string]string{}
		for n, v := range k {
			out[n] = v
		}
		out[name] = value
		return out
	}
	for name, keys := range map[string][]map[string]string{
		"none":                 {},
		"small RSA":            {jwkOf("k", small.Public())},
		"huge RSA":             {{"kty": "RSA", "kid": "k", "n": strings.Repeat("_", 2000), "e": "AQAB"}},
		"even exponent":        {{"kty": "RSA", "kid": "k", "n": strings.Repeat("_", 342), "e": "Ag"}},
		"not on the curve":     {with(ec, "x", ec["y"])},
		"short coordinate":     {with(ec, "x", ec["x"][:20])},
		"other curve":          {with(ec, "crv", "secp256k1")},
		"algorithm of another": {with(ec, "alg", "RS256")},
		"for encryption":       {with(ec, "use", "enc")},
		"without id":           {with(ec, "kid", "")},
		"symmetric":            {{"kty": "oct", "kid": "k", "k": "AAAA"}},
		"short Ed25519":        {{"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": "AAAA"}},
		"two under one id":     {ec, ec},
	} {
		text := must[[]byte](t)(json.Marshal(map[string]any{"keys": keys}))
		if set, err := parseJWKS(text); err == nil {
			t.Errorf("%s: %v", name, set)
		}
	}
}

func FuzzWebToken(f *testing.F) {
	idp := newFakeIDP(f)
	s, fed := newFederation(f, idp)
	good := idp.token(f, "ed", runClaims(s.clock.now()))
	f.Add(good)
	f.Add("e30.bnVsbA.")
	f.Add(good[:len(good)-4])
	f.Fuzz(func(t *testing.T, token string) {
		if w, err := fed.verifyWeb(context.Background(), token); err == nil && token != good {
			t.Fatalf("%q is accepted: %+v", token, w)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add(must[[]byte](f)(newFakeIDP(f).Keys(context.Background())))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-521","kid":"x","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseJWKS(text)
		for id, k := range set {
			if err != nil || id == "" || k.key == nil || len(k.algs) == 0 {
				t.Fatalf("%q: %v, %v", id, k, err)
			}
		}
	})
}
