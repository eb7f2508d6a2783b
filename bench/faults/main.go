package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/gapless/gapless/bench/internal/bed"
)

type options struct {
	seeds  int
	first  uint64
	only   *regexp.Regexp
	binary string
	logs   string
	out    string
}

func main() {
	var o options
	var only string
	var list bool
	flag.IntVar(&o.seeds, "seeds", 3, "runs of each fault, each with a seed of its own")
	flag.Uint64Var(&o.first, "seed", 1, "first seed")
	flag.StringVar(&only, "only", "", "regular expression of the faults' whole names; empty is all")
	flag.BoolVar(&list, "list", false, "list the faults")
	flag.StringVar(&o.out, "out", "", "Markdown file to write the table to")
	flag.StringVar(&o.binary, "binary", "", "gapless built with -tags crashpoints; empty builds it")
	flag.StringVar(&o.logs, "logs", "", "directory for logs and histories; empty keeps those of runs that fail")
	flag.Parse()
	if list {
		for _, f := range faults() {
			fmt.Printf("%-26s %s\n", f.name, f.what)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := campaign(ctx, o, only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// campaign runs every fault that was asked for and reports them all.
func campaign(ctx context.Context, o options, only string) (err error) {
	began := time.Now()
	if o.only, err = regexp.Compile("^(?:" + cmp.Or(only, ".*") + ")$"); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if o.seeds < 1 {
		return errors.New("-seeds must be at least 1")
	}
	var chosen []fault
	for _, f := range faults() {
		if o.only.MatchString(f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: no such fault; see -list", only)
	}
	keep := o.logs != ""
	if o.logs, err = filepath.Abs(cmp.Or(o.logs, filepath.Join(os.TempDir(), fmt.Sprintf("gapless-faults-%d", os.Getpid())))); err != nil {
		return err
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil { //nolint:gosec // test data
		return err
	}
	defer func() {
		if err == nil && !keep {
			err = os.RemoveAll(o.logs)
		}
	}()
	if o.binary == "" {
		dir, made := os.MkdirTemp("", "gapless-faults-")
		if made != nil {
			return made
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if o.binary, err = bed.Build(ctx, dir, "-tags", "crashpoints"); err != nil {
			return err
		}
	}
	w, err := openWorld(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close(ctx)) }()
	t := &table{began: began, postgres: w.pg.Major()}
	for i := range chosen {
		f := &chosen[i]
		for n := range o.seeds {
			result := w.run(ctx, f, o.first+uint64(n))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.add(f, result)
			result.print(os.Stdout)
			if len(result.failures()) == 0 && !keep {
				if err := os.RemoveAll(result.dir); err != nil {
					return err
				}
			}
		}
	}
	t.print(os.Stdout)
	if failed := t.failed(); failed > 0 {
		return fmt.Errorf("%d of %d runs failed; logs and histories are in %s", failed, t.runs(), o.logs)
	}
	if o.out != "" {
		return t.writeFile(o.out)
	}
	return nil
}
