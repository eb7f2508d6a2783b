package relay_test

import (
	"errors"
	"testing"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// A made-up row becomes a record, of each format.
func TestMadeUpRows(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"gapless.outbox", "gapless.dead_letter", "public.own"} {
		x, err := relay.ExplainMadeUp(nil, table)
		if err != nil || x.Fault != nil || x.Record.Topic == "" || len(x.Record.Key) == 0 || len(x.Record.Value) == 0 {
			t.Errorf("%s: %+v, %v", table, x, err)
		}
		if d, err := relay.Describe(nil, table); err != nil || d.Topic == "" || d.Key == "" || d.Value == "" || len(d.Headers) == 0 || d.Partition == "" || d.Timestamp == "" {
			t.Errorf("%s: %+v, %v", table, d, err)
		}
	}
	left := map[string]format.Format{"a.b": nil}
	if _, err := relay.ExplainMadeUp(left, "a.b"); !errors.Is(err, relay.ErrLeftOut) {
		t.Errorf("left out: %v", err)
	}
}
