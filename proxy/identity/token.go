package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

// Why a token is refused. All mean 401 on the data plane.
var (
	ErrMalformed   = errors.New("not a token of ours")                  // grammar, type, claims
	ErrUntrusted   = errors.New("token is not signed by a trusted key") // key id, algorithm, signature, issuer, audience
	ErrExpired     = errors.New("token is expired")
	ErrNotYet      = errors.New("token is not valid yet")
	ErrRevoked     = errors.New("token is revoked")
	ErrOtherDomain = errors.New("token is for another domain")
)

// maxToken bounds what is parsed, in bytes.
const maxToken = 4 << 10

const defaultAudience = "larder"

// IssuerConfig configures an Issuer.
type IssuerConfig struct {
	Site     string // "iss": the name that all nodes of a site share; required
	Audience string // "aud"; empty means "larder"
	Key      ed25519.PrivateKey
	Now      func() time.Time // nil means time.Now
}

// Issuer signs tokens with one key. It is safe for concurrent use.
type Issuer struct {
	cfg   IssuerConfig
	keyID string
}

// NewIssuer returns an issuer.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Site == "" {
		return nil, errors.New("token issuer has no site")
	}
	if len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("token issuer has no Ed25519 key")
	}
	if cfg.Audience == "" {
		cfg.Audience = defaultAudience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Issuer{cfg: cfg, keyID: KeyID(cfg.Key.Public().(ed25519.PublicKey))}, nil
}

// KeyID is the "kid" of a public key: 64 bits of its SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return idText(sum[:8])
}

// idText spells ids so that they can stand on a command line: base64 may begin
// with a hyphen.
func idText(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// newID makes the id of a token: 96 random bits.
func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return idText(b[:])
}

// Issue makes a bearer token that opens the domain of owner for p during life
// (see TokenLife), and says when it ends.
func (i *Issuer) Issue(p Principal, domain, owner string, life time.Duration) (token string, expires time.Time, err error) {
	if domain == "" || !isAccount(owner) {
		return "", time.Time{}, errors.New("issue token: no domain")
	}
	now := i.cfg.Now()
	c := &Claims{Principal: p, Domain: domain, Owner: owner, ID: newID(), IssuedAt: now, Expires: now.Add(life)}
	token, err = i.sign(typBearer, c)
	return token, time.Unix(c.Expires.Unix(), 0).UTC(), err
}

func (i *Issuer) sign(typ string, c *Claims) (string, error) {
	if err := checkPrincipal(c.Principal); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	w := pack(c)
	if err := w.Validate(); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	w.Issuer, w.Audience = i.cfg.Site, i.cfg.Audience
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, w)
	t.Header["kid"], t.Header["typ"] = i.keyID, typ
	s, err := t.SignedString(i.cfg.Key)
	if err == nil && len(s) > maxToken {
		err = errors.New("too long")
	}
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return s, nil
}

// TokenLife is the rule of GetAuthorizationToken: seconds is 900 to 43200 and
// then independent of the caller's session, or 0 for what is left of it (43200
// for a long-lived key). A caller that names no duration gets
// DefaultLifeSeconds. All errors are *Error.
func TokenLife(seconds int, p Principal, now time.Time) (time.Duration, error) {
	switch {
	case seconds == 0 && p.Expires.IsZero():
		return DefaultLifeSeconds * time.Second, nil
	case seconds == 0:
		left := min(p.Expires.Sub(now), maxLife).Truncate(time.Second)
		if left <= 0 {
			return 0, expiredSession(nil)
		}
		return left, nil
	case seconds < MinLifeSeconds || seconds > MaxLifeSeconds:
		return 0, invalid("durationSeconds must be 0 or between %d and %d.", MinLifeSeconds, MaxLifeSeconds)
	}
	return time.Duration(seconds) * time.Second, nil
}

// VerifierConfig configures a Verifier.
type VerifierConfig struct {
	Site     string                       // as of the issuers; required
	Audience string                       // empty means "larder"
	Keys     map[string]ed25519.PublicKey // by KeyID; may be replaced later
	Revoked  *Revocations                 // nil: nothing is revoked
	// CachedTokens bounds the verified tokens that are held (about 1 KiB each).
	// 0 means 8192.
	CachedTokens int
	Now          func() time.Time // nil means time.Now
}

