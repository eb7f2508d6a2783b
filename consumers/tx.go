package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

var errTxOver = errors.New("the inbox transaction is over: a Tx may not be kept after Apply returns")

// errAborted is a COMMIT that was answered with ROLLBACK: a statement had
// failed and its error was not returned.
var errAborted = errors.New("the transaction was aborted by a statement whose error the handler did not return")

// errEnded is a transaction that a handler's own COMMIT or ROLLBACK has ended.
var errEnded = errors.New("the handler ended the inbox transaction itself")

// tx is the Tx of one batch.
type tx struct {
	conn    *pgx.Conn
	writer  *outbox.Writer
	pending *pgx.Batch
	events  []outbox.Event // of all handlers, appended in one statement at the end
	over    bool
}

func newTx(conn *pgx.Conn, w *outbox.Writer) *tx {
	return &tx{conn: conn, writer: w, pending: &pgx.Batch{}}
}

func (t *tx) Queue(query string, args ...any) *pgx.QueuedQuery {
	if t.over {
		panic(errTxOver) // it has no error to return, and must not lose a write
	}
	return t.pending.Queue(query, args...)
}

func (t *tx) Emit(ctx context.Context, cause *Message, events ...outbox.Event) error {
	if t.over {
		return errTxOver
	}
	fromContext := outbox.ContextHeaders(ctx)
	list := make([]outbox.Event, 0, len(events))
	for i, e := range events {
		headers := make(map[string]string, len(e.Headers)+4)
		maps.Copy(headers, fromContext)
		if cause != nil {
			inherit(headers, cause)
		}
		maps.Copy(headers, e.Headers)
		e.Headers = headers
		e, err := t.writer.Encode(e)
		if err != nil {
			if v, ok := errors.AsType[*outbox.ValidationError](err); ok {
				v.Index = i
			}
			return fmt.Errorf("emit: %w", err)
		}
		list = append(list, e)
	}
	t.events = append(t.events, list...)
	return nil
}

// maxInherited bounds a header taken over from a record: W3C allows 512 bytes
// of tracestate, and a foreign producer may send anything.
const maxInherited = 1024

// inherit copies what ties an event to its cause. A value that the outbox could
// not store is left out: a foreign trace header must not stop the event.
func inherit(headers map[string]string, cause *Message) {
	for _, name := range [...]string{outbox.HeaderCorrelationID, outbox.HeaderTraceParent, outbox.HeaderTraceState} {
		v := cause.Header(name)
		if v != "" && len(v) <= maxInherited && utf8.ValidString(v) && strings.IndexByte(v, 0) < 0 {
			headers[name] = v
		}
	}
	headers[outbox.HeaderCausationID] = cause.ID.String()
}

func (t *tx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	if err := t.flush(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, query, args...)
}

func (t *tx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	if err := t.flush(ctx); err != nil {
		return failedRows{err}, err
	}
	return t.conn.Query(ctx, query, args...)
}

func (t *tx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	if err := t.flush(ctx); err != nil {
		return failedRows{err}
	}
	return t.conn.QueryRow(ctx, query, args...)
}

// flush sends what is queued and runs its callbacks, which may queue more.
func (t *tx) flush(ctx context.Context) error {
	if t.over {
		return errTxOver
	}
	for t.pending.Len() > 0 {
		batch := t.pending
		t.pending = &pgx.Batch{}
		if err := t.conn.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("send queued statements: %w", err)
		}
	}
	return nil
}

// commit sends what is queued, the outbox append and COMMIT in one pipeline.
func (t *tx) commit(ctx context.Context) error {
	if hasCallbacks(t.pending) {
		// A callback may queue, emit or refuse; COMMIT must not overtake it.
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	t.over = true
	if t.conn.PgConn().TxStatus() == 'I' {
		return errEnded
	}
	if err := t.writer.Queue(ctx, t.pending, t.events...); err != nil {
		return fmt.Errorf("emit: %w", err)
	}
	var answer string
	t.pending.Queue(sql.InboxCommit).Exec(func(tag pgconn.CommandTag) error {
		answer = tag.String()
		return nil
	})
	if err := t.conn.SendBatch(ctx, t.pending).Close(); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	if answer != "COMMIT" {
		return errAborted
	}
	return nil
}

func hasCallbacks(b *pgx.Batch) bool {
	for _, q := range b.QueuedQueries {
		if q.Fn != nil {
			return true
		}
	}
	return false
}

// failedRows is the result of a query that was never sent.
type failedRows struct{ err error }

func (failedRows) Close()                                       {}
func (r failedRows) Err() error                                 { return r.err }
func (failedRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (failedRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (failedRows) Next() bool                                   { return false }
func (r failedRows) Scan(...any) error                          { return r.err }
func (r failedRows) Values() ([]any, error)                     { return nil, r.err }
func (failedRows) RawValues() [][]byte                          { return nil }
func (failedRows) Conn() *pgx.Conn                              { return nil }
func (failedRows) TypeMap() *pgtype.Map                         { return nil }
