package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// wantLast waits until the sink's last value is v.
func wantLast(t testing.TB, m *memory, v string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := m.values(); len(got) == 0 || got[len(got)-1] != v {
			return fmt.Errorf("%d values, the last %q", len(got), got[max(0, len(got)-3):])
		}
		return nil
	})
}

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}

// However rows are written, they come in the order of their changes: those of a COPY
// share an LSN, and those of a savepoint that was rolled back are not there.
func TestWaysOfWriting(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	rows := make([][]any, 5000)
	for i := range rows {
		rows[i] = []any{"order", "k", "T", []byte(strconv.Itoa(i))}
	}
	n, err := s.pool.CopyFrom(t.Context(), pgx.Identifier{"gapless", "outbox"}, []string{"aggregatetype", "aggregateid", "type", "payload"}, pgx.CopyFromRows(rows))
	if err != nil || n != 5000 {
		t.Fatal(n, err)
	}
	want(t, &sink, numbers(5000)...)
	s.append(t, "k", "many", "rows", "in one")
	insert := func(value string) string {
		return "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', convert_to('" + value + "', 'UTF8'));"
	}
	s.exec(t, "begin;"+insert("before")+"savepoint a;"+insert("undone")+"rollback to a;"+insert("after")+"savepoint b;"+insert("kept")+"release b; commit")
	want(t, &sink, append(numbers(5000), "many", "rows", "in one", "before", "after", "kept")...)
	s.stored(t, r, 5006)
}

// A prepared transaction comes when it is committed, also by a relay that was not there
// when it was written, and not at all when it is rolled back.
func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	s, _ := ownServer(t, map[string]string{"max_prepared_transactions": "5"})
	var sink memory
	r := run(t, s.config(&sink))
	prepare := func(name string) {
		s.exec(t, "begin; insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', convert_to('"+name+"', 'UTF8')); prepare transaction '"+name+"'")
	}
	prepare("first")
	prepare("second")
	prepare("never")
	s.append(t, "other", "beside")
	want(t, &sink, "beside")
	s.exec(t, "commit prepared 'first'")
	want(t, &sink, "beside", "first")
	s.stored(t, r, 2)
	r.stop()
	s.exec(t, "rollback prepared 'never'")
	run(t, s.config(&sink))
	s.exec(t, "commit prepared 'second'")
	s.append(t, "other", "last")
	want(t, &sink, "beside", "first", "second", "last")
}

// The table is changed while rows are written: columns come and go, and the table is
// rewritten. Each row is as it was when it was written, and nothing else comes.
func TestTableIsChangedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table plain (id uuid default gen_random_uuid(), aggregatetype text default 'a', aggregateid text default 'k', type text default 't', payload text)")
	s.exec(t, "create index plain_payload on plain (payload)")
	s.exec(t, "alter publication gapless add table plain")
	var sink memory
	r := run(t, s.config(&sink))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	written := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := s.pool.Exec(context.WithoutCancel(ctx), "insert into plain (payload) values ($1::text)", strconv.Itoa(n)); err != nil {
				t.Errorf("insert: %v", err)
				break
			}
		}
		written <- n
	}()
	ahead := func() {
		from := len(sink.records())
		testkit.Eventually(t, patience, func() error {
			if n := len(sink.records()); n < from+30 {
				return fmt.Errorf("%d records after %d", n, from)
			}
			return nil
		})
	}
	for _, ddl := range []string{
		"alter table plain add column more int default 7", "alter table plain alter column more type bigint", "alter table plain drop column more",
		"alter table plain add column first uuid", "vacuum full plain", "cluster plain using plain_payload", "reindex table plain",
		"alter table plain alter column type type varchar(40)", "alter table plain replica identity full", "analyze plain",
		"alter publication gapless set (publish = 'insert, update')", "alter table plain set (fillfactor = 50)",
	} {
		ahead()
		s.exec(t, ddl)
	}
	ahead()
	cancel()
	n := <-written
	testkit.Eventually(t, patience, func() error {
		if got := len(sink.records()); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	if got := sink.values(); !slices.Equal(slices.Compact(got), numbers(n)) {
		t.Errorf("%d records of %d rows", len(got), n)
	}
	s.exec(t, "truncate plain")
	s.append(t, "k", "end")
	wantLast(t, &sink, "end")
	if got := s.parked(t); len(got) != 0 {
		t.Errorf("parked %q", got)
	}
	r.become(relay.Streaming)
}

// A table that is added to the publication under the stream is relayed from then on.
func TestTableIsAddedUnderTheStream(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.exec(t, "create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table plain")
	s.exec(t, "insert into plain values (gen_random_uuid(), 'a', 'k', 't', '2')")
	want(t, &sink, "1", "2")
	s.stored(t, r, 2)
	if st := r.Status(); st.Reconnects != 0 {
		t.Errorf("%+v", st)
	}
}

// A value that lies out of line comes whole, and goes to Kafka where all limits allow it.
func TestTenMegabytes(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.LimitedTopic(t, brokers, "outbox.event.", 12<<20)
	aggregate := strings.TrimPrefix(topic, "outbox.event.")
	s.exec(t, "create table large (id uuid, aggregatetype text, aggregateid text, type text, payload bytea)")
	s.exec(t, "alter table large alter column payload set storage external")
	s.exec(t, "alter publication gapless add table large")
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: brokers, MaxRecordBytes: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s.config(sink))
	const insert = "insert into large select gen_random_uuid(), $1, i::text, 't', convert_to(repeat(i::text, $2::int), 'UTF8') from generate_series(1, 4) i"
	s.exec(t, insert, aggregate, 10<<20)
	s.exec(t, insert, aggregate, 1)
	for i, rec := range follow(t, brokers, topic).has(t, 8) {
		text := strconv.Itoa(i%4 + 1)
		if size := []int{10 << 20, 1}[i/4]; !bytes.Equal(rec.Value, bytes.Repeat([]byte(text), size)) {
			t.Errorf("record %d has %d bytes of %.10q", i, len(rec.Value), rec.Value)
		}
	}
	s.stored(t, r, 8)
}

