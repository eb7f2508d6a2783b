package api

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the contract, as served at /openapi.yaml.
func OpenAPI() []byte { return openAPI }

//go:generate oapi-codegen -config oapi-codegen.yaml openapi.yaml

// newRouter is every route of the API's own listener.
func (s *Server) newRouter() *chi.Mux {
	root := chi.NewRouter()
	root.Use(s.observe)
	root.NotFound(func(w http.ResponseWriter, r *http.Request) {
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && problemPage(w, r) {
			return
		}
		s.fail(w, r, problemf(kindNotFound, "there is nothing at this path"))
	})
	root.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		p := problemf(kindMethod, "%s is not allowed here", methodLabel(r.Method))
		p.header = http.Header{"Allow": {strings.Join(s.allowed(r.URL.Path), ", ")}}
		s.fail(w, r, p)
	})
	root.Get("/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(openAPI)
	})
	strict := NewStrictHandlerWithOptions(s, nil, StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  s.fail,
		ResponseErrorHandlerFunc: s.fail,
	})
	root.Group(func(r chi.Router) {
		r.Use(s.limit, s.authenticate, s.bodies)
		HandlerWithOptions(strict, ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: s.failParameter})
	})
	return root
}

// failParameter is for what the generated code finds before a handler is
// called. The key has problem types of its own.
func (s *Server) failParameter(w http.ResponseWriter, r *http.Request, err error) {
	if r.Method == http.MethodPost && r.URL.Path == "/v1/orders" {
		switch lines := r.Header.Values("Idempotency-Key"); {
		case len(lines) == 0:
			err = &problem{kind: kindKeyMissing, cause: err}
		case len(lines) > 1:
			err = problemf(kindKeyMalformed, "the key is given %d times", len(lines))
		case strings.TrimSpace(lines[0]) == "":
			err = problemf(kindKeyMalformed, "the key is empty")
		}
	}
	s.fail(w, r, err)
}

func (s *Server) allowed(path string) []string {
	var list []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if s.router.Match(chi.NewRouteContext(), method, path) {
			list = append(list, method)
		}
	}
	return list
}
