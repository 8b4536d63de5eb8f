package policy

import (
	"errors"
	"fmt"
)

// Attached is a document where it counts: with a principal, or on a resource.
type Attached struct {
	Document *Document
	Name     string // identity documents: the policy's name, for decisions
	To       ARN    // resource documents: the domain or repository
}

// Set is a compiled collection of documents, immutable and safe for concurrent
// use. One set holds the identity documents of one principal, another the
// resource documents of as many domains and repositories as there are; a set
// with both is as good. Building one from parsed documents is cheap.
type Set struct {
	identity policies
	places   map[place]*policies
}

// NewSet compiles documents into a set. Statements keep the order of docs, and
// the first that decides is the one a decision names.
func NewSet(docs ...Attached) (*Set, error) {
	s := &Set{places: map[place]*policies{}}
	for i := range docs {
		d := &docs[i]
		if d.Document == nil {
			return nil, errors.New("attach policy: no document")
		}
		x, name, err := s.policiesOf(d)
		if err != nil {
			return nil, err
		}
		for j := range d.Document.statements {
			st := &d.Document.statements[j]
			x.add(newEntry(st, name))
		}
	}
	s.identity.seal()
	for _, x := range s.places {
		x.seal()
	}
	return s, nil
}

func (s *Set) policiesOf(d *Attached) (*policies, string, error) {
	kind := d.Document.kind
	at, name := place{}, ""
	switch {
	case kind == IdentityDocument && d.To.Kind == NoResource:
		return &s.identity, "identity:" + d.Name, nil
	case kind == DomainDocument && d.To.Kind == DomainARN && d.To.Domain != "":
		at, name = d.To.domain(), "domain:"+d.To.Domain
	case kind == RepositoryDocument && d.To.Kind == RepositoryARN && d.To.Repository != "":
		at, name = d.To.repository(), "repository:"+d.To.Domain+"/"+d.To.Repository
	default:
		return nil, "", fmt.Errorf("attach policy: a document of kind %s does not belong on %s", kind, d.To.String())
	}
	x := s.places[at]
	if x == nil {
		x = &policies{}
		s.places[at] = x
	}
	return x, name, nil
}

func newEntry(st *statement, document string) entry {
	e := entry{statement: st, document: document, rule: fmt.Sprintf("%s[%d]", document, st.number)}
	did, which := "allowed", fmt.Sprintf("statement %d", st.number)
	if st.deny {
		did = "denied"
	}
	if st.sid != "" {
		e.rule = document + "#" + st.sid
		which += fmt.Sprintf(" (Sid %q)", st.sid)
	}
	e.reason = fmt.Sprintf("%s by %s of the policy %s", did, which, document)
	return e
}

// side is where a document can hang, in the order in which decisions name them.
type side uint8

const (
	identitySide side = iota
	domainSide
	repositorySide
	sideCount
)

// side is what one side of the set holds about a; nil for nothing. The policy of a resource has no say about its own replacement,
// so that nobody can lock the owner out; it cannot be delegated either (UG
// domain-policies, repo-policies).
func (s *Set) side(at side, do Action, a *ARN) *policies {
	if s == nil {
		return nil
	}
	inRepository := a.Kind == RepositoryARN || a.Kind == PackageARN
	switch {
	case at == identitySide:
		return &s.identity
	case at == domainSide && do != PutDomainPermissionsPolicy && (inRepository || a.Kind == DomainARN || a.Kind == PackageGroupARN):
		return s.places[a.domain()]
	case at == repositorySide && do != PutRepositoryPermissionsPolicy && inRepository:
		return s.places[a.repository()]
	}
	return nil
}

// asked is the resource that documents are held against. What is about to be
// made in a domain has no ARN yet: it is granted on the domain.
func (q *Request) asked() ARN {
	a := q.Resource
	if q.Action == CreateRepository || q.Action == CreatePackageGroup {
		if a.Kind == RepositoryARN || a.Kind == PackageGroupARN {
			a = ARN{Kind: DomainARN, Region: a.Region, Owner: a.Owner, Domain: a.Domain}
		}
	}
	return a
}

// sameAccount reports whether one allow is enough. Actions without a resource
// concern the caller's own account.
func (q *Request) sameAccount() bool {
	c, r := &q.Caller, &q.Resource
	return c.Account != "" && (c.Account == r.Owner || r.Kind == NoResource && r.Owner == "")
}

// maxARN is CodeArtifact's limit (1011) and a little more; a longer one is
// still judged, with an allocation.
const maxARN = 1024

// Reasons and rules of implicit denials.
const (
	ruleImplicit        = "implicit-deny"
	reasonImplicit      = "no policy allows this"
	reasonNoIdentity    = "the resource belongs to another account: its policy allows this, but no identity policy of the caller does"
	reasonNoResource    = "the resource belongs to another account: an identity policy of the caller allows this, but no policy of the resource does"
	ruleUnknownAction   = "unknown-action"
	reasonUnknownAction = "this is no known action"
)

// Evaluate decides, from the documents of all sets. An explicit Deny in any of
// them wins; in the owner's own account one Allow is enough, from an identity
// or a resource document; across accounts both must allow; everything else is
// denied (AWS policy evaluation logic). It allocates nothing, unless a
// condition ignores case and joins text with a variable.
func Evaluate(q *Request, sets ...*Set) Decision {
	if maskOf(q.Action) == 0 {
		return Decision{Verdict: Deny, Rule: ruleUnknownAction, Reason: reasonUnknownAction}
	}
	var buf [maxARN]byte
	res := q.asked()
	arn := res.AppendARN(buf[:0])
	var allows [sideCount]*entry
	for at := range sideCount {
		for _, s := range sets {
			x := s.side(at, q.Action, &res)
			if x == nil || len(x.entries) == 0 {
				continue
			}
			if deny := x.deny.first(q, arn); deny != nil {
				return deny.decision(Deny)
			}
			if allows[at] == nil {
				allows[at] = x.allow.first(q, arn)
			}
		}
	}
	byResource := allows[domainSide]
	if byResource == nil {
		byResource = allows[repositorySide]
	}
	return q.combine(allows[identitySide], byResource)
}

// combine is the part of the evaluation after denials.
func (q *Request) combine(byIdentity, byResource *entry) Decision {
	same := q.sameAccount()
	switch {
	case byIdentity == nil && byResource == nil:
		return Decision{Verdict: Deny, Rule: ruleImplicit, Reason: reasonImplicit}
	case same && byIdentity != nil:
		return byIdentity.decision(Allow)
	case same || byIdentity != nil && byResource != nil:
		return byResource.decision(Allow)
	case byIdentity == nil:
		return Decision{Verdict: Deny, Rule: ruleImplicit, Reason: reasonNoIdentity}
	}
	return Decision{Verdict: Deny, Rule: ruleImplicit, Reason: reasonNoResource}
}

func (e *entry) decision(v Verdict) Decision {
	return Decision{Verdict: v, Rule: e.rule, Reason: e.reason, Document: e.document, Sid: e.sid, Statement: e.number}
}
