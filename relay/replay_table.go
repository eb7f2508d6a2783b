package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// replayTable is a table as a replay reads it.
type replayTable struct {
	name      string
	oid       uint32
	format    format.Format
	native    bool
	timed     bool   // its order is a time
	orderBy   string // how a request names that
	since     string // id of a transaction since which rows are relayed for certain; empty where nothing tells
	filter    string
	patience  time.Duration // with a statement, where there is a filter
	checked   bool          // the filter is
	statement string        // for a page
}

// replayColumns are the columns that a request asks for, in the words of gapless.outbox.
type replayColumns struct{ id, aggregateType, aggregateID, eventType, order string }

func replayColumnsOf(f format.Format, q ReplayRequest) replayColumns {
	c := replayColumns{"id", "aggregatetype", "aggregateid", "type", cmp.Or(q.OrderBy, "created_at")}
	if router, ok := f.(eventrouter.Config); ok {
		c.id, c.aggregateType, c.aggregateID = cmp.Or(router.EventID, c.id), cmp.Or(router.RouteBy, c.aggregateType), cmp.Or(router.EventKey, c.aggregateID)
	}
	return c
}

// open looks the table up, and refuses a request that it cannot answer.
func (r *Replayer) open(ctx context.Context, q ReplayRequest) (*replayTable, error) {
	refuse := func(text string, args ...any) error {
		return fmt.Errorf("%w: "+text, append([]any{ErrReplayInput}, args...)...)
	}
	f := Config{Tables: r.cfg.Tables}.formatOf(q.Table)
	t := &replayTable{name: q.Table, format: f, native: ourTable(q.Table), orderBy: "--order-by"}
	if r.signalled {
		t.orderBy = "surrogate-key"
	}
	switch f.(type) {
	case format.Native, eventrouter.Config:
	case nil:
		return nil, refuse("the configuration leaves table %s out", q.Table)
	default:
		return nil, refuse("table %s is not an outbox: dead letters are sent again by 'gapless dead redrive'", q.Table)
	}
	if !strings.Contains(q.Table, ".") {
		return nil, refuse("table %q is not schema.table", q.Table)
	}
	var err error
	if t.oid, err = r.store.tableOID(ctx, q.Table); err != nil {
		return nil, err
	}
	if t.oid == 0 {
		return nil, refuse("there is no table %s in this database", q.Table)
	}
	// Its rows are the table's: their format, and what waits for redrive, goes by that.
	if root, err := r.store.root(ctx, t.oid); err != nil {
		return nil, err
	} else if root != "" {
		return nil, refuse("table %s is a partition: name its table, %s", q.Table, root)
	}
	types, err := r.types(ctx, t.oid)
	if err != nil {
		return nil, err
	}
	c := replayColumnsOf(f, q)
	for _, asked := range []struct {
		column string
		needed bool
		why    string
	}{
		{c.order, true, "its order is needed: name one with " + t.orderBy},
		{c.id, len(q.IDs) > 0, "--id asks for it"},
		{c.aggregateType, q.AggregateType != "", "--aggregate asks for it"},
		{c.aggregateID, q.AggregateID != "", "--aggregate asks for it"},
		{c.eventType, len(q.Types) > 0, "--type asks for it"},
	} {
		if asked.needed && types[asked.column] == "" {
			return nil, refuse("table %s has no column %s: %s", q.Table, asked.column, asked.why)
		}
	}
	orderType := types[c.order]
	t.timed = orderType == "timestamp with time zone" || orderType == "timestamp without time zone"
	if !t.timed && (q.From != nil || q.To != nil) {
		return nil, refuse("column %s of %s is no time: --from and --to need one, see --order-by", c.order, q.Table)
	}
	if !t.native {
		var since *string
		if err := r.store.pool.QueryRow(ctx, sql.RelayReplaySince, r.cfg.Slot, t.name, t.oid).Scan(&since); err != nil {
			return nil, fmt.Errorf("read since when %s is relayed: %w", t.name, err)
		}
		if since != nil {
			t.since = *since
		}
	}
	t.statement = t.rows(types, c)
	if q.Filter == "" {
		return t, nil
	}
	t.filter, t.patience = q.Filter, r.patience
	return t, t.check(ctx, r.store.pool)
}