// Verifier says what a token claims, when it is one of ours. It is safe for
// concurrent use.
type Verifier struct {
	cfg    VerifierConfig
	keys   atomic.Pointer[keySet]
	cache  *bounded[[sha256.Size]byte, verified]
	parser *jwt.Parser
}

// keySet is never changed; a new set makes the whole cache stale.
type keySet struct {
	byID map[string]ed25519.PublicKey
}

// verified is a token whose signature was checked under keys.
type verified struct {
	claims *Claims
	typ    string
	keys   *keySet
}

// NewVerifier returns a verifier.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if cfg.Site == "" {
		return nil, errors.New("token verifier has no site")
	}
	if cfg.CachedTokens < 0 {
		return nil, fmt.Errorf("cached tokens must not be negative: %d", cfg.CachedTokens)
	}
	if cfg.CachedTokens == 0 {
		cfg.CachedTokens = 8192
	}
	if cfg.Audience == "" {
		cfg.Audience = defaultAudience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Verifier{cfg: cfg, cache: newBounded[[sha256.Size]byte, verified](cfg.CachedTokens)}
	v.parser = jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(cfg.Site),
		jwt.WithAudience(cfg.Audience), jwt.WithLeeway(Skew), jwt.WithIssuedAt(), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(cfg.Now))
	return v, v.SetKeys(cfg.Keys)
}

// SetKeys replaces the trusted keys, for requests that begin after it returns.
// It refuses keys that are not under their own id, and then changes nothing.
func (v *Verifier) SetKeys(keys map[string]ed25519.PublicKey) error {
	for id, key := range keys {
		if len(key) != ed25519.PublicKeySize || id != KeyID(key) {
			return fmt.Errorf("key %q is not an Ed25519 key under its own id", id)
		}
	}
	v.keys.Store(&keySet{byID: maps.Clone(keys)})
	return nil
}

// Verify says what token claims, if it is a bearer token for the domain of
// owner. Errors are the sentinels above, wrapped.
func (v *Verifier) Verify(token, domain, owner string) (*Claims, error) {
	c, err := v.verify(typBearer, token)
	if err != nil {
		return nil, err
	}
	if c.Domain != domain || c.Owner != owner {
		return nil, ErrOtherDomain
	}
	return c, nil
}

// VerifyAnyDomain is Verify for places that lie in no domain; whoever then
// serves something of one must compare Claims.Domain and Claims.Owner.
func (v *Verifier) VerifyAnyDomain(token string) (*Claims, error) {
	return v.verify(typBearer, token)
}

// verify checks the signature once for each set of keys, and dates and
// revocation every time.
func (v *Verifier) verify(typ, token string) (*Claims, error) {
	if token == "" || len(token) > maxToken {
		return nil, ErrMalformed
	}
	keys := v.keys.Load()
	// The bytes are only read, so they need no copy of their own.
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
	hit, ok := v.cache.get(sum)
	if !ok || hit.keys != keys || hit.typ != typ {
		c, err := v.parse(keys, typ, token)
		if err != nil {
			return nil, err
		}
		hit = verified{claims: c, typ: typ, keys: keys}
		v.cache.put(sum, hit)
	} else if !v.cfg.Now().Before(hit.claims.Expires.Add(Skew)) {
		v.cache.remove(sum)
		return nil, ErrExpired
	}
	if v.cfg.Revoked.denies(hit.claims) {
		return nil, ErrRevoked
	}
	return hit.claims, nil
}

// parse does the whole verification but revocation.
func (v *Verifier) parse(keys *keySet, typ, token string) (*Claims, error) {
	var w wireClaims
	var keyID string
	_, err := v.parser.ParseWithClaims(token, &w, func(t *jwt.Token) (any, error) {
		if t.Header["typ"] != typ || t.Header["crit"] != nil {
			return nil, ErrMalformed
		}
		keyID, _ = t.Header["kid"].(string)
		key, ok := keys.byID[keyID]
		if !ok {
			return nil, ErrUntrusted
		}
		return key, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tokenError(err), err)
	}
	c, err := w.unpack(typ, keyID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// tokenError maps the parser's errors to ours. The order matters: a token may be
// wrong in several ways, and only one that is otherwise good is "expired".
func tokenError(err error) error {
	switch {
	case errors.Is(err, ErrUntrusted), errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenInvalidIssuer),
		errors.Is(err, jwt.ErrTokenInvalidAudience):
		return ErrUntrusted
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrNotYet
	}
	return ErrMalformed
}
