package consumers_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/sql"
)

// Every statement of the inbox, prepared with the rights of a consumer.
func TestStatementsPrepare(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	conn, err := pgx.Connect(t.Context(), d.LoginURL(t, pgtest.Consumer))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for name, statement := range map[string]string{
		"begin": sql.InboxBegin, "claim": sql.InboxClaim, "blocked": sql.InboxBlocked, "blocked_peek": sql.InboxBlockedPeek,
		"wait": sql.InboxWait, "commit": sql.InboxCommit, "rollback": sql.InboxRollback, "seen": sql.InboxSeen, "park": sql.InboxPark,
		"attempt_record": sql.InboxAttemptRecord, "attempt_peek": sql.InboxAttemptPeek, "attempt_clear": sql.InboxAttemptClear, "assign": sql.InboxAssign,
		"unassign": sql.InboxUnassign, "partitions_create": sql.InboxPartitionsCreate, "standing": sql.InboxStanding,
		"ground": sql.InboxGround, "offset_load": sql.InboxOffsetLoad, "offset_save": sql.InboxOffsetSave,
	} {
		if _, err := conn.Prepare(t.Context(), name, statement); err != nil {
			t.Errorf("prepare %s: %v", name, err)
		}
	}
}

// The lookups of the hot path go by their index, also when tables are large.
func TestHotStatementsUseTheirIndex(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	conn, err := pgx.Connect(t.Context(), d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `
		INSERT INTO gapless.inbox (consumer, event_id, topic, partition, "offset")
		SELECT 'effects', gapless.uuid7(now() - n * interval '10 s'), 't', 0, n FROM generate_series(1, 20000) AS n;
		WITH letter AS (
			INSERT INTO gapless.dead_letter (consumer, event_id, topic, partition, "offset", record_timestamp, key, reason, attempts, first_failed_at, last_failed_at)
			SELECT 'effects', gen_random_uuid(), 't', 0, n, now(), n::text::bytea, 'test', 1, now(), now() FROM generate_series(1, 5000) AS n
			RETURNING dead_letter_id, topic, key
		)
		INSERT INTO gapless.key_block (consumer, topic, key, dead_letter_id) SELECT 'effects', topic, key, dead_letter_id FROM letter;
		ANALYZE gapless.inbox; ANALYZE gapless.key_block`)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string // two of yesterday noon, whose partition is full
	if err := conn.QueryRow(t.Context(), `SELECT array_agg(event_id::text ORDER BY event_id) FROM gapless.inbox
		WHERE "offset" - (extract(epoch FROM now())::bigint % 86400) / 10 IN (4320, 4321)`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		statement, index, never string
		args                    []any
	}{
		{sql.InboxSeen, "inbox_p", "Seq Scan", []any{"effects", 1, ids, ids[0], ids[1]}},
		// Other partitions than those of the ids are not looked into.
		{sql.InboxSeen, "inbox_p", "inbox_other", []any{"effects", 1, ids, ids[0], ids[1]}},
		{sql.InboxBlocked, "key_block_pkey", "Seq Scan on key_block", []any{"effects", 1, []string{"t", "t"}, [][]byte{[]byte("17"), []byte("x")}}},
	} {
		rows, err := conn.Query(t.Context(), "EXPLAIN "+c.statement, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if plan := strings.Join(lines, "\n"); !strings.Contains(plan, c.index) || strings.Contains(plan, c.never) {
			t.Errorf("plan without its index %s:\n%s", c.index, plan)
		}
	}
}
