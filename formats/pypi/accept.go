package pypi

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Variants of a project page, and of the project JSON API.
const (
	variantJSON    = "json"         // PEP 691
	variantV1HTML  = "v1+html"      // PEP 503 under its versioned type
	variantHTML    = "html"         // PEP 503
	variantProject = "project-json" // all releases
	variantRelease = "release-json" // one release
)

const (
	typeJSON   = "application/vnd.pypi.simple.v1+json"
	typeV1HTML = "application/vnd.pypi.simple.v1+html"
	typeHTML   = "text/html"
)

// maxRanges bounds how much of an Accept header is looked at.
const maxRanges = 64

// offer is one representation we have, with the names a client may use for it
// (PEP 691: "latest" resolves to the newest version the server has).
type offer struct {
	variant string
	names   [2]string
	family  string
}

func offers() [3]offer {
	return [3]offer{
		{variantJSON, [2]string{typeJSON, "application/vnd.pypi.simple.latest+json"}, "application/*"},
		{variantV1HTML, [2]string{typeV1HTML, "application/vnd.pypi.simple.latest+html"}, "application/*"},
		{variantHTML, [2]string{typeHTML, typeHTML}, "text/*"},
	}
}

// negotiate picks the variant of a project page. The format parameter wins over
// the header (PEP 691); no Accept at all means text/html. ok is false when the
// client accepts nothing that there is (406).
func negotiate(q url.Values, h http.Header) (variant string, ok bool) {
	if q.Has("format") {
		// A "+" in a query reads as a space.
		want := strings.ToLower(strings.ReplaceAll(q.Get("format"), " ", "+"))
		for _, o := range offers() {
			if want == o.names[0] || want == o.names[1] {
				return o.variant, true
			}
		}
		return "", false
	}
	ranges := parseAccept(h.Values("Accept"))
	if len(ranges) == 0 {
		return variantHTML, true
	}
	var best offer
	bestQ, bestSpec := 0, -1
	for _, o := range offers() {
		quality, spec := o.quality(ranges)
		// Equal quality goes to the more specific range, then to the earlier
		// offer; only "*/*" prefers what a browser can show.
		if quality > bestQ || quality == bestQ && quality > 0 && (spec > bestSpec || spec == 0 && o.variant == variantHTML && bestSpec == 0) {
			best, bestQ, bestSpec = o, quality, spec
		}
	}
	return best.variant, bestQ > 0
}

// mediaRange is one element of an Accept header; q is in thousandths.
type mediaRange struct {
	name string
	q    int
}

// quality returns the quality of the most specific range that matches o (RFC
// 9110 section 12.5.1); specificity is 2 for a full type, 1 for a family, 0 for
// any, -1 for no match.
func (o offer) quality(ranges []mediaRange) (q, specificity int) {
	specificity = -1
	for _, r := range ranges {
		s := -1
		switch r.name {
		case o.names[0], o.names[1]:
			s = 2
		case o.family:
			s = 1
		case "*/*":
			s = 0
		}
		if s > specificity || s == specificity && s >= 0 && r.q > q {
			q, specificity = r.q, s
		}
	}
	return q, specificity
}

func parseAccept(values []string) []mediaRange {
	var out []mediaRange
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" {
				continue
			}
			if len(out) == maxRanges {
				return out
			}
			out = append(out, mediaRange{name, parseQuality(params)})
		}
	}
	return out
}

func parseQuality(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		key, val, ok := strings.Cut(p, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(key), "q") {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(val), 64)
		if err != nil || math.IsNaN(f) {
			return 1000 // named at least, whatever its weight was to be
		}
		return int(max(min(f, 1), 0)*1000 + 0.5)
	}
	return 1000
}

// contentType is the answer's type: always the exact version, never "latest".
func contentType(variant string) string {
	switch variant {
	case variantJSON:
		return typeJSON
	case variantV1HTML:
		return typeV1HTML
	case variantHTML:
		return typeHTML + "; charset=utf-8"
	}
	return "application/json"
}
