package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
)

// An operator's pause holds through a change of the process, until he ends it.
func TestPauseInKafka(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.stored(t, r, 1)
	s.pause(t, true)
	r.become(relay.Paused)
	if got := r.Status(); !got.Ready() || got.Reason != "postgres: for the test" {
		t.Errorf("status %+v", got)
	}
	s.append(t, "k", "2")
	r.stop()
	r = run(t, s.config(&sink))
	r.become(relay.Paused)
	if got := sink.values(); len(got) != 1 {
		t.Errorf("sent %q while paused", got)
	}
	s.pause(t, false)
	want(t, &sink, "1", "2")
	r.become(relay.Streaming)
	s.stored(t, r, 1)
}

// own is a statement that writes an event, to be put together with signals.
func own(value string) string {
	return fmt.Sprintf("insert into %s (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', '%s')", ownTable, value)
}

// What is said of signals and operators in the database holds in Kafka: a signal is
// executed once, and a resume ends only pauses of before it.
func TestSignalsInKafka(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	s.makeSignalTable(t)
	var sink memory
	cfg := s.config(&sink)
	cfg.SignalTable = signalTable
	r := run(t, cfg)
	s.together(t, own("1"), signalRow("p", "pause", ""), own("2"))
	r.become(relay.Paused)
	if got := r.Status().Reason; !strings.Contains(got, "signal p at ") {
		t.Errorf("reason %q", got)
	}
	want(t, &sink, "1")
	r.stop()
	r = run(t, cfg)
	r.become(relay.Paused)
	r.stop()
	s.pause(t, false)
	r = run(t, cfg) // it reads the signal again, and it was executed
	want(t, &sink, "1", "2")
	s.stored(t, r, 1)
	if st := r.Status(); st.State != relay.Streaming {
		t.Errorf("%+v", st)
	}
	r.stop()

	s.together(t, own("3"), signalRow("early", "resume", ""), own("4"))
	s.pause(t, true)
	r = run(t, cfg)
	r.become(relay.Paused)
	s.together(t, signalRow("mark", "pause", ""), own("5"))
	s.pause(t, false) // it lets the relay go on up to the mark
	want(t, &sink, "1", "2", "3", "4")
	r.become(relay.Paused)
	s.pause(t, true)
	s.together(t, signalRow("late", "resume", ""))
	want(t, &sink, "1", "2", "3", "4", "5")
	r.become(relay.Streaming)
}

// A row that is too large for the topic is kept without its bytes: it cannot be redriven,
// and is discarded.
func TestParkedRowTooLargeForTheTopic(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	admin := kadm.NewClient(kafkaserver.Client(t, s.kafka.brokers))
	compact, limit := "compact", "100000"
	if _, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &compact, "max.message.bytes": &limit}, s.kafka.topic); err != nil {
		t.Fatal(err)
	}
	sink := memory{refuse: func(v sent) error {
		if len(v.value) > 1000 {
			return errTooLarge
		}
		return nil
	}}
	r := run(t, s.config(&sink))
	fits, large := strings.Repeat("f", 20_000), strings.Repeat("l", 80_000) // in base64 the one does
	s.append(t, "k", fits, large, "1")
	s.append(t, "l", "2")
	want(t, &sink, "2")
	wantParked(t, s, "parked k "+fits+" too_large", "waiting k  waiting", "waiting k 1 waiting")
	s.stored(t, r, 4)
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "2", fits) // and no further
	wantParked(t, s, "parked k  too_large", "waiting k 1 waiting")
	s.finished(t, s.request(t, "discard"))
	want(t, &sink, "2", fits, "1")
	s.append(t, "k", "3")
	want(t, &sink, "2", fits, "1", "3")
}

// Where no more rows fit, the stream holds, and goes on when some have gone.
func TestParkedRowsAreBounded(t *testing.T) {
	t.Parallel()
	s := newKafkaSetup(t)
	const most = 300
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.Storage.MaxParked = most
	r := run(t, cfg)
	s.append(t, "k", "1")
	s.stored(t, r, 1)
	r.stop()
	err := s.withLog(t.Context(), func(l *kafkastate.Log) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		incarnation := int64(0)
		if err := l.View(func(v *kafkastate.Slot) { incarnation = v.Progress.Incarnation }); err != nil {
			return err
		}
		if err := l.Fence(ctx); err != nil {
			return err
		}
		var entries []kafkastate.Entry
		for i := range most {
			key := fmt.Sprint("old", i)
			e, err := kafkastate.RowEntry(s.slot, kafkastate.Place{Timeline: 1, Commit: 1, Index: int64(i)}, kafkastate.Row{
				ID: uuid.New(), Table: ownTable, RowKey: &key, Topic: "t", Partition: -1, Key: []byte(key), Value: []byte("x"),
				Blocks: true, Status: kafkastate.Parked, Reason: "too_large",
			}, l.MaxBytes())
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return l.Write(ctx, incarnation, entries...)
	})
	if err != nil {
		t.Fatal(err)
	}
	r = run(t, cfg)
	s.append(t, "a", "poison")
	r.become(relay.Holding)
	if got := r.Status().Reason; !strings.Contains(got, "rows are parked") {
		t.Errorf("reason %q", got)
	}
	err = s.withLog(t.Context(), func(l *kafkastate.Log) error {
		_, err := l.Ask(t.Context(), kafkastate.Request{Action: kafkastate.ActionDiscard, Actor: "test", Reason: "for the test", Rows: []string{
			kafkastate.Place{Timeline: 1, Commit: 1, Index: 7}.String(),
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.become(relay.Streaming)
	s.append(t, "b", "b1")
	want(t, &sink, "1", "b1")
	testkit.Eventually(t, patience, func() error {
		return s.inState(t.Context(), func(v *kafkastate.Slot) error {
			if n := v.Open(); n != most {
				return fmt.Errorf("%d rows", n)
			}
			if rows := v.Rows(); rows[len(rows)-1].Row.Table != ownTable || *rows[len(rows)-1].Row.RowKey != "a" {
				return errors.New("the row is not parked")
			}
			return nil
		})
	})
}

// In the database rows are no matter, but the keys that they block are known to the relay.
func TestBlockedKeysAreBounded(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.Storage.MaxParked = 2
	r := run(t, cfg)
	long := strings.Repeat("long", 100)
	s.append(t, "a", "poison", "a1", "a2", "a3")
	s.append(t, long, "poison", "l1")
	s.append(t, "b", "b1")
	want(t, &sink, "b1")
	s.stored(t, r, 7)
	s.append(t, "c", "poison", "c1")
	r.become(relay.Holding)
	if got := r.Status().Reason; !strings.Contains(got, "of 3 keys rows are parked") {
		t.Errorf("reason %q", got)
	}
	if n := s.count(t, "parked"); n != 2 {
		t.Errorf("%d rows are parked", n)
	}
	s.finished(t, s.request(t, "discard"))
	r.become(relay.Streaming)
	wantParked(t, s, "discarded a poison too_large", "redriven a a1 waiting", "redriven a a2 waiting", "redriven a a3 waiting",
		"discarded "+long+" poison too_large", "redriven "+long+" l1 waiting", "parked c poison too_large", "waiting c c1 waiting")
}
