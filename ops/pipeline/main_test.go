package pipeline_test

import (
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
