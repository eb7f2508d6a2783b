package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/internal/pgtest"
)

// database is a migrated database with a table of effects, and a pool of a
// least-privilege consumer login.
type database struct {
	*pgtest.DB
	admin, pool *pgxpool.Pool
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{DB: pgtest.NewDB(t)}
	d.admin = d.DB.Pool(t)
	_, err := d.admin.Exec(t.Context(), `
		CREATE TABLE effect (event_id uuid NOT NULL, key text, value bytea, n bigserial);
		GRANT SELECT, INSERT, UPDATE ON effect TO gapless_consumer;
		GRANT USAGE ON SEQUENCE effect_n_seq TO gapless_consumer`)
	if err != nil {
		t.Fatalf("create table of effects: %v", err)
	}
	d.pool = d.LoginPool(t, pgtest.Consumer)
	return d
}

func (d *database) int(t *testing.T, query string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := d.admin.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("query: %v", err)
	}
	return n
}

func (d *database) text(t *testing.T, query string, args ...any) string {
	t.Helper()
	var s *string
	if err := d.admin.QueryRow(t.Context(), query, args...).Scan(&s); err != nil {
		t.Fatalf("query: %v", err)
	}
	if s == nil {
		return ""
	}
	return *s
}

// effects returns the keys of the effects in the order in which they came.
func (d *database) effects(t *testing.T) string {
	t.Helper()
	return d.text(t, "SELECT coalesce(string_agg(key, ' ' ORDER BY n), '') FROM effect")
}

func applyEffect(_ context.Context, tx consumers.Tx, d consumers.Delivery) error {
	if v := string(d.Value); strings.HasPrefix(v, "poison") {
		return consumers.Poison("undecodable", errors.New("the value is poison"))
	}
	tx.Queue("INSERT INTO effect (event_id, key, value) VALUES ($1, $2, $3)", d.ID, string(d.Key), d.Value)
	return nil
}

func effectConsumer() consumers.Consumer {
	return consumers.Consumer{Name: "effects", Topics: []string{topic}, Apply: applyEffect}
}

func newInbox(t *testing.T, c consumers.Config, consumer consumers.Consumer) *consumers.Inbox {
	t.Helper()
	c.RetryBackoff = max(c.RetryBackoff, time.Millisecond)
	in, err := consumers.NewInbox(c, consumer)
	if err != nil {
		t.Fatalf("make inbox: %v", err)
	}
	t.Cleanup(in.Close)
	return in
}

func newID(t testing.TB) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// messages returns n messages from offset 0, ten keys in turn.
func messages(t testing.TB, n int) []*consumers.Message {
	t.Helper()
	list := make([]*consumers.Message, n)
	for i := range list {
		list[i] = message(t, i, fmt.Sprintf("k%d", i%10), "good")
	}
	return list
}

func message(t testing.TB, offset int, key, value string) *consumers.Message {
	t.Helper()
	return &consumers.Message{
		ID: newID(t), Type: "OrderPlaced", Topic: topic, Offset: int64(offset), Key: []byte(key), Value: []byte(value),
		Timestamp: time.Now().UTC().Truncate(time.Millisecond),
	}
}

func process(t *testing.T, in *consumers.Inbox, list ...*consumers.Message) []consumers.Outcome {
	t.Helper()
	outcomes, err := in.Process(t.Context(), list...)
	if err != nil {
		t.Fatalf("process: %v", err)
	}
	return outcomes
}
