package policy

import "strings"

// operator is a condition operator, taken apart.
type operator struct {
	family   family
	compare  comparison
	negate   bool // the ...Not... form: no value matches
	quantity quantity
	ifExists bool
}

type family uint8

const (
	stringEquals family = iota + 1
	stringFold
	stringLike
	arnLike
	boolEquals
	nullCheck
	numeric
	date
	ipAddress
)

type comparison uint8

const (
	equal comparison = iota
	less
	lessEqual
	greater
	greaterEqual
)

// of compares a context's value with a document's.
func (c comparison) of(have, want float64) bool {
	switch c {
	case less:
		return have < want
	case lessEqual:
		return have <= want
	case greater:
		return have > want
	case greaterEqual:
		return have >= want
	}
	return have == want
}

type quantity uint8

const (
	single quantity = iota
	forAnyValue
	forAllValues
)

// operators are the names without prefix and suffix; read-only.
var operators = []struct {
	name string
	operator
}{
	{"StringEquals", operator{family: stringEquals}},
	{"StringNotEquals", operator{family: stringEquals, negate: true}},
	{"StringEqualsIgnoreCase", operator{family: stringFold}},
	{"StringNotEqualsIgnoreCase", operator{family: stringFold, negate: true}},
	{"StringLike", operator{family: stringLike}},
	{"StringNotLike", operator{family: stringLike, negate: true}},
	{"ArnEquals", operator{family: arnLike}}, // the same as ArnLike (IAM user guide)
	{"ArnLike", operator{family: arnLike}},
	{"ArnNotEquals", operator{family: arnLike, negate: true}},
	{"ArnNotLike", operator{family: arnLike, negate: true}},
	{"Bool", operator{family: boolEquals}},
	{"Null", operator{family: nullCheck}},
	{"NumericEquals", operator{family: numeric}},
	{"NumericNotEquals", operator{family: numeric, negate: true}},
	{"NumericLessThan", operator{family: numeric, compare: less}},
	{"NumericLessThanEquals", operator{family: numeric, compare: lessEqual}},
	{"NumericGreaterThan", operator{family: numeric, compare: greater}},
	{"NumericGreaterThanEquals", operator{family: numeric, compare: greaterEqual}},
	{"DateEquals", operator{family: date}},
	{"DateNotEquals", operator{family: date, negate: true}},
	{"DateLessThan", operator{family: date, compare: less}},
	{"DateLessThanEquals", operator{family: date, compare: lessEqual}},
	{"DateGreaterThan", operator{family: date, compare: greater}},
	{"DateGreaterThanEquals", operator{family: date, compare: greaterEqual}},
	{"IpAddress", operator{family: ipAddress}},
	{"NotIpAddress", operator{family: ipAddress, negate: true}},
}

// parseOperator reads a name such as "ForAnyValue:StringLikeIfExists".
func parseOperator(s string) (o operator, problem string) {
	base, quantity := s, single
	if rest, ok := strings.CutPrefix(s, "ForAnyValue:"); ok {
		base, quantity = rest, forAnyValue
	} else if rest, ok := strings.CutPrefix(s, "ForAllValues:"); ok {
		base, quantity = rest, forAllValues
	}
	base, ifExists := strings.CutSuffix(base, "IfExists")
	for i := range operators {
		if operators[i].name != base {
			continue
		}
		o = operators[i].operator
		if o.family == nullCheck && (ifExists || quantity != single) {
			return o, "Null takes neither IfExists nor a ForAnyValue: or ForAllValues: prefix"
		}
		o.quantity, o.ifExists = quantity, ifExists
		return o, ""
	}
	names := make([]string, len(operators))
	for i := range operators {
		names[i] = operators[i].name
	}
	return o, "unknown condition operator; allowed are " + strings.Join(names, ", ") +
		", each with an optional IfExists suffix and ForAnyValue: or ForAllValues: prefix"
}

// keyID is a condition key of the closed list.
type keyID uint8

const (
	keyCurrentTime keyID = iota + 1
	keyEpochTime
	keyPrincipalAccount
	keyPrincipalARN
	keyPrincipalOrgID
	keyPrincipalTag
	keyRequestTag
	keyRequestedRegion
	keyResourceAccount
	keyResourceTag
	keySecureTransport
	keySourceIP
	keyTagKeys
	keyUserID
	keyUserName
	keyServiceName
	keyDurationSeconds
)

// families is a set of operator families, one bit each.
type families uint16

func (f families) has(x family) bool { return f&(1<<x) != 0 }

const (
	asText   families = 1<<stringEquals | 1<<stringFold | 1<<stringLike
	asARN    families = asText | 1<<arnLike
	asBool   families = 1 << boolEquals
	asNumber families = 1 << numeric
	asDate   families = 1 << date
	asIP     families = 1 << ipAddress
	asTag    families = asARN | asBool | asNumber | asDate | asIP
)

// conditionKeys are the keys a request here can answer, with the operators that
// make sense for each; read-only. A key that larder never has would turn a Deny
// into nothing, so it is refused.
var conditionKeys = []struct {
	name     string
	key      keyID
	families families
}{
	{"aws:CurrentTime", keyCurrentTime, asDate},
	{"aws:EpochTime", keyEpochTime, asDate | asNumber},
	{"aws:PrincipalAccount", keyPrincipalAccount, asText},
	{"aws:PrincipalArn", keyPrincipalARN, asARN},
	{"aws:PrincipalOrgID", keyPrincipalOrgID, asText},
	{"aws:PrincipalTag/", keyPrincipalTag, asTag},
	{"aws:RequestTag/", keyRequestTag, asTag},
	{"aws:RequestedRegion", keyRequestedRegion, asText},
	{"aws:ResourceAccount", keyResourceAccount, asText},
	{"aws:ResourceTag/", keyResourceTag, asTag},
	{"aws:SecureTransport", keySecureTransport, asBool},
	{"aws:SourceIp", keySourceIP, asIP},
	{"aws:TagKeys", keyTagKeys, asText},
	{"aws:userid", keyUserID, asText},
	{"aws:username", keyUserName, asText},
	{"sts:AWSServiceName", keyServiceName, asText},
	{"sts:DurationSeconds", keyDurationSeconds, asNumber},
}

// parseKey finds a condition key; its name has no case (IAM user guide).
func parseKey(s string) (key keyID, tag string, allowed families, problem string) {
	name, tag, tagged := strings.Cut(s, "/")
	if tagged {
		name += "/"
	}
	for i := range conditionKeys {
		k := &conditionKeys[i]
		if !strings.EqualFold(k.name, name) {
			continue
		}
		if tagged && tag == "" {
			return 0, "", 0, "names no tag after the slash"
		}
		return k.key, tag, k.families, ""
	}
	names := make([]string, len(conditionKeys))
	for i := range conditionKeys {
		names[i] = conditionKeys[i].name
		if strings.HasSuffix(names[i], "/") {
			names[i] += "KEY"
		}
	}
	return 0, "", 0, "unknown condition key; allowed are " + strings.Join(names, ", ")
}
