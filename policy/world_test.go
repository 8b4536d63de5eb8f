package policy

import "testing"

// The people and places of the tests.
const (
	owner = "111111111111"
	other = "222222222222"
)

var (
	domainMain = ARN{Kind: DomainARN, Region: "eu-1", Owner: owner, Domain: "main"}
	team       = ARN{Kind: RepositoryARN, Region: "eu-1", Owner: owner, Domain: "main", Repository: "team"}
	side2      = ARN{Kind: RepositoryARN, Region: "eu-1", Owner: owner, Domain: "main", Repository: "side"}
	react      = ARN{Kind: PackageARN, Region: "eu-1", Owner: owner, Domain: "main", Repository: "team", Format: "npm", Name: "react"}
	group      = ARN{Kind: PackageGroupARN, Region: "eu-1", Owner: owner, Domain: "main", Name: "/npm/*"}

	reader   = Caller{ARN: "arn:aws:iam::" + owner + ":user/reader", Account: owner, UserName: "reader", UserID: "AIDAREADER"}
	stranger = Caller{ARN: "arn:aws:iam::" + other + ":user/stranger", Account: other, UserName: "stranger", UserID: "AIDASTRANGER"}
	session  = Caller{ARN: "arn:aws:sts::" + owner + ":assumed-role/ci/run-7", Account: owner, RoleARN: "arn:aws:iam::" + owner + ":role/pipelines/ci", UserID: "AROACI:run-7"}
)

// parse is Parse for documents that must be accepted.
func parse(t testing.TB, kind Kind, doc string) *Document {
	t.Helper()
	d, err := Parse([]byte(doc), kind)
	if err != nil {
		t.Fatalf("parse %s: %v", doc, err)
	}
	return d
}

// statements wraps statements into a document.
func statements(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }

// sets compiles statements: of an identity, of the domain main and of the
// repository main/team; "" is no document.
func sets(t testing.TB, identity, domain, repository string) []*Set {
	t.Helper()
	var docs []Attached
	for _, d := range []struct {
		kind Kind
		text string
		to   ARN
	}{{IdentityDocument, identity, ARN{}}, {DomainDocument, domain, domainMain}, {RepositoryDocument, repository, team}} {
		if d.text != "" {
			docs = append(docs, Attached{Document: parse(t, d.kind, statements(d.text)), Name: "own", To: d.to})
		}
	}
	s, err := NewSet(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return []*Set{s, nil}
}
