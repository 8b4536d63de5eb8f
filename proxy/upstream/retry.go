package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Backoff between attempts that the upstream did not time itself.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// backoff is the pause before attempt n+1 (n from 0): doubling, of which the
// upper half is random, so that nodes do not come back in step.
func backoff(n int, random float64) time.Duration {
	d := min(firstBackoff<<min(n, 10), lastBackoff)
	return d/2 + time.Duration(random*float64(d/2))
}

// retryAfter reads a Retry-After value (RFC 9110 section 10.2.3): seconds or an
// HTTP date. The result is between 0 and maxRetryAfter; 0 when the value is
// missing, past or not readable.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), maxRetryAfter)
}

// worthRetrying reports statuses that another attempt may change.
func worthRetrying(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}
