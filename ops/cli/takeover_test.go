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

// underLoad is a real connector that sends what is being written.
type underLoad struct {
	t       *testing.T
	env     map[string]string
	brokers []string
	pool    *pgxpool.Pool
	connect *kafkaserver.Connect
	options map[string]string
	topic   string
	admin   *kadm.Client
	file    string // the relay's configuration, made of the connector's
}

func newUnderLoad(t *testing.T, worker map[string]string) *underLoad {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	u := &underLoad{t: t, brokers: kafkaserver.ForTest(t)}
	u.env = map[string]string{"GAPLESS_DATABASE_URL": server.SuperuserURL(), "GAPLESS_BROKERS": strings.Join(u.brokers, ",")}
	run(t, u.env, "migrate", "up", "--component", "outbox", "--no-slot").succeeds(t)
	u.pool = pgtest.OpenPool(t, server.SuperuserURL())
	u.connect = kafkaserver.ConnectForTest(t, u.brokers, worker)
	u.topic = kafkaserver.Topic(t, u.brokers, "taken", 4)
	u.admin = kadm.NewClient(kafkaserver.Client(t, u.brokers))
	_, err := u.pool.Exec(t.Context(), "create table taken (id uuid primary key, aggregatetype text not null, aggregateid text not null, type text not null, payload jsonb)")
	if err != nil {
		t.Fatal(err)
	}
	database, err := kafkaserver.DatabaseOptions(server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	u.options = golden.Base()
	maps.Copy(u.options, database)
	maps.Copy(u.options, map[string]string{
		"topic.prefix": "dbz", "slot.name": "taken", "publication.name": "taken",
		"publication.autocreate.mode": "filtered", "table.include.list": "public.taken", "poll.interval.ms": "10",
		"transforms.outbox.route.topic.replacement": "${routedByValue}",
	})
	configuration := filepath.Join(t.TempDir(), "connector.json")
	text, err := json.Marshal(map[string]any{"name": "taken", "config": u.options})
	if err == nil {
		err = os.WriteFile(configuration, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.file = write(t, "relay.yaml", run(t, nil, "relay", "import", configuration).succeeds(t).stdout)
	u.streams()
	return u
}

// streams makes the connector and waits until it has the slot.
func (u *underLoad) streams() {
	u.t.Helper()
	if err := u.connect.Put(u.t.Context(), "taken", u.options); err != nil {
		u.t.Fatal(err)
	}
	testkit.Eventually(u.t, time.Minute, func() error {
		var active bool
		err := u.pool.QueryRow(u.t.Context(), "select count(*) > 0 from pg_replication_slots where slot_name = 'taken' and active").Scan(&active)
		if err == nil && !active {
			err = fmt.Errorf("the connector does not stream yet")
		}
		return err
	})
}

func (u *underLoad) sent() (n int64) {
	u.t.Helper()
	ends, err := u.admin.ListEndOffsets(u.t.Context(), u.topic)
	if err != nil {
		u.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

func (u *underLoad) atLeast(n int64) {
	u.t.Helper()
	testkit.Eventually(u.t, 3*time.Minute, func() error {
		if got := u.sent(); got < n {
			return fmt.Errorf("%d records of %d", got, n)
		}
		return nil
	})
}

// events is how often each is in the topic. Of a key the first occurrences are in order.
func (u *underLoad) events() map[int]int {
	u.t.Helper()
	records, err := golden.ReadTopics(u.t.Context(), u.brokers, []string{u.topic})
	if err != nil {
		u.t.Fatal(err)
	}
	seen, latest := map[int]int{}, map[string]int{}
	for _, r := range records {
		n := 0
		if _, err := fmt.Sscanf(string(r.Value), `{"n": %d}`, &n); err != nil {
			u.t.Fatalf("value %q: %v", r.Value, err)
		}
		if seen[n]++; seen[n] > 1 {
			continue
		}
		if last, ok := latest[string(r.Key)]; ok && last > n {
			u.t.Errorf("key %s: %d came after %d", r.Key, n, last)
		}
		latest[string(r.Key)] = n
	}
	return seen
}

// TestTakesOverFromDebeziumByItsOffsets does what docs/from-debezium.md says, with a real
// connector under load: the relay is made of the connector's configuration, stands by,
// has the slot once the connector is deleted, and goes on at its offset. Every event is in
// the topic, in the order of its key, and none is there twice.
func TestTakesOverFromDebeziumByItsOffsets(t *testing.T) {
	const enough = 1500
	u := newUnderLoad(t, nil)
	w := write4(t, u.pool, u.topic)
	u.atLeast(enough)
	ops := freeAddr(t)
	s := start(t, u.env, "relay", "--config", u.file, "--debezium-offsets", u.connect.OffsetsFile(), "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	if _, body := get(t, "http://"+ops+"/status"); !strings.Contains(body, `"standby"`) {
		t.Errorf("the relay does not stand by: %s", body)
	}
	if err := u.connect.Delete(t.Context(), "taken"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error {
		if _, body := get(t, "http://"+ops+"/status"); !strings.Contains(body, `"streaming"`) {
			return fmt.Errorf("the relay does not stream: %s", body)
		}
		return nil
	})
	before := u.sent()
	u.atLeast(before + enough)
	rows := w.end(t)
	u.atLeast(int64(rows))
	if r := s.end(t); r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if offsets := os.Getenv("GAPLESS_OFFSETS_WRITE"); offsets != "" {
		text, err := os.ReadFile(u.connect.OffsetsFile())
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
	seen := u.events()
	for n, times := range seen {
		if times > 1 {
			t.Errorf("%d is there %d times", n, times)
		}
	}
	if len(seen) != rows {
		t.Errorf("%d events of %d are in the topic", len(seen), rows)
	}
	t.Logf("Debezium had sent about %d of %d events when the relay began", before, rows)
}

// TestTakesOverFromDebeziumByTheTopics kills a real connector under load that stores no
// offsets, lets it repeat itself, and kills it again: the slot is where it was made. The
// relay finds in the topic what was sent, so that every event is there, in the order of its
// key, and none more often than Debezium has sent it.
func TestTakesOverFromDebeziumByTheTopics(t *testing.T) {
	const enough = 1500
	u := newUnderLoad(t, map[string]string{"offset.flush.interval.ms": "600000"})
	w := write4(t, u.pool, u.topic)
	u.atLeast(enough)
	kill := func() {
		t.Helper()
		if err := u.connect.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	first := u.sent()
	if err := u.connect.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.streams()
	u.atLeast(first + enough/2)
	kill()
	// What it had on its way has arrived, or never will.
	before := u.sent()
	testkit.Eventually(t, time.Minute, func() error {
		last := before
		if before = u.sent(); before != last {
			return fmt.Errorf("%d records, and then %d", last, before)
		}
		return nil
	})
	byDebezium := u.events()
	ops := freeAddr(t)
	s := start(t, u.env, "relay", "--config", u.file, "--debezium-topics", "--ops-listen", ops)
	testkit.Eventually(t, time.Minute, func() error {
		if _, body := get(t, "http://"+ops+"/status"); !strings.Contains(body, `"streaming"`) {
			return fmt.Errorf("the relay does not stream: %s", body)
		}
		return nil
	})
	u.atLeast(before + enough)
	rows := w.end(t)
	testkit.Eventually(t, time.Minute, func() error {
		if n := len(u.events()); n != rows {
			return fmt.Errorf("%d events of %d are in the topic", n, rows)
		}
		return nil
	})
	if r := s.end(t); r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	repeated := 0
	for n, times := range u.events() {
		if want := max(1, byDebezium[n]); times != want {
			t.Errorf("%d is there %d times, Debezium had sent it %d times", n, times, byDebezium[n])
		}
		if times > 1 {
			repeated++
		}
	}
	if repeated == 0 || len(byDebezium) < enough {
		t.Errorf("Debezium had sent %d events, %d of them more than once", len(byDebezium), repeated)
	}
	if log := s.log.String(); !strings.Contains(log, fmt.Sprintf(`"sent_before":%d,`, len(byDebezium))) || strings.Contains(log, "missing") {
		t.Errorf("of %d events of Debezium: %s", len(byDebezium), log)
	}
	t.Logf("Debezium had sent %d of %d events, %d of them more than once", len(byDebezium), rows, repeated)
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
