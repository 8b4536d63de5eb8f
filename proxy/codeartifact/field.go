package codeartifact

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind of a JSON value.
type valueKind uint8

const (
	textValue valueKind = iota
	boolValue
	numberValue
	listValue
	mapValue
	structValue
)

func (k valueKind) String() string {
	return [...]string{"a string", "a boolean", "an integer", "a list", "a map", "a structure"}[k]
}

// shape is the constraint of a member (service model, "shapes"): lengths count
// characters, entries or, for numbers, the value.
type shape struct {
	kind     valueKind
	min, max int
	bounded  bool           // max counts
	pattern  *regexp.Regexp // of the whole text
	grammar  string         // the pattern in the model's words
	enum     []string
	of       *shape // elements or values
	key      *shape
	fields   []field
}

// field is one member of an operation's input.
type field struct {
	member   string // its name in the service model
	query    string // its name in the query, "" in a body
	header   string // its name among the headers
	shape    *shape
	required bool
}

func text(min, max int, grammar string, pattern *regexp.Regexp) *shape {
	return &shape{kind: textValue, min: min, max: max, bounded: true, grammar: grammar, pattern: pattern}
}

func oneOf(values ...string) *shape { return &shape{kind: textValue, enum: values} }

func between(min, max int) *shape {
	return &shape{kind: numberValue, min: min, max: max, bounded: true}
}

func listOf(of *shape, min, max int) *shape {
	return &shape{kind: listValue, of: of, min: min, max: max, bounded: true}
}

// The patterns of the service model. Those that would let control characters
// through do not here: rows are keyed by these names. Read-only.
var (
	domainPattern     = regexp.MustCompile(`\A[a-z][a-z0-9\-]{0,48}[a-z0-9]\z`)
	accountPattern    = regexp.MustCompile(`\A[0-9]{12}\z`)
	repositoryPattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._\-]{1,99}\z`)
	connectionPattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._\-:]{1,99}\z`)
	namePattern       = regexp.MustCompile(`\A[^#/\s\p{Cc}]+\z`)
	modulePattern     = regexp.MustCompile(`\A[^#\s\p{Cc}]+\z`)
	visiblePattern    = regexp.MustCompile(`\A\P{C}*\z`)
	solidPattern      = regexp.MustCompile(`\A[^\s\p{Cc}]+\z`)
	groupPattern      = regexp.MustCompile(`\A[^\p{C}\p{Z}\s]+\z`)
	documentPattern   = regexp.MustCompile(`\A[\P{C}\s]+\z`)
	digestPattern     = regexp.MustCompile(`\A[0-9a-f]+\z`)
)

