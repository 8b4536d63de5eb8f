package policy

import (
	"slices"
	"strings"
	"unicode"
)

// statement is one compiled statement of a document.
type statement struct {
	number     int // from 1 in its document
	sid        string
	deny       bool
	actions    actionMask
	principals principals // of resource documents

	resources    []glob
	notResource  bool
	anyResource  bool // Resource "*": in a resource document, all below what it hangs on
	unboundNever bool // an Allow with NotResource: an unresolved variable must not widen it

	conditions []condition
}

func (p *parser) readStatement(v *value) (s statement, err error) {
	s.number = p.statement
	if v.kind == objectValue {
		if sid := v.get("Sid"); sid != nil && sid.kind == stringValue {
			p.sid = sid.text
		}
	}
	known := []string{"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
	if p.kind != IdentityDocument {
		known = append(known, "Principal", "NotPrincipal")
	} else if v.kind == objectValue && (v.get("Principal") != nil || v.get("NotPrincipal") != nil) {
		return s, p.fail("Principal", "not allowed in an identity document, which speaks about the principal it belongs to")
	}
	if err := p.object("", v, known...); err != nil {
		return s, err
	}
	if err := p.readSid(v.get("Sid")); err != nil {
		return s, err
	}
	s.sid = p.sid
	effect := v.get("Effect")
	if effect == nil || effect.kind != stringValue || effect.text != "Allow" && effect.text != "Deny" {
		return s, p.fail("Effect", `must be "Allow" or "Deny"`)
	}
	s.deny = effect.text == "Deny"
	if s.actions, err = p.readActions(v); err != nil {
		return s, err
	}
	if p.kind != IdentityDocument {
		if s.principals, err = p.readPrincipals(v, s.deny); err != nil {
			return s, err
		}
	}
	if err := p.readResources(v, &s); err != nil {
		return s, err
	}
	if c := v.get("Condition"); c != nil {
		s.conditions, err = p.readConditions(c, s.deny)
	}
	return s, err
}

// readSid checks the characters: a Sid ends up in logs and messages.
func (p *parser) readSid(v *value) error {
	if v == nil {
		return nil
	}
	if v.kind != stringValue {
		return p.fail("Sid", "must be a string, not %s", v.kind)
	}
	for _, r := range v.text {
		plain := r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if !plain && (p.kind == IdentityDocument || !strings.ContainsRune(" -_./:", r)) {
			return p.fail("Sid", "has the character %q; allowed are letters and digits (in resource documents also space and -_./:)", r)
		}
	}
	return nil
}

// either finds the one of two members that must be there.
func (p *parser) either(v *value, name string) (found *value, at string, not bool, err error) {
	yes, no := v.get(name), v.get("Not"+name)
	switch {
	case yes != nil && no != nil:
		return nil, "", false, p.fail("Not"+name, "stands beside %s; write one of them", name)
	case yes != nil:
		return yes, name, false, nil
	case no != nil:
		return no, "Not" + name, true, nil
	}
	return nil, "", false, p.fail(name, "is missing; write %s or Not%s", name, name)
}

func (p *parser) readActions(v *value) (actionMask, error) {
	list, at, not, err := p.either(v, "Action")
	if err != nil {
		return 0, err
	}
	patterns, err := p.list(at, list)
	if err != nil {
		return 0, err
	}
	var m actionMask
	for _, s := range patterns {
		one, problem := parseActionPattern(s)
		if problem != "" {
			return 0, p.fail(at, "%q %s", clip(s), problem)
		}
		m |= one
	}
	if not {
		m = allActions &^ m
	}
	if m == 0 {
		return 0, p.fail(at, "leaves no action; the statement would say nothing")
	}
	return m, nil
}

func (p *parser) readResources(v *value, s *statement) error {
	list, at, not, err := p.either(v, "Resource")
	if err != nil {
		return err
	}
	patterns, err := p.list(at, list)
	if err != nil {
		return err
	}
	for _, src := range patterns {
		g, problem := p.pattern(src, true)
		if problem == "" && src != "*" {
			problem = checkResourcePattern(src)
		}
		if problem != "" {
			return p.fail(at, "%q %s", clip(src), problem)
		}
		s.resources = append(s.resources, g)
	}
	s.notResource = not
	all := slices.Contains(patterns, "*")
	if all && not {
		return p.fail(at, `"*" leaves no resource; the statement would say nothing`)
	}
	s.anyResource = all
	s.unboundNever = not && !s.deny
	return nil
}

// pattern compiles a pattern in which policy variables may stand, if the
// document's version has them.
func (p *parser) pattern(s string, wild bool) (glob, string) {
	if !p.variables && strings.Contains(s, "${") {
		return glob{}, `has a policy variable, which needs "Version": "2012-10-17"`
	}
	return compilePattern(s, wild, true)
}

// maxPattern is the longest ARN that CodeArtifact has, doubled for wildcards.
const maxPattern = 2048

// checkResourcePattern refuses patterns that can never match a resource here:
// in a Deny they would look like protection.
func checkResourcePattern(s string) string {
	const want = `must be "*" or an ARN such as "arn:aws:codeartifact:REGION:ACCOUNT:repository/DOMAIN/REPOSITORY"`
	if len(s) > maxPattern {
		return "is too long; at most 2048 bytes"
	}
	f := strings.SplitN(maskVariables(s), ":", 6)
	if f[0] != "arn" || len(f) < 3 || len(f) < 6 && !strings.HasSuffix(f[len(f)-1], "*") {
		return want
	}
	if f[1] != "aws" && f[1] != "*" {
		return want + `; the partition is "aws"`
	}
	if !slices.Contains([]string{"codeartifact", "iam", "sts", "*"}, f[2]) {
		return want + `; the service is "codeartifact", "iam" or "sts"`
	}
	if f[2] != "codeartifact" {
		return ""
	}
	if len(f) > 3 && f[3] == "" {
		return want + "; the region is empty"
	}
	if len(f) > 4 && !isAccount(f[4]) && !strings.ContainsAny(f[4], "*?") {
		return want + "; the account has 12 digits"
	}
	if len(f) < 6 {
		return ""
	}
	lead := f[5]
	if at := strings.IndexAny(lead, "*?"); at >= 0 {
		lead = lead[:at]
	}
	for _, kind := range []string{"domain/", "repository/", "package/", "package-group/"} {
		if strings.HasPrefix(lead, kind) && len(f[5]) > len(kind) || strings.HasPrefix(kind, lead) && lead != f[5] {
			return ""
		}
	}
	return want + "; the resource is domain/, repository/, package/ or package-group/ and a name"
}

// maskVariables puts a * where a variable stands, so that its colon does not count.
func maskVariables(s string) string {
	for {
		from := strings.Index(s, "${")
		if from < 0 {
			return s
		}
		to := strings.IndexByte(s[from:], '}')
		if to < 0 {
			return s
		}
		s = s[:from] + "*" + s[from+to+1:]
	}
}
