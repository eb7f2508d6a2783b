package relay_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
)

// promote puts the server on a new timeline, as a failover to a standby that has the slots
// and all of the log does.
func (s *setup) promote(t *testing.T, server *pgserver.Server) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(server.DataDir(), "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.pool.Reset()
	var timeline int
	s.exec(t, "select pg_promote()")
	s.exec(t, "checkpoint")
	if err := s.pool.QueryRow(t.Context(), "select timeline_id from pg_control_checkpoint()").Scan(&timeline); err != nil || timeline != 2 {
		t.Fatalf("timeline %d, %v", timeline, err)
	}
}

// Rows that were parked before a failover are known after it, by the places that they have on
// either timeline: they are parked once, and a row of their key that was on its way before
// them goes out before them.
func TestParkedRowsThroughAFailover(t *testing.T) {
	t.Parallel()
	for place, elsewhere := range map[string]bool{"postgres": false, "kafka": true} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s, server := ownServer(t, nil)
			if elsewhere {
				s.kafka = &inKafka{brokers: kafkaserver.ForTest(t), topic: kafkaserver.Name(t, "state"), login: s.db.URL}
			}
			sink := newTopical(false)
			sink.refuse = poison
			r := run(t, s.config(sink))
			insert := func(kind, payload string) {
				t.Helper()
				s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'k', 'T', convert_to($2, 'UTF8'))", kind, payload)
			}
			insert("near", "1")
			want(t, &sink.memory, "1")
			insert("away", "held")
			<-sink.asked
			insert("near", "poison")
			insert("near", "after")
			wantParked(t, s, "parked k poison too_large", "waiting k after waiting")
			r.stop()
			s.promote(t, server)
			r = run(t, s.config(sink))
			wantParked(t, s, "waiting k held waiting", "parked k poison too_large", "waiting k after waiting")
			insert("near", "2")
			wantParked(t, s, "waiting k held waiting", "parked k poison too_large", "waiting k after waiting", "waiting k 2 waiting")
			accepting(&sink.memory)
			close(sink.back)
			s.finished(t, s.request(t, "redrive"))
			want(t, &sink.memory, "1", "held", "poison", "after", "2")
			insert("near", "3")
			want(t, &sink.memory, "1", "held", "poison", "after", "2", "3")
			r.stop()
		})
	}
}
