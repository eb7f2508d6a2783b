package sql_test

import (
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/sql"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// unprepared are what Postgres does not prepare: transaction control, SET, LOCK.
var unprepared = regexp.MustCompile(`(?is)^(BEGIN|COMMIT|ROLLBACK|SET|LOCK)\b`)

var comments = regexp.MustCompile(`(?m)^\s*--.*$`)

var named = regexp.MustCompile(`(^|[^@\w])@[a-z_]+`)

func files(t *testing.T, pattern string) map[string]string {
	t.Helper()
	names, err := fs.Glob(sql.Files, pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no file is named %s", pattern)
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(sql.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// A renamed column breaks a statement; here, not at night.
func TestEveryStatementPrepares(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, text := range files(t, "*.sql") {
		if unprepared.MatchString(strings.TrimSpace(comments.ReplaceAllString(text, ""))) {
			continue // run by the tests of those who use them
		}
		statement := text
		if named.MatchString(text) {
			rewritten, _, err := pgx.NamedArgs{}.RewriteQuery(t.Context(), conn.Conn(), text, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			statement = rewritten
		}
		if _, err := conn.Conn().Prepare(t.Context(), name, statement); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each opens by saying what it is for.
func TestEveryStatementIsCommented(t *testing.T) {
	t.Parallel()
	for name, text := range files(t, "*.sql") {
		if !strings.HasPrefix(text, "--") {
			t.Errorf("%s: does not open with a comment", name)
		}
	}
}

// Every exported statement is a file, and every file is used.
func TestEveryFileIsEmbedded(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	embedded := map[string]bool{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*//go:embed (\w+\.sql)$`).FindAllStringSubmatch(string(text), -1) {
			if embedded[m[1]] {
				t.Errorf("%s is embedded twice", m[1])
			}
			embedded[m[1]] = true
		}
	}
	for name := range files(t, "*.sql") {
		if !embedded[name] {
			t.Errorf("%s has no variable", name)
		}
	}
}

func TestInspectionRunsOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.LoginPool(t, pgtest.Readonly)
	for name, text := range files(t, "inspect_*.sql") {
		// What psql sends: the simple protocol, no parameters.
		if _, err := pool.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInspectionRunsInPsql(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		return // TestInspectionRunsOnAnEmptyDatabase sends what psql would
	}
	db := pgtest.NewDB(t)
	fill(t, db)
	url := db.LoginURL(t, pgtest.Readonly)
	for name := range files(t, "inspect_*.sql") {
		cmd := exec.CommandContext(t.Context(), psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname="+url, "--file="+name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	for name, c := range map[string]struct{ options, want, not string }{
		"inspect_outbox.sql":       {"-c gapless.type=B", `"b": 2`, `"a": 1`},
		"inspect_dead_letters.sql": {"-c gapless.consumer=payment", "(1 row)", "\\x"},
		"inspect_blocked_keys.sql": {"", "key-1", "\\x"},
		"inspect_sagas.sql":        {"-c gapless.order_id=0199c0de-0000-7000-8000-000000000001", "needs_attention", "(0 rows)"},
		"inspect_inbox_event.sql":  {"-c gapless.event_id=0199c0de-0000-7000-8000-0000000000aa", "payment", "(0 rows)"},
	} {
		cmd := exec.CommandContext(t.Context(), psql, "--no-psqlrc", "--dbname="+url, "--file="+name)
		cmd.Env = append(os.Environ(), "PGOPTIONS="+c.options)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), c.not) {
			t.Errorf("%s with %q: %v, want %q and not %q\n%s", name, c.options, err, c.want, c.not, out)
		}
	}
}

// fill writes one of each that the inspection queries look at.
func fill(t *testing.T, db *pgtest.DB) {
	t.Helper()
	_, err := db.Pool(t).Exec(t.Context(), `
		select gapless.append('order', 'o-1', 'A', '{"a": 1}'::jsonb), gapless.append('order', 'o-1', 'B', '{"b": 2}'::jsonb);
		insert into gapless.dead_letter (dead_letter_id, consumer, event_id, topic, partition, "offset", record_timestamp, key, reason, attempts, first_failed_at, last_failed_at)
		values ('0199c0de-0000-7000-8000-0000000000dd', 'payment', '0199c0de-0000-7000-8000-0000000000aa', 't', 0, 7, now(), 'key-1', 'undecodable', 3, now(), now()),
		       (gapless.uuid7(), 'loyalty', gapless.uuid7(), 't', 0, 8, now(), '\xff', 'undecodable', 3, now(), now());
		insert into gapless.key_block (consumer, topic, key, dead_letter_id) values ('payment', 't', 'key-1', '0199c0de-0000-7000-8000-0000000000dd');
		insert into gapless.inbox (consumer, event_id, outcome, topic, partition, "offset")
		values ('payment', '0199c0de-0000-7000-8000-0000000000aa', 'parked', 't', 0, 7);
		insert into gapless.saga (saga_id, type, order_id, status)
		values (gapless.uuid7(), 'order', '0199c0de-0000-7000-8000-000000000001', 'needs_attention')`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestViews(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	fill(t, db)
	pool := db.LoginPool(t, pgtest.Readonly)
	for query, want := range map[string]string{
		// A claim that is older than ten minutes counts in no window, and its
		// consumer is found all the same.
		"select string_agg(format('%s parked %s dead %s blocked %s last %s', consumer, parked, dead_letters, blocked_keys, last_event_id), '; ' order by consumer) from gapless.inbox_status": "loyalty parked 0 dead 1 blocked 0 last ; payment parked 0 dead 1 blocked 1 last 0199c0de-0000-7000-8000-0000000000aa",
		"select string_agg(why, '; ') from gapless.saga_stuck":                                            "a person must act",
		"select string_agg(payload::text, '; ' order by id) from gapless.outbox_readable":                 `{"a": 1}; {"b": 2}`,
		"select count(*)::text from gapless.relay_lag":                                                    "0",
		"select count(*)::text from gapless.outbox_readable where created_at > now() + interval '1 hour'": "0",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), query).Scan(&got); err != nil {
			t.Errorf("%s: %v", query, err)
		} else if got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
}

func TestRelayLag(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	slot := db.Slot(t, "lag")
	var before, after, retained, unconfirmed int64
	var lag float64
	var active bool
	var status string
	row := func(want string) {
		t.Helper()
		err := db.LoginPool(t, pgtest.Readonly).QueryRow(t.Context(), "select active, wal_status, retained_bytes, unconfirmed_bytes, lag_seconds from gapless.relay_lag where slot = $1", slot).
			Scan(&active, &status, &retained, &unconfirmed, &lag)
		if err != nil {
			t.Fatal(err)
		}
		if active || status != want || retained < unconfirmed {
			t.Errorf("active %v, status %s, retained %d, unconfirmed %d", active, status, retained, unconfirmed)
		}
	}
	row("reserved")
	if lag != 0 {
		t.Errorf("lag %v of an empty outbox", lag)
	}
	before = unconfirmed
	// On: else the WAL is written a moment after the commit.
	if _, err := pool.Exec(t.Context(), `
		set local synchronous_commit = on;
		insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) values ('order', 'o', 'A', now() - interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	row("reserved")
	after = unconfirmed
	if after <= before || lag < 3600 {
		t.Errorf("unconfirmed %d, before %d; lag %v", after, before, lag)
	}
	_, err := pool.Exec(t.Context(), `
		insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn, last_commit_at) values ($1, '1', 1, pg_current_wal_lsn(), now()), ('lost', '1', 1, '0/1', now())`, slot)
	if err != nil {
		t.Fatal(err)
	}
	row("reserved")
	if lag != 0 {
		t.Errorf("lag %v with everything relayed", lag)
	}
	var lost string
	if err := pool.QueryRow(t.Context(), "select wal_status from gapless.relay_lag where slot = 'lost'").Scan(&lost); err != nil || lost != "missing" {
		t.Errorf("status %q of a slot that is gone: %v", lost, err)
	}
}

// Every encoding is readable, and no payload makes the view fail.
func TestOutboxReadable(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	for _, c := range []struct {
		name, contentType, payload, want string
	}{
		{"json", "application/json", `{"a":1}`, `{"a": 1}`},
		{"json with parameters", "application/json; charset=utf-8", `[1]`, `[1]`},
		{"cloudevents", "application/cloudevents+json", `{}`, `{}`},
		{"json without a content-type", "", `{"a":1}`, `{"a": 1}`},
		{"text without a content-type", "", `hello`, `{"raw": "hello"}`},
		{"not json after all", "application/json", `{"a":`, `{"raw": "{\"a\":"}`},
		{"json with NUL escape", "application/json", `{"a":"\u0000"}`, `{"raw": "{\"a\":\"\\u0000\"}"}`},
		{"bytes", "application/octet-stream", "\xff\x00", `{"raw_base64": "/wA="}`},
		{"empty", "application/json", "", `{"raw": ""}`},
		{"empty without a content-type", "", "", `{"raw": ""}`},
		{"protobuf of an unknown schema", "application/protobuf", "\x00\x00\x00\x00\x07\x00", `{"error": "the schema is not stored here: run gapless schema register", "schema_id": 7}`},
		{"protobuf that is none", "application/protobuf", "x", `{"error": "not Protobuf in Confluent wire format"}`},
	} {
		var got string
		headers := map[string]string{}
		if c.contentType != "" {
			headers["content-type"] = c.contentType
		}
		err := pool.QueryRow(t.Context(), `
			with new as (insert into gapless.outbox (aggregatetype, aggregateid, type, payload, headers) values ('order', 'o', 'A', $1, $2) returning payload, headers)
			select gapless.payload_json(payload, headers ->> 'content-type')::text from new`, []byte(c.payload), headers).Scan(&got)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, err)
		}
	}
	if _, err := pool.Exec(t.Context(), "select * from gapless.outbox_readable"); err != nil {
		t.Error(err)
	}
	var tombstone *string
	if err := pool.QueryRow(t.Context(), "select gapless.payload_json(null, 'application/json')::text").Scan(&tombstone); err != nil || tombstone != nil {
		t.Errorf("tombstone: %v, %v", tombstone, err)
	}
}
