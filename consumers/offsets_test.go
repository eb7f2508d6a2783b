package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/sql"
)

// goBack brings the database to the state in which only the first n messages of
// the topic's one partition were settled, as a restored backup has it.
func (d *database) goBack(t *testing.T, n int) {
	t.Helper()
	_, err := d.admin.Exec(t.Context(), fmt.Sprintf(`
		WITH lost AS (DELETE FROM gapless.inbox WHERE "offset" >= %[1]d RETURNING event_id),
		gone AS (DELETE FROM effect WHERE event_id IN (SELECT event_id FROM lost))
		UPDATE gapless.inbox_offset SET next_offset = %[1]d WHERE next_offset > %[1]d`, n))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.int(t, "SELECT count(*) FROM effect"); got != int64(n) {
		t.Fatalf("%d effects after going back to %d", got, n)
	}
}

func (d *database) waitForOffset(t *testing.T, want int64) {
	t.Helper()
	waitFor(t, func() error {
		if got := d.int(t, "SELECT coalesce(max(next_offset), -1) FROM gapless.inbox_offset"); got != want {
			return fmt.Errorf("stored offset %d, want %d", got, want)
		}
		return nil
	})
}

// Kafka's committed offset is ahead of a database that was restored while no
// consumer ran: what the database lost comes again.
func TestRestoredDatabaseGetsItsEffectsAgain(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 120} {
		d, c := newDatabase(t), newCluster(t, 1)
		const n = 200
		for i := range n {
			c.produce(t, c.record(0, fmt.Sprintf("k%d", i%7), "good"))
		}
		r := run(t, c.config(d, effectConsumer()))
		d.waitForEffects(t, n)
		r.end()
		if got, stored := c.committed(t), d.int(t, "SELECT next_offset FROM gapless.inbox_offset"); got != n || stored != n {
			t.Fatalf("committed offset %d, stored %d; want %d", got, stored, n)
		}
		d.goBack(t, before)
		if before == 0 { // restored to a time before the consumer was first run
			if _, err := d.admin.Exec(t.Context(), "DELETE FROM gapless.inbox_offset"); err != nil {
				t.Fatal(err)
			}
		}
		r = run(t, c.config(d, effectConsumer()))
		d.waitForEffects(t, n)
		r.end()
		d.once(t, n)
	}
}

// The same while the consumer runs, with nothing new to read.
func TestRunningConsumerFollowsTheDatabaseBack(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	const n = 200
	for i := range n {
		c.produce(t, c.record(0, fmt.Sprintf("k%d", i%7), "good"))
	}
	run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, n)
	d.waitForOffset(t, n)
	d.goBack(t, 50)
	d.waitForEffects(t, n)
	d.waitForOffset(t, n)
	d.once(t, n)
}

