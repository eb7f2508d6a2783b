package verify

import (
	"hash/maphash"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxConsumers is the width of event.due.
const maxConsumers = 64

// What is known of an event.
const (
	hasRow  uint8 = 1 << iota // visible in the snapshot, or found afterwards
	inKafka                   // a record that is the row's own
	parked                    // by the relay
	alien                     // a record under this id says something else
)

// event is what the ledger keeps of one: no strings, for there are many.
type event struct {
	id     uuid.UUID
	sum    uint64 // of topic, key, type and version
	at     int64  // created_at, Unix microseconds
	offset int64
	due    uint64 // consumers that must have a claim
	topic  int32
	part   int32
	state  uint8
}

func (e *event) time() time.Time { return time.UnixMicro(e.at) }

// ledger puts rows and records side by side. It does no I/O.
type ledger struct {
	limit  int
	seed   maphash.Seed
	events []event
	byID   map[uuid.UUID]int32
	topics []string
	index  map[string]int32
	last   map[stream]version

	rows                    int // events of the snapshot: the first ones
	records, repeats, ahead int64
	order, phantom          Check
}

// stream is what keeps its order: a key within a partition. A key that moved
// because partitions were added has two.
type stream struct {
	topic, part int32
	key         string
}

type version struct {
	number int64
	id     uuid.UUID
}

func newLedger(limit int) *ledger {
	return &ledger{
		limit: limit, seed: maphash.MakeSeed(),
		byID: make(map[uuid.UUID]int32), index: make(map[string]int32), last: make(map[stream]version),
		order:   Check{Name: "first occurrences of a key are in version order"},
		phantom: Check{Name: "every record belongs to a committed row"},
	}
}

func (l *ledger) topic(name string) int32 {
	n, ok := l.index[name]
	if !ok {
		n = int32(len(l.topics))
		l.topics, l.index[name] = append(l.topics, name), n
	}
	return n
}

// row is a row of the outbox.
type row struct {
	id            uuid.UUID
	aggregateType string
	key           string
	version       int64
	kind          string
	at            time.Time
}

func (l *ledger) sum(topic, key, kind string, version int64) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for _, s := range []string{topic, key, kind} {
		_, _ = h.WriteString(strconv.Itoa(len(s))) // never fails
		_ = h.WriteByte(' ')
		_, _ = h.WriteString(s)
	}
	_, _ = h.WriteString(strconv.FormatInt(version, 10))
	return h.Sum64()
}

// addRow takes a row of the snapshot. Two rows may share an id, since only the
// table's time partitions are unique in it; they are one event.
func (l *ledger) addRow(topic string, r row) {
	if l.find(r.id) != nil {
		return
	}
	l.byID[r.id] = int32(len(l.events))
	l.events = append(l.events, event{
		id: r.id, sum: l.sum(topic, r.key, r.kind, r.version), at: r.at.UnixMicro(),
		topic: l.topic(topic), part: -1, state: hasRow,
	})
	l.rows = len(l.events)
}

func (l *ledger) find(id uuid.UUID) *event {
	n, ok := l.byID[id]
	if !ok {
		return nil
	}
	return &l.events[n]
}

// addRecord takes a record of Kafka, in offset order within its partition. due
// has a bit for each consumer that is behind it and takes its topic; waiting is
// how many are ahead of them.
func (l *ledger) addRecord(r *kgo.Record, due uint64, waiting int) {
	l.records++
	kind, sequence, raw := headers(r)
	id, err := uuid.Parse(raw)
	if err != nil {
		where := r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "@" + strconv.FormatInt(r.Offset, 10)
		l.phantom.breach(l.limit, where, "the record has no event id of ours (%q)", raw)
		return
	}
	number, _ := strconv.ParseInt(sequence, 10, 64) // absent or foreign: 0, which no row has but one without a version
	sum := l.sum(r.Topic, string(r.Key), kind, number)
	e := l.find(id)
	if e == nil {
		l.byID[id] = int32(len(l.events))
		l.events = append(l.events, event{id: id, sum: sum, at: r.Timestamp.UnixMicro(), topic: l.topic(r.Topic), part: -1})
		e = &l.events[len(l.events)-1]
	}
	if e.sum != sum {
		if e.state&alien == 0 {
			e.state |= alien
			l.phantom.breach(l.limit, id.String(), "%s/%d@%d has another topic, key, type or version than its row", r.Topic, r.Partition, r.Offset)
		}
		return
	}
	if e.state&inKafka != 0 {
		l.repeats++
		return
	}
	e.state |= inKafka
	e.part, e.offset, e.due = r.Partition, r.Offset, due
	l.ahead += int64(waiting)
	if number > 0 {
		l.judgeOrder(stream{e.topic, r.Partition, string(r.Key)}, version{number, id}, r)
	}
}

func (l *ledger) judgeOrder(s stream, v version, r *kgo.Record) {
	before, ok := l.last[s]
	if ok && v.number <= before.number {
		l.order.breach(l.limit, v.id.String(), "version %d at %s/%d@%d comes after version %d (%s) of key %q",
			v.number, r.Topic, r.Partition, r.Offset, before.number, before.id, s.key)
		return
	}
	l.last[s] = v
	l.order.Judged++
}

// headers returns what identifies a record. The first header of a name counts.
func headers(r *kgo.Record) (kind, sequence, id string) {
	var ceID string
	for i := len(r.Headers) - 1; i >= 0; i-- {
		h := &r.Headers[i]
		switch h.Key {
		case "ce_type":
			kind = string(h.Value)
		case "ce_sequence":
			sequence = string(h.Value)
		case "id":
			id = string(h.Value)
		case "ce_id":
			ceID = string(h.Value)
		}
	}
	if id == "" {
		id = ceID
	}
	return kind, sequence, id
}
