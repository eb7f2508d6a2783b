package relay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// outboxOfDays has one partition a day, from ten days ago on.
const outboxOfDays = `do $$
	declare
		p regclass;
		today date := (now() at time zone 'UTC')::date;
	begin
		for p in select inhrelid::regclass from pg_inherits where inhparent = 'gapless.outbox'::regclass loop
			execute format('drop table %s', p);
		end loop;
		for d in 0..11 loop
			perform gapless.partition_attach('gapless.outbox', 'outbox_p' || to_char(today - 10 + d, 'YYYYMMDD'),
				case d when 0 then 'MINVALUE' else quote_literal(today - 10 + d || ' 00:00:00+00') end,
				case d when 11 then 'MAXVALUE' else quote_literal(today - 9 + d || ' 00:00:00+00') end);
		end loop;
	end $$`

const insertOld = `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at)
	select 'order', 'k', 'T', convert_to(d::text, 'UTF8'), now() - d * interval '1 day' from generate_series(9, 0, -1) d`

func (s *setup) partitions(t testing.TB) []string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `select relname::text from pg_class
		where relnamespace = 'gapless'::regnamespace and relkind = 'r' and relname like 'outbox\_p%' order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func (s *setup) rows(t testing.TB, table string) (n int) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func retention(s *setup, sink relay.Sink) relay.Config {
	cfg := s.config(sink)
	cfg.Retention.Outbox = 5 * 24 * time.Hour
	cfg.ProofEvery = 50 * time.Millisecond
	return cfg
}

// Old partitions go when their rows are relayed, by a login that owns nothing; a
// created_at of then is still taken.
func TestRetentionDropsOldPartitions(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, outboxOfDays)
	s.exec(t, insertOld)
	// A relay that has a record in this database, and lags.
	s.exec(t, "insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ('other', '1', 1, '0/1')")
	var sink memory
	cfg := retention(s, &sink)
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay)
	r := run(t, cfg)
	want(t, &sink, "9", "8", "7", "6", "5", "4", "3", "2", "1", "0")
	s.stored(t, r, 10)
	testkit.Eventually(t, patience, func() error { // this relay's own first proof is on its way
		_, err := s.pool.Exec(t.Context(), "select gapless.outbox_retire('5 days')")
		if err == nil || !strings.Contains(err.Error(), "relay of slot other has no proof") {
			return fmt.Errorf("with a relay that has proven nothing: %w", err)
		}
		return nil
	})
	s.exec(t, "delete from gapless.relay_progress where slot = 'other'")
	testkit.Eventually(t, patience, func() error {
		if got := s.partitions(t); len(got) != 8 {
			return fmt.Errorf("partitions %q", got)
		}
		return nil
	})
	names := s.partitions(t)
	day := time.Now().UTC().AddDate(0, 0, -5).Format("20060102")
	if !slices.Contains(names, "outbox_past_"+day) || !slices.Contains(names, "outbox_p"+day) {
		t.Errorf("partitions %q", names)
	}
	if n := s.rows(t, "gapless.outbox"); n != 6 {
		t.Errorf("%d rows are left, want those of today and the five days before", n)
	}
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at) values ('order', 'k', 'T', 'ancient', now() - interval '9 days')")
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "ancient" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// What no relay has sent stays, whatever its age: neither the partition nor, when it
// came between, what was taken off already.
func TestRetentionKeepsWhatIsNotRelayed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, outboxOfDays)
	var sink memory
	r := run(t, retention(s, &sink))
	s.append(t, "k", "first")
	want(t, &sink, "first")
	s.stored(t, r, 1)
	proven := func() {
		testkit.Eventually(t, patience, func() error {
			var n int64
			return s.pool.QueryRow(t.Context(), "select gapless.outbox_unproven('gapless.outbox')").Scan(&n)
		})
	}
	proven()
	r.stop()
	s.exec(t, insertOld)
	var taken, dropped, kept int
	if err := s.pool.QueryRow(t.Context(), "select gapless.outbox_retire('5 days')").Scan(&taken); err != nil || taken != 0 {
		t.Fatalf("%d partitions taken off with rows that nobody has sent, %v", taken, err)
	}
	var unproven int
	if err := s.pool.QueryRow(t.Context(), sql.OutboxUnproven, 5*24*time.Hour).Scan(&unproven); err != nil || unproven < 4 || unproven > 5 {
		t.Errorf("%d rows keep their partitions, %v: those of more than five days ago", unproven, err)
	}
	// As if they had been written between the look and the detach.
	for _, p := range s.partitions(t)[:3] {
		s.exec(t, "alter table gapless.outbox detach partition gapless."+p)
		s.exec(t, "comment on table gapless."+p+" is 'gapless: taken off the outbox by retention'")
	}
	err := s.pool.QueryRow(t.Context(), "select dropped, kept from gapless.outbox_drop_retired()").Scan(&dropped, &kept)
	if err != nil || dropped != 1 || kept != 2 { // the oldest has no row
		t.Fatalf("%d dropped, %d kept, %v", dropped, kept, err)
	}
	r = run(t, retention(s, &sink))
	want(t, &sink, "first", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0")
	testkit.Eventually(t, patience, func() error {
		err := s.pool.QueryRow(t.Context(), "select dropped, kept from gapless.outbox_drop_retired()").Scan(&dropped, &kept)
		if err == nil && kept != 0 {
			err = fmt.Errorf("%d kept", kept)
		}
		return err
	})
	s.stored(t, r, 10)
}

// A transaction that is open on the outbox is not waited for, and nobody queues
// behind the attempt for long.
func TestRetentionGivesWayToALongTransaction(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, outboxOfDays)
	s.exec(t, insertOld)
	var sink memory
	cfg := retention(s, &sink)
	cfg.Retention.Outbox = 0
	r := run(t, cfg)
	s.stored(t, r, 10)
	testkit.Eventually(t, patience, func() error {
		var n int64
		err := s.pool.QueryRow(t.Context(), "select gapless.outbox_unproven('gapless.outbox')").Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d rows are not proven", n)
		}
		return err
	})
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'k', 'T')"); err != nil {
		t.Fatal(err)
	}
	_, err = s.pool.Exec(t.Context(), "select gapless.outbox_retire('5 days')")
	if err == nil || !strings.Contains(err.Error(), "55P03") {
		t.Errorf("beside an open transaction: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var taken int
	if err := s.pool.QueryRow(t.Context(), "select gapless.outbox_retire('5 days')").Scan(&taken); err != nil || taken != 5 {
		t.Errorf("%d taken off, %v", taken, err)
	}
}

// Rows of a table of one's own are deleted when they are relayed and old enough.
func TestRetentionDeletesFromTablesOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, `create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload text, "made At" timestamptz)`)
	s.exec(t, `create table parted (like plain) partition by hash (aggregateid)`)
	s.exec(t, `create table parted_0 partition of parted for values with (modulus 2, remainder 0)`)
	s.exec(t, `create table parted_1 partition of parted for values with (modulus 2, remainder 1)`)
	s.exec(t, "alter publication gapless set (publish_via_partition_root = true)")
	s.exec(t, "alter publication gapless add table plain, parted")
	var sink memory
	cfg := retention(s, &sink)
	cfg.Retention.Tables = map[string]relay.TableRetention{
		"public.plain": {After: 100 * time.Minute, Column: "made At"}, "public.parted": {},
	}
	// A transaction of another test may be older than the last proof, and a proof is
	// taken after an event.
	another := func() {
		s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'k', 'T')")
	}
	r := run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		if n := s.rows(t, "gapless.relay_table"); n != 2 {
			return fmt.Errorf("%d tables are noted", n)
		}
		return nil
	})
	for _, table := range []string{"plain", "parted"} {
		s.exec(t, `insert into `+table+` select gen_random_uuid(), 'a', 'k' || i, 't', i::text, now() - i * interval '1 minute' from generate_series(0, 2999) i`)
	}
	testkit.Eventually(t, 2*patience, func() error {
		if plain, parted := s.rows(t, "plain"), s.rows(t, "parted"); plain != 100 && plain != 101 || parted != 0 {
			another()
			return fmt.Errorf("%d and %d rows are left", plain, parted)
		}
		return nil
	})
	s.stored(t, r, 6000)
	sent := len(sink.records())
	// Not before they are relayed.
	sink.hold()
	s.exec(t, "insert into parted select gen_random_uuid(), 'a', 'k', 't', 'later', now() from generate_series(1, 7)")
	testkit.Eventually(t, patience, func() error {
		if n := len(sink.records()); n < sent+7 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	if n := s.rows(t, "parted"); n != 7 {
		t.Errorf("%d rows are left of what is not acknowledged", n)
	}
	sink.release()
	testkit.Eventually(t, patience, func() error {
		if n := s.rows(t, "parted"); n != 0 {
			another()
			return fmt.Errorf("%d rows are left", n)
		}
		return nil
	})
}

// A table that was left out for a while: what was written then was sent by nobody.
func TestRetentionKeepsWhatWasLeftOut(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table shop_outbox "+outboxColumns)
	s.exec(t, "alter publication gapless add table shop_outbox")
	var sink memory
	cfg := s.config(&sink)
	cfg.ProofEvery = 50 * time.Millisecond
	cfg.Retention.Tables = map[string]relay.TableRetention{"public.shop_outbox": {}}
	noted := func(n int) {
		t.Helper()
		testkit.Eventually(t, patience, func() error {
			if got := s.rows(t, "gapless.relay_table"); got != n {
				return fmt.Errorf("%d tables are noted", got)
			}
			return nil
		})
	}
	r := run(t, cfg)
	noted(1)
	r.stop()
	without := s.config(&sink)
	without.Tables = map[string]format.Format{"public.shop_outbox": nil}
	r = run(t, without)
	s.exec(t, "insert into shop_outbox values ('2', 'order', 'k', 'T', 'never sent')")
	s.append(t, "k", "beside")
	want(t, &sink, "beside")
	s.stored(t, r, 1)
	noted(0)
	r.stop()
	run(t, cfg)
	noted(1)
	s.exec(t, "insert into shop_outbox values ('3', 'order', 'k', 'T', 'sent')")
	want(t, &sink, "beside", "sent")
	testkit.Eventually(t, patience, func() error {
		s.append(t, "k", "more") // and with it a proof
		var ids []string
		if err := s.pool.QueryRow(t.Context(), "select array_agg(id) from shop_outbox").Scan(&ids); err != nil || slices.Contains(ids, "3") {
			return fmt.Errorf("%q are left: %w", ids, err)
		}
		if !slices.Equal(ids, []string{"2"}) {
			t.Fatalf("%q are left", ids)
		}
		return nil
	})
}

func TestRetentionConfig(t *testing.T) {
	t.Parallel()
	var sink memory
	for want, c := range map[string]relay.Retention{
		"below 24h":   {Outbox: time.Hour},
		"one's own":   {Tables: map[string]relay.TableRetention{"gapless.outbox": {}}},
		"is negative": {Tables: map[string]relay.TableRetention{"a.b": {After: -1}}},
		"Column":      {Tables: map[string]relay.TableRetention{"a.b": {After: 1}}},
	} {
		if _, err := relay.New(relay.Config{DatabaseURL: "postgres://", Sink: &sink, Retention: c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	_, err := relay.New(relay.Config{
		DatabaseURL: "postgres://", Sink: &sink, Retention: relay.Retention{Outbox: 24 * time.Hour},
		Tables: map[string]format.Format{"gapless.outbox": nil},
	})
	if err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("retention of what is left out: %v", err)
	}
}

// Two processes start, and neither finds a record: the one that comes later leaves what
// the one that streams has noted since. What was noted under a record of before goes.
func TestRetentionIsNotForgottenByASecondStart(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	note := func(membership string) {
		s.exec(t, "insert into gapless.relay_table (slot, relation, membership, since) values ('twice', 'public.plain', $1, '3')", membership)
	}
	start := func(want ...string) {
		t.Helper()
		s.exec(t, sql.RelayProgressCreate, "twice", "1", 1, "0/1", nil, 0, false, nil)
		var got []string
		if err := s.pool.QueryRow(t.Context(), "select array_agg(membership) from gapless.relay_table where slot = 'twice'").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("noted is %q, want %q", got, want)
		}
	}
	note("of before")
	start()
	note("since then")
	start("since then")
}
