package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FederationConfig configures a Federation.
type FederationConfig struct {
	Issuers    []WebIssuer
	Roles      []Role
	Sessions   *Sessions   // required
	Signatures *Signatures // of GetCallerIdentity; required
	// Assumed, if set, hears of every attempt to assume a role, for the audit
	// log: p is nil and err is not when it failed.
	Assumed func(r *http.Request, role string, p *Principal, err error)
	// Failed, if set, hears of every failure of ours behind an answer of 500.
	Failed func(r *http.Request, err error)
	Now    func() time.Time // nil means time.Now
}

// Federation speaks the part of AWS STS that needs no account at AWS:
// AssumeRoleWithWebIdentity and GetCallerIdentity (STS API reference,
// 2011-06-15). It is an http.Handler, and safe for concurrent use.
type Federation struct {
	cfg       FederationConfig
	providers map[string]*provider
	roles     map[string]Role
	parser    *jwt.Parser
}

// NewFederation checks the configuration. It asks no provider for anything.
func NewFederation(cfg FederationConfig) (*Federation, error) {
	if cfg.Sessions == nil || cfg.Signatures == nil {
		return nil, errors.New("federation needs sessions and signatures")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Federation{cfg: cfg, providers: map[string]*provider{}, roles: map[string]Role{}}
	for _, w := range cfg.Issuers {
		p, err := newProvider(w, cfg.Now)
		if err != nil {
			return nil, err
		}
		if f.providers[w.URL] != nil {
			return nil, fmt.Errorf("identity provider %s is configured twice", w.URL)
		}
		f.providers[w.URL] = p
	}
	for _, r := range cfg.Roles {
		if err := r.check(f.providers); err != nil {
			return nil, err
		}
		if _, twice := f.roles[r.ARN]; twice {
			return nil, fmt.Errorf("role %s is configured twice", r.ARN)
		}
		f.roles[r.ARN] = r
	}
	f.parser = jwt.NewParser(jwt.WithValidMethods(webAlgorithms()), jwt.WithLeeway(Skew), jwt.WithIssuedAt(),
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithTimeFunc(cfg.Now))
	return f, nil
}

// Assumption is the outcome of AssumeRoleWithWebIdentity.
type Assumption struct {
	Credentials Credentials
	Subject     string // "sub" of the web identity
	Audience    string // the "aud" that was accepted
	Provider    string // its issuer
}

// AssumeRoleWithWebIdentity exchanges a provider's token for a session of role.
// seconds is 0 (an hour, or the role's maximum if that is less) or 900 to what
// the role allows. All errors are *Error, in STS's words. Whether a role exists
// is only told to whoever may assume it.
func (f *Federation) AssumeRoleWithWebIdentity(ctx context.Context, role, session, token string, seconds int) (*Assumption, error) {
	switch {
	case len(role) < 20 || len(role) > 2048:
		return nil, stsInvalid("roleArn must have 20 to 2048 characters")
	case !sessionName.MatchString(session):
		return nil, stsInvalid("roleSessionName must have 2 to 64 characters of [\\w+=,.@-]")
	case len(token) < 4 || len(token) > maxWebToken:
		return nil, stsInvalid("webIdentityToken must have 4 to %d characters", maxWebToken)
	case seconds != 0 && (seconds < MinLifeSeconds || seconds > MaxLifeSeconds):
		return nil, stsInvalid("durationSeconds must be between %d and %d", MinLifeSeconds, MaxLifeSeconds)
	}
	w, err := f.verifyWeb(ctx, token)
	if err != nil {
		return nil, webError(err)
	}
	r, ok := f.roles[role]
	if !ok || !r.trusts(w) {
		return nil, &Error{Code: "AccessDenied", Status: 403, Message: "Not authorized to perform sts:AssumeRoleWithWebIdentity"}
	}
	longest := r.MaxSession
	if longest == 0 {
		longest = defaultRoleSeconds * time.Second
	}
	life := time.Duration(seconds) * time.Second
	if seconds == 0 {
		life = min(longest, defaultRoleSeconds*time.Second)
	}
	if life > longest {
		return nil, stsInvalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	c, err := f.cfg.Sessions.Open(role, session, life)
	if err != nil {
		return nil, &Error{Code: "InternalFailure", Status: 500, Message: "The session could not be made.", cause: err}
	}
	return &Assumption{Credentials: *c, Subject: w.subject, Audience: w.audience, Provider: w.issuer}, nil
}

// webError says in STS's words why a provider's token was refused.
func webError(err error) error {
	e := &Error{Code: "InvalidIdentityToken", Status: 400, Message: "The web identity token that was passed could not be validated.", cause: err}
	switch {
	case errors.Is(err, errProvider):
		e.Code, e.Message = "IDPCommunicationError", "The keys of the identity provider could not be retrieved."
	case errors.Is(err, errUnknownIssuer):
		e.Message = "No OpenIDConnect provider found in your account for this issuer."
	case errors.Is(err, errAudience):
		e.Message = "Incorrect token audience"
	case errors.Is(err, jwt.ErrTokenExpired):
		e.Code, e.Message = "ExpiredTokenException", "Token expired"
	}
	return e
}

func stsInvalid(format string, args ...any) error {
	return &Error{Code: "ValidationError", Status: 400, Message: fmt.Sprintf(format, args...)}
}

// parseSeconds reads DurationSeconds; absent is 0.
func parseSeconds(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < MinLifeSeconds || n > MaxLifeSeconds {
		return 0, stsInvalid("durationSeconds must be between %d and %d", MinLifeSeconds, MaxLifeSeconds)
	}
	return n, nil
}
