package schema_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gapless/gapless/ops/schema"
)

// A registry that redirects to another place gets no password sent there.
func TestRedirectTakesNoPasswordAlong(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer plain.Close()
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer registry.Close()
	roots := x509.NewCertPool()
	roots.AddCert(registry.Certificate())
	trusting := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	for _, c := range []schema.Config{
		{RegistryURL: registry.URL, TLS: trusting, Username: "u", Password: "s3cret"},
		{RegistryURL: registry.URL, TLS: trusting, BearerToken: "t0ken"},
	} {
		if _, err := schema.Check(t.Context(), c); err == nil || !strings.Contains(err.Error(), "redirects from https://") {
			t.Errorf("error %v", err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other place was asked %d times", n)
	}
}
