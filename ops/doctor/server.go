package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/ops/secure"
	"github.com/gapless/gapless/sql"
)

// server is what doctor_server.sql says.
type server struct {
	VersionNum      int    `db:"version_num"`
	Version         string `db:"version"`
	Database        string `db:"database"`
	Login           string `db:"login"`
	BackendPID      uint32 `db:"backend_pid"`
	InRecovery      bool   `db:"in_recovery"`
	WALLevel        string `db:"wal_level"`
	Slots           int    `db:"slots"`
	SlotsUsed       int    `db:"slots_used"`
	Senders         int    `db:"senders"`
	SendersUsed     int    `db:"senders_used"`
	Connections     int    `db:"connections"`
	ConnectionsUsed int    `db:"connections_used"`
	SenderTimeoutMS int64  `db:"sender_timeout_ms"`
	KeepBytes       int64  `db:"keep_bytes"` // negative: no limit
	IdleTimeoutS    int64  `db:"idle_timeout_s"`
	Fsync           bool   `db:"fsync"`
	FullPageWrites  bool   `db:"full_page_writes"`
	SyncCommit      string `db:"synchronous_commit"`
}

func (e *exam) server(ctx context.Context) (server, error) {
	return e.serverIs.get(func() (server, error) { return row[server](ctx, e, sql.DoctorServer, nil) })
}

func (e *exam) reached(ctx context.Context) (verdict, error) {
	pool, err := e.connect(ctx)
	if err != nil {
		return e.unreached(areaPostgres, err), nil
	}
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	c := pool.Config().ConnConfig
	return well("Postgres %s, database %s, login %s, at %s", s.Version, s.Database, s.Login, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))), nil
}

// knownGood is the first minor release of a major in which logical decoding is not
// known to lose anything:
//
//   - 14.18, 15.13, 16.9, 17.5: ALTER PUBLICATION beside open transactions lost what
//     these wrote to a table that was added.
//   - 14.19, 15.14, 16.10, 17.6: a checkpoint could remove WAL that a slot needs, and the
//     fix above could run out of memory.
//
// Later majors began with both fixes.
var knownGood = map[int]int{14: 19, 15: 14, 16: 10, 17: 6}

func (e *exam) version(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	major, minor := s.VersionNum/10000, s.VersionNum%10000
	switch good, known := knownGood[major]; {
	case major < goose.MinServerVersion:
		return fault(fmt.Sprintf("upgrade to Postgres %d or newer", goose.MinServerVersion), "Postgres %s is older than %d", s.Version, goose.MinServerVersion), nil
	case known && minor < good:
		return warn(fmt.Sprintf("install minor release %d.%d or newer; it needs a restart and nothing else", major, good),
			"logical decoding in Postgres %s can lose rows when a publication is altered, or WAL at a checkpoint", s.Version), nil
	}
	return well("Postgres %s", s.Version), nil
}

func (e *exam) primary(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.InRecovery {
		return fault("name the primary in --database-url", "the server is a standby"), nil
	}
	return well("the server is a primary"), nil
}

// pooler compares the process that the login was told of with the one that answers. A
// pooler makes the first up.
func (e *exam) pooler(ctx context.Context) (verdict, error) {
	pool, err := e.postgres(ctx)
	if err != nil {
		return verdict{}, err
	}
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	var told uint32
	if err := pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { told = c.Conn().PgConn().PID(); return nil }); err != nil {
		return verdict{}, err
	}
	if told != s.BackendPID {
		return warn("give 'gapless relay' and 'gapless migrate' a URL of the server itself; api and consume may keep this one",
			"a pooler is between this program and Postgres: replication and session locks may not work through it"), nil
	}
	return well("connected to the server itself"), nil
}

func (e *exam) postgresTLS(ctx context.Context) (verdict, error) {
	pool, err := e.postgres(ctx)
	if err != nil {
		return verdict{}, err
	}
	var config *tls.Config
	encrypted := false
	c := pool.Config().ConnConfig
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		_, encrypted = conn.Conn().PgConn().Conn().(*tls.Conn)
		config = c.TLSConfig
		return nil
	})
	switch {
	case err != nil:
		return verdict{}, err
	case !secure.Remote(c.Host) && !slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return secure.Remote(f.Host) }):
		return well("%s is this machine", c.Host), nil
	case !encrypted:
		return warn("add sslmode=verify-full to --database-url, and sslrootcert=FILE for an authority of your own",
			"the connection to %s is not encrypted: whoever is in between reads the password and every row", c.Host), nil
	// verify-ca and verify-full look at the certificate themselves.
	case config != nil && config.InsecureSkipVerify && config.VerifyPeerCertificate == nil && config.VerifyConnection == nil:
		return warn("use sslmode=verify-full in --database-url, and sslrootcert=FILE for an authority of your own",
			"the connection to %s is encrypted, but its certificate is not verified", c.Host), nil
	}
	return well("the connection to %s is encrypted and verified", c.Host), nil
}

