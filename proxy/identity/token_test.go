package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const owner = "123456789012"

// ciRun is a session of a role.
func ciRun() Principal {
	return Principal{ARN: "arn:aws:sts::123456789012:assumed-role/ci-publish/run-1234567890", Account: owner, Name: "ci-publish/run-1234567890",
		Kind: KindRole, Role: "arn:aws:iam::123456789012:role/ci-publish", Session: "ABCDEFGHIJKLMNOP"}
}

func TestTokenRoundTrip(t *testing.T) {
	pathed := ciRun()
	pathed.Role = "arn:aws:iam::123456789012:role/teams/ci/ci-publish"
	named := alice()
	named.Name = "Alice"
	for _, p := range []Principal{alice(), named, ciRun(), pathed} {
		for _, own := range []string{owner, "000000000001"} {
			s := newSite(t)
			token, expires, err := s.issuer.Issue(p, "main", own, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.verifier.Verify(token, "main", own)
			if err != nil {
				t.Fatal(err)
			}
			if c.Principal != p || c.Domain != "main" || c.Owner != own || !c.Expires.Equal(expires) || !expires.Equal(s.clock.now().Add(time.Hour)) ||
				c.ID == "" || c.KeyID != KeyID(s.key.Public().(ed25519.PublicKey)) || !c.IssuedAt.Equal(s.clock.now()) {
				t.Errorf("%+v became %+v", p, c)
			}
			if len(token) >= 500 {
				t.Errorf("token of %s has %d bytes", p.ARN, len(token))
			}
			t.Logf("token of %s: %d bytes", p.ARN, len(token))
		}
	}
}

// forged signs claims as they come, with whatever header.
func forged(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	for k, v := range header {
		if v == nil {
			delete(tok.Header, k)
		} else {
			tok.Header[k] = v
		}
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBadTokens is the list of bad tokens that this room must refuse.
func TestBadTokens(t *testing.T) {
	s := newSite(t)
	pub := s.key.Public().(ed25519.PublicKey)
	kid := KeyID(pub)
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(pub))
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := s.clock.now().Unix()
	header := func(more ...any) map[string]any {
		h := map[string]any{"kid": kid, "typ": typBearer}
		for i := 0; i < len(more); i += 2 {
			h[more[i].(string)] = more[i+1]
		}
		return h
	}
	claims := func(more ...any) jwt.MapClaims {
		c := jwt.MapClaims{"iss": "site", "aud": "larder", "jti": "x", "sub": alice().ARN, "dom": "main", "iat": now, "exp": now + 3600}
		for i := 0; i < len(more); i += 2 {
			if more[i+1] == nil {
				delete(c, more[i].(string))
			} else {
				c[more[i].(string)] = more[i+1]
			}
		}
		return c
	}
	ed := func(h map[string]any, c jwt.MapClaims) string {
		return forged(t, jwt.SigningMethodEdDSA, s.key, h, c)
	}
	good := ed(header(), claims())
	if _, err := s.verifier.Verify(good, "main", owner); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	parts := strings.Split(good, ".")
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	skew := int64(Skew / time.Second)
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"alg none", forged(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, header(), claims()), ErrUntrusted},
		{"alg none over a good signature", encode(header("alg", "none")) + "." + parts[1] + "." + parts[2], ErrUntrusted},
		{"alg none, no signature", encode(header("alg", "None")) + "." + parts[1] + ".", ErrMalformed},
		{"HS256 with the public key", forged(t, jwt.SigningMethodHS256, []byte(pub), header(), claims()), ErrUntrusted},
		{"HS256 with the public key in PEM", forged(t, jwt.SigningMethodHS256, publicPEM, header(), claims()), ErrUntrusted},
		{"HS256 with the public key in DER", forged(t, jwt.SigningMethodHS256, der, header(), claims()), ErrUntrusted},
		{"other key under our id", forged(t, jwt.SigningMethodEdDSA, testKey("mallory"), header(), claims()), ErrUntrusted},
		{"unknown key id", forged(t, jwt.SigningMethodEdDSA, testKey("mallory"), header("kid", KeyID(testKey("mallory").Public().(ed25519.PublicKey))), claims()), ErrUntrusted},
		{"no key id", ed(header("kid", nil), claims()), ErrUntrusted},
		{"key id of another type", ed(header("kid", 7), claims()), ErrUntrusted},
		{"key in the header", forged(t, jwt.SigningMethodEdDSA, testKey("mallory"), header("kid", nil, "jwk", map[string]string{"kty": "OKP"}), claims()), ErrUntrusted},
		{"typ JWT", ed(header("typ", "JWT"), claims()), ErrMalformed},
		{"no typ", ed(header("typ", nil), claims()), ErrMalformed},
		{"a session's typ", ed(header("typ", typSession), claims()), ErrMalformed},
		{"critical extension", ed(header("crit", []string{"b64"}), claims()), ErrMalformed},
		{"expired", ed(header(), claims("iat", now-4000, "exp", now-skew)), ErrExpired},
		{"expired long ago", ed(header(), claims("iat", now-90000, "exp", now-80000)), ErrExpired},
		{"no expiry", ed(header(), claims("exp", nil)), ErrMalformed},
		{"expiry of another type", ed(header(), claims("exp", "never")), ErrMalformed},
		{"expiry in floating point", ed(header(), claims("exp", 1e300)), ErrMalformed},
		{"lives too long", ed(header(), claims("exp", now+MaxLifeSeconds+1)), ErrMalformed},
		{"future nbf", ed(header(), claims("nbf", now+skew+1)), ErrNotYet},
		{"future iat", ed(header(), claims("iat", now+skew+1)), ErrNotYet},
		{"no iat", ed(header(), claims("iat", nil)), ErrMalformed},
		{"wrong audience", ed(header(), claims("aud", "other")), ErrUntrusted},
		{"no audience", ed(header(), claims("aud", nil)), ErrMalformed},
		{"wrong issuer", ed(header(), claims("iss", "elsewhere")), ErrUntrusted},
		{"no issuer", ed(header(), claims("iss", nil)), ErrMalformed},
		{"other domain", ed(header(), claims("dom", "other")), ErrOtherDomain},
		{"same domain of another owner", ed(header(), claims("own", "000000000001")), ErrOtherDomain},
		{"no domain", ed(header(), claims("dom", nil)), ErrMalformed},
		{"no id", ed(header(), claims("jti", nil)), ErrMalformed},
		{"no subject", ed(header(), claims("sub", nil)), ErrMalformed},
		{"subject without ARN", ed(header(), claims("sub", "alice")), ErrMalformed},
		{"account of another", ed(header(), claims("acct", "000000000001")), ErrMalformed},
		{"neither user nor session", ed(header(), claims("sub", "arn:aws:s3:::bucket")), ErrMalformed},
		{"root", ed(header(), claims("sub", "arn:aws:iam::123456789012:root", "sid", "x")), ErrMalformed},
		{"user with a session", ed(header(), claims("sid", "x")), ErrMalformed},
		{"role without a session", ed(header(), claims("sub", ciRun().ARN)), ErrMalformed},
		{"empty", "", ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"four parts", good + ".", ErrMalformed},
		{"space", good + " ", ErrMalformed},
		{"padding", good + "==", ErrMalformed},
		{"too long", good + strings.Repeat("A", maxToken), ErrMalformed},
		{"not JSON", "e30.e30.e30", ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // a refusal must not be forgotten by the cache
				c, err := s.verifier.Verify(tt.token, "main", owner)
				if c != nil || !errors.Is(err, tt.want) {
					t.Errorf("got %v, %v, want %v", c, err, tt.want)
				}
			}
		})
	}
	for i := range good {
		b := []byte(good)
		if b[i] ^= 1; b[i] == '.' || good[i] == '.' {
			continue
		}
		if c, err := s.verifier.Verify(string(b), "main", owner); err == nil {
			t.Errorf("byte %d may be another: %+v", i, c)
		}
	}
	t.Run("spare bits", func(t *testing.T) {
		// The last character of 64 bytes has four bits that mean nothing.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, good[len(good)-1])
		other := good[:len(good)-1] + string(alphabet[last|1])
		if _, err := s.verifier.Verify(other, "main", owner); err == nil {
			t.Error("one token has two spellings")
		}
	})
	t.Run("within the skew", func(t *testing.T) {
		for _, c := range []jwt.MapClaims{claims("iat", now-4000, "exp", now-skew+1), claims("nbf", now+skew), claims("iat", now+skew, "exp", now+3600)} {
			if _, err := s.verifier.Verify(ed(header(), c), "main", owner); err != nil {
				t.Errorf("%v: %v", c, err)
			}
		}
	})
}

