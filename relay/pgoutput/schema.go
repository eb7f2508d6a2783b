package pgoutput

import "fmt"

func (c *cursor) relation(r *Relation) {
	r.ID = c.uint32()
	r.Namespace = c.cstring()
	r.Name = c.cstring()
	r.Identity = c.byte()
	r.Columns = r.Columns[:0]
	n := int(c.uint16())
	for range n {
		flags := c.byte()
		if c.err == nil && flags > 1 {
			c.err = fmt.Errorf("column flags %#x: %w", flags, ErrInvalid)
		}
		col := RelationColumn{Key: flags == 1, Name: c.cstring(), TypeOID: c.uint32(), Modifier: int32(c.uint32())}
		if c.err != nil {
			return
		}
		r.Columns = append(r.Columns, col)
	}
}

func (c *cursor) truncate(t *Truncate) {
	n := c.uint32()
	options := c.byte()
	t.Cascade, t.RestartIdentity = options&1 != 0, options&2 != 0
	t.RelationIDs = t.RelationIDs[:0]
	// The count is checked against what is there before anything is grown by it.
	if c.err == nil && uint64(n)*4 != uint64(len(c.rest)) {
		c.err = fmt.Errorf("%d relations in %d bytes: %w", n, len(c.rest), ErrInvalid)
	}
	if c.err != nil {
		return
	}
	for range n {
		t.RelationIDs = append(t.RelationIDs, c.uint32())
	}
}

func (c *cursor) logical(l *Logical) {
	flags := c.byte()
	if c.err == nil && flags > 1 {
		c.err = fmt.Errorf("flags %#x: %w", flags, ErrInvalid)
	}
	l.Transactional = flags == 1
	l.LSN = c.uint64()
	l.Prefix = c.cstring()
	l.Content = c.take(int(int32(c.uint32())))
}