// Clocks may differ so much before it is worth a word, and before rows and records
// fall out of their days and limits: brokers refuse what is an hour ahead.
const (
	clockWarns = 2 * time.Second
	clockFault = time.Hour
)

func (e *exam) postgresClock(ctx context.Context) (verdict, error) {
	var before, after, there time.Time
	err := e.read(ctx, func(tx pgx.Tx) error {
		before = e.cfg.Now()
		err := tx.QueryRow(ctx, sql.DoctorClock).Scan(&there)
		after = e.cfg.Now()
		return err
	})
	if err != nil {
		return verdict{}, err
	}
	// The server looked somewhere in between.
	return judgeClock("the server's clock", max(there.Sub(after), before.Sub(there), 0), there.After(after)), nil
}

func judgeClock(whose string, by time.Duration, ahead bool) verdict {
	where := "behind"
	if ahead {
		where = "ahead of"
	}
	const fix = "let chrony or systemd-timesyncd set the clocks of all machines"
	switch {
	case by > clockFault:
		return fault(fix, "%s is %s %s this program's", whose, by.Round(time.Second), where)
	case by > clockWarns:
		return warn(fix, "%s is %s %s this program's", whose, by.Round(time.Millisecond), where)
	}
	return well("%s agrees with this program's", whose)
}

func (e *exam) durability(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case !s.Fsync:
		return fault("ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()", "fsync is off: a crash of the machine loses commits that were relayed, or the database"), nil
	case !s.FullPageWrites:
		return warn("ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()", "full_page_writes is off: a crash of the machine can tear pages"), nil
	case s.SyncCommit == "off":
		return warn("ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf()",
			"synchronous_commit is off for this login: a crash loses the last commits that were answered for"), nil
	}
	return well("fsync and full_page_writes are on, synchronous_commit is %s", s.SyncCommit), nil
}

func (e *exam) walLevel(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.WALLevel != "logical" {
		return fault("ALTER SYSTEM SET wal_level = logical, then restart the server", "wal_level is %s", s.WALLevel), nil
	}
	return well("wal_level is logical"), nil
}

func (e *exam) slotsLeft(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	own, err := e.ownSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	if own == nil && s.SlotsUsed >= s.Slots {
		return fault(fmt.Sprintf("drop a slot that nobody reads, or ALTER SYSTEM SET max_replication_slots = %d and restart the server", s.Slots+5),
			"all %d replication slots are taken, and %q is not among them", s.Slots, e.cfg.Slot), nil
	}
	return well("%d of %d replication slots are taken", s.SlotsUsed, s.Slots), nil
}

func (e *exam) sendersLeft(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	own, err := e.ownSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.SendersUsed < s.Senders {
		return well("%d of %d WAL senders are taken", s.SendersUsed, s.Senders), nil
	}
	fix := fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d, then restart the server", s.Senders+5)
	if own != nil && own.Active {
		return warn(fix, "all %d WAL senders are taken: a relay that stands by, or connects again, finds none", s.Senders), nil
	}
	return fault(fix, "all %d WAL senders are taken: the relay finds none", s.Senders), nil
}

func (e *exam) connectionsLeft(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	left := s.Connections - s.ConnectionsUsed
	if left < 5 || left*20 < s.Connections {
		return warn(fmt.Sprintf("lower pool_max_conns of the services, or ALTER SYSTEM SET max_connections = %d and restart the server", 2*s.Connections),
			"%d of %d connections are taken", s.ConnectionsUsed, s.Connections), nil
	}
	return well("%d of %d connections are taken", s.ConnectionsUsed, s.Connections), nil
}

// The relay answers three times within wal_sender_timeout.
const (
	senderTimeoutLow  = 5 * time.Second
	senderTimeoutHigh = 10 * time.Minute
)

