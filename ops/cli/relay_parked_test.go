package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

func count(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Rows are parked by a running relay, looked at, sent after the topic takes them,
// and given up.
func TestRedriveAndDiscard(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	cluster := kafkaserver.Fake(t)
	brokers := strings.Join(cluster.ListenAddrs(), ",")
	client := kafkaserver.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics("outbox.event.order"))
	admin := kadm.NewClient(client)
	run(t, nil, "topics", "apply", "--partitions", "1", "--brokers", brokers).succeeds(t)
	limit := func(bytes string) {
		if r, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &bytes}}, "outbox.event.order"); err != nil || r[0].Err != nil {
			t.Fatalf("%v, %v", r, err)
		}
	}
	limit("20000")
	slot := db.Slot(t, "parked")
	relay := func() *service {
		return start(t, nil, "relay", "--slot", slot, "--database-url", db.URL, "--brokers", brokers, "--ops-listen", "127.0.0.1:0")
	}
	s := relay()
	const insert = `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select 'order', $1, 'T', convert_to(repeat('x', n), 'UTF8') from unnest($2::int[]) n`
	for key, sizes := range map[string][]int{"a": {50000, 1, 2}, "b": {60000, 3}} {
		if _, err := pool.Exec(t.Context(), insert, key, sizes); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := count(t, pool, "select count(*) from gapless.parked"); n != 5 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})

	command := func(action string, args ...string) result {
		return run(t, nil, append([]string{"relay", action, "--slot", slot, "--database-url", db.URL}, args...)...)
	}
	for _, bad := range [][]string{{"--reason", "r"}, {"--all"}, {"--all", "--key", "a", "--reason", "r"}, {"--id", "7", "--reason", "r"}, {"--all", "--reason", "r", "--wait", "-1s"}} {
		if r := command("redrive", bad...); r.code != cli.ExitUsage {
			t.Errorf("%q: code %d, %s", bad, r.code, r.stderr)
		}
	}
	dry := command("redrive", "--all", "--dry-run").succeeds(t)
	if !strings.Contains(dry.stdout, "2 rows, with 3 waiting behind them") || !strings.Contains(dry.stdout, "too_large") || count(t, pool, "select count(*) from gapless.relay_request") != 0 {
		t.Errorf("dry run:\n%s", dry.stdout)
	}
	if r := command("redrive", "--key", "nobody", "--reason", "r").succeeds(t); !strings.Contains(r.stdout, "no parked row") {
		t.Errorf("%s", r.stdout)
	}
	// In vain, as long as the topic does not take it.
	if r := command("redrive", "--key", "a", "--fault", "too_large", "--reason", "try"); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "1 row cannot be sent yet (too_large") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	limit("100000")
	r := command("redrive", "--table", "gapless.outbox", "--topic", "outbox.event.order", "--key", "a", "--since", "1h", "--reason", "the limit was raised", "-o", "json").succeeds(t)
	var report struct {
		Rows []struct {
			ID       uuid.UUID
			Attempts int
		}
		Outcome struct{ Sent, Failed int }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Rows) != 1 || report.Rows[0].Attempts != 2 || report.Outcome.Sent != 1 {
		t.Errorf("%v: %s", err, r.stdout)
	}
	var id uuid.UUID
	if err := pool.QueryRow(t.Context(), "select id from gapless.parked where status = 'parked'").Scan(&id); err != nil {
		t.Fatal(err)
	}
	command("discard", "--id", id.String(), "--reason", "not wanted").succeeds(t)
	sizes := map[string][]int{}
	for n := 0; n < 4; {
		f := client.PollFetches(t.Context())
		f.EachRecord(func(r *kgo.Record) { sizes[string(r.Key)] = append(sizes[string(r.Key)], len(r.Value)); n++ })
	}
	if got := fmt.Sprint(sizes); got != "map[a:[50000 1 2] b:[3]]" {
		t.Errorf("got %s", got)
	}
	if n := count(t, pool, "select count(*) from gapless.audit where action in ('relay redrive', 'relay discard') and jsonb_array_length(detail->'rows') = 1"); n != 3 {
		t.Errorf("%d audit rows", n)
	}
	s.end(t)

	// Without a relay a request stands, and says so.
	limit("20000")
	file := filepath.Join(t.TempDir(), "relay.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrelays:\n- slot: "+slot+"\n  on_fault: {too_large: skip, refused: halt}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, nil, "relay", "--config", file, "--database-url", db.URL, "--brokers", brokers, "--ops-listen", "127.0.0.1:0")
	if _, err := pool.Exec(t.Context(), insert, "c", []int{70000, 4}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := count(t, pool, "select count(*) from gapless.parked where status = 'parked' and not blocks"); n != 1 {
			return fmt.Errorf("%d rows skipped", n)
		}
		return nil
	})
	s.end(t)
	if r := command("redrive", "--all", "--reason", "r", "--wait", "200ms"); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "stands, but no relay") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	// That nothing is parked on a slot that nobody knows would look like all being well.
	if r := run(t, nil, "relay", "redrive", "--slot", "nosuch", "--all", "--dry-run", "--database-url", db.URL); r.code != cli.ExitFailed || !strings.Contains(r.stderr, slot) {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if r := run(t, nil, "relay", "--slot", slot, "--database-url", db.URL, "--brokers", brokers, "--on-fault", "too_big=skip"); r.code != cli.ExitUsage || !strings.Contains(r.stderr, "too_large") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}
