package maven

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"larder/formats"
)

// Refuse answers with problem details (RFC 9457), which Maven Resolver 2 prints;
// older clients show only the status line. A browser gets plain text.
func (f *Format) Refuse(rq *formats.Request, r *formats.Refusal) *formats.Reply {
	code, message := r.Code(), printable(r.Message)
	var reply *formats.Reply
	if wantsText(rq.Header) {
		reply = formats.TextReply(code, message)
	} else {
		body, err := json.Marshal(struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}{"about:blank", http.StatusText(code), code, message})
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
		reply.Header.Set("Allow", "GET, HEAD, PUT")
	}
	return reply
}

// printable makes a message safe for a terminal: one line, bounded, without
// control or invisible formatting characters.
func printable(s string) string {
	const limit = 1000
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case c == unicode.ReplacementChar || !unicode.IsPrint(c):
			return -1
		}
		return c
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + " ..."
	}
	return s
}

// wantsText reports whether the client names text but not JSON.
func wantsText(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	return strings.Contains(accept, "text/") && !strings.Contains(accept, "json")
}
