package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/consumers"
)

func TestPoisonInABatch(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool}, effectConsumer())
	var list []*consumers.Message
	for i := range 500 {
		list = append(list, message(t, i, fmt.Sprintf("k%d", i), "good"))
	}
	list[250].Value = []byte("poison")
	outcomes := process(t, in, list...)
	if got := d.int(t, "SELECT count(DISTINCT event_id) FROM effect"); got != 499 || d.int(t, "SELECT count(*) FROM effect") != 499 {
		t.Errorf("%d effects, want 499", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter WHERE event_id = $1 AND reason = 'undecodable'", list[250].ID); got != 1 {
		t.Errorf("%d dead letters for the poison, want 1", got)
	}
	if outcomes[250] != consumers.Parked || d.int(t, "SELECT count(*) FROM gapless.inbox_attempt") != 0 {
		t.Errorf("outcome %q, want parked and no attempts left", outcomes[250])
	}
}

func TestRetriableErrorsCountNoAttempt(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "40P01", "55P03", "57014", "57P01", "53100"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			calls := 0
			consumer := effectConsumer()
			consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
				if calls++; calls <= 6 {
					return fmt.Errorf("lock the row: %w", &pgconn.PgError{Code: code})
				}
				return applyEffect(ctx, tx, m)
			}
			in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, consumer)
			got := process(t, in, message(t, 0, "a", "good"))
			if got[0] != consumers.Applied || d.int(t, "SELECT count(*) FROM gapless.dead_letter") != 0 {
				t.Errorf("outcome %v, want applied after any number of them", got)
			}
		})
	}
}

func TestFailuresAreCountedAndThenParked(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	calls := 0
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "bad" {
			calls++
			if calls%2 == 0 {
				panic("secret payload")
			}
			return errors.New("not today")
		}
		return applyEffect(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 4}, consumer)
	process(t, in, message(t, 0, "good", ""), message(t, 1, "bad", ""), message(t, 2, "fine", ""))
	if d.effects(t) != "good fine" {
		t.Errorf("effects %q", d.effects(t))
	}
	// The batch's try is not one of the message's own.
	if got := d.text(t, "SELECT attempts || ' ' || reason || ' ' || (first_failed_at <= last_failed_at) FROM gapless.dead_letter"); got != "4 failed true" {
		t.Errorf("dead letter %q, want 4 attempts", got)
	}
	if calls != 5 {
		t.Errorf("%d calls, want one in the batch and four single ones", calls)
	}
}

func TestRetriesEndWithTheirTime(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(context.Context, consumers.Tx, consumers.Delivery) error { return errors.New("never") }
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1 << 30, RetryFor: 50 * time.Millisecond}, consumer)
	if got := process(t, in, message(t, 0, "a", "")); got[0] != consumers.Parked {
		t.Errorf("outcome %v, want parked", got)
	}
}

func TestRetriesWithoutBounds(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	consumer.Apply = func(context.Context, consumers.Tx, consumers.Delivery) error { return errors.New("never") }
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 4, RetryFor: -1, RetryMessages: -1}, consumer)
	if got := process(t, in, message(t, 0, "a", "")); got[0] != consumers.Parked || d.int(t, "SELECT attempts FROM gapless.dead_letter") != 4 {
		t.Errorf("outcome %v, want parked after MaxAttempts", got)
	}
}

// tried stores attempts at a message, as of a process that died at it.
func (d *database) tried(t *testing.T, m *consumers.Message, attempts int) {
	t.Helper()
	_, err := d.admin.Exec(t.Context(), `INSERT INTO gapless.inbox_attempt (consumer, topic, partition, "offset", event_id, attempts)
		VALUES ('effects', $1, $2, $3, $4, $5)`, m.Topic, m.Partition, m.Offset, m.ID, attempts)
	if err != nil {
		t.Fatal(err)
	}
}

// The stored attempts of a process that died count against the message.
func TestSuspectsAreRecordedFirst(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	var seen []int64
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		seen = append(seen, d.int(t, `SELECT coalesce(sum(attempts), 0) FROM gapless.inbox_attempt WHERE "offset" = $1`, m.Offset))
		return applyEffect(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 2}, consumer)
	known := messages(t, 2)
	process(t, in, known...)
	seen = nil

	killer := message(t, 3, "k", "")
	d.tried(t, killer, 2)
	in.Suspect(10)
	got := process(t, in, known[0], known[1], message(t, 2, "a", ""), killer, message(t, 4, "k", ""), message(t, 5, "b", ""))
	want := []consumers.Outcome{consumers.Duplicate, consumers.Duplicate, consumers.Applied, consumers.Parked, consumers.Waiting, consumers.Applied}
	if !slices.Equal(got, want) || !slices.Equal(seen, []int64{1, 1}) {
		t.Errorf("outcomes %v, attempts seen by handlers %v; want %v and 1 1", got, seen, want)
	}
	if got := d.text(t, "SELECT reason || ' ' || attempts FROM gapless.dead_letter"); got != consumers.ReasonDied+" 2" {
		t.Errorf("dead letter %q", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); got != 0 {
		t.Errorf("%d attempts left behind", got)
	}
}

// The last batch of a process that died is tried as a batch once, recorded first;
// only what was on trial at a second death goes singly.
func TestSuspectsAreTriedTogetherOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var batches [][]string
	consumer := effectConsumer()
	consumer.Apply = nil
	consumer.ApplyBatch = func(ctx context.Context, tx consumers.Tx, list []consumers.Delivery) error {
		var seen []string
		for _, m := range list {
			tries := d.int(t, `SELECT coalesce(sum(attempts), 0) FROM gapless.inbox_attempt WHERE "offset" = $1`, m.Offset)
			seen = append(seen, fmt.Sprintf("%s %d", m.Key, tries))
			if err := applyEffect(ctx, tx, m); err != nil {
				return err
			}
		}
		batches = append(batches, seen)
		return nil
	}
	in := newInbox(t, consumers.Config{Pool: d.pool}, consumer)
	var list []*consumers.Message
	for i, key := range []string{"a", "b", "died", "c", "d"} {
		list = append(list, message(t, i, key, ""))
	}
	d.tried(t, list[2], 1)
	in.Suspect(10)
	process(t, in, list...)
	want := [][]string{{"a 1", "b 1"}, {"died 2"}, {"c 1", "d 1"}}
	if !slices.EqualFunc(batches, want, slices.Equal) {
		t.Errorf("batches with the tries that handlers saw: %v, want %v", batches, want)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); got != 0 {
		t.Errorf("%d attempts left behind", got)
	}
}

// What a handler's error counts is the same for a suspect as for any message.
func TestFailureOfASuspectCountsOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	calls := 0
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "bad" {
			calls++
			return errors.New("never")
		}
		return applyEffect(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 4}, consumer)
	in.Suspect(10)
	process(t, in, message(t, 0, "good", ""), message(t, 1, "bad", ""), message(t, 2, "fine", ""))
	if got := d.text(t, "SELECT attempts || ' ' || reason FROM gapless.dead_letter"); got != "4 failed" || calls != 5 {
		t.Errorf("dead letter %q after %d calls, want 4 attempts after 5: one in the batch", got, calls)
	}
	if d.effects(t) != "good fine" || d.int(t, "SELECT count(*) FROM gapless.inbox_attempt") != 0 {
		t.Errorf("effects %q", d.effects(t))
	}
}
