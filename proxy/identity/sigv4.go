package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Keys finds long-lived access keys. It must be safe for concurrent use.
type Keys interface {
	// AccessKey returns the key with this id, or ErrNoKey when there is none or
	// it is disabled. Any other error is taken as a failure of the store.
	AccessKey(ctx context.Context, id string) (AccessKey, error)
}

// AccessKey is the secret half of an access key and whose it is.
type AccessKey struct {
	Secret    string
	Principal Principal
}

// SignatureConfig configures Signatures.
type SignatureConfig struct {
	Keys     Keys      // required
	Sessions *Sessions // nil: temporary credentials are refused
	Region   string    // the only region that requests may be signed for; empty means any
	// CachedKeys bounds the derived signing keys that are held (about 300 bytes
	// each). 0 means 1024.
	CachedKeys int
	Now        func() time.Time // nil means time.Now
}

// Signatures verifies AWS Signature Version 4. It is safe for concurrent use.
type Signatures struct {
	cfg     SignatureConfig
	derived *bounded[signingScope, [sha256.Size]byte]
	nobody  string // the secret that unknown keys are checked against
}

// signingScope is what a signing key is derived from.
type signingScope struct{ secret, date, region, service string }

// Check says what a verified request must be.
type Check struct {
	Service string // "codeartifact" or "sts"
	// Stream leaves the body on the wire: the declared digest is what the
	// signature is checked with, and r.Body fails at its end when the bytes were
	// others. Without it the body is read, and given back on r.Body.
	Stream bool
	// MaxBody bounds a body that is read, in bytes. 0 means 1 MiB.
	MaxBody int64
	// AllowUnsigned accepts UNSIGNED-PAYLOAD from a TLS connection.
	AllowUnsigned bool
}

// Caller is who signed a request.
type Caller struct {
	Principal Principal
	KeyID     string
	Region    string
}

const defaultMaxBody = 1 << 20

