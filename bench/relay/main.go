// Command relay measures how fast the relay drains a backlog, against the
// ceiling: a program that receives the same stream and drops it.
//
//	go run ./bench/relay [-events 500000] [-batch 1] [-runs 5] [-partitions 32] [-debezium] [-expand] [-peer PROGRAM] [-databases 10]
//
// With -debezium, -expand or -peer the backlog is a table in Debezium's shape, with jsonb
// payloads of about 350 bytes; Debezium itself, the relay that expands them, or the program
// (see bench/peers) is one more contender.
// With -databases the same number of events lies spread over so many databases as well,
// and as many relays in one process read them. All are of one server, whose walsenders each
// read the WAL of all of them: servers of their own would do less.
//
// It starts a Postgres and an Apache Kafka of its own, writes the backlog once,
// and gives each contender a copy of the one slot, so that all read the same
// WAL. Contenders alternate; each is a process of its own, whose CPU time and
// peak memory are the kernel's figures for it. Printed are medians.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/gapless/gapless/relay/eventrouter"
)

type settings struct {
	events, batch, payload, runs, partitions, databases int
	brokers, profile, out, peer                         string
	debezium, expand                                    bool

	child, url, slot string
}

func main() {
	var s settings
	flag.IntVar(&s.events, "events", 500_000, "events in the backlog")
	flag.IntVar(&s.batch, "batch", 1, "events in a transaction")
	flag.IntVar(&s.payload, "payload", 350, "bytes of a payload, of rows of gapless.outbox")
	flag.IntVar(&s.runs, "runs", 5, "runs of each contender")
	flag.IntVar(&s.partitions, "partitions", 32, "partitions of the topic")
	flag.StringVar(&s.brokers, "brokers", "", "brokers; empty: start an Apache Kafka")
	flag.StringVar(&s.profile, "profile", "", "file for a CPU profile of the last relay run")
	flag.BoolVar(&s.debezium, "debezium", false, "Debezium on Kafka Connect, too")
	flag.BoolVar(&s.expand, "expand", false, "the relay with expansion of JSON payloads, too")
	flag.StringVar(&s.peer, "peer", "", "a program of bench/peers, too")
	flag.IntVar(&s.databases, "databases", 0, "databases with a relay each; below 2: none beside the one")
	flag.StringVar(&s.out, "out", "", "file for the medians as JSON")
	flag.StringVar(&s.child, "child", "", "for this program's own use")
	flag.StringVar(&s.url, "url", "", "for this program's own use")
	flag.StringVar(&s.slot, "slot", "", "for this program's own use")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench relay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	switch s.child {
	case "":
		return compare(ctx, s)
	case "relay", "relays":
		return relayChild(ctx, s, eventrouter.Config{})
	case "expand":
		return relayChild(ctx, s, eventrouter.Config{ExpandJSON: true, Value: eventrouter.Converter{Class: eventrouter.JSONConverter}})
	case "drop":
		return dropChild(ctx, s)
	}
	return fmt.Errorf("unknown child %q", s.child)
}
