package relay

import (
	"fmt"
	"strings"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// EmittedPrefix marks an event that the outbox library wrote in WAL mode.
const EmittedPrefix = "gapless.outbox"

// messageRelation is what the messages of a prefix are called where a row has its table.
const messageRelation = "message."

// emission makes records of the messages of one prefix.
type emission struct {
	table table // stands for them
	rows  interface {
		Record(p format.Position, content []byte, b *format.Buffer, out *format.Record) error
	}
}

// emissions are those of every prefix that is sent.
func emissions(cfg Config) (map[string]*emission, error) {
	all := map[string]*emission{}
	for prefix, router := range cfg.Messages {
		e := &emission{table: table{name: messageRelation + prefix}}
		var err error
		if prefix == EmittedPrefix {
			// The library writes an aggregate's events to either: they wait for each other.
			e.table.name = "gapless.outbox"
			native, _ := cfg.formatOf("gapless.outbox").(format.Native) // another format leaves Native's defaults
			e.rows, err = format.NewEmitted(native)
		} else {
			e.rows, err = router.Messages()
		}
		if err != nil {
			return nil, fmt.Errorf("messages %s: %w", prefix, err)
		}
		all[prefix] = e
	}
	return all, nil
}

// prefixes are those that are sent.
func (c Config) prefixes() map[string]bool {
	all := map[string]bool{}
	for prefix := range c.Messages {
		all[prefix] = true
	}
	return all
}

// logical handles a message. A transactional one is a change, whatever it holds.
func (s *session) logical(m *pgoutput.Logical) error {
	e := s.emissions[string(m.Prefix)]
	if !m.Transactional {
		// It belongs to no transaction, so no position could hold it.
		if e != nil && !s.warned[string(m.Prefix)] {
			s.warned[string(m.Prefix)] = true
			s.r.log.Error("message is not transactional and is not relayed: write it with pg_logical_emit_message(true, …)", "prefix", string(m.Prefix))
		}
		return nil
	}
	index, skip, err := s.machine.Change()
	if err != nil || skip || e == nil {
		return err
	}
	s.place.Index = index
	record, buf := s.slabs.next()
	return s.route(origin{table: &e.table, message: m.Content}, record, e.rows.Record(s.place, m.Content, buf, record))
}

// remakeMessage fills r from a message that was parked.
func (s *session) remakeMessage(row *parkedRow, buf *format.Buffer, r *format.Record) error {
	e := s.emissions[strings.TrimPrefix(row.Relation, messageRelation)]
	if e == nil {
		return &format.Fault{Reason: format.Unconvertible, Detail: "the configuration leaves the messages of " + row.Relation + " out"}
	}
	return e.rows.Record(row.place(), row.source.Message, buf, r)
}
