package crashpoint_test

import (
	"fmt"

	"github.com/gapless/gapless/internal/crashpoint"
)

func ExampleHit() {
	crashpoint.Hit("relay.after_commit")
	fmt.Println("still alive:", !crashpoint.Enabled)
	// Output: still alive: true
}
