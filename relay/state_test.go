package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
)

// The login of these tests may write nothing, and with it a relay does all its work.
func TestReaderMayNotWrite(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	reader := pgtest.OpenPool(t, s.kafka.login)
	for _, statement := range []string{
		"create schema gapless", "create table public.mine ()", "insert into " + ownTable + " default values", "delete from " + ownTable,
		"create table mine ()",
	} {
		_, err := reader.Exec(t.Context(), statement)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			t.Errorf("%s: %v, want permission denied", statement, err)
		}
	}
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1", "2")
	want(t, &sink, "1", "2")
	s.stored(t, r, 2)
	r.stop()
	s.append(t, "k", "3")
	run(t, s.config(&sink))
	want(t, &sink, "1", "2", "3") // it went on where it was
}

// A relay takes the slot from one that does not know it yet: that one stores nothing
// more, and the second goes on from what the first had stored.
func TestStateIsFenced(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		err := l.View(func(v *kafkastate.Slot) {
			if v.Progress.Incarnation != 1 {
				t.Errorf("incarnation %d", v.Progress.Incarnation)
			}
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return l.Fence(ctx) // as the next owner begins
	})
	if err != nil {
		t.Fatal(err)
	}
	s.append(t, "k", "2") // its progress cannot be stored: the relay begins anew, and takes the slot again
	testkit.Eventually(t, patience, func() error {
		return s.inState(t.Context(), func(v *kafkastate.Slot) error {
			if n := v.Progress.Incarnation; n < 2 {
				return fmt.Errorf("incarnation %d", n)
			}
			return nil
		})
	})
	s.append(t, "k", "3")
	testkit.Eventually(t, patience, func() error {
		got := sink.values()
		if got[0] != "1" || got[1] != "2" || got[len(got)-1] != "3" || slices.Contains(got[1:], "1") {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// Without the topic, or with one that cannot hold the state, nothing begins.
func TestStateTopicIsMissing(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	var sink memory
	cfg := s.config(&sink)
	cfg.Storage.CreateTopic = false
	err := run(t, cfg).ended()
	refusal(t, err, s.kafka.topic+", which is to hold the relay's state, does not exist")
	if r, ok := errors.AsType[*relay.Refusal](err); !ok || !strings.Contains(r.Remedy, "--config cleanup.policy=compact") {
		t.Errorf("remedy of %v", err)
	}
}

// A record that cannot be read ends a stream, and keeps the next from starting.
func TestStateIsCorrupt(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	kafkaserver.Produce(t, s.kafka.brokers, s.kafka.topic, s.slot+"/progress", []byte("{}"))
	refusal(t, r.ended(), s.slot+"/progress of topic "+s.kafka.topic)
	refusal(t, run(t, s.config(&sink)).ended(), s.slot+"/progress of topic "+s.kafka.topic)
	want(t, &sink, "1")
}

// The record of another server's slot of the same name is not gone on from.
func TestStateOfAnotherServer(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	s.stored(t, r, 1)
	r.stop()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		var p kafkastate.Progress
		if err := l.View(func(v *kafkastate.Slot) { p = *v.Progress }); err != nil {
			return err
		}
		p.SystemID, p.Incarnation = "1234", p.Incarnation+1
		return l.Append(t.Context(), kafkastate.EntryOf(s.slot, p))
	})
	if err != nil {
		t.Fatal(err)
	}
	refusal(t, run(t, s.config(&sink)).ended(), "server is another one")
}

// What is forgotten begins where the slot is, and a relay that runs notices.
func TestStateIsForgotten(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	s.append(t, "p", "poison")
	want(t, &sink, "1")
	s.stored(t, r, 2)
	r.stop()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		return l.Forget(t.Context(), "test", "for the test")
	})
	if err != nil {
		t.Fatal(err)
	}
	r = run(t, s.config(&sink))
	s.append(t, "k", "2")
	s.append(t, "p", "p1")
	want(t, &sink, "1", "2") // the parked row is still known
	wantParked(t, s, "parked p poison too_large", "waiting p p1 waiting")
	s.stored(t, r, 2)
}

