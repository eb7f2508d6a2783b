package relay

import (
	"fmt"
	"time"

	"github.com/gapless/gapless/relay/format"
)

// span is how far from now a topic lets a record's timestamp be. A broker
// refuses a whole batch for one record outside of it (INVALID_TIMESTAMP), so
// that a row with a created_at of next year would hold everything behind it.
type span struct{ before, after time.Duration }

// defaultSpan is what Kafka has since 4.0 where nothing is set (KIP-1030).
var defaultSpan = span{before: maxSpan, after: time.Hour}

const maxSpan = time.Duration(1<<63 - 1)

// refuses is the fault of a record that the topic would not take now.
func (s *span) refuses(r *format.Record) *format.Fault {
	ahead := time.Until(r.Timestamp) // saturates
	isEarly := s.before != maxSpan && ahead < -s.before || r.Timestamp.UnixMilli() < 0
	if !isEarly && ahead <= s.after {
		return nil
	}
	return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("timestamp %s is not within what topic %s takes: %s back, %s ahead",
		r.Timestamp.UTC().Format(time.RFC3339), r.Topic, s.before, s.after)}
}
