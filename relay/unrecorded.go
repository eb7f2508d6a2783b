package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless/gapless/sql"
)

// ourTable tells the tables of our own schema, which carry the writer's
// transaction id, from foreign ones.
func ourTable(name string) bool {
	return name == "gapless.outbox" || name == "gapless.dead_letter"
}

// refuseUnrecorded is for a slot without a progress record: it is trusted only
// if it will send every row there is. Whoever made it may have died before
// looking, or made it too late, or before its publication: until Postgres 17 such a
// slot cannot be read, from 18 on it passes over what was written meanwhile.
func (r *Relay) refuseUnrecorded(ctx context.Context, tables []string) error {
	for _, table := range tables {
		if !ourTable(table) {
			continue // nothing in it tells; it is the operator's word that counts
		}
		var rows int64
		if err := r.store.pool.QueryRow(ctx, on(sql.RelayRowsBeforeSlot, table), r.cfg.Slot).Scan(&rows); err != nil {
			return fmt.Errorf("look for rows of %s before slot %q: %w", table, r.cfg.Slot, r.store.unreadable(err, table))
		}
		if rows > 0 {
			return refuse("If they were relayed by other means, delete them; else take them out of the table, "+
				"and once the relay streams write them into it again.",
				"slot %q was made after %d or more rows of %s were written, and will never send them", r.cfg.Slot, rows, table)
		}
		if err := r.store.pool.QueryRow(ctx, on(sql.RelayRowsBeforePublication, table), r.cfg.Publication).Scan(&rows); err != nil {
			return fmt.Errorf("look for rows of %s before publication %q: %w", table, r.cfg.Publication, err)
		}
		if rows > 0 {
			return refuse("If they were relayed by other means, delete them; else take them out of the table, "+
				"and once the relay streams write them into it again.",
				"%d or more rows of %s were written before the table was in publication %q, and no slot will send them", rows, table, r.cfg.Publication)
		}
	}
	return nil
}

// onlyGrew tells whether all that a publication was is still in it, so that
// there was no moment without any of its tables.
func onlyGrew(before, after string) bool {
	now := strings.Split(after, ",")
	for part := range strings.SplitSeq(before, ",") {
		if !slices.Contains(now, part) {
			return false
		}
	}
	return true
}

// errPublication ends a stream whose publication was not the same all the while: the
// next start judges what was written meanwhile.
var errPublication = errors.New("publication was dropped, or a table taken out of it, or its options hide rows, under the stream")

// hides tells a part of a fingerprint that says what an option keeps from being relayed
// as it was.
func hides(part string) bool { return part == "no_inserts" || part == "by_partition" }

// continuous tells whether every table of a publication stayed in it: the publication
// is the same object, and so is each membership. Its options may have been altered, but
// it publishes inserts, and partitions by their table as before.
func continuous(before, after string) bool {
	was, now := strings.Split(before, ","), strings.Split(after, ",")
	for _, part := range now {
		if hides(part) && !slices.Contains(was, part) {
			return false
		}
	}
	for _, part := range was {
		if hides(part) {
			continue
		}
		object, _, _ := strings.Cut(part, ".")
		same := func(p string) bool {
			other, _, _ := strings.Cut(p, ".")
			return p == part || strings.HasPrefix(part, "p") && other == object
		}
		if !slices.ContainsFunc(now, same) {
			return false
		}
	}
	return true
}

// refuseChanged is for a publication that was changed since the last proof, by
// more than a table added: what was written while a table was not in it will not
// come by the slot. It errs on the safe side: rows that were relayed after the
// last proof count as missing, too.
func (r *Relay) refuseChanged(ctx context.Context, s start, record *progress) error {
	if len(record.proofs) == 0 {
		return nil
	}
	last := record.proofs[len(record.proofs)-1].Fingerprint
	if onlyGrew(last, s.fingerprint) {
		return nil
	}
	const remedy = "Once you are sure that no row is missing from Kafka, " +
		"run the statement and start the relay again."
	statements := []string{forgetProofsSQL(r.cfg.Slot)}
	p, ok := newest(record.proofs, record.position.Resume, s.system.ID, s.system.Timeline, last)
	if !ok {
		return refuseSQL(statements, remedy, "publication %q was changed, and no proof tells what was written meanwhile", r.cfg.Publication)
	}
	missing, err := r.provenRelayed(ctx, p, s.server.events)
	if err != nil {
		return err
	}
	if missing > 0 {
		return refuseSQL(statements, remedy, "publication %q was changed, and %d rows written since %s were neither relayed nor will come by slot %q",
			r.cfg.Publication, missing, p.At.Format("2006-01-02 15:04:05Z07:00"), r.cfg.Slot)
	}
	r.log.InfoContext(ctx, "publication was changed, every row is accounted for")
	return nil
}
