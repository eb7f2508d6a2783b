package relay

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DebeziumMetrics collects what the relay has in common with a Debezium connector, under
// the names that the example exporter of Debezium gives to the attributes of its
// streaming MBean: debezium_metrics_<Attribute>, with plugin "postgres", the given name
// (topic.prefix) and context "streaming". Dashboards that query these go on. Attributes
// that the relay has nothing for are not there. NumberOfErroneousEvents are parked rows;
// counters are of this process. Times are by this machine's clock.
func DebeziumMetrics(r *Relay, name string) prometheus.Collector {
	c := &debezium{relay: r}
	labels := prometheus.Labels{"plugin": "postgres", "name": name, "context": "streaming"}
	add := func(attribute, help string, kind prometheus.ValueType, value func(Status) float64) {
		c.attributes = append(c.attributes, debeziumAttribute{
			prometheus.NewDesc("debezium_metrics_"+attribute, help, nil, labels), kind, value,
		})
	}
	limits := r.cfg
	add("Connected", "1 while the slot is this relay's.", prometheus.GaugeValue, func(s Status) float64 {
		return flag(s.State == Streaming || s.State == Holding || s.State == Paused)
	})
	add("MilliSecondsBehindSource", "Since the commit of the oldest event in flight; 0 when none is.", prometheus.GaugeValue, func(s Status) float64 {
		return math.Trunc(1000 * s.LagSeconds)
	})
	add("MilliSecondsSinceLastEvent", "Since the newest acknowledged event was committed; -1 before the first.", prometheus.GaugeValue, func(s Status) float64 {
		if s.LastCommit.IsZero() {
			return -1
		}
		return float64(max(0, time.Since(s.LastCommit)).Milliseconds())
	})
	seen := func(s Status) float64 { return float64(s.Events) }
	add("TotalNumberOfEventsSeen", "Rows acknowledged or parked.", prometheus.CounterValue, seen)
	add("TotalNumberOfCreateEventsSeen", "Rows acknowledged or parked: an outbox has inserts alone.", prometheus.CounterValue, seen)
	add("NumberOfErroneousEvents", "Rows parked.", prometheus.CounterValue, func(s Status) float64 { return float64(s.Parked) })
	add("QueueTotalCapacity", "Most records in flight.", prometheus.GaugeValue, func(Status) float64 { return float64(limits.MaxRecords) })
	add("QueueRemainingCapacity", "Records that may still go out before an acknowledgement.", prometheus.GaugeValue, func(s Status) float64 {
		return float64(max(0, limits.MaxRecords-s.InFlight))
	})
	add("MaxQueueSizeInBytes", "Most bytes in flight.", prometheus.GaugeValue, func(Status) float64 { return float64(limits.MaxBytes) })
	add("CurrentQueueSizeInBytes", "Bytes in flight.", prometheus.GaugeValue, func(s Status) float64 { return float64(s.InFlightBytes) })
	return c
}

type debezium struct {
	relay      *Relay
	attributes []debeziumAttribute
}

type debeziumAttribute struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Status) float64
}

// Describe implements prometheus.Collector.
func (c *debezium) Describe(out chan<- *prometheus.Desc) {
	for i := range c.attributes {
		out <- c.attributes[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *debezium) Collect(out chan<- prometheus.Metric) {
	s := c.relay.Status()
	for i := range c.attributes {
		a := &c.attributes[i]
		out <- prometheus.MustNewConstMetric(a.desc, a.kind, a.value(s))
	}
}
