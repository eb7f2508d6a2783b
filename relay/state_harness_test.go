package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
)

// inKafka is the state of a setup's relays where it is in Kafka.
type inKafka struct {
	brokers []string
	topic   string
	login   string // URL of a login that may write nothing
}

// ownTable is the outbox of a database without schema gapless.
const ownTable = "public.own_outbox"

// newKafkaSetup is a database as Debezium is given one: a table, a publication, a slot,
// and a login that may read the one and stream the other. The relay's state is in Kafka.
func newKafkaSetup(t *testing.T) *setup {
	t.Helper()
	db := pgtest.NewEmptyDB(t)
	s := &setup{db: db, pool: db.Pool(t)}
	s.exec(t, "create table "+ownTable+" (n bigint generated always as identity, id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "create publication gapless for table "+ownTable+" with (publish = 'insert')")
	s.slot = db.Slot(t, "relay")
	s.kafka = &inKafka{brokers: kafkaserver.ForTest(t), topic: kafkaserver.Name(t, "state"), login: db.ReaderURL(t)}
	s.exec(t, "grant select on "+ownTable+" to "+pgtest.Reader)
	return s
}

// inBoth runs a test with the state in schema gapless, and in Kafka.
func inBoth(t *testing.T, f func(*testing.T, *setup)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, newSetup(t))
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		f(t, newKafkaSetup(t))
	})
}

func (k *inKafka) storage() relay.Storage {
	return relay.Storage{Place: relay.Kafka, Brokers: k.brokers, Topic: k.topic, CreateTopic: true}
}

// open reads the slot's state as it is now.
func (s *setup) openState(ctx context.Context) (*kafkastate.Log, error) {
	l, err := kafkastate.Open(ctx, kafkastate.Config{
		Brokers: s.kafka.brokers, Topic: s.kafka.topic, Slot: s.slot, Create: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	if err := l.End(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// inState calls f with the slot's state as it is now.
func (s *setup) inState(ctx context.Context, f func(*kafkastate.Slot) error) error {
	return s.withLog(ctx, func(l *kafkastate.Log) (err error) {
		return errors.Join(l.View(func(v *kafkastate.Slot) { err = f(v) }), err)
	})
}

// withLog calls f with a log that is read to its end.
func (s *setup) withLog(ctx context.Context, f func(*kafkastate.Log) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	l, err := s.openState(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
}

// openRows are the rows that are neither sent nor discarded.
func openRows(l *kafkastate.Log) (held []*kafkastate.Held, err error) {
	err = l.View(func(v *kafkastate.Slot) { held = v.Rows() })
	return held, err
}

// parkedInKafka is what parked reads from the table, without what is settled.
func (s *setup) parkedInKafka(t testing.TB) (list []string) {
	t.Helper()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		held, err := openRows(l)
		if err != nil {
			return err
		}
		rows, err := l.Fetch(t.Context(), held)
		for _, h := range held {
			list = append(list, fmt.Sprintf("%s %s %s %s", h.Mark.Status, *h.Row.RowKey, rows[h.At].Value, h.Mark.Reason))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (s *setup) countInKafka(t testing.TB, statuses []string) (n int) {
	t.Helper()
	err := s.inState(t.Context(), func(v *kafkastate.Slot) error {
		for _, h := range v.Rows() {
			if slices.Contains(statuses, h.Mark.Status) {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lose removes the parked row of a key from the state, without a word to anybody.
func (s *setup) lose(t testing.TB, key string) {
	t.Helper()
	if s.kafka == nil {
		s.exec(t, "delete from gapless.parked where slot = $1 and row_key = $2 and status = 'parked'", s.slot, key)
		return
	}
	err := s.inState(t.Context(), func(v *kafkastate.Slot) error {
		for _, h := range v.Rows() {
			if *h.Row.RowKey == key && h.Mark.Status == kafkastate.Parked {
				kafkaserver.Produce(t, s.kafka.brokers, s.kafka.topic, s.slot+"/row/"+h.At.String(), nil)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *setup) requestInKafka(t testing.TB, action string) (id int64) {
	t.Helper()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		held, err := openRows(l)
		if err != nil {
			return err
		}
		r := kafkastate.Request{Action: action, Actor: "test", Reason: "for the test"}
		for _, h := range held {
			if h.Mark.Status == kafkastate.Parked {
				r.Rows = append(r.Rows, h.At.String())
			}
		}
		id, err = l.Ask(t.Context(), r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *setup) finishedInKafka(t testing.TB, request int64) error {
	return s.inState(t.Context(), func(v *kafkastate.Slot) error {
		if r := v.Requests[request]; r == nil || r.FinishedAt == nil {
			return fmt.Errorf("request is open: %+v", r)
		}
		return nil
	})
}

func (s *setup) pauseInKafka(t testing.TB, paused bool) {
	t.Helper()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		var wished string
		if err := s.pool.QueryRow(t.Context(), "select pg_current_wal_lsn()::text").Scan(&wished); err != nil {
			return err
		}
		var hi, lo uint64
		if _, err := fmt.Sscanf(wished, "%X/%X", &hi, &lo); err != nil {
			return err
		}
		return l.Append(t.Context(), kafkastate.EntryOf(s.slot, kafkastate.Control{
			Paused: paused, Actor: "postgres", Reason: "for the test", At: time.Now(), Wished: hi<<32 | lo,
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
}
