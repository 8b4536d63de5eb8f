package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// naive is the evaluation again, as the reference tells it: every statement is
// read from its JSON text and asked in turn. It shares no code with Evaluate.
type naive struct {
	documents []naiveDocument
}

type naiveDocument struct {
	Statement []naiveStatement
	name      string
	side      int    // 0 identity, 1 domain, 2 repository
	reach     string // resource documents: domain/D or repository/D/R, with region and account before
}

type naiveStatement struct {
	Sid                   string
	Effect                string
	Action, NotAction     any
	Resource, NotResource any
	Principal             any
	NotPrincipal          any
	Condition             map[string]map[string]any
}

func (n *naive) decide(q *Request) (Verdict, string) {
	arn := q.Resource.String()
	allowed := [3]string{}
	for side := range 3 {
		denied := ""
		for _, d := range n.documents {
			if d.side != side || side > 0 && !reaches(d.reach, arn) {
				continue
			}
			for i, s := range d.Statement {
				if !s.matches(q, arn, side > 0) {
					continue
				}
				rule := fmt.Sprintf("%s[%d]", d.name, i+1)
				if s.Effect == "Deny" && denied == "" {
					denied = rule
				}
				if s.Effect == "Allow" && allowed[side] == "" {
					allowed[side] = rule
				}
			}
		}
		if denied != "" {
			return Deny, denied
		}
	}
	byResource := allowed[1]
	if byResource == "" {
		byResource = allowed[2]
	}
	if q.Caller.Account == q.Resource.Owner {
		for _, rule := range []string{allowed[0], byResource} {
			if rule != "" {
				return Allow, rule
			}
		}
	} else if allowed[0] != "" && byResource != "" {
		return Allow, byResource
	}
	return Deny, ruleImplicit
}

// reaches: .../repository/D/R is reached by itself, .../package/D/R/... and by
// the domain.
func reaches(place, arn string) bool {
	if strings.Contains(place, ":domain/") {
		_, domain, _ := strings.Cut(place, ":domain/")
		head, _, _ := strings.Cut(place, ":domain/")
		return regexp.MustCompile("^" + regexp.QuoteMeta(head) + ":(domain|repository|package|package-group)/" + regexp.QuoteMeta(domain) + "(/|$)").MatchString(arn)
	}
	return arn == place || strings.HasPrefix(arn, strings.Replace(place, ":repository/", ":package/", 1)+"/")
}

func strs(v any) []string {
	switch t := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, x := range t {
			out = append(out, strs(x)...)
		}
		return out
	}
	return []string{fmt.Sprint(v)}
}

func anyGlob(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return naiveGlob(p, text) })
}

// naiveGlob tries every way; the patterns here have few stars.
func naiveGlob(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return naiveGlob(p[1:], s) || s != "" && naiveGlob(p, s[1:])
	}
	return s != "" && (p[0] == '?' || p[0] == s[0]) && naiveGlob(p[1:], s[1:])
}

func (s *naiveStatement) matches(q *Request, arn string, resource bool) bool {
	lower := func(v any) (out []string) {
		for _, x := range strs(v) {
			out = append(out, strings.ToLower(x))
		}
		return out
	}
	action := strings.ToLower(q.Action.String())
	if s.Action != nil && !anyGlob(lower(s.Action), action) || s.NotAction != nil && anyGlob(lower(s.NotAction), action) {
		return false
	}
	if resource {
		if s.Principal != nil && !naivePrincipal(s.Principal, &q.Caller) || s.NotPrincipal != nil && naivePrincipal(s.NotPrincipal, &q.Caller) {
			return false
		}
	}
	fill := func(v any) (out []string) {
		for _, x := range strs(v) {
			if q.Caller.UserName != "" {
				x = strings.ReplaceAll(x, "${aws:username}", q.Caller.UserName)
			}
			out = append(out, x)
		}
		return out
	}
	for _, x := range fill(s.NotResource) {
		if s.Effect == "Allow" && strings.Contains(x, "${") {
			return false // what cannot be resolved must not widen an Allow
		}
	}
	if s.Resource != nil && !anyGlob(fill(s.Resource), arn) || s.NotResource != nil && anyGlob(fill(s.NotResource), arn) {
		return false
	}
	for op, keys := range s.Condition {
		for key, want := range keys {
			if !naiveCondition(op, key, strs(want), q) {
				return false
			}
		}
	}
	return true
}

