package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/replication"
	"github.com/gapless/gapless/sql"
)

// errFenced says that another relay has taken the slot: this one is a zombie.
var errFenced = errors.New("another relay has taken the slot")

// storeTimeout bounds each statement on the progress connection.
const storeTimeout = 5 * time.Second

// connectTimeout bounds the connecting to each host of the URL, where it names
// no connect_timeout: a host that swallows packets must not hold up the next.
const connectTimeout = 10 * time.Second

// closeTimeout bounds the farewell to a server that may not be there: pgx by itself
// tries for 15 s to tell it that a statement is given up.
const closeTimeout = 500 * time.Millisecond

// store is the server, and the relay's state in it, beside the slot.
type store struct {
	pool              *pgxpool.Pool
	slot, publication string
	hangUp            context.CancelFunc // on the server, whatever the pool is doing
}

func openStore(ctx context.Context, cfg Config) (*store, error) {
	c, err := pgconnect.Parse(cfg.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	c.BeforeConnect = cfg.BeforeConnect
	// The session, its worker, the watch, and removing rows.
	c.MaxConns = int32(3 + cfg.Retention.connections())
	c.MinConns = max(c.MinConns, 1) // made while the stream's own connection is
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	open, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	c.ConnConfig.DialFunc = dialWhile(open)
	c.ConnConfig.RuntimeParams["application_name"] = "gapless relay " + cfg.Slot
	// A row that a policy hides would look like one that was relayed.
	c.ConnConfig.RuntimeParams["row_security"] = "off"
	// A record that a server's crash takes back would be behind the slot.
	c.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	c.AfterConnect = pgconnect.Close
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		hangUp()
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &store{pool: pool, slot: cfg.Slot, publication: cfg.Publication, hangUp: hangUp}, nil
}

// dial opens a connection for replication.
func (s *store) dial(ctx context.Context) (*replication.Conn, error) {
	c := s.pool.Config()
	if err := c.BeforeConnect(ctx, c.ConnConfig); err != nil {
		return nil, err
	}
	return replication.Dial(ctx, &c.ConnConfig.Config)
}

func (s *store) close() {
	defer s.hangUp()
	defer time.AfterFunc(closeTimeout, s.hangUp).Stop()
	s.pool.Close()
}

// dialWhile dials, and closes what it has dialled, as long as open has not ended.
func dialWhile(open context.Context) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(open, cancel)()
		conn, err := deadpeer.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &line{conn, context.AfterFunc(open, func() { conn.Close() })}, nil
	}
}

// line is a connection that is closed from elsewhere, too.
type line struct {
	net.Conn
	forget func() bool
}

func (l *line) Close() error {
	l.forget()
	return l.Conn.Close()
}

// server is what relay_check.sql says.
type server struct {
	WALLevel           string   `db:"wal_level"`
	InRecovery         bool     `db:"in_recovery"`
	Database           string   `db:"database"`
	WALSenderTimeoutMS int64    `db:"wal_sender_timeout_ms"`
	SlotExists         bool     `db:"slot_exists"`
	Plugin             string   `db:"plugin"`
	SlotDatabase       string   `db:"slot_database"`
	Active             bool     `db:"active"`
	ActivePID          int32    `db:"active_pid"`
	WALStatus          string   `db:"wal_status"`
	ConfirmedFlush     *string  `db:"confirmed_flush"`
	Migrated           bool     `db:"migrated"`
	PublicationExists  bool     `db:"publication_exists"`
	PublishesInserts   bool     `db:"publishes_inserts"`
	PublishesAll       bool     `db:"publishes_all"`    // FOR ALL TABLES
	PublishesSchema    bool     `db:"publishes_schema"` // our own, FOR TABLES IN SCHEMA
	HasDeadLetters     bool     `db:"has_dead_letters"`
	PublicationTables  []string `db:"tables"`
	Readable           bool     `db:"readable"` // the login may look into all of them

	signals bool     // the signal table is among them
	events  []string // of them, those that are not left out
}

func (s *store) check(ctx context.Context) (server, error) {
	v, err := collect[server](ctx, s, sql.RelayCheck, s.slot, s.publication)
	if err != nil {
		return v, fmt.Errorf("check server: %w", err)
	}
	return v, nil
}

