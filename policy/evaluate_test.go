package policy

import (
	"fmt"
	"strings"
	"testing"
)

const (
	allowAll    = `{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}`
	denyRead    = `{"Sid":"D","Effect":"Deny","Action":"codeartifact:Read*","Resource":"*"}`
	nothing     = `{"Sid":"N","Effect":"Allow","Action":"codeartifact:ListDomains","Resource":"*"}`
	admit       = `{"Sid":"R","Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`
	refuse      = `{"Sid":"X","Effect":"Deny","Principal":"*","Action":"codeartifact:Read*","Resource":"*"}`
	admitNobody = `{"Sid":"N","Effect":"Allow","Principal":{"AWS":"333333333333"},"Action":"*","Resource":"*"}`
)

// TestEvaluationOrder is the table of AWS's evaluation logic.
func TestEvaluationOrder(t *testing.T) {
	for _, c := range []struct {
		name                         string
		who                          Caller
		identity, domain, repository string
		want                         Verdict
		rule                         string
	}{
		{"nothing at all", reader, "", "", "", Deny, ruleImplicit},
		{"nothing that fits", reader, nothing, admitNobody, admitNobody, Deny, ruleImplicit},
		{"identity is enough", reader, allowAll, "", "", Allow, "identity:own#A"},
		{"domain is enough", reader, "", admit, "", Allow, "domain:main#R"},
		{"repository is enough", reader, nothing, "", admit, Allow, "repository:main/team#R"},
		{"identity is named first", reader, allowAll, admit, admit, Allow, "identity:own#A"},
		{"identity denies", reader, allowAll + "," + denyRead, admit, admit, Deny, "identity:own#D"},
		{"domain denies", reader, allowAll, refuse, admit, Deny, "domain:main#X"},
		{"repository denies", reader, allowAll, admit, refuse + "," + strings.Replace(admit, `"R"`, `"S"`, 1), Deny, "repository:main/team#X"},
		{"another account, identity alone", stranger, allowAll, "", "", Deny, ruleImplicit},
		{"another account, resource alone", stranger, "", admit, admit, Deny, ruleImplicit},
		{"another account, both", stranger, allowAll, admit, "", Allow, "domain:main#R"},
		{"another account, both, repository", stranger, allowAll, "", admit, Allow, "repository:main/team#R"},
		{"another account, denied", stranger, allowAll, admit, refuse, Deny, "repository:main/team#X"},
		{"no account", Caller{}, "", admit, admit, Deny, ruleImplicit},
		{"no account, identity alone", Caller{}, allowAll, "", "", Deny, ruleImplicit},
		{"a session of a role", session, allowAll, "", "", Allow, "identity:own#A"},
	} {
		q := &Request{Caller: c.who, Action: ReadFromRepository, Resource: team}
		s := sets(t, c.identity, c.domain, c.repository)
		d := Evaluate(q, s...)
		if d.Verdict != c.want || d.Rule != c.rule || d.Reason == "" {
			t.Errorf("%s: got %+v, want %s by %s", c.name, d, c.want, c.rule)
		}
		if x := Explain(q, s...); x.Verdict != d.Verdict || x.Rule != d.Rule {
			t.Errorf("%s: explained as %+v", c.name, x)
		}
	}
}

