//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// outboxDB is a database of another team: an outbox and nothing of the pipeline.
type outboxDB struct {
	*pgtest.DB
	slot string
}

func newOutboxDB(t *testing.T) outboxDB {
	t.Helper()
	db := outboxDB{DB: pgtest.NewEmptyDB(t)}
	run(t, nil, "migrate", "up", "--component", "outbox", "--no-slot", "--database-url", db.URL).succeeds(t)
	db.slot = db.SlotName("cli")
	return db
}

func (db outboxDB) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := db.Pool(t).Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (db outboxDB) append(t *testing.T, kind, payload string) {
	t.Helper()
	db.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'k', 'T', convert_to($2, 'UTF8'))", kind, payload)
}

func (db outboxDB) entry(name string) string {
	return fmt.Sprintf("  - {name: %s, database_url: '%s', slot: %s}\n", name, db.URL, db.slot)
}

// statusOf reads /status of a process with several relays.
func statusOf(t *testing.T, ops string) map[string]string {
	t.Helper()
	var answer struct {
		State struct {
			Relays []struct{ Name, State, Slot string }
		}
	}
	_, body := get(t, "http://"+ops+"/status")
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	states := map[string]string{}
	for _, r := range answer.State.Relays {
		states[r.Name] = r.State
	}
	return states
}

// TestSeveralRelaysInOneProcess: what one of them is refused, and a topic that another
// has not, leaves the third at its work.
func TestSeveralRelaysInOneProcess(t *testing.T) {
	t.Parallel()
	shop, billing, stranded := newOutboxDB(t), newOutboxDB(t), newOutboxDB(t)
	stranded.append(t, "stranded", "that no slot has seen")
	cluster := kafkaserver.Fake(t, kfake.SeedTopics(1, "outbox.event.shop"))
	brokers := cluster.ListenAddrs()
	file := write(t, "relays.yaml", "version: 1\nkafka: {brokers: ["+strings.Join(brokers, ",")+"]}\nrelays:\n"+
		shop.entry("shop")+billing.entry("billing")+stranded.entry("stranded"))
	ops := freeAddr(t)
	s := start(t, nil, "relay", "--config", file, "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/livez", http.StatusOK)
	testkit.Eventually(t, 30*time.Second, func() error {
		if got := statusOf(t, ops); got["shop"] != "streaming" || got["billing"] != "streaming" || got["stranded"] != "stopped" {
			return fmt.Errorf("states %v", got)
		}
		return nil
	})
	body := awaitStatus(t, "http://"+ops+"/readyz", http.StatusServiceUnavailable)
	if !strings.Contains(body, "stranded/relay: has ended: refused: ") || strings.Contains(body, "shop") || strings.Contains(body, "billing") {
		t.Errorf("readiness: %s", body)
	}
	if !strings.Contains(s.log.String(), "relay has ended") {
		t.Errorf("log: %s", s.log)
	}

	billing.append(t, "billing", "for which there is no topic")
	testkit.Eventually(t, 30*time.Second, func() error {
		if _, metrics := get(t, "http://"+ops+"/metrics"); !strings.Contains(metrics, `gapless_relay_held_records{relay="billing",slot="`+billing.slot+`"} 1`) ||
			!strings.Contains(metrics, `gapless_relay_leader{relay="shop",slot="`+shop.slot+`"} 1`) {
			return fmt.Errorf("metrics: %s", metrics)
		}
		return nil
	})
	for _, payload := range []string{"1", "2", "3"} {
		shop.append(t, "shop", payload)
	}
	client := kafkaserver.Client(t, brokers, kgo.ConsumeTopics("outbox.event.shop"))
	var values []string
	for len(values) < 3 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	if !slices.Equal(values, []string{"1", "2", "3"}) {
		t.Errorf("values %q", values)
	}

	r := s.end(t)
	if r.code != cli.ExitRefused {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	for _, want := range []string{"gapless: 1 of 3 relays have ended\n", "\nrelay stranded: refused: ", "does not exist", "pg_create_logical_replication_slot"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in %s", want, r.stderr)
		}
	}
}

