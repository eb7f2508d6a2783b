//go:build unix

package cli_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

func statements(t *testing.T, pool *pgxpool.Pool, block string) {
	t.Helper()
	for statement := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(block), ";"), ";\n") {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// TestRelayPage goes through docs/relay.md, from nothing to a row in Kafka that the
// relay then deletes, and back to nothing.
func TestRelayPage(t *testing.T) {
	t.Parallel()
	page := document(t, "docs", "relay.md")
	sh, statement, files := blocks(page, "sh"), blocks(page, "sql"), blocks(page, "yaml")
	if len(sh) != 3 || len(statement) != 4 || len(files) != 2 {
		t.Fatalf("%d blocks of shell, %d of SQL, %d of YAML", len(sh), len(statement), len(files))
	}
	for _, text := range []string{page, document(t, "docs", "from-debezium.md")} {
		text = regexp.MustCompile(` --config \w+\.yaml| > \w+\.yaml`).ReplaceAllString(text, "") // no such files here
		for _, fault := range commandFaults(text) {
			t.Error(fault)
		}
	}
	server := pgtest.Server(t, nil)
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	cluster := kafkaserver.Fake(t)
	env := []string{"GAPLESS_DATABASE_URL=" + server.SuperuserURL()}
	if out, err := shell(t, env, sh[0]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	statements(t, pool, "create schema shop; create table shop.outbox (id uuid default gen_random_uuid(), aggregate_type text, aggregate_id text, type text, payload jsonb, created_at timestamptz default now())")
	statements(t, pool, replaced(t, statement[0], "PASSWORD '…'", "PASSWORD 'a secret of the test'"))
	statements(t, pool, statement[1])
	statements(t, pool, statement[2])

	file := filepath.Join(t.TempDir(), "relay.yaml")
	text := replaced(t, files[0], `(?m)^  brokers: .*$`, "  brokers: ["+strings.Join(cluster.ListenAddrs(), ", ")+"]")
	text = replaced(t, text, `postgres://relay@db/shop`, strings.Replace(server.SuperuserURL(), "postgres@", "relay:a%20secret%20of%20the%20test@", 1))
	text = strings.TrimRight(text, "\n") + "\n" + replaced(t, files[1], `(?m)^\s+- table: shop.outbox\n`, "")
	text = replaced(t, text, "after: 24h", "after: 1s")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	statements(t, pool, statement[3])
	kafkaserver.CreateTopic(t, cluster.ListenAddrs(), "shop.order", 1)
	first := start(t, nil, "relay", "--config", file, "--ops-listen", "127.0.0.1:0")
	second := start(t, nil, "relay", "--config", file, "--ops-listen", "127.0.0.1:0")
	testkit.Eventually(t, 30*time.Second, func() error {
		if n := count(t, pool, "select count(*) from gapless.relay_table"); n != 1 {
			return errors.New("retention has not begun")
		}
		return nil
	})
	statements(t, pool, `insert into shop.outbox (aggregate_type, aggregate_id, type, payload) values ('order', 'o-1', 'Placed', '{"a": 1}')`)
	client := kafkaserver.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics("shop.order"))
	records := consumed(t, client, 1)
	if len(records) != 1 || string(records[0].Key) != "o-1" || string(records[0].Value) != `{"a": 1}` {
		t.Errorf("%d records, the first %s: %s", len(records), records[0].Key, records[0].Value)
	}
	if r := first.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	defer func() {
		if t.Failed() {
			t.Logf("the relay said: %s", second.end(t).stderr)
		}
	}()
	testkit.Eventually(t, 90*time.Second, func() error {
		if count(t, pool, "select count(*) from shop.outbox where aggregate_id = 'o-1'") == 0 {
			return nil
		}
		// What was written beside somebody's transaction is proven by the next event.
		statements(t, pool, "insert into shop.outbox (aggregate_type, aggregate_id, type, payload) values ('order', 'o-2', 'Placed', '{}')")
		return errors.New("the row is still there")
	})
	out, err := shell(t, env, sh[2]).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "streaming") {
		t.Errorf("%v: %s", err, out)
	}
	if r := second.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	statements(t, pool, "SELECT pg_drop_replication_slot('gapless');\nALTER PUBLICATION gapless DROP TABLE shop.outbox;\nDROP OWNED BY relay;\nDROP ROLE relay")
	run(t, map[string]string{"GAPLESS_DATABASE_URL": server.SuperuserURL()}, "migrate", "down", "--component", "outbox", "--yes").succeeds(t)
}
