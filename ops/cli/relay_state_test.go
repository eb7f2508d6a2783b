//go:build unix

package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// A database in which the login may write nothing: the relay and everything that
// operators do work through the topic, and what cannot says so.
func TestStateInKafka(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("create table events (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text)")
	exec("create publication gapless for table events with (publish = 'insert')")
	slot, login := db.Slot(t, "state"), db.ReaderURL(t)
	exec("grant select on events to " + pgtest.Reader)
	cluster := kafkaserver.Fake(t, kfake.SeedTopics(1, "outbox.event.order"))
	brokers := strings.Join(cluster.ListenAddrs(), ",")
	client := kafkaserver.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics("outbox.event.order"))
	admin := kadm.NewClient(client)
	limit := func(bytes string) {
		t.Helper()
		if r, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &bytes}}, "outbox.event.order"); err != nil || r[0].Err != nil {
			t.Fatalf("%v, %v", r, err)
		}
	}
	limit("20000")
	insert := func(key string, sizes ...int) {
		t.Helper()
		exec("insert into events (aggregatetype, aggregateid, type, payload) select 'order', $1, 'T', repeat('x', n) from unnest($2::int[]) n", key, sizes)
	}
	command := func(args ...string) result {
		t.Helper()
		return run(t, nil, append(append([]string{"relay"}, args...), "--slot", slot, "--database-url", login, "--brokers", brokers)...)
	}

	// Without the topic nothing begins, and it says how to make it.
	if r := command("run", "--ops-listen", "127.0.0.1:0"); r.code != cli.ExitRefused || !strings.Contains(r.stderr, "kafka-topics.sh") || !strings.Contains(r.stderr, "--create-topics") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if r := command("run", "--retention", "7d", "--state", "kafka"); r.code != cli.ExitUsage || !strings.Contains(r.stderr, "retention needs") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	ops := freeAddr(t)
	s := start(t, nil, "relay", "--slot", slot, "--database-url", login, "--brokers", brokers, "--ops-listen", ops, "--create-topics")
	insert("a", 50000, 1, 2)
	insert("b", 60000, 3)
	insert("c", 4)
	status := func() string {
		t.Helper()
		return command("status", "--sample", "0s").succeeds(t).stdout
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := stateIs(t, ops, "streaming"); err != nil {
			return err
		}
		if out := status(); !strings.Contains(out, "2, and 3 waiting behind them") || !strings.Contains(out, "in topic gapless.relay.state") {
			return fmt.Errorf("status:\n%s", out)
		}
		return nil
	})
	if r := command("replay", "--table", "public.events", "--all"); r.code != cli.ExitUsage || !strings.Contains(r.stderr, "schema gapless") {
		t.Errorf("replay: code %d: %s", r.code, r.stderr)
	}

	dry := command("redrive", "--all", "--dry-run").succeeds(t)
	if !strings.Contains(dry.stdout, "2 rows, with 3 waiting behind them") || !strings.Contains(dry.stdout, "too_large") {
		t.Errorf("dry run:\n%s", dry.stdout)
	}
	if r := command("redrive", "--key", "a", "--reason", "try"); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "1 row cannot be sent yet (too_large") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	limit("100000")
	if r := command("redrive", "--key", "a", "--reason", "the limit was raised"); r.code != 0 {
		t.Fatal(s.log)
	}
	command("discard", "--key", "b", "--reason", "not wanted").succeeds(t)
	sizes := map[string][]int{}
	for n := 0; n < 5; {
		f := client.PollFetches(t.Context())
		f.EachRecord(func(r *kgo.Record) { sizes[string(r.Key)] = append(sizes[string(r.Key)], len(r.Value)); n++ })
	}
	if got := fmt.Sprint(sizes); got != "map[a:[50000 1 2] b:[3] c:[4]]" {
		t.Errorf("got %s", got)
	}

	command("pause", "--reason", "for the test").succeeds(t)
	testkit.Eventually(t, 20*time.Second, func() error {
		if out := status(); !strings.Contains(out, "paused") || !strings.Contains(out, "test_reader: for the test") {
			return fmt.Errorf("status:\n%s", out)
		}
		return stateIs(t, ops, "paused")
	})
	command("resume", "--reason", "for the test").succeeds(t)
	testkit.Eventually(t, 20*time.Second, func() error { return stateIs(t, ops, "streaming") })
	s.end(t)

	if r := run(t, nil, "relay", "pause", "--reason", "r", "--slot", "nobody", "--database-url", login, "--brokers", brokers); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "no slot") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if r := run(t, nil, "relay", "pause", "--reason", "r", "--slot", slot, "--database-url", login); r.code != cli.ExitUsage || !strings.Contains(r.stderr, "--brokers") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	command("forget", "--reason", "for the test").succeeds(t)
	if r := command("forget", "--reason", "for the test"); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "no position") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if n := count(t, pool, "select count(*) from pg_namespace where nspname = 'gapless'"); n != 0 {
		t.Error("there is a schema now")
	}
}

// A login that may make the schema does, and the state is there.
func TestSchemaIsMadeForTheState(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	if _, err := pool.Exec(t.Context(), `create table events (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text);
		create publication mine for table events with (publish = 'insert')`); err != nil {
		t.Fatal(err)
	}
	slot := db.Slot(t, "made")
	cluster := kafkaserver.Fake(t, kfake.SeedTopics(1, "outbox.event.order"))
	file := write(t, "relay.yaml", "version: 1\nrelays:\n- {slot: "+slot+", publication: mine, state: auto}\n")
	s := start(t, nil, "relay", "--config", file, "--database-url", db.URL, "--brokers", strings.Join(cluster.ListenAddrs(), ","), "--ops-listen", "127.0.0.1:0")
	testkit.Eventually(t, 20*time.Second, func() error {
		var n int
		err := pool.QueryRow(t.Context(), "select count(*) from gapless.relay_progress where slot = $1", slot).Scan(&n)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d records", n)
		}
		return err
	})
	if !strings.Contains(s.log.String(), "schema gapless made") {
		t.Error(s.log)
	}
	s.end(t)
	bad := write(t, "bad.yaml", "version: 1\nrelays:\n- {state: zookeeper}\n")
	if r := run(t, nil, "relay", "--config", bad, "--database-url", db.URL, "--brokers", "x:1"); r.code != cli.ExitUsage || !strings.Contains(r.stderr, "relays[0].state") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}
