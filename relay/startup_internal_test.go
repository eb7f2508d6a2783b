package relay

import (
	"context"
	"log/slog"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/replication"
)

// lateState is a state whose record another relay stores anew before it is read.
type lateState struct {
	state
	store func(context.Context) error
}

func (l *lateState) load(ctx context.Context) (*progress, error) {
	if err := l.store(ctx); err != nil {
		return nil, err
	}
	return l.state.load(ctx)
}

// TestRecordIsStoredAfterTheLook: a relay that starts while another one still stores must
// not take the record for one that is ahead of the server.
func TestRecordIsStoredAfterTheLook(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	r, conn := unstarted(t, db, Config{Slot: db.Slot(t, "late")})
	system, err := conn.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.create(t.Context(), system.ID, system.Timeline, core.Position{Resume: system.Flushed}, false, 0); err != nil {
		t.Fatal(err)
	}
	var stored core.LSN
	r.remember(&lateState{state: r.store, store: func(ctx context.Context) error {
		if err := r.store.flush(ctx); err != nil {
			return err
		}
		end, err := r.store.flushed(ctx)
		if err != nil {
			return err
		}
		stored = end
		_, err = r.store.pool.Exec(ctx, "update gapless.relay_progress set resume_lsn = $2::text::pg_lsn where slot = $1", r.cfg.Slot, end.String())
		return err
	}})
	s, err := r.prepare(t.Context(), conn)
	if err != nil || s.position.Resume != stored || stored <= system.Flushed {
		t.Errorf("%v; starts at %s, stored %s, the server was at %s", err, s.position.Resume, stored, system.Flushed)
	}
}

// TestTakeOverSentAfterTheLook: what the other program sent before it let the slot go is not
// ahead of the server, though it was written after the look at it.
func TestTakeOverSentAfterTheLook(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	var sent core.LSN
	r, conn := unstarted(t, db, Config{
		Slot: db.Slot(t, "over"), TakeOver: func(context.Context) (Sent, error) { return Sent{Row: sent}, nil },
	})
	system, err := conn.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.remember(&lateState{state: r.store, store: func(ctx context.Context) error {
		if err := r.store.flush(ctx); err != nil {
			return err
		}
		sent, err = r.store.flushed(ctx)
		return err
	}})
	s, err := r.prepare(t.Context(), conn)
	if err != nil || s.system.Flushed < sent || sent <= system.Flushed {
		t.Errorf("%v; the other program sent until %s, the server was at %s, and then at %s", err, sent, system.Flushed, s.system.Flushed)
	}
}

// unstarted is a relay with its connections, which has looked at nothing yet.
func unstarted(t *testing.T, db *pgtest.DB, cfg Config) (*Relay, *replication.Conn) {
	t.Helper()
	sink, err := NewKafkaSink(KafkaConfig{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.DatabaseURL, cfg.Sink, cfg.Logger = db.URL, sink, slog.New(slog.DiscardHandler)
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.store, err = openStore(t.Context(), r.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.store.close)
	conn, err := r.store.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // no stream was begun
	return r, conn
}
