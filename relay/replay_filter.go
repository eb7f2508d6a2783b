package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// filterTime bounds each statement that has a filter.
const filterTime = time.Minute

// check puts the filter into the statement if it is one condition and can be nothing else.
// The server judges it between two kinds of brackets: what closes the one leaves the other
// open. Nothing is executed.
func (t *replayTable) check(ctx context.Context, pool *pgxpool.Pool) error {
	if strings.Contains(t.filter, ";") {
		return fmt.Errorf("%w: the filter has a semicolon", ErrReplayInput)
	}
	inside := "(\n" + t.filter + "\n)"
	body, order := cutLast(t.statement, "\nORDER BY")
	for _, where := range []string{inside, "true = ALL (ARRAY[\n" + t.filter + "\n])"} {
		err := t.reading(ctx, pool, func(tx pgx.Tx) error {
			prepared, err := tx.Prepare(ctx, "", on("SELECT FROM gapless.outbox AS o WHERE ", t.name)+where)
			if err == nil && len(prepared.ParamOIDs) > 0 {
				err = fmt.Errorf("%w: the filter has parameters", ErrReplayInput)
			}
			return err
		})
		if errors.Is(err, ErrReplayInput) {
			return fmt.Errorf("the filter is no condition on a row: %w", err)
		}
		if err != nil {
			return err
		}
	}
	t.checked = true
	t.statement = body + "\n  AND " + inside + "\nORDER BY" + order
	return nil
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	return s[:i], s[i+len(sep):]
}

// leave closes the connection, which then does not go back to the pool.
func (t *replayTable) leave(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = conn.Conn().Close(ctx) // read only: nothing is lost with it
}

// filterFault tells whether a filter is to blame for an error: it raises it, writes, needs
// what is not there, takes too long.
func filterFault(code string) bool {
	switch code {
	case queryCanceled:
		return true
	case "53300", "53400": // too many connections, a limit of the server's
		return false
	}
	for _, class := range []string{"0A", "21", "23", "25", "2F", "38", "39", "54", "P0"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

const queryCanceled = "57014" // by the timeout

func (t *replayTable) late(code string) string {
	if code != queryCanceled {
		return ""
	}
	return fmt.Sprintf(": a statement took longer than %s, choose fewer rows or make an index", t.patience)
}
