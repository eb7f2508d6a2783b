package goose_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
)

// Each group role can do its job, and nothing but its job.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	const (
		yes = ""
		no  = "42501" // insufficient_privilege
	)
	columns := []pgtest.Role{pgtest.App, pgtest.Relay, pgtest.Consumer, pgtest.Readonly, pgtest.Owner}
	for _, c := range []struct {
		statement                             string
		app, relay, consumer, readonly, owner string
	}{
		// outbox
		{"select gapless.append('order', 'o-1', 'A', '{}'::jsonb)", yes, no, yes, no, no},
		{"insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'o', 'A')", yes, no, yes, no, no},
		{"update gapless.outbox set type = 'B'", no, no, no, no, no},
		{"delete from gapless.outbox", no, no, no, no, no},
		{"truncate gapless.outbox", no, no, no, no, no},
		{"select * from gapless.outbox_readable", yes, yes, yes, yes, yes},
		{"select gapless.decode('\\x00')", yes, yes, yes, yes, yes},
		{"select gapless.outbox_partitions_create()", yes, yes, no, no, yes},
		{"select gapless.partition_attach('gapless.outbox', 'x', 'MINVALUE', 'MAXVALUE')", no, no, no, no, no},
		{"select gapless.grant_if_role('SELECT', 'TABLE gapless.outbox', 'public')", no, no, no, no, no},
		// relay
		{"insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ('s', '1', 1, '0/1')", no, yes, no, no, no},
		{"update gapless.relay_progress set events = 1", no, yes, no, no, no},
		{"delete from gapless.relay_progress", no, no, no, no, no},
		{"insert into gapless.relay_control (slot, paused, reason) values ('s', true, 'r')", no, yes, no, no, no},
		{"insert into gapless.relay_control (slot, paused, reason, actor) values ('s', true, 'r', 'dba')", no, no, no, no, no},
		{"update gapless.relay_control set paused = true, reason = 'r'", no, yes, no, no, no},
		{"update gapless.relay_control set actor = 'dba'", no, no, no, no, no},
		{"insert into gapless.relay_request (slot, action, filter, reason) values ('s', 'redrive', '{}', 'r')", no, yes, no, no, no},
		{"insert into gapless.relay_request (slot, action, filter, reason, actor) values ('s', 'redrive', '{}', 'r', 'dba')", no, no, no, no, no},
		{"update gapless.relay_request set actor = 'dba'", no, no, no, no, no},
		{"insert into gapless.relay_replay (slot, system_id, timeline, snapshot, request, rows, reason) values ('s', '1', 1, '1:1:', '{}', 1, 'r')", no, yes, no, no, no},
		{"insert into gapless.relay_replay (slot, system_id, timeline, snapshot, request, rows, reason, actor) values ('s', '1', 1, '1:1:', '{}', 1, 'r', 'dba')", no, no, no, no, no},
		{"update gapless.relay_replay set reason = 'r'", no, no, no, no, no},
		{"delete from gapless.relay_control", no, no, no, no, no},
		{"select * from gapless.relay_lag", yes, yes, yes, yes, yes},
		{"update gapless.parked set status = 'redriven'", no, yes, no, no, no},
		// inbox
		{`insert into gapless.inbox (consumer, event_id, topic, partition, "offset") values ('c', gapless.uuid7(), 't', 0, 0)`, no, no, yes, no, no},
		{"update gapless.inbox set outcome = 'discarded'", no, no, yes, no, no},
		{"update gapless.inbox set consumer = 'other'", no, no, no, no, no},
		{"delete from gapless.inbox", no, no, no, no, no},
		{"select * from gapless.inbox_status", yes, yes, yes, yes, yes},
		{"select gapless.inbox_partitions_create()", no, no, yes, no, yes},
		{"drop table gapless.inbox", no, no, no, no, no},
		{"delete from gapless.dead_letter", no, no, no, no, no},
		{"update gapless.dead_letter set value = null", no, no, no, no, no},
		{"select * from gapless.key_block for share", no, no, yes, no, no},
		// sagas
		{"update gapless.saga set status = 'running'", no, no, yes, no, no},
		{"delete from gapless.saga", no, no, no, no, no},
		{"select * from gapless.saga_stuck", yes, yes, yes, yes, yes},
		// shop
		{"insert into checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address) values (gapless.uuid7(), 'p', 'c', 'USD', 1, 'trial', 't', '{}')", yes, no, no, no, no},
		{"update checkout.orders set status = 'cancelled'", no, no, yes, no, no},
		{"update checkout.orders set total_minor = 0", no, no, no, no, no},
		{"update checkout.products set price_minor = 0", no, no, no, no, no},
		{"select * from checkout.api_keys", yes, no, no, no, no},
		{"insert into checkout.api_keys (key_hash, name) values (sha256('x'), 'x')", no, no, no, no, no},
		{"delete from gapless.idempotency_key", yes, no, no, no, no},
		{"update gapless.idempotency_key set body = ''", no, no, no, no, no},
		{"update inventory.stock set initial = 1", no, no, no, no, no},
		{"update inventory.stock set available = available", no, no, yes, no, no},
		{"update payment.payments set status = 'captured'", no, no, yes, no, no},
		{"insert into sandbox.charges (charge_id, order_id, token, status, currency, amount_minor) values ('c', gapless.uuid7(), 't', 'captured', 'USD', 1)", no, no, yes, no, no},
		{"delete from sandbox.charges", no, no, no, no, no},
		{"update loyalty.points set points = 1", no, no, no, no, no},
		// everywhere
		{"insert into gapless.audit (action, target, reason) values ('a', 't', 'r')", yes, yes, yes, no, no},
		{"insert into gapless.audit (action, target, reason, detail) values ('a', 't', 'r', '{}')", yes, yes, yes, no, no},
		{"insert into gapless.audit (actor, action, target, reason) values ('dba', 'a', 't', 'r')", no, no, no, no, no},
		{"insert into gapless.audit (at, action, target, reason) values ('-infinity', 'a', 't', 'r')", no, no, no, no, no},
		{"update gapless.audit set reason = ''", no, no, no, no, no},
		{"insert into gapless.schema_version (schema_id, subject, version, message_type, definition, types) values (1, 's', 1, 'm', 'd', '{}')", no, no, no, no, no},
		{"create table gapless.mine (n int)", no, no, no, no, no},
		{"alter publication gapless drop table gapless.outbox", no, no, no, no, no},
	} {
		for i, want := range []string{c.app, c.relay, c.consumer, c.readonly, c.owner} {
			pool := db.LoginPool(t, columns[i])
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), c.statement); err != nil {
					return err
				}
				return errUndo
			})
			got := sqlState(err)
			if err == errUndo { //nolint:errorlint // the very value, from two lines above
				got = yes
			}
			if got != want {
				t.Errorf("%s: %s\n\tgot %v, want %q", columns[i], c.statement, err, want)
			}
			pool.Close()
		}
	}
}

