package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/relay"
)

// One row that the broker refuses is counted, and the rest arrives.
func TestReplayOfARefusedRow(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	cluster := kafkaserver.Fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "outbox.event.order"))
	refusals := refuseBatches(cluster, kerr.InvalidRecord)
	s.append(t, "a", "1", "2")
	s.append(t, "b", "poison")
	s.append(t, "c", "3", "4")
	s.stored(t, r, 5)
	replayer := s.replayer(t, kafkaSink(t, cluster.ListenAddrs()))
	id := opened(t, replayer, relay.ReplayRequest{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	state, err := replayer.Run(ctx, id)
	if err != nil || state.Sent != 4 || state.Failed != 1 || !strings.Contains(state.Fault, "refused") || refusals.Load() != 2 {
		t.Errorf("state %+v, %d refusals, %v", state, refusals.Load(), err)
	}
	follow(t, cluster.ListenAddrs(), "outbox.event.order").has(t, 4)
}

func TestReplayConfig(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for what, cfg := range map[string]relay.ReplayConfig{
		"Sink is nil":         {DatabaseURL: s.db.URL},
		"DatabaseURL is empt": {Sink: &memory{}},
		"Slot":                {DatabaseURL: s.db.URL, Sink: &memory{}, Slot: "A slot"},
	} {
		if _, err := relay.NewReplayer(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
	}
	planted := errors.New("planted")
	replayer := s.replayer(t, &memory{}, func(c *relay.ReplayConfig) {
		c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return planted }
	})
	if _, err := replayer.Plan(t.Context(), relay.ReplayRequest{}); !errors.Is(err, planted) {
		t.Errorf("plan: %v", err)
	}
}
