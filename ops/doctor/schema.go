package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/sql"
)

// installed is what doctor_installed.sql says.
type installed struct {
	Outbox           bool `db:"outbox"`
	Inbox            bool `db:"inbox"`
	Shop             bool `db:"shop"`
	VersionsReadable bool `db:"versions_readable"`
}

func (e *exam) installed(ctx context.Context) (installed, error) {
	return e.holds.get(func() (installed, error) { return row[installed](ctx, e, sql.DoctorInstalled, nil) })
}

// needsOutbox is installed for checks that need its tables.
func (e *exam) needsOutbox(ctx context.Context) (installed, error) {
	holds, err := e.installed(ctx)
	if err == nil && !holds.Outbox {
		err = errNoSchema
	}
	return holds, err
}

// needsInbox is the same for the inbox.
func (e *exam) needsInbox(ctx context.Context) error {
	holds, err := e.needsOutbox(ctx)
	if err == nil && !holds.Inbox {
		err = errNoInbox
	}
	return err
}

func (e *exam) migrated(ctx context.Context) (verdict, error) {
	holds, err := e.installed(ctx)
	if err != nil {
		return verdict{}, err
	}
	if !holds.Outbox && e.keepsStateInKafka(ctx) {
		return well("no schema, and none is needed: the relay's state is in topic %s", e.cfg.StateTopic), nil
	}
	if !holds.Outbox {
		return fault("gapless migrate up", "this database has no schema of Gapless"), nil
	}
	components := []string{"outbox"}
	if holds.Inbox {
		components = append(components, "inbox")
	}
	if holds.Shop {
		components = append(components, "shop")
	}
	names := strings.Join(components, ",")
	if !holds.VersionsReadable {
		return well("%s are there; which migrations were applied this login may not read: see the check statements", names), nil
	}
	list, err := goose.List(ctx, goose.Config{DatabaseURL: e.cfg.DatabaseURL, Components: components})
	if err != nil {
		return verdict{}, err
	}
	var missing []string
	for _, m := range list {
		if !m.Applied {
			missing = append(missing, m.Component+"/"+m.Name)
		}
	}
	if len(missing) > 0 {
		return fault("gapless migrate up --component "+names, "not applied: %s", some(missing)), nil
	}
	return well("all %d migrations of core,%s are applied", len(list), names), nil
}

var (
	// unprepared are what Postgres does not prepare.
	unprepared = regexp.MustCompile(`(?is)^\s*(--[^\n]*\n\s*)*(BEGIN|COMMIT|ROLLBACK|SET|LOCK)\b`)
	named      = regexp.MustCompile(`(^|[^@\w])@[a-z_]+`)
)

// statements lets the server parse what the program would run: a table or column that
// is not as this version wants it is found now. It needs no right to a table.
func (e *exam) statements(ctx context.Context) (verdict, error) {
	holds, err := e.needsOutbox(ctx)
	if err != nil {
		return verdict{}, err
	}
	patterns := []string{"outbox_*.sql", "relay_*.sql"}
	if holds.Inbox {
		patterns = append(patterns, "inbox_*.sql")
	}
	pool, err := e.postgres(ctx)
	if err != nil {
		return verdict{}, err
	}
	var broken []string
	parsed := 0
	err = pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		for _, pattern := range patterns {
			names, err := fs.Glob(sql.Files, pattern)
			if err != nil {
				return err
			}
			for _, name := range names {
				misfit, err := parse(ctx, c.Conn(), name)
				if err != nil {
					return fmt.Errorf("parse %s: %w", name, err)
				}
				if misfit != "" {
					broken = append(broken, name+" ("+misfit+")")
				}
				parsed++
			}
		}
		return nil
	})
	if err != nil {
		return verdict{}, err
	}
	if len(broken) > 0 {
		return fault("gapless migrate up, or the version of gapless that this database was made by", "the schema is not this version's: %s", some(broken)), nil
	}
	return well("all %d statements of relay, outbox and inbox fit", parsed), nil
}

// parse returns what the server has against a statement.
func parse(ctx context.Context, c *pgx.Conn, name string) (misfit string, err error) {
	text, err := fs.ReadFile(sql.Files, name)
	if err != nil {
		return "", err
	}
	statement := string(text)
	if unprepared.MatchString(statement) {
		return "", nil
	}
	if named.MatchString(statement) {
		if statement, _, err = (pgx.NamedArgs{}).RewriteQuery(ctx, c, statement, nil); err != nil {
			return "", err
		}
	}
	_, err = c.PgConn().Prepare(ctx, "", statement, nil)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return "", err
	}
	switch pg.Code {
	case "42P01", "42703", "42883", "3F000": // no such table, column, function, schema
		return pg.Message, nil
	}
	return "", err
}

// partitions is what doctor_outbox_partitions.sql and its twin say.
type partitions struct {
	Partitions int      `db:"partitions"`
	Days       *float64 `db:"days"`
}

// daysAhead is half of what relay, api and consume keep.
const daysAhead = 7

func (e *exam) outboxPartitions(ctx context.Context) (verdict, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return verdict{}, err
	}
	p, err := row[partitions](ctx, e, sql.DoctorOutboxPartitions, nil)
	if err != nil {
		return verdict{}, err
	}
	const fix = "SELECT gapless.outbox_partitions_create()"
	switch {
	case p.Partitions == 0:
		return fault(fix, "the outbox has no partition: every insert fails"), nil
	case p.Days == nil:
		return fault("attach a partition to gapless.outbox that runs to MAXVALUE", "the outbox has no partition that runs to MAXVALUE: inserts fail from the end of the last one on"), nil
	case *p.Days <= 0:
		return fault("stop the writers, move the rows of the last partition aside, "+fix+", and put them back",
			"rows fall into the last partition, which can be split only while it is empty"), nil
	case *p.Days < daysAhead:
		return warn(fix, "partitions for %.0f days to come: neither relay nor api has made more", *p.Days), nil
	}
	return well("%d partitions, for %.0f days to come", p.Partitions, *p.Days), nil
}

func (e *exam) inboxPartitions(ctx context.Context) (verdict, error) {
	if err := e.needsInbox(ctx); err != nil {
		return verdict{}, err
	}
	p, err := row[partitions](ctx, e, sql.DoctorInboxPartitions, nil)
	if err != nil {
		return verdict{}, err
	}
	const fix = "SELECT gapless.inbox_partitions_create()"
	switch {
	case p.Days == nil || *p.Days <= 0:
		return warn(fix, "the inbox has no partition for today: every claim falls into the one for all else, which is not cleaned by dropping"), nil
	case *p.Days < daysAhead:
		return warn(fix, "partitions for %.0f days to come: consume has not made more", *p.Days), nil
	}
	return well("%d partitions, for %.0f days to come", p.Partitions, *p.Days), nil
}
