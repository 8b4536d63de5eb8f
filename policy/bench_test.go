package policy

import (
	"encoding/json"
	"fmt"
	"testing"
)

// benchSets has n statements, half of them a principal's and half on resources,
// spread over documents as large as may be; what decides is the last of all.
func benchSets(b *testing.B, n int, shape string) []*Set {
	type object map[string]any
	with := func(statement, condition object) object {
		if condition != nil {
			statement["Condition"] = condition
		}
		return statement
	}
	var identity, resource []object
	for i := range n / 2 {
		act, who, res := "codeartifact:ReadFromRepository", reader.ARN, "*"
		switch shape {
		case "principals":
			who = fmt.Sprintf("arn:aws:iam::%s:user/u%d", owner, i)
			res = fmt.Sprintf("arn:aws:codeartifact:eu-1:%s:repository/main/r%d", owner, i)
		case "actions":
			act = actionNames[1+i%40]
			if act == "codeartifact:ReadFromRepository" {
				act = "codeartifact:ListDomains"
			}
		case "resources":
			res = fmt.Sprintf("arn:aws:codeartifact:*:%s:repository/main/r%d/*", owner, i)
		case "globs": // no whole word of the pattern is rare
			res = fmt.Sprintf("arn:aws:codeartifact:*:%s:repository/main/r%d*", owner, i)
		}
		var condition object
		if shape == "conditions" { // the worst: only the conditions tell the statements apart
			condition = object{"StringEquals": object{"aws:username": fmt.Sprintf("reader%d", i)}}
		}
		if i == n/2-1 {
			condition = nil
			act, who, res = "codeartifact:Read*", reader.ARN, "*"
		}
		identity = append(identity, with(object{"Effect": "Allow", "Action": act, "Resource": res}, condition))
		resource = append(resource, with(object{"Effect": "Allow", "Action": act, "Resource": "*", "Principal": object{"AWS": who}}, condition))
	}
	set := func(kind Kind, to ARN, list []object) *Set {
		var docs []Attached
		for len(list) > 0 {
			part := list[:min(len(list), 25)]
			list = list[len(part):]
			text, err := json.Marshal(object{"Version": "2012-10-17", "Statement": part})
			if err != nil {
				b.Fatal(err)
			}
			d, err := Parse(text, kind)
			if err != nil {
				b.Fatal(err)
			}
			docs = append(docs, Attached{Document: d, Name: "bench", To: to})
		}
		s, err := NewSet(docs...)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	return []*Set{set(IdentityDocument, ARN{}, identity), set(RepositoryDocument, team, resource)}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, shape := range []string{"principals", "actions", "resources", "globs", "conditions"} {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", shape, n), func(b *testing.B) {
				sets := benchSets(b, n, shape)
				q := &Request{Caller: reader, Action: ReadFromRepository, Resource: team}
				if d := Evaluate(q, sets...); d.Verdict != Allow {
					b.Fatalf("got %+v", d)
				}
				b.ReportAllocs()
				for b.Loop() {
					Evaluate(q, sets...)
				}
			})
		}
	}
}

// BenchmarkEvaluateConditions is a decision with the conditions of a token.
func BenchmarkEvaluateConditions(b *testing.B) {
	d, err := Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:GetServiceBearerToken","Resource":"*","Condition":{
		"StringEquals":{"sts:AWSServiceName":"codeartifact.amazonaws.com"},"NumericLessThanEquals":{"sts:DurationSeconds":3600},
		"StringLike":{"aws:PrincipalTag/team":["*build*","a?c"]}}}}`), IdentityDocument)
	if err != nil {
		b.Fatal(err)
	}
	set, err := NewSet(Attached{Document: d, Name: "token"})
	if err != nil {
		b.Fatal(err)
	}
	q := &Request{Caller: reader, Action: GetServiceBearerToken, Context: Context{ServiceName: "codeartifact.amazonaws.com", DurationSeconds: 900, HasDuration: true}}
	q.Caller.Tags = []Tag{{"team", "the-build-team"}}
	if d := Evaluate(q, set); d.Verdict != Allow {
		b.Fatalf("got %+v", d)
	}
	b.ReportAllocs()
	for b.Loop() {
		Evaluate(q, set)
	}
}

func BenchmarkParse(b *testing.B) {
	doc := []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"ReadAll","Effect":"Allow","Action":["codeartifact:Describe*","codeartifact:Get*","codeartifact:List*","codeartifact:ReadFromRepository"],"Resource":"*"},{"Effect":"Allow","Action":"sts:GetServiceBearerToken","Resource":"*","Condition":{"StringEquals":{"sts:AWSServiceName":"codeartifact.amazonaws.com"}}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(doc, IdentityDocument); err != nil {
			b.Fatal(err)
		}
	}
}
