package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxWebToken = 20000 // STS API reference: WebIdentityToken, in bytes

	keysFresh    = time.Hour        // a key set is asked for anew after this
	keysUsable   = 24 * time.Hour   // and used this long when nobody answers
	refetchPause = time.Minute      // between two questions, whatever asks
	fetchTimeout = 10 * time.Second // for one question
)

// Why a web-identity token is refused.
var (
	errUnknownIssuer = errors.New("no identity provider of this name")
	errAudience      = errors.New("token is for another audience")
	errProvider      = errors.New("identity provider's keys cannot be had")
)

// WebIssuer is an identity provider whose tokens are accepted.
type WebIssuer struct {
	URL string // "iss", compared byte by byte; https, or http for a provider on the own network
	// Audiences lists what "aud" may be. An empty list accepts nothing.
	Audiences []string
	// Algorithms may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
	// ES512 and EdDSA. Empty means RS256 and ES256.
	Algorithms []string
	Keys       KeySource // FileKeys, DiscoveredKeys or the caller's own
}

// webAlgorithms is every algorithm that can be allowed: none is symmetric.
func webAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// provider is a WebIssuer with what it is known by.
type provider struct {
	WebIssuer
	now   func() time.Time
	keys  atomic.Pointer[providerKeys]
	fetch chan struct{} // holds the right to ask; guards asked
	asked time.Time
}

// providerKeys is a key set as it was at a time. It is never changed.
type providerKeys struct {
	byID map[string]webKey
	at   time.Time
}

// Validate reports what would keep a Federation from using the issuer.
func (w WebIssuer) Validate() error {
	_, err := newProvider(w, time.Now)
	return err
}

func newProvider(w WebIssuer, now func() time.Time) (*provider, error) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("identity provider %q is no URL of an issuer", w.URL)
	}
	if w.Keys == nil {
		return nil, fmt.Errorf("identity provider %s has no source of keys", w.URL)
	}
	if len(w.Algorithms) == 0 {
		w.Algorithms = []string{"RS256", "ES256"}
	}
	for _, a := range w.Algorithms {
		if !slices.Contains(webAlgorithms(), a) {
			return nil, fmt.Errorf("identity provider %s: algorithm %q cannot be allowed", w.URL, a)
		}
	}
	if slices.Contains(w.Audiences, "") {
		return nil, fmt.Errorf("identity provider %s: an audience is empty", w.URL)
	}
	return &provider{WebIssuer: w, now: now, fetch: make(chan struct{}, 1)}, nil
}

// key finds the key of a token. An unknown id asks the provider again, but all
// callers together do so at most once in refetchPause.
func (p *provider) key(ctx context.Context, id, alg string) (any, error) {
	set := p.keys.Load()
	if set == nil || p.now().Sub(set.at) > keysFresh || set.byID[id].key == nil {
		if err := p.refresh(ctx, set); err != nil {
			return nil, err
		}
		if set = p.keys.Load(); set == nil || p.now().Sub(set.at) > keysUsable {
			return nil, errProvider
		}
	}
	k, ok := set.byID[id]
	if !ok || !k.fits(alg) {
		return nil, fmt.Errorf("no key %q for %s", id, alg)
	}
	return k.key, nil
}

// refresh asks for the keys, unless another caller did since seen was loaded, or
// it is too soon. A provider that does not answer is an error only when
// nothing usable is held.
func (p *provider) refresh(ctx context.Context, seen *providerKeys) error {
	select {
	case p.fetch <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errProvider, ctx.Err())
	}
	defer func() { <-p.fetch }()
	now := p.now()
	if p.keys.Load() != seen || !p.asked.IsZero() && now.Sub(p.asked) < refetchPause && !now.Before(p.asked) {
		return nil
	}
	p.asked = now
	// Others wait for the answer, so it does not end with the one who asks.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	text, err := p.Keys.Keys(ctx)
	if err == nil {
		var byID map[string]webKey
		if byID, err = parseJWKS(text); err == nil {
			p.keys.Store(&providerKeys{byID: byID, at: now})
			return nil
		}
	}
	if seen != nil && now.Sub(seen.at) <= keysUsable {
		return nil
	}
	return fmt.Errorf("%w: %w", errProvider, err)
}

// webClaims is a verified token of a provider.
type webClaims struct {
	issuer, subject, audience string
	all                       jwt.MapClaims
}

// verifyWeb checks a provider's token: signature, issuer, audience and dates.
func (f *Federation) verifyWeb(ctx context.Context, token string) (*webClaims, error) {
	if len(token) > maxWebToken {
		return nil, ErrMalformed
	}
	claims := jwt.MapClaims{}
	var p *provider
	_, err := f.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		issuer, err := claims.GetIssuer()
		if err != nil {
			return nil, err
		}
		if p = f.providers[issuer]; p == nil {
			return nil, errUnknownIssuer
		}
		id, _ := t.Header["kid"].(string)
		if id == "" || t.Header["crit"] != nil || !slices.Contains(p.Algorithms, t.Method.Alg()) {
			return nil, errors.New("key id, algorithm or extension is not acceptable")
		}
		return p.key(ctx, id, t.Method.Alg())
	})
	if err != nil {
		return nil, err
	}
	w := &webClaims{issuer: p.URL, all: claims}
	if w.subject, err = claims.GetSubject(); err != nil || w.subject == "" {
		return nil, fmt.Errorf("%w: no subject", ErrMalformed)
	}
	if issued, err := claims.GetIssuedAt(); err != nil || issued == nil {
		return nil, fmt.Errorf("%w: no iat", ErrMalformed)
	}
	audiences, err := claims.GetAudience()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for _, a := range audiences {
		if slices.Contains(p.Audiences, a) {
			w.audience = a
			return w, nil
		}
	}
	return nil, errAudience
}
