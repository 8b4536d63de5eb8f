package policy

import (
	"net/netip"
	"testing"
	"time"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// TestConditions asks one statement with one condition.
func TestConditions(t *testing.T) {
	full := Request{
		Caller: Caller{ARN: "arn:aws:iam::" + owner + ":user/ann", Account: owner, UserName: "ann", UserID: "AIDA1", OrgID: "o-1", Tags: []Tag{{"Team", "Build"}, {"level", "7"}, {"net", "10.1.2.3"}, {"admin", "True"}, {"since", "2026-01-01"}, {"role", "arn:aws:iam::1:role/x"}}},
		Action: ReadFromRepository, Resource: team,
		Context: Context{
			Region: "eu-1", SourceIP: addr("10.1.2.3"), SecureTransport: true, Now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
			RequestTags: []Tag{{"env", "prod"}, {"empty", ""}}, TagKeys: []string{"env", "empty"}, ResourceTags: []Tag{{"env", "test"}},
			ServiceName: "codeartifact.amazonaws.com", DurationSeconds: 3600, HasDuration: true,
		},
	}
	bare := Request{Caller: Caller{Account: owner}, Action: ReadFromRepository, Resource: team}
	for _, c := range []struct {
		condition  string
		full, bare bool // does it hold where the keys are there, and where not
	}{
		{`{"StringEquals":{"aws:username":"ann"}}`, true, false},
		{`{"StringEquals":{"aws:username":["bob","ann"]}}`, true, false},
		{`{"StringEquals":{"aws:username":"a*"}}`, false, false},
		{`{"StringEquals":{"aws:username":"Ann"}}`, false, false},
		{`{"StringEqualsIfExists":{"aws:username":"bob"}}`, false, true},
		{`{"StringNotEquals":{"aws:username":"ann"}}`, false, true},
		{`{"StringNotEquals":{"aws:username":["bob","cy"]}}`, true, true},
		{`{"StringNotEquals":{"aws:username":["bob","ann"]}}`, false, true},
		{`{"StringEqualsIgnoreCase":{"aws:username":"ANN"}}`, true, false},
		{`{"StringNotEqualsIgnoreCase":{"aws:username":"ANN"}}`, false, true},
		{`{"StringEqualsIgnoreCase":{"aws:PrincipalArn":"ARN:aws:iam::${aws:PrincipalAccount}:USER/${aws:username}"}}`, true, false},
		{`{"StringLike":{"aws:username":"a?n"}}`, true, false},
		{`{"StringNotLike":{"aws:username":"a*"}}`, false, true},
		{`{"StringLike":{"aws:userid":"AIDA*"}}`, true, false},
		{`{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, true, false},
		{`{"StringEquals":{"aws:PrincipalAccount":"111111111111"}}`, true, true},
		{`{"StringEquals":{"aws:PrincipalAccount":111111111111}}`, true, true},
		{`{"StringEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}`, true, true},
		{`{"StringEquals":{"aws:RequestedRegion":"eu-1"}}`, true, false},
		{`{"StringEquals":{"aws:PrincipalTag/Team":"Build"}}`, true, false},
		{`{"StringEquals":{"aws:principaltag/TEAM":"Build"}}`, true, false},
		{`{"StringEquals":{"aws:RequestTag/env":"prod","aws:ResourceTag/env":"test"}}`, true, false},
		{`{"StringEquals":{"aws:RequestTag/env":"prod","aws:ResourceTag/env":"prod"}}`, false, false},
		{`{"StringEquals":{"aws:RequestTag/empty":""}}`, true, false},
		{`{"StringLike":{"aws:RequestTag/empty":"*"}}`, true, false},
		{`{"StringLike":{"aws:PrincipalArn":"*/${aws:username}"}}`, true, false},
		{`{"StringNotLike":{"aws:PrincipalArn":"*/${aws:username}"}}`, false, false}, // Allow: unresolved is not "is not it"
		{`{"StringEquals":{"sts:AWSServiceName":"codeartifact.amazonaws.com"}}`, true, false},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}`, true, false},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:*:iam::111111111111:user/a??"}}`, true, false},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:*:user/*:*:*"}}`, false, false}, // part by part
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"}}`, true, false},
		{`{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}`, true, true},
		{`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}`, false, true},
		{`{"ArnLike":{"aws:PrincipalTag/role":"arn:aws:iam::1:role/*"}}`, true, false},
		{`{"Bool":{"aws:SecureTransport":"true"}}`, true, false},
		{`{"Bool":{"aws:SecureTransport":false}}`, false, true},
		{`{"BoolIfExists":{"aws:PrincipalTag/admin":true}}`, true, true},
		{`{"Bool":{"aws:PrincipalTag/level":[true,false]}}`, false, false},
		{`{"Null":{"aws:username":true}}`, false, true},
		{`{"Null":{"aws:username":"false"}}`, true, false},
		{`{"Null":{"aws:TagKeys":true}}`, false, true},
		{`{"Null":{"aws:SourceIp":true,"aws:CurrentTime":true,"sts:DurationSeconds":true}}`, false, true},
		{`{"NumericEquals":{"sts:DurationSeconds":3600}}`, true, false},
		{`{"NumericNotEquals":{"sts:DurationSeconds":"3600.0"}}`, false, true},
		{`{"NumericLessThan":{"sts:DurationSeconds":3600}}`, false, false},
		{`{"NumericLessThanEquals":{"sts:DurationSeconds":3600}}`, true, false},
		{`{"NumericGreaterThan":{"sts:DurationSeconds":3599.5}}`, true, false},
		{`{"NumericGreaterThanEquals":{"sts:DurationSeconds":[9999,3600]}}`, true, false},
		{`{"NumericGreaterThan":{"aws:PrincipalTag/level":5}}`, true, false},
		{`{"NumericGreaterThan":{"aws:PrincipalTag/Team":5}}`, false, false},
		{`{"NumericLessThan":{"aws:EpochTime":1900000000}}`, true, false},
		{`{"DateLessThan":{"aws:CurrentTime":"2026-06-01T12:00:01Z"}}`, true, false},
		{`{"DateLessThan":{"aws:CurrentTime":"2026-06-01T12:00:00Z"}}`, false, false},
		{`{"DateLessThanEquals":{"aws:CurrentTime":"2026-06-01T14:00+02:00"}}`, true, false},
		{`{"DateGreaterThan":{"aws:CurrentTime":"2026-06-01"}}`, true, false},
		{`{"DateGreaterThanEquals":{"aws:EpochTime":1780315200}}`, true, false},
		{`{"DateEquals":{"aws:CurrentTime":"2026-06-01T12:00:00Z"}}`, true, false},
		{`{"DateNotEquals":{"aws:CurrentTime":"2026-06-01T12:00:00Z"}}`, false, true},
		{`{"DateGreaterThanIfExists":{"aws:CurrentTime":"2027"}}`, false, true},
		{`{"DateLessThan":{"aws:PrincipalTag/since":"2026-02"}}`, true, false},
		{`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, true, false},
		{`{"IpAddress":{"aws:SourceIp":["192.0.2.1","10.1.2.99/24"]}}`, true, false},
		{`{"IpAddress":{"aws:SourceIp":"::ffff:10.1.2.3"}}`, true, false},
		{`{"IpAddress":{"aws:SourceIp":"::ffff:10.0.0.0/104"}}`, true, false},
		{`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, false, true},
		{`{"NotIpAddress":{"aws:SourceIp":"2001:db8::/32"}}`, true, true},
		{`{"IpAddress":{"aws:PrincipalTag/net":"10.0.0.0/8"}}`, true, false},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":"env"}}`, true, false},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":"other"}}`, false, false},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":"env"}}`, false, true},
		{`{"ForAllValues:StringLike":{"aws:TagKeys":["en?","emp*"]}}`, true, true},
		{`{"ForAnyValue:StringNotEquals":{"aws:TagKeys":"env"}}`, true, false},
		{`{"ForAllValues:StringNotEquals":{"aws:TagKeys":"env"}}`, false, true},
		{`{"ForAllValues:StringNotEquals":{"aws:TagKeys":"x"}}`, true, true},
		{`{"ForAnyValue:StringEqualsIfExists":{"aws:TagKeys":"x"}}`, false, true},
		{`{"ForAllValues:StringEquals":{"aws:username":"x"}}`, false, true},
		{`{"ForAnyValue:StringNotEquals":{"aws:username":"x"}}`, true, false},
		// All must hold.
		{`{"StringEquals":{"aws:username":"ann"},"Bool":{"aws:SecureTransport":false}}`, false, false},
		{`{"StringEquals":{"aws:username":"ann","aws:userid":"x"}}`, false, false},
		{`{}`, true, true},
	} {
		s := sets(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+c.condition+`}`, "", "")
		for _, ask := range []struct {
			name string
			q    Request
			want bool
		}{{"full", full, c.full}, {"bare", bare, c.bare}} {
			if d := Evaluate(&ask.q, s...); (d.Verdict == Allow) != ask.want {
				t.Errorf("%s, %s: want %t, got %+v", c.condition, ask.name, ask.want, Explain(&ask.q, s...))
			}
		}
	}
}

// TestConditionsOfRoleSession: aws:PrincipalArn is the role, and a session has
// no user name.
func TestConditionsOfRoleSession(t *testing.T) {
	q := &Request{Caller: session, Action: ReadFromRepository, Resource: team}
	for doc, want := range map[string]bool{
		`{"ArnEquals":{"aws:PrincipalArn":"` + session.RoleARN + `"}}`: true,
		`{"StringEquals":{"aws:PrincipalArn":"` + session.ARN + `"}}`:  false,
		`{"Null":{"aws:username":true}}`:                               true,
		`{"StringLike":{"aws:userid":"*:run-7"}}`:                      true,
		`{"StringEquals":{"aws:PrincipalArn":"${aws:PrincipalArn}"}}`:  true,
	} {
		d := Evaluate(q, sets(t, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+doc+`}`, "", "")...)
		if (d.Verdict == Allow) != want {
			t.Errorf("%s: got %+v", doc, d)
		}
	}
}

// TestUnresolvedVariables: they never widen an Allow.
func TestUnresolvedVariables(t *testing.T) {
	q := &Request{Caller: session, Action: ReadFromRepository, Resource: team}
	for _, c := range []struct {
		statement string
		want      bool // does it match
	}{
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:username}"}}}`, false},
		{`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:username}"}}}`, true},
		{`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:codeartifact:*:*:domain/${aws:username}"}`, false},
		{`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:codeartifact:*:*:domain/${aws:username}"}`, true},
		{`{"Effect":"Deny","Action":"*","Resource":"arn:aws:codeartifact:*:*:*${aws:username}"}`, false},
	} {
		if x := Explain(q, sets(t, c.statement, "", "")...); x.Statements[0].Matched != c.want {
			t.Errorf("%s: got %+v", c.statement, x.Statements)
		}
	}
}
