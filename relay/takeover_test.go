//go:build jvm

package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// A real Debezium connector is taken away under load, and the relay goes on with its
// slot, its publication and its options: every event is in the topics, in the order of
// its key. What both have sent is the same record, and of nothing that Debezium had
// confirmed.
func TestTakesOverFromDebezium(t *testing.T) {
	const enough, keys = 1500, 7
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	pgtest.Migrate(t, server.SuperuserURL())
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	brokers := kafkaserver.ForTest(t)
	connect := kafkaserver.ConnectForTest(t, brokers)
	topic := kafkaserver.Topic(t, brokers, "taken.over", 4)
	_, err := pool.Exec(t.Context(), "create table taken (id uuid primary key, aggregatetype text not null, aggregateid text not null, type text not null, payload jsonb)")
	if err != nil {
		t.Fatal(err)
	}
	database, err := kafkaserver.DatabaseOptions(server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	options := golden.Base()
	maps.Copy(options, database)
	maps.Copy(options, map[string]string{
		"topic.prefix": "dbz", "slot.name": "taken", "publication.name": "taken",
		"publication.autocreate.mode": "filtered", "table.include.list": "public.taken", "poll.interval.ms": "10",
		"transforms.outbox.table.fields.additional.placement": "type:header:eventType",
		"transforms.outbox.route.topic.replacement":           "${routedByValue}",
	})
	if err := connect.Put(t.Context(), "taken", options); err != nil {
		t.Fatal(err)
	}
	active := func() (n int) {
		if err := pool.QueryRow(t.Context(), "select count(*) from pg_replication_slots where slot_name = 'taken' and active").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	testkit.Eventually(t, time.Minute, func() error {
		if active() == 0 {
			return fmt.Errorf("the connector does not stream yet")
		}
		return nil
	})

	stop, written := make(chan struct{}), make(chan error, 1)
	rows := 0
	go func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				written <- nil
				return
			case <-pace.C:
			}
			_, err := pool.Exec(context.WithoutCancel(t.Context()), "insert into taken values ($1, $2, $3, 'T', jsonb_build_object('n', $4::int, 'at', pg_current_wal_insert_lsn()))",
				uuid.New(), topic, fmt.Sprintf("k%d", rows%keys), rows)
			if err != nil {
				written <- err
				return
			}
			rows++
		}
	}()
	admin := kadm.NewClient(kafkaserver.Client(t, brokers))
	testkit.Eventually(t, time.Minute, func() error {
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		var sent int64
		ends.Each(func(o kadm.ListedOffset) { sent += o.Offset })
		if sent < enough {
			return fmt.Errorf("Debezium has sent %d", sent)
		}
		return nil
	})
	if err := connect.Delete(t.Context(), "taken"); err != nil {
		t.Fatal(err)
	}
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: brokers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	router, _, err := eventrouter.FromConnector(options)
	if err != nil {
		t.Fatal(err)
	}
	// It may start while Debezium still has the slot: it stands by until then.
	var confirmed string // by Debezium, when the relay takes over
	r := run(t, relay.Config{
		DatabaseURL: server.SuperuserURL(), Slot: "taken", Publication: "taken", Sink: sink, Logger: slog.New(slog.DiscardHandler),
		Tables: map[string]format.Format{"public.taken": router},
		TakeOver: func(ctx context.Context) (relay.Sent, error) {
			return relay.Sent{}, pool.QueryRow(ctx, "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'taken'").Scan(&confirmed)
		},
	})
	testkit.Eventually(t, time.Minute, func() error {
		if st := r.Status(); st.Events < enough {
			return fmt.Errorf("the relay has sent %d: %+v", st.Events, st)
		}
		return nil
	})
	close(stop)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	var end string
	if err := pool.QueryRow(t.Context(), "select pg_current_wal_lsn()::text").Scan(&end); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error {
		var passed bool
		err := pool.QueryRow(t.Context(), "select resume_lsn >= $1::text::pg_lsn from gapless.relay_progress where slot = 'taken'", end).Scan(&passed)
		if err == nil && !passed && r.Status().Confirmed.String() < end {
			err = fmt.Errorf("not at %s yet: %+v", end, r.Status())
		}
		return err
	})
	ours := r.Status().Events
	r.stop()

	records, err := golden.ReadTopics(t.Context(), brokers, []string{topic})
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{}
	latest := map[string]int{}
	places := make([]core.LSN, rows+1) // before each row; the one after it is behind its commit
	places[rows] = 1<<64 - 1
	var repeated []int
	for _, record := range records {
		id, n, at := "", 0, ""
		for _, h := range record.Headers {
			if h.Name == "id" {
				id = string(h.Value)
			}
		}
		if _, err := fmt.Sscanf(string(record.Value), `{"n": %d, "at": %q}`, &n, &at); err != nil {
			t.Fatalf("value %q: %v", record.Value, err)
		}
		if places[n], err = core.ParseLSN(at); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%q %q %q", record.Key, record.Value, record.Headers)
		if before, ok := first[id]; ok {
			repeated = append(repeated, n)
			if before != text {
				t.Errorf("event %s was %s, and then %s", id, before, text)
			}
			continue
		}
		first[id] = text
		key := string(record.Key)
		if last, ok := latest[key]; ok && last > n {
			t.Errorf("key %s: %d came after %d", key, n, last)
		}
		latest[key] = n
	}
	if len(first) != rows {
		t.Errorf("%d events of %d are in the topic", len(first), rows)
	}
	if len(records)-int(ours) < enough || ours < enough {
		t.Errorf("the relay has sent %d of %d: nothing was taken over in the middle", ours, len(records))
	}
	upTo, err := core.ParseLSN(confirmed)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range repeated {
		if places[n+1] <= upTo {
			t.Errorf("%d came again, and Debezium had confirmed %s, which is behind it", n, confirmed)
		}
	}
	t.Logf("Debezium sent %d, the relay %d, %d of them twice", len(records)-int(ours), ours, len(repeated))
}
