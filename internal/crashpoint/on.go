//go:build crashpoints

package crashpoint

import (
	"os"
	"sync"
	"syscall"
)

// Enabled tells whether this build can crash on purpose.
const Enabled = true

var armed = sync.OnceValue(func() *plan {
	p, err := parse(os.Getenv("GAPLESS_CRASH"))
	if err != nil {
		// A misspelt plan would pass as "survived": the run must not start.
		os.Stderr.WriteString("crashpoint: " + err.Error() + "\n")
		os.Exit(2)
	}
	return p
})

// Hit kills the process when GAPLESS_CRASH names this step and this is the
// hit it asks for. Safe for concurrent use.
func Hit(name string) {
	if !armed().fires(name) {
		return
	}
	os.Stderr.WriteString("crashpoint " + name + "\n")
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // the signal is asynchronous; nothing after this step may run
}
