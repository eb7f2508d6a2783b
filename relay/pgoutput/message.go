package pgoutput

import (
	"bytes"
	"slices"
)

// Kind is the first byte of a message.
type Kind byte

// The messages of protocol version 1.
const (
	KindBegin    Kind = 'B'
	KindCommit   Kind = 'C'
	KindOrigin   Kind = 'O'
	KindRelation Kind = 'R'
	KindType     Kind = 'Y'
	KindInsert   Kind = 'I'
	KindUpdate   Kind = 'U'
	KindDelete   Kind = 'D'
	KindTruncate Kind = 'T'
	KindMessage  Kind = 'M'
)

func (k Kind) String() string {
	switch k {
	case KindBegin:
		return "begin"
	case KindCommit:
		return "commit"
	case KindOrigin:
		return "origin"
	case KindRelation:
		return "relation"
	case KindType:
		return "type"
	case KindInsert:
		return "insert"
	case KindUpdate:
		return "update"
	case KindDelete:
		return "delete"
	case KindTruncate:
		return "truncate"
	case KindMessage:
		return "message"
	}
	return "unknown"
}

// IsChange tells whether the message is one of those a transaction is made of.
// Origin, Relation and Type describe changes; they are sent again at the
// server's choice after a reconnect, so a position must not count them.
func (k Kind) IsChange() bool {
	switch k {
	case KindInsert, KindUpdate, KindDelete, KindTruncate, KindMessage:
		return true
	}
	return false
}

// Message holds one decoded message. Only the field that belongs to Kind is
// valid; reuse the same Message for every call, its slices keep their
// capacity.
type Message struct {
	Kind     Kind
	Begin    Begin
	Commit   Commit
	Origin   Origin
	Relation Relation
	Type     Type
	Row      Row // Insert, Update, Delete
	Truncate Truncate
	Logical  Logical
}

// Begin opens a transaction. Times are microseconds since 2000-01-01 UTC.
type Begin struct {
	CommitLSN  uint64 // the LSN of the commit record, known before any row
	CommitTime int64
	XID        uint32
}

// Commit closes a transaction.
type Commit struct {
	CommitLSN  uint64
	EndLSN     uint64 // first byte after the commit record
	CommitTime int64
}

// Origin names the replication origin a transaction came from.
type Origin struct {
	CommitLSN uint64
	Name      []byte
}

// Relation describes a table as the following rows have it. The newest one
// with an id counts; the server sends it again after every DDL.
type Relation struct {
	ID        uint32
	Namespace []byte // empty for pg_catalog
	Name      []byte
	Identity  byte
	Columns   []RelationColumn
}

// Clone returns a copy that does not share the message's memory.
func (r *Relation) Clone() Relation {
	c := *r
	c.Namespace, c.Name = bytes.Clone(r.Namespace), bytes.Clone(r.Name)
	c.Columns = slices.Clone(r.Columns)
	for i := range c.Columns {
		c.Columns[i].Name = bytes.Clone(c.Columns[i].Name)
	}
	return c
}

// RelationColumn is one column of a Relation.
type RelationColumn struct {
	Key      bool // part of the replica identity
	Name     []byte
	TypeOID  uint32
	Modifier int32
}

// Type names a type that is not built in.
type Type struct {
	OID       uint32
	Namespace []byte
	Name      []byte
}

// Row is an Insert, Update or Delete. OldKind is 0 when no old tuple was
// sent, 'K' when Old holds the replica identity only, 'O' when it is whole.
type Row struct {
	RelationID uint32
	OldKind    byte
	Old        []Column
	New        []Column // empty for a Delete
}

// Truncate lists the truncated relations.
type Truncate struct {
	Cascade, RestartIdentity bool
	RelationIDs              []uint32
}

// Logical is a message written with pg_logical_emit_message.
type Logical struct {
	Transactional bool
	LSN           uint64
	Prefix        []byte
	Content       []byte
}

// ColumnKind tells how a value was sent.
type ColumnKind byte

// The kinds of a column value.
const (
	Null      ColumnKind = 'n'
	Unchanged ColumnKind = 'u' // TOASTed and not changed by an UPDATE: the value was not sent
	Text      ColumnKind = 't'
	Binary    ColumnKind = 'b'
)

// Column is one value of a tuple. Value is nil for Null and Unchanged.
type Column struct {
	Kind  ColumnKind
	Value []byte
}
