package consumers_test

import (
	"testing"
	"time"

	"github.com/gapless/gapless/internal/testkit"
)

func waitFor(t *testing.T, cond func() error) {
	t.Helper()
	testkit.Eventually(t, 60*time.Second, cond)
}
