package cli_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
	"github.com/gapless/gapless/ops/inspect"
)

// Events are looked at, sent again to a topic of their own, and a replay that ends at a
// missing topic is gone on with once that is there.
func TestReplay(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	cluster := kafkaserver.Fake(t)
	brokers := strings.Join(cluster.ListenAddrs(), ",")
	run(t, nil, "topics", "apply", "--partitions", "1", "--brokers", brokers).succeeds(t)
	slot := db.Slot(t, "replay")
	s := start(t, nil, "relay", "--slot", slot, "--database-url", db.URL, "--brokers", brokers, "--ops-listen", "127.0.0.1:0")
	if _, err := pool.Exec(t.Context(), `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select 'order', 'k' || i % 2, 'T', convert_to(i::text, 'UTF8') from generate_series(1, 40) i`); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := count(t, pool, "select coalesce(sum(events), 0)::int from gapless.relay_progress where slot = '"+slot+"'"); n != 40 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	command := func(args ...string) result {
		return run(t, nil, append([]string{"relay", "replay", "--slot", slot, "--database-url", db.URL, "--brokers", brokers}, args...)...)
	}
	for what, bad := range map[string][]string{
		"choose rows":          {},
		"contradict":           {"--all", "--type", "T"},
		"--reason is missing":  {"--all", "--no-dry-run"},
		"negative":             {"--all", "--rate=-1"},
		"not before":           {"--from", "1h", "--to", "2h"},
		"leave the other":      {"--resume", "0199c0de-0000-7000-8000-0000000000aa", "--all"},
		"has no replay":        {"--resume", "0199c0de-0000-7000-8000-0000000000aa"},
		"is not a UUID":        {"--resume", "7"},
		"no table public.gone": {"--all", "--table", "public.gone"},
		"invalid input syntax": {"--id", "7"},
		"neither a duration":   {"--from", "yesterday"},
		"are not both in this": {"--all", "--slot", "another"},
		"no column created":    {"--all", "--order-by", "created"},
	} {
		if r := command(bad...); r.code != cli.ExitUsage || !strings.Contains(r.stderr, what) || strings.Count(strings.TrimSpace(r.stderr), "\n") > 1 {
			t.Errorf("%q: code %d, %s", bad, r.code, r.stderr)
		}
	}
	dry := command("--aggregate", "order/k1").succeeds(t)
	if !strings.Contains(dry.stdout, "20 rows of gapless.outbox") || !strings.Contains(dry.stdout, "nothing was sent") || count(t, pool, "select count(*) from gapless.relay_replay") != 0 {
		t.Errorf("dry run:\n%s", dry.stdout)
	}
	if r := command("--type", "Nothing", "--no-dry-run", "--reason", "r").succeeds(t); !strings.Contains(r.stdout, "no row") {
		t.Errorf("%s", r.stdout)
	}

	r := command("--aggregate", "order/k1", "--topic", "again", "--no-dry-run", "--reason", "a consumer lost them")
	if r.code != cli.ExitFailed || !strings.Contains(r.stderr, "topic again") {
		t.Fatalf("a missing topic: code %d, %s", r.code, r.stderr)
	}
	_, id, ok := strings.Cut(r.stderr, "--resume ")
	if !ok {
		t.Fatalf("%s", r.stderr)
	}
	id, _, _ = strings.Cut(id, "'")
	kafkaserver.CreateTopic(t, cluster.ListenAddrs(), "again", 1)
	r = command("--resume", id).succeeds(t)
	if !strings.Contains(r.stdout, "20 rows sent") {
		t.Errorf("%s", r.stdout)
	}
	client := kafkaserver.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics("again"))
	for i, r := range consumed(t, client, 20) {
		if string(r.Key) != "k1" || string(r.Value) != strconv.Itoa(2*i+1) || header(r, "gapless_replay") != id {
			t.Errorf("record %d: key %s, value %s, replay %q", i, r.Key, r.Value, header(r, "gapless_replay"))
		}
	}
	var list []inspect.Replay
	replays := run(t, nil, "relay", "replays", "--database-url", db.URL, "--output", "json").succeeds(t)
	if err := json.Unmarshal([]byte(replays.stdout), &list); err != nil || len(list) != 1 || list[0].Sent != 20 || list[0].FinishedAt == nil || list[0].Reason != "a consumer lost them" {
		t.Errorf("%v, %s", err, replays.stdout)
	}
	if table := run(t, nil, "relay", "replays", "--database-url", db.URL).succeeds(t).stdout; !strings.Contains(table, id) {
		t.Errorf("%s", table)
	}
	if n := count(t, pool, "select count(*) from gapless.audit where action = 'relay replay' and target = 'replay "+id+"'"); n != 1 {
		t.Errorf("%d audit rows", n)
	}
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