// The shapes of the service model, and modulePath, which is larder's. Read-only.
var (
	domainName     = text(2, 50, `[a-z][a-z0-9\-]{0,48}[a-z0-9]`, domainPattern)
	accountID      = text(12, 12, `[0-9]{12}`, accountPattern)
	repositoryName = text(2, 100, `[A-Za-z0-9][A-Za-z0-9._\-]{1,99}`, repositoryPattern)
	connectionName = text(2, 100, `[A-Za-z0-9][A-Za-z0-9._\-:]{1,99}`, connectionPattern)
	packagePart    = text(1, 255, `[^#/\s]+`, namePattern)
	modulePath     = text(1, 255, `[^#\s]+`, modulePattern)
	assetName      = text(1, 255, `\P{C}+`, visiblePattern)
	revision       = text(1, 50, `\S+`, solidPattern)
	policyRevision = text(1, 100, `\S+`, solidPattern)
	document       = text(1, 7168, `[\P{C}\s]+`, documentPattern)
	prose          = text(0, 1000, `\P{C}*`, visiblePattern)
	arnText        = text(1, 1011, `\S+`, solidPattern)
	pageToken      = text(1, 2000, `\S+`, solidPattern)
	digest         = text(64, 64, `[0-9a-f]+`, digestPattern)
	groupName      = text(2, 520, `[^\p{C}\p{IsWhitespace}]+`, groupPattern)
	groupPrefix    = text(0, 520, `\P{C}*`, visiblePattern)
	tagKey         = text(1, 128, `\P{C}+`, visiblePattern)
	tagValue       = text(0, 256, `\P{C}*`, visiblePattern)

	packageFormat    = oneOf("npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo", "go")
	versionStatus    = oneOf("Published", "Unfinished", "Unlisted", "Archived", "Disposed", "Deleted")
	targetStatus     = oneOf("Published", "Unlisted", "Archived")
	originType       = oneOf("INTERNAL", "EXTERNAL", "UNKNOWN")
	allowOrBlock     = oneOf("ALLOW", "BLOCK")
	endpointType     = oneOf("dualstack", "ipv4")
	versionSort      = oneOf("PUBLISHED_TIME")
	restrictionType  = oneOf("EXTERNAL_UPSTREAM", "INTERNAL_UPSTREAM", "PUBLISH")
	restrictionMode  = oneOf("ALLOW", "ALLOW_SPECIFIC_REPOSITORIES", "BLOCK", "INHERIT")
	truth            = &shape{kind: boolValue}
	pageSize         = between(1, 1000)
	durationSeconds  = between(0, 43200)
	versionList      = listOf(packagePart, 1, 100)
	revisionMap      = &shape{kind: mapValue, key: packagePart, of: revision, max: 100, bounded: true}
	restrictionModes = &shape{kind: mapValue, key: restrictionType, of: restrictionMode}
	upstreamList     = listOf(&shape{kind: structValue, fields: []field{
		{member: "repositoryName", shape: repositoryName, required: true}}}, 0, 1000)
	tagList = listOf(&shape{kind: structValue, fields: []field{
		{member: "key", shape: tagKey, required: true}, {member: "value", shape: tagValue, required: true}}}, 0, 200)
	tagKeyList   = listOf(tagKey, 0, 200)
	restrictions = &shape{kind: structValue, fields: []field{
		{member: "publish", shape: allowOrBlock, required: true}, {member: "upstream", shape: allowOrBlock, required: true}}}
	allowedList = listOf(&shape{kind: structValue, fields: []field{
		{member: "repositoryName", shape: repositoryName}, {member: "originRestrictionType", shape: restrictionType}}}, 0, 1000)
)

// violates says which constraint a text breaks, "" for none.
func (s *shape) violates(v string) string {
	n := utf8.RuneCountInString(v)
	switch {
	case !utf8.ValidString(v):
		return "Member must be valid UTF-8"
	case len(s.enum) > 0 && !slices.Contains(s.enum, v):
		return "Member must satisfy enum value set: [" + strings.Join(s.enum, ", ") + "]"
	case n < s.min:
		return "Member must have length greater than or equal to " + strconv.Itoa(s.min)
	case s.bounded && n > s.max:
		return "Member must have length less than or equal to " + strconv.Itoa(s.max)
	case s.pattern != nil && !s.pattern.MatchString(v):
		return "Member must satisfy regular expression pattern: " + s.grammar
	}
	return ""
}

// outside says which bound a number or a number of entries breaks.
func (s *shape) outside(n int, what string) string {
	switch {
	case n < s.min:
		return "Member must have " + what + " greater than or equal to " + strconv.Itoa(s.min)
	case s.bounded && n > s.max:
		return "Member must have " + what + " less than or equal to " + strconv.Itoa(s.max)
	}
	return ""
}

// refused is the error for a value that breaks a constraint.
func refused(at, value, constraint string) *APIError {
	return Invalid(ReasonField, "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", shorten(strings.ToValidUTF8(value, "\uFFFD")), at, constraint)
}

// missing is the error for a required member that is not there.
func missing(at string) *APIError {
	return Invalid(ReasonField, "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", at)
}

// unparsed is the error for a value of another type.
func unparsed(at string, want valueKind) *APIError {
	return Invalid(ReasonCannotParse, "1 validation error detected: Value at '%s' could not be parsed: Member must be %s", at, want)
}
