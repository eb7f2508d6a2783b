package relay

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/gapless/gapless/relay/core"
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

// forgetful is a state whose answers to park are lost, and that has one request, which
// nothing waits for.
type forgetful struct {
	state
	lost     bool
	finished int
}

func (f *forgetful) park(context.Context, int64, []*parked) error {
	if f.lost {
		return errors.New("connection reset")
	}
	return nil
}

func (*forgetful) redrivable(context.Context, int64) ([]int64, []*parkedRow, error) {
	return []int64{1}, nil, nil
}

func (f *forgetful) finishRequests(context.Context, int64, []int64) (map[string]bool, error) {
	f.finished++
	return map[string]bool{kafkastate.BlockKey("public.t", "k"): false}, nil
}

// Rows that may have been parked are not let go from memory: they would go out from the
// state, too.
func TestNothingIsLetGoWhileAParkIsInDoubt(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(nil, "s")
	if err != nil {
		t.Fatal(err)
	}
	var sink taking
	key := kafkastate.BlockKey("public.t", "k")
	r := &Relay{cfg: Config{Sink: &sink}, log: slog.New(slog.DiscardHandler), metrics: m}
	kept := &forgetful{lost: true}
	r.remember(kept)
	s := &session{
		r: r, inbox: newInbox(), blocked: map[string]struct{}{key: {}},
		machine: core.New(core.Config{Position: core.Position{Resume: 10}, Confirmed: 10}, 0),
	}
	if err := s.machine.Begin(20, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.machine.Change(); err != nil {
		t.Fatal(err)
	}
	record, _ := s.slabs.next()
	s.slabs.keep(record)
	record.Topic, record.Key, record.Seq = "t", []byte("k"), s.machine.Track(1)
	if err := s.setAside(origin{table: &table{name: "public.t"}}, record, nil, true); err != nil {
		t.Fatal(err)
	}
	do := func(k kind, job func(context.Context)) {
		t.Helper()
		s.worker.busy, s.worker.kind = true, k
		job(t.Context())
		if err := s.takeInbox(0); err != nil || s.worker.busy {
			t.Fatalf("busy %v, %v", s.worker.busy, err)
		}
	}
	s.redrive.asked = true
	do(kindPark, s.storeParked())
	do(kindRedrive, s.redriveJob())
	if kept.finished != 0 || len(sink.records) != 0 || !s.redrive.asked || s.worker.again[kindRedrive] == 0 || !s.ready(kindPark, 0) {
		t.Fatalf("finished %d times, %d records sent, redrive %+v", kept.finished, len(sink.records), s.redrive)
	}
	kept.lost = false
	do(kindPark, s.storeParked())
	do(kindRedrive, s.redriveJob())
	if kept.finished != 1 || len(sink.records) != 0 || s.blocks(key) || len(s.parking) != 0 {
		t.Errorf("finished %d times, %d records sent, %d rows to be parked", kept.finished, len(sink.records), len(s.parking))
	}
}
