package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/inspect"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T) (owner, reader *pgxpool.Pool) {
	t.Helper()
	db := pgtest.NewDB(t)
	return db.Pool(t), db.LoginPool(t, pgtest.Readonly)
}

func exec(t *testing.T, pool *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func appendRow(t *testing.T, pool *pgxpool.Pool, kind, key, typ string) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	err := pool.QueryRow(t.Context(), `SELECT gapless.append($1, $2, $3, '{"order_id": "o"}'::jsonb)`, kind, key, typ).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOutboxFilters(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	placed := appendRow(t, owner, "order", "o-1", "OrderPlaced")
	appendRow(t, owner, "order", "o-2", "OrderPlaced")
	last := appendRow(t, owner, "stock", "o-1", "StockReserved")
	for _, tt := range []struct {
		name   string
		filter inspect.OutboxFilter
		want   int
	}{
		{"none", inspect.OutboxFilter{}, 3},
		{"aggregate type", inspect.OutboxFilter{AggregateType: "order"}, 2},
		{"aggregate", inspect.OutboxFilter{AggregateID: "o-1"}, 2},
		{"type", inspect.OutboxFilter{Type: "StockReserved"}, 1},
		{"both", inspect.OutboxFilter{AggregateID: "o-2", Type: "StockReserved"}, 0},
		{"limit", inspect.OutboxFilter{Limit: 1}, 1},
		{"future", inspect.OutboxFilter{Since: time.Now().Add(time.Hour)}, 0},
	} {
		rows, err := inspect.Outbox(t.Context(), pool, tt.filter)
		if err != nil || len(rows) != tt.want || rows == nil {
			t.Errorf("%s: %d rows, %v, want %d", tt.name, len(rows), err, tt.want)
		}
		if len(rows) == 3 && rows[0].ID != last {
			t.Errorf("%s: not the newest first", tt.name)
		}
	}
	event, err := inspect.ShowOutbox(t.Context(), pool, placed)
	if err != nil || string(event.Payload) != `{"order_id": "o"}` || event.ContentType != "application/json" || event.PayloadBytes != 17 {
		t.Errorf("%+v, %v", event, err)
	}
	if _, err := inspect.ShowOutbox(t.Context(), pool, uuid.New()); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
}

func TestFollowShowsWhatWasCommittedLate(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	appendRow(t, owner, "order", "old", "OrderPlaced")
	tx, err := owner.Begin(t.Context()) // an early id that commits last
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	shown, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- inspect.FollowOutbox(ctx, pool, inspect.OutboxFilter{}, inspect.Follow{Every: 5 * time.Millisecond}, func(r inspect.OutboxRow) error {
			shown <- r.AggregateID
			return nil
		})
	}()
	// The first look is at rows from now on; an early row proves that it is over.
	testkit.Eventually(t, 10*time.Second, func() error {
		appendRow(t, owner, "order", "first", "OrderPlaced")
		select {
		case <-shown:
			return nil
		default:
			return errors.New("nothing is shown")
		}
	})
	if _, err := tx.Exec(t.Context(), "SELECT gapless.append('order', 'late', 'OrderPlaced', '{}'::jsonb)"); err != nil {
		t.Fatal(err)
	}
	appendRow(t, owner, "order", "early", "OrderPlaced")
	for seen := ""; seen != "early"; {
		seen = <-shown
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := <-shown; seen != "late" {
		t.Errorf("shown %q, want the late one, once", seen)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case seen := <-shown:
		t.Errorf("%q is shown twice", seen)
	default:
	}
}

func TestInboxSagasAndDeadLetters(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	event, order := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	exec(t, owner, `INSERT INTO gapless.inbox (consumer, event_id, outcome, topic, partition, "offset") VALUES ('saga', $1, 'parked', 't', 1, 2), ('loyalty', $1, 'applied', 't', 1, 2)`, event)
	exec(t, owner, `INSERT INTO gapless.saga (saga_id, type, order_id, status, step, reason) VALUES ($1, 'order', $1, 'needs_attention', 'ship', 'compensation_failed')`, order)
	exec(t, owner, `INSERT INTO gapless.saga_step (saga_id, step, direction, step_id, status) VALUES ($1, 'ship', 'forward', gen_random_uuid(), 'failed')`, order)
	exec(t, owner, `INSERT INTO gapless.saga_ignored_reply (saga_id, event_id, type, why) VALUES ($1, $2, 'ShipmentCreated', 'late')`, order, event)
	exec(t, owner, `INSERT INTO gapless.dead_letter (consumer, event_id, type, topic, partition, "offset", record_timestamp, key, value, headers, reason, attempts, first_failed_at, last_failed_at)
		VALUES ('saga', $1, 'OrderPlaced', 't', 1, 2, now(), 'k', '{"order_id":"o"}', '[["content-type", "YXBwbGljYXRpb24vanNvbg=="], ["x", null]]', 'invalid', 3, now(), now())`, event)
	exec(t, owner, `INSERT INTO gapless.key_block (consumer, topic, key, dead_letter_id) SELECT consumer, topic, key, dead_letter_id FROM gapless.dead_letter`)
	exec(t, owner, `INSERT INTO gapless.key_block_message (consumer, topic, key, partition, "offset", event_id, record_timestamp) VALUES ('saga', 't', 'k', 1, 3, gen_random_uuid(), now())`)

	for _, tt := range []struct {
		filter inspect.InboxFilter
		want   int
	}{
		{inspect.InboxFilter{}, 2},
		{inspect.InboxFilter{Consumer: "saga"}, 1},
		{inspect.InboxFilter{Outcome: "applied"}, 1},
		{inspect.InboxFilter{EventID: event}, 2},
		{inspect.InboxFilter{EventID: uuid.New()}, 0},
		{inspect.InboxFilter{Topic: "u"}, 0},
	} {
		if claims, err := inspect.Inbox(t.Context(), pool, tt.filter); err != nil || len(claims) != tt.want {
			t.Errorf("inbox %+v: %d, %v, want %d", tt.filter, len(claims), err, tt.want)
		}
	}
	for _, tt := range []struct {
		filter inspect.SagaFilter
		want   int
	}{
		{inspect.SagaFilter{}, 1}, {inspect.SagaFilter{Stuck: true, Open: true}, 1}, {inspect.SagaFilter{Status: "running"}, 0}, {inspect.SagaFilter{OrderID: order}, 1},
	} {
		if sagas, err := inspect.Sagas(t.Context(), pool, tt.filter); err != nil || len(sagas) != tt.want {
			t.Errorf("sagas %+v: %d, %v, want %d", tt.filter, len(sagas), err, tt.want)
		}
	}
	saga, err := inspect.ShowSaga(t.Context(), pool, order)
	if err != nil || len(saga.Steps) != 1 || len(saga.Ignored) != 1 || saga.Stuck == "" || saga.Reason != "compensation_failed" {
		t.Errorf("saga %+v, %v", saga, err)
	}
	if _, err := inspect.ShowSaga(t.Context(), pool, uuid.New()); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("unknown saga: %v", err)
	}

	for _, tt := range []struct {
		filter inspect.DeadFilter
		want   int
	}{
		{inspect.DeadFilter{}, 1}, {inspect.DeadFilter{Status: "redriven"}, 0}, {inspect.DeadFilter{Key: "k", Consumer: "saga", Topic: "t", Reason: "invalid"}, 1}, {inspect.DeadFilter{Key: "l"}, 0},
	} {
		letters, err := inspect.DeadLetters(t.Context(), pool, tt.filter)
		if err != nil || len(letters) != tt.want {
			t.Errorf("dead letters %+v: %d, %v, want %d", tt.filter, len(letters), err, tt.want)
		}
		if len(letters) > 0 && (letters[0].Waiting != 1 || letters[0].Key != "k") {
			t.Errorf("dead letter %+v", letters[0])
		}
	}
	dead, err := inspect.ShowDeadLetter(t.Context(), pool, event)
	if err != nil || len(dead.Headers) != 2 || string(dead.Headers[0].Value) != "application/json" || dead.Headers[1].Value != nil {
		t.Errorf("dead letter %+v, %v", dead, err)
	}
	if string(dead.Message) != `{"order_id":"o"}` || dead.Undecodable != "" || string(dead.Value) != `{"order_id":"o"}` {
		t.Errorf("message %s, %s", dead.Message, dead.Undecodable)
	}
	exec(t, owner, `UPDATE gapless.dead_letter SET value = '\x00ff'`)
	if dead, err := inspect.ShowDeadLetter(t.Context(), pool, dead.DeadLetterID); err != nil || dead.Undecodable == "" {
		t.Errorf("garbage: %+v, %v", dead, err)
	}
}

