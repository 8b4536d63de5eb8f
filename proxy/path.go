package proxy

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"larder/formats"
)

// maxPath bounds a request path; the longest legal coordinate of any format is
// far below it.
const maxPath = 8 << 10

// endpoint is a request path split at the one place that does so.
type endpoint struct {
	format   string   // first segment; "-" is larder's own, "" the root
	domain   string   // "DOMAIN-OWNER" in the /FORMAT/d/DOMAIN-OWNER/REPO/ form
	repo     string   //
	prefix   string   // the escaped path up to and including the repository, no trailing slash
	raw      string   // the escaped rest, no leading slash
	segments []string // the rest, each segment decoded once
}

// splitEndpoint refuses every path that two readers could understand in two
// ways, then splits it. Decoding happens here, once.
func splitEndpoint(escaped string) (endpoint, error) {
	var ep endpoint
	if len(escaped) > maxPath {
		return ep, &formats.Refusal{Kind: formats.BadRequest, Status: 414, Message: "the path is longer than 8 KiB"}
	}
	rest := strings.TrimPrefix(escaped, "/")
	if rest == "" {
		return ep, nil
	}
	raw := strings.Split(rest, "/")
	segs := make([]string, len(raw))
	for i, s := range raw {
		dec, err := cleanSegment(s, i == len(raw)-1)
		if err != nil {
			return ep, err
		}
		segs[i] = dec
	}
	ep.format = segs[0]
	if strings.Contains(ep.format, "/") {
		return ep, formats.Refuse(formats.BadRequest, "the first path segment holds an encoded slash")
	}
	n := 1
	if ep.format == "-" {
		ep.raw, ep.segments = strings.Join(raw[1:], "/"), segs[1:]
		return ep, nil
	}
	if len(segs) > 2 && segs[n] == "d" && isDomainOwner(segs[n+1]) {
		ep.domain = segs[n+1]
		n += 2
	}
	if len(segs) <= n || segs[n] == "" {
		return ep, formats.Refuse(formats.NotFound, "the path names no repository: /FORMAT/REPOSITORY/...")
	}
	ep.repo = segs[n]
	n++
	ep.prefix = "/" + strings.Join(raw[:n], "/")
	ep.raw, ep.segments = strings.Join(raw[n:], "/"), segs[n:]
	return ep, nil
}

// isDomainOwner matches DOMAIN-123456789012; domains hold hyphens, so the last
// twelve digits are split off.
func isDomainOwner(s string) bool {
	if len(s) < 15 || s[len(s)-13] != '-' {
		return false
	}
	for _, c := range s[len(s)-12:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func cleanSegment(raw string, last bool) (string, error) {
	bad := func(why string) (string, error) {
		return "", formats.Refuse(formats.BadRequest, "the path holds %s", why)
	}
	if raw == "" {
		if last {
			return "", nil
		}
		return bad("an empty segment")
	}
	dec, err := url.PathUnescape(raw)
	if err != nil {
		return bad("a broken percent escape")
	}
	if !utf8.ValidString(dec) {
		return bad("bytes that are not UTF-8")
	}
	for _, c := range dec {
		switch {
		case c < 0x20 || c == 0x7f || c >= 0x80 && c < 0xa0:
			return bad("a control character")
		case c == '\\':
			return bad("a backslash")
		}
	}
	// A second decoding must not be able to change the meaning.
	low := strings.ToLower(dec)
	for _, twice := range []string{"%2e", "%2f", "%5c", "%00", "%25"} {
		if strings.Contains(low, twice) {
			return bad("a doubly encoded character")
		}
	}
	for _, part := range strings.Split(dec, "/") {
		switch {
		case part == "":
			return bad("an empty segment")
		case part == "." || part == "..":
			return bad("a relative segment")
		case strings.HasSuffix(part, " ") || strings.HasPrefix(part, " "):
			return bad("a segment that begins or ends with a space")
		case strings.HasSuffix(part, "."):
			return bad("a segment that ends with a dot")
		}
	}
	return dec, nil
}

// printable makes foreign text safe to show in a message.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}
