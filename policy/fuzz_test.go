package policy

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParse: no document harms, an accepted one stays accepted and means the
// same, and the index answers as its statements do one by one.
func FuzzParse(f *testing.F) {
	for _, doc := range []string{
		allow(good), allow(who + "," + good), statements(allowAll + "," + denyRead), statements(admit + "," + refuse), `{}`, `[[[[`, `{"Statement":[{}]}`,
		allow(`"Principal":{"AWS":["111111111111","arn:aws:iam::111111111111:role/pipelines/ci"]},"NotAction":"sts:*","Resource":["arn:aws:codeartifact:*:${aws:PrincipalAccount}:*/main/t?am*","arn:aws:iam::1:x"],"Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a*"]},"ArnNotLike":{"aws:PrincipalArn":"arn:*:*:*:*:*"},"NotIpAddress":{"aws:SourceIp":["::/0","10.0.0.0/8"]}}`),
		allow(good + `,"Condition":{"DateGreaterThan":{"aws:EpochTime":[1,"2026-01-31T12:00Z"]},"NumericNotEquals":{"aws:RequestTag/n":1e3},"Null":{"aws:username":[true,"false"]},"StringNotEqualsIgnoreCase":{"aws:userid":"${aws:username}x"}}`),
	} {
		for kind := range uint8(4) {
			f.Add([]byte(doc), kind, "team", "reader")
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte, kind uint8, repository, user string) {
		d, err := Parse(doc, Kind(kind))
		if err != nil {
			var de *DocumentError
			if d != nil || !errors.As(err, &de) || de.Problem == "" || errors.Is(err, ErrSyntax) == errors.Is(err, ErrGrammar) {
				t.Fatalf("%q: %v, %#v", doc, d, err)
			}
			return
		}
		if !json.Valid(doc) || d.Text() != string(doc) {
			t.Fatalf("%q was accepted", doc)
		}
		again, err := Parse([]byte(d.Text()), d.Kind())
		if err != nil || again.Len() != d.Len() {
			t.Fatalf("%q the second time: %v", doc, err)
		}
		to := map[Kind]ARN{DomainDocument: domainMain, RepositoryDocument: team}[d.Kind()]
		to.Repository = map[bool]string{true: repository}[d.Kind() == RepositoryDocument]
		docs := []Attached{{Document: d, To: to}}
		if d.Kind() == RepositoryDocument && repository == "" {
			return
		}
		for _, q := range questions(repository, user) {
			fuzzEvaluate(t, q, docs, again)
		}
	})
}

func questions(repository, user string) []*Request {
	inside, pkg := team, react
	inside.Repository, pkg.Repository = repository, repository
	pkg.Name = user
	named := reader
	named.UserName = user
	tagged := session
	tagged.Tags = []Tag{{user, repository}}
	return []*Request{
		{Caller: named, Action: ReadFromRepository, Resource: inside},
		{Caller: tagged, Action: PublishPackageVersion, Resource: pkg, Context: Context{SourceIP: addr("10.0.0.1"), TagKeys: []string{user, "a"}, RequestTags: tagged.Tags}},
		{Caller: stranger, Action: DescribeDomain, Resource: domainMain},
		{Action: ListDomains},
	}
}

func fuzzEvaluate(t *testing.T, q *Request, docs []Attached, again *Document) {
	s, err := NewSet(docs...)
	if err != nil {
		t.Fatal(err)
	}
	got, x := Evaluate(q, s), Explain(q, s)
	if x.Verdict != got.Verdict || x.Rule != got.Rule {
		t.Fatalf("%+v: evaluated %+v, explained %+v", q, got, x)
	}
	denied, allowed := false, false
	for _, r := range x.Statements {
		denied = denied || r.Matched && r.Effect == "Deny"
		allowed = allowed || r.Matched && r.Effect == "Allow"
	}
	if want := allowed && !denied && q.sameAccount(); (got.Verdict == Allow) != want {
		t.Fatalf("%+v: got %+v, the statements say %t", q, got, want)
	}
	docs[0].Document = again
	if second := mustEvaluate(t, q, docs); second != got {
		t.Fatalf("%+v: %+v and then %+v", q, got, second)
	}
	for i := range again.statements {
		if got.Verdict == Deny && !again.statements[i].deny {
			if after := mustEvaluate(t, q, without(docs, 0, i)); after.Verdict != Deny {
				t.Fatalf("%+v: denied, but allowed without the Allow of statement %d", q, i+1)
			}
		}
	}
}
