//go:build unix

// Command gapless-servers starts and stops a real Kafka or a real Apicurio
// registry for CI and for benchmarks.
//
//	gapless-servers kafka    start|stop|run --dir D
//	gapless-servers kafka    version --dir D | --brokers HOST:PORT,…
//	gapless-servers apicurio start|stop|run --dir D
//
// start prints the address (brokers, or the URL of the Confluent API) once the
// server answers, and leaves it running:
//
//	export GAPLESS_TEST_BROKERS=$(gapless-servers kafka start --dir "$work/kafka")
//
// What runs is this program itself with the verb run, in a session of its own: it
// holds D/daemon.lock as long as it lives, and when it dies, however, the kernel
// kills the server. D keeps the data. D/daemon.log and D/server.log say what went
// wrong. stop returns when the server is gone; when nothing runs it does nothing.
//
// Exit codes: 0 done, 1 failed, 2 usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gapless/gapless/internal/kafkaserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = "usage: gapless-servers kafka|apicurio start|stop|run|version --dir D [--brokers B]"

var errUsage = errors.New(usage)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, err)
		return 2
	default:
		fmt.Fprintf(stderr, "gapless-servers: %v\n", err)
		return 1
	}
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) < 2 {
		return errUsage
	}
	server, verb := args[0], args[1]
	flags := flag.NewFlagSet(server+" "+verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", "", "")
	brokers := flags.String("brokers", "", "")
	if err := flags.Parse(args[2:]); err != nil || flags.NArg() > 0 {
		return errors.Join(errUsage, err)
	}
	if server != "kafka" && server != "apicurio" {
		return fmt.Errorf("%w: no server %q", errUsage, server)
	}
	if verb == "version" && server == "kafka" && (*brokers != "" || *dir != "") {
		return version(ctx, *dir, *brokers, stdout)
	}
	if *dir == "" {
		return fmt.Errorf("%w: --dir is needed", errUsage)
	}
	abs, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("resolve directory: %w", err)
	}
	d := daemon{server: server, dir: abs}
	switch verb {
	case "start":
		return d.start(ctx, stdout)
	case "stop":
		return d.stop(ctx)
	case "run":
		return d.run(ctx, stderr)
	default:
		return fmt.Errorf("%w: no verb %q for %s", errUsage, verb, server)
	}
}

func version(ctx context.Context, dir, brokers string, stdout io.Writer) error {
	if brokers == "" {
		b, err := os.ReadFile(filepath.Join(dir, addressFile))
		if err != nil {
			return fmt.Errorf("find the broker of %s: %w", dir, err)
		}
		brokers = strings.TrimSpace(string(b))
	}
	v, err := kafkaserver.BrokerVersion(ctx, strings.Split(brokers, ","))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, v)
	return err
}