func (r *Replayer) types(ctx context.Context, oid uint32) (map[string]string, error) {
	rows, err := r.store.pool.Query(ctx, sql.RelayReplayColumns, oid)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	types := map[string]string{}
	var name, typ string
	_, err = pgx.ForEachRow(rows, []any{&name, &typ}, func() error {
		types[name] = typ
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	return types, nil
}

// rows puts the table's own names and types into the statement.
func (t *replayTable) rows(types map[string]string, c replayColumns) string {
	if t.native {
		return sql.RelayReplayRows
	}
	own := func(column string) string { return "o." + pgx.Identifier{column}.Sanitize() }
	var pairs []string
	for _, p := range []struct{ ours, typ, column string }{
		{"id", "uuid", c.id}, {"aggregatetype", "text", c.aggregateType}, {"aggregateid", "text", c.aggregateID}, {"type", "text", c.eventType},
	} {
		for _, number := range []string{"$4", "$5", "$6", "$7"} {
			from := fmt.Sprintf("o.%s = ANY (%s::text[]::%s[])", p.ours, number, p.typ)
			to := "false" // it has no such column, and nobody asks for it
			if typ := types[p.column]; typ != "" {
				to = fmt.Sprintf("%s = ANY (%s::text[]::%s[])", own(p.column), number, typ)
			}
			pairs = append(pairs, from, to)
		}
	}
	pairs = append(pairs, "o.created_at AS gapless_at", own(c.order)+" AS gapless_at", "$8::text::timestamptz", "$8::text::"+types[c.order])
	for _, number := range []string{"$2", "$3"} {
		for _, operator := range []string{" >= ", " < "} {
			from := "o.created_at" + operator + number + "::timestamptz"
			to := "false" // no window is asked for
			if t.timed {
				to = own(c.order) + operator + number + "::timestamptz"
			}
			pairs = append(pairs, from, to)
		}
	}
	if t.since != "" {
		pairs = append(pairs, "BETWEEN -4294967296 AND", "BETWEEN "+t.since+" AND")
	}
	return on(strings.NewReplacer(pairs...).Replace(sql.RelayReplayRowsForeign), t.name)
}

// arguments of the statement, but for the place and the limit.
func (q *ReplayRequest) arguments(snapshot string, from, to *time.Time) []any {
	optional := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	return []any{snapshot, from, to, q.IDs, optional(q.AggregateType), optional(q.AggregateID), q.Types}
}

// count fills the plan's figures.
func (t *replayTable) count(ctx context.Context, pool *pgxpool.Pool, p *ReplayPlan) error {
	_, from, _ := strings.Cut(t.statement, "\nFROM ")
	from, _ = cutLast(from, "\nORDER BY")
	figures := "count(*), NULL::timestamptz, NULL::timestamptz"
	if t.timed { // an infinite time is in no stretch of time, and one that Go cannot read is none
		const there = " FILTER (WHERE x.gapless_at >= '0001-01-02' AND x.gapless_at < '9999-12-30')"
		figures = "count(*)" + there + ", min(x.gapless_at)" + there + "::timestamptz, max(x.gapless_at)" + there + "::timestamptz"
	}
	var unordered int64
	args := append(p.Request.arguments(p.snapshot, p.Request.From, p.Request.To), nil, nil, nil)
	err := t.reading(ctx, pool, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT "+figures+", count(*) FILTER (WHERE x.gapless_at IS NULL) FROM "+from, args...).Scan(&p.Rows, &p.First, &p.Last, &unordered)
	})
	switch {
	case err != nil:
		return err
	case unordered > 0:
		return fmt.Errorf("%w: %d rows have no value in the column that gives the order: name another with %s", ErrReplayInput, unordered, t.orderBy)
	}
	return nil
}

// reading runs f in a transaction of the table's. A value that the table cannot have is told from a
// failure, and so is a filter that cannot be used. What is read through a filter has a
// connection for itself: functions in it may leave something behind.
func (t *replayTable) reading(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("read rows of %s: %w", t.name, err)
	}
	defer conn.Release()
	var limit *string
	if t.filter != "" {
		defer t.leave(ctx, conn)
		limit = new(strconv.FormatInt(t.patience.Milliseconds(), 10))
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.RelayReplaySettings, limit); err != nil {
			return err
		}
		return f(tx)
	})
	if err == nil || errors.Is(err, ErrReplayInput) {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "42") || t.filter != "" && filterFault(pg.Code)) {
		if t.checked && !strings.HasPrefix(pg.Code, "42") {
			// The server's words may cite what is in a row.
			return fmt.Errorf("%w: table %s: the filter fails with SQLSTATE %s%s", ErrReplayInput, t.name, pg.Code, t.late(pg.Code))
		}
		return fmt.Errorf("%w: table %s: %w", ErrReplayInput, t.name, err)
	}
	return fmt.Errorf("read rows of %s: %w", t.name, err)
}

// textTime is how Postgres prints a time in UTC, and a time without a zone.
const textTime = "2006-01-02 15:04:05.999999Z07"

// replayRow is a row and what became of it.
type replayRow struct {
	record format.Record
	buf    format.Buffer
	held   bool
	sent   bool
	fault  *format.Fault
}

func (r *replayRow) settled() bool { return r.sent || r.held || r.fault != nil }

type replayPage struct {
	rows  []replayRow
	place []string // of the last row; nil where there is none
	at    time.Time
	full  bool // there may be more where it came from
	fault *format.Fault
}