// A slot has one record. Where the other place has it, or both have, nothing begins.
func TestStateInBothPlaces(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.kafka = &inKafka{brokers: kafkaserver.ForTest(t), topic: kafkaserver.Name(t, "state"), login: s.db.URL}
	var sink memory
	in := func(place relay.Place) relay.Config {
		cfg := s.config(&sink)
		cfg.Storage.Place = place
		return cfg
	}
	r := run(t, in(relay.Auto)) // the table is there, so that is it
	s.append(t, "k", "1")
	s.storedInPostgres(t, r, 1)
	r.stop()
	refusal(t, run(t, in(relay.Kafka)).ended(), "the state is to be in Kafka, but slot")
	s.exec(t, "alter table gapless.relay_progress rename to moved")
	s.exec(t, "create table gapless.relay_progress (like gapless.moved including all)")
	s.exec(t, "delete from gapless.outbox") // a first record is refused over rows that the slot may have passed
	first := r.Status().Stored
	r = run(t, in(relay.Kafka))
	s.append(t, "k", "2")
	s.stored(t, r, 1)
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Stored <= first || st.Confirmed < st.Stored {
			return fmt.Errorf("the slot is not past the other place's record, at %s: %+v", first, st)
		}
		return nil
	})
	r.stop()
	for _, place := range []relay.Place{relay.Auto, relay.Postgres} {
		refusal(t, run(t, in(place)).ended(), "the state is to be in schema gapless, but slot")
	}
	s.exec(t, "insert into gapless.relay_progress select * from gapless.moved")
	refusal(t, run(t, in(relay.Kafka)).ended(), "has a record in schema gapless")
	for _, place := range []relay.Place{relay.Auto, relay.Postgres} { // Kafka is not asked, the slot tells
		refusal(t, run(t, in(place)).ended(), "ahead of the stored position")
	}
}

// Where the schema is not there, it is made if that may be, else the state is in Kafka.
func TestPlaceIsChosenByWhatIsPermitted(t *testing.T) {
	t.Parallel()
	t.Run("schema", func(t *testing.T) {
		t.Parallel()
		s := newKafkaSetup(t)
		var sink memory
		cfg := s.config(&sink)
		made := 0
		cfg.DatabaseURL = s.db.URL // may write
		cfg.Storage.Place = relay.Auto
		cfg.Storage.MakeSchema = func(context.Context) error {
			made++
			s.exec(t, "drop publication gapless") // the migrations make one of that name
			pgtest.Migrate(t, s.db.URL)
			s.exec(t, "drop publication gapless")
			s.exec(t, "create publication gapless for table "+ownTable+" with (publish = 'insert')")
			return nil
		}
		cfg.Slot, cfg.CreateSlot = s.db.SlotName("fresh"), true
		s.slot = cfg.Slot
		r := run(t, cfg)
		r.become(relay.Streaming)
		s.append(t, "k", "1")
		want(t, &sink, "1")
		s.storedInPostgres(t, r, 1)
		if made != 1 {
			t.Errorf("made %d times", made)
		}
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		s := newKafkaSetup(t)
		var sink memory
		cfg := s.config(&sink)
		cfg.Storage.Place = relay.Auto
		cfg.Storage.MakeSchema = func(context.Context) error { return errors.New("must not be tried") }
		r := run(t, cfg)
		s.append(t, "k", "1")
		want(t, &sink, "1")
		s.stored(t, r, 1)
	})
	t.Run("retention", func(t *testing.T) {
		t.Parallel()
		s := newKafkaSetup(t)
		cfg := s.config(&memory{})
		cfg.Retention.Tables = map[string]relay.TableRetention{ownTable: {}}
		if _, err := relay.New(cfg); !errors.Is(err, relay.ErrNoRetention) {
			t.Errorf("error %v", err)
		}
		cfg.Storage.Place = relay.Auto
		if err := run(t, cfg).ended(); !errors.Is(err, relay.ErrNoRetention) {
			t.Errorf("error %v", err)
		}
	})
}

