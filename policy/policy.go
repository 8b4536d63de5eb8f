// Package policy owns the decision whether a principal may do an action to a
// resource: a pure function of the rules or policy documents, the principal and
// the parsed coordinate. Rules are what the configuration says; a Set holds IAM
// documents, compiled, and Evaluate answers from it. The package reads no
// clock, no store and no URL, and it never touches a response; the proxy asks
// it for metadata and for assets alike. A document that is not understood to
// the last member is refused, never half applied.
package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
)

// Principal is who asks.
type Principal struct {
	Name      string // "anonymous" or a token's name
	Anonymous bool
}

// Resource is a parsed coordinate; empty fields are not part of the question.
type Resource struct {
	Domain, Repository    string
	Format, Name, Version string
	File                  string
}

// Verdict is the outcome of a decision.
type Verdict uint8

// Deny is the zero value, so that a forgotten decision fails closed.
const (
	Deny Verdict = iota
	Hold         // kept out of listings and not served, for a reason that may pass
	Allow
)

func (v Verdict) String() string { return [...]string{"deny", "hold", "allow"}[v] }

// Decision is a verdict with the rule that made it.
type Decision struct {
	Verdict Verdict
	Rule    string // stable id of the deciding rule, for logs and /-/why
	Reason  string // one sentence for people

	// The deciding statement, where a policy document decided; an implicit deny
	// has none in Evaluate, and in Explain the one that came nearest.
	Document  string // such as "identity:reader", "domain:main", "repository:main/team"
	Sid       string
	Statement int // from 1 in its document
}

// Block keeps versions out: they vanish from listings and their files are
// refused, also when they are already held.
type Block struct {
	Format   string   `toml:"format"`   // npm, pypi, maven, go, cargo
	Name     string   `toml:"name"`     // canonical name; * and ? match within the name
	Versions []string `toml:"versions"` // exact versions; empty blocks all
	Reason   string   `toml:"reason"`   // shown to the client
}

// Token is a robot credential. Only its SHA-256 is configured.
type Token struct {
	Name   string `toml:"name"`
	SHA256 string `toml:"sha256"` // 64 hex digits: printf %s "$TOKEN" | sha256sum
}

// Config is what a rule set is built from.
type Config struct {
	AnonymousRead bool
	Tokens        []Token
	Blocks        []Block
}

// Rules is an immutable rule set, safe for concurrent use.
type Rules struct {
	anonymous bool
	tokens    []token
	blocks    map[string][]block // by format
}

type token struct {
	name string
	sum  [sha256.Size]byte
}

type block struct {
	id       string
	pattern  string
	versions map[string]bool
	reason   string
}

// New checks cfg and returns the rules.
func New(cfg Config) (*Rules, error) {
	r := &Rules{anonymous: cfg.AnonymousRead, blocks: map[string][]block{}}
	for _, t := range cfg.Tokens {
		raw, err := hex.DecodeString(t.SHA256)
		if t.Name == "" || err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("token %q: want a name and sha256 with 64 hex digits", t.Name)
		}
		r.tokens = append(r.tokens, token{t.Name, [sha256.Size]byte(raw)})
	}
	for i, b := range cfg.Blocks {
		if b.Format == "" || b.Name == "" {
			return nil, fmt.Errorf("block %d: want format and name", i+1)
		}
		if _, err := path.Match(globOf(b.Name), ""); err != nil {
			return nil, fmt.Errorf("block %d: name pattern %q: %w", i+1, b.Name, err)
		}
		if b.Reason == "" {
			b.Reason = "blocked by this site's policy"
		}
		bl := block{id: fmt.Sprintf("block[%d]", i+1), pattern: globOf(b.Name), reason: b.Reason}
		if len(b.Versions) > 0 {
			bl.versions = map[string]bool{}
			for _, v := range b.Versions {
				bl.versions[v] = true
			}
		}
		r.blocks[b.Format] = append(r.blocks[b.Format], bl)
	}
	return r, nil
}

// globOf makes path.Match treat the slashes of names like other characters.
func globOf(s string) string { return strings.ReplaceAll(s, "/", "\x01") }

// Authenticate turns the secret a client sent into a principal. An empty secret
// is the anonymous principal; ok is false for a secret nobody has. The
// comparison takes the same time for every token.
func (r *Rules) Authenticate(secret string) (p Principal, ok bool) {
	if secret == "" {
		return Principal{Name: "anonymous", Anonymous: true}, true
	}
	sum := sha256.Sum256([]byte(secret))
	for _, t := range r.tokens {
		if subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
			p, ok = Principal{Name: t.name}, true
		}
	}
	return p, ok
}

// MayRead reports whether a principal may read at all.
func (r *Rules) MayRead(p Principal) bool { return !p.Anonymous || r.anonymous }

// HasBlocks reports whether any rule names the format, so that a listing that
// no rule can touch need not be filtered.
func (r *Rules) HasBlocks(format string) bool { return len(r.blocks[format]) > 0 }

// Decide answers whether p may do a to res.
func (r *Rules) Decide(p Principal, a Action, res Resource) Decision {
	switch {
	case a != ReadFromRepository:
		return Decision{Verdict: Deny, Rule: "no-publish", Reason: "this repository does not accept uploads"}
	case !r.MayRead(p):
		return Decision{Verdict: Deny, Rule: "anonymous", Reason: "this node asks for a credential"}
	}
	for i := range r.blocks[res.Format] {
		b := &r.blocks[res.Format][i]
		if res.Name == "" || !b.covers(res.Name) {
			continue
		}
		// A question about the name alone is only settled by a rule for all
		// its versions.
		if b.versions == nil || res.Version != "" && b.versions[res.Version] {
			return Decision{Verdict: Deny, Rule: b.id, Reason: b.reason}
		}
	}
	return Decision{Verdict: Allow, Rule: "read", Reason: "reading is allowed"}
}

func (b *block) covers(name string) bool {
	ok, err := path.Match(b.pattern, globOf(name))
	return err != nil || ok
}
