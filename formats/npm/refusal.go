package npm

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"larder/formats"
)

// Refuse words a refusal as JSON {"error": message}: npm prints that string for
// any status (npm-registry-fetch). pnpm, Yarn 4 and Bun print the status alone.
func (f *Format) Refuse(rq *formats.Request, r *formats.Refusal) *formats.Reply {
	body := append(appendString([]byte(`{"error":`), printable(r.Message)), '}')
	reply := formats.JSONReply(status(r), string(body))
	if r.RetryAfter > 0 {
		secs := (r.RetryAfter + time.Second - 1) / time.Second
		reply.Header.Set("Retry-After", strconv.FormatInt(int64(secs), 10))
	}
	if reply.Status == http.StatusMethodNotAllowed {
		allow := "GET, HEAD"
		if rq != nil && strings.Contains(rq.Path, "/security/") {
			allow = http.MethodPost
		}
		reply.Header.Set("Allow", allow)
	}
	return reply
}

// status keeps what will never succeed out of the 5xx range: npm retries those
// twice, after ten seconds and after a minute.
func status(r *formats.Refusal) int {
	if r.Status == 0 && r.Kind == formats.NotSupported {
		return http.StatusBadRequest
	}
	return r.Code()
}

// printable keeps what a terminal would act on out of a message: messages
// repeat parts of requests and of foreign documents.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