func TestPrincipals(t *testing.T) {
	root := Caller{ARN: "arn:aws:iam::" + owner + ":root", Account: owner}
	namesake := reader
	namesake.ARN, namesake.Account = strings.Replace(reader.ARN, owner, other, 1), other
	for _, c := range []struct {
		principal string
		who       Caller
		want      bool
	}{
		{`"*"`, reader, true},
		{`{"AWS":"*"}`, session, true},
		{`{"AWS":"` + owner + `"}`, reader, true},
		{`{"AWS":"` + owner + `"}`, session, true},
		{`{"AWS":"` + owner + `"}`, root, true},
		{`{"AWS":"arn:aws:iam::` + owner + `:root"}`, reader, true},
		{`{"AWS":"arn:aws:iam::` + other + `:root"}`, reader, false},
		{`{"AWS":["` + other + `","` + reader.ARN + `"]}`, reader, true},
		{`{"AWS":"` + reader.ARN + `"}`, namesake, false},
		{`{"AWS":"` + reader.ARN + `"}`, root, false},
		{`{"AWS":"` + session.RoleARN + `"}`, session, true},
		{`{"AWS":"` + session.ARN + `"}`, session, true},
		{`{"AWS":"` + session.ARN + `8"}`, session, false},
		{`{"AWS":"` + session.RoleARN + `"}`, reader, false},
		{`{"AWS":"` + reader.ARN + `"}`, Caller{}, false},
	} {
		// With an identity allow, so that the account does not matter.
		s := sets(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`, "", `{"Effect":"Deny","Principal":`+c.principal+`,"Action":"*","Resource":"*"}`)
		q := &Request{Caller: c.who, Action: ReadFromRepository, Resource: team}
		if d := Evaluate(q, s...); (d.Document == "repository:main/team") != c.want {
			t.Errorf("Principal %s, caller %s: got %+v", c.principal, c.who.ARN, d)
		}
		if c.principal == `"*"` || strings.Contains(c.principal, `"*"`) {
			continue
		}
		s = sets(t, "", "", `{"Effect":"Deny","NotPrincipal":`+c.principal+`,"Action":"*","Resource":"*"}`)
		if d := Evaluate(q, s...); (d.Document == "repository:main/team") == c.want {
			t.Errorf("NotPrincipal %s, caller %s: got %+v", c.principal, c.who.ARN, d)
		}
	}
}

func TestResources(t *testing.T) {
	const p = "arn:aws:codeartifact:eu-1:" + owner + ":"
	for _, c := range []struct {
		member   string
		action   Action
		resource ARN
		want     bool
	}{
		{`"Resource":"*"`, ReadFromRepository, team, true},
		{`"Resource":"` + p + `repository/main/team"`, ReadFromRepository, team, true},
		{`"Resource":"` + p + `repository/main/tea"`, ReadFromRepository, team, false},
		{`"Resource":"` + p + `repository/main/team"`, DescribePackage, react, false},
		{`"Resource":"` + p + `package/main/team/npm//react"`, DescribePackage, react, true},
		{`"Resource":"` + p + `package/main/team/*"`, DescribePackage, react, true},
		{`"Resource":"` + p + `*react"`, DescribePackage, react, true},
		{`"Resource":"arn:aws:codeartifact:*"`, DescribePackage, react, true},
		{`"Resource":"arn:aws:codeartifact:??-1:*:package/main/t??m/npm/*"`, DescribePackage, react, true},
		{`"Resource":"arn:aws:codeartifact:e*:*:pack*act"`, DescribePackage, react, true}, // * crosses : and /
		{`"Resource":["` + p + `domain/main","` + p + `package-group/main/npm/*"]`, DescribePackageGroup, group, true},
		{`"NotResource":"` + p + `repository/main/side"`, ReadFromRepository, team, true},
		{`"NotResource":"` + p + `repository/main/side"`, ReadFromRepository, side2, false},
		{`"NotResource":["` + p + `domain/*","` + p + `repository/*"]`, ReadFromRepository, side2, false},
		{`"Resource":"*"`, ListDomains, ARN{}, true},
		{`"Resource":"arn:aws:codeartifact:*"`, ListDomains, ARN{}, false},
		{`"Resource":"arn:aws:codeartifact:*:${aws:PrincipalAccount}:repository/main/*"`, ReadFromRepository, team, true},
		{`"Resource":"arn:aws:codeartifact:*:*:repository/main/${aws:PrincipalTag/team}"`, ReadFromRepository, team, true},
		{`"Resource":"arn:aws:codeartifact:*:*:repository/main/${aws:PrincipalTag/nobody}"`, ReadFromRepository, team, false},
		{`"NotResource":"arn:aws:codeartifact:*:*:repository/main/${aws:PrincipalTag/nobody}"`, ReadFromRepository, team, false}, // an Allow must not widen
		// What does not exist yet is made in its domain.
		{`"Resource":"` + p + `domain/main"`, CreateRepository, team, true},
		{`"Resource":"` + p + `repository/main/team"`, CreateRepository, team, false},
		{`"Resource":"` + p + `domain/main"`, CreatePackageGroup, group, true},
	} {
		q := &Request{Caller: reader, Action: c.action, Resource: c.resource}
		q.Caller.Tags = []Tag{{"team", "team"}}
		d := Evaluate(q, sets(t, `{"Effect":"Allow","Action":"*",`+c.member+`}`, "", "")...)
		if (d.Verdict == Allow) != c.want {
			t.Errorf("%s, %s on %s: got %+v", c.member, c.action, c.resource.String(), d)
		}
	}
}

func TestActionsOfStatements(t *testing.T) {
	for _, c := range []struct {
		member string
		do     Action
		want   bool
	}{
		{`"Action":"*"`, ReadFromRepository, true},
		{`"Action":"codeartifact:*"`, GetServiceBearerToken, false},
		{`"Action":"sts:*"`, GetServiceBearerToken, true},
		{`"Action":"CODEARTIFACT:readFROMrepository"`, ReadFromRepository, true},
		{`"Action":["codeartifact:Get*","codeartifact:Read????Repository"]`, ReadFromRepository, true},
		{`"Action":"codeartifact:ReadFromRepositor"`, ReadFromRepository, false},
		{`"NotAction":"codeartifact:Put*"`, ReadFromRepository, true},
		{`"NotAction":["codeartifact:Put*","codeartifact:Read*"]`, ReadFromRepository, false},
		{`"NotAction":"codeartifact:*"`, GetServiceBearerToken, true},
	} {
		doc := statements(`{"Effect":"Allow","Resource":"*",` + c.member + `}`)
		d, err := Parse([]byte(doc), IdentityDocument)
		got := false
		if err == nil {
			s, err := NewSet(Attached{Document: d})
			if err != nil {
				t.Fatal(err)
			}
			got = Evaluate(&Request{Caller: reader, Action: c.do, Resource: team}, s).Verdict == Allow
		}
		if got != c.want {
			t.Errorf("%s, %s: got %t (%v)", c.member, c.do, got, err)
		}
	}
}

// TestReach: a document speaks about what it hangs on and all below, no more.
func TestReach(t *testing.T) {
	elsewhere := team
	elsewhere.Region = "us-1"
	foreign := team
	foreign.Owner = other
	for _, c := range []struct {
		name               string
		do                 Action
		resource           ARN
		domain, repository bool
	}{
		{"the domain", DescribeDomain, domainMain, true, false},
		{"the repository", ReadFromRepository, team, true, true},
		{"a package in it", DescribePackage, react, true, true},
		{"another repository", ReadFromRepository, side2, true, false},
		{"a package group", DescribePackageGroup, group, true, false},
		{"another region", ReadFromRepository, elsewhere, false, false},
		{"another owner", ReadFromRepository, foreign, false, false},
		{"no resource", ListDomains, ARN{}, false, false},
		{"a role", AssumeRoleWithWebIdentity, ARN{Kind: ForeignARN, Owner: owner, Name: session.RoleARN}, false, false},
		{"a repository to be", CreateRepository, team, true, false},
		// Nobody is locked out by the policy that is to be replaced.
		{"the domain's policy", PutDomainPermissionsPolicy, domainMain, false, false},
		{"the repository's policy", PutRepositoryPermissionsPolicy, team, true, false},
	} {
		const deny = `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`
		q := &Request{Caller: reader, Action: c.do, Resource: c.resource}
		if d := Evaluate(q, sets(t, allowAll, deny, "")...); (d.Document == "domain:main") != c.domain {
			t.Errorf("%s, domain policy: got %+v", c.name, d)
		}
		if d := Evaluate(q, sets(t, allowAll, "", deny)...); (d.Document == "repository:main/team") != c.repository {
			t.Errorf("%s, repository policy: got %+v", c.name, d)
		}
	}
}

func TestExplain(t *testing.T) {
	s := sets(t,
		`{"Sid":"Far","Effect":"Allow","Action":"codeartifact:List*","Resource":"arn:aws:codeartifact:*:*:domain/other"},`+
			`{"Sid":"Near","Effect":"Allow","Action":"codeartifact:Read*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true},"StringLike":{"aws:PrincipalTag/team":"x"}}}`,
		admitNobody, "")
	q := &Request{Caller: reader, Action: ReadFromRepository, Resource: team, Context: Context{SecureTransport: true}}
	x := Explain(q, s...)
	if x.Verdict != Deny || x.Document != "identity:own" || x.Sid != "Near" || x.Statement != 2 || !x.SameAccount {
		t.Errorf("got %+v", x.Decision)
	}
	const want = `no policy allows this; nearest is statement 2 of the policy identity:own: Condition StringLike aws:PrincipalTag/team does not hold (the request has none)`
	if x.Reason != want {
		t.Errorf("got  %s\nwant %s", x.Reason, want)
	}
	if len(x.Statements) != 3 || len(x.Statements[0].Failed) != 2 || len(x.Statements[1].Failed) != 1 || x.Statements[2].Failed[0] != "Principal does not cover "+reader.ARN {
		t.Errorf("got %+v", x.Statements)
	}
	// Across accounts, the side that is missing is the one to mend.
	q.Caller = stranger
	q.Caller.Tags = []Tag{{"team", "x"}}
	if x := Explain(q, s...); x.Verdict != Deny || x.Document != "domain:main" || !strings.HasPrefix(x.Reason, reasonNoResource) {
		t.Errorf("got %+v", x.Decision)
	}
}

// TestNobodysResource: two empty accounts are not the same account.
func TestNobodysResource(t *testing.T) {
	for _, res := range []ARN{{}, {Kind: ForeignARN, Name: session.RoleARN}} {
		for _, c := range []struct {
			who  Caller
			want bool
		}{{Caller{}, false}, {reader, res.Kind == NoResource}} {
			d := Evaluate(&Request{Caller: c.who, Action: ListDomains, Resource: res}, sets(t, allowAll, "", "")...)
			if (d.Verdict == Allow) != c.want {
				t.Errorf("%q on %s: got %+v", c.who.ARN, res.String(), d)
			}
		}
	}
}

func TestNewSetRefuses(t *testing.T) {
	identity, domain, repository := parse(t, IdentityDocument, statements(allowAll)), parse(t, DomainDocument, statements(admit)), parse(t, RepositoryDocument, statements(admit))
	for _, a := range []Attached{{}, {Document: identity, To: domainMain}, {Document: domain}, {Document: domain, To: team}, {Document: repository, To: domainMain}, {Document: repository, To: react}} {
		if _, err := NewSet(a); err == nil {
			t.Errorf("%+v was accepted", a)
		}
	}
}

// TestCrowd: where many patterns begin alike, each is still found by all that it
// matches, and the first that matches decides.
func TestCrowd(t *testing.T) {
	const p = "arn:aws:codeartifact:*:" + owner + ":"
	var list []string
	for i := range 40 {
		for _, tail := range []string{"repository/main/r%d", "repository/main/r%d?", "package/main/r%d/*", "*/main/r%d*", "*r%d/npm//react", "package/m*/x%d/npm//re*t", "p*e/main/y%dz/npm//${aws:username}"} {
			effect := "Allow"
			if i%7 == 3 {
				effect = "Deny"
			}
			list = append(list, fmt.Sprintf(`{"Effect":%q,"Action":"*","Resource":[%q,"arn:aws:iam::*:x%d"]}`, effect, p+fmt.Sprintf(tail, i), i))
		}
	}
	d, err := ParseLimited([]byte(statements(strings.Join(list, ","))), IdentityDocument, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSet(Attached{Document: d, Name: "own"})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.identity.allow.places.words.heads) == 0 {
		t.Fatal("no pattern is listed under a word: the test tests nothing")
	}
	allowed, denied := 0, 0
	for i := range 44 {
		for _, name := range []string{"r%d", "r%d7", "r%dx", "x%d", "y%dz", "s%d"} {
			for _, res := range []ARN{team, react} {
				res.Repository = fmt.Sprintf(name, i)
				q := &Request{Caller: reader, Action: ReadFromRepository, Resource: res}
				q.Caller.UserName = "react"
				want := ruleImplicit
				for _, r := range Explain(q, s).Statements {
					if r.Matched && (want == ruleImplicit || r.Effect == "Deny") {
						want = fmt.Sprintf("%s[%d]", r.Document, r.Statement)
						if r.Effect == "Deny" {
							denied++
							break
						}
						allowed++
					}
				}
				if got := Evaluate(q, s); got.Rule != want {
					t.Errorf("%s: got %+v, want %s", res.String(), got, want)
				}
			}
		}
	}
	if allowed < 100 || denied < 20 {
		t.Errorf("%d allowed, %d denied: the test compares too little", allowed, denied)
	}
}

// TestEvaluateAllocatesNothing, also with long names, variables and conditions.
func TestEvaluateAllocatesNothing(t *testing.T) {
	s := sets(t, `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"*`+strings.Repeat("long", 20)+`"}}},`+
		`{"Effect":"Allow","Action":"*","Resource":"arn:aws:codeartifact:*:${aws:PrincipalAccount}:package/*","Condition":{"StringNotEquals":{"aws:username":"x"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}}`, refuse, "")
	q := &Request{Caller: reader, Action: DescribePackage, Resource: react, Context: Context{SourceIP: addr("10.1.1.1")}}
	q.Caller.UserName = strings.Repeat("reader", 40)
	q.Resource.Name = strings.Repeat("n", 255)
	if d := Evaluate(q, s...); d.Verdict != Allow {
		t.Fatalf("got %+v", d)
	}
	if n := testing.AllocsPerRun(100, func() { Evaluate(q, s...) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	q.Resource.Name = strings.Repeat("n", 5000) // no such name exists, but the answer must be right
	if d := Evaluate(q, s...); d.Verdict != Allow {
		t.Errorf("got %+v", d)
	}
}
