package formats

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// RefusalKind is the closed list of reasons for which a client gets an error.
type RefusalKind uint8

const (
	BadRequest    RefusalKind = iota // the request itself is wrong
	NotFound                         // no such package, version or file
	Blocked                          // policy forbids it
	NotHeld                          // offline, and not in this node's store
	Upstream                         // the registry outside failed or answered nonsense
	Unauthorized                     // no or bad credential
	Forbidden                        // a good credential without the right
	Conflict                         // other bytes under an immutable coordinate
	Method                           // method not allowed on this path
	NotAcceptable                    // no variant the client accepts
	TooLarge                         // over a limit
	Unavailable                      // this node cannot serve now
	Internal                         // a fault of larder
	NotSupported                     // the feature is not offered here
)

// Status maps a kind to its HTTP status: the only such map in the program. A
// format may still choose another where its clients need it (formats.md 1.5).
func (k RefusalKind) Status() int {
	switch k {
	case BadRequest:
		return http.StatusBadRequest
	case NotFound, NotHeld:
		return http.StatusNotFound
	case Blocked, Forbidden:
		return http.StatusForbidden
	case Upstream:
		return http.StatusGatewayTimeout
	case Unauthorized:
		return http.StatusUnauthorized
	case Conflict:
		return http.StatusConflict
	case Method:
		return http.StatusMethodNotAllowed
	case NotAcceptable:
		return http.StatusNotAcceptable
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Unavailable:
		return http.StatusServiceUnavailable
	case NotSupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

func (k RefusalKind) String() string {
	return [...]string{"bad_request", "not_found", "blocked", "not_held", "upstream", "unauthorized", "forbidden",
		"conflict", "method", "not_acceptable", "too_large", "unavailable", "internal", "not_supported"}[k]
}

// Refusal is an error that goes to a client. Message is one sentence for
// people, without internal detail; Err is for the log.
type Refusal struct {
	Kind       RefusalKind
	Message    string
	Status     int           // 0: Kind.Status()
	RetryAfter time.Duration // 0: no header
	Err        error
}

// Refuse builds a Refusal with a formatted message.
func Refuse(k RefusalKind, format string, args ...any) *Refusal {
	return &Refusal{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Because attaches the cause for the log.
func (r *Refusal) Because(err error) *Refusal { r.Err = err; return r }

// Code is the HTTP status to send.
func (r *Refusal) Code() int {
	if r.Status != 0 {
		return r.Status
	}
	return r.Kind.Status()
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Message + ": " + r.Err.Error()
	}
	return r.Message
}

func (r *Refusal) Unwrap() error { return r.Err }

// AsRefusal finds a Refusal in err's chain; anything else becomes Internal with
// a message that gives nothing away.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Kind: Internal, Message: "larder failed to answer this request; its log has the cause", Err: err}
}

// ErrNoDocument is returned by Docs when the upstream says that a document does
// not exist (404, 410).
var ErrNoDocument = errors.New("no such upstream document")
