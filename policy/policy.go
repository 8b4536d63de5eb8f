// Package policy owns the decision whether a principal may do an action to a
// resource: a pure function of the rules or policy documents, the principal and
// the parsed coordinate. Rules are what the configuration says; a Set holds IAM
// documents, compiled, and Evaluate answers from it. The package reads no
// clock, no store and no URL, and it never touches a response; the proxy asks
// it for metadata and for assets alike. A document that is not understood to
// the last member is refused, never half applied.
package policy

import (
	"fmt"
	"path"
	"strings"
)

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

// Config is what a rule set is built from.
type Config struct {
	Blocks []Block
}

// Rules is an immutable rule set, safe for concurrent use.
type Rules struct {
	blocks map[string][]block // by format
}

type block struct {
	id       string
	pattern  string
	versions map[string]bool
	reason   string
}

// New checks cfg and returns the rules.
func New(cfg Config) (*Rules, error) {
	r := &Rules{blocks: map[string][]block{}}
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

// HasBlocks reports whether any rule names the format, so that a listing that
// no rule can touch need not be filtered.
func (r *Rules) HasBlocks(format string) bool { return len(r.blocks[format]) > 0 }

// Decide answers whether the site's blocks let a coordinate pass, whoever asks.
func (r *Rules) Decide(res Resource) Decision {
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
	return Decision{Verdict: Allow, Rule: "no-block", Reason: "nothing blocks it"}
}

func (b *block) covers(name string) bool {
	ok, err := path.Match(b.pattern, globOf(name))
	return err != nil || ok
}
