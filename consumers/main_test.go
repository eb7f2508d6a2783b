package consumers_test

import (
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	pgtest.Main(m)
}
