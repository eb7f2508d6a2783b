package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
)

func TestDebeziumMetrics(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(relay.DebeziumMetrics(r.Relay, "shop"))
	value := func(attribute string) float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			m := f.GetMetric()[0]
			if len(m.GetLabel()) != 3 || m.GetLabel()[1].GetValue() != "shop" {
				t.Fatalf("labels %v", m.GetLabel())
			}
			if f.GetName() == "debezium_metrics_"+attribute {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		t.Fatalf("no %s", attribute)
		return 0
	}
	r.become(relay.Streaming)
	if value("Connected") != 1 || value("MilliSecondsSinceLastEvent") != -1 || value("QueueRemainingCapacity") != value("QueueTotalCapacity") || value("MaxQueueSizeInBytes") <= 0 {
		t.Error("at rest")
	}
	s.append(t, "a", "1", "poison")
	s.stored(t, r, 2)
	if value("TotalNumberOfEventsSeen") != 2 || value("TotalNumberOfCreateEventsSeen") != 2 || value("NumberOfErroneousEvents") != 1 || value("MilliSecondsBehindSource") != 0 || value("MilliSecondsSinceLastEvent") < 0 {
		t.Errorf("after two rows: %+v", r.Status())
	}
	sink.hold()
	s.append(t, "b", "2")
	began := time.Now()
	testkit.Eventually(t, patience, func() error {
		if behind := value("MilliSecondsBehindSource"); behind <= 0 || value("CurrentQueueSizeInBytes") <= 0 || value("QueueRemainingCapacity") != value("QueueTotalCapacity")-1 {
			return fmt.Errorf("behind by %v after %s", behind, time.Since(began))
		}
		return nil
	})
	sink.release()
	r.stop()
	if value("Connected") != 0 {
		t.Error("connected after the stop")
	}
}
