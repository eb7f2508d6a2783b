package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/relay"
)

type explainCommand struct {
	database
	output
	ID    string `arg:"" optional:"" help:"Id of an event that is in the table. Without it, and without --row, the configuration is explained."`
	Row   string `help:"A row that is not, as a JSON object by column names; - reads standard input." placeholder:"JSON"`
	Table string `help:"Outbox table of the row." default:"gapless.outbox" placeholder:"SCHEMA.TABLE"`

	Connector   string `help:"Explain what 'relay import' makes of this file of a Debezium connector." placeholder:"FILE"`
	Publication string `help:"Publication whose tables are explained." default:"gapless"`
}

// explained is a record in the form of the output.
type explained struct {
	Table     string     `json:"table"`
	Sent      bool       `json:"sent"`
	Reason    string     `json:"reason,omitempty"` // for which it would be parked
	Detail    string     `json:"detail,omitempty"`
	Topic     string     `json:"topic"`
	Partition *int32     `json:"partition,omitempty"` // none: where the key says
	Key       *string    `json:"key"`
	Timestamp *time.Time `json:"timestamp,omitempty"` // none: the commit's
	Headers   []header   `json:"headers"`
	Value     []byte     `json:"value"` // base64 in JSON; null is a tombstone
	Text      string     `json:"text,omitempty"`
}

type header struct {
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

// Run says what a row would become, and for what it would be parked.
func (c *explainCommand) Run(ctx context.Context, e *env) error {
	of := relay.RowOf{ID: c.ID}
	switch {
	case c.ID != "" && c.Row != "":
		return usage("name an event by its id, or give a row with --row, not both")
	case c.Connector != "" && (c.ID != "" || c.Row != ""):
		return usage("--connector explains a configuration: leave the row out")
	case c.ID == "" && c.Row == "":
		return c.config(ctx, e)
	case c.Row == "-":
		text, err := readAll(e.stdin, maxRow)
		if err != nil {
			return usageError{err}
		}
		of.JSON = text
	case c.Row != "":
		of.JSON = []byte(c.Row)
	}
	if of.JSON != nil && (!json.Valid(of.JSON) || !bytes.HasPrefix(bytes.TrimSpace(of.JSON), []byte("{"))) {
		return usage("--row: that is no JSON object")
	}
	file, err := e.relay()
	if err != nil {
		return err
	}
	tables, err := file.tables()
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := relay.Explain(ctx, pool, tables, c.Table, of)
	if err != nil {
		return err
	}
	out := make([]explained, len(list))
	for i := range list {
		out[i] = inWords(c.Table, &list[i])
	}
	return c.write(e, out, func(w *tabwriter.Writer) {
		for i := range out {
			out[i].table(w)
		}
	})
}

// maxRow bounds what is read as a row: the outbox takes payloads of 1 MiB.
const maxRow = 16 << 20

func inWords(table string, from *relay.Explained) explained {
	r := &from.Record
	x := explained{Table: table, Sent: from.Fault == nil, Topic: r.Topic, Headers: []header{}, Value: r.Value, Text: readable(r.Value)}
	if from.Fault != nil {
		x.Reason, x.Detail = from.Fault.Reason, from.Fault.Detail
	}
	if r.Partition >= 0 {
		x.Partition = &r.Partition
	}
	if r.Key != nil {
		key := readable(r.Key)
		x.Key = &key
	}
	if !r.Timestamp.Equal(r.CommitTime) {
		x.Timestamp = &r.Timestamp
	}
	for _, h := range r.Headers {
		if h.Key == "gapless_position" {
			continue // known at the commit alone
		}
		at := header{Name: h.Key}
		if h.Value != nil {
			text := readable(h.Value)
			at.Value = &text
		}
		x.Headers = append(x.Headers, at)
	}
	return x
}

func (x *explained) table(w io.Writer) {
	line := func(name string, value any) {
		fmt.Fprintf(w, "%s\t%s\n", terminal.Line(name), terminal.Line(fmt.Sprint(value)))
	}
	line("table", x.Table)
	x.becomes(line)
}

// becomes writes a line for each part of the record.
func (x *explained) becomes(line func(name string, value any)) {
	if x.Sent {
		line("becomes", "a record")
	} else {
		line("becomes", "a parked row: "+x.Reason+": "+x.Detail)
	}
	line("topic", x.Topic)
	if x.Partition != nil {
		line("partition", *x.Partition)
	} else {
		line("partition", "by the key")
	}
	if x.Key != nil {
		line("key", *x.Key)
	} else {
		line("key", "none: any partition, and no order")
	}
	if x.Timestamp != nil {
		line("timestamp", stamp(*x.Timestamp))
	} else {
		line("timestamp", "of the commit")
	}
	for _, h := range x.Headers {
		if h.Value == nil {
			line("header "+h.Name, "null")
			continue
		}
		line("header "+h.Name, *h.Value)
	}
	if x.Value == nil {
		line("value", "none (tombstone)")
		return
	}
	line("value", x.Text)
}
