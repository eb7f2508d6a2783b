package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// verdict is what a judge says.
type verdict struct {
	outcome    Outcome
	found, fix string
}

func well(format string, args ...any) verdict { return verdict{OK, fmt.Sprintf(format, args...), ""} }

func warn(fix, format string, args ...any) verdict {
	return verdict{Warning, fmt.Sprintf(format, args...), fix}
}

func fault(fix, format string, args ...any) verdict {
	return verdict{Fault, fmt.Sprintf(format, args...), fix}
}

// unjudged is a reason for which a check says nothing, and needs no explaining.
type unjudged struct{ reason, fix string }

func (u *unjudged) Error() string { return u.reason }

func unknown(fix, format string, args ...any) (verdict, error) {
	return verdict{}, &unjudged{fmt.Sprintf(format, args...), fix}
}

// Reasons that many checks share.
var (
	errNoPostgres = &unjudged{"Postgres was not reached", ""}
	errNoBrokers  = &unjudged{"--brokers is not set", ""}
	errNoKafka    = &unjudged{"Kafka was not reached", ""}
	errNoSchema   = &unjudged{"this database has no schema of Gapless", "gapless migrate up, unless the relay's state is in Kafka"}
	errNoInbox    = &unjudged{"this database has no inbox", ""}
)

// explain makes one line and a fix of an error.
func (e *exam) explain(area string, err error) (found, fix string) {
	if u, ok := errors.AsType[*unjudged](err); ok {
		return u.reason, u.fix
	}
	remedy := e.cfg.Remedy
	if area == areaKafka || area == areaTopics {
		remedy = e.cfg.BrokerRemedy
	}
	found, ok := pgconnect.Describe(err)
	if !ok {
		found = err.Error()
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		found = fmt.Sprintf("no answer within %s", e.cfg.Timeout)
	}
	return found, remedy(err)
}

// unreached is the verdict on a server that does not answer.
func (e *exam) unreached(area string, err error) verdict {
	found, fix := e.explain(area, err)
	return fault(fix, "%s", found)
}

// memo is a fact that is asked for once, whatever came of it: a server that did not
// answer one check is not waited for by the next. It has one caller at a time.
type memo[T any] struct {
	asked bool
	value T
	err   error
}

func (m *memo[T]) get(ask func() (T, error)) (T, error) {
	if !m.asked {
		m.asked = true
		m.value, m.err = ask()
	}
	return m.value, m.err
}

// exam is one run: what was found out so far. All of it runs on one goroutine.
type exam struct {
	cfg Config

	pool      memo[*pgxpool.Pool]
	serverIs  memo[server]
	holds     memo[installed]
	streams   memo[logins]
	published memo[publication]
	tables    memo[[]publishedTable]
	slots     memo[[]slotRow]
	relays    memo[*relayState]

	kafka    memo[*kafka]
	wanted   memo[[]wantedTopic]
	unread   []string // tables whose rows told nothing, by wanted
	found    memo[topicFacts]
	settings memo[topicSettings]
	state    memo[kafkastate.Shape]
}

func (e *exam) close() {
	if e.pool.value != nil {
		e.pool.value.Close()
	}
	if e.kafka.value != nil {
		e.kafka.value.client.Close()
	}
}

// connect opens the connection. It is one, so that what is asked of a server is asked
// of that server.
func (e *exam) connect(ctx context.Context) (*pgxpool.Pool, error) {
	return e.pool.get(func() (*pgxpool.Pool, error) {
		c, err := pgxpool.ParseConfig(e.cfg.DatabaseURL)
		if err != nil {
			return nil, err
		}
		c.MaxConns, c.MinConns, c.MinIdleConns = 1, 0, 0
		if c.ConnConfig.ConnectTimeout == 0 {
			c.ConnConfig.ConnectTimeout = e.cfg.Timeout
		}
		if c.ConnConfig.RuntimeParams["application_name"] == "" {
			c.ConnConfig.RuntimeParams["application_name"] = "gapless doctor"
		}
		c.ConnConfig.DialFunc = deadpeer.Dial
		if c.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			// A pooler's next server process knows no statement that was prepared.
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
		c.AfterConnect = pgconnect.Close
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), c)
		if err != nil {
			return nil, err
		}
		if err := pool.Ping(ctx); err != nil {
			pool.Close()
			return nil, err
		}
		return pool, nil
	})
}

// postgres is connect for those who only need to know that there is none.
func (e *exam) postgres(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := e.connect(ctx)
	if err != nil {
		return nil, errNoPostgres
	}
	return pool, nil
}

// read runs f in a read-only transaction.
func (e *exam) read(ctx context.Context, f func(pgx.Tx) error) error {
	pool, err := e.postgres(ctx)
	if err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.DoctorBegin, pgx.StrictNamedArgs{"milliseconds": e.cfg.Timeout.Milliseconds()}); err != nil {
			return err
		}
		return f(tx)
	})
}

// rows collects the rows of a statement.
func rows[T any](ctx context.Context, e *exam, statement string, args pgx.StrictNamedArgs) (list []T, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, _ := tx.Query(ctx, statement, args)
		list, err = pgx.CollectRows(found, pgx.RowToStructByName[T])
		return err
	})
	return list, err
}

// row collects the only row of a statement.
func row[T any](ctx context.Context, e *exam, statement string, args pgx.StrictNamedArgs) (one T, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, _ := tx.Query(ctx, statement, args)
		one, err = pgx.CollectExactlyOneRow(found, pgx.RowToStructByName[T])
		return err
	})
	return one, err
}

// values collects the only column of a statement.
func values(ctx context.Context, e *exam, statement string, args pgx.StrictNamedArgs) (list []string, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, _ := tx.Query(ctx, statement, args)
		list, err = pgx.CollectRows(found, pgx.RowTo[string])
		return err
	})
	return list, err
}

// some is a list for a line: its first entries, and how many more.
func some(list []string) string {
	const shown = 4
	text := strings.Join(list[:min(shown, len(list))], ", ")
	if more := len(list) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// literal quotes a value for a statement that a person runs.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoted quotes a name that may be schema-qualified.
func quoted(name string) string {
	if schema, table, ok := strings.Cut(name, "."); ok {
		return pgx.Identifier{schema, table}.Sanitize()
	}
	return pgx.Identifier{name}.Sanitize()
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
