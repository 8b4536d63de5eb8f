package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Role is what a web identity may assume.
type Role struct {
	ARN   string  // arn:aws:iam::ACCOUNT:role/NAME
	Trust []Trust // any one suffices; none means nobody
	// MaxSession bounds its sessions, 15 minutes to 12 hours. 0 means one hour.
	MaxSession time.Duration
}

// Trust says which tokens open a role.
type Trust struct {
	Issuer string // WebIssuer.URL
	// Claims must all be in the token, each with a value that one of its patterns
	// matches as a whole: "*" stands for any run of characters, "?" for one. Of a
	// claim that is a list one element must match; numbers and booleans are
	// compared as they are written. At least one claim must be pinned by more
	// than wildcards, because "any token of this issuer" is everybody on a public
	// one. Prefer claims that are never given away again (repository_id, not only
	// the name).
	Claims map[string][]string
}

func (r Role) check(providers map[string]*provider) error {
	service, account, resource, ok := arnParts(r.ARN)
	if name, isRole := strings.CutPrefix(resource, "role/"); !ok || service != "iam" || !isAccount(account) || !isRole || name == "" || strings.HasSuffix(name, "/") {
		return fmt.Errorf("role %q is not the ARN of a role", r.ARN)
	}
	if r.MaxSession != 0 && (r.MaxSession < MinLifeSeconds*time.Second || r.MaxSession > maxLife) {
		return fmt.Errorf("role %s: sessions of %s are not possible", r.ARN, r.MaxSession)
	}
	for _, t := range r.Trust {
		if providers[t.Issuer] == nil {
			return fmt.Errorf("role %s trusts the issuer %q, which is not configured", r.ARN, t.Issuer)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("role %s: %w", r.ARN, err)
		}
	}
	return nil
}

func (t Trust) check() error {
	pinned := false
	for name, patterns := range t.Claims {
		if len(patterns) == 0 {
			return fmt.Errorf("claim %s has no value that it may have", name)
		}
		literal := name != "iss" && name != "aud" // of everybody's tokens
		for _, p := range patterns {
			if p == "" {
				return fmt.Errorf("claim %s has an empty pattern", name)
			}
			literal = literal && strings.Trim(p, "*?") != ""
		}
		pinned = pinned || literal
	}
	if !pinned {
		return errors.New("its trust pins no claim, so everybody at the issuer would have it")
	}
	return nil
}

// trusts reports that a token opens the role.
func (r Role) trusts(w *webClaims) bool {
	for _, t := range r.Trust {
		if t.Issuer == w.issuer && t.matches(w.all) {
			return true
		}
	}
	return false
}

func (t Trust) matches(claims map[string]any) bool {
	for name, patterns := range t.Claims {
		if !matchClaim(patterns, claims[name]) {
			return false
		}
	}
	return len(t.Claims) > 0
}

// matchClaim reports that a claim has one of the values. Objects never have.
func matchClaim(patterns []string, value any) bool {
	switch v := value.(type) {
	case string:
		return matchAny(patterns, v)
	case bool:
		return matchAny(patterns, strconv.FormatBool(v))
	case json.Number:
		return matchAny(patterns, v.String())
	case []any:
		for _, e := range v {
			if _, nested := e.([]any); !nested && matchClaim(patterns, e) {
				return true
			}
		}
	}
	return false
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if glob(p, s) {
			return true
		}
	}
	return false
}

// glob matches the whole of s. It goes back to the last star only, so it takes
// len(p)*len(s) steps at most.
func glob(p, s string) bool {
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}
