package main

import (
	"os"
	"slices"
	"strings"
	"time"

	"larder/policy"
	"larder/proxy/access"
	"larder/proxy/identity"
)

// checkPolicies checks names of identity policies.
func (c *Config) checkPolicies(fault reportFunc, path string, names []string) {
	known := []string{access.Administrator, access.Publisher, access.Reader}
	for _, p := range c.Policy {
		known = append(known, p.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			fault(path, "there is no policy %q%s", n, didYouMean(n, known))
		}
	}
}

func (c *Config) checkAccount(fault reportFunc, path, account string) {
	if account != "" && (len(account) != 12 || strings.Trim(account, "0123456789") != "") {
		fault(path, "account %q: want 12 digits, or nothing for the owner", account)
	}
}

// checkPrincipals checks users, roles and policies.
func (c *Config) checkPrincipals(faults *ConfigError) {
	fault := c.reporter(faults)
	if c.Site == "" || strings.ContainsAny(c.Site, " \t\r\n") || len(c.Site) > 100 {
		fault("site", "site %q: want 1 to 100 characters without blanks", c.Site)
	}
	if !isLabel(c.Region) {
		fault("region", "region %q: want 2 to 50 lower-case letters, digits and hyphens, starting with a letter", c.Region)
	}
	names := map[string]int{}
	for i, p := range c.Policy {
		c.unique(fault, names, "policy", i, "name", p.Name)
		if slices.Contains([]string{access.Administrator, access.Publisher, access.Reader}, p.Name) {
			fault(at("policy", i, "name"), "name %q is one of larder's own policies", p.Name)
		}
		c.checkDocument(fault, i, p)
	}
	users := map[string]int{}
	for i, u := range c.User {
		c.unique(fault, users, "user", i, "name", u.Name)
		if u.Name != "" && !isName(u.Name, "._-@+=,") {
			fault(at("user", i, "name"), "name %q: want 2 to 100 letters, digits and . _ - @ + = , starting with a letter or digit", u.Name)
		}
		c.checkAccount(fault, at("user", i, "account"), u.Account)
		c.checkPolicies(fault, at("user", i, "policies"), u.Policies)
	}
	roles := map[string]int{}
	for i, r := range c.Role {
		c.unique(fault, roles, "role", i, "name", r.Name)
		if r.Name != "" && !isName(r.Name, "._-@+=,") {
			fault(at("role", i, "name"), "name %q: want 2 to 100 letters, digits and . _ - @ + = , starting with a letter or digit", r.Name)
		}
		c.checkAccount(fault, at("role", i, "account"), r.Account)
		c.checkPolicies(fault, at("role", i, "policies"), r.Policies)
		if d := r.MaxSession.Duration; d != 0 && (d < 15*time.Minute || d > 12*time.Hour) {
			fault(at("role", i, "max_session"), "max_session %s is not between 15m and 12h", d)
		}
		if len(r.Trust) == 0 {
			fault(at("role", i, "trust"), "role %q: nobody may assume it; write [[role.trust]] with an issuer and claims", r.Name)
		}
		for _, t := range r.Trust {
			c.checkTrust(fault, i, t)
		}
	}
}

func (c *Config) checkTrust(fault reportFunc, i int, t Trust) {
	var urls []string
	for _, p := range c.Provider {
		urls = append(urls, p.URL)
	}
	if !slices.Contains(urls, t.Issuer) {
		fault(at("role", i, "trust"), "there is no identity_provider %q%s", t.Issuer, didYouMean(t.Issuer, urls))
	}
	pinned := false
	for _, values := range t.Claims {
		pinned = pinned || len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return strings.Trim(v, "*?") == "" })
	}
	if !pinned {
		fault(at("role", i, "trust"), "claims pin nothing: any token of %q could assume the role; name a claim that only your jobs have", t.Issuer)
	}
}

func (c *Config) checkDocument(fault reportFunc, i int, p PolicyConfig) {
	switch {
	case p.Document != "" && p.File != "":
		fault(at("policy", i, "file"), "give document or file, not both")
		return
	case p.Document == "" && p.File == "":
		fault(at("policy", i, "name"), "policy %q has neither document nor file", p.Name)
		return
	}
	key, text := "document", []byte(p.Document)
	if p.File != "" {
		var err error
		key = "file"
		if text, err = os.ReadFile(p.File); err != nil {
			fault(at("policy", i, key), "policy %q: %s", p.Name, err)
			return
		}
	}
	if _, err := policy.Parse(text, policy.IdentityDocument); err != nil {
		fault(at("policy", i, key), "policy %q: %s", p.Name, err)
	}
}

// checkProviders checks identity providers.
func (c *Config) checkProviders(faults *ConfigError) {
	fault := c.reporter(faults)
	urls := map[string]int{}
	for i, p := range c.Provider {
		c.unique(fault, urls, "identity_provider", i, "url", p.URL)
		if err := checkURL(p.URL); p.URL != "" && err != nil {
			fault(at("identity_provider", i, "url"), "url %q: %s", p.URL, err)
		}
		if len(p.Audiences) == 0 {
			fault(at("identity_provider", i, "url"), "audiences is empty, so no token would ever be accepted: name what your jobs ask for, such as \"larder\"")
		}
		if p.JWKSFile != "" {
			if _, err := os.Stat(p.JWKSFile); err != nil {
				fault(at("identity_provider", i, "jwks_file"), "jwks_file: %s", err)
			}
		}
	}
	// What remains is federation's to judge.
	if len(c.Provider) == 0 || len(faults.Faults) > 0 {
		return
	}
	for i, p := range c.Provider {
		cfg := identity.WebIssuer{URL: p.URL, Audiences: p.Audiences, Algorithms: p.Algorithms, Keys: identity.FileKeys(p.JWKSFile)}
		if err := cfg.Validate(); err != nil {
			fault(at("identity_provider", i, "algorithms"), "%s", err)
		}
	}
}

// checkEvents checks where events go.
func (c *Config) checkEvents(faults *ConfigError) {
	fault := c.reporter(faults)
	if c.Events.Webhook != "" {
		if err := checkURL(c.Events.Webhook); err != nil {
			fault("events.webhook", "events.webhook %q: %s", redactURL(c.Events.Webhook), err)
		}
	}
	if env := c.Events.WebhookTokenEnv; env != "" {
		if c.Events.Webhook == "" {
			fault("events.webhook_token_env", "webhook_token_env needs a webhook")
		} else if os.Getenv(env) == "" {
			fault("events.webhook_token_env", "the environment has no variable %s", env)
		}
	}
}
