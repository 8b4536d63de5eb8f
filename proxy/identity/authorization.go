package identity

import (
	"net/http"
	"strings"
	"time"
)

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTerminal  = "aws4_request"
	amzDate      = "20060102T150405Z"

	maxAuthorization = 4 << 10 // of the header, in bytes
	maxSigned        = 64      // headers
)

// authorization is a parsed Authorization header of SigV4.
type authorization struct {
	keyID, date, region, service string

	signed    []string // lower case, ascending
	signature string   // 64 lower-case hex digits
}

// parseAuthorization reads
//
//	AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
//
// (AWS General Reference, "Add the signature to the request"). All errors are
// *Error.
func parseAuthorization(h string) (authorization, error) {
	var a authorization
	if len(h) > maxAuthorization {
		return a, incomplete("The Authorization header is too long.")
	}
	scheme, rest, _ := strings.Cut(h, " ")
	if scheme != sigAlgorithm {
		return a, incomplete("Authorization header requires the algorithm %s.", sigAlgorithm)
	}
	var credential, signed string
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.Trim(part, " "), "=")
		var to *string
		switch name {
		case "Credential":
			to = &credential
		case "SignedHeaders":
			to = &signed
		case "Signature":
			to = &a.signature
		default:
			return a, incomplete("Authorization header holds an unknown parameter.")
		}
		if *to != "" || value == "" {
			return a, incomplete("Authorization header requires one '%s' parameter.", name)
		}
		*to = value
	}
	switch {
	case credential == "":
		return a, incomplete("Authorization header requires 'Credential' parameter.")
	case signed == "":
		return a, incomplete("Authorization header requires 'SignedHeaders' parameter.")
	case !isHexDigest(a.signature):
		return a, incomplete("Authorization header requires 'Signature' parameter.")
	}
	if err := a.setCredential(credential); err != nil {
		return a, err
	}
	return a, a.setSigned(signed)
}

func (a *authorization) setCredential(s string) error {
	p := strings.Split(s, "/")
	if len(p) != 5 || p[4] != sigTerminal || !isWord(p[0], 128) || len(p[1]) != 8 || !isWord(p[1], 8) || !isWord(p[2], 32) || !isWord(p[3], 32) {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/%s.", sigTerminal)
	}
	a.keyID, a.date, a.region, a.service = p[0], p[1], p[2], p[3]
	return nil
}

func (a *authorization) setSigned(s string) error {
	a.signed = strings.SplitN(s, ";", maxSigned+1)
	if len(a.signed) > maxSigned {
		return incomplete("SignedHeaders names too many headers.")
	}
	host := false
	for i, name := range a.signed {
		if !isHeaderName(name) || i > 0 && name <= a.signed[i-1] {
			return incomplete("SignedHeaders must be a sorted list of lower-case header names.")
		}
		host = host || name == "host"
	}
	if !host {
		return invalidSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// requestTime is the signed date of a request: X-Amz-Date, or else Date.
func requestTime(h http.Header) (time.Time, error) {
	if v := h["X-Amz-Date"]; len(v) > 0 {
		t, err := time.Parse(amzDate, v[0])
		if len(v) > 1 || err != nil {
			return t, incomplete("X-Amz-Date must be one date in ISO 8601 basic format.")
		}
		return t, nil
	}
	v := h["Date"]
	if len(v) != 1 {
		return time.Time{}, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	t, err := time.Parse(amzDate, v[0])
	if err != nil {
		t, err = http.ParseTime(v[0])
	}
	if err != nil {
		return t, incomplete("Date must be in ISO 8601 basic or HTTP format.")
	}
	return t.UTC(), nil
}

// isHexDigest reports 64 lower-case hex digits.
func isHexDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// isWord reports 1 to n letters, digits, "-" and "_".
func isWord(s string, n int) bool {
	if s == "" || len(s) > n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) || c == '.' || c == '~' {
			return false
		}
	}
	return true
}

// isHeaderName reports a lower-case token (RFC 9110 5.6.2).
func isHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
