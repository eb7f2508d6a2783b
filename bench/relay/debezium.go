package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/kafkaserver"
)

// debezium is Debezium's outbox connector on a Connect worker that is up already: its
// time is from the first record in the topic to the last, so neither the worker's start
// nor the connector's counts. Queue, batches and linger are tuned as its users do it. CPU
// is from the connector's start on, memory is the worker's peak.
func debezium(ctx context.Context, s settings, database, slot string) (r result, err error) {
	worker, err := bed.Debezium(ctx, s.brokers, map[string]string{"offset.flush.interval.ms": "5000"})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, worker.Stop(context.WithoutCancel(ctx))) }()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...))
	if err != nil {
		return r, err
	}
	defer client.Close()
	before := bed.CPU(worker.Pid())
	config, err := bed.Connector(database, map[string]string{
		"slot.name": slot, "publication.name": "gapless", "table.include.list": "public.events",
	})
	if err != nil {
		return r, err
	}
	if err := worker.Put(ctx, "outbox", config); err != nil {
		return r, err
	}
	first, last, err := filled(ctx, kadm.NewClient(client), s, func() error { return failed(ctx, worker) })
	if err != nil {
		return r, err
	}
	r.elapsed, r.cpu, r.rss = last.Sub(first), bed.CPU(worker.Pid())-before, peak(worker.Pid())
	return r, worker.Delete(ctx, "outbox")
}

func failed(ctx context.Context, worker *kafkaserver.Connect) error {
	state, trace, err := worker.TaskState(ctx, "outbox")
	if err == nil && state == "FAILED" {
		err = fmt.Errorf("the connector failed: %s", trace)
	}
	return err
}

// filled returns when the topic had its first record and when it had all.
func filled(ctx context.Context, admin *kadm.Client, s settings, check func() error) (first, last time.Time, err error) {
	for began := time.Now(); ; {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err == nil {
			err = offsets.Error()
		}
		if err != nil {
			return first, last, err
		}
		now := time.Now()
		n := int64(0)
		offsets.Each(func(o kadm.ListedOffset) { n += o.Offset })
		if n > 0 && first.IsZero() {
			first = now
		}
		if n >= int64(s.events) {
			return first, now, nil
		}
		if now.Sub(began) > 15*time.Minute {
			return first, last, fmt.Errorf("%d of %d records in %s", n, s.events, now.Sub(began))
		}
		if err := check(); err != nil {
			return first, last, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return first, last, ctx.Err()
		}
	}
}

// peak is VmHWM of proc(5).
func peak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
