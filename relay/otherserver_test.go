package relay_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
)

// otherServer is the system identifier of a server that is not there.
const otherServer = "4711"

// Two servers have a slot of the same name, their relays start for the first time at the same
// moment with one state topic: the second does not take over the first one's position.
func TestFirstStartBesideAnotherServers(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	s.append(t, "k", "1", "2", "3")
	s.flush(t)
	var end string
	if err := s.pool.QueryRow(t.Context(), "select pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
		t.Fatal(err)
	}
	var sink memory
	cfg := s.config(&sink)
	planted := 0
	cfg.TakeOver = func(ctx context.Context) (relay.Sent, error) { // between its look for a record and its own
		planted++
		return relay.Sent{}, s.withLog(ctx, func(l *kafkastate.Log) error {
			if err := l.Fence(ctx); err != nil {
				return err
			}
			return l.Write(ctx, 1, kafkastate.EntryOf(s.slot, kafkastate.Progress{Incarnation: 1, SystemID: otherServer, Timeline: 1, Resume: end, UpdatedAt: time.Now()}),
				kafkastate.EntryOf(s.slot, kafkastate.Proofs{Proofs: []byte("[]")}))
		})
	}
	refusal(t, run(t, cfg).ended(), "another one")
	if planted != 1 || len(sink.values()) != 0 {
		t.Errorf("planted %d times, sent %q", planted, sink.values())
	}
	err := s.inState(t.Context(), func(v *kafkastate.Slot) error {
		if v.Progress.SystemID != otherServer || v.Progress.Resume != end {
			return fmt.Errorf("the record is %+v now", v.Progress)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A key may be longer than a record of the state topic: it is told shorter, and is the same
// key through a restart.
func TestVeryLongKeyIsParkedInKafka(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	long, other := strings.Repeat("k", 9<<20), strings.Repeat("k", 9<<20-1)+"j"
	sink := memory{refuse: func(v sent) error {
		if len(v.key) > 1<<20 && v.value == "poison" {
			return errTooLarge
		}
		return nil
	}}
	r := run(t, s.config(&sink))
	s.append(t, long, "poison")
	s.append(t, "ok", "1")
	s.append(t, other, "2")
	want(t, &sink, "1", "2")
	s.stored(t, r, 3)
	r.stop()
	r = run(t, s.config(&sink))
	s.append(t, long, "3")
	s.append(t, other, "4")
	want(t, &sink, "1", "2", "4")
	s.stored(t, r, 2)
	err := s.inState(t.Context(), func(v *kafkastate.Slot) error {
		rows := v.Rows()
		if len(rows) != 2 || *rows[0].Row.RowKey != *rows[1].Row.RowKey || rows[1].Mark.Status != kafkastate.Waiting || len(*rows[0].Row.RowKey) > 300 {
			return fmt.Errorf("%d rows are parked", len(rows))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Retention keeps its hands off a table while it has the only copy of an event, or events
// that a row filter may have kept from being relayed.
func TestRetentionOfTheOnlyCopy(t *testing.T) {
	t.Parallel()
	for how, filter := range map[string]string{"parked without its bytes": "", "filtered": " where (type <> 'later')"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			for _, table := range []string{"events", "others"} {
				s.exec(t, "create table "+table+" (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text)")
			}
			s.exec(t, "alter publication gapless add table events"+filter+", others")
			sink := memory{refuse: func(v sent) error {
				if len(v.value) > 1<<20 {
					return errTooLarge
				}
				return nil
			}}
			cfg := s.config(&sink)
			cfg.ProofEvery = 50 * time.Millisecond
			cfg.Retention.Tables = map[string]relay.TableRetention{"public.events": {}, "public.others": {}}
			run(t, cfg)
			testkit.Eventually(t, patience, func() error {
				if n := s.rows(t, "gapless.relay_table"); n != 2 {
					return fmt.Errorf("%d tables are noted", n)
				}
				return nil
			})
			const insert = "insert into %s (aggregatetype, aggregateid, type, payload) values ('order', 'k', $1, repeat('x', $2))"
			kind, size := "later", 1
			if filter == "" {
				kind, size = "T", 33<<20
			}
			s.exec(t, fmt.Sprintf(insert, "events"), kind, size)
			if filter == "" {
				testkit.Eventually(t, patience, func() error {
					if n := s.rows(t, "gapless.parked"); n != 1 {
						return fmt.Errorf("%d rows are parked", n)
					}
					return nil
				})
			}
			s.exec(t, fmt.Sprintf(insert, "others"), "T", 1)
			gone := func(table string) error {
				s.append(t, "k", "1") // proofs come with events
				if n := s.rows(t, table); n != 0 {
					return fmt.Errorf("%d rows in %s", n, table)
				}
				return nil
			}
			testkit.Eventually(t, 2*patience, func() error { return gone("others") })
			s.exec(t, fmt.Sprintf(insert, "others"), "T", 1) // once more, so that events had a turn in between
			testkit.Eventually(t, 2*patience, func() error { return gone("others") })
			if n := s.rows(t, "events"); n != 1 {
				t.Fatalf("%d rows are left of the only copy", n)
			}
			if filter != "" {
				return
			}
			s.finished(t, s.request(t, "discard"))
			testkit.Eventually(t, 2*patience, func() error { return gone("events") })
		})
	}
}

// A column of type char(n) chooses rows, and gives them their order, by all that is in it.
func TestReplayByCharacters(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create schema app; create table app.events (seq char(8), id char(26), aggregatetype text, aggregateid char(4), type text, payload text, at timestamptz default clock_timestamp())")
	s.exec(t, "grant usage on schema app to gapless_relay; grant select on app.events to gapless_relay")
	s.exec(t, "alter publication gapless add table app.events")
	var stream memory
	r := run(t, s.config(&stream))
	s.exec(t, "insert into app.events (seq, id, aggregatetype, aggregateid, type, payload) select lpad(n::text, 8, 'a'), lpad(n::text, 26, 'b'), 'order', case n when 1 then 'k' else 'kz' end, 'T', n::text from generate_series(1, 5) as n")
	want(t, &stream, "1", "2", "3", "4", "5")
	s.stored(t, r, 5)
	for name, c := range map[string]struct {
		request relay.ReplayRequest
		want    []string
	}{
		"by id":        {relay.ReplayRequest{OrderBy: "at", IDs: []string{strings.Repeat("b", 25) + "3"}}, []string{"3"}},
		"by aggregate": {relay.ReplayRequest{OrderBy: "at", AggregateType: "order", AggregateID: "kz"}, []string{"2", "3", "4", "5"}},
		"in order":     {relay.ReplayRequest{OrderBy: "seq", Rate: 2}, []string{"1", "2", "3", "4", "5"}}, // pages of a few rows
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.request.Table = "app.events"
			var sink memory
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			replayer := s.replayer(t, &sink)
			if state, err := replayer.Run(ctx, opened(t, replayer, c.request)); err != nil {
				t.Fatalf("%+v, %v", state, err)
			}
			if got := sink.values(); !slices.Equal(got, c.want) {
				t.Errorf("sent %q, want %q", got, c.want)
			}
		})
	}
}

// The server was replaced, and rows of the old one are still parked in the topic: a row of the
// new one that has the place of one of those is not taken for it, and they can be redriven.
func TestParkedRowsOfAnotherServer(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	s.append(t, "old", "x")
	s.append(t, "k", "1")
	s.flush(t)
	var begin []byte
	err := s.pool.QueryRow(t.Context(), `select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'gapless')
		where get_byte(data, 0) = 66 order by lsn desc limit 1`, s.slot).Scan(&begin)
	if err != nil {
		t.Fatal(err)
	}
	key := "other"
	row := func(commit uint64, value, status string) kafkastate.Entry {
		e, err := kafkastate.RowEntry(s.slot, kafkastate.Place{System: otherServer, Timeline: 1, Commit: commit}, kafkastate.Row{
			ID: uuid.New(), Table: ownTable, RowKey: &key, Topic: "t", Partition: -1, Key: []byte(key), Value: []byte(value), Headers: []byte("[]"), Blocks: true, Status: status, Reason: "too_large", ParkedAt: time.Now(),
		}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	err = s.withLog(t.Context(), func(l *kafkastate.Log) error {
		if err := l.Fence(t.Context()); err != nil {
			return err
		}
		progress := kafkastate.EntryOf(s.slot, kafkastate.Progress{Incarnation: 1, SystemID: otherServer, Timeline: 1, Resume: "0/10", UpdatedAt: time.Now()})
		if err := l.Write(t.Context(), 1, progress, row(binary.BigEndian.Uint64(begin[1:]), "of before", kafkastate.Parked), row(1<<60, "far ahead", kafkastate.Waiting)); err != nil {
			return err
		}
		return l.Forget(t.Context(), "test", "the server is another one now")
	})
	if err != nil {
		t.Fatal(err)
	}
	var sink memory
	run(t, s.config(&sink))
	s.append(t, "k", "2")
	s.append(t, key, "3")
	want(t, &sink, "x", "1", "2")
	s.finished(t, s.request(t, "redrive"))
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); len(got) != 6 || !slices.Contains(got, "of before") || !slices.Contains(got, "far ahead") || !slices.Contains(got, "3") {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}
