package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// identityProvider is a fake OpenID provider: it serves discovery and its keys,
// and signs whatever claims a script wants.
type identityProvider struct {
	mu  sync.Mutex
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	old *rsa.PrivateKey // not in the key set
}

func newIdentityProvider() *identityProvider {
	p := &identityProvider{}
	var errs [3]error
	p.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	p.old, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	p.ec, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for _, err := range errs {
		if err != nil {
			panic(err) // there is no randomness
		}
	}
	return p
}

// ServeHTTP answers discovery and the key set.
func (p *identityProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	issuer := "http://" + r.Host
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "jwks_uri": issuer + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "ES256"}})
	case "/keys":
		_, _ = w.Write(p.keys())
	default:
		http.NotFound(w, r)
	}
}

// keys is the key set (RFC 7517).
func (p *identityProvider) keys() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := base64.RawURLEncoding.EncodeToString
	x, y := make([]byte, 32), make([]byte, 32)
	out, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": text(p.rsa.N.Bytes()), "e": text(big.NewInt(int64(p.rsa.E)).Bytes())},
		{"kty": "EC", "kid": "ec", "use": "sig", "alg": "ES256", "crv": "P-256", "x": text(p.ec.X.FillBytes(x)), "y": text(p.ec.Y.FillBytes(y))},
	}})
	if err != nil {
		panic(err) // strings can be encoded
	}
	return out
}

// sign makes a token. key names the key: rsa, ec, old (which the set does not
// have, under the id of rsa) or none (no signature at all).
func (p *identityProvider) sign(key string, claims jwt.MapClaims) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	method, private, id := jwt.SigningMethod(jwt.SigningMethodRS256), any(p.rsa), key
	switch key {
	case "ec":
		method, private = jwt.SigningMethodES256, p.ec
	case "old":
		private, id = p.old, "rsa"
	case "none":
		method, private, id = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa"
	}
	t := jwt.NewWithClaims(method, claims)
	t.Header["kid"] = id
	return t.SignedString(private)
}

// idp PROVIDER keys FILE: write the provider's key set.
// idp PROVIDER token FILE [KEY=VALUE ...]: write a token with these claims, for
// an hour from now. exp and iat are durations from now, key= names the key.
func scriptIDP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: idp PROVIDER keys|token FILE [CLAIM=VALUE ...]")
	}
	up := worldOf(ts).upstream(ts, args[0])
	p, ok := up.handler.(*identityProvider)
	if !ok {
		ts.Fatalf("upstream %q is no identity provider", args[0])
	}
	if args[1] == "keys" {
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), p.keys(), 0o644))
		return
	}
	key := "rsa"
	claims := jwt.MapClaims{"iss": up.URL, "sub": "job", "aud": "larder", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for _, arg := range args[3:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "key":
			key = value
		case "exp", "iat", "nbf":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			claims[name] = time.Now().Add(d).Unix()
		default:
			claims[name] = value
		}
	}
	token, err := p.sign(key, claims)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(token+"\n"), 0o600))
}
