// Package access owns the gate of a node: it turns the credential of a request
// into a caller and answers whether that caller may do something to a resource,
// from the identity documents of users and roles and the resource documents of
// domains and repositories. Signatures and tokens are verified by
// proxy/identity, documents are evaluated by policy, rows are kept by
// cache/catalog; this package only brings them together. It serves no HTTP and
// decides nothing by itself: what no document allows is denied.
package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"larder/cache/catalog"
	"larder/policy"
	"larder/proxy/identity"
)

// ErrUnknown is returned for a credential that nobody has, or that is expired,
// revoked or for another domain. It says no more to whoever sent it.
var ErrUnknown = errors.New("the credential is not valid here")

// Token is a robot token of the configuration: only its SHA-256 is written.
type Token struct {
	Name     string
	SHA256   string   // 64 hex digits
	Policies []string // names of Documents; empty: reader of the default domain
}

// User is a user of the configuration.
type User struct {
	Name     string
	Account  string   // 12 digits
	Policies []string // names of Documents
}

// Role is a role of the configuration.
type Role struct {
	Name     string
	Account  string
	Policies []string
}

// Config wires a Gate.
type Config struct {
	Catalog *catalog.Catalog
	// Keyring has the keys of tokens and sealed secrets; nil: no access keys, no
	// sessions and no tokens but those of the configuration.
	Keyring   *identity.Keyring
	Site      string // the name that all nodes of a site share; issuer of tokens
	Region    string // of ARNs
	Owner     string // account of users that name none, 12 digits
	Domain    string // default domain
	Users     []User
	Roles     []Role
	Tokens    []Token
	Documents map[string]*policy.Document // identity documents by name, beside the built-in ones
	Now       func() time.Time            // nil: time.Now
}

// Gate says who asks and what they may do. It is safe for concurrent use.
type Gate struct {
	cfg        Config
	issuer     *identity.Issuer
	verifier   *identity.Verifier
	sessions   *identity.Sessions
	signatures *identity.Signatures
	revoked    *identity.Revocations

	settings atomic.Pointer[settings] // what the configuration says
	view     atomic.Pointer[view]
	building sync.Mutex
}

// settings is the part of the configuration that a reload changes.
type settings struct {
	users     map[string]*User // by account and name
	roles     map[string]*Role // by ARN
	tokens    []token
	documents map[string]*policy.Document
}

type token struct {
	Token
	sum [sha256.Size]byte
}

