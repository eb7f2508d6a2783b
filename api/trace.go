package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/gapless/gapless/outbox"
)

// Trace is a W3C trace context: what goes into rows and from there into records.
type Trace struct {
	Parent string // traceparent
	State  string // tracestate, may be empty
}

// ID is the trace id in hexadecimal.
func (t Trace) ID() string {
	if len(t.Parent) < 35 {
		return ""
	}
	return t.Parent[3:35]
}

const maxTraceState = 512

// traceOf returns the request's trace context unchanged, or a new one where
// there is none that can be used: its tracestate then belongs to nothing and is
// dropped.
func traceOf(h http.Header) Trace {
	parents := h.Values("Traceparent")
	if len(parents) != 1 || !validTraceParent(parents[0]) {
		return newTrace()
	}
	state := strings.Join(h.Values("Tracestate"), ",")
	if len(state) > maxTraceState || strings.IndexFunc(state, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		state = ""
	}
	return Trace{Parent: parents[0], State: state}
}

func newTrace() Trace {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return Trace{Parent: "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"}
}

// validTraceParent is the grammar of W3C Trace Context, section 3.2: later
// versions may be longer, version ff may not be, ids of zeros are none.
func validTraceParent(s string) bool {
	if len(s) < 55 || len(s) > 255 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, span, flags := s[:2], s[3:35], s[36:52], s[53:55]
	for _, part := range []string{version, trace, span, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	if version == "ff" || strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == "" {
		return false
	}
	if len(s) == 55 {
		return true
	}
	return version != "00" && s[55] == '-' && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

type traceKey struct{}

// withTrace puts t where problems and events find it.
func withTrace(ctx context.Context, t Trace) context.Context {
	headers := map[string]string{outbox.HeaderTraceParent: t.Parent}
	if t.State != "" {
		headers[outbox.HeaderTraceState] = t.State
	}
	return outbox.WithHeaders(context.WithValue(ctx, traceKey{}, t), headers)
}

func traceFrom(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}
