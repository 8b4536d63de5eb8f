package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"larder/cache/catalog"
	"larder/policy"
	"larder/proxy/access"
	"larder/proxy/identity"
)

// keysDir is where a node keeps its keys, beside the store.
func keysDir(data string) string { return filepath.Join(data, "keys") }

// gate is the part of the configuration that says who may do what.
func (c *Config) gate() (access.Config, error) {
	out := access.Config{Site: c.Site, Region: c.Region, Owner: c.Owner, Domain: c.Domain, Documents: map[string]*policy.Document{}}
	for _, p := range c.Policy {
		text := []byte(p.Document)
		if p.File != "" {
			var err error
			if text, err = os.ReadFile(p.File); err != nil {
				return out, fmt.Errorf("policy %q: %w", p.Name, err)
			}
		}
		doc, err := policy.Parse(text, policy.IdentityDocument)
		if err != nil {
			return out, fmt.Errorf("policy %q: %w", p.Name, err)
		}
		out.Documents[p.Name] = doc
	}
	for _, u := range c.User {
		out.Users = append(out.Users, access.User{Name: u.Name, Account: u.Account, Policies: u.Policies})
	}
	for _, r := range c.Role {
		out.Roles = append(out.Roles, access.Role{Name: r.Name, Account: r.Account, Policies: r.Policies})
	}
	for _, t := range c.Access.Token {
		out.Tokens = append(out.Tokens, access.Token{Name: t.Name, SHA256: t.SHA256, Policies: t.Policies})
	}
	return out, nil
}

// openGate opens the keys of the node and its gate.
func openGate(cfg *Config, cat *catalog.Catalog) (*access.Gate, *identity.Keyring, error) {
	ring, err := identity.OpenKeyring(identity.KeyringConfig{Dir: keysDir(cfg.Data)})
	if err != nil {
		return nil, nil, fmt.Errorf("open keys: %w", err)
	}
	gc, err := cfg.gate()
	if err != nil {
		return nil, nil, err
	}
	gc.Catalog, gc.Keyring = cat, ring
	g, err := access.New(gc)
	if err != nil {
		return nil, nil, fmt.Errorf("open gate: %w", err)
	}
	return g, ring, nil
}

// Variables that name the first administrator at the first start.
const (
	adminKeyEnv    = "LARDER_ADMIN_ACCESS_KEY_ID"
	adminSecretEnv = "LARDER_ADMIN_SECRET_ACCESS_KEY"
)

// firstAdmin enters the administrator of the environment, once: later values are
// passed over, so that a leaked environment cannot come back in.
func firstAdmin(cat *catalog.Catalog, ring *identity.Keyring, owner string, log *slog.Logger) error {
	id, secret := os.Getenv(adminKeyEnv), os.Getenv(adminSecretEnv)
	if id == "" && secret == "" {
		return nil
	}
	if id == "" || secret == "" {
		return fmt.Errorf("%s and %s go together", adminKeyEnv, adminSecretEnv)
	}
	if err := checkKeyID(id); err != nil {
		return fmt.Errorf("%s: %w", adminKeyEnv, err)
	}
	if len(secret) < 16 {
		return fmt.Errorf("%s: a secret has at least 16 characters", adminSecretEnv)
	}
	any := false
	err := cat.Credentials(func(c *catalog.Credential) error { any = any || c.Admin; return nil })
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	entered, err := cat.Mark(adminMark)
	if err != nil {
		return fmt.Errorf("read mark of first administrator: %w", err)
	}
	if entered > 0 {
		return nil
	}
	if any {
		// Who is there already may delete the last of them one day.
		return markAdmin(cat)
	}
	_, err = cat.Propose("", "environment", &catalog.PutCredential{Create: true, Credential: catalog.Credential{
		ID: id, Kind: catalog.AccessKey, User: "admin", Account: owner, Admin: true, Created: time.Now().UTC(),
		Sealed: ring.Seal([]byte(secret), []byte(id)), Note: "first administrator"}})
	if err != nil {
		return fmt.Errorf("enter first administrator: %w", err)
	}
	log.Info("the first administrator was entered", "event", "admin_entered", "access_key_id", id)
	return markAdmin(cat)
}

// adminMark stands once a node has or had an administrator.
const adminMark = "first-administrator"

func markAdmin(cat *catalog.Catalog) error {
	if err := cat.SetMark(adminMark, 1); err != nil {
		return fmt.Errorf("mark first administrator: %w", err)
	}
	return nil
}

func checkKeyID(id string) error {
	if len(id) < 4 || len(id) > 128 {
		return errors.New("an access key id has 4 to 128 characters")
	}
	for _, c := range id {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return errors.New("an access key id has letters, digits and _ only")
		}
	}
	return nil
}

// federation makes the part of STS that this node speaks.
func (c *Config) federation(g *access.Gate, log *slog.Logger) (*identity.Federation, error) {
	fc := identity.FederationConfig{Sessions: g.Sessions(), Signatures: g.Signatures(),
		Assumed: func(r *http.Request, role string, p *identity.Principal, err error) {
			if err != nil {
				log.Warn("a role was not assumed", "event", "assume_refused", "role", role, "remote", r.RemoteAddr, "error", err)
				return
			}
			log.Info("a role was assumed", "event", "assumed", "role", role, "principal", p.ARN, "remote", r.RemoteAddr)
		},
		Failed: func(r *http.Request, err error) {
			log.Error("a security token request failed", "event", "sts_failed", "remote", r.RemoteAddr, "error", err)
		},
	}
	for _, p := range c.Provider {
		var keys identity.KeySource = identity.FileKeys(p.JWKSFile)
		if p.JWKSFile == "" {
			client, err := c.providerClient(p)
			if err != nil {
				return nil, err
			}
			keys = identity.DiscoveredKeys{Issuer: p.URL, Client: client}
		}
		fc.Issuers = append(fc.Issuers, identity.WebIssuer{URL: p.URL, Audiences: p.Audiences, Algorithms: p.Algorithms, Keys: keys})
	}
	for _, r := range c.Role {
		account := r.Account
		if account == "" {
			account = c.Owner
		}
		role := identity.Role{ARN: access.RoleARN(account, r.Name), MaxSession: r.MaxSession.Duration}
		for _, t := range r.Trust {
			role.Trust = append(role.Trust, identity.Trust{Issuer: t.Issuer, Claims: t.Claims})
		}
		fc.Roles = append(fc.Roles, role)
	}
	f, err := identity.NewFederation(fc)
	if err != nil {
		return nil, fmt.Errorf("set up federation: %w", err)
	}
	return f, nil
}
