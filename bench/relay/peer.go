package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/internal/bed"
)

// peer is a program of bench/peers. Its time is from the first record in the topic to the
// last, as Debezium's; CPU and memory are the whole process's.
func peer(ctx context.Context, s settings, database, slot string) (r result, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...))
	if err != nil {
		return r, err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.peer)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+database, "SLOT="+slot, "BROKERS="+s.brokers)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // what it was is in cmd.ProcessState
	}()
	first, last, err := filled(ctx, kadm.NewClient(client), s, func() error {
		select {
		case <-ended:
			return fmt.Errorf("%s ended before its last record: %s", s.peer, cmd.ProcessState)
		default:
			return nil
		}
	})
	if err != nil {
		return r, err
	}
	r.elapsed, r.cpu, r.rss = last.Sub(first), bed.CPU(cmd.Process.Pid), peak(cmd.Process.Pid)
	cancel()
	<-ended // it was killed, which is how it ends
	return r, nil
}
