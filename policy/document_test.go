package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// allow is a good statement of a resource document with one member replaced.
func allow(members string) string {
	return `{"Version":"2012-10-17","Statement":{"Sid":"S","Effect":"Allow",` + members + `}}`
}

const (
	act  = `"Action":"codeartifact:ReadFromRepository"`
	res  = `"Resource":"*"`
	who  = `"Principal":"*"`
	good = act + "," + res
)

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		doc  string
	}{
		{IdentityDocument, allow(good)},
		{IdentityDocument, `{"Statement":[{"Effect":"Allow",` + good + `}]}`}, // no version: the old one
		{IdentityDocument, `{"Version":"2008-10-17","Id":"x","Statement":[{"Effect":"Deny",` + good + `}]}`},
		{IdentityDocument, allow(`"Action":["codeartifact:*","sts:Get*","*"],` + res)},
		{IdentityDocument, allow(`"Action":"CODEARTIFACT:readfrom?epository",` + res)},
		{IdentityDocument, allow(`"NotAction":"codeartifact:Delete*",` + res)},
		{IdentityDocument, allow(act + `,"NotResource":["arn:aws:codeartifact:*:111111111111:domain/main"]`)},
		{IdentityDocument, allow(act + `,"Resource":["arn:aws:codeartifact:eu-1:${aws:PrincipalAccount}:repository/d/${aws:username}/*","arn:aws:codeartifact:*"]`)},
		{IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:package/*/npm//react"`)},
		{IdentityDocument, allow(act + `,"Resource":"arn:aws:iam::111111111111:role/x"`)},
		{DomainDocument, allow(who + "," + good)},
		{DomainDocument, allow(`"Principal":{"AWS":"111111111111"},` + good)},
		{RepositoryDocument, allow(`"Principal":{"AWS":["arn:aws:iam::111111111111:root","arn:aws:iam::111111111111:user/a/b","arn:aws:iam::111111111111:role/r","arn:aws:sts::111111111111:assumed-role/r/s","*"]},` + good)},
		{RepositoryDocument, `{"Version":"2012-10-17","Statement":{"Sid":"may have spaces","Effect":"Deny","NotPrincipal":{"AWS":"111111111111"},` + good + `}}`},
		{IdentityDocument, allow(good + `,"Condition":{}`)},
		{IdentityDocument, allow(good + `,"Condition":{"ForAnyValue:StringLikeIfExists":{"AWS:tagkeys":["a*","${aws:PrincipalTag/k}"]},"Null":{"aws:TagKeys":false},"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z","aws:EpochTime":1900000000}}`)},
	} {
		d, err := Parse([]byte(c.doc), c.kind)
		if err != nil {
			t.Errorf("%s: %v", c.doc, err)
			continue
		}
		if d.Text() != c.doc || d.Kind() != c.kind || d.Len() != 1 {
			t.Errorf("%s: kept as %q", c.doc, d.Text())
		}
	}
}

// TestParseRefuses holds the document part of the Policy/auth row of the
// bad-input list, and every rule of the grammar.
func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, c := range []struct {
		name   string
		kind   Kind
		doc    string
		member string // of the error
		says   string
	}{
		// The list.
		{"unknown operator", IdentityDocument, allow(good + `,"Condition":{"StringMatches":{"aws:username":"x"}}`), "Condition.StringMatches", "unknown condition operator"},
		{"empty principal", DomainDocument, allow(`"Principal":{},` + good), "Principal", "is empty"},
		{"NotPrincipal with Allow", DomainDocument, allow(`"NotPrincipal":{"AWS":"111111111111"},` + good), "NotPrincipal", "not allowed with"},
		{"20 KB", DomainDocument, allow(who + "," + good + strings.Repeat(" ", 20480)), "", "7168 characters"},
		{"7169 characters", DomainDocument, strings.Repeat(" ", 7169-len(allow(who+","+good))) + allow(who+","+good), "", "7168 characters"},
		{"20481 characters", IdentityDocument, allow(good) + strings.Repeat(" ", 20481-len(allow(good))), "", "20480 characters"},
		{"duplicate Effect", IdentityDocument, allow(good + `,"Effect":"Deny"`), "Effect", "stands twice"},
		{"duplicate Statement", IdentityDocument, `{"Statement":{"Effect":"Deny",` + good + `},"Statement":{"Effect":"Allow",` + good + `}}`, "Statement", "stands twice"},
		{"duplicate by escape", IdentityDocument, allow(good + `,"\u0045ffect":"Deny"`), "Effect", "stands twice"},
		{"duplicate AWS", DomainDocument, allow(`"Principal":{"AWS":"111111111111","AWS":"*"},` + good), "Principal.AWS", "stands twice"},
		{"duplicate operator", IdentityDocument, allow(good + `,"Condition":{"Null":{"aws:username":true},"Null":{"aws:userid":true}}`), "Condition.Null", "stands twice"},
		{"duplicate key", IdentityDocument, allow(good + `,"Condition":{"Bool":{"aws:SecureTransport":true,"aws:SecureTransport":false}}`), "Condition.Bool.aws:SecureTransport", "stands twice"},
		{"duplicate key, other case", IdentityDocument, allow(good + `,"Condition":{"Bool":{"aws:SecureTransport":true,"AWS:SECURETRANSPORT":false}}`), "Condition.Bool.AWS:SECURETRANSPORT", "stands twice"},
		// Not JSON.
		{"empty", IdentityDocument, "", "", "not one JSON"},
		{"trailing data", IdentityDocument, allow(good) + "{}", "", "not one JSON"},
		{"trailing comma", IdentityDocument, `{"Statement":[],}`, "", "not one JSON"},
		{"invalid UTF-8", IdentityDocument, "{\"Id\":\"\xff\"}", "", "UTF-8"},
		{"byte order mark", IdentityDocument, "\ufeff" + allow(good), "", "not one JSON"},
		{"deep", IdentityDocument, deep, "", "nested deeper"},
		// Members.
		{"array", IdentityDocument, "[]", "", "must be an object"},
		{"null", IdentityDocument, "null", "", "must be an object"},
		{"unknown member", IdentityDocument, `{"version":"2012-10-17","Statement":{"Effect":"Allow",` + good + `}}`, "version", "allowed are Version"},
		{"unknown statement member", IdentityDocument, allow(good + `,"Conditions":{}`), "Conditions", "allowed are Sid"},
		{"version", IdentityDocument, `{"Version":"2012-10-18","Statement":{"Effect":"Allow",` + good + `}}`, "Version", "2012-10-17"},
		{"version number", IdentityDocument, `{"Version":2012,"Statement":{"Effect":"Allow",` + good + `}}`, "Version", "2012-10-17"},
		{"id", IdentityDocument, `{"Id":1,"Statement":{"Effect":"Allow",` + good + `}}`, "Id", "must be a string"},
		{"no statement", IdentityDocument, `{}`, "Statement", "is missing"},
		{"no statements", IdentityDocument, `{"Statement":[]}`, "Statement", "empty list"},
		{"statement string", IdentityDocument, `{"Statement":"x"}`, "Statement", "must be a statement"},
		{"statement in list", IdentityDocument, `{"Statement":["x"]}`, "", "must be an object"},
		{"sid number", IdentityDocument, `{"Statement":{"Sid":1,"Effect":"Allow",` + good + `}}`, "Sid", "must be a string"},
		{"sid newline", DomainDocument, `{"Statement":{"Sid":"a\nb","Effect":"Allow",` + who + "," + good + `}}`, "Sid", "character"},
		{"sid twice", IdentityDocument, statements(`{"Sid":"A","Effect":"Allow",` + good + `},{"Sid":"A","Effect":"Allow",` + good + `}`), "Sid", "statement 1"},
		{"no effect", IdentityDocument, `{"Statement":{` + good + `}}`, "Effect", "must be"},
		{"effect case", IdentityDocument, `{"Statement":{"Effect":"allow",` + good + `}}`, "Effect", "must be"},
		// Actions.
		{"no action", IdentityDocument, allow(res), "Action", "is missing"},
		{"both actions", IdentityDocument, allow(good + `,"NotAction":"*"`), "NotAction", "stands beside"},
		{"no actions", IdentityDocument, allow(`"Action":[],` + res), "Action", "empty list"},
		{"empty action", IdentityDocument, allow(`"Action":"",` + res), "Action", "must not be empty"},
		{"action number", IdentityDocument, allow(`"Action":[1],` + res), "Action", "must be a string"},
		{"unknown action", IdentityDocument, allow(`"Action":"codeartifact:ReadRepository",` + res), "Action", "matches no action"},
		{"other service", IdentityDocument, allow(`"Action":["codeartifact:*","s3:*"],` + res), "Action", "matches no action"},
		{"no prefix", IdentityDocument, allow(`"Action":"Read*",` + res), "Action", "service prefix"},
		{"wild prefix", IdentityDocument, allow(`"Action":"*:ReadFromRepository",` + res), "Action", "service prefix"},
		{"not all actions", IdentityDocument, allow(`"NotAction":"*",` + res), "NotAction", "leaves no action"},
		// Principals.
		{"principal of identity", IdentityDocument, allow(who + "," + good), "Principal", "not allowed in an identity"},
		{"no principal", DomainDocument, allow(good), "Principal", "is missing"},
		{"both principals", DomainDocument, allow(who + `,"NotPrincipal":"*",` + good), "NotPrincipal", "stands beside"},
		{"principal string", DomainDocument, allow(`"Principal":"111111111111",` + good), "Principal", "must be"},
		{"principal list", DomainDocument, allow(`"Principal":["*"],` + good), "Principal", "must be"},
		{"principal service", DomainDocument, allow(`"Principal":{"Service":"x"},` + good), "Principal.Service", "allowed are AWS"},
		{"no principals", DomainDocument, allow(`"Principal":{"AWS":[]},` + good), "Principal.AWS", "empty list"},
		{"NotPrincipal all", DomainDocument, strings.Replace(allow(`"NotPrincipal":"*",`+good), "Allow", "Deny", 1), "NotPrincipal", "leaves nobody"},
		// Resources.
		{"no resource", DomainDocument, allow(who + "," + act), "Resource", "is missing"},
		{"both resources", IdentityDocument, allow(good + `,"NotResource":"*"`), "NotResource", "stands beside"},
		{"no resources", IdentityDocument, allow(act + `,"Resource":[]`), "Resource", "empty list"},
		{"NotResource all", IdentityDocument, allow(act + `,"NotResource":"*"`), "NotResource", "leaves no resource"},
		{"long resource", IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/` + strings.Repeat("?*", 1100) + `"`), "Resource", "too long"},
		{"variable", IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/${aws:SourceIp}"`), "Resource", "policy variable"},
		{"variable escape", IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/${*}"`), "Resource", "policy variable"},
		{"variable default", IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/${aws:username, 'x'}"`), "Resource", "policy variable"},
		{"variable without end", IdentityDocument, allow(act + `,"Resource":"arn:aws:codeartifact:*:*:domain/${aws:username"`), "Resource", "policy variable"},
		{"variable in the old version", IdentityDocument, `{"Version":"2008-10-17","Statement":{"Effect":"Allow",` + act + `,"Resource":"arn:aws:codeartifact:*:*:domain/${aws:username}"}}`, "Resource", "needs"},
		// Conditions.
		{"condition list", IdentityDocument, allow(good + `,"Condition":[]`), "Condition", "must be an object"},
		{"empty operator", IdentityDocument, allow(good + `,"Condition":{"Bool":{}}`), "Condition.Bool", "is empty"},
		{"operator case", IdentityDocument, allow(good + `,"Condition":{"bool":{"aws:SecureTransport":true}}`), "Condition.bool", "unknown condition operator"},
		{"prefix twice", IdentityDocument, allow(good + `,"Condition":{"ForAnyValue:ForAllValues:StringLike":{"aws:TagKeys":"x"}}`), "Condition.ForAnyValue:ForAllValues:StringLike", "unknown condition operator"},
		{"suffix twice", IdentityDocument, allow(good + `,"Condition":{"BoolIfExistsIfExists":{"aws:SecureTransport":true}}`), "Condition.BoolIfExistsIfExists", "unknown condition operator"},
		{"NullIfExists", IdentityDocument, allow(good + `,"Condition":{"NullIfExists":{"aws:username":true}}`), "Condition.NullIfExists", "neither"},
		{"unknown key", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:SourceVpc":"x"}}`), "Condition.StringEquals.aws:SourceVpc", "unknown condition key"},
		{"key without prefix", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"username":"x"}}`), "Condition.StringEquals.username", "unknown condition key"},
		{"tag without key", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:RequestTag/":"x"}}`), "Condition.StringEquals.aws:RequestTag/", "names no tag"},
		{"tags without slash", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:RequestTag":"x"}}`), "Condition.StringEquals.aws:RequestTag", "unknown condition key"},
		{"username with slash", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:username/x":"x"}}`), "Condition.StringEquals.aws:username/x", "unknown condition key"},
		{"operator of another type", IdentityDocument, allow(good + `,"Condition":{"NumericEquals":{"aws:username":1}}`), "Condition.NumericEquals.aws:username", "does not fit"},
		{"many values", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:TagKeys":"x"}}`), "Condition.StringEquals.aws:TagKeys", "prefix the operator"},
		{"no values", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:username":[]}}`), "Condition.StringEquals.aws:username", "empty list"},
		{"null value", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:username":null}}`), "Condition.StringEquals.aws:username", "must be a value"},
		{"nested value", IdentityDocument, allow(good + `,"Condition":{"StringEquals":{"aws:username":[["x"]]}}`), "Condition.StringEquals.aws:username", "must be a value"},
		{"bool value", IdentityDocument, allow(good + `,"Condition":{"Bool":{"aws:SecureTransport":"yes"}}`), "Condition.Bool.aws:SecureTransport", "true"},
		{"number", IdentityDocument, allow(good + `,"Condition":{"NumericEquals":{"sts:DurationSeconds":"0x10"}}`), "Condition.NumericEquals.sts:DurationSeconds", "decimal"},
		{"not a number", IdentityDocument, allow(good + `,"Condition":{"NumericEquals":{"sts:DurationSeconds":"NaN"}}`), "Condition.NumericEquals.sts:DurationSeconds", "decimal"},
		{"date", IdentityDocument, allow(good + `,"Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`), "Condition.DateLessThan.aws:CurrentTime", "no date"},
		{"address", IdentityDocument, allow(good + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), "Condition.IpAddress.aws:SourceIp", "no IP"},
		{"address with zone", IdentityDocument, allow(good + `,"Condition":{"IpAddress":{"aws:SourceIp":"fe80::1%eth0"}}`), "Condition.IpAddress.aws:SourceIp", "no IP"},
		{"arn", IdentityDocument, allow(good + `,"Condition":{"ArnLike":{"aws:PrincipalArn":"*"}}`), "Condition.ArnLike.aws:PrincipalArn", "six parts"},
		{"variable in condition", IdentityDocument, allow(good + `,"Condition":{"StringLike":{"aws:username":"${aws:TokenIssueTime}"}}`), "Condition.StringLike.aws:username", "policy variable"},
		{"no kind", 0, allow(good), "", "kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse([]byte(c.doc), c.kind)
			var de *DocumentError
			if d != nil || !errors.As(err, &de) {
				t.Fatalf("got %v, %v", d, err)
			}
			if de.Member != c.member || !strings.Contains(de.Problem, c.says) {
				t.Errorf("got %q at %q, want %q at %q", de.Problem, de.Member, c.says, c.member)
			}
			if syntax := strings.Contains(c.says, "JSON") || strings.Contains(c.says, "UTF-8") || c.name == "deep"; errors.Is(err, ErrSyntax) != syntax || errors.Is(err, ErrGrammar) == syntax {
				t.Errorf("%v: is it syntax? want %t", err, syntax)
			}
			if len(err.Error()) > 1200 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseRefusesPatterns(t *testing.T) {
	for _, s := range []string{
		"x", "arn", "arn:aws", "arn:aws:s3:::bucket/*", "arn:aws-cn:codeartifact:*", "arn:aws:codeartfact:eu-1:111111111111:domain/main",
		"arn:aws:codeartifact:eu-1:111111111111", "arn:aws:codeartifact::111111111111:domain/main", "arn:aws:codeartifact:eu-1::domain/main",
		"arn:aws:codeartifact:eu-1:1111:domain/main", "arn:aws:codeartifact:eu-1:111111111111:domains/main",
		"arn:aws:codeartifact:eu-1:111111111111:domain/", "arn:aws:codeartifact:eu-1:111111111111:", "arn:aws:codeartifact:eu-1:111111111111:repositories/*",
	} {
		if d, err := Parse([]byte(allow(act+fmt.Sprintf(`,"Resource":%q`, s))), IdentityDocument); err == nil {
			t.Errorf("resource %q was accepted as %v", s, d)
		}
	}
	for _, s := range []string{
		"", "x", "1111", "1111111111111", "**", "arn:aws:iam::111111111111:*", "arn:aws:iam::111111111111:user/*", "arn:aws:iam::111111111111:user",
		"arn:aws:iam::111111111111:user/", "arn:aws:iam:eu-1:111111111111:user/x", "arn:aws:iam::11:user/x", "arn:aws:iam::111111111111:group/x",
		"arn:aws:sts::111111111111:assumed-role/r", "arn:aws:sts::111111111111:assumed-role/r/s/t", "arn:aws:s3::111111111111:user/x",
		"arn:aws:iam::111111111111:user/a b", "arn:aws:iam::111111111111:user/${aws:username}", "arn:aws:iam::111111111111:user/x:y", "arn:*:iam::111111111111:root",
	} {
		if d, err := Parse([]byte(allow(fmt.Sprintf(`"Principal":{"AWS":[%q]},`, s)+good)), DomainDocument); err == nil {
			t.Errorf("principal %q was accepted as %v", s, d)
		}
	}
}

func TestDocumentErrorNamesThePlace(t *testing.T) {
	_, err := Parse([]byte(statements(`{"Effect":"Allow",`+good+`},{"Sid":"Second","Effect":"Allow",`+res+`,"Action":"codeartifact:Nope"}`)), IdentityDocument)
	const want = `policy document: statement 2 (Sid "Second"): Action: "codeartifact:Nope" matches no action of codeartifact or sts known here`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestParseKeepsID(t *testing.T) {
	if d := parse(t, IdentityDocument, `{"Id":"mine","Statement":{"Effect":"Allow",`+good+`}}`); d.ID() != "mine" {
		t.Errorf("got %q", d.ID())
	}
}

func TestParseLimited(t *testing.T) {
	doc := `{"Id":"äöü","Statement":{"Effect":"Allow",` + good + `}}`
	n := len([]rune(doc))
	if _, err := ParseLimited([]byte(doc), IdentityDocument, n); err != nil {
		t.Error(err)
	}
	if _, err := ParseLimited([]byte(doc), IdentityDocument, n-1); err == nil {
		t.Error("one character too many was accepted")
	}
}
