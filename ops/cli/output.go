package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
)

// output is the flag of every command that lists something.
type output struct {
	Output string `help:"table or json." enum:"table,json" default:"table" short:"o"`
}

// write prints data as JSON, or as the table that fill writes.
func (o output) write(e *env, data any, fill func(w *tabwriter.Writer)) error {
	if o.Output == "json" {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(data); err != nil {
			return fmt.Errorf("write json: %w", err)
		}
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fill(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
