package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/sql"
)

// provenRelayed decides on a slot that is ahead of the record: every row
// committed since the newest proof must be still to come by the slot. It
// returns how many are neither. It keeps 8 bytes of each of those rows.
func (r *Relay) provenRelayed(ctx context.Context, p proof, tables []string) (missing int, err error) {
	rows := newRowSet()
	columns := map[string][]string{}
	for _, table := range tables {
		if columns[table], err = r.identity(ctx, table); err != nil {
			return 0, fmt.Errorf("look for what tells rows of %s apart: %w", table, r.store.unreadable(err, table))
		}
		if err := r.store.unproven(ctx, p, table, columns[table], rows); err != nil {
			return 0, fmt.Errorf("compare %s with the proof: %w", table, r.store.unreadable(err, table))
		}
	}
	rows.seal()
	if rows.left == 0 {
		return 0, nil
	}
	if err := r.store.peek(ctx, columns, rows); err != nil {
		return 0, fmt.Errorf("peek slot %q: %w", r.cfg.Slot, err)
	}
	return rows.left, nil
}

// identity are the columns that tell the table's rows apart: the event's id, else the
// primary key.
func (r *Relay) identity(ctx context.Context, table string) (columns []string, err error) {
	switch table { // as relay_unproven.sql has it
	case "gapless.outbox":
		return []string{"id"}, nil
	case "gapless.dead_letter":
		return []string{"dead_letter_id"}, nil
	}
	id := "id"
	if f, ok := r.cfg.formatOf(table).(eventrouter.Config); ok {
		id = cmp.Or(f.EventID, id)
	}
	oid, err := r.store.tableOID(ctx, table)
	if err != nil {
		return nil, err
	}
	if err := r.store.pool.QueryRow(ctx, sql.RelayIdentity, oid, id).Scan(&columns); err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, refuse("Give it a primary key, or name the column of the events' ids in its configuration (table.field.event.id).",
			"table %s has neither a column %q nor a primary key, so it cannot be told which of its rows were relayed", table, id)
	}
	return columns, nil
}

// between separates the values of several columns.
const between = "\x1f"

// identityText is a row's identity as SQL.
func identityText(columns []string) string {
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = "o." + pgx.Identifier{c}.Sanitize() + "::text"
	}
	return strings.Join(texts, ` || chr(31) || `)
}

// unproven adds the table's rows that p does not cover.
func (s *store) unproven(ctx context.Context, p proof, table string, columns []string, set *rowSet) error {
	statement := sql.RelayUnproven
	if !ourTable(table) {
		statement = strings.ReplaceAll(sql.RelayUnprovenForeign, "o.id::text", identityText(columns))
	}
	rows, err := s.pool.Query(ctx, on(statement, table), p.Snapshot)
	if err != nil {
		return err
	}
	var tid string
	var id *string
	_, err = pgx.ForEachRow(rows, []any{&tid, &id}, func() error {
		if id == nil {
			return refuse("Give the row a value there, or the table a primary key.",
				"row %s of table %s has no %s, so it cannot be told whether it was relayed", tid, table, strings.Join(columns, ", "))
		}
		set.add(table, []byte(*id))
		return nil
	})
	return err
}

// unreadable makes a refusal of the error that the login may not look into the table.
func (s *store) unreadable(err error, table string) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "42501" || pg.Routine == "check_enable_rls" {
		return s.rowSecurity(err, table)
	}
	login := s.pool.Config().ConnConfig.User
	schema, _, _ := strings.Cut(table, ".")
	return refuseSQL([]string{"GRANT USAGE ON SCHEMA " + quoted(schema) + " TO " + quoted(login), on("GRANT SELECT ON gapless.outbox TO "+quoted(login), table)},
		"Run the statements and start the relay again: a first start looks into the tables, and so does one that finds the slot ahead of the record, or the publication changed. "+
			"(A relay that may not look into them never moves the slot past its record.)",
		"login %q may not read %s, so it cannot be told whether a row is missing", login, table)
}

// rowSecurity makes a refusal of the error that rows of the table are hidden.
func (s *store) rowSecurity(err error, table string) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "42501" || pg.Routine != "check_enable_rls" {
		return err
	}
	login := s.pool.Config().ConnConfig.User
	return refuseSQL([]string{"ALTER ROLE " + quoted(login) + " BYPASSRLS"},
		"Run the statement as a superuser and start the relay again. A policy for the login would not do: what it may see by one is not all there is.",
		"row security may hide rows of %s from login %q, so it cannot be told whether one is missing", table, login)
}

// peek meets what the slot will still send. columns are those of each table's identity.
func (s *store) peek(ctx context.Context, columns map[string][]string, set *rowSet) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	rows, err := s.pool.Query(ctx, sql.RelayPeek, s.slot, s.publication)
	if err != nil {
		return err
	}
	type relation struct {
		table string
		at    []int // of the columns
	}
	relations := map[uint32]relation{}
	var m pgoutput.Message
	var data, id []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		if err := pgoutput.Decode(data, &m); err != nil {
			return err
		}
		switch m.Kind {
		case pgoutput.KindRelation:
			delete(relations, m.Relation.ID)
			r := relation{table: string(m.Relation.Namespace) + "." + string(m.Relation.Name)}
			if strings.HasPrefix(r.table, outboxPartition) {
				r.table = "gapless.outbox" // as it is published now
			}
			for _, name := range columns[r.table] {
				at := slices.IndexFunc(m.Relation.Columns, func(c pgoutput.RelationColumn) bool { return string(c.Name) == name })
				if at < 0 {
					return refuse("Publish the column, too.", "the publication leaves column %q of table %s out, so it cannot be told which of its rows were relayed", name, r.table)
				}
				r.at = append(r.at, at)
			}
			if len(r.at) > 0 {
				relations[m.Relation.ID] = r
			}
		case pgoutput.KindInsert:
			r, ok := relations[m.Row.RelationID]
			if !ok {
				return nil
			}
			id = id[:0]
			for i, at := range r.at {
				if i > 0 {
					id = append(id, between...)
				}
				if at < len(m.Row.New) {
					id = append(id, m.Row.New[at].Value...)
				}
			}
			set.meet(r.table, id)
		}
		return nil
	})
	return err
}

// rowSet is a set of rows by 64 bits of each: rows of a weekend are many. That two of
// them are taken for one is as likely as two equal numbers of 64 bits.
type rowSet struct {
	seed maphash.Seed
	sums []uint64
	met  []uint64 // a bit for each of sums
	left int      // not met
}

func newRowSet() *rowSet { return &rowSet{seed: maphash.MakeSeed()} }

func (s *rowSet) sum(table string, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(table) // it returns no error
	_ = h.WriteByte(0)
	_, _ = h.Write(id)
	return h.Sum64()
}

func (s *rowSet) add(table string, id []byte) { s.sums = append(s.sums, s.sum(table, id)) }

// seal is called between the last add and the first meet.
func (s *rowSet) seal() {
	slices.Sort(s.sums)
	s.sums = slices.Compact(s.sums)
	s.met = make([]uint64, (len(s.sums)+63)/64)
	s.left = len(s.sums)
}

func (s *rowSet) meet(table string, id []byte) {
	i, ok := slices.BinarySearch(s.sums, s.sum(table, id))
	if bit := uint64(1) << (i % 64); ok && s.met[i/64]&bit == 0 {
		s.met[i/64] |= bit
		s.left--
	}
}
