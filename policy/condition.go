package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Context is what a request says beside who, what and where. Zero fields are
// absent keys, except SecureTransport, which is always known.
type Context struct {
	Region          string // aws:RequestedRegion
	SourceIP        netip.Addr
	SecureTransport bool
	Now             time.Time // aws:CurrentTime, aws:EpochTime; this package has no clock
	RequestTags     []Tag     // aws:RequestTag/K
	TagKeys         []string  // aws:TagKeys
	ResourceTags    []Tag     // aws:ResourceTag/K
	ServiceName     string    // sts:AWSServiceName
	DurationSeconds int64     // sts:DurationSeconds, only with HasDuration: 0 is a duration
	HasDuration     bool
}

// condition is one key under one operator: all conditions of a statement must
// hold, and of one condition's values any.
type condition struct {
	operator
	source string // "StringLike aws:username", for explanations
	key    keyID
	tag    string

	globs    []glob         // string families
	arns     [][6]glob      // arnLike
	numbers  []float64      // numeric
	seconds  []float64      // date, Unix time
	truths   []bool         // boolEquals, nullCheck
	networks []netip.Prefix // ipAddress

	// guarded marks a negated condition of an Allow that has variables: one
	// that cannot be resolved must not count as "is not it".
	guarded bool
}

func (p *parser) readConditions(v *value, deny bool) (out []condition, err error) {
	if err := p.object("Condition", v); err != nil {
		return nil, err
	}
	for i := range v.members {
		m := &v.members[i]
		at := join("Condition", m.name)
		op, problem := parseOperator(m.name)
		if problem != "" {
			return nil, p.fail(at, "%s", problem)
		}
		if err := p.object(at, &m.value); err != nil {
			return nil, err
		}
		if len(m.value.members) == 0 {
			return nil, p.fail(at, "is empty; write a condition key and its values")
		}
		seen := map[string]bool{}
		for j := range m.value.members {
			k := &m.value.members[j]
			if name := strings.ToLower(k.name); seen[name] {
				return nil, p.fail(join(at, k.name), "stands twice (keys have no case); write its values as a list")
			} else {
				seen[name] = true
			}
			c, err := p.readCondition(join(at, k.name), op, k.name, &k.value)
			if err != nil {
				return nil, err
			}
			c.source = m.name + " " + k.name
			c.guarded = !deny && op.negate && c.hasVariables()
			out = append(out, c)
		}
	}
	return out, nil
}

func (p *parser) readCondition(at string, op operator, key string, v *value) (c condition, err error) {
	c.operator = op
	id, tag, allowed, problem := parseKey(key)
	if problem != "" {
		return c, p.fail(at, "%s", problem)
	}
	if op.family != nullCheck && !allowed.has(op.family) {
		return c, p.fail(at, "this operator does not fit the key; allowed are %s", allowed)
	}
	if id == keyTagKeys && op.quantity == single && op.family != nullCheck {
		return c, p.fail(at, "has many values; prefix the operator with ForAnyValue: or ForAllValues:")
	}
	c.key, c.tag = id, tag
	items := []value{*v}
	if v.kind == arrayValue {
		if items = v.items; len(items) == 0 {
			return c, p.fail(at, "an empty list; write at least one value")
		}
	}
	for i := range items {
		if k := items[i].kind; k != stringValue && k != numberValue && k != boolValue {
			return c, p.fail(at, "must be a value or a list of values, not %s", k)
		}
		if problem := p.addValue(&c, items[i].text); problem != "" {
			return c, p.fail(at, "%q %s", clip(items[i].text), problem)
		}
	}
	return c, nil
}

func (f families) String() string {
	var out []string
	for _, n := range []struct {
		family family
		name   string
	}{{stringEquals, "String..."}, {arnLike, "Arn..."}, {boolEquals, "Bool"}, {numeric, "Numeric..."}, {date, "Date..."}, {ipAddress, "IpAddress, NotIpAddress"}} {
		if f.has(n.family) {
			out = append(out, n.name)
		}
	}
	return strings.Join(append(out, "Null"), ", ")
}

// addValue compiles one value for the condition's operator.
func (p *parser) addValue(c *condition, s string) (problem string) {
	switch c.family {
	case stringEquals, stringFold, stringLike:
		g, problem := p.pattern(s, c.family == stringLike)
		c.globs = append(c.globs, g)
		return problem
	case arnLike:
		return p.addARN(c, s)
	case boolEquals, nullCheck:
		if !strings.EqualFold(s, "true") && !strings.EqualFold(s, "false") {
			return `must be "true" or "false"`
		}
		c.truths = append(c.truths, strings.EqualFold(s, "true"))
	case numeric:
		n, ok := parseNumber(s)
		if !ok {
			return "is no decimal number"
		}
		c.numbers = append(c.numbers, n)
	case date:
		t, ok := parseDate(s)
		if !ok {
			return "is no date such as 2026-01-31T12:00:00Z, 2026-01-31 or seconds since 1970"
		}
		c.seconds = append(c.seconds, t)
	case ipAddress:
		n, ok := parseNetwork(s)
		if !ok {
			return "is no IP address or network such as 192.0.2.0/24"
		}
		c.networks = append(c.networks, n)
	}
	return ""
}

// addARN compiles the six parts one by one.
func (p *parser) addARN(c *condition, s string) string {
	var parts [6]glob
	if strings.Contains(s, hiddenColon) {
		return "has a character that no ARN has"
	}
	f := strings.SplitN(hideVariableColons(s), ":", 6)
	if len(f) != 6 || f[0] != "arn" {
		return "must be an ARN of six parts separated by colons, in which * and ? may stand"
	}
	for i := range f {
		g, problem := p.pattern(strings.ReplaceAll(f[i], hiddenColon, ":"), true)
		if problem != "" {
			return problem
		}
		parts[i] = g
	}
	c.arns = append(c.arns, parts)
	return ""
}

// hiddenColon stands for the colon of a variable's name while an ARN is split.
const hiddenColon = "\x00"

func hideVariableColons(s string) string {
	var b strings.Builder
	inside := false
	for i := range len(s) {
		switch {
		case s[i] == '$' && strings.HasPrefix(s[i:], "${"):
			inside = true
		case s[i] == '}':
			inside = false
		case s[i] == ':' && inside:
			b.WriteString(hiddenColon)
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (c *condition) hasVariables() bool {
	has := func(g glob) bool {
		return slices.ContainsFunc(g.parts, func(p part) bool { return p.kind == variablePart })
	}
	return slices.ContainsFunc(c.globs, has) || slices.ContainsFunc(c.arns, func(a [6]glob) bool { return slices.ContainsFunc(a[:], has) })
}

func parseNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" {
		return 0, false // neither "inf" nor "0x1p4" nor "1_000"
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// parseDate reads the ISO 8601 profile of the W3C, or Unix time; the result is
// Unix time.
func parseDate(s string) (float64, bool) {
	if n, ok := parseNumber(s); ok && !strings.Contains(s, "-") && len(s) != 4 {
		return n, true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return unix(t), true
		}
	}
	return 0, false
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// parseNetwork reads an address or a network; bits of the host do not matter,
// and an IPv4 address in IPv6 clothes is an IPv4 address.
func parseNetwork(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if n.Addr().Is4In6() {
		if n.Bits() < 96 {
			return netip.Prefix{}, false
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n, true
}
