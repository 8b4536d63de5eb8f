package policy

import (
	"net/netip"
	"strings"
)

// Request is one question to Evaluate.
type Request struct {
	Caller   Caller
	Action   Action
	Resource ARN // its Owner is the account whose rules of "same account" hold
	Context  Context
}

// attribute is the value of a condition key in a request.
type attribute struct {
	text   string
	number float64
	truth  bool
	addr   netip.Addr
	typed  bool // not only text
}

// lookup finds a key with one value; ok is false for an absent one.
func (q *Request) lookup(key keyID, tag string) (a attribute, ok bool) {
	c, x := &q.Caller, &q.Context
	switch key {
	case keyUserName:
		a.text = c.UserName
	case keyUserID:
		a.text = c.UserID
	case keyPrincipalARN:
		a.text = c.principalARN()
	case keyPrincipalAccount:
		a.text = c.Account
	case keyPrincipalOrgID:
		a.text = c.OrgID
	case keyResourceAccount:
		a.text = q.Resource.Owner
	case keyRequestedRegion:
		a.text = x.Region
	case keyServiceName:
		a.text = x.ServiceName
	case keyPrincipalTag:
		a.text, ok = findTag(c.Tags, tag)
		return a, ok
	case keyRequestTag:
		a.text, ok = findTag(x.RequestTags, tag)
		return a, ok
	case keyResourceTag:
		a.text, ok = findTag(x.ResourceTags, tag)
		return a, ok
	case keyCurrentTime, keyEpochTime:
		return attribute{number: unix(x.Now), typed: true}, !x.Now.IsZero()
	case keySecureTransport:
		return attribute{truth: x.SecureTransport, typed: true}, true
	case keySourceIP:
		return attribute{addr: x.SourceIP.Unmap().WithZone(""), typed: true}, x.SourceIP.IsValid()
	case keyDurationSeconds:
		return attribute{number: float64(x.DurationSeconds), typed: true}, x.HasDuration
	case keyTagKeys:
		return a, len(x.TagKeys) > 0
	}
	return a, a.text != ""
}

// holds is the whole condition, with IAM's rules for absent keys: a negated
// operator and ForAllValues hold, ForAnyValue and the others do not, and with
// IfExists everything does.
func (c *condition) holds(q *Request) bool {
	if c.guarded && c.unresolved(&q.Caller) {
		return false
	}
	a, ok := q.lookup(c.key, c.tag)
	switch {
	case c.family == nullCheck:
		for _, absent := range c.truths {
			if absent == !ok {
				return true
			}
		}
		return false
	case !ok && c.ifExists:
		return true
	case !ok:
		return c.quantity == forAllValues || c.negate && c.quantity == single
	case c.key != keyTagKeys:
		return c.test(&a, &q.Caller)
	}
	all := c.quantity == forAllValues
	for _, key := range q.Context.TagKeys {
		a.text = key
		if c.test(&a, &q.Caller) != all {
			return !all
		}
	}
	return all
}

// test holds one value of the request against all of the document.
func (c *condition) test(a *attribute, who *Caller) bool { return c.any(a, who) != c.negate }

func (c *condition) any(a *attribute, who *Caller) bool {
	switch c.family {
	case stringEquals, stringLike:
		for i := range c.globs {
			if c.globs[i].match(a.text, who) {
				return true
			}
		}
	case stringFold:
		for i := range c.globs {
			if s, ok := c.globs[i].expand(who); ok && strings.EqualFold(s, a.text) {
				return true
			}
		}
	case arnLike:
		for i := range c.arns {
			if matchARNPattern(&c.arns[i], a.text, who) {
				return true
			}
		}
	case boolEquals:
		return c.anyTruth(a)
	case numeric:
		n, ok := a.number, true
		if !a.typed {
			n, ok = parseNumber(a.text)
		}
		return ok && c.anyNumber(n, c.numbers)
	case date:
		n, ok := a.number, true
		if !a.typed {
			n, ok = parseDate(a.text)
		}
		return ok && c.anyNumber(n, c.seconds)
	case ipAddress:
		return c.anyNetwork(a)
	}
	return false
}

func (c *condition) anyTruth(a *attribute) bool {
	truth := a.truth
	if !a.typed {
		truth = strings.EqualFold(a.text, "true")
		if !truth && !strings.EqualFold(a.text, "false") {
			return false
		}
	}
	for _, want := range c.truths {
		if want == truth {
			return true
		}
	}
	return false
}

func (c *condition) anyNumber(have float64, wants []float64) bool {
	for _, want := range wants {
		if c.compare.of(have, want) {
			return true
		}
	}
	return false
}

func (c *condition) anyNetwork(a *attribute) bool {
	addr := a.addr
	if !a.typed {
		n, ok := parseNetwork(a.text)
		if !ok || !n.IsSingleIP() {
			return false
		}
		addr = n.Addr()
	}
	for _, n := range c.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

func (c *condition) unresolved(who *Caller) bool {
	for i := range c.globs {
		if c.globs[i].unresolved(who) {
			return true
		}
	}
	for i := range c.arns {
		for j := range c.arns[i] {
			if c.arns[i][j].unresolved(who) {
				return true
			}
		}
	}
	return false
}

// expand is a pattern without wildcards as text; ok is false where a variable
// cannot be resolved.
func (g *glob) expand(c *Caller) (s string, ok bool) {
	if len(g.parts) == 1 && g.parts[0].kind == literal {
		return g.parts[0].text, true
	}
	for i := range g.parts {
		t := g.parts[i].text
		if g.parts[i].kind == variablePart {
			if t = c.variable(&g.parts[i]); t == "" {
				return "", false
			}
		}
		s += t
	}
	return s, true
}
