package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/relay"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	// The clock of its timeouts ends by itself, a while after the last match.
	pgtest.Main(m, pgtest.Parallel(3), pgtest.Leak(goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock")))
}

// childVariable makes the test binary a relay that a test can kill.
const childVariable = "GAPLESS_RELAY_CHILD"

func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	limit, _ := strconv.ParseInt(os.Getenv("MAX_RECORD_BYTES"), 10, 32) // 0: the default
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{
		Brokers: strings.Split(os.Getenv("BROKERS"), ","), Logger: log, MaxRecordBytes: int32(limit),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var storage relay.Storage
	if topic := os.Getenv("STATE_TOPIC"); topic != "" {
		storage = relay.Storage{Place: relay.Kafka, Brokers: strings.Split(os.Getenv("BROKERS"), ","), Topic: topic, CreateTopic: true}
	}
	r, err := relay.New(relay.Config{
		Storage:     storage,
		DatabaseURL: os.Getenv("DATABASE"), Slot: os.Getenv("SLOT"), Sink: sink, Logger: log, SignalTable: os.Getenv("SIGNAL_TABLE"), TakeOverTopics: os.Getenv("TAKE_OVER") != "",
		MaxRecords: 50, ProgressEvery: 5 * time.Millisecond, // much happens between two kills
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := r.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