// TestPrincipalIsWhole: nobody gets a token as something that is not one thing.
func TestPrincipalIsWhole(t *testing.T) {
	s := newSite(t)
	for name, change := range map[string]func(*Principal){
		"role of another name":    func(p *Principal) { p.Role = "arn:aws:iam::123456789012:role/admin" },
		"role of another account": func(p *Principal) { p.Role = "arn:aws:iam::000000000001:role/ci-publish" },
		"no role":                 func(p *Principal) { p.Role = "" },
		"no session":              func(p *Principal) { p.Session = "" },
		"other account":           func(p *Principal) { p.Account = "000000000001" },
		"user":                    func(p *Principal) { p.Kind = KindUser },
		"no kind":                 func(p *Principal) { p.Kind = "" },
		"nothing":                 func(p *Principal) { *p = Principal{} },
		"deeper":                  func(p *Principal) { p.ARN += "/x" },
	} {
		p := ciRun()
		change(&p)
		if _, _, err := s.issuer.Issue(p, "main", owner, time.Hour); err == nil {
			t.Errorf("%s: %+v gets a token", name, p)
		}
	}
}

func TestEmptyDomainOpensNothing(t *testing.T) {
	s := newSite(t)
	token, _, err := s.issuer.Issue(alice(), "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.verifier.Verify(token, "", ""); !errors.Is(err, ErrOtherDomain) {
		t.Errorf("got %v", err)
	}
	if c, err := s.verifier.VerifyAnyDomain(token); err != nil || c.Domain != "main" {
		t.Errorf("got %v, %v", c, err)
	}
	if _, _, err := s.issuer.Issue(alice(), "", owner, time.Hour); err == nil {
		t.Error("a token for no domain was issued")
	}
	if _, _, err := s.issuer.Issue(alice(), "main", owner, 13*time.Hour); err == nil {
		t.Error("a token of 13 hours was issued")
	}
}