// NewSignatures returns a verifier.
func NewSignatures(cfg SignatureConfig) (*Signatures, error) {
	if cfg.Keys == nil {
		return nil, errors.New("signatures need a source of access keys")
	}
	if cfg.CachedKeys < 0 {
		return nil, fmt.Errorf("cached keys must not be negative: %d", cfg.CachedKeys)
	}
	if cfg.CachedKeys == 0 {
		cfg.CachedKeys = 1024
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Signatures{cfg: cfg, derived: newBounded[signingScope, [sha256.Size]byte](cfg.CachedKeys), nobody: rand.Text()}, nil
}

// Verify says who signed r, which must still be as net/http parsed it: its URL,
// Host and Header untouched. With Check.Stream the signature is proven, but
// the body only once it was read to its end without an error.
//
// A refusal is an *Error with AWS's code and status; any other error is a
// failure of the body or of Keys. An unknown key costs what a wrong signature
// costs: its request is checked to the end against a secret that nobody knows.
func (s *Signatures) Verify(r *http.Request, c Check) (*Caller, error) {
	a, err := s.authorization(r, c)
	if err != nil {
		return nil, err
	}
	signedAt, err := s.checkDate(r, a)
	if err != nil {
		return nil, err
	}
	payload, err := declaredHash(r, c)
	if err != nil {
		return nil, err
	}
	key, refusal, err := s.key(r, a.keyID)
	if err != nil {
		return nil, err
	}
	bodyHash := ""
	if !c.Stream {
		limit := c.MaxBody
		if limit <= 0 {
			limit = defaultMaxBody
		}
		if bodyHash, err = bufferBody(r, limit); err != nil {
			return nil, err
		}
		if payload.text == "" {
			payload.text = bodyHash
		}
	}
	canonical, err := canonicalRequest(r, a.signed, payload.text)
	if err != nil {
		return nil, err
	}
	want := s.sign(key.Secret, a, signedAt, canonical)
	genuine := subtle.ConstantTimeCompare([]byte(want), []byte(a.signature)) == 1
	switch {
	case refusal != nil:
		return nil, refusal
	case !genuine:
		return nil, invalidSignature("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	case !c.Stream && !payload.unknown && subtle.ConstantTimeCompare([]byte(bodyHash), []byte(payload.text)) != 1:
		return nil, invalidSignature("The SHA-256 of the body is not the one in x-amz-content-sha256.")
	}
	if c.Stream && !payload.unknown {
		r.Body = newCheckedBody(r, payload.text)
	}
	return &Caller{Principal: key.Principal, KeyID: a.keyID, Region: a.region}, nil
}

// authorization finds and parses the one signature of a request.
func (s *Signatures) authorization(r *http.Request, c Check) (authorization, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		if strings.Contains(r.URL.RawQuery, "X-Amz-Signature=") {
			return authorization{}, incomplete("Presigned requests are not accepted; sign with an Authorization header.")
		}
		return authorization{}, missingToken()
	}
	if len(values) > 1 {
		return authorization{}, incomplete("There is more than one Authorization header.")
	}
	a, err := parseAuthorization(values[0])
	switch {
	case err != nil:
		return a, err
	case a.service != c.Service:
		return a, invalidSignature("Credential should be scoped to correct service: '%s'.", c.Service)
	case s.cfg.Region != "" && a.region != s.cfg.Region:
		return a, invalidSignature("Credential should be scoped to a valid region, not '%s'.", a.region)
	}
	return a, nil
}

// checkDate holds the date of the request against the credential's and ours.
func (s *Signatures) checkDate(r *http.Request, a authorization) (time.Time, error) {
	at, err := requestTime(r.Header)
	if err != nil {
		return at, err
	}
	if day := at.Format("20060102"); day != a.date {
		return at, invalidSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", a.date, day)
	}
	now := s.cfg.Now().UTC()
	if oldest := now.Add(-Skew); at.Before(oldest) {
		return at, invalidSignature("Signature expired: %s is now earlier than %s (%s - 5 min.)", at.Format(amzDate), oldest.Format(amzDate), now.Format(amzDate))
	}
	if newest := now.Add(Skew); at.After(newest) {
		return at, invalidSignature("Signature not yet current: %s is still later than %s (%s + 5 min.)", at.Format(amzDate), newest.Format(amzDate), now.Format(amzDate))
	}
	return at, nil
}

// key finds the secret to check with. A refusal still comes with a secret, so
// that the caller goes the whole way.
func (s *Signatures) key(r *http.Request, id string) (key AccessKey, refusal, err error) {
	tokens := r.Header["X-Amz-Security-Token"]
	temporary := strings.HasPrefix(id, sessionPrefix)
	switch {
	case temporary && s.cfg.Sessions != nil && len(tokens) == 1:
		key, refusal = s.cfg.Sessions.lookup(id, tokens[0])
	case temporary || len(tokens) > 0:
		refusal = unrecognized(nil)
	default:
		key, err = s.cfg.Keys.AccessKey(r.Context(), id)
		switch {
		case errors.Is(err, ErrNoKey):
			refusal, err = unrecognized(nil), nil
		case err != nil:
			return key, nil, fmt.Errorf("find access key: %w", err)
		case key.Secret == "":
			refusal = unrecognized(nil)
		}
	}
	if refusal != nil {
		key = AccessKey{Secret: s.nobody}
	}
	return key, refusal, err
}

// sign computes the signature in hex.
func (s *Signatures) sign(secret string, a authorization, at time.Time, canonical []byte) string {
	scope := signingScope{secret, a.date, a.region, a.service}
	key, ok := s.derived.get(scope)
	if !ok {
		key = deriveKey(scope)
		s.derived.put(scope, key)
	}
	sum := sha256.Sum256(canonical)
	text := make([]byte, 0, 256)
	text = append(text, sigAlgorithm+"\n"...)
	text = at.AppendFormat(text, amzDate)
	text = append(text, '\n')
	text = append(text, a.date+"/"+a.region+"/"+a.service+"/"+sigTerminal+"\n"...)
	text = hex.AppendEncode(text, sum[:])
	signature := hmacSHA256(key[:], text)
	return hex.EncodeToString(signature[:])
}

// deriveKey is the chain from secret to signing key.
func deriveKey(s signingScope) [sha256.Size]byte {
	k := hmacSHA256([]byte("AWS4"+s.secret), []byte(s.date))
	k = hmacSHA256(k[:], []byte(s.region))
	k = hmacSHA256(k[:], []byte(s.service))
	return hmacSHA256(k[:], []byte(sigTerminal))
}

func hmacSHA256(key, text []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	h.Sum(sum[:0])
	return sum
}
