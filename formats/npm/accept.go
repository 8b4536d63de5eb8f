package npm

import (
	"net/http"
	"strconv"
	"strings"
)

// The two renderings of a packument (npm registry documentation, "package
// metadata").
const (
	mediaFull        = "application/json"
	mediaAbbreviated = "application/vnd.npm.install-v1+json"

	variantFull        = "full"
	variantAbbreviated = "abbreviated"
	variantVersion     = "version"
	variantTags        = "dist-tags"
	variantWrite       = "write" // full, with the revision that a change refers to
)

// negotiate picks the rendering for an Accept field. The abbreviated one is
// given only to a client that names it and does not prefer plain JSON; a
// wildcard is no preference. No Accept at all (Yarn 4) means full.
func negotiate(h http.Header) string {
	abbreviated, full := -1.0, -1.0
	for _, line := range h.Values("Accept") {
		for _, item := range strings.Split(line, ",") {
			media, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case mediaAbbreviated:
				abbreviated = max(abbreviated, quality(params))
			case mediaFull:
				full = max(full, quality(params))
			}
		}
	}
	if abbreviated > 0 && abbreviated >= full {
		return variantAbbreviated
	}
	return variantFull
}

// quality reads the q parameter (RFC 9110 section 12.4.2); absent is 1 and
// nonsense 0.
func quality(params string) float64 {
	for _, p := range strings.Split(params, ";") {
		k, v, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
