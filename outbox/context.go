package outbox

import (
	"context"
	"maps"
)

type headersKey struct{}

// Header names that carry context from a request through row and record to the
// handler.
const (
	HeaderContentType   = "content-type"
	HeaderDataSchema    = "ce_dataschema"
	HeaderCorrelationID = "ce_correlationid"
	HeaderCausationID   = "ce_causationid"
	HeaderTraceParent   = "traceparent"
	HeaderTraceState    = "tracestate"
	HeaderStep          = "gapless_step"
)

// WithHeaders returns a context whose events carry these headers: traceparent
// and tracestate (W3C Trace Context), ce_correlationid and so on. Headers that
// an event itself carries win; earlier ones of ctx are kept unless named again.
func WithHeaders(ctx context.Context, headers map[string]string) context.Context {
	merged := maps.Clone(ContextHeaders(ctx))
	if merged == nil {
		merged = make(map[string]string, len(headers))
	}
	maps.Copy(merged, headers)
	return context.WithValue(ctx, headersKey{}, merged)
}

// ContextHeaders returns the headers that [WithHeaders] put into ctx. The map
// must not be changed.
func ContextHeaders(ctx context.Context) map[string]string {
	headers, _ := ctx.Value(headersKey{}).(map[string]string)
	return headers
}
