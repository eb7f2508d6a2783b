package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
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

// RowOf chooses what to explain: a row that is in the table, by its event's id, or one
// that is not, as a JSON object by column names.
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
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		return nil, fmt.Errorf("explain a row: %q is not schema.table", table)
	}
	s := &store{pool: pool}
	rel := &pgoutput.Relation{Namespace: []byte(schema), Name: []byte(name)}
	var oid *uint32
	if err := pool.QueryRow(ctx, sql.RelayTable, pgx.Identifier{schema, name}.Sanitize()).Scan(&oid); err != nil {
		return nil, fmt.Errorf("find table %s: %w", table, err)
	}
	if oid == nil {
		return nil, fmt.Errorf("there is no table %s in this database", table)
	}
	rel.ID = *oid
	rows, err := s.explainedRows(ctx, table, f, of)
	if err != nil {
		return nil, fmt.Errorf("read row of %s: %w", table, err)
	}
	defer rows.Close()
	for _, c := range rows.FieldDescriptions() {
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(c.Name), TypeOID: c.DataTypeOID, Modifier: c.TypeModifier})
	}
	var all [][]pgoutput.Column
	for rows.Next() {
		all = append(all, columnsOf(rows.RawValues()))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read row of %s: %w", table, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has %w with id %s", table, ErrNoRow, of.ID)
	}
	attributes, err := s.attributes(ctx, table, rel.ID)
	if err != nil {
		return nil, err
	}
	prepared, err := f.Prepare(&format.Table{Relation: rel, Attributes: attributes})
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table, err)
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
	statement, argument := sql.RelayExplainJSON, any(of.JSON)
	if of.JSON == nil {
		id := "id"
		if router, ok := f.(eventrouter.Config); ok && router.EventID != "" {
			id = router.EventID
		}
		statement = strings.ReplaceAll(sql.RelayExplainRow, "o.id::", "o."+pgx.Identifier{id}.Sanitize()+"::")
		argument = of.ID
	}
	// As pgoutput sends them.
	return s.pool.Query(ctx, on(statement, table), pgx.QueryResultFormats{pgx.BinaryFormatCode}, argument)
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
