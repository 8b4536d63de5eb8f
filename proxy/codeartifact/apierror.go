package codeartifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"larder/cache/catalog"
	"larder/formats"
)

// Reasons of a ValidationException (API reference, "ValidationException").
const (
	ReasonCannotParse = "CANNOT_PARSE"
	ReasonKey         = "ENCRYPTION_KEY_ERROR"
	ReasonField       = "FIELD_VALIDATION_FAILED"
	ReasonOther       = "OTHER"
)

// APIError is a refusal in AWS's words. Everything in it is sent to the client.
type APIError struct {
	Code         string // ResourceNotFoundException
	Status       int    // HTTP; 0: that of Code
	Message      string
	Reason       string // of a ValidationException
	ResourceID   string
	ResourceType string
	RetryAfter   time.Duration // 0: no header
	Err          error         // for the log
}

func (e *APIError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *APIError) Unwrap() error { return e.Err }

// Denied refuses an action.
func Denied(format string, args ...any) *APIError {
	return &APIError{Code: catalog.FaultDenied.String(), Message: fmt.Sprintf(format, args...)}
}

// Invalid refuses a request that cannot be meant.
func Invalid(reason, format string, args ...any) *APIError {
	return &APIError{Code: catalog.FaultValidation.String(), Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// NotFound says that a resource does not exist.
func NotFound(kind, id, format string, args ...any) *APIError {
	return &APIError{Code: catalog.FaultNotFound.String(), ResourceID: id, ResourceType: kind, Message: fmt.Sprintf(format, args...)}
}

func conflict(kind, id, format string, args ...any) *APIError {
	return &APIError{Code: catalog.FaultConflict.String(), ResourceID: id, ResourceType: kind, Message: fmt.Sprintf(format, args...)}
}

func tooLarge() *APIError {
	return Invalid(ReasonCannotParse, "The body of the request has more than %d bytes", maxBody)
}

// status maps an error's name to its HTTP status (service model, "httpError").
func status(code string) int {
	switch code {
	case "ValidationException":
		return http.StatusBadRequest
	case "ServiceQuotaExceededException":
		return http.StatusPaymentRequired
	case "AccessDeniedException":
		return http.StatusForbidden
	case "ResourceNotFoundException":
		return http.StatusNotFound
	case "ConflictException":
		return http.StatusConflict
	case "ThrottlingException":
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// asAPIError words an error of the catalog, of a format or of the backend. ok is
// false for what is a fault of this node.
func asAPIError(err error) (e *APIError, ok bool) {
	if errors.As(err, &e) {
		return e, true
	}
	if f, is := catalog.AsFault(err); is {
		e = &APIError{Code: f.Kind.String(), Message: f.Message, ResourceID: f.Resource, ResourceType: f.ResourceType, Err: err}
		if f.Kind == catalog.FaultValidation {
			e.Reason = ReasonOther
		}
		return e, true
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return tooLarge(), true
	}
	var r *formats.Refusal
	if errors.As(err, &r) {
		return ofRefusal(r)
	}
	return &APIError{Code: "InternalServerException", Message: "An internal error occurred", Err: err}, false
}

// ofRefusal words a refusal of a format.
func ofRefusal(r *formats.Refusal) (*APIError, bool) {
	e := &APIError{Message: r.Message, RetryAfter: r.RetryAfter, Err: r}
	switch r.Kind {
	case formats.BadRequest, formats.Method, formats.NotAcceptable, formats.NotSupported:
		e.Code, e.Reason = "ValidationException", ReasonField
	case formats.NotFound, formats.NotHeld:
		e.Code = "ResourceNotFoundException"
	case formats.Blocked, formats.Forbidden, formats.Unauthorized:
		e.Code = "AccessDeniedException"
	case formats.Conflict:
		e.Code = "ConflictException"
	case formats.TooLarge:
		e.Code = "ServiceQuotaExceededException"
	case formats.Unavailable:
		e.Code, e.Status = "InternalServerException", http.StatusServiceUnavailable
	default:
		return &APIError{Code: "InternalServerException", Message: "An internal error occurred", Err: r}, r.Kind == formats.Upstream
	}
	return e, true
}

// isNotFound reports an error that says that something does not exist.
func isNotFound(err error) bool {
	if errors.Is(err, catalog.ErrNotFound) {
		return true
	}
	e, ok := asAPIError(err)
	return ok && e.Code == catalog.FaultNotFound.String()
}

// refuse sends an error. The body is what SDKs read: a lower-case message beside
// the members of the error's shape, its name in a header.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, known := asAPIError(err)
	if !known && !errors.Is(err, context.Canceled) {
		h.log.Error("CodeArtifact request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	code := e.Status
	if code == 0 {
		code = status(e.Code)
	}
	body, err := json.Marshal(struct {
		Message      string `json:"message"`
		Reason       string `json:"reason,omitempty"`
		ResourceID   string `json:"resourceId,omitempty"`
		ResourceType string `json:"resourceType,omitempty"`
	}{e.Message, e.Reason, e.ResourceID, e.ResourceType})
	if err != nil {
		body = []byte(`{"message":"An internal error occurred"}`) // strings always encode
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	w.Header().Set("X-Amzn-Errortype", e.Code)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if _, err := w.Write(body); err != nil {
		h.log.Debug("error was not taken", "err", err)
	}
}

// shorten bounds what a message repeats of a request.
func shorten(s string) string {
	const limit = 120
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "..."
	}
	return s
}
