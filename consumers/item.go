package consumers

import (
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// Outcome is what became of a message.
type Outcome string

// Outcomes, the words of gapless.inbox and of the metrics.
const (
	Applied   Outcome = "applied"   // its effect is committed
	Duplicate Outcome = "duplicate" // its event was claimed before; nothing was done
	Ignored   Outcome = "ignored"   // a type this consumer does not take
	Waiting   Outcome = "waiting"   // stored behind its blocked key
	Parked    Outcome = "parked"    // a dead letter; its key is blocked
)

// item is a message on its way through the inbox.
type item struct {
	*Message
	epoch   int32  // the record's leader epoch, for the offset commit
	ignored bool   // a type that the consumer does not take
	poison  string // why it can never be applied, known before any handler runs

	preparation *preparation // nil until Prepare is called
	outcome     Outcome      // "" until its transaction has committed
	isSettled   bool         // partition's: it has an outcome, earlier ones may not
	isRecorded  bool         // a try that has not ended yet is counted in gapless.inbox_attempt
	deaths      int          // tries that were counted when this process first looked
}

// bytes of the record.
func (it *item) bytes() int {
	n := len(it.Key) + len(it.Value)
	for _, h := range it.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// Reasons of dead letters that the runtime itself gives. [Poison] gives others.
const (
	ReasonFailed = "failed"       // the handler's error lasted for all tries
	ReasonPanic  = "panic"        // the same, with a panic
	ReasonDied   = "process_died" // the process died at each try
	ReasonNoType = "no_type"      // no ce_type, and the consumer chooses by type
)

// newItem applies the written rules that need no handler.
func (e *engine) newItem(m *Message, epoch int32) *item {
	it := &item{Message: m, epoch: epoch}
	switch types := e.consumer.Types; {
	case len(types) == 0 || slices.Contains(types, m.Type):
	case m.Type == "" && m.Value != nil:
		// Whether it was meant for this consumer cannot be told, so it may not
		// be passed over. A tombstone without a type says nothing to anybody.
		it.poison = ReasonNoType
	default:
		it.ignored = true
	}
	return it
}

// span is the least and the greatest event id of the items.
func span(items []*item) (least, most pgtype.UUID) {
	first, last := items[0].ID, items[0].ID
	for _, it := range items {
		if slices.Compare(it.ID[:], first[:]) < 0 {
			first = it.ID
		}
		if slices.Compare(it.ID[:], last[:]) > 0 {
			last = it.ID
		}
	}
	return id(first), id(last)
}

// keyOf is a key within a topic.
type keyOf struct{ topic, key string }

func (it *item) blockKey() keyOf { return keyOf{it.Topic, string(it.Key)} }

// sortedFirsts returns the items without the later occurrences of an event,
// sorted by id.
func sortedFirsts(items []*item) []*item {
	firsts := make([]*item, 0, len(items))
	seen := make(map[uuid.UUID]struct{}, len(items))
	for _, it := range items {
		if _, ok := seen[it.ID]; !ok {
			seen[it.ID] = struct{}{}
			firsts = append(firsts, it)
		}
	}
	slices.SortFunc(firsts, func(a, b *item) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return firsts
}

// keys returns the distinct keys of the items, as columns. A null key blocks
// nothing and is not among them.
func keys(items []*item) (topics []string, list [][]byte) {
	seen := make(map[keyOf]struct{}, len(items))
	for _, it := range items {
		if it.Key == nil {
			continue
		}
		if _, ok := seen[it.blockKey()]; !ok {
			seen[it.blockKey()] = struct{}{}
			topics, list = append(topics, it.Topic), append(list, it.Key)
		}
	}
	return topics, list
}
