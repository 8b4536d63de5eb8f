// Package identity answers who asks, and refuses to decide what they may do. It
// owns the verification of AWS SigV4 signatures, larder's bearer tokens and
// their revocation, STS sessions and web-identity federation, and the key
// material of a node with the sealing of secrets.
//
// What a caller may do is policy's; where access keys and revocations are kept
// is the owner's (see Keys and Revocations.Entries). It never dials: discovery
// of an identity provider's keys uses the http.Client that it is given. A
// credential that it does not fully understand is refused.
package identity

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Skew is how far two clocks may be apart: requests are accepted this long
// before and after their date (AWS General Reference, SigV4), and tokens this
// long before their nbf and iat and after their exp, so that the nodes of a
// site and its identity providers need not agree better than this.
const Skew = 5 * time.Minute

// Bounds of lifetimes (CodeArtifact and STS API references), in seconds.
const (
	MinLifeSeconds     = 900
	MaxLifeSeconds     = 43200
	DefaultLifeSeconds = 43200 // of a bearer token
	defaultRoleSeconds = 3600  // of a session
)

// maxLife bounds every token, so that revocations may be forgotten.
const maxLife = MaxLifeSeconds * time.Second

// Kind says what a principal is.
type Kind string

// The kinds of principals.
const (
	KindUser Kind = "user" // a long-lived access key or a configured token
	KindRole Kind = "role" // a session of a role
)

// Principal is who asks. It is a value: nothing in it may be changed by
// whoever gets one.
type Principal struct {
	ARN     string // arn:aws:iam::ACCOUNT:user/NAME or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
	Account string // 12 digits
	Name    string // for logs; the ARN's part behind its first slash when nothing else is known
	Kind    Kind
	Role    string    // ARN of the role, with KindRole
	Session string    // id of the STS session, with KindRole
	Expires time.Time // end of the session that signed the request; zero for long-lived keys and for bearer tokens
}

// UserID is the stable unique id that GetCallerIdentity shows: derived from
// the ARN, in the shape of AWS's own.
func (p Principal) UserID() string {
	if p.Kind == KindRole {
		_, session := cutLast(p.ARN)
		return uniqueID("AROA", p.Role) + ":" + session
	}
	return uniqueID("AIDA", p.ARN)
}

// uniqueID is prefix and 16 characters of the digest of name.
func uniqueID(prefix, name string) string {
	sum := sha256.Sum256([]byte(name))
	return prefix + base32.StdEncoding.EncodeToString(sum[:10])
}

// Error is a refusal in AWS's words. Its message may be shown to the caller; a
// wrapped cause is for the log only.
type Error struct {
	Code    string // as in x-amzn-ErrorType
	Status  int    // HTTP
	Message string

	cause error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.Message + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// The codes of Error (AWS common errors; CodeArtifact API reference).
const (
	CodeMissingToken        = "MissingAuthenticationTokenException" // 403: no signature at all
	CodeIncompleteSignature = "IncompleteSignatureException"        // 400: not in the grammar
	CodeUnrecognizedClient  = "UnrecognizedClientException"         // 403: unknown key or session
	CodeInvalidSignature    = "InvalidSignatureException"           // 403: wrong signature, scope or date
	CodeExpiredToken        = "ExpiredTokenException"               // 403: a session that ended
	CodeValidation          = "ValidationException"                 // 400: a parameter or a digest
)

func missingToken() error {
	return &Error{Code: CodeMissingToken, Status: 403, Message: "Missing Authentication Token"}
}

func incomplete(format string, args ...any) error {
	return &Error{Code: CodeIncompleteSignature, Status: 400, Message: fmt.Sprintf(format, args...)}
}

func unrecognized(cause error) error {
	return &Error{Code: CodeUnrecognizedClient, Status: 403, Message: "The security token included in the request is invalid.", cause: cause}
}

func invalidSignature(format string, args ...any) error {
	return &Error{Code: CodeInvalidSignature, Status: 403, Message: fmt.Sprintf(format, args...)}
}

func expiredSession(cause error) error {
	return &Error{Code: CodeExpiredToken, Status: 403, Message: "The security token included in the request is expired", cause: cause}
}

func invalid(format string, args ...any) error {
	return &Error{Code: CodeValidation, Status: 400, Message: fmt.Sprintf(format, args...)}
}

// ErrNoKey is what Keys answers for an id that does not exist or is disabled.
var ErrNoKey = errors.New("no such access key")

// arnParts splits arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE.
func arnParts(arn string) (service, account, resource string, ok bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] != "aws" || p[5] == "" {
		return "", "", "", false
	}
	return p[2], p[4], p[5], true
}

// isAccount reports 12 digits.
func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// arnName is what follows the first slash of a principal's ARN.
func arnName(arn string) string {
	_, name, _ := strings.Cut(arn, "/")
	return name
}

// cutLast splits at the last slash.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// roleOf is the ARN of the role of a session, whose ARN lacks the role's path.
// It is empty for anything but a session.
func roleOf(arn, path string) string {
	service, account, resource, ok := arnParts(arn)
	role, isSession := strings.CutPrefix(resource, "assumed-role/")
	if !ok || service != "sts" || !isSession {
		return ""
	}
	if role, _ = cutLast(role); path != "" {
		role = path + "/" + role
	}
	return "arn:aws:iam::" + account + ":role/" + role
}

// rolePath is the path in the ARN of a role, without the slashes around it.
func rolePath(role string) string {
	_, rest, _ := strings.Cut(role, ":role/")
	path, _ := cutLast(rest)
	return path
}
