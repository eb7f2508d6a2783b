//go:build unix

package pgtest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Option changes what [Main] does.
type Option func(*options)

type options struct {
	settings map[string]string
	leak     []goleak.Option
	parallel int
}

// Setting sets a server parameter of the shared server.
func Setting(name, value string) Option {
	return func(o *options) { o.settings[name] = value }
}

// Parallel lets n tests run at a time on each processor, unless -parallel says how many:
// for tests that mostly wait.
func Parallel(n int) Option {
	return func(o *options) { o.parallel = n }
}

// Leak passes options to the check for leaked goroutines.
func Leak(opts ...goleak.Option) Option {
	return func(o *options) { o.leak = append(o.leak, opts...) }
}

// Main runs the tests of a package, stops the server if one was started, looks
// for leaked goroutines and exits. It is called by TestMain, as its last
// statement.
func Main(m *testing.M, opts ...Option) {
	for _, opt := range opts {
		opt(&shared.options)
	}
	if err := parallel(shared.options.parallel); err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		os.Exit(1)
	}
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := shared.stop(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		code = max(code, 1)
	}
	// Only after a success: a test that failed may well have left something
	// behind, and its own message is the one to read.
	if code == 0 {
		if err := goleak.Find(shared.options.leak...); err != nil {
			fmt.Fprintf(os.Stderr, "pgtest: goroutines were left behind: %v\n", err)
			code = 1
		}
	}
	os.Exit(code) //nolint:gocritic // the deferred cancel only frees a timer
}

func parallel(each int) error {
	flag.Parse()
	isSet := each == 0
	flag.Visit(func(f *flag.Flag) { isSet = isSet || f.Name == "test.parallel" })
	if isSet {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(each*runtime.GOMAXPROCS(0)))
}
