package policy

import "testing"

func TestARN(t *testing.T) {
	for want, a := range map[string]ARN{
		"*": {},
		"arn:aws:codeartifact:eu-1:111111111111:domain/main":                           domainMain,
		"arn:aws:codeartifact:eu-1:111111111111:repository/main/team":                  team,
		"arn:aws:codeartifact:eu-1:111111111111:package/main/team/npm//react":          react,
		"arn:aws:codeartifact:eu-1:111111111111:package-group/main/npm/*":              group,
		"arn:aws:codeartifact:eu-1:111111111111:package/main/team/maven/org.x/y":       {Kind: PackageARN, Region: "eu-1", Owner: owner, Domain: "main", Repository: "team", Format: "maven", Namespace: "org.x", Name: "y"},
		"arn:aws:codeartifact:eu-1:111111111111:package/main/team/go//example.com/a/b": {Kind: PackageARN, Region: "eu-1", Owner: owner, Domain: "main", Repository: "team", Format: "go", Name: "example.com/a/b"},
		"arn:aws:iam::111111111111:role/ci":                                            {Kind: ForeignARN, Owner: owner, Name: "arn:aws:iam::111111111111:role/ci"},
	} {
		if got := a.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if a.Kind == NoResource || a.Kind == ForeignARN {
			continue
		}
		if got, err := ParseARN(want); err != nil || got != a {
			t.Errorf("%s: parsed as %+v, %v", want, got, err)
		}
	}
	for _, s := range []string{
		"", "*", "arn:aws:iam::111111111111:role/ci", "arn:aws:codeartifact:eu-1:1:domain/main", "arn:aws:codeartifact::111111111111:domain/main",
		"arn:aws:codeartifact:eu-1:111111111111:domain/", "arn:aws:codeartifact:eu-1:111111111111:domain/a/b", "arn:aws:codeartifact:eu-1:111111111111:repository/main",
		"arn:aws:codeartifact:eu-1:111111111111:repository/main/a/b", "arn:aws:codeartifact:eu-1:111111111111:package/main/team/npm/react",
		"arn:aws:codeartifact:eu-1:111111111111:package-group/main", "arn:aws:codeartifact:eu-1:111111111111:thing/main",
		"arn:aws:codeartifact:eu-1:111111111111:package/main/team/npm//", "arn:aws:codeartifact:eu-1:111111111111:repository//team",
	} {
		if a, err := ParseARN(s); err == nil {
			t.Errorf("%q was parsed as %+v", s, a)
		}
	}
}

func TestActions(t *testing.T) {
	if actionCount != 54 || actionCount > 63 {
		t.Errorf("%d actions: want 48 operations, 3 permissions and 2 of STS, and room in the mask", actionCount-1)
	}
	seen := map[string]bool{}
	for a := Action(1); a < actionCount; a++ {
		if seen[a.String()] || a.String() == "" {
			t.Errorf("action %d is named %q", a, a)
		}
		seen[a.String()] = true
		if got, ok := ParseAction(a.String()); !ok || got != a {
			t.Errorf("%s: parsed as %s", a, got)
		}
	}
	if a, ok := ParseAction("CodeArtifact:readfromrepository"); !ok || a != ReadFromRepository {
		t.Error("the names of actions have no case")
	}
	for _, s := range []string{"", "*", "ReadFromRepository", "codeartifact:*", "unknown action"} {
		if a, ok := ParseAction(s); ok {
			t.Errorf("%q is %s", s, a)
		}
	}
	for _, a := range []Action{0, actionCount, 200} {
		q := &Request{Caller: reader, Action: a, Resource: team}
		if d := Evaluate(q, sets(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`, "", "")...); d.Verdict != Deny || d.Rule != ruleUnknownAction {
			t.Errorf("action %d: got %+v", a, d)
		}
	}
}
