package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// publication is what doctor_publication.sql says.
type publication struct {
	Exists         bool     `db:"exists"`
	Inserts        bool     `db:"inserts"`
	HasDeadLetters bool     `db:"has_dead_letters"` // the database, not the publication
	Tables         []string `db:"tables"`           // as pgoutput names them
}

func (e *exam) publicationFacts(ctx context.Context) (publication, error) {
	return e.published.get(func() (publication, error) {
		return row[publication](ctx, e, sql.DoctorPublication, pgx.StrictNamedArgs{"publication": e.cfg.Publication})
	})
}

// needsPublication is publicationFacts for checks of what is in it.
func (e *exam) needsPublication(ctx context.Context) (publication, error) {
	p, err := e.publicationFacts(ctx)
	if err == nil && !p.Exists {
		err = &unjudged{fmt.Sprintf("publication %q does not exist", e.cfg.Publication), ""}
	}
	return p, err
}

// publishedTable is a line of doctor_published.sql.
type publishedTable struct {
	Name        string `db:"name"`
	Partitioned bool   `db:"partitioned"`
	Filtered    bool   `db:"filtered"`
	Listed      bool   `db:"listed"` // columns
	ViaRoot     bool   `db:"via_root"`
}

func (e *exam) publishedTables(ctx context.Context) ([]publishedTable, error) {
	if _, err := e.needsPublication(ctx); err != nil {
		return nil, err
	}
	return e.tables.get(func() ([]publishedTable, error) {
		return rows[publishedTable](ctx, e, sql.DoctorPublished, pgx.StrictNamedArgs{"publication": e.cfg.Publication})
	})
}

// rowsMeanwhile is what a mended publication does not mend.
const rowsMeanwhile = "; then start 'gapless relay', which says what was written meanwhile"

func (e *exam) publication(ctx context.Context) (verdict, error) {
	p, err := e.publicationFacts(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case !p.Exists:
		holds, err := e.installed(ctx)
		if err != nil {
			return verdict{}, err
		}
		if !holds.Outbox {
			return fault("gapless migrate up", "publication %q does not exist", e.cfg.Publication), nil
		}
		return fault("gapless relay: it refuses, and prints the SQL to go on with; a slot that is older than its publication cannot be read any more",
			"publication %q does not exist", e.cfg.Publication), nil
	case !p.Inserts:
		return fault("ALTER PUBLICATION "+pgx.Identifier{e.cfg.Publication}.Sanitize()+" SET (publish = 'insert')"+rowsMeanwhile,
			"publication %q does not publish inserts", e.cfg.Publication), nil
	}
	return well("publication %q publishes inserts of %d tables", e.cfg.Publication, len(p.Tables)), nil
}

// expected are the tables that the publication has to hold.
func (e *exam) expected(p publication) []string {
	var list []string
	for name, format := range e.cfg.Tables {
		if format != nil {
			list = append(list, name)
		}
	}
	if e.cfg.Publication == "gapless" && len(e.cfg.Tables) == 0 {
		list = append(list, "gapless.outbox")
	}
	// As the relay has it: who relays the outbox relays its dead letters too.
	if p.HasDeadLetters && (slices.Contains(list, "gapless.outbox") || slices.Contains(p.Tables, "gapless.outbox")) {
		list = append(list, "gapless.dead_letter")
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (e *exam) publicationTables(ctx context.Context) (verdict, error) {
	p, err := e.needsPublication(ctx)
	if err != nil {
		return verdict{}, err
	}
	if len(p.Tables) == 0 {
		return fault("ALTER PUBLICATION "+pgx.Identifier{e.cfg.Publication}.Sanitize()+" ADD TABLE gapless.outbox"+rowsMeanwhile, "publication %q has no table", e.cfg.Publication), nil
	}
	if slices.Contains(p.Tables, "gapless.relay_progress") || slices.Contains(p.Tables, "gapless.parked") {
		return fault("DROP PUBLICATION and CREATE PUBLICATION … FOR TABLE, naming the tables of events"+rowsMeanwhile,
			"publication %q publishes what the relay itself writes, which it would relay, or park, for ever", e.cfg.Publication), nil
	}
	missing := slices.DeleteFunc(e.expected(p), func(t string) bool {
		return slices.ContainsFunc(p.Tables, func(have string) bool { return have == t || strings.HasPrefix(have, t+"_p") })
	})
	if len(missing) > 0 {
		return fault("ALTER PUBLICATION "+pgx.Identifier{e.cfg.Publication}.Sanitize()+" ADD TABLE "+quoted(missing[0])+rowsMeanwhile,
			"publication %q does not publish %s", e.cfg.Publication, some(missing)), nil
	}
	return well("it publishes %s", some(p.Tables)), nil
}

func (e *exam) publicationRoot(ctx context.Context) (verdict, error) {
	tables, err := e.publishedTables(ctx)
	if err != nil {
		return verdict{}, err
	}
	var wrong []string
	for _, t := range tables {
		if t.Partitioned && !t.ViaRoot {
			wrong = append(wrong, t.Name)
		}
	}
	if len(wrong) > 0 {
		return fault("ALTER PUBLICATION "+pgx.Identifier{e.cfg.Publication}.Sanitize()+" SET (publish_via_partition_root = true)"+rowsMeanwhile,
			"partitions are published in place of %s", some(wrong)), nil
	}
	return well("publish_via_partition_root is on, or no table needs it"), nil
}

func (e *exam) publicationFilter(ctx context.Context) (verdict, error) {
	tables, err := e.publishedTables(ctx)
	if err != nil {
		return verdict{}, err
	}
	wrong := map[string]string{}
	for _, t := range tables {
		switch {
		case t.Filtered:
			wrong[t.Name] = "rows of " + t.Name + " are filtered by WHERE, and the others reach no topic"
		case t.Listed:
			wrong[t.Name] = "columns of " + t.Name + " are left out"
		}
	}
	if len(wrong) == 0 {
		return well("tables are published whole"), nil
	}
	names := slices.Sorted(maps.Keys(wrong))
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = wrong[name]
	}
	all := make([]string, len(tables))
	for i, t := range tables {
		all[i] = quoted(t.Name)
	}
	return fault("ALTER PUBLICATION "+pgx.Identifier{e.cfg.Publication}.Sanitize()+" SET TABLE "+strings.Join(all, ", ")+rowsMeanwhile, "%s", some(texts)), nil
}
