package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// explainedRelay is a configuration in the form of the output.
type explainedRelay struct {
	Slot        string           `json:"slot"`
	Publication string           `json:"publication"`
	SignalTable string           `json:"signal_table,omitempty"`
	Heartbeat   *explainedBeat   `json:"heartbeat,omitempty"`
	Notes       []string         `json:"notes,omitempty"` // of the import
	Tables      []explainedTable `json:"tables"`
}

type explainedBeat struct {
	Interval string `json:"interval"`
	Topic    string `json:"topic"`
}

// explainedTable is what becomes of one table's rows.
type explainedTable struct {
	Table  string `json:"table"`
	Format string `json:"format"`
	format.Description
	OnFault   map[string]relay.Policy `json:"on_fault"` // of a row that cannot be sent, by reason
	Retention string                  `json:"retention"`
	Example   *explained              `json:"example,omitempty"`
	ExampleOf string                  `json:"example_of,omitempty"` // or why there is none
}

// exampleTimeout bounds the look for a row: a table may have no index for it.
const exampleTimeout = 3 * time.Second

// config explains what the file makes of each table: of those that it names, and, where a
// database is given, of all that the publication has.
func (c *explainCommand) config(ctx context.Context, e *env) error {
	own, err := e.relay()
	if err != nil {
		return err
	}
	out := explainedRelay{Slot: "gapless", Publication: c.Publication}
	if c.Connector != "" {
		text, err := readText(c.Connector, e)
		if err != nil {
			return usageError{err}
		}
		imported, notes, err := importedFile(c.Connector, text)
		if err != nil {
			return err
		}
		own, out.Notes = imported.one(), notes
		out.Publication = imported.Relays[0].Publication
	}
	tables, err := own.tables()
	if err != nil {
		return err
	}
	if own.Slot != "" {
		out.Slot = own.Slot
	}
	if out.SignalTable = own.SignalTable; own.Heartbeat != nil {
		as, err := own.heartbeatRouter()
		if err != nil {
			return err
		}
		out.Heartbeat = &explainedBeat{own.Heartbeat.Interval, own.Heartbeat.topic(as.ServerName)}
	}
	pool, away := c.reachable(ctx, e)
	if pool != nil {
		defer pool.Close()
	}
	names := slices.Sorted(maps.Keys(tables))
	if pool != nil {
		published, err := publishedTables(ctx, pool, out.Publication)
		if err != nil {
			return err
		}
		for _, name := range published {
			if _, known := tables[name]; !known {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return usage("nothing to explain: name an event by its id, a row with --row, a file with --config or --connector, or a database with --database-url")
	}
	for _, name := range names {
		if name == out.SignalTable {
			continue
		}
		out.Tables = append(out.Tables, own.explain(ctx, tables, name, pool, away))
	}
	return c.write(e, out, out.table)
}

// reachable is the database, or why there is none.
func (c *explainCommand) reachable(ctx context.Context, e *env) (*pgxpool.Pool, string) {
	if c.DatabaseURL == (secret{}) {
		return nil, "no database is given"
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		_, text := explain(err)
		e.log.WarnContext(ctx, "examples are made up, and only tables of the file are explained", "reason", text)
		return nil, "the database cannot be reached"
	}
	return pool, ""
}

// publishedTables are those of a publication, in its form.
func publishedTables(ctx context.Context, pool *pgxpool.Pool, publication string) ([]string, error) {
	rows, err := pool.Query(ctx, sql.RelayPublished, publication)
	if err != nil {
		return nil, fmt.Errorf("read publication %q: %w", publication, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read publication %q: %w", publication, err)
	}
	return names, nil
}

func (r *RelayFile) explain(ctx context.Context, tables map[string]format.Format, name string, pool *pgxpool.Pool, away string) explainedTable {
	t := explainedTable{Table: name, Format: formatName(tables, name), OnFault: map[string]relay.Policy{}, Retention: r.retention(name)}
	description, err := relay.Describe(tables, name)
	if err != nil {
		t.ExampleOf = err.Error()
		return t
	}
	t.Description = description
	for _, reason := range format.Reasons {
		t.OnFault[reason] = relay.BlockKey
		if policy, ok := r.OnFault[reason]; ok {
			t.OnFault[reason] = relay.Policy(policy)
		}
	}
	why := away
	if pool != nil {
		limited, cancel := context.WithTimeout(ctx, exampleTimeout)
		defer cancel()
		list, err := relay.Explain(limited, pool, tables, name, relay.RowOf{})
		if err == nil {
			x := inWords(name, &list[0])
			t.Example, t.ExampleOf = &x, "the row with the highest id"
			return t
		}
		if why = oneLine(err.Error()); errors.Is(err, relay.ErrNoRow) {
			why = "the table has no row"
		}
	}
	made, err := relay.ExplainMadeUp(tables, name)
	if err != nil {
		t.ExampleOf = err.Error()
		return t
	}
	x := inWords(name, &made)
	t.Example, t.ExampleOf = &x, "a made-up row: "+why
	return t
}

// formatName is the file's word.
func formatName(tables map[string]format.Format, name string) string {
	if f, ok := tables[name]; ok && f == nil {
		return "none"
	}
	switch {
	case tables[name] == nil && name == "gapless.dead_letter":
		return "dead letter"
	case tables[name] == nil && name == "gapless.outbox", tables[name] == format.Format(format.Native{}):
		return "native"
	}
	return "debezium"
}

func (r *RelayFile) retention(name string) string {
	for _, t := range r.Tables {
		if r := t.Retention; t.Table == name && r != nil {
			if r.After.Duration == 0 {
				return "relayed rows are deleted"
			}
			return fmt.Sprintf("relayed rows are deleted %s after the time in column %s", r.After.Duration, r.Column)
		}
	}
	if name == "gapless.outbox" && r.Retention != nil && r.Retention.Duration > 0 {
		return "daily partitions are dropped when they are " + r.Retention.String() + " old and relayed"
	}
	return "rows are kept"
}

func (x *explainedRelay) table(w *tabwriter.Writer) {
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", terminal.Line(name), terminal.Line(value)) }
	line("slot", x.Slot)
	line("publication", x.Publication)
	if x.SignalTable != "" {
		line("signal table", x.SignalTable)
	}
	if x.Heartbeat != nil {
		line("heartbeat", "every "+x.Heartbeat.Interval+" to "+x.Heartbeat.Topic)
	}
	for _, n := range x.Notes {
		line("note", n)
	}
	for i := range x.Tables {
		fmt.Fprintln(w)
		x.Tables[i].table(w)
	}
}

func (t *explainedTable) table(w *tabwriter.Writer) {
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", terminal.Line(name), terminal.Line(value)) }
	line("table", t.Table)
	line("format", t.Format)
	if t.Topic == "" {
		line("rows", t.ExampleOf)
		return
	}
	line("topic", t.Topic)
	line("key", t.Key)
	line("value", t.Value)
	for _, h := range t.Headers {
		line("header", h)
	}
	line("partition", t.Partition)
	line("timestamp", t.Timestamp)
	line("updates", t.Updates)
	line("cannot be sent", t.faults())
	line("retention", t.Retention)
	line("example", t.ExampleOf)
	if t.Example != nil {
		t.Example.becomes(func(name string, value any) { line("  "+name, fmt.Sprint(value)) })
	}
}

// faults groups the reasons by policy.
func (t *explainedTable) faults() string {
	words := []struct {
		policy relay.Policy
		means  string
	}{
		{relay.BlockKey, "parked, and later rows of the key wait behind"},
		{relay.Skip, "parked, and later rows go on"},
		{relay.Halt, "the relay ends, exit code 3"},
	}
	var parts []string
	for _, v := range words {
		var reasons []string
		for _, reason := range format.Reasons {
			if t.OnFault[reason] == v.policy {
				reasons = append(reasons, reason)
			}
		}
		if len(reasons) > 0 {
			parts = append(parts, strings.Join(reasons, ", ")+": "+v.means)
		}
	}
	return strings.Join(parts, "; ")
}
