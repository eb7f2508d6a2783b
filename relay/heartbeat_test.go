package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// beating is a memory that takes heartbeats, or waits with one until it is given up.
type beating struct {
	memory
	beats chan format.Record
	stuck chan struct{} // receives when one waits; nil: none does
}

func (m *beating) Beat(ctx context.Context, r *format.Record) error {
	if m.stuck != nil {
		m.stuck <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case m.beats <- *r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var plainJSON = eventrouter.Converter{Class: eventrouter.JSONConverter}

func beatOf(topic string) relay.Heartbeat {
	return relay.Heartbeat{Every: 20 * time.Millisecond, Topic: topic, As: eventrouter.Config{ServerName: "shop", Key: plainJSON, Value: plainJSON}}
}

// Heartbeats come while the relay streams, and no others; none counts as an event.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := beating{beats: make(chan format.Record)}
	cfg := s.config(&sink)
	cfg.Heartbeat = beatOf("__debezium-heartbeat.shop")
	r := run(t, cfg)
	first := <-sink.beats
	if first.Topic != "__debezium-heartbeat.shop" || string(first.Key) != `{"serverName":"shop"}` || first.Partition != 0 || len(first.Headers) != 0 ||
		string(first.Value) != fmt.Sprintf(`{"ts_ms":%d}`, first.Timestamp.UnixMilli()) {
		t.Errorf("%+v: %s", first, first.Value)
	}
	s.append(t, "k", "1")
	want(t, &sink.memory, "1")
	s.stored(t, r, 1)
	<-sink.beats
	s.pause(t, true)
	r.become(relay.Paused)
	paused := 0
	for window := time.After(20 * cfg.Heartbeat.Every); window != nil; {
		select {
		case <-sink.beats:
			paused++
		case <-window:
			window = nil
		}
	}
	if paused > 1 { // one was on its way when the pause came
		t.Errorf("a paused relay sent %d heartbeats", paused)
	}
	s.pause(t, false)
	<-sink.beats
	if got := r.Status().Events; got != 1 || len(sink.records()) != 1 {
		t.Errorf("%d events, %d records", got, len(sink.records()))
	}
}

// A heartbeat that does not arrive holds up neither events nor the stop.
func TestHeartbeatThatIsStuck(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := beating{stuck: make(chan struct{})}
	cfg := s.config(&sink)
	cfg.Heartbeat = beatOf("beats")
	r := run(t, cfg)
	<-sink.stuck
	s.append(t, "k", "1", "2")
	want(t, &sink.memory, "1", "2")
	s.stored(t, r, 2)
	r.stop()
}

// The topic of heartbeats may be missing: events go on, and heartbeats come when it is
// there, all on one partition.
func TestHeartbeatOnKafka(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	kafkaserver.CreateTopic(t, brokers, "outbox.event."+aggregate, 1)
	beats := kafkaserver.Name(t, "__debezium-heartbeat.")
	reg := prometheus.NewRegistry()
	cfg := s.config(kafkaSink(t, brokers))
	cfg.Heartbeat, cfg.Registerer = beatOf(beats), reg
	r := run(t, cfg)
	counted := func(result string) (n float64) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "gapless_relay_heartbeats_total" && m.GetLabel()[0].GetValue() == result {
					n = m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	failed := func() error {
		if counted("failed") == 0 {
			return errors.New("no heartbeat has failed")
		}
		return nil
	}
	testkit.Eventually(t, patience, failed)
	s.appendTo(t, aggregate, 100)
	follow(t, brokers, "outbox.event."+aggregate).has(t, 100)
	s.stored(t, r, 100)
	if st := r.Status(); st.State != relay.Streaming || st.Held != 0 || st.Reconnects != 0 || counted("sent") != 0 {
		t.Errorf("%+v, %v sent", st, counted("sent"))
	}
	kafkaserver.CreateTopic(t, brokers, beats, 3)
	for _, b := range follow(t, brokers, beats).has(t, 5) {
		if b.Partition != 0 || string(b.Key) != `{"serverName":"shop"}` || string(b.Value) != fmt.Sprintf(`{"ts_ms":%d}`, b.Timestamp.UnixMilli()) {
			t.Errorf("%+v: %s", b, b.Value)
		}
	}
	r.stop()
}

func TestHeartbeatConfig(t *testing.T) {
	t.Parallel()
	good := beatOf("beats")
	for what, c := range map[string]struct {
		change func(*relay.Heartbeat)
		sink   relay.Sink
	}{
		"negative":        {func(h *relay.Heartbeat) { h.Every = -1 }, &beating{}},
		"ServerName":      {func(h *relay.Heartbeat) { h.As.ServerName = "" }, &beating{}},
		"topic name":      {func(h *relay.Heartbeat) { h.Topic = "a b" }, &beating{}},
		"no bytes":        {func(h *relay.Heartbeat) { h.As.Key = eventrouter.Converter{Class: eventrouter.BytesConverter} }, &beating{}},
		"relay_test.memo": {func(*relay.Heartbeat) {}, &memory{}},
	} {
		h := good
		c.change(&h)
		if _, err := relay.New(relay.Config{DatabaseURL: "postgres://h/d", Sink: c.sink, Heartbeat: h}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