func TestRelays(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	owner, pool := db.Pool(t), db.LoginPool(t, pgtest.Readonly)
	slot := db.Slot(t, "inspect")
	state := func(want string) inspect.Relay {
		t.Helper()
		relays, err := inspect.Relays(t.Context(), pool, "")
		if err != nil || len(relays) != 1 {
			t.Fatalf("%+v, %v", relays, err)
		}
		if relays[0].State != want || relays[0].Advice == "" {
			t.Errorf("state %q, advice %q, want %q", relays[0].State, relays[0].Advice, want)
		}
		return relays[0]
	}
	state("never run")
	exec(t, owner, "INSERT INTO gapless.relay_progress (slot, system_id, timeline, resume_lsn, relay_id) VALUES ($1, '1', 1, '0/1', 'host')", slot)
	exec(t, owner, "INSERT INTO gapless.parked (slot, relation, topic, system_id, timeline, commit_lsn, commit_index, reason) VALUES ($1, 'gapless.outbox', 't', '1', 1, '0/1', 0, 'too_large')", slot)
	r := state("stopped")
	if r.Parked != 1 || r.RetainedBytes == nil || r.UnrelayedBytes == nil || *r.UnrelayedBytes <= 0 || r.RelayID != "host" {
		t.Errorf("%+v", r)
	}
	var text strings.Builder
	if err := inspect.WriteRelays(&text, []inspect.Relay{r}); err != nil || !strings.Contains(text.String(), "iB") {
		t.Errorf("%v\n%s", err, &text)
	}
	exec(t, owner, "SELECT pg_drop_replication_slot($1)", slot)
	state("no slot")
}

