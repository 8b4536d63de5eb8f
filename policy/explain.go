package policy

import (
	"fmt"
	"strings"
)

// Explanation is a decision with everything that was asked on the way.
type Explanation struct {
	Decision
	Resource    string // the ARN that documents were held against
	SameAccount bool
	Statements  []StatementResult // of all documents that speak about the resource
}

// StatementResult is how one statement answered.
type StatementResult struct {
	Document  string
	Sid       string
	Statement int // from 1 in its document
	Effect    string
	Matched   bool
	Failed    []string // each clause that did not match, as a sentence
}

// Explain is Evaluate in full: slow, for people. Its decision is the same; for
// an implicit deny it also names the Allow that came nearest and what failed.
func Explain(q *Request, sets ...*Set) Explanation {
	res := q.asked()
	out := Explanation{Decision: Evaluate(q, sets...), Resource: res.String(), SameAccount: q.sameAccount()}
	identityAllows := out.Reason == reasonNoResource
	resourceAllows := out.Reason == reasonNoIdentity
	var nearest *StatementResult
	for at := range sideCount {
		for _, s := range sets {
			x := s.side(at, q.Action, &res)
			if x == nil {
				continue
			}
			for i := range x.entries {
				r := x.entries[i].explain(q, out.Resource)
				out.Statements = append(out.Statements, r)
				// The side that allows already is not the one that is missing.
				missing := at == identitySide && !identityAllows || at != identitySide && !resourceAllows
				if missing && r.Effect == "Allow" && (nearest == nil || len(r.Failed) < len(nearest.Failed)) {
					nearest = &r
				}
			}
		}
	}
	if out.Rule == ruleImplicit && nearest != nil {
		out.Document, out.Sid, out.Statement = nearest.Document, nearest.Sid, nearest.Statement
		out.Reason += fmt.Sprintf("; nearest is statement %d of the policy %s: %s", nearest.Statement, nearest.Document, strings.Join(nearest.Failed, ", and "))
	}
	return out
}

func (e *entry) explain(q *Request, arn string) StatementResult {
	r := StatementResult{Document: e.document, Sid: e.sid, Statement: e.number, Effect: "Allow"}
	if e.deny {
		r.Effect = "Deny"
	}
	fail := func(format string, args ...any) { r.Failed = append(r.Failed, fmt.Sprintf(format, args...)) }
	if e.actions&maskOf(q.Action) == 0 {
		fail("Action does not cover %s", q.Action)
	}
	if !e.matchesPrincipal(&q.Caller) {
		who := q.Caller.ARN
		if who == "" {
			who = "an anonymous caller"
		}
		fail("Principal does not cover %s", who)
	}
	if !e.matchesResource([]byte(arn), &q.Caller) {
		fail("Resource does not cover %s", arn)
	}
	for i := range e.conditions {
		if c := &e.conditions[i]; !c.holds(q) {
			fail("Condition %s does not hold (%s)", c.source, c.have(q))
		}
	}
	r.Matched = len(r.Failed) == 0
	return r
}

// have words the request's value of the condition's key.
func (c *condition) have(q *Request) string {
	a, ok := q.lookup(c.key, c.tag)
	switch {
	case !ok:
		return "the request has none"
	case c.key == keyTagKeys:
		return fmt.Sprintf("the request has %q", q.Context.TagKeys)
	case c.key == keySecureTransport:
		return fmt.Sprintf("the request has %t", a.truth)
	case c.key == keySourceIP:
		return "the request has " + a.addr.String()
	case a.typed:
		return fmt.Sprintf("the request has %.0f", a.number)
	}
	return fmt.Sprintf("the request has %q", a.text)
}
