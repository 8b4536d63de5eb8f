package maven

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"larder/formats"
)

// Refuse answers with problem details (RFC 9457), which Maven Resolver 2 prints;
// older clients show only the status line. A browser gets plain text.
func (f *Format) Refuse(rq *formats.Request, r *formats.Refusal) *formats.Reply {
	code := r.Code()
	var reply *formats.Reply
	if wantsText(rq.Header) {
		reply = formats.TextReply(code, r.Message)
	} else {
		body, err := json.Marshal(struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}{"about:blank", http.StatusText(code), code, r.Message})
		if err != nil {
			body = fmt.Appendf(nil, `{"status":%d}`, code)
		}
		reply = &formats.Reply{Status: code, Body: append(body, '\n'), Header: http.Header{
			"Content-Type": {"application/problem+json"}, "X-Content-Type-Options": {"nosniff"},
		}}
	}
	if r.RetryAfter > 0 {
		reply.Header.Set("Retry-After", strconv.FormatInt(int64((r.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if r.Kind == formats.Method {
		reply.Header.Set("Allow", "GET, HEAD")
	}
	return reply
}

// wantsText reports whether the client names text but not JSON.
func wantsText(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	return strings.Contains(accept, "text/") && !strings.Contains(accept, "json")
}