func (g *replayPage) tally() (sent, held, failed int64) {
	for i := range g.rows {
		switch r := &g.rows[i]; {
		case r.fault != nil:
			failed++
			g.fault = r.fault
		case r.held:
			held++
		default:
			sent++
		}
	}
	return sent, held, failed
}

// read makes the records of the next page.
func (p *replay) read(ctx context.Context) (*replayPage, error) {
	limit := pageRows
	if p.request.Rate > 0 {
		limit = min(limit, max(1, p.request.Rate)) // about a second's
	}
	var from, to *time.Time
	if p.window.timed {
		from, to = &p.window.from, &p.window.to
	}
	args := p.request.arguments(p.snapshot, from, to)
	if p.place == nil {
		args = append(args, nil, nil, nil)
	} else {
		args = append(args, p.place[0], p.place[1], p.place[2])
	}
	args = append(args, limit)
	page := &replayPage{}
	err := p.table.reading(ctx, p.store.pool, func(tx pgx.Tx) error {
		if err := p.sameHistory(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, p.table.statement, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		return p.records(ctx, page, rows, limit)
	})
	if err != nil {
		return nil, err
	}
	return page, p.hold(ctx, page)
}

// placeColumns are the last ones of the statement.
const placeColumns = 3

func (p *replay) records(ctx context.Context, page *replayPage, rows pgx.Rows, limit int) error {
	columns := rows.FieldDescriptions()
	if len(columns) < placeColumns { // it failed before the server described anything
		rows.Close()
		return cmp.Or(rows.Err(), errors.New("columns are not described"))
	}
	columns = columns[:len(columns)-placeColumns]
	attributes, err := p.store.attributes(ctx, p.table.name, p.table.oid)
	if err != nil {
		return err
	}
	prepared, err := p.table.format.Prepare(&format.Table{Relation: relationOf(p.table.name, p.table.oid, columns), Attributes: attributes})
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrReplayInput, p.table.name, err)
	}
	page.rows = make([]replayRow, 0, limit)
	size := 0
	for rows.Next() {
		values := rows.RawValues()
		page.place = nil
		for _, v := range values[len(columns):] {
			page.place = append(page.place, string(v))
		}
		at := time.Now()
		if p.window.timed {
			if at, err = time.Parse(textTime, page.place[0]+zone(page.place[0])); err != nil {
				return fmt.Errorf("read the order of a row: %w", err)
			}
			page.at = at
		}
		page.rows = append(page.rows, replayRow{})
		row := &page.rows[len(page.rows)-1]
		err := prepared.Record(format.Position{CommitTime: format.Micros(at)}, columnsOf(values[:len(columns)]), &row.buf, &row.record)
		if err != nil && !errors.As(err, &row.fault) {
			return err
		}
		p.address(row)
		if size += row.record.Size(); size > pageBytes {
			page.full = true
			return nil
		}
	}
	page.full = len(page.rows) == limit
	return rows.Err()
}

// zone is what a time without one lacks.
func zone(text string) string {
	if strings.ContainsAny(text[len("2006-01-02"):], "+Z") {
		return ""
	}
	return "+00"
}

// address puts the replay's marks on the record, and its topic.
func (p *replay) address(row *replayRow) {
	r := &row.record
	if p.request.Topic != "" {
		r.Topic, r.Partition = p.request.Topic, -1
	}
	if !p.table.native && !p.request.Mark {
		return
	}
	r.Headers = slices.DeleteFunc(r.Headers, func(h format.Header) bool {
		return p.table.native && h.Key == "gapless_position" || h.Key == "gapless_replay"
	})
	mark := format.Header{Key: "gapless_replay", Value: []byte(p.id.String())}
	at := len(r.Headers)
	if p.table.native { // sorted
		at, _ = slices.BinarySearchFunc(r.Headers, mark.Key, func(h format.Header, name string) int { return strings.Compare(h.Key, name) })
	}
	r.Headers = slices.Insert(r.Headers, at, mark)
}

// hold leaves out what waits for redrive.
func (p *replay) hold(ctx context.Context, page *replayPage) error {
	keys := make([]string, 0, len(page.rows))
	for i := range page.rows {
		if key := rowKey(page.rows[i].record.Key); key != nil {
			keys = append(keys, *key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	rows, err := p.store.pool.Query(ctx, sql.RelayReplayParked, p.cfg.Slot, p.table.name, slices.Compact(keys))
	if err != nil {
		return fmt.Errorf("look for parked rows: %w", err)
	}
	blocked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for parked rows: %w", err)
	}
	for i := range page.rows {
		row := &page.rows[i]
		if key := rowKey(row.record.Key); key != nil && slices.Contains(blocked, *key) {
			row.held, row.fault = true, nil
		}
	}
	return nil
}