func naivePrincipal(p any, c *Caller) bool {
	if m, ok := p.(map[string]any); ok {
		p = m["AWS"]
	}
	for _, s := range strs(p) {
		if s == "*" || c.Account != "" && (s == c.Account || s == "arn:aws:iam::"+c.Account+":root") || c.ARN != "" && s == c.ARN || c.RoleARN != "" && s == c.RoleARN {
			return true
		}
	}
	return false
}

func naiveCondition(op, key string, want []string, q *Request) bool {
	have, there := "", true
	switch key {
	case "aws:username":
		have, there = q.Caller.UserName, q.Caller.UserName != ""
	case "aws:PrincipalTag/team":
		there = len(q.Caller.Tags) > 0
		if there {
			have = q.Caller.Tags[0].Value
		}
	case "aws:SecureTransport":
		have = fmt.Sprint(q.Context.SecureTransport)
	default:
		panic(key)
	}
	if op == "Null" {
		return slices.Contains(want, fmt.Sprint(!there))
	}
	if !there {
		return strings.Contains(op, "Not") || strings.HasSuffix(op, "IfExists")
	}
	switch strings.TrimSuffix(op, "IfExists") {
	case "StringEquals", "Bool":
		return slices.Contains(want, have)
	case "StringNotEquals":
		return !slices.Contains(want, have)
	case "StringLike":
		return anyGlob(want, have)
	case "StringNotLike":
		return !anyGlob(want, have)
	}
	panic(op)
}

// world makes random documents and questions from few words, so that they meet.
type world struct{ *rand.Rand }

func pick[T any](w world, from ...T) T { return from[w.IntN(len(from))] }

func (w world) some(make func() string) any {
	if w.IntN(2) == 0 {
		return make()
	}
	out := []string{}
	for range 1 + w.IntN(3) {
		out = append(out, make())
	}
	return out
}

func (w world) repository() string {
	return pick(w, "team", "side", "r1", "r2", "r3", "r4", "r5", "r6", "r7")
}

func (w world) pattern() string {
	head := "arn:aws:codeartifact:" + pick(w, "eu-1", "*", "eu-?") + ":" + pick(w, owner, "*", other) + ":"
	switch w.IntN(7) {
	case 0:
		return "*"
	case 1:
		return head + "domain/" + pick(w, "main", "*", "alt")
	case 2:
		return head + "*"
	case 3:
		return head + "package/main/" + w.repository() + pick(w, "/npm//react", "/npm/*", "/*/react", "*")
	case 4:
		return head + "repository/main/${aws:username}"
	}
	return head + pick(w, "repository", "*", "re?ository") + "/main/" + w.repository() + pick(w, "", "*", "?")
}

func (w world) statement(kind Kind) map[string]any {
	effect := pick(w, "Allow", "Allow", "Allow", "Deny")
	s := map[string]any{"Effect": effect}
	action := func() string {
		return pick(w, "*", "codeartifact:*", "codeartifact:Read*", "codeartifact:readFromRepository", "codeartifact:Describe*", "codeartifact:*Package?*", "codeartifact:PublishPackageVersion", "sts:*", "codeartifact:List*")
	}
	s[pick(w, "Action", "Action", "Action", "NotAction")] = w.some(action)
	s[pick(w, "Resource", "Resource", "Resource", "NotResource")] = w.some(w.pattern)
	if kind != IdentityDocument {
		name := "Principal"
		if effect == "Deny" && w.IntN(3) == 0 {
			name = "NotPrincipal"
		}
		s[name] = map[string]any{"AWS": w.some(func() string {
			return pick(w, owner, other, "arn:aws:iam::"+other+":root", reader.ARN, stranger.ARN, session.ARN, session.RoleARN, "333333333333")
		})}
		if w.IntN(4) == 0 && name == "Principal" {
			s[name] = "*"
		}
	}
	if w.IntN(3) == 0 {
		s["Condition"] = map[string]any{
			pick(w, "StringEquals", "StringNotEquals", "StringLike", "StringNotLikeIfExists", "StringEqualsIfExists"): map[string]any{
				pick(w, "aws:username", "aws:PrincipalTag/team"): w.some(func() string { return pick(w, "reader", "r*", "build", "*") }),
			},
			pick(w, "Null", "Null"): map[string]any{pick(w, "aws:username", "aws:PrincipalTag/team"): w.some(func() string { return pick(w, "true", "false") })},
		}
		if w.IntN(2) == 0 {
			delete(s["Condition"].(map[string]any), "Null")
		}
	}
	return s
}

// document is a random document that is accepted; what means nothing, such as
// a NotAction of everything, is thrown again.
func (w world) document(kind Kind) *Document {
	for {
		list := []map[string]any{}
		for range 1 + w.IntN(16) {
			list = append(list, w.statement(kind))
		}
		text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": list})
		if err != nil {
			panic(err)
		}
		if d, err := ParseLimited(text, kind, 1<<20); err == nil {
			return d
		}
	}
}

