//go:build crashpoints

package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

// Wherever the process dies, the same request with the same key ends in one
// order.
func TestDeathsAtNamedSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"api.before_transaction", "api.after_send", "api.after_commit"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			login := f.db.LoginURL(t, pgtest.App)
			c := startChild(t, login, "127.0.0.1:0", "GAPLESS_CRASH="+step+":1")
			f.url = c.url
			if r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k"}); err == nil {
				t.Fatalf("status %d: %s: the fault did not fire", r.StatusCode, r.text)
			}
			_ = c.cmd.Wait()
			if !strings.Contains(c.stderr.String(), "crashpoint "+step) {
				t.Fatalf("the fault did not fire: %s", c.stderr)
			}
			again := startChild(t, login, "127.0.0.1:0")
			f.url = again.url
			for {
				r := f.place("k", good())
				if r.StatusCode == http.StatusConflict {
					continue // the backend of the dead process is still at it
				}
				if r.StatusCode != http.StatusAccepted {
					t.Fatalf("status %d: %s", r.StatusCode, r.text)
				}
				if replayed := r.Header.Get("Idempotent-Replayed") == "true"; replayed != (step == "api.after_commit") && step != "api.after_send" {
					t.Errorf("replayed %t", replayed)
				}
				break
			}
			f.wantOneOrder()
		})
	}
}
