package pgconnect

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// Close keeps the names of a session's statements to the server's own schema, but for
// those that say theirs, see session_closed.sql. It fits pgxpool's AfterConnect. Behind a
// pooler, whose sessions are other people's in turn, it changes nothing, nor where the
// connection string names a search_path.
func Close(ctx context.Context, conn *pgx.Conn) error {
	params := conn.Config().RuntimeParams
	if params["search_path"] != "" || strings.Contains(params["options"], "search_path") {
		return nil
	}
	_, err := conn.Exec(ctx, sql.SessionClosed, int64(conn.PgConn().PID()))
	return err
}
