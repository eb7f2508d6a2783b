//go:build !crashpoints

package crashpoint

// Enabled tells whether this build can crash on purpose.
const Enabled = false

// Hit does nothing in this build.
func Hit(string) {}
