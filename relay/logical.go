package relay

import (
	"github.com/gapless/gapless/relay/pgoutput"
)

// logical handles a transactional message. Its change counts whatever it
// holds; only the outbox library's prefix is an event.
func (s *session) logical(m *pgoutput.Logical) error {
	index, skip, err := s.machine.Change()
	if err != nil || skip || string(m.Prefix) != emittedPrefix {
		return err
	}
	s.place.Index = index
	record, buf := s.slabs.next()
	return s.route(origin{table: &emittedTable, message: m.Content}, record, s.emitted.Record(s.place, m.Content, buf, record))
}

// emittedTable stands for the messages where a row has its table.
var emittedTable = table{name: "message." + emittedPrefix}

// emittedPrefix marks an event that the outbox library wrote in WAL mode.
const emittedPrefix = "gapless.outbox"
