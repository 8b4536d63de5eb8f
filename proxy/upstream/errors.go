package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

var (
	// ErrOffline is returned before any lookup or dial when the client or the
	// connection is switched offline.
	ErrOffline = errors.New("offline: upstreams are not asked")
	// ErrNoConnection is returned for a connection name that is not configured.
	ErrNoConnection = errors.New("no such connection")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("upstream client is closed")
	// ErrTooLarge is returned by a body's Read once more bytes (after decoding)
	// arrived than Request.MaxBytes allows.
	ErrTooLarge = errors.New("body is larger than allowed")

	errEgress     = errors.New("the egress proxy named by the environment is not a proxy's URL")
	errHeaderTime = errors.New("no response header in time")
	errIdleTime   = errors.New("no bytes of the body in time")
)

// Refused says that larder itself declined to send a request: the place is not
// one the connection may ask. It is permanent: asking again gives it again.
type Refused struct {
	Connection string
	URL        string // without user information, query and fragment
	Reason     string
}

func (e *Refused) Error() string {
	return fmt.Sprintf("connection %q: refused to ask %s: %s", e.Connection, e.URL, e.Reason)
}

// Unavailable says that the upstream failed: it could not be reached, timed
// out, answered 429 or 5xx, or answered something that is not HTTP as asked
// for. Stale answers may be served on it.
type Unavailable struct {
	Connection string
	Status     int           // the upstream's last status; 0 when it gave none
	RetryAfter time.Duration // when asking again makes sense; 0 unknown
	Err        error
}

func (e *Unavailable) Error() string {
	s := fmt.Sprintf("connection %q: upstream is unavailable", e.Connection)
	if e.Status != 0 {
		s += ": status " + strconv.Itoa(e.Status)
	}
	if e.Err != nil {
		s += ": " + clip(e.Err.Error(), 500) // it may quote the upstream
	}
	if e.RetryAfter > 0 {
		s += " (retry in " + e.RetryAfter.Round(time.Millisecond).String() + ")"
	}
	return s
}

func (e *Unavailable) Unwrap() error { return e.Err }

// redact renders a URL for errors and logs: no user information, no query
// (signed URLs carry secrets there), no fragment, at most 300 bytes.
func redact(u *url.URL) string {
	if u == nil {
		return "(no URL)"
	}
	if u.Opaque != "" {
		return strconv.Quote(u.Scheme + ":...")
	}
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	s := clean.String()
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}
