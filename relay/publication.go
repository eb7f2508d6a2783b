package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/sql"
)

// outboxPartition begins the name of each partition of gapless.outbox, and of what was
// taken off it.
const outboxPartition = "gapless.outbox_p"

// refuseInner is for a publication with tables that the relay itself writes, as one of all
// tables has them: each row that comes out of it would write another.
func refuseInner(v server, cfg Config) error {
	inner := slices.DeleteFunc(slices.Clone(v.PublicationTables), func(t string) bool {
		_, named := cfg.Tables[t]
		return named || ourTable(t) || !strings.HasPrefix(t, "gapless.") || strings.HasPrefix(t, outboxPartition)
	})
	if len(inner) == 0 {
		return nil
	}
	alter := "ALTER PUBLICATION " + quoted(cfg.Publication)
	var statements []string
	remedy := "Run the statements: they leave the events' tables in."
	switch {
	case v.PublishesAll:
		statements = []string{"DROP PUBLICATION " + quoted(cfg.Publication), makePublicationSQL(cfg.Publication, cfg.eventTables(v)...)}
		if v.SlotExists {
			statements = append(statements, dropSlotSQL(cfg.Slot))
		}
		statements = append(statements, makeSlotSQL(cfg.Slot), resendSQL(cfg.Slot), followSQL(cfg.Slot))
		remedy = "All tables cannot be published without them: make the publication again, naming outbox tables of your own too. " +
			"A slot that is older than its publication cannot be read any more. " + byHand
	case v.PublishesSchema:
		statements = []string{alter + " ADD TABLE " + sanitized(cfg.eventTables(v)), alter + " DROP TABLES IN SCHEMA gapless"}
	default:
		statements = []string{alter + " DROP TABLE " + sanitized(inner)}
	}
	return refuseSQL(statements, remedy, "publication %q publishes %s, which the relay itself writes: what it writes would come back to it for ever",
		cfg.Publication, strings.Join(inner, ", "))
}

// eventTables are those that a publication for this configuration has for certain.
func (c Config) eventTables(v server) []string {
	own := slices.DeleteFunc(c.events(slices.Sorted(maps.Keys(c.Tables))), ourTable)
	var names []string
	if v.Migrated || len(own) == 0 {
		names = append(names, "gapless.outbox")
	}
	if v.HasDeadLetters {
		names = append(names, "gapless.dead_letter")
	}
	return append(names, own...)
}

// takenOut are the memberships of tables and schemas that have none in its place: the
// object, whose oid is the last number of both, was taken out and not put back.
func takenOut(before, after string) (gone []string) {
	object := func(part string) string { return part[:1] + part[strings.LastIndexByte(part, '.')+1:] }
	now := map[string]bool{}
	for part := range strings.SplitSeq(after, ",") {
		if part != "" {
			now[object(part)] = true
		}
	}
	for part := range strings.SplitSeq(before, ",") {
		if (strings.HasPrefix(part, "r") || strings.HasPrefix(part, "s")) && !now[object(part)] {
			gone = append(gone, part)
		}
	}
	return gone
}

// refuseTakenOut is for a table of events that the publication had at the last proof and
// has no more. What is written to it meanwhile will not come by the slot, and once it is
// back, with a proof taken in between, nothing would tell. One that was dropped takes
// nothing with it: what was written before that is in the log.
func (r *Relay) refuseTakenOut(ctx context.Context, s start, record *progress) error {
	if len(record.proofs) == 0 {
		return nil
	}
	gone := takenOut(record.proofs[len(record.proofs)-1].Fingerprint, s.fingerprint)
	if len(gone) == 0 {
		return nil
	}
	names, err := r.store.unpublished(ctx, gone)
	if err != nil {
		return err
	}
	names = r.cfg.events(names)
	if len(names) == 0 {
		return nil
	}
	return refuseSQL([]string{"ALTER PUBLICATION " + quoted(r.cfg.Publication) + " ADD TABLE " + sanitized(names)},
		"Run the statement and start the relay: it tells whether rows were missed. If what was taken out is not to be relayed any more, "+inItsStead+
			forgetMembershipSQL(r.cfg.Slot, gone),
		"publication %q does not publish %s any more: what is written to it will not come by slot %q",
		r.cfg.Publication, strings.Join(names, ", "), r.cfg.Slot)
}

// unpublished names the tables of memberships that the publication does not publish now.
func (s *store) unpublished(ctx context.Context, memberships []string) ([]string, error) {
	oids := map[byte][]uint32{}
	for _, part := range memberships {
		oid, err := strconv.ParseUint(part[strings.LastIndexByte(part, '.')+1:], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read fingerprint: %w", err)
		}
		oids[part[0]] = append(oids[part[0]], uint32(oid))
	}
	rows, err := s.pool.Query(ctx, sql.RelayTakenOut, s.publication, oids['r'], oids['s'])
	if err != nil {
		return nil, fmt.Errorf("look for tables taken out of the publication: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for tables taken out of the publication: %w", err)
	}
	return names, nil
}

// eventTable is the table whose events a relation's rows are. Partitions come under names
// of their own where publish_via_partition_root is off, which it may have been when a row
// was written.
func (s *store) eventTable(ctx context.Context, rel *pgoutput.Relation) (string, error) {
	name := string(rel.Namespace) + "." + string(rel.Name)
	switch {
	case ourTable(name):
		return name, nil
	case strings.HasPrefix(name, outboxPartition):
		return "gapless.outbox", nil
	}
	root, err := s.root(ctx, rel.ID)
	if err == nil && root == "" {
		root, err = name, s.refuseDetached(ctx, rel.ID, name)
	}
	return root, err
}

// root is the table of which oid is a partition; "" where it is none.
func (s *store) root(ctx context.Context, oid uint32) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.pool.QueryRow(ctx, sql.RelayRoot, oid).Scan(&name); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("look for the table of partition %d: %w", oid, err)
	}
	return name, nil
}

// refuseDetached is for rows of what is no partition any more, and was one when they were
// written: their table's options are not known, nor what of it blocks their keys.
func (s *store) refuseDetached(ctx context.Context, oid uint32, name string) error {
	rows, err := s.pool.Query(ctx, sql.RelayDetached, oid, s.publication)
	var of []string
	if err == nil {
		of, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	switch {
	case err != nil:
		return fmt.Errorf("look for the table that %s was a partition of: %w", name, err)
	case len(of) == 0:
		return nil
	}
	return refuse("Attach it again until its rows are relayed. Or name it in the configuration, with the options of the table that it was a partition of,"+
		" once no row of that is parked. With publish_via_partition_root = true it cannot happen again.",
		"rows of %s come, which the publication does not have: it may have been a partition of %s when they were written", name, strings.Join(of, ", "))
}
