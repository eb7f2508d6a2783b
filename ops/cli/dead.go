package cli

import (
	"context"
	"strconv"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/gapless/gapless/ops/inspect"
)

type deadCommands struct {
	List deadList `cmd:"" help:"List dead letters, newest first."`
	Show deadShow `cmd:"" help:"Show one dead letter with its message as it was received."`
}

type deadList struct {
	listing
	Status   string `help:"Only this status; 'all' takes all." enum:"parked,redriven,discarded,all" default:"parked"`
	Consumer string `help:"Only this consumer." placeholder:"NAME"`
	Topic    string `help:"Only this topic." placeholder:"NAME"`
	Key      string `help:"Only this key." placeholder:"KEY"`
	Reason   string `help:"Only this reason." placeholder:"NAME"`
}

func (c *deadList) Run(ctx context.Context, e *env) error {
	if err := c.valid(); err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	status := c.Status
	if status == "all" {
		status = ""
	}
	letters, err := inspect.DeadLetters(ctx, pool, inspect.DeadFilter{
		Status: status, Consumer: c.Consumer, Topic: c.Topic, Key: c.Key, Reason: c.Reason, Since: c.Since.Time, Limit: c.Limit,
	})
	if err != nil {
		return err
	}
	return c.write(e, letters, func(w *tabwriter.Writer) {
		row(w, "LAST FAILED", "ID", "CONSUMER", "STATUS", "REASON", "ATTEMPTS", "WAITING", "TYPE", "TOPIC", "PARTITION", "OFFSET", "KEY", "ERROR")
		for _, l := range letters {
			row(w, l.LastFailedAt, l.DeadLetterID, l.Consumer, l.Status, l.Reason, l.Attempts, l.Waiting, l.Type, l.Topic, l.Partition, l.Offset, l.Key, l.Error)
		}
	})
}

type deadShow struct {
	database
	output
	ID string `arg:"" help:"Id of the dead letter, or of its event."`
}

func (c *deadShow) Run(ctx context.Context, e *env) error {
	id, err := parseID("ID", c.ID)
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	m, err := inspect.ShowDeadLetter(ctx, pool, id)
	if err != nil {
		return err
	}
	return c.write(e, m, func(w *tabwriter.Writer) {
		row(w, "dead letter", m.DeadLetterID)
		row(w, "event", m.EventID)
		row(w, "type", m.Type)
		row(w, "consumer", m.Consumer)
		row(w, "status", m.Status)
		row(w, "reason", m.Reason)
		row(w, "error", m.Error)
		row(w, "attempts", m.Attempts)
		row(w, "first failed", m.FirstFailedAt)
		row(w, "last failed", m.LastFailedAt)
		row(w, "waiting behind", m.Waiting)
		row(w, "topic", m.Topic)
		row(w, "partition", m.Partition)
		row(w, "offset", m.Offset)
		row(w, "timestamp", m.RecordTimestamp)
		row(w, "key", m.Key)
		for _, h := range m.Headers {
			row(w, "header "+h.Name, readable(h.Value))
		}
		switch {
		case m.Message != nil:
			row(w, "message", string(m.Message))
		case m.Value == nil:
			row(w, "value", "none (tombstone)")
		default:
			row(w, "undecodable", m.Undecodable)
			row(w, "value", readable(m.Value))
		}
	})
}

// readable is text as it is and other bytes escaped; all of it, in base64, is in
// the JSON output.
func readable(b []byte) string {
	const most = 2_000
	text, rest := b, ""
	if len(b) > most {
		text, rest = b[:most], "…"
	}
	if utf8.Valid(b) {
		return string(text) + rest
	}
	return strconv.QuoteToASCII(string(text)) + rest
}