// A server is restored to an earlier moment under a running consumer, and begins
// a new timeline, as a promoted standby does.
func TestNewTimelineGetsItsEffectsAgain(t *testing.T) {
	t.Parallel()
	d, server := ownServer(t, nil)
	c := newCluster(t, 1)
	timeline := func() int64 {
		return d.int(t, "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")
	}
	produce := func(n int) {
		for i := range n {
			c.produce(t, c.record(0, fmt.Sprintf("k%d", i%7), "good"))
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	copyDir := func(from, to string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("copy data directory: %v: %s", err, out)
		}
	}
	produce(100)
	run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 100)
	d.waitForOffset(t, 100)
	backup := filepath.Join(t.TempDir(), "backup")
	must(server.Kill(t.Context()))
	copyDir(server.DataDir(), backup)
	d.restart(t, server)
	produce(100)
	d.waitForEffects(t, 200)
	d.waitForOffset(t, 200)

	must(server.Kill(t.Context()))
	must(os.RemoveAll(server.DataDir()))
	copyDir(backup, server.DataDir())
	signal := filepath.Join(server.DataDir(), "recovery.signal")
	copyDir(filepath.Join(server.DataDir(), "PG_VERSION"), signal) // whose content does not count, but its owner does
	conf, err := os.OpenFile(filepath.Join(server.DataDir(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	_, err = conf.WriteString("restore_command = 'false'\n")
	must(errors.Join(err, conf.Close()))
	d.restart(t, server)
	d.waitForEffects(t, 200)
	if got := timeline(); got != 2 {
		t.Errorf("timeline %d: the server was not restored", got)
	}
	d.once(t, 200)
}

// An offset that was settled on another timeline is not stored, nor one over
// another that is not the one it follows.
func TestOffsetIsStoredOnlyWhereItWasSettled(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	save := func(timeline int32, expected, next int64) (stored int64) {
		t.Helper()
		_, err := d.pool.Exec(t.Context(), sql.InboxOffsetSave, "effects", 1, timeline, []string{"t"}, []int32{0}, []int64{expected}, []int64{next})
		if err != nil {
			t.Fatal(err)
		}
		return d.int(t, "SELECT coalesce(max(next_offset), -1) FROM gapless.inbox_offset")
	}
	for i, step := range []struct {
		timeline             int32
		expected, next, want int64
	}{
		{2, -1, 5, -1}, {1, 3, 5, -1}, {1, -1, 5, 5}, {1, -1, 6, 5}, {2, 5, 6, 5}, {1, 4, 6, 5}, {1, 5, 6, 6},
	} {
		if got := save(step.timeline, step.expected, step.next); got != step.want {
			t.Errorf("step %d: stored offset %d, want %d", i, got, step.want)
		}
	}
}

// ownServer is a database on a server that the test may hurt.
func ownServer(t *testing.T, settings map[string]string) (*database, *pgserver.Server) {
	t.Helper()
	server := pgtest.Server(t, settings)
	pgtest.Migrate(t, server.SuperuserURL())
	d := &database{admin: pgtest.OpenPool(t, server.SuperuserURL()), pool: pgtest.OpenPool(t, server.SuperuserURL())}
	if _, err := d.admin.Exec(t.Context(), "CREATE TABLE effect (event_id uuid NOT NULL, key text, value bytea, n bigserial)"); err != nil {
		t.Fatal(err)
	}
	return d, server
}

// restart starts a server that was killed. The test's own connections are new
// ones then; the consumer has to find out.
func (d *database) restart(t *testing.T, server *pgserver.Server) {
	t.Helper()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatalf("restart Postgres: %v", err)
	}
	d.admin.Reset()
}

// A server that promises no durability dies under a running consumer: what the
// consumer counts as settled was durable all the same.
func TestEffectsSurviveAServerWithoutSynchronousCommit(t *testing.T) {
	t.Parallel()
	d, server := ownServer(t, map[string]string{"synchronous_commit": "off", "wal_writer_delay": "10s", "fsync": "on", "full_page_writes": "on"})
	c := newCluster(t, 1)
	for i := range 105 {
		c.produce(t, c.record(0, fmt.Sprintf("k%d", i%7), "good"))
	}
	run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 105)
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.restart(t, server)
	if n := d.int(t, "SELECT count(*) FROM effect"); n != 105 {
		t.Fatalf("%d effects of 105 after the crash", n)
	}
}

// removed is a topic of 30 records of which a consumer has applied 10 and Kafka
// removed 20.
func removed(t *testing.T) (*database, *cluster) {
	t.Helper()
	d, c := newDatabase(t), newCluster(t, 1)
	for range 10 {
		c.produce(t, c.record(0, "k", "good"))
	}
	r := run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 10)
	r.end()
	for range 20 {
		c.produce(t, c.record(0, "k", "good"))
	}
	var deleted kadm.Offsets
	deleted.AddOffset(c.topic, 0, 20, -1)
	if _, err := c.groups.DeleteRecords(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	return d, c
}

func (c *cluster) remedyOfLoss(t *testing.T, d *database) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := consumers.Run(ctx, c.config(d, effectConsumer()))
	lost, ok := errors.AsType[*consumers.LostError](err)
	if !ok {
		t.Fatalf("run ended with %v, want the loss", err)
	}
	return lost.Refusal()
}

// Records that were removed before they were read are told of, whichever of the
// two offsets is left.
func TestLossIsToldByEitherOffset(t *testing.T) {
	t.Parallel()
	d, c := removed(t)
	if _, err := d.admin.Exec(t.Context(), "DELETE FROM gapless.inbox_offset"); err != nil {
		t.Fatal(err)
	}
	if remedy := c.remedyOfLoss(t, d); remedy == "" {
		t.Error("a loss without a remedy")
	}

	d, c = removed(t)
	if _, err := c.groups.DeleteGroups(t.Context(), contracts.Group(c.name, 1)); err != nil {
		t.Fatal(err)
	}
	if remedy := c.remedyOfLoss(t, d); remedy == "" {
		t.Error("a loss without a remedy")
	}
}

// What the error tells a person to do is enough.
func TestRemedyOfALoss(t *testing.T) {
	t.Parallel()
	d, c := removed(t)
	remedy := c.remedyOfLoss(t, d)
	_, statement, ok := strings.Cut(remedy, "psql: ")
	if !ok {
		t.Fatalf("no statement in %q", remedy)
	}
	if tag, err := d.admin.Exec(t.Context(), statement); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("%s: %v, %v", statement, tag, err)
	}
	var to kadm.Offsets // --reset-offsets --to-earliest
	to.AddOffset(c.topic, 0, 20, -1)
	if err := c.groups.CommitAllOffsets(t.Context(), contracts.Group(c.name, 1), to); err != nil {
		t.Fatal(err)
	}
	run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 20)
}