// TestTheProcessEndsWithItsLastRelay, with the code of a refusal if there was one.
func TestTheProcessEndsWithItsLastRelay(t *testing.T) {
	t.Parallel()
	stranded, dropped := newOutboxDB(t), newOutboxDB(t)
	stranded.append(t, "stranded", "that no slot has seen")
	dropped.exec(t, "drop schema gapless cascade")
	file := write(t, "relays.yaml", "version: 1\nrelays:\n"+stranded.entry("stranded")+dropped.entry("dropped"))
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	r := start(t, nil, "relay", "--config", file, "--brokers", brokers, "--ops-listen", "127.0.0.1:0").ended(t)
	if r.code != cli.ExitRefused || !strings.Contains(r.stderr, "2 of 2 relays have ended") || !strings.Contains(r.stderr, "\nrelay dropped: ") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	r = start(t, nil, "relay", "--config", file, "--relay", "dropped", "--brokers", brokers, "--ops-listen", "127.0.0.1:0").ended(t)
	if strings.Contains(r.stderr, "stranded") || strings.Contains(r.stderr, "relays have ended") {
		t.Errorf("--relay takes others too: %s", r.stderr)
	}
}

// TestOneOfSeveralRelaysIsChosen by every command that is for one database.
func TestOneOfSeveralRelaysIsChosen(t *testing.T) {
	t.Parallel()
	file := write(t, "relays.yaml", "version: 1\nrelays: [{name: a, slot: of_a}, {name: b, slot: of_b}]\n")
	r := run(t, nil, "migrate", "print", "--config", file, "--relay", "b").succeeds(t)
	if !strings.Contains(r.stdout, "pg_create_logical_replication_slot('of_b'") {
		t.Errorf("another slot: %.200s", r.stdout[max(0, strings.Index(r.stdout, "pg_create_logical")):])
	}
	for _, args := range []string{"migrate print", "migrate status", "relay status", "doctor", "explain x --database-url postgres://127.0.0.1:1/x"} {
		run(t, nil, append(strings.Fields(args), "--config", file)...).failsWith(t, cli.ExitUsage, "--relay", "a, b")
	}
	run(t, nil, "migrate", "print", "--config", file, "--relay", "c").failsWith(t, cli.ExitUsage, `"c"`, "a, b")
	run(t, nil, "migrate", "print", "--relay", "c").failsWith(t, cli.ExitUsage, "--relay", "--config")
	run(t, nil, "relay", "--config", file, "--brokers", refused).failsWith(t, cli.ExitUsage, "relay a: --database-url is not set")
	run(t, nil, "relay", "--config", file, "--brokers", refused, "--database-url", "postgres://u@127.0.0.1:1/x", "--metrics-debezium", "x").
		failsWith(t, cli.ExitUsage, "--metrics-debezium", "metrics_debezium")
	run(t, nil, "relay", "--config", file, "--brokers", refused, "--database-url", "postgres://u@127.0.0.1:1/x", "--debezium-topics").
		failsWith(t, cli.ExitUsage, "--debezium-topics", "debezium_topics")
	run(t, nil, "relay", "--brokers", refused, "--database-url", "postgres://u@127.0.0.1:1/x", "--debezium-offsets", "x", "--debezium-topics").
		failsWith(t, cli.ExitUsage, "--debezium-offsets", "--debezium-topics")
	both := write(t, "both.yaml", "version: 1\nrelays: [{debezium_topics: true}]\n")
	run(t, nil, "relay", "--config", both, "--brokers", refused, "--database-url", "postgres://u@127.0.0.1:1/x", "--debezium-offsets", "x").
		failsWith(t, cli.ExitUsage, "--debezium-topics")
	same := write(t, "same.yaml", "version: 1\nrelays: [{name: a, slot: same}, {name: b, slot: same}]\n")
	run(t, nil, "relay", "--config", same, "--brokers", refused, "--database-url", "postgres://u@127.0.0.1:1/x").
		failsWith(t, cli.ExitUsage, "relay b", "same slot as a")
}
