package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/sql"
)

// proof: once the relay has passed LSN, every row visible in Snapshot was
// relayed; while the system, its timeline and the publication are the same.
type proof struct {
	SystemID    string    `json:"system_id"`
	Timeline    int32     `json:"timeline"`
	Snapshot    string    `json:"snapshot"`
	LSN         string    `json:"lsn"`
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
}

// maxProofs bounds the ring. Older ones matter after a failover: a proof taken
// after the switch point says nothing there.
const maxProofs = 16

func (s *store) prove(ctx context.Context, system string, timeline int32, now time.Time) (proof, error) {
	p := proof{SystemID: system, Timeline: timeline, At: now.UTC()}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	// The fingerprint is read before and after: a publication changed between
	// would otherwise be vouched for.
	var err error
	if p.Fingerprint, err = s.fingerprint(ctx); err != nil {
		return p, err
	}
	if err := s.pool.QueryRow(ctx, sql.RelayProof).Scan(&p.Snapshot, &p.LSN); err != nil {
		return p, fmt.Errorf("take proof: %w", err)
	}
	after, err := s.fingerprint(ctx)
	if err != nil {
		return p, err
	}
	if after != p.Fingerprint {
		return p, errors.New("publication changed while a proof was taken")
	}
	return p, nil
}

// fingerprint is the publication's identity at this moment.
func (s *store) fingerprint(ctx context.Context) (text string, err error) {
	if err := s.pool.QueryRow(ctx, sql.RelayFingerprint, s.publication).Scan(&text); err != nil {
		return "", fmt.Errorf("fingerprint publication: %w", err)
	}
	return text, nil
}

// addProof appends p and forgets the oldest beyond the bound.
func addProof(ring []proof, p proof) []proof {
	grown := append(append([]proof(nil), ring...), p)
	return grown[max(0, len(grown)-maxProofs):]
}

// newest returns the last proof that the position has passed and that holds
// for this system, timeline and publication.
func newest(ring []proof, resume core.LSN, system string, timeline int32, fingerprint string) (proof, bool) {
	for i := len(ring) - 1; i >= 0; i-- {
		p := ring[i]
		lsn, err := core.ParseLSN(p.LSN)
		if err == nil && lsn <= resume && p.SystemID == system && p.Timeline == timeline && p.Fingerprint == fingerprint {
			return p, true
		}
	}
	return proof{}, false
}

// provenRelayed decides on a slot that is ahead of the record: every row
// committed since the newest proof must be still to come by the slot. It
// returns how many are neither.
func (s *store) provenRelayed(ctx context.Context, p proof, tables []string) (missing int, err error) {
	unproven := map[rowID]bool{}
	for _, table := range tables {
		if err := s.unproven(ctx, p, table, unproven); err != nil {
			return 0, fmt.Errorf("compare %s with the proof: %w", table, s.rowSecurity(err, table))
		}
	}
	if len(unproven) == 0 {
		return 0, nil
	}
	if err := s.peek(ctx, unproven); err != nil {
		return 0, fmt.Errorf("peek slot %q: %w", s.slot, err)
	}
	return len(unproven), nil
}

// rowID is a row by its own id: each table has ids of its own.
type rowID struct{ table, id string }

// unproven adds the table's rows that p does not cover to ids.
func (s *store) unproven(ctx context.Context, p proof, table string, ids map[rowID]bool) error {
	statement := sql.RelayUnprovenForeign
	if ourTable(table) {
		statement = sql.RelayUnproven
	}
	rows, err := s.pool.Query(ctx, on(statement, table), p.Snapshot)
	if err != nil {
		return err
	}
	var tid string
	var id *string
	_, err = pgx.ForEachRow(rows, []any{&tid, &id}, func() error {
		if id == nil {
			return fmt.Errorf("row %s has no id", tid)
		}
		ids[rowID{table, *id}] = true
		return nil
	})
	return err
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

// peek takes from ids what the slot will still send.
func (s *store) peek(ctx context.Context, ids map[rowID]bool) error {
	if err := s.exec(ctx, sql.RelayFlush); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	rows, err := s.pool.Query(ctx, sql.RelayPeek, s.slot, s.publication)
	if err != nil {
		return err
	}
	type column struct {
		table string
		at    int
	}
	idColumn := map[uint32]column{}
	var m pgoutput.Message
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		if err := pgoutput.Decode(data, &m); err != nil {
			return err
		}
		switch m.Kind {
		case pgoutput.KindRelation:
			table := string(m.Relation.Namespace) + "." + string(m.Relation.Name)
			if strings.HasPrefix(table, outboxPartition) {
				table = "gapless.outbox" // as it is published now
			}
			for i, c := range m.Relation.Columns {
				if name := string(c.Name); name == "id" || name == "dead_letter_id" {
					idColumn[m.Relation.ID] = column{table, i}
				}
			}
		case pgoutput.KindInsert:
			if c, ok := idColumn[m.Row.RelationID]; ok && c.at < len(m.Row.New) {
				delete(ids, rowID{c.table, string(m.Row.New[c.at].Value)})
			}
		}
		return nil
	})
	return err
}

// on puts the quoted name of a published table in the place of gapless.outbox.
func on(statement, table string) string {
	schema, name, _ := strings.Cut(table, ".")
	return strings.ReplaceAll(statement, "gapless.outbox", pgx.Identifier{schema, name}.Sanitize())
}