// New opens a gate.
func New(cfg Config) (*Gate, error) {
	if cfg.Catalog == nil {
		return nil, errors.New("a gate needs a catalog")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Site == "" {
		cfg.Site = "larder"
	}
	if cfg.Region == "" {
		cfg.Region = "local"
	}
	g := &Gate{cfg: cfg, revoked: identity.NewRevocations()}
	if err := g.Reload(cfg); err != nil {
		return nil, err
	}
	if cfg.Keyring == nil {
		return g, nil
	}
	keys, err := cfg.Keyring.TrustedKeys()
	if err != nil {
		return nil, fmt.Errorf("read trusted keys: %w", err)
	}
	if g.issuer, err = identity.NewIssuer(identity.IssuerConfig{Site: cfg.Site, Key: cfg.Keyring.TokenKey(), Now: cfg.Now}); err != nil {
		return nil, err
	}
	if g.verifier, err = identity.NewVerifier(identity.VerifierConfig{Site: cfg.Site, Keys: keys, Revoked: g.revoked, Now: cfg.Now}); err != nil {
		return nil, err
	}
	secrets, err := cfg.Keyring.SessionSecrets()
	if err != nil {
		return nil, fmt.Errorf("derive session secrets: %w", err)
	}
	if g.sessions, err = identity.NewSessions(identity.SessionConfig{Issuer: g.issuer, Verifier: g.verifier, Secrets: secrets, Now: cfg.Now}); err != nil {
		return nil, err
	}
	g.signatures, err = identity.NewSignatures(identity.SignatureConfig{Keys: accessKeys{g}, Sessions: g.sessions, Now: cfg.Now})
	return g, err
}

// Region is what stands in ARNs.
func (g *Gate) Region() string { return g.cfg.Region }

// Sessions and Signatures are what federation needs; nil without a keyring.
func (g *Gate) Sessions() *identity.Sessions     { return g.sessions }
func (g *Gate) Signatures() *identity.Signatures { return g.signatures }

// Reload takes over Users, Roles, Tokens and Documents of cfg, and looks again
// for trusted keys. With an error nothing changes.
func (g *Gate) Reload(cfg Config) error {
	s := &settings{users: map[string]*User{}, roles: map[string]*Role{}, documents: builtIn()}
	for name, d := range cfg.Documents {
		s.documents[name] = d
	}
	known := func(what string, names []string) error {
		for _, n := range names {
			if s.documents[n] == nil {
				return fmt.Errorf("%s: there is no policy %q", what, n)
			}
		}
		return nil
	}
	for i := range cfg.Users {
		u := cfg.Users[i]
		if u.Account == "" {
			u.Account = cfg.Owner
		}
		if err := known(fmt.Sprintf("user %q", u.Name), u.Policies); err != nil {
			return err
		}
		s.users[u.Account+"/"+u.Name] = &u
	}
	for i := range cfg.Roles {
		r := cfg.Roles[i]
		if r.Account == "" {
			r.Account = cfg.Owner
		}
		if err := known(fmt.Sprintf("role %q", r.Name), r.Policies); err != nil {
			return err
		}
		s.roles[RoleARN(r.Account, r.Name)] = &r
	}
	for _, t := range cfg.Tokens {
		raw, err := hex.DecodeString(t.SHA256)
		if t.Name == "" || err != nil || len(raw) != sha256.Size {
			return fmt.Errorf("token %q: want a name and sha256 with 64 hex digits", t.Name)
		}
		if len(t.Policies) == 0 {
			t.Policies = []string{Reader}
		}
		if err := known(fmt.Sprintf("token %q", t.Name), t.Policies); err != nil {
			return err
		}
		s.tokens = append(s.tokens, token{t, [sha256.Size]byte(raw)})
	}
	if g.verifier != nil {
		keys, err := g.cfg.Keyring.TrustedKeys()
		if err != nil {
			return fmt.Errorf("read trusted keys: %w", err)
		}
		if err := g.verifier.SetKeys(keys); err != nil {
			return err
		}
	}
	g.settings.Store(s)
	return g.Refresh(g.cfg.Catalog.State())
}

// UserARN and RoleARN name principals as IAM does.
func UserARN(account, name string) string { return "arn:aws:iam::" + account + ":user/" + name }
func RoleARN(account, name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// Caller is who sent a request, with everything that they bring along. It is
// shared by requests: read only.
type Caller struct {
	policy.Caller
	Anonymous bool
	Name      string // for logs
	Documents *policy.Set
	// Domain and Owner bind a bearer token to the domain it was issued for.
	Domain, Owner string
	Expires       time.Time // from then on it is not valid; zero never
	Principal     identity.Principal

	view  *view
	reads *readCache
}

// Anonymous is the caller who sent no credential.
func (g *Gate) Anonymous() *Caller { return g.view.Load().anonymous }

// ByToken finds whom a package manager's secret belongs to: a bearer token, a
// robot token of the catalog or of the configuration.
func (g *Gate) ByToken(secret string) (*Caller, error) {
	v := g.view.Load()
	if c := v.callers.get(secret); c != nil {
		if !c.Expires.IsZero() && !g.cfg.Now().Before(c.Expires) {
			return nil, ErrUnknown
		}
		return c, nil
	}
	c, err := g.byToken(v, secret)
	if err != nil {
		return nil, err
	}
	c.view, c.reads = v, &readCache{}
	v.callers.put(secret, c)
	return c, nil
}

func (g *Gate) byToken(v *view, secret string) (*Caller, error) {
	if id, ok := robotID(secret); ok {
		return g.byRobot(v, id, secret)
	}
	sum := sha256.Sum256([]byte(secret))
	var hit *token
	for i := range v.settings.tokens {
		if t := &v.settings.tokens[i]; subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
			hit = t
		}
	}
	if hit != nil {
		return v.caller(identity.Principal{ARN: UserARN(g.cfg.Owner, hit.Name), Account: g.cfg.Owner, Name: hit.Name, Kind: identity.KindUser}, v.named(hit.Policies))
	}
	if g.verifier == nil {
		return nil, ErrUnknown
	}
	claims, err := g.verifier.VerifyAnyDomain(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	c, err := v.byPrincipal(claims.Principal)
	if err != nil {
		return nil, err
	}
	// Other nodes issue bearer tokens by clocks of their own.
	c.Domain, c.Owner, c.Expires = claims.Domain, claims.Owner, claims.Expires.Add(identity.Skew)
	return c, nil
}

// byRobot finds a robot token by its public part.
func (g *Gate) byRobot(v *view, id, secret string) (*Caller, error) {
	row, err := g.cfg.Catalog.Credential(id)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	sum := sha256.Sum256([]byte(secret))
	if row.Kind != catalog.RobotToken || subtle.ConstantTimeCompare(sum[:], row.SHA256) != 1 || !g.live(row) {
		return nil, ErrUnknown
	}
	docs, err := v.granted(row)
	if err != nil {
		return nil, err
	}
	if !row.Admin && len(row.Policies) == 0 {
		docs = v.userDocuments(row.Account, row.User)
	}
	c, err := v.caller(identity.Principal{ARN: UserARN(row.Account, row.User), Account: row.Account, Name: row.User, Kind: identity.KindUser}, docs)
	if err == nil {
		c.Expires = row.Expires
	}
	return c, err
}

func (g *Gate) live(row *catalog.Credential) bool {
	return !row.Disabled && (row.Expires.IsZero() || g.cfg.Now().Before(row.Expires))
}

// BySignature says who signed an API request. Refusals are *identity.Error.
func (g *Gate) BySignature(r *http.Request, check identity.Check) (*Caller, error) {
	if g.signatures == nil {
		return nil, &identity.Error{Code: identity.CodeUnrecognizedClient, Status: http.StatusForbidden, Message: "This node has no access keys"}
	}
	signed, err := g.signatures.Verify(r, check)
	if err != nil {
		return nil, err
	}
	v := g.view.Load()
	c, err := v.byPrincipal(signed.Principal)
	if err != nil {
		return nil, err
	}
	c.view, c.reads = v, &readCache{}
	return c, nil
}

// Issue makes a bearer token that opens a domain for a caller.
func (g *Gate) Issue(c *Caller, domain, owner string, life time.Duration) (string, time.Time, error) {
	if g.issuer == nil {
		return "", time.Time{}, errors.New("this node issues no tokens")
	}
	return g.issuer.Issue(c.Principal, domain, owner, life)
}

// accessKeys finds long-lived access keys in the catalog.
type accessKeys struct{ g *Gate }

// AccessKey implements identity.Keys.
func (a accessKeys) AccessKey(_ context.Context, id string) (identity.AccessKey, error) {
	row, err := a.g.cfg.Catalog.Credential(id)
	if errors.Is(err, catalog.ErrNotFound) {
		return identity.AccessKey{}, identity.ErrNoKey
	}
	if err != nil {
		return identity.AccessKey{}, fmt.Errorf("read access key: %w", err)
	}
	if row.Kind != catalog.AccessKey || !a.g.live(row) {
		return identity.AccessKey{}, identity.ErrNoKey
	}
	secret, err := a.g.cfg.Keyring.Open(row.Sealed, []byte(row.ID))
	if err != nil {
		return identity.AccessKey{}, fmt.Errorf("open access key %s: %w", id, err)
	}
	return identity.AccessKey{Secret: string(secret), Principal: identity.Principal{
		ARN: UserARN(row.Account, row.User), Account: row.Account, Name: row.User, Kind: identity.KindUser}}, nil
}

// robotPrefix begins every robot token: "lrd_" ID "_" SECRET.
const robotPrefix = "lrd_"

func robotID(secret string) (string, bool) {
	rest, ok := strings.CutPrefix(secret, robotPrefix)
	if !ok {
		return "", false
	}
	id, _, ok := strings.Cut(rest, "_")
	return robotPrefix + id, ok
}

// ByARN is the caller that a user's or role's ARN names, for explanations.
func (g *Gate) ByARN(arn string) (*Caller, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || len(parts[4]) != 12 {
		return nil, fmt.Errorf("%q is not the ARN of a user or role", arn)
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	p := identity.Principal{ARN: arn, Account: parts[4], Name: name}
	switch {
	case parts[2] == "iam" && kind == "user" && name != "":
		p.Kind = identity.KindUser
	case parts[2] == "iam" && kind == "role" && name != "":
		p.Kind, p.Role = identity.KindRole, arn
		p.ARN = "arn:aws:sts::" + parts[4] + ":assumed-role/" + name + "/explain"
	case parts[2] == "sts" && kind == "assumed-role":
		role, _, _ := strings.Cut(name, "/")
		p.Kind, p.Role = identity.KindRole, RoleARN(parts[4], role)
	default:
		return nil, fmt.Errorf("%q is not the ARN of a user or role", arn)
	}
	v := g.view.Load()
	c, err := v.byPrincipal(p)
	if err != nil {
		return nil, err
	}
	c.view, c.reads = v, &readCache{}
	return c, nil
}

// Knows reports whether an identity document of that name exists.
func (g *Gate) Knows(document string) bool { return g.settings.Load().documents[document] != nil }
