package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/sql"
)

// Explained is what a row would become.
type Explained struct {
	Record format.Record // as far as it can be made; its Position is empty
	Fault  *format.Fault // for which the row would be parked; nil when it would be sent
}

// RowOf chooses what to explain: a row that is in the table, by its event's id, one that
// is not, as a JSON object by column names, or, when both are empty, the row with the
// highest event id.
type RowOf struct {
	ID   string
	JSON []byte
}

// ErrNoRow says that the table has no row with that id.
var ErrNoRow = errors.New("no such row")

// ErrLeftOut says that the configuration relays no row of the table.
var ErrLeftOut = errors.New("the configuration leaves the table out")

// Explain makes the records of rows of table ("schema.table") as a relay with tables
// (see Config) would, with the columns as they are now. It reads, and sends nothing.
// Several rows come back only where several have the id.
func Explain(ctx context.Context, pool *pgxpool.Pool, tables map[string]format.Format, table string, of RowOf) ([]Explained, error) {
	f := Config{Tables: tables}.formatOf(table)
	if f == nil {
		return nil, fmt.Errorf("explain a row of %s: %w", table, ErrLeftOut)
	}
	if !strings.Contains(table, ".") {
		return nil, fmt.Errorf("explain a row: %q is not schema.table", table)
	}
	s := &store{pool: pool}
	oid, err := s.tableOID(ctx, table)
	if err != nil {
		return nil, err
	}
	if oid == 0 {
		return nil, fmt.Errorf("there is no table %s in this database", table)
	}
	rows, err := s.explainedRows(ctx, table, f, of)
	if err != nil {
		return nil, fmt.Errorf("read row of %s: %w", table, err)
	}
	defer rows.Close()
	rel := relationOf(table, oid, rows.FieldDescriptions())
	var all [][]pgoutput.Column
	for rows.Next() {
		all = append(all, columnsOf(rows.RawValues()))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read row of %s: %w", table, err)
	}
	if len(all) == 0 && of.ID == "" {
		return nil, fmt.Errorf("%s has %w", table, ErrNoRow)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has %w with id %s", table, ErrNoRow, of.ID)
	}
	attributes, err := s.attributes(ctx, table, rel.ID)
	if err != nil {
		return nil, err
	}
	return recordsOf(f, &format.Table{Relation: rel, Attributes: attributes}, all)
}

// ExplainMadeUp makes the record of a made-up row of a table as the format of table (see
// Config.Tables) expects it. It asks no database.
func ExplainMadeUp(tables map[string]format.Format, table string) (Explained, error) {
	d, err := Describe(tables, table)
	if err != nil {
		return Explained{}, err
	}
	schema, name, _ := strings.Cut(table, ".")
	rel, row := format.Row(schema, name, d.Sample)
	list, err := recordsOf(Config{Tables: tables}.formatOf(table), &format.Table{Relation: rel}, [][]pgoutput.Column{row})
	if err != nil {
		return Explained{}, err
	}
	return list[0], nil
}

// Describe says in words what a relay with tables (see Config) makes of the rows of table;
// ErrLeftOut when nothing.
func Describe(tables map[string]format.Format, table string) (format.Description, error) {
	switch f := (Config{Tables: tables}).formatOf(table).(type) {
	case nil:
		return format.Description{}, ErrLeftOut
	case format.Describer:
		return f.Describe(), nil
	default:
		return format.Description{}, fmt.Errorf("%T does not say what it does", f)
	}
}

func recordsOf(f format.Format, t *format.Table, all [][]pgoutput.Column) ([]Explained, error) {
	prepared, err := f.Prepare(t)
	if err != nil {
		return nil, fmt.Errorf("table %s.%s: %w", t.Namespace, t.Name, err)
	}
	list := make([]Explained, len(all))
	for i, columns := range all {
		var buf format.Buffer
		err := prepared.Record(format.Position{}, columns, &buf, &list[i].Record)
		if err != nil && !errors.As(err, &list[i].Fault) {
			return nil, err
		}
	}
	return list, nil
}

func (s *store) explainedRows(ctx context.Context, table string, f format.Format, of RowOf) (pgx.Rows, error) {
	id := "id"
	switch f := f.(type) {
	case eventrouter.Config:
		id = cmp.Or(f.EventID, id)
	case format.DeadLetter:
		id = "dead_letter_id"
	}
	var statement string
	arguments := []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}} // as pgoutput sends them
	switch {
	case of.JSON != nil:
		statement, arguments = sql.RelayExplainJSON, append(arguments, of.JSON)
	case of.ID != "":
		statement, arguments = sql.RelayExplainRow, append(arguments, of.ID)
	default:
		statement = sql.RelayExplainLast
	}
	statement = strings.ReplaceAll(statement, "o.id", "o."+pgx.Identifier{id}.Sanitize())
	return s.pool.Query(ctx, on(statement, table), arguments...)
}

// tableOID is 0 where there is no such table.
func (s *store) tableOID(ctx context.Context, table string) (uint32, error) {
	schema, name, _ := strings.Cut(table, ".")
	var oid *uint32
	if err := s.pool.QueryRow(ctx, sql.RelayTable, pgx.Identifier{schema, name}.Sanitize()).Scan(&oid); err != nil {
		return 0, fmt.Errorf("find table %s: %w", table, err)
	}
	if oid == nil {
		return 0, nil
	}
	return *oid, nil
}

// relationOf describes the rows of a query as the log would describe the table's.
func relationOf(table string, oid uint32, columns []pgconn.FieldDescription) *pgoutput.Relation {
	schema, name, _ := strings.Cut(table, ".")
	rel := &pgoutput.Relation{ID: oid, Namespace: []byte(schema), Name: []byte(name)}
	for _, c := range columns {
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(c.Name), TypeOID: c.DataTypeOID, Modifier: c.TypeModifier})
	}
	return rel
}

func columnsOf(values [][]byte) []pgoutput.Column {
	columns := make([]pgoutput.Column, len(values))
	for i, v := range values {
		columns[i] = pgoutput.Column{Kind: pgoutput.Null}
		if v != nil {
			columns[i] = pgoutput.Column{Kind: pgoutput.Binary, Value: append([]byte(nil), v...)}
		}
	}
	return columns
}
