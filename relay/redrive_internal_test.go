package relay

import (
	"context"
	"testing"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
)

// taking is a sink that takes everything.
type taking struct{ records []*format.Record }

func (k *taking) Send(r *format.Record, _ func(*format.Record, error)) error {
	k.records = append(k.records, r)
	return nil
}
func (*taking) Reset(context.Context) error { return nil }
func (*taking) Close(context.Context) error { return nil }

// A row whose bytes were too many to be kept waits for a key that is let go: no empty
// record goes out in its place, and what is behind it waits for it.
func TestLetGoSendsNoEmptyRecord(t *testing.T) {
	t.Parallel()
	var sink taking
	key := kafkastate.BlockKey("public.giants", "k")
	s := &session{r: &Relay{cfg: Config{Sink: &sink}}, blocked: map[string]struct{}{key: {}}}
	record := func(value []byte) *format.Record {
		return &format.Record{Topic: "t", Key: []byte("k"), Value: value, Headers: []format.Header{{Key: "id"}}}
	}
	small, giant, behind := record([]byte("small")), record(make([]byte, maxKept+1)), record([]byte("behind"))
	for _, r := range []*format.Record{small, giant, behind} {
		if err := s.setAside(origin{table: &table{name: "public.giants"}}, r, nil, true); err != nil {
			t.Fatal(err)
		}
	}
	s.letGo(key)
	if len(sink.records) != 1 || sink.records[0] != small {
		t.Fatalf("%d records went out", len(sink.records))
	}
	if !s.blocks(key) || len(s.parking) != 2 || s.parking[0].record != giant || s.parking[1].record != behind {
		t.Fatalf("blocked %v, %d rows to be parked", s.blocks(key), len(s.parking))
	}
	if p := s.parking[0]; p.status != statusParked || p.why().Reason != format.TooLarge {
		t.Errorf("status %s for %s", p.status, p.why())
	}
	if p := s.parking[1]; p.status != statusWaiting {
		t.Errorf("status %s of what is behind", p.status)
	}
}