func TestConsume(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "inspect.", 2)
	name, other := kafkaserver.Name(t, "c"), kafkaserver.Name(t, "d")
	client := kafkaserver.Client(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	old := time.Now().Add(-time.Hour)
	for i := range 5 {
		r := &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: []byte("k"), Timestamp: old.Add(time.Duration(i) * time.Minute)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(p int32, at int64) {
		t.Helper()
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, p, at, -1)
		if err := kadm.NewClient(client).CommitAllOffsets(t.Context(), contracts.Group(name, 1), offsets); err != nil {
			t.Fatal(err)
		}
	}
	commit(0, 1)
	commit(1, 2)
	exec(t, owner, `INSERT INTO gapless.dead_letter (dead_letter_id, consumer, event_id, topic, partition, "offset", record_timestamp, reason, attempts, first_failed_at, last_failed_at)
		VALUES ($1, $2, $1, $3, 0, 0, now(), 'invalid', 3, now(), now())`, uuid.New(), name, topic)
	exec(t, owner, `INSERT INTO gapless.key_block (consumer, topic, key, dead_letter_id) SELECT consumer, topic, 'k', dead_letter_id FROM gapless.dead_letter`)
	config := inspect.ConsumeConfig{Brokers: brokers, Consumers: []inspect.Consumer{
		{Name: name, Topics: []string{topic}}, {Name: other, Topics: []string{topic, topic + ".missing"}}, {Name: "nothing"},
	}}
	look := func() []inspect.ConsumerStatus {
		t.Helper()
		list, err := inspect.Consume(t.Context(), pool, config)
		if err != nil || len(list) != 3 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list
	}
	first := look()
	s := first[0]
	if s.Lag != 2 || len(s.Partitions) != 2 || s.Partitions[0].Committed != 1 || s.Partitions[0].Lag != 2 || s.Partitions[1].Lag != 0 {
		t.Errorf("%+v", s)
	}
	if s.LagSeconds < 57*60 || s.LagSeconds > 60*60 { // the third record: two minutes younger than the first
		t.Errorf("lag %.0f s", s.LagSeconds)
	}
	if s.Table.BlockedKeys != 1 || s.Table.DeadLetters != 1 || len(s.Blocked) != 1 || s.Partitions[0].Blocked != 1 {
		t.Errorf("blocked: %+v", s)
	}
	if never := first[1]; never.Lag != 5 || never.Partitions[0].Committed != -1 || never.LagSeconds < 59*60 {
		t.Errorf("a consumer that never ran: %+v", never)
	}
	commit(0, 2)
	now := look()
	inspect.Rates(first, now)
	if now[0].Rate <= 0 || now[0].DrainSeconds <= 0 || now[1].Rate != 0 {
		t.Errorf("rates: %+v", now)
	}
	var text strings.Builder
	if err := inspect.WriteConsumers(&text, now, false); err != nil || !strings.Contains(text.String(), topic+"/0") {
		t.Errorf("%v\n%s", err, &text)
	}
	if never := first[1]; len(never.Partitions) != 3 || never.Partitions[2].Topic != topic+".missing" || never.Partitions[2].Error == "" || never.Lag != 5 {
		t.Errorf("a topic that is missing: %+v", never)
	}
	if !strings.Contains(text.String(), topic+".missing/-1") {
		t.Errorf("a topic that is missing is not shown:\n%s", &text)
	}
	config.Brokers = []string{"127.0.0.1:1"}
	if _, err := inspect.Consume(t.Context(), pool, config); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a broker that is away: %v", err)
	}
}

