package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay/replication"
	"github.com/gapless/gapless/sql"
)

// logins is what doctor_logins.sql says.
type logins struct {
	Login      string   `db:"login"`
	Super      bool     `db:"super"`
	Replicates bool     `db:"replicates"`
	Member     bool     `db:"member"` // of gapless_relay
	Holder     string   `db:"holder"` // of the slot, now
	Able       []string `db:"able"`   // members of gapless_relay that may replicate
	Unable     []string `db:"unable"` // and those that may not
}

func (e *exam) logins(ctx context.Context) (logins, error) {
	return e.streams.get(func() (logins, error) {
		return row[logins](ctx, e, sql.DoctorLogins, pgx.StrictNamedArgs{"slot": e.cfg.Slot})
	})
}

// relay is the login that a relay has here: the one that streams now, else this one
// where it could, else one that was made for it. Empty: there is none.
func (l *logins) relay() string {
	switch {
	case l.Holder != "":
		return l.Holder
	case l.Replicates || l.Member:
		return l.Login
	case len(l.Able) > 0:
		return l.Able[0]
	case len(l.Unable) > 0:
		return l.Unable[0]
	}
	return ""
}

const makeRelay = "CREATE ROLE relay LOGIN REPLICATION PASSWORD '…' IN ROLE gapless_relay"

func (e *exam) replicationAttribute(ctx context.Context) (verdict, error) {
	l, err := e.logins(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case l.Holder != "":
		return well("%s streams", l.Holder), nil
	case l.Replicates:
		return well("%s has it", l.Login), nil
	case !l.Member && len(l.Able) > 0:
		return well("%s has it, this login is %s", some(l.Able), l.Login), nil
	}
	name := l.relay()
	if name == "" {
		return unknown(makeRelay, "no login is in gapless_relay")
	}
	return fault("ALTER ROLE "+quoted(name)+" REPLICATION", "%s, which is in gapless_relay, has no REPLICATION: membership does not give it", name), nil
}

// replicationConnection opens what the relay would: it finds out what pg_hba.conf, a
// pooler and the server's limits make of that.
func (e *exam) replicationConnection(ctx context.Context) (verdict, error) {
	l, err := e.logins(ctx)
	if err != nil {
		return verdict{}, err
	}
	if !l.Replicates {
		return unknown("run doctor with the relay's --database-url", "this login has no REPLICATION")
	}
	c, err := pgconn.ParseConfig(e.cfg.DatabaseURL)
	if err != nil {
		return verdict{}, err
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = e.cfg.Timeout
	}
	conn, err := replication.Dial(ctx, c)
	if err == nil {
		_, err = conn.Identify(ctx)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err == nil {
		return well("opened one as %s", l.Login), nil
	}
	found, fix := e.explain(areaPostgres, err)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		found = pg.Message
		switch pg.Code {
		case "28000":
			fix = "add a line for this login and database to pg_hba.conf, SELECT pg_reload_conf()"
		case "53300":
			fix = "ALTER SYSTEM SET max_wal_senders, then restart the server"
		case "08P01":
			fix = "give the relay a URL of the server itself: the pooler in between takes no replication connection"
		}
	}
	return fault(fix, "%s", found), nil
}

func (e *exam) relayRights(ctx context.Context) (verdict, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return verdict{}, err
	}
	l, err := e.logins(ctx)
	if err != nil {
		return verdict{}, err
	}
	name := l.relay()
	if name == "" {
		return unknown(makeRelay, "no login is in gapless_relay")
	}
	missing, err := values(ctx, e, sql.DoctorRights, pgx.StrictNamedArgs{"login": name})
	if err != nil {
		return verdict{}, err
	}
	if len(missing) > 0 {
		fix := "GRANT gapless_relay TO " + quoted(name)
		if slices.Contains(l.Able, name) || slices.Contains(l.Unable, name) { // a member already
			fix = "GRANT " + missing[0] + " TO gapless_relay"
		}
		return fault(fix, "%s may not %s", name, some(missing)), nil
	}
	return well("%s has them", name), nil
}

// messageWriters: a message needs no right on any table.
func (e *exam) messageWriters(ctx context.Context) (verdict, error) {
	if _, err := e.server(ctx); err != nil {
		return verdict{}, err
	}
	if !e.cfg.Messages {
		return well("the relay sends none"), nil
	}
	open, err := values(ctx, e, sql.DoctorEmitters, nil)
	if err != nil {
		return verdict{}, err
	}
	if len(open) > 0 {
		functions := strings.Join(open, ", ")
		return warn("GRANT EXECUTE ON FUNCTION "+functions+" TO the logins that write events, then REVOKE EXECUTE ON FUNCTION "+functions+" FROM PUBLIC",
			"the relay sends logical messages, and every login of this database may emit them"), nil
	}
	return well("PUBLIC may not"), nil
}
