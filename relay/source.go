package relay

import (
	"encoding/json"
	"fmt"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// source is a row as the log had it, kept with a parked row of which no whole
// record could be made: once the table or the options are mended, one can. Where a
// record was made, that one is sent, byte for byte.
type source struct {
	OID       uint32         `json:"oid,omitempty"` // of the table
	Namespace string         `json:"namespace,omitempty"`
	Name      string         `json:"name,omitempty"`
	Columns   []sourceColumn `json:"columns,omitempty"`
	Message   []byte         `json:"message,omitempty"` // of a logical message
	TooLarge  bool           `json:"too_large,omitempty"`
}

type sourceColumn struct {
	Name     string `json:"name"`
	TypeOID  uint32 `json:"type_oid"`
	Modifier int32  `json:"modifier"`
	Kind     string `json:"kind"` // as pgoutput has it: n, u, t, b
	Value    []byte `json:"value"`
}

// maxKept bounds the bytes that are kept of a parked row, so that it can be parked at all.
// A larger one can only be discarded, or written again.
const maxKept = 32 << 20

// origin is what a record was made of.
type origin struct {
	table   *table
	row     []pgoutput.Column
	message []byte
}

// tooLarge is the source of a row that is not kept.
func tooLarge() ([]byte, error) { return json.Marshal(source{TooLarge: true}) }

func notKept() *format.Fault {
	return &format.Fault{Reason: format.TooLarge, Detail: "the row was too large to be kept: write it again, and discard this one"}
}

func (o origin) source() ([]byte, error) {
	if o.message != nil {
		if len(o.message) > maxKept {
			return tooLarge()
		}
		return json.Marshal(source{Message: o.message})
	}
	rel := &o.table.relation
	s := source{OID: rel.ID, Namespace: string(rel.Namespace), Name: string(rel.Name)}
	size := 0
	for i := range min(len(rel.Columns), len(o.row)) {
		c, v := &rel.Columns[i], o.row[i]
		s.Columns = append(s.Columns, sourceColumn{string(c.Name), c.TypeOID, c.Modifier, string(rune(v.Kind)), v.Value})
		size += len(v.Value)
	}
	if size > maxKept {
		return tooLarge()
	}
	return json.Marshal(s)
}

// parsed gives back the description of the columns and their values.
func (s *source) parsed() (*pgoutput.Relation, []pgoutput.Column, error) {
	rel := &pgoutput.Relation{ID: s.OID, Namespace: []byte(s.Namespace), Name: []byte(s.Name)}
	row := make([]pgoutput.Column, 0, len(s.Columns))
	for _, c := range s.Columns {
		if len(c.Kind) != 1 {
			return nil, nil, fmt.Errorf("column %s is of kind %q", c.Name, c.Kind)
		}
		rel.Columns = append(rel.Columns, pgoutput.RelationColumn{Name: []byte(c.Name), TypeOID: c.TypeOID, Modifier: c.Modifier})
		row = append(row, pgoutput.Column{Kind: pgoutput.ColumnKind(c.Kind[0]), Value: c.Value})
	}
	return rel, row, nil
}

// remake fills r from the row's source, by the format that its table has now.
func (s *session) remake(row *parkedRow, r *format.Record) error {
	var buf format.Buffer
	if row.source.TooLarge {
		return notKept()
	}
	if row.source.Message != nil {
		return s.remakeMessage(row, &buf, r)
	}
	rel, columns, err := row.source.parsed()
	if err != nil {
		return &format.Fault{Reason: format.Unconvertible, Detail: "source: " + err.Error()}
	}
	f := s.r.cfg.formatOf(row.Relation)
	if f == nil {
		return &format.Fault{Reason: format.Unconvertible, Detail: "the configuration leaves table " + row.Relation + " out"}
	}
	rows, err := f.Prepare(&format.Table{Relation: rel, Attributes: row.attributes})
	if err != nil {
		return &format.Fault{Reason: format.MissingColumn, Detail: err.Error()}
	}
	return rows.Record(row.place(), columns, &buf, r)
}
