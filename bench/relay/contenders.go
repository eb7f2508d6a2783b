package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
)

// relayChild is the relay as it is shipped, or several of them with a database each,
// until so many events are acknowledged.
func relayChild(ctx context.Context, s settings, router eventrouter.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	debug.SetGCPercent(50) // as the command has it
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var acked atomic.Int64
	hooks := relay.Hooks{Acked: func(*format.Record, time.Duration) {
		if acked.Add(1) == int64(s.events) {
			cancel()
		}
	}}
	g, ctx := errgroup.WithContext(ctx)
	slots := strings.Split(s.slot, ",")
	for i, url := range strings.Split(s.url, ",") {
		sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: strings.Split(s.brokers, ","), Logger: log})
		if err != nil {
			return err
		}
		r, err := relay.New(relay.Config{
			DatabaseURL: url, Slot: slots[i], Sink: sink, Logger: log, Tables: map[string]format.Format{"public.events": router}, Hooks: hooks,
		})
		if err != nil {
			return err
		}
		g.Go(func() error { return r.Run(ctx) })
	}
	return g.Wait()
}

// dropChild is the ceiling: the same receive path and decoder, no record, no
// sink, no position.
func dropChild(ctx context.Context, s settings) error {
	cfg, err := pgconn.ParseConfig(s.url)
	if err != nil {
		return err
	}
	conn, err := replication.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // the measured part is over
	if err := conn.Start(ctx, replication.Options{Slot: s.slot, Publication: "gapless"}); err != nil {
		return err
	}
	var m pgoutput.Message
	var end core.LSN
	last := time.Now()
	for rows := 0; rows < s.events; {
		f, ok, err := conn.Next()
		if err != nil {
			return err
		}
		if !ok {
			if err := conn.Fill(time.Second); err != nil {
				return err
			}
			if now := time.Now(); end > 0 && now.Sub(last) > time.Second {
				last = now
				if err := conn.Status(end, now, false); err != nil {
					return err
				}
			}
			continue
		}
		if f.Data == nil {
			continue
		}
		if err := pgoutput.Decode(f.Data, &m); err != nil {
			return err
		}
		switch m.Kind {
		case pgoutput.KindBegin:
			conn.Behind(time.Duration(f.Sent-m.Begin.CommitTime) * time.Microsecond)
		case pgoutput.KindInsert:
			rows++
		case pgoutput.KindCommit:
			end = core.LSN(m.Commit.EndLSN)
		}
	}
	return nil
}