// TestCachedTokenIsCheckedAgain: a hit is no pass for what changes with time.
func TestCachedTokenIsCheckedAgain(t *testing.T) {
	s := newSite(t)
	issue := func() string {
		t.Helper()
		token, _, err := s.issuer.Issue(ciRun(), "main", owner, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.verifier.Verify(token, "main", owner); err != nil {
			t.Fatal(err)
		}
		return token
	}
	check := func(token string, want error) {
		t.Helper()
		if _, err := s.verifier.Verify(token, "main", owner); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	token := issue()
	check(token, nil)
	s.clock.add(time.Hour + Skew - time.Second)
	check(token, nil)
	s.clock.add(time.Second)
	check(token, ErrExpired)
	check(token, ErrExpired)

	token = issue()
	if err := s.verifier.SetKeys(publicKeys(testKey("node b"))); err != nil {
		t.Fatal(err)
	}
	check(token, ErrUntrusted)
	if err := s.verifier.SetKeys(publicKeys(testKey("node b"), s.key)); err != nil {
		t.Fatal(err)
	}
	check(token, nil)
	if err := s.verifier.SetKeys(map[string]ed25519.PublicKey{"x": testKey("node b").Public().(ed25519.PublicKey)}); err == nil {
		t.Error("a key under another id was taken")
	}
	check(token, nil)

	c, err := s.verifier.Verify(token, "main", owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Revocation{
		{RevokeToken, c.ID, s.clock.now().Unix()},
		{RevokeToken, c.Principal.Session, s.clock.now().Unix()},
		{RevokeSubject, c.Principal.ARN, s.clock.now().Unix()},
		{RevokeSubject, c.Principal.Role, s.clock.now().Unix()},
		{RevokeKey, c.KeyID, s.clock.now().Unix()},
	} {
		s.verifier.cfg.Revoked = NewRevocations()
		check(token, nil)
		if news, err := s.verifier.cfg.Revoked.Merge(s.clock.now(), e); err != nil || len(news) != 1 {
			t.Fatal(news, err)
		}
		check(token, ErrRevoked)
	}
	// What is issued after a subject's revocation is good again.
	s.verifier.cfg.Revoked = NewRevocations()
	if _, err := s.verifier.cfg.Revoked.Merge(s.clock.now(), Revocation{RevokeSubject, c.Principal.ARN, s.clock.now().Unix()}); err != nil {
		t.Fatal(err)
	}
	s.clock.add(time.Second)
	check(issue(), nil)
	check(token, ErrRevoked)
}

func TestTokenCacheIsBounded(t *testing.T) {
	s := newSite(t)
	s.verifier = must[*Verifier](t)(NewVerifier(VerifierConfig{Site: "site", Keys: publicKeys(s.key), CachedTokens: 16, Now: s.clock.now}))
	for range 100 {
		token, _, err := s.issuer.Issue(alice(), "main", owner, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.verifier.Verify(token, "main", owner); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.verifier.cache.len(); n > 16 || n == 0 {
		t.Errorf("%d tokens are held", n)
	}
}

// TestOtherNode: a token of node A opens node B that trusts it.
func TestOtherNode(t *testing.T) {
	a, b := newSite(t), newSite(t)
	b.key = testKey("node b")
	token, _, err := a.issuer.Issue(alice(), "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.verifier.SetKeys(publicKeys(b.key)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.verifier.Verify(token, "main", owner); !errors.Is(err, ErrUntrusted) {
		t.Errorf("got %v", err)
	}
	if err := b.verifier.SetKeys(publicKeys(a.key, b.key)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.verifier.Verify(token, "main", owner); err != nil {
		t.Error(err)
	}
}

func TestTokenLife(t *testing.T) {
	now := suiteTime()
	session := ciRun()
	session.Expires = now.Add(1800*time.Second + 500*time.Millisecond)
	over := ciRun()
	over.Expires = now
	for _, tt := range []struct {
		name    string
		seconds int
		p       Principal
		want    time.Duration
		code    string
	}{
		{"default", DefaultLifeSeconds, alice(), 12 * time.Hour, ""},
		{"least", 900, alice(), 15 * time.Minute, ""},
		{"0 of a key", 0, alice(), 12 * time.Hour, ""},
		{"0 of a session", 0, session, 30 * time.Minute, ""},
		{"longer than the session", 43200, session, 12 * time.Hour, ""},
		{"0 of a session that is over", 0, over, 0, CodeExpiredToken},
		{"1", 1, alice(), 0, CodeValidation},
		{"899", 899, session, 0, CodeValidation},
		{"43201", 43201, alice(), 0, CodeValidation},
		{"negative", -1, alice(), 0, CodeValidation},
	} {
		got, err := TokenLife(tt.seconds, tt.p, now)
		var e *Error
		if got != tt.want || (tt.code == "") != (err == nil) || err != nil && (!errors.As(err, &e) || e.Code != tt.code) {
			t.Errorf("%s: got %s, %v", tt.name, got, err)
		}
	}
}

// TestMergeIsUnion: in any order, any number of times, and it only widens.
func TestMergeIsUnion(t *testing.T) {
	now := suiteTime()
	at := now.Unix()
	entries := []Revocation{
		{RevokeToken, "a", at}, {RevokeToken, "b", at - 100}, {RevokeSubject, "arn:x", at - 50}, {RevokeSubject, "arn:x", at},
		{RevokeKey, "k", at - 1000000}, {RevokeToken, "long gone", at - MaxLifeSeconds - 601}, {RevokeToken, "just not gone", at - MaxLifeSeconds - 600},
	}
	one, two := NewRevocations(), NewRevocations()
	if _, err := one.Merge(now, entries...); err != nil {
		t.Fatal(err)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		for range 2 {
			if _, err := two.Merge(now, entries[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := `[{"kind":"key","id":"k","at":1439938160},{"kind":"subject","id":"arn:x","at":1440938160},{"kind":"token","id":"a","at":1440938160},` +
		`{"kind":"token","id":"b","at":1440938060},{"kind":"token","id":"just not gone","at":1440894360}]`
	for _, r := range []*Revocations{one, two} {
		if got := must[[]byte](t)(json.Marshal(r.Entries())); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if news, err := two.Merge(now, one.Entries()...); len(news) > 0 || err != nil {
		t.Errorf("a second exchange brings %v, %v", news, err)
	}
	if news, err := one.Merge(now, Revocation{"everything", "x", at}, Revocation{RevokeToken, "", at}, Revocation{RevokeToken, "c", at}); err == nil || len(news) != 1 {
		t.Errorf("got %v, %v", news, err)
	}
	if _, err := one.Merge(now.Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := one.Entries(); len(left) != 1 || left[0].Kind != RevokeKey {
		t.Errorf("a day later there are %v", left)
	}
}

func FuzzToken(f *testing.F) {
	s := newSite(f)
	// The same one in every process that fuzzes.
	token := must[string](f)(s.issuer.sign(typBearer, &Claims{
		Principal: ciRun(), Domain: "main", Owner: owner, ID: "id", IssuedAt: s.clock.now(), Expires: s.clock.now().Add(time.Hour),
	}))
	f.Add(token)
	f.Add("e30.e30.")
	f.Add(strings.Replace(token, ".", "..", 1))
	f.Fuzz(func(t *testing.T, in string) {
		for _, typ := range []string{typBearer, typSession} {
			if c, err := s.verifier.verify(typ, in); err == nil && (in != token || typ != typBearer) {
				t.Fatalf("%q is accepted as %+v", in, c)
			}
		}
	})
}

// FuzzClaims: whatever our own key signs, what comes out obeys the grammar.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"site","aud":"larder","jti":"x","sub":"arn:aws:iam::123456789012:user/a","dom":"main","iat":1440938160,"exp":1440938200}`))
	f.Add([]byte(`{"iss":"site","aud":"larder","jti":"x","sub":"arn:aws:sts::123456789012:assumed-role/r/s","dom":"d","sid":"q","iat":1440938160,"exp":1440938200}`))
	s := newSite(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		head, err := json.Marshal(map[string]string{"alg": "EdDSA", "kid": s.issuer.keyID, "typ": typBearer})
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
		token := text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(text)))
		c, err := s.verifier.VerifyAnyDomain(token)
		if err != nil {
			return
		}
		if err := checkPrincipal(c.Principal); err != nil || c.Domain == "" || c.ID == "" || c.Expires.Sub(c.IssuedAt) > maxLife {
			t.Fatalf("%s became %+v: %v", payload, c, err)
		}
	})
}