// While others write, in this database or in another, a quiet outbox keeps no WAL.
func TestQuietOutboxKeepsNoWAL(t *testing.T) {
	t.Parallel()
	s, server := ownServer(t, map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB"})
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.exec(t, "create table busy (x text)")
	s.exec(t, "create database neighbour")
	address, err := url.Parse(server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/neighbour"
	neighbour := pgtest.OpenPool(t, address.String())
	var database string
	if err := neighbour.QueryRow(t.Context(), "select current_database()").Scan(&database); err != nil || database != "neighbour" {
		t.Fatal(database, err)
	}
	if _, err := neighbour.Exec(t.Context(), "create table busy (x text)"); err != nil {
		t.Fatal(err)
	}
	const fill = "insert into busy select repeat(md5(i::text), 30) from generate_series(1, 40000) i" // some 45 MB of WAL
	for name, write := range map[string]func(){
		"this database": func() { s.exec(t, fill) },
		"another": func() {
			if _, err := neighbour.Exec(t.Context(), fill); err != nil {
				t.Fatal(err)
			}
		},
	} {
		write()
		testkit.Eventually(t, 2*patience, func() error {
			var behind int64
			err := s.pool.QueryRow(t.Context(), "select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint from pg_replication_slots where slot_name = $1", s.slot).Scan(&behind)
			if err == nil && behind > 1<<20 {
				err = fmt.Errorf("%s: %d bytes are not confirmed", name, behind)
			}
			return err
		})
	}
	if st := r.Status(); st.Reconnects != 0 || len(sink.records()) != 1 {
		t.Errorf("%+v", st)
	}
}

// Rows that take long, one after the other in one transaction, must not keep the relay
// from its server for so long that the slot is given to another: it would begin again, and
// again.
func TestSlowRowsDoNotLoseTheSlot(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table public.slow (id uuid default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table public.slow")
	var sink memory
	config := s.config(&sink)
	config.Tables = map[string]format.Format{"public.slow": eventrouter.Config{TopicRegex: `(?=a)(?:a|aa)+b`, TopicReplacement: "x"}}
	config.DeadAfter = 6 * time.Second
	r := run(t, config)
	r.become(relay.Streaming)
	const rows = 80 // of a tenth of a second each, at the least
	s.exec(t, "insert into public.slow (aggregatetype, aggregateid, type, payload) select repeat('a', 60) || n, n, 'T', 'x' from generate_series(1, $1::int) as n", rows)
	s.append(t, "k", "after")
	testkit.Eventually(t, 4*patience, func() error {
		if got := sink.values(); len(got) != 1 {
			return fmt.Errorf("sent %q, %+v", got, r.Status())
		}
		return nil
	})
	s.stored(t, r, rows+1)
	if st := r.Status(); st.Reconnects != 0 {
		t.Errorf("%+v", st)
	}
}
