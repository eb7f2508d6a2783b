package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// kind is a problem type: the last part of its URI, which opens a page.
type kind struct {
	name   string
	status int
	title  string
	page   string
}

// The problem types. Names are for ever; a client branches on them.
var (
	kindMalformed      = kind{"malformed", 400, "The request cannot be read", "The body is not JSON in UTF-8, has a key twice, or something follows it; or a parameter is malformed. Nothing was written."}
	kindKeyMissing     = kind{"idempotency-key-missing", 400, "The Idempotency-Key is missing", "Send a header Idempotency-Key with 1 to 255 printable ASCII characters, new for each order and the same for each try of it. Nothing was written."}
	kindKeyMalformed   = kind{"idempotency-key-malformed", 400, "The Idempotency-Key is malformed", "It has 1 to 255 printable ASCII characters, bare or as a quoted string. Nothing was written."}
	kindUnauthorized   = kind{"unauthenticated", 401, "A valid API key is needed", "Send Authorization: Bearer KEY, with a key of 'gapless keys create'."}
	kindForbidden      = kind{"forbidden", 403, "This key may not do that", "The operation is for operators."}
	kindNotFound       = kind{"not-found", 404, "There is no such thing", "The path or the order does not exist, or the order is another principal's."}
	kindMethod         = kind{"method-not-allowed", 405, "The method is not allowed here", "The header Allow lists those that are."}
	kindTimeout        = kind{"request-timeout", 408, "The request came too slowly", "The body was not complete in time. Nothing was written."}
	kindInFlight       = kind{"idempotency-key-in-flight", 409, "The first request with this key is still under way", "Send the same request again after Retry-After seconds."}
	kindWrongState     = kind{"wrong-state", 409, "The order's state does not allow this", "The detail names the state. Asking again does not help unless the order changes."}
	kindTooLarge       = kind{"body-too-large", 413, "The body is too large", "An order has at most 64 KiB and 100 items."}
	kindMediaType      = kind{"unsupported-media-type", 415, "The body is not application/json", "Send Content-Type: application/json, in UTF-8, without Content-Encoding."}
	kindInvalid        = kind{"invalid-order", 422, "The order is not valid", "errors[] names each fault by JSON pointer. Nothing was written; the Idempotency-Key is still free."}
	kindInvalidReview  = kind{"invalid-review", 422, "The decision is not valid", "errors[] names each fault by JSON pointer. Nothing was written."}
	kindMismatch       = kind{"idempotency-key-reused", 422, "The Idempotency-Key was used with another body", "The key belongs to an earlier order with another content. Use a new key for a new order."}
	kindTooMany        = kind{"too-many-requests", 429, "Too many requests at once", "Nothing was written. Send the request again after Retry-After seconds."}
	kindInternal       = kind{"internal", 500, "Something is wrong with this server", "The log has the trace_id. Send the same request with the same key again."}
	kindNotImplemented = kind{"no-timeline", 501, "This server has no timeline", "The process was built or started without one; use 'gapless trace'."}
	kindUnavailable    = kind{"unavailable", 503, "The database cannot be reached", "Nothing was written. Send the same request with the same key again after Retry-After seconds."}
	kindUnknown        = kind{"outcome-unknown", 503, "Whether the order was taken is not known", "The answer to COMMIT was lost. Send the same request with the same key again after Retry-After seconds: it takes effect once."}
)

func kinds() []kind {
	return []kind{
		kindMalformed, kindKeyMissing, kindKeyMalformed, kindUnauthorized, kindForbidden, kindNotFound, kindMethod, kindTimeout,
		kindInFlight, kindWrongState, kindTooLarge, kindMediaType, kindInvalid, kindInvalidReview, kindMismatch, kindTooMany,
		kindInternal, kindNotImplemented, kindUnavailable, kindUnknown,
	}
}

// problem is an error that knows its answer.
type problem struct {
	kind   kind
	detail string
	faults []ProblemError
	header http.Header
	cause  error // for the log, never for the client
}

func (p *problem) Error() string {
	text := p.kind.name
	if p.detail != "" {
		text += ": " + p.detail
	}
	if p.cause != nil {
		text += ": " + p.cause.Error()
	}
	return text
}

func (p *problem) Unwrap() error { return p.cause }

func problemf(k kind, format string, args ...any) *problem {
	return &problem{kind: k, detail: fmt.Sprintf(format, args...)}
}

// retryAfter in seconds, by kind.
func retryAfter(k kind) int {
	switch k.status {
	case http.StatusConflict:
		if k == kindInFlight {
			return 1
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return 1
	}
	return 0
}

// problemOf is the one place where an error becomes an answer.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &problem{kind: kindTooLarge, cause: err}
	}
	if detail, ok := parameterFault(err); ok {
		return &problem{kind: kindMalformed, detail: detail}
	}
	if unavailable(err) {
		return &problem{kind: kindUnavailable, cause: err}
	}
	return &problem{kind: kindInternal, cause: err}
}

// parameterFault reads the errors of the generated code.
func parameterFault(err error) (detail string, ok bool) {
	if e, ok := errors.AsType[*InvalidParamFormatError](err); ok {
		return fmt.Sprintf("parameter %s is malformed", e.ParamName), true
	}
	if e, ok := errors.AsType[*RequiredParamError](err); ok {
		return fmt.Sprintf("parameter %s is missing", e.ParamName), true
	}
	if e, ok := errors.AsType[*RequiredHeaderError](err); ok {
		return fmt.Sprintf("header %s is missing", e.ParamName), true
	}
	if e, ok := errors.AsType[*TooManyValuesForParamError](err); ok {
		return fmt.Sprintf("parameter %s is given %d times", e.ParamName, e.Count), true
	}
	if e, ok := errors.AsType[*UnmarshalingParamError](err); ok {
		return fmt.Sprintf("parameter %s is malformed", e.ParamName), true
	}
	return "", false
}

// fail answers with err's problem, logs what a person should know, and counts
// nothing: the middleware does.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	trace := traceFrom(r.Context())
	switch p.kind.status {
	case http.StatusInternalServerError:
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "route", routeOf(r), "trace_id", trace.ID(), "error", p.cause)
	case http.StatusServiceUnavailable:
		s.dbDown(p.cause)
	}
	for name, values := range p.header {
		w.Header()[name] = values
	}
	if seconds := retryAfter(p.kind); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.kind.status)
	body := Problem{Type: "/problems/" + p.kind.name, Title: p.kind.title, Status: p.kind.status}
	if p.detail != "" {
		body.Detail = &p.detail
	}
	if len(p.faults) > 0 {
		body.Errors = &p.faults
	}
	if id := trace.ID(); id != "" {
		body.TraceID = &id
	}
	// The client is gone or has its answer; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// problemPage serves the page that a problem's type opens.
func problemPage(w http.ResponseWriter, r *http.Request) bool {
	name, ok := strings.CutPrefix(r.URL.Path, "/problems/")
	if !ok {
		return false
	}
	for _, k := range kinds() {
		if k.name == name {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintf(w, "%d %s\n\n%s\n", k.status, k.title, k.page)
			return true
		}
	}
	return false
}