// control reads what operators want of this slot's relays.
func (s *store) control(ctx context.Context) (wish, error) {
	w, err := collect[wish](ctx, s, sql.RelayControl, s.slot)
	if err != nil {
		return w, fmt.Errorf("read control: %w", err)
	}
	return w, nil
}

// attributes of a table's columns, by name. The formats of our own tables need none.
func (s *store) attributes(ctx context.Context, table string, oid uint32) (map[string]format.Attribute, error) {
	if ourTable(table) {
		return nil, nil
	}
	type attribute struct {
		Name          string   `db:"name"`
		NotNull       bool     `db:"not_null"`
		Default       string   `db:"default_expression"`
		BaseOID       uint32   `db:"base_oid"`
		BaseModifier  int32    `db:"base_modifier"`
		Labels        []string `db:"labels"`
		ElementOID    uint32   `db:"element_oid"`
		ElementLabels []string `db:"element_labels"`
		Textual       bool     `db:"textual"`
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, sql.RelayAttributes, oid)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[attribute])
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	byName := make(map[string]format.Attribute, len(all))
	for _, a := range all {
		byName[a.Name] = format.Attribute{
			NotNull: a.NotNull, Default: a.Default, BaseOID: a.BaseOID, BaseModifier: a.BaseModifier,
			Labels: a.Labels, ElementOID: a.ElementOID, ElementLabels: a.ElementLabels, Textual: a.Textual,
		}
	}
	return byName, nil
}

// progress is the stored record.
type progress struct {
	SystemID      string  `db:"system_id"`
	Timeline      int32   `db:"timeline"`
	Resume        string  `db:"resume"`
	PartialCommit *string `db:"partial_commit"`
	PartialIndex  int64   `db:"partial_index"`
	Incarnation   int64   `db:"incarnation"`
	Proofs        []byte  `db:"proofs"`
	TakeOver      *string `db:"take_over"`
	Messages      bool    `db:"messages"` // are counted in the places of changes

	position core.Position
	proofs   []proof
	takeOver core.LSN // up to where the topics tell what was sent; 0: nowhere
}

func (p *progress) parse() error {
	var err error
	if p.position, err = parsePosition(p.Resume, p.PartialCommit, p.PartialIndex); err != nil {
		return fmt.Errorf("read progress: %w", err)
	}
	if err := json.Unmarshal(p.Proofs, &p.proofs); err != nil {
		return fmt.Errorf("read proofs: %w", err)
	}
	if p.TakeOver != nil {
		if p.takeOver, err = core.ParseLSN(*p.TakeOver); err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
	}
	return nil
}

func parsePosition(resume string, partial *string, index int64) (p core.Position, err error) {
	if p.Resume, err = core.ParseLSN(resume); err != nil || partial == nil {
		return p, err
	}
	p.PartialIndex = index
	p.PartialCommit, err = core.ParseLSN(*partial)
	return p, err
}

func (s *store) load(ctx context.Context) (*progress, error) {
	p, err := collect[progress](ctx, s, sql.RelayProgressLoad, s.slot)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load progress: %w", err)
	}
	return &p, p.parse()
}

func (s *store) create(ctx context.Context, system string, timeline int32, at core.Position, messages bool, takeOver core.LSN) error {
	var until *string
	if takeOver != 0 {
		until = new(takeOver.String())
	}
	if err := s.exec(ctx, sql.RelayProgressCreate, s.slot, system, timeline, at.Resume.String(), partialOf(at), at.PartialIndex, messages, until); err != nil {
		return fmt.Errorf("create progress: %w", err)
	}
	return nil
}

func (s *store) take(ctx context.Context, id, system string, timeline int32) (core.Position, int64, error) {
	type taken struct {
		Resume        string  `db:"resume"`
		PartialCommit *string `db:"partial_commit"`
		PartialIndex  int64   `db:"partial_index"`
		Incarnation   int64   `db:"incarnation"`
	}
	t, err := collect[taken](ctx, s, sql.RelayProgressTake, s.slot, id, system, timeline)
	if err != nil {
		return core.Position{}, 0, fmt.Errorf("take progress: %w", err)
	}
	p, err := parsePosition(t.Resume, t.PartialCommit, t.PartialIndex)
	if err != nil {
		return p, 0, fmt.Errorf("take progress: %w", err)
	}
	return p, t.Incarnation, nil
}

