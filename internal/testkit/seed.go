package testkit

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// SeedVariable is the environment variable that forces the seed.
const SeedVariable = "GAPLESS_SEED"

// Seed returns a seed for the test's random choices, and logs it in the form in
// which it can be given again. GAPLESS_SEED forces it; a value that is not a
// number fails the test, since the run it would make is not the one asked for.
func Seed(t testing.TB) int64 {
	t.Helper()
	seed := int64(rand.Uint64() >> 1)
	if v := os.Getenv(SeedVariable); v != "" {
		forced, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			t.Fatalf("parse %s=%q: %v", SeedVariable, v, err)
		}
		seed = forced
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return seed
}