func (e *exam) senderTimeout(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	const fix = "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()"
	timeout := time.Duration(s.SenderTimeoutMS) * time.Millisecond
	switch {
	case timeout == 0:
		return warn(fix, "wal_sender_timeout is off: a relay whose machine vanished keeps the slot, and the next one waits for it"), nil
	case timeout < senderTimeoutLow:
		return warn(fix, "wal_sender_timeout is %s: a relay that is slow for a moment is cut off", timeout), nil
	case timeout > senderTimeoutHigh:
		return warn(fix, "wal_sender_timeout is %s: so long may a relay whose machine vanished keep the slot", timeout), nil
	}
	return well("wal_sender_timeout is %s", timeout), nil
}

// keepLow is less WAL than a busy server writes in a short outage.
const keepLow = 1 << 30

func (e *exam) walLimit(ctx context.Context) (verdict, error) {
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	const fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf() (less than the disk has room for, more than the longest outage writes)"
	switch {
	case s.KeepBytes < 0:
		return warn(fix, "max_slot_wal_keep_size has no limit: while a relay is down its slot keeps WAL until the disk is full and the server stops"), nil
	case s.KeepBytes < keepLow:
		return warn(fix, "max_slot_wal_keep_size is %s: a short outage of the relay or of Kafka loses the slot", inspect.Size(s.KeepBytes)), nil
	case s.IdleTimeoutS > 0:
		return warn("ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
			"idle_replication_slot_timeout is %s: a relay that is away for longer loses the slot", time.Duration(s.IdleTimeoutS)*time.Second), nil
	}
	return well("max_slot_wal_keep_size is %s", inspect.Size(s.KeepBytes)), nil
}

// openTransaction is a line of doctor_transactions.sql.
type openTransaction struct {
	PID         int32   `db:"pid"`
	Login       string  `db:"login"`
	Application string  `db:"application"`
	State       string  `db:"state"`
	Hidden      bool    `db:"hidden"`
	Seconds     float64 `db:"seconds"`
	Writes      bool    `db:"writes"`
}

func (e *exam) openTransactions(ctx context.Context) (verdict, error) {
	list, err := rows[openTransaction](ctx, e, sql.DoctorTransactions, pgx.StrictNamedArgs{"seconds": e.cfg.TransactionAge.Seconds()})
	if err != nil {
		return verdict{}, err
	}
	var old []string
	hidden := 0
	for _, t := range list {
		if t.Hidden {
			hidden++
			continue
		}
		what := "keeps dead rows from being removed"
		if t.Writes {
			what = "keeps the slot's WAL from being freed"
		}
		old = append(old, fmt.Sprintf("pid %d (%s, %s) is %s for %s and %s", t.PID, t.Login, t.Application, t.State, seconds(t.Seconds), what))
	}
	switch {
	case len(old) > 0:
		return warn(fmt.Sprintf("SELECT pg_terminate_backend(%d)", list[0].PID), "%s", some(old)), nil
	case hidden > 0:
		s, err := e.server(ctx)
		if err != nil {
			return verdict{}, err
		}
		return unknown("GRANT pg_read_all_stats TO "+quoted(s.Login), "this login may not see for how long %d transactions of others have been open", hidden)
	}
	return well("no transaction is open for longer than %s", e.cfg.TransactionAge), nil
}

// preparedTransaction is a line of doctor_prepared.sql.
type preparedTransaction struct {
	GID      string  `db:"gid"`
	Owner    string  `db:"owner"`
	Database string  `db:"database"`
	Seconds  float64 `db:"seconds"`
}

func (e *exam) preparedTransactions(ctx context.Context) (verdict, error) {
	list, err := rows[preparedTransaction](ctx, e, sql.DoctorPrepared, pgx.StrictNamedArgs{"seconds": e.cfg.TransactionAge.Seconds()})
	if err != nil {
		return verdict{}, err
	}
	if len(list) == 0 {
		return well("none is older than %s", e.cfg.TransactionAge), nil
	}
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = fmt.Sprintf("%s of %s in database %s for %s", literal(t.GID), t.Owner, t.Database, seconds(t.Seconds))
	}
	return warn("COMMIT PREPARED or ROLLBACK PREPARED "+literal(list[0].GID)+", as its coordinator decided",
		"prepared and left open, which keeps the slot's WAL and their locks: %s", some(names)), nil
}