func (w world) request() *Request {
	q := &Request{
		Caller:  pick(w, reader, stranger, session, Caller{}),
		Action:  pick(w, ReadFromRepository, PublishPackageVersion, DescribePackage, DescribeRepository, ListPackages, DescribeDomain),
		Context: Context{SecureTransport: w.IntN(2) == 0},
	}
	if w.IntN(2) == 0 {
		q.Caller.Tags = []Tag{{"team", pick(w, "build", "*", "reader")}}
	}
	switch w.IntN(5) {
	case 0:
		q.Resource = domainMain
	case 1:
		q.Resource = group
	case 2:
		q.Resource = react
		q.Resource.Repository = w.repository()
	default:
		q.Resource = team
		q.Resource.Repository = w.repository() + pick(w, "", "", "1")
	}
	return q
}

// random is documents in both forms.
func (w world) random() ([]Attached, *naive) {
	var docs []Attached
	n := &naive{}
	add := func(kind Kind, name string, to ARN) {
		d := w.document(kind)
		docs = append(docs, Attached{Document: d, Name: strings.TrimPrefix(name, "identity:"), To: to})
		plain := naiveDocument{name: name, side: int(kind - IdentityDocument), reach: to.String()}
		if err := json.Unmarshal([]byte(d.text), &plain); err != nil {
			panic(err)
		}
		n.documents = append(n.documents, plain)
	}
	for i := range w.IntN(3) {
		add(IdentityDocument, fmt.Sprintf("identity:p%d", i), ARN{})
	}
	if w.IntN(3) > 0 {
		add(DomainDocument, "domain:main", domainMain)
	}
	for _, at := range []ARN{team, side2} {
		if w.IntN(3) > 0 {
			add(RepositoryDocument, "repository:main/"+at.Repository, at)
		}
	}
	return docs, n
}

// TestEvaluateEqualsNaive: the index changes what a decision costs, never what
// it is, nor the statement that it names.
func TestEvaluateEqualsNaive(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 11))}
	verdicts := map[string]int{}
	for range 1500 {
		docs, n := w.random()
		s, err := NewSet(docs...)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			q := w.request()
			verdict, rule := n.decide(q)
			if d := Evaluate(q, s); d.Verdict != verdict || d.Rule != rule {
				t.Fatalf("%+v: got %s by %s, want %s by %s\n%+v", q, d.Verdict, d.Rule, verdict, rule, n.documents)
			}
			side, _, _ := strings.Cut(rule, ":")
			verdicts[verdict.String()+" "+side]++
		}
	}
	for _, kind := range []string{"allow identity", "allow domain", "allow repository", "deny identity", "deny domain", "deny repository", "deny " + ruleImplicit} {
		if verdicts[kind] < 50 {
			t.Errorf("%q came up %d times: the test compares too little (%v)", kind, verdicts[kind], verdicts)
		}
	}
}

// TestEvaluateIsMonotone: without an Allow nothing is gained, without a Deny
// nothing is lost, and how documents are spread over sets means nothing.
func TestEvaluateIsMonotone(t *testing.T) {
	w := world{rand.New(rand.NewPCG(3, 5))}
	for range 300 {
		docs, _ := w.random()
		if len(docs) == 0 {
			continue
		}
		q := w.request()
		before := mustEvaluate(t, q, docs)
		for i := range docs {
			for j := range docs[i].Document.statements {
				if docs[i].Document.statements[j].deny == (before.Verdict == Allow) {
					less := without(docs, i, j)
					if after := mustEvaluate(t, q, less); after.Verdict != before.Verdict {
						t.Fatalf("%+v without statement %d of document %d: %+v, before %+v", q, j+1, i+1, after, before)
					}
				}
			}
		}
		var apart []*Set
		for i := range docs {
			s, err := NewSet(docs[i])
			if err != nil {
				t.Fatal(err)
			}
			apart = append(apart, s)
		}
		if d := Evaluate(q, apart...); d != before {
			t.Fatalf("apart: %+v, together: %+v", d, before)
		}
	}
}

func mustEvaluate(t testing.TB, q *Request, docs []Attached) Decision {
	t.Helper()
	s, err := NewSet(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return Evaluate(q, s)
}

// without is docs less one statement.
func without(docs []Attached, i, j int) []Attached {
	out := slices.Clone(docs)
	d := *out[i].Document
	d.statements = slices.Delete(slices.Clone(d.statements), j, j+1)
	out[i].Document = &d
	return out
}
