package identity

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The media types of our tokens, in the header "typ" (RFC 8725 3.11): a token
// of one use is never taken for another.
const (
	typBearer  = "larder+jwt"
	typSession = "larder-sts+jwt"
)

// Claims is what a verified token says. It is shared by all requests that bring
// the token: read only.
type Claims struct {
	Principal Principal
	Domain    string // what a bearer token opens; empty in a session
	Owner     string // of the domain, 12 digits
	ID        string // jti
	KeyID     string // of the key that signed it
	IssuedAt  time.Time
	Expires   time.Time

	secretID string // of a session: which site secret its key was derived from
}

// wireClaims is the payload of a token. It leaves out what the rest implies,
// because the stores that clients keep tokens in have small limits.
type wireClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	Subject  string `json:"sub"`            // Principal.ARN
	Name     string `json:"name,omitempty"` // unless it is the ARN's
	Account  string `json:"acct,omitempty"` // unless it is the ARN's
	Domain   string `json:"dom,omitempty"`  //
	Owner    string `json:"own,omitempty"`  // unless it is the account
	Path     string `json:"path,omitempty"` // of the role, without slashes around it; the ARN has its name
	Session  string `json:"sid,omitempty"`  // unless it is jti
	Secret   string `json:"sec,omitempty"`  //
	IssuedAt int64  `json:"iat"`            // Unix seconds, as the next two
	Expires  int64  `json:"exp"`            //
	Earliest int64  `json:"nbf,omitempty"`  // never written, always obeyed
}

func (w *wireClaims) GetExpirationTime() (*jwt.NumericDate, error) {
	return numericDate(w.Expires), nil
}
func (w *wireClaims) GetIssuedAt() (*jwt.NumericDate, error)  { return numericDate(w.IssuedAt), nil }
func (w *wireClaims) GetNotBefore() (*jwt.NumericDate, error) { return numericDate(w.Earliest), nil }
func (w *wireClaims) GetIssuer() (string, error)              { return w.Issuer, nil }
func (w *wireClaims) GetSubject() (string, error)             { return w.Subject, nil }
func (w *wireClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{w.Audience}, nil
}

func numericDate(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0))
}

// Validate is called by the parser after the registered claims were checked.
func (w *wireClaims) Validate() error {
	switch {
	case w.ID == "" || w.Subject == "" || w.IssuedAt <= 0:
		return errors.New("token has no id, subject or date")
	case w.Expires <= w.IssuedAt || w.Expires-w.IssuedAt > MaxLifeSeconds:
		return errors.New("token lives longer than any may")
	}
	return nil
}

// pack turns c into what goes on the wire; issuer and audience are filled in by
// the issuer.
func pack(c *Claims) *wireClaims {
	p := c.Principal
	w := &wireClaims{
		ID: c.ID, Subject: p.ARN, Name: p.Name, Account: p.Account, Domain: c.Domain, Owner: c.Owner,
		Path: rolePath(p.Role), Session: p.Session, Secret: c.secretID, IssuedAt: c.IssuedAt.Unix(), Expires: c.Expires.Unix(),
	}
	if w.Name == arnName(p.ARN) {
		w.Name = ""
	}
	if w.Owner == w.Account {
		w.Owner = ""
	}
	if _, account, _, _ := arnParts(p.ARN); w.Account == account {
		w.Account = ""
	}
	if w.Session == w.ID {
		w.Session = ""
	}
	return w
}

// unpack is the inverse of pack for a token of type typ.
func (w *wireClaims) unpack(typ, keyID string) (*Claims, error) {
	c := &Claims{
		Principal: Principal{ARN: w.Subject, Account: w.Account, Name: w.Name, Kind: KindUser, Session: w.Session},
		Domain:    w.Domain, Owner: w.Owner, ID: w.ID, KeyID: keyID, secretID: w.Secret,
		IssuedAt: time.Unix(w.IssuedAt, 0).UTC(), Expires: time.Unix(w.Expires, 0).UTC(),
	}
	p := &c.Principal
	if _, account, _, _ := arnParts(p.ARN); p.Account == "" {
		p.Account = account
	}
	if p.Name == "" {
		p.Name = arnName(p.ARN)
	}
	if p.Role = roleOf(p.ARN, w.Path); p.Role != "" {
		p.Kind = KindRole
	}
	switch typ {
	case typBearer:
		if c.Owner == "" {
			c.Owner = p.Account
		}
		if c.Domain == "" {
			return nil, errors.New("bearer token names no domain")
		}
	case typSession:
		if p.Session == "" {
			p.Session = c.ID
		}
		p.Expires = c.Expires
		if p.Kind != KindRole || c.Domain != "" {
			return nil, errors.New("session token is not of a role")
		}
	}
	return c, checkPrincipal(*p)
}

// checkPrincipal holds a principal against its own grammar: what is left out of
// a token follows from the ARN.
func checkPrincipal(p Principal) error {
	_, account, resource, ok := arnParts(p.ARN)
	switch {
	case !ok || len(p.ARN) > 2048 || strings.ContainsAny(p.ARN, " \t\r\n"):
		return errors.New("principal has no ARN")
	case !isAccount(p.Account) || account != p.Account:
		return errors.New("principal's account is not the one in its ARN")
	case p.Kind == KindUser:
		if p.Role != "" || p.Session != "" || !strings.HasPrefix(p.ARN, "arn:aws:iam::") {
			return errors.New("principal is not a user of iam")
		}
	case p.Kind == KindRole:
		if p.Session == "" || p.Role == "" || p.Role != roleOf(p.ARN, rolePath(p.Role)) || strings.Count(resource, "/") != 2 {
			return errors.New("principal is not a session of its role")
		}
	default:
		return errors.New("principal is neither user nor role")
	}
	return nil
}
