package pypi

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"larder/formats"
)

// Refuse words a refusal. To an upload, uv and poetry show status and body,
// twine the status, and the body with --verbose; all three know 409. pip shows
// the reason phrase only, uv and people see the body: JSON for clients that ask
// for it, HTML for those that name it, plain text for the rest. The challenge of
// a 401 is the proxy's.
func (f *Format) Refuse(rq *formats.Request, r *formats.Refusal) *formats.Reply {
	status := r.Code()
	// A project page is never 403 for policy: pip would report it as "no
	// matching distribution" and uv would stop; what is blocked is not listed.
	// An upload that is blocked is 403.
	if r.Kind == formats.Blocked && r.Status == 0 && !isFilePath(rq) && rq.Method != http.MethodPost {
		status = http.StatusNotFound
	}
	reply := &formats.Reply{Status: status, Header: http.Header{"X-Content-Type-Options": {"nosniff"}, "Vary": {"Accept"}}}
	message := printable(r.Message)
	switch bodyVariant(rq) {
	case variantJSON:
		reply.Body = fmt.Appendf(nil, "{\"message\":%s,\"code\":%s}\n", quote(message), quote(r.Kind.String()))
		reply.Header.Set("Content-Type", "application/json")
	case variantHTML:
		reply.Body = fmt.Appendf(nil, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>%d %s</title></head>\n<body><p>%s</p></body>\n</html>\n",
			status, html.EscapeString(http.StatusText(status)), html.EscapeString(message))
		reply.Header.Set("Content-Type", "text/html; charset=utf-8")
	default:
		reply.Body = []byte(message + "\n")
		reply.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if r.RetryAfter > 0 {
		reply.Header.Set("Retry-After", strconv.Itoa(int((r.RetryAfter+999_999_999)/1_000_000_000)))
	}
	if r.Kind == formats.Method {
		allow := "GET, HEAD"
		if _, err := routeUpload(rq); err == nil {
			allow += ", POST"
		}
		reply.Header.Set("Allow", allow)
	}
	return reply
}

// maxMessage bounds what is echoed to a client, in bytes.
const maxMessage = 2 << 10

// printable keeps foreign text in a message from acting on a terminal.
func printable(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, s)
}

func isFilePath(rq *formats.Request) bool {
	n := len(rq.Segments)
	return n >= 4 && rq.Segments[n-1] != "" && (rq.Segments[0] == "simple" || rq.Segments[0] == "integrity")
}

// bodyVariant is json, html or "" for plain text. Uploads get plain text: of a
// JSON body uv shows the code alone, and twine and poetry show what comes as it
// is.
func bodyVariant(rq *formats.Request) string {
	if rq.Method == http.MethodPost {
		return ""
	}
	best, bestQ := "", 0
	for _, m := range parseAccept(rq.Header.Values("Accept")) {
		variant := ""
		switch {
		case strings.HasSuffix(m.name, "+json"), m.name == "application/json":
			variant = variantJSON
		case m.name == typeHTML, strings.HasSuffix(m.name, "+html"):
			variant = variantHTML
		default:
			continue
		}
		if m.q > bestQ {
			best, bestQ = variant, m.q
		}
	}
	if len(rq.Segments) > 0 && rq.Segments[0] == "pypi" {
		return variantJSON
	}
	return best
}