// A login that may not look into the outbox streams, idles and starts again: its slot is
// never ahead of the record, where it would have to look.
func TestLoginThatMayNotReadTheTable(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create schema shop; create table shop.orders_outbox (id uuid default gen_random_uuid(), aggregatetype text, aggregateid text, payload text)")
	s.exec(t, "create publication shop for table shop.orders_outbox with (publish = 'insert')")
	write := func(value string) {
		t.Helper()
		s.exec(t, "insert into shop.orders_outbox (aggregatetype, aggregateid, payload) values ('order', 'k', $1)", value)
	}
	idle := func(r *running) {
		t.Helper()
		testkit.Eventually(t, patience, func() error { // keepalives have come since
			s.exec(t, "select pg_logical_emit_message(false, 'other', 'wal')")
			switch st := r.Status(); {
			case st.Confirmed > st.Stored:
				t.Fatalf("the slot is ahead: %+v", st)
			case st.Events == 0 || st.Done <= st.Stored:
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	var sink memory
	cfg := s.config(&sink)
	cfg.Publication, cfg.DatabaseURL = "shop", s.db.LoginURL(t, pgtest.Relay)
	var r *running
	for _, value := range []string{"1", "2"} {
		r = run(t, cfg)
		r.become(relay.Streaming)
		write(value)
		testkit.Eventually(t, patience, func() error {
			if got := sink.values(); got == nil || got[len(got)-1] != value {
				return fmt.Errorf("got %q", got)
			}
			return nil
		})
		idle(r)
		testkit.Eventually(t, patience, func() error {
			if n := s.rows(t, `shop.orders_outbox as o, gapless.relay_progress as p where slot = '`+s.slot+`'
				and (proofs->-1->>'lsn')::pg_lsn <= resume_lsn and o.xmin::text::xid8 < pg_snapshot_xmin((proofs->-1->>'snapshot')::pg_snapshot)`); strconv.Itoa(n) != value {
				return fmt.Errorf("%d rows are proven", n)
			}
			return nil
		})
		r.stop()
	}
	want(t, &sink, "1", "2")
	// Somebody else moves it.
	s.exec(t, "set synchronous_commit = on; select pg_logical_emit_message(true, 'flush', '')")
	s.exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
	refusal(t, run(t, cfg).ended(), "may not read shop.orders_outbox")
	s.exec(t, "grant usage on schema shop to gapless_relay; grant select on shop.orders_outbox to gapless_relay")
	run(t, cfg)
	write("3")
	want(t, &sink, "1", "2", "3")
}

// A row whose route leads into a topic of relays' state: it would be read back as what the
// relay itself has stored.
func TestNoRowGoesIntoTheState(t *testing.T) {
	t.Parallel()
	inBoth(t, noRowGoesIntoTheState)
}

func noRowGoesIntoTheState(t *testing.T, s *setup) {
	t.Helper()
	table, own := "public.routed", kafkastate.DefaultTopic
	s.exec(t, "create table routed (id uuid default gen_random_uuid(), aggregatetype text, aggregateid text, payload text)")
	s.exec(t, "alter publication gapless add table routed")
	if s.kafka != nil {
		own = s.kafka.topic
		s.exec(t, "grant select on routed to "+pgtest.Reader)
	}
	var sink memory
	cfg := s.config(&sink)
	cfg.Tables = map[string]format.Format{table: eventrouter.Config{TopicReplacement: "${routedByValue}"}}
	r := run(t, cfg)
	key := s.slot + "/control"
	s.exec(t, `insert into routed (aggregatetype, aggregateid, payload) values ($1, $3, '{"v": 1, "paused": true}'), ($2, $3, 'x'), ('elsewhere', 'k', 'goes on')`,
		own, kafkastate.DefaultTopic, key)
	want(t, &sink, "goes on")
	s.stored(t, r, 3)
	wantParked(t, s, "parked "+key+` {"v": 1, "paused": true} bad_topic`, "waiting "+key+" x bad_topic")
	s.finished(t, s.request(t, "redrive"))
	if n := s.attempts(t); n < 2 {
		t.Errorf("%d attempts", n)
	}
	want(t, &sink, "goes on")
	r.become(relay.Streaming)
}