// TestManyPartitionsBehindAreOneLine: what is in trouble must be seen among them.
func TestManyPartitionsBehindAreOneLine(t *testing.T) {
	t.Parallel()
	s := inspect.ConsumerStatus{Consumer: "saga"}
	for i := range int32(96) {
		p := inspect.PartitionStatus{Topic: "t", Partition: i, Lag: int64(i)} // 0 has none
		s.Lag += p.Lag
		s.Partitions = append(s.Partitions, p)
	}
	s.Partitions[7].Blocked = 1
	s.Partitions[9] = inspect.PartitionStatus{Topic: "t", Partition: 9, Error: "no leader"}
	written := func(all bool) string {
		var text strings.Builder
		if err := inspect.WriteConsumers(&text, []inspect.ConsumerStatus{s}, all); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	brief := written(false)
	for _, want := range []string{"t/7 ", "t/9 ", "no leader", "t/93 ", "t/94 ", "t/95 ", "and 90 more behind (--all)", " 4262 "} {
		if !strings.Contains(brief, want) {
			t.Errorf("%q is not in:\n%s", want, brief)
		}
	}
	if n := strings.Count(brief, "\n"); n != 8 {
		t.Errorf("%d lines:\n%s", n, brief)
	}
	if n := strings.Count(written(true), "\n"); n != 98 {
		t.Errorf("%d lines of all", n)
	}
}

func ExampleOutbox() {
	var ctx context.Context // the program's
	var pool *pgxpool.Pool
	show := func() error {
		rows, err := inspect.Outbox(ctx, pool, inspect.OutboxFilter{AggregateType: "order", Limit: 20})
		for _, r := range rows {
			fmt.Println(r.CreatedAt, r.Type, r.AggregateID)
		}
		return err
	}
	_ = show
}

func ExampleFollowOutbox() {
	var ctx context.Context // ends it
	var pool *pgxpool.Pool
	show := func() error {
		return inspect.FollowOutbox(ctx, pool, inspect.OutboxFilter{}, inspect.Follow{}, func(r inspect.OutboxRow) error {
			_, err := fmt.Println(r.ID, r.Type)
			return err
		})
	}
	_ = show
}

func ExampleConsume() {
	var ctx context.Context // the program's
	var pool *pgxpool.Pool
	show := func() error {
		list, err := inspect.Consume(ctx, pool, inspect.ConsumeConfig{
			Brokers:   []string{"127.0.0.1:9092"},
			Consumers: []inspect.Consumer{{Name: "loyalty", Topics: []string{"outbox.event.order"}}},
		})
		if err != nil {
			return err
		}
		return inspect.WriteConsumers(os.Stdout, list, false)
	}
	_ = show
}
