package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
)

// observe is outermost: it gives the request its trace, recovers from a panic,
// and counts what was answered.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		s.metrics.inFlight.Inc()
		defer s.metrics.inFlight.Dec()
		trace := traceOf(r.Header)
		ctx := r.Context()
		end := func(int) {}
		if s.cfg.StartSpan != nil {
			ctx, trace, end = s.cfg.StartSpan(ctx, r.Method+" "+s.pattern(r), trace)
		}
		r = r.WithContext(withTrace(ctx, trace))
		w.Header().Set("X-Request-Id", trace.ID())
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if v := recover(); v != nil {
				s.recovered(rec, r, v)
			}
			status := rec.code()
			end(status)
			s.metrics.requests.WithLabelValues(methodLabel(r.Method), routeOf(r), strconv.Itoa(status)).Observe(time.Since(start).Seconds())
			if status < 500 {
				s.log.DebugContext(r.Context(), "request served", "method", r.Method, "route", routeOf(r), "status", status,
					"trace_id", trace.ID(), "took", time.Since(start))
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

func (s *Server) recovered(rec *recorder, r *http.Request, v any) {
	if v == http.ErrAbortHandler { //nolint:errorlint // a recovered value, compared as net/http does
		panic(v)
	}
	s.metrics.panics.Inc()
	s.log.ErrorContext(r.Context(), "panic in request", "method", r.Method, "route", routeOf(r),
		"trace_id", traceFrom(r.Context()).ID(), "panic", panicText(v), "stack", string(debug.Stack()))
	if rec.status != 0 {
		// Half an answer is out: cut the connection, or it would pass for a whole one.
		panic(http.ErrAbortHandler)
	}
	s.fail(rec, r, &problem{kind: kindInternal, cause: errors.New("panic")})
}

// panicText is what the log may tell: a value that was panicked with may hold
// payload, what the Go runtime says does not.
func panicText(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// methodLabel bounds a label that the client chooses.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// routeOf is the pattern that matched: a path would be a label without bounds.
func routeOf(r *http.Request) string {
	if c := chi.RouteContext(r.Context()); c != nil {
		if p := c.RoutePattern(); p != "" && !strings.HasSuffix(p, "*") {
			return p
		}
	}
	return "none"
}

// pattern is routeOf before the routing.
func (s *Server) pattern(r *http.Request) string {
	c := chi.NewRouteContext()
	if s.router.Match(c, r.Method, r.URL.Path) {
		return c.RoutePattern()
	}
	return "none"
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && status >= 200 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

func (rec *recorder) code() int {
	if rec.status == 0 {
		return http.StatusOK
	}
	return rec.status
}

// limiter bounds what is under way: requests, and apart from them those that
// wait or watch, which cost little and last long.
type limiter struct {
	requests chan struct{}
	streams  chan struct{}
}

func newLimiter(requests, streams int) *limiter {
	return &limiter{make(chan struct{}, requests), make(chan struct{}, max(streams, 0))}
}

// place is what one request holds.
type place struct {
	mu      sync.Mutex
	release func()
}

type placeKey struct{}

func (p *place) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	p.release = func() {}
}

// limit answers 429 at once where all places are taken: a queue would only make
// every client wait until it gives up.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.limiter.requests <- struct{}{}:
		default:
			s.fail(w, r, &problem{kind: kindTooMany})
			return
		}
		p := &place{release: func() { <-s.limiter.requests }}
		defer p.free()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), placeKey{}, p)))
	})
}

// stepAside gives the request's place back for one among the streams. false
// means that there is none.
func (s *Server) stepAside(ctx context.Context) bool {
	select {
	case s.limiter.streams <- struct{}{}:
	default:
		return false
	}
	p, ok := ctx.Value(placeKey{}).(*place)
	if !ok {
		<-s.limiter.streams
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	s.metrics.streams.Inc()
	p.release = func() {
		<-s.limiter.streams
		s.metrics.streams.Dec()
	}
	return true
}

// bodies bounds every body and refuses those that are not JSON, on the routes
// that take one.
func (s *Server) bodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > s.cfg.MaxBody {
			s.fail(w, r, &problem{kind: kindTooLarge})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
		if r.Method == http.MethodPost && takesBody(r.URL.Path) {
			if err := checkMediaType(r.Header); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		// A client may split the list; the generated code takes one line.
		if lines := r.Header.Values("Prefer"); len(lines) > 1 {
			r.Header.Set("Prefer", strings.Join(lines, ","))
		}
		next.ServeHTTP(w, r)
	})
}

func takesBody(path string) bool {
	return path == "/v1/orders" || strings.HasSuffix(path, "/review")
}

func checkMediaType(h http.Header) error {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return problemf(kindMediaType, "Content-Encoding %q is not supported", cut(encoding, 32))
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return problemf(kindMediaType, "Content-Type is not application/json")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return problemf(kindMediaType, "charset %q is not utf-8", cut(charset, 32))
	}
	return nil
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
