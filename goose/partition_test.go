package goose_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// age leaves the outbox as it is when a fortnight has passed: today's partition
// and the open end, which begins tomorrow.
func age(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `
		do $$
		declare
			r regclass;
			tomorrow text := (((now() at time zone 'UTC')::date + 1) || ' 00:00:00+00');
		begin
			for r in select inhrelid from pg_inherits where inhparent = 'gapless.outbox'::regclass loop
				execute format('drop table %s', r);
			end loop;
			create table gapless.outbox_old (like gapless.outbox including all);
			execute format('alter table gapless.outbox attach partition gapless.outbox_old for values from (minvalue) to (%L)', tomorrow);
			create table gapless.outbox_old_max (like gapless.outbox including all);
			execute format('alter table gapless.outbox attach partition gapless.outbox_old_max for values from (%L) to (maxvalue)', tomorrow);
		end $$`)
}

const split = "select gapless.outbox_partitions_create()"

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func TestPartitionsAreKeptAhead(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	if made := value[int](t, pool, split); made != 0 {
		t.Errorf("%d partitions made right after the migration", made)
	}
	age(t, pool)
	if made := value[int](t, pool, split); made != 29 {
		t.Errorf("%d partitions made, want 28 days and the open end", made)
	}
	if made := value[int](t, pool, split); made != 0 {
		t.Errorf("%d partitions made at once again", made)
	}
	if n := value[int](t, pool, "select count(*) from pg_class where relname = 'outbox_old_max'"); n != 0 {
		t.Error("the old end is still there")
	}
	// 60 days ahead, in one go; and no day is missing.
	exec(t, pool, "select gapless.outbox_partitions_create(60)")
	exec(t, pool, "insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) select 'order', 'o', 'A', now() + d * interval '1 day' from generate_series(-3, 74) as d")
	if n := value[int](t, pool, "select count(distinct tableoid) from gapless.outbox"); n != 75 {
		t.Errorf("78 days fell into %d partitions, want 75", n)
	}
	for _, days := range []int{0, -1, 367} {
		if _, err := pool.Exec(t.Context(), "select gapless.outbox_partitions_create($1)", days); sqlState(err) != "22023" {
			t.Errorf("%d days: %v", days, err)
		}
	}
}

// A session's own settings change nothing.
func TestPartitionsUnderOddSettings(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	age(t, pool)
	exec(t, pool, "set local datestyle = 'German'; set local timezone = 'Pacific/Auckland'; set local search_path = public; "+split)
	if n := value[int](t, pool, "select count(*) from pg_inherits where inhparent = 'gapless.outbox'::regclass"); n != 30 {
		t.Errorf("%d partitions, want 30", n)
	}
	exec(t, pool, "drop table gapless.inbox_p"+time.Now().UTC().AddDate(0, 0, 14).Format("20060102"))
	exec(t, pool, "set local datestyle = 'SQL, DMY'; set local timezone = 'Pacific/Auckland'; select gapless.inbox_partitions_create()")
	if got := value[string](t, pool, "select current_setting('lock_timeout')"); got != "0" {
		t.Errorf("lock_timeout %s is left behind", got)
	}
}

func TestAnyCreatedAtIsAccepted(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	for _, at := range []string{"4714-11-24 00:00:00+00 BC", "1970-01-01 00:00:00+00", "2199-01-01 00:00:00+00", "294276-12-31 00:00:00+00", "-infinity", "infinity"} {
		exec(t, pool, "insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) values ('order', 'o', 'A', $1::text::timestamptz)", at)
	}
}

// A row in the open end says that a clock runs ahead; nothing is moved or lost.
func TestSplitRefusesRowsInTheOpenEnd(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	age(t, pool)
	exec(t, pool, "insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) values ('order', 'o', 'A', '2199-01-01')")
	_, err := pool.Exec(t.Context(), split)
	if err == nil || !strings.Contains(err.Error(), "holds rows and cannot be split") {
		t.Fatalf("got %v", err)
	}
	if n := value[int](t, pool, "select count(*) from gapless.outbox"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if n := value[int](t, pool, "select count(*) from pg_inherits where inhparent = 'gapless.outbox'::regclass"); n != 2 {
		t.Errorf("%d partitions, want the 2 there were", n)
	}
}

// While a transaction is open on the outbox, a split gives up and writers go on;
// when it is over, the split is made under them and none is refused.
func TestSplitUnderLoad(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	age(t, pool)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var written, slowest atomic.Int64
	writers := make(chan error, 4)
	for range cap(writers) {
		go func() {
			for ctx.Err() == nil {
				start := time.Now()
				_, err := pool.Exec(context.WithoutCancel(ctx), "insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'o', 'A')")
				if err != nil {
					writers <- err
					return
				}
				written.Add(1)
				if took := int64(time.Since(start)); took > slowest.Load() {
					slowest.Store(took)
				}
			}
			writers <- nil
		}()
	}
	progress := func() {
		t.Helper()
		from := written.Load()
		testkit.Eventually(t, 20*time.Second, func() error {
			if written.Load() < from+20 {
				return errors.New("writers stand still")
			}
			return nil
		})
	}
	progress()

	long, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := long.Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'o', 'A')"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := pool.Exec(t.Context(), split); sqlState(err) != "55P03" {
			t.Fatalf("split beside a long transaction: %v", err)
		}
		progress() // although that transaction is still open
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}

	testkit.Eventually(t, 20*time.Second, func() error {
		var made int
		if err := pool.QueryRow(t.Context(), split).Scan(&made); err != nil {
			return err
		}
		if made != 29 {
			return fmt.Errorf("%d partitions made, want 29", made)
		}
		return nil
	})
	progress()
	cancel()
	for range cap(writers) {
		if err := <-writers; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d rows written, the slowest took %s", written.Load(), time.Duration(slowest.Load()))
	if n := value[int64](t, pool, "select count(*) from gapless.outbox"); n != written.Load()+1 {
		t.Errorf("%d rows, want %d", n, written.Load()+1)
	}
}

func TestTwoSplitsAtOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	age(t, pool)
	made := make(chan int, 4)
	for range cap(made) {
		go func() {
			var n int
			if err := pool.QueryRow(t.Context(), split).Scan(&n); err != nil {
				n = -1000
			}
			made <- n
		}()
	}
	sum := 0
	for range cap(made) {
		sum += <-made
	}
	if sum != 29 {
		t.Errorf("%d partitions made by all together, want 29", sum)
	}
}

// The function runs as its owner; a caller's temporary catalogue is not read.
func TestPartitionFunctionsIgnoreTemporaryTables(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	age(t, pool)
	conn, err := db.LoginPool(t, pgtest.App).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	var made int
	if _, err := conn.Exec(t.Context(), "create temporary table pg_inherits as select * from pg_catalog.pg_inherits where false"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), split).Scan(&made); err != nil || made != 29 {
		t.Errorf("made %d, %v", made, err)
	}
}

func TestInboxPartitionsBesideRowsInTheDefault(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	claim := func(id string) {
		t.Helper()
		exec(t, pool, `insert into gapless.inbox (consumer, event_id, topic, partition, "offset") values ('c', $1::text::uuid, 't', 0, 0)`, id)
	}
	in := func(id string) string {
		t.Helper()
		return value[string](t, pool, "select tableoid::regclass::text from gapless.inbox where event_id = $1::text::uuid", id)
	}
	today := time.Now().UTC()
	random := "0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60"
	claim(random)
	if got := in(random); got != "gapless.inbox_other" {
		t.Errorf("a v4 id is in %s", got)
	}
	now := value[string](t, pool, "select gapless.uuid7()::text")
	claim(now)
	if got, want := in(now), "gapless.inbox_p"+today.Format("20060102"); got != want {
		t.Errorf("an id of now is in %s, want %s", got, want)
	}

	// Two days are missing, and one of them has a claim in the default.
	for _, days := range []int{10, 14} {
		exec(t, pool, "drop table gapless.inbox_p"+today.AddDate(0, 0, days).Format("20060102"))
	}
	early := value[string](t, pool, "select gapless.uuid7($1)::text", today.AddDate(0, 0, 10))
	claim(early)
	if made := value[int](t, pool, "select gapless.inbox_partitions_create()"); made != 1 {
		t.Errorf("%d partitions made, want only the day without claims", made)
	}
	if got := in(early); got != "gapless.inbox_other" {
		t.Errorf("the early claim is in %s", got)
	}
	// The claim holds wherever it lies.
	_, err := pool.Exec(t.Context(), `insert into gapless.inbox (consumer, event_id, topic, partition, "offset") values ('c', $1::text::uuid, 't', 0, 0)`, early)
	if sqlState(err) != "23505" {
		t.Errorf("the same event was claimed twice: %v", err)
	}
}

func TestUUID7(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	if !value[bool](t, pool, "select bool_and(id > before) from (select id, lag(id) over (order by n) as before from (select n, gapless.uuid7() as id from generate_series(1, 20000) as n) as made) as pairs where before is not null") {
		t.Error("ids of one session are not ascending")
	}
	for query, want := range map[string]string{
		"select substr(gapless.uuid7()::text, 15, 1)":                                                                   "7",
		"select (substr(gapless.uuid7()::text, 20, 1) in ('8', '9', 'a', 'b'))::text":                                   "true",
		"select (gapless.uuid7_time(gapless.uuid7('2026-11-23 12:34:56.789+00')) = '2026-11-23 12:34:56.789+00')::text": "true",
		"select (gapless.uuid7_floor(t) <= gapless.uuid7(t) and gapless.uuid7(t) < gapless.uuid7_floor(t + interval '1 ms'))::text from (select timestamptz '2026-11-23 12:34:56.789999+00' as t) as x": "true",
		"select coalesce(gapless.uuid7_time('0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60')::text, 'none')":                                                                                                     "none",
		// The example of RFC 9562, appendix A.6.
		"select (gapless.uuid7_time('017F22E2-79B0-7CC3-98C4-DC0C0C07398F') = '2022-02-22 19:22:22+00')::text": "true",
	} {
		if got := value[string](t, pool, query); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
}
