//go:build jvm

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// TestTakesOverFromDebeziumByItsOffsets does what docs/from-debezium.md says, with a real
// connector under load: the relay is made of the connector's configuration, stands by,
// has the slot once the connector is deleted, and goes on at its offset. Every event is in
// the topic, in the order of its key, and none is there twice.
func TestTakesOverFromDebeziumByItsOffsets(t *testing.T) {
	const enough = 1500
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	brokers := kafkaserver.ForTest(t)
	env := map[string]string{"GAPLESS_DATABASE_URL": server.SuperuserURL(), "GAPLESS_BROKERS": strings.Join(brokers, ",")}
	run(t, env, "migrate", "up", "--component", "outbox", "--no-slot").succeeds(t)
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	connect := kafkaserver.ConnectForTest(t, brokers)
	topic := kafkaserver.Topic(t, brokers, "taken.by.offsets", 4)
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
		"transforms.outbox.route.topic.replacement": "${routedByValue}",
	})
	if err := connect.Put(t.Context(), "taken", options); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error {
		var active bool
		err := pool.QueryRow(t.Context(), "select count(*) > 0 from pg_replication_slots where slot_name = 'taken' and active").Scan(&active)
		if err == nil && !active {
			err = fmt.Errorf("the connector does not stream yet")
		}
		return err
	})
	w := write4(t, pool, topic)
	admin := kadm.NewClient(kafkaserver.Client(t, brokers))
	sent := func() (n int64) {
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return n
	}
	atLeast := func(n int64) {
		t.Helper()
		testkit.Eventually(t, time.Minute, func() error {
			if got := sent(); got < n {
				return fmt.Errorf("%d records of %d", got, n)
			}
			return nil
		})
	}
	atLeast(enough)

	configuration := filepath.Join(t.TempDir(), "connector.json")
	text, err := json.Marshal(map[string]any{"name": "taken", "config": options})
	if err == nil {
		err = os.WriteFile(configuration, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "relay.yaml", run(t, nil, "relay", "import", configuration).succeeds(t).stdout)
	ops := freeAddr(t)
	s := start(t, env, "relay", "--config", file, "--debezium-offsets", connect.OffsetsFile(), "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	if _, body := get(t, "http://"+ops+"/status"); !strings.Contains(body, `"standby"`) {
		t.Errorf("the relay does not stand by: %s", body)
	}
	if err := connect.Delete(t.Context(), "taken"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error {
		if _, body := get(t, "http://"+ops+"/status"); !strings.Contains(body, `"streaming"`) {
			return fmt.Errorf("the relay does not stream: %s", body)
		}
		return nil
	})
	before := sent()
	atLeast(before + enough)
	rows := w.end(t)
	atLeast(int64(rows))
	if r := s.end(t); r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if offsets := os.Getenv("GAPLESS_OFFSETS_WRITE"); offsets != "" {
		text, err := os.ReadFile(connect.OffsetsFile())
		if err == nil {
			err = os.WriteFile(offsets, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(s.log.String(), "taking over") {
		t.Errorf("nothing was taken over: %s", s.log)
	}

	records, err := golden.ReadTopics(t.Context(), brokers, []string{topic})
	if err != nil {
		t.Fatal(err)
	}
	seen, latest := map[int]int{}, map[string]int{}
	for _, r := range records {
		n := 0
		if _, err := fmt.Sscanf(string(r.Value), `{"n": %d}`, &n); err != nil {
			t.Fatalf("value %q: %v", r.Value, err)
		}
		if seen[n]++; seen[n] > 1 {
			t.Errorf("%d is there %d times", n, seen[n])
			continue
		}
		if last, ok := latest[string(r.Key)]; ok && last > n {
			t.Errorf("key %s: %d came after %d", r.Key, n, last)
		}
		latest[string(r.Key)] = n
	}
	if len(seen) != rows {
		t.Errorf("%d events of %d are in the topic", len(seen), rows)
	}
	t.Logf("Debezium had sent about %d of %d events when the relay began", before, rows)
}

// writer writes rows of seven keys, one to four in a transaction.
type writer struct {
	stop chan struct{}
	done chan error
	rows int
}

func write4(t *testing.T, pool *pgxpool.Pool, topic string) *writer {
	t.Helper()
	w := &writer{stop: make(chan struct{}), done: make(chan error, 1)}
	ctx := context.WithoutCancel(t.Context())
	go func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-w.stop:
				w.done <- nil
				return
			case <-pace.C:
			}
			n := 1 + w.rows%4
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				for i := range n {
					_, err := tx.Exec(ctx, "insert into taken values ($1, $2, $3, 'T', jsonb_build_object('n', $4::int))",
						uuid.New(), topic, fmt.Sprintf("k%d", (w.rows+i)%7), w.rows+i)
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				w.done <- err
				return
			}
			w.rows += n
		}
	}()
	return w
}

// end returns how many rows were committed.
func (w *writer) end(t *testing.T) int {
	t.Helper()
	close(w.stop)
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
	return w.rows
}