type undo struct{}

func (undo) Error() string { return "undo" }

var errUndo = undo{}

// Rows that another language, or a person, writes by hand.
func TestRowsByRawSQL(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	for name, c := range map[string]struct {
		row  map[string]any
		want string // the constraint or column that refuses; "" means accepted
	}{
		"plain":                       {},
		"null type":                   {map[string]any{"type": nil}, "type"},
		"empty type":                  {map[string]any{"type": ""}, "outbox_type_check"},
		"unknown aggregate":           {map[string]any{"aggregatetype": "never.heard-of_it"}, ""},
		"aggregate that no topic has": {map[string]any{"aggregatetype": "a/b"}, "outbox_aggregatetype_check"},
		"empty aggregate":             {map[string]any{"aggregatetype": ""}, "outbox_aggregatetype_check"},
		"long aggregate":              {map[string]any{"aggregatetype": strings.Repeat("a", 237)}, "outbox_aggregatetype_check"},
		"aggregate with a newline":    {map[string]any{"aggregatetype": "order\n"}, "outbox_aggregatetype_check"},
		"null key":                    {map[string]any{"aggregateid": nil}, "aggregateid"},
		"empty key":                   {map[string]any{"aggregateid": ""}, "outbox_aggregateid_check"},
		"long key":                    {map[string]any{"aggregateid": strings.Repeat("é", 513)}, "outbox_aggregateid_check"},
		"v4 id":                       {map[string]any{"id": "0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60"}, ""},
		"null id":                     {map[string]any{"id": nil}, "id"},
		"tombstone":                   {map[string]any{"payload": nil}, ""},
		"1 MiB":                       {map[string]any{"payload": make([]byte, 1<<20)}, ""},
		"2 MB payload":                {map[string]any{"payload": make([]byte, 2_000_000)}, "outbox_payload_check"},
		"version 0":                   {map[string]any{"aggregate_version": 0}, "outbox_aggregate_version_check"},
		"null headers":                {map[string]any{"headers": nil}, "headers"},
		"headers array":               {map[string]any{"headers": `["a"]`}, "outbox_headers_check"},
		"header number":               {map[string]any{"headers": `{"a":1}`}, "outbox_headers_check"},
		"header null":                 {map[string]any{"headers": `{"a":null}`}, "outbox_headers_check"},
		"header array of strings":     {map[string]any{"headers": `{"a":["x"]}`}, "outbox_headers_check"},
		"header object":               {map[string]any{"headers": `{"a":{"b":"c"}}`}, "outbox_headers_check"},
		"headers too large":           {map[string]any{"headers": `{"a":"` + strings.Repeat("x", 17_000) + `"}`}, "outbox_headers_check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := map[string]any{"aggregatetype": "order", "aggregateid": "o-1", "type": "A"}
			for column, v := range c.row {
				row[column] = v
			}
			var names, marks []string
			args := pgx.NamedArgs{}
			for column, v := range row {
				names, marks = append(names, column), append(marks, "@"+column)
				args[column] = v
			}
			_, err := pool.Exec(t.Context(), "insert into gapless.outbox ("+strings.Join(names, ", ")+") values ("+strings.Join(marks, ", ")+")", args)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), `"`+c.want+`"`)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAppendForOtherLanguages(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	for query, want := range map[string]string{
		`select gapless.append('order', 'o-1', 'A', '{"a":1}'::jsonb) is not null`:                                                                    "true",
		`select gapless.append('order', 'o-2', 'A', null::jsonb, 7, '{"ce_correlationid":"c"}', '0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60')`:              "0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60",
		`select gapless.append(aggregatetype => 'order', aggregateid => 'o-3', type => 'A', payload => '\x00ff'::bytea, headers => null) is not null`: "true",
	} {
		if got := value[string](t, pool, "select ("+query+")::text"); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"select convert_from(payload, 'UTF8') || headers::text from gapless.outbox where aggregateid = 'o-1'":                             `{"a": 1}{"content-type": "application/json"}`,
		"select coalesce(payload::text, 'tombstone') || aggregate_version || headers::text from gapless.outbox where aggregateid = 'o-2'": `tombstone7{"content-type": "application/json", "ce_correlationid": "c"}`,
		"select payload::text || headers::text from gapless.outbox where aggregateid = 'o-3'":                                             `\x00ff{}`,
	} {
		if got := value[string](t, pool, query); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
}

// The name of a slot is printed to operators, in statements too, so no table takes one
// that Postgres would not.
func TestSlotsHaveNamesOfSlots(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	rows, err := pool.Query(t.Context(), `select c.relname from pg_attribute as a join pg_class as c on c.oid = a.attrelid
		where c.relnamespace = 'gapless'::regnamespace and c.relkind in ('r', 'p') and a.attname = 'slot' and not a.attisdropped
		  and not exists (select from pg_constraint as k where k.conrelid = c.oid and k.conname = c.relname || '_slot_check')`)
	if err != nil {
		t.Fatal(err)
	}
	free, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(free) > 0 {
		t.Errorf("any name is taken by %q, %v", free, err)
	}
	for _, name := range []string{"", "A", "x'; --", "\x1b[2J", "a\n", strings.Repeat("s", 64)} {
		_, err := pool.Exec(t.Context(), "insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ($1, '1', 1, '0/1')", name)
		if sqlState(err) != "23514" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Who has paused a relay last is noted by the server.
func TestPausesAreStamped(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	var actor, login string
	if _, err := db.LoginPool(t, pgtest.Relay).Exec(t.Context(), "insert into gapless.relay_control (slot, paused, reason) values ('s', true, 'r')"); err != nil {
		t.Fatal(err)
	}
	owner := db.Pool(t)
	for _, c := range []struct {
		change string
		owner  bool
	}{
		{"signal_index = 7", false}, // a signal that changed nothing
		{"reason = 'another'", true},
	} {
		if err := owner.QueryRow(t.Context(), "update gapless.relay_control set "+c.change+" returning actor, session_user").Scan(&actor, &login); err != nil {
			t.Fatal(err)
		}
		if (actor == login) != c.owner {
			t.Errorf("after %s the actor is %s, and %s did it", c.change, actor, login)
		}
	}
}
