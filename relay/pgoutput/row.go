package pgoutput

import "fmt"

func (c *cursor) insert(r *Row) {
	r.RelationID = c.uint32()
	r.OldKind, r.Old = 0, r.Old[:0]
	c.expect('N')
	r.New = c.tuple(r.New)
}

func (c *cursor) update(r *Row) {
	r.RelationID = c.uint32()
	r.OldKind, r.Old, r.New = 0, r.Old[:0], r.New[:0]
	marker := c.byte()
	if marker == 'K' || marker == 'O' {
		r.OldKind = marker
		r.Old = c.tuple(r.Old)
		marker = c.byte()
	}
	if c.err == nil && marker != 'N' {
		c.err = fmt.Errorf("tuple marker %q, want 'N': %w", marker, ErrInvalid)
	}
	r.New = c.tuple(r.New)
}

func (c *cursor) delete(r *Row) {
	r.RelationID = c.uint32()
	r.New = r.New[:0]
	r.OldKind = c.byte()
	if c.err == nil && r.OldKind != 'K' && r.OldKind != 'O' {
		c.err = fmt.Errorf("tuple marker %q, want 'K' or 'O': %w", r.OldKind, ErrInvalid)
	}
	r.Old = c.tuple(r.Old)
}

func (c *cursor) tuple(columns []Column) []Column {
	columns = columns[:0]
	n := int(c.uint16())
	for range n {
		col := Column{Kind: ColumnKind(c.byte())}
		if c.err != nil {
			return columns
		}
		switch col.Kind {
		case Null, Unchanged:
		case Text, Binary:
			col.Value = c.take(int(int32(c.uint32())))
		default:
			c.err = fmt.Errorf("column kind %q: %w", byte(col.Kind), ErrInvalid)
		}
		if c.err != nil {
			return columns
		}
		columns = append(columns, col)
	}
	return columns
}