func (s *store) recount(ctx context.Context, incarnation int64, at core.Position, messages bool) (core.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	tag, err := s.pool.Exec(ctx, sql.RelayProgressRecount, s.slot, incarnation, messages, at.Resume.String())
	if err == nil && tag.RowsAffected() == 0 {
		err = errFenced
	}
	if err != nil {
		return at, fmt.Errorf("store what is counted: %w", err)
	}
	return core.Position{Resume: at.Resume}, nil
}

// save is progress to be stored.
type save struct {
	incarnation int64
	position    core.Position
	proofs      []proof
	fingerprint string
	events      int64
	lastCommit  time.Time
}

// partialOf is null where no transaction is half sent.
func partialOf(p core.Position) *string {
	if p.PartialCommit == 0 {
		return nil
	}
	text := p.PartialCommit.String()
	return &text
}

func (s *store) save(ctx context.Context, v save) error {
	var lastCommit *time.Time
	if !v.lastCommit.IsZero() {
		lastCommit = &v.lastCommit
	}
	proofs, err := json.Marshal(append([]proof{}, v.proofs...)) // [] for none, not null
	if err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	tag, err := s.pool.Exec(ctx, sql.RelayProgressStore, s.slot, v.incarnation, v.position.Resume.String(), partialOf(v.position),
		v.position.PartialIndex, proofs, v.fingerprint, v.events, lastCommit)
	if err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("save progress: %w", errFenced)
	}
	return nil
}

// figures are what the server tells about the slot and what stands in its way.
type figures struct {
	slot    slotFigures
	parked  *int64 // nil where it is not known
	holding []holder
}

type slotFigures struct {
	Active           bool   `db:"active"`
	WALStatus        string `db:"wal_status"`
	RetainedBytes    int64  `db:"retained_bytes"`
	SafeBytes        int64  `db:"safe_bytes"`
	UnconfirmedBytes int64  `db:"unconfirmed_bytes"`
}

// holder is a transaction id that holds something back.
type holder struct {
	XID         string  `db:"xid"`
	OpenSeconds float64 `db:"open_seconds"` // 0 where this login may not see it
}

func (s *store) figures(ctx context.Context) (f figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if f.slot, err = collect[slotFigures](ctx, s, sql.RelaySlot, s.slot); err != nil {
		return f, fmt.Errorf("read slot: %w", err)
	}
	rows, err := s.pool.Query(ctx, sql.RelayTransactions)
	if err != nil {
		return f, fmt.Errorf("read transactions: %w", err)
	}
	if f.holding, err = pgx.CollectRows(rows, pgx.RowToStructByName[holder]); err != nil {
		return f, fmt.Errorf("read transactions: %w", err)
	}
	return f, nil
}

func (s *store) exec(ctx context.Context, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := s.pool.Exec(ctx, statement, args...)
	return err
}

// flush brings every commit so far to the server's disk, by a large object that nobody sees.
// A login that may not make one writes a logical message, which other streams of the database
// have. Its transactions may be read-only by default.
func (s *store) flush(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := pgx.BeginTxFunc(bounded, s.pool, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		_, err := tx.Exec(bounded, sql.RelayFlush)
		return err
	})
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		byMessage := s.exec(ctx, sql.RelayFlushMessage)
		if byMessage == nil {
			return nil
		}
		err = fmt.Errorf("%w, and by a message: %w", err, byMessage)
	}
	if err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	return nil
}

// collect runs a query for exactly one row.
func collect[T any](ctx context.Context, s *store, query string, args ...any) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
}

// shuttingDown: the server takes no more statements, but its walsender stays
// until we let go of the stream.
func shuttingDown(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return true
	}
	return false
}

// slotTaken: another walsender has the slot, or is still letting go of it.
func slotTaken(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55006"
}

// permanent errors of a first connection: trying again would not help, and the
// operator is there to read it.
func permanent(err error) bool {
	if pgconnect.Distrusts(err) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "28P01", "28000", // password, pg_hba.conf
		"3D000",          // no such database
		"42501",          // no REPLICATION, or a grant is missing
		"42P01", "3F000": // schema gapless was not migrated
		return true
	}
	return false
}
