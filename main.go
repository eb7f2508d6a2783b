// Gapless: a transactional outbox for Postgres and Kafka. See README.md.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/gapless/gapless/ops/cli"
)

// version is set by the linker in a release.
var version = "dev"

func main() {
	// The first signal ends the command clean; unregistering then lets a second
	// one end the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program, for a test to call.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	return cli.Main{Version: version, Getenv: getenv, Stdin: stdin, Stdout: stdout, Stderr: stderr}.Run(ctx, args)
}
