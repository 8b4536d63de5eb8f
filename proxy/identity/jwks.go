package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// maxJWKS bounds a key set and a discovery document, in bytes.
const maxJWKS = 1 << 20

// KeySource is where an identity provider's public keys come from. It must be
// safe for concurrent use.
type KeySource interface {
	// Keys returns the provider's key set (RFC 7517) as it stands now.
	Keys(ctx context.Context) ([]byte, error)
}

// FileKeys reads a key set from a file, each time anew.
type FileKeys string

// Keys implements KeySource.
func (f FileKeys) Keys(context.Context) ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(file)
}

// DiscoveredKeys asks the issuer for its key set (OpenID Connect Discovery 1.0,
// section 4).
type DiscoveredKeys struct {
	Issuer string
	Client *http.Client // required: dials, guards and bounds time
}

// Keys implements KeySource. The document must name this very issuer, and its
// key set must not lie under a weaker scheme.
func (d DiscoveredKeys) Keys(ctx context.Context) ([]byte, error) {
	text, err := d.get(ctx, strings.TrimSuffix(d.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, fmt.Errorf("discover keys of %s: %w", d.Issuer, err)
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("discover keys of %s: %w", d.Issuer, err)
	}
	if doc.Issuer != d.Issuer {
		return nil, fmt.Errorf("discover keys of %s: its document is of issuer %q", d.Issuer, doc.Issuer)
	}
	u, err := url.Parse(doc.JWKS)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && strings.HasPrefix(d.Issuer, "http://")) {
		return nil, fmt.Errorf("discover keys of %s: jwks_uri %q is not usable", d.Issuer, doc.JWKS)
	}
	if text, err = d.get(ctx, doc.JWKS); err != nil {
		return nil, fmt.Errorf("fetch keys of %s: %w", d.Issuer, err)
	}
	return text, nil
}

func (d DiscoveredKeys) get(ctx context.Context, url string) ([]byte, error) {
	if d.Client == nil {
		return nil, errors.New("no client to ask with")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := d.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return readBounded(resp.Body)
}

func readBounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxJWKS+1))
	if err == nil && len(text) > maxJWKS {
		err = errors.New("document is too large")
	}
	return text, err
}

// jwk is one key of a set (RFC 7517, 7518, 8037).
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	Curve string `json:"crv"`
	N     string `json:"n"`
	E     string `json:"e"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// webKey is a usable key of a set with the algorithms that it is for.
type webKey struct {
	key  crypto.PublicKey
	algs []string
}

// fits reports that the key may verify alg.
func (k webKey) fits(alg string) bool {
	for _, a := range k.algs {
		if a == alg {
			return true
		}
	}
	return false
}

// parseJWKS reads the keys of a set by id. Keys of other kinds or uses are
// passed over, as RFC 7517 section 5 wants; two keys under one id are an error.
func parseJWKS(text []byte) (map[string]webKey, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	keys := map[string]webKey{}
	for _, j := range set.Keys {
		if j.ID == "" || j.Use != "" && j.Use != "sig" {
			continue
		}
		k, ok := j.parse()
		if !ok {
			continue
		}
		if _, twice := keys[j.ID]; twice {
			return nil, fmt.Errorf("parse key set: two keys have the id %q", j.ID)
		}
		keys[j.ID] = k
	}
	if len(keys) == 0 {
		return nil, errors.New("parse key set: it holds no key that can verify")
	}
	return keys, nil
}

func (j jwk) parse() (webKey, bool) {
	var k webKey
	switch j.Type + " " + j.Curve {
	case "RSA ":
		k = webKey{rsaKey(j.N, j.E), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}}
	case "EC P-256":
		k = webKey{ecKey(elliptic.P256(), j.X, j.Y), []string{"ES256"}}
	case "EC P-384":
		k = webKey{ecKey(elliptic.P384(), j.X, j.Y), []string{"ES384"}}
	case "EC P-521":
		k = webKey{ecKey(elliptic.P521(), j.X, j.Y), []string{"ES512"}}
	case "OKP Ed25519":
		if x, ok := decodeBase64URL(j.X); ok && len(x) == ed25519.PublicKeySize {
			k = webKey{ed25519.PublicKey(x), []string{"EdDSA"}}
		}
	}
	if k.key == nil || j.Alg != "" && !k.fits(j.Alg) {
		return webKey{}, false
	}
	if j.Alg != "" {
		k.algs = []string{j.Alg}
	}
	return k, true
}

func decodeBase64URL(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return b, err == nil
}

// rsaKey refuses what is too small to trust or too large to compute with.
func rsaKey(n, e string) crypto.PublicKey {
	nb, ok := decodeBase64URL(n)
	eb, ok2 := decodeBase64URL(e)
	if !ok || !ok2 || len(nb) > 1024+1 || len(eb) > 4 {
		return nil
	}
	modulus, exponent := new(big.Int).SetBytes(nb), new(big.Int).SetBytes(eb).Int64()
	if modulus.BitLen() < 2048 || modulus.Bit(0) == 0 || exponent < 3 || exponent > 1<<31-1 || exponent%2 == 0 {
		return nil
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent)}
}

// ecKey refuses points that are not on the curve.
func ecKey(curve elliptic.Curve, x, y string) crypto.PublicKey {
	size := (curve.Params().BitSize + 7) / 8
	xb, ok := decodeBase64URL(x)
	yb, ok2 := decodeBase64URL(y)
	if !ok || !ok2 || len(xb) != size || len(yb) != size {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, xb...), yb...))
	if err != nil {
		return nil
	}
	return key
}
