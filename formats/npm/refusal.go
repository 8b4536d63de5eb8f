package npm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"larder/formats"
)

// Refuse words a refusal as JSON {"error": message}: npm prints that string for
// any status (npm-registry-fetch). pnpm, Yarn 4 and Bun print the status alone.
func (f *Format) Refuse(rq *formats.Request, r *formats.Refusal) *formats.Reply {
	body, err := json.Marshal(map[string]string{"error": r.Message})
	if err != nil {
		body = []byte(`{"error":"larder failed"}`)
	}
	reply := formats.JSONReply(status(r), string(body))
	if r.RetryAfter > 0 {
		secs := (r.RetryAfter + time.Second - 1) / time.Second
		reply.Header.Set("Retry-After", strconv.FormatInt(int64(secs), 10))
	}
	if reply.Status == http.StatusMethodNotAllowed {
		allow := "GET, HEAD"
		if strings.Contains(rq.Path, "/security/") {
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
