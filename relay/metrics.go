package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are listed in the package comment.
type metrics struct {
	events          *prometheus.CounterVec
	publish         prometheus.Histogram
	commitToAck     prometheus.Histogram
	reconnects      *prometheus.CounterVec
	lag             prometheus.Gauge
	unpublished     prometheus.Gauge
	queueRecords    prometheus.Gauge
	queueBytes      prometheus.Gauge
	leader          prometheus.Gauge
	paused          prometheus.Gauge
	holding         prometheus.Gauge
	held            prometheus.Gauge
	rowsParked      prometheus.Gauge
	progressWrites  *prometheus.CounterVec
	rowsDeleted     *prometheus.CounterVec
	slotActive      prometheus.Gauge
	slotRetained    prometheus.Gauge
	slotSafe        prometheus.Gauge
	slotStatus      *prometheus.GaugeVec
	slotUnconfirmed prometheus.Gauge

	partitionsDropped prometheus.Counter

	topics map[string]*topicMetrics
}

type topicMetrics struct{ published, parked, waiting, redriven, failed prometheus.Counter }

func newMetrics(reg prometheus.Registerer, slot string) (*metrics, error) {
	labels := prometheus.Labels{"slot": slot}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	counters := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, by)
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, ConstLabels: labels,
			Buckets:                        []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		})
	}
	m := &metrics{
		events:         counters("gapless_relay_events_total", "Rows handled, by topic and result: published, parked, waiting, redriven, failed.", "topic", "result"),
		publish:        histogram("gapless_relay_publish_duration_seconds", "From handing a record to the sink to its acknowledgement."),
		commitToAck:    histogram("gapless_relay_commit_to_ack_seconds", "From a row's commit, by the server's clock, to its acknowledgement, by ours."),
		reconnects:     counters("gapless_relay_reconnects_total", "Streams started again, by the peer that failed and the reason.", "peer", "reason"),
		lag:            gauge("gapless_relay_lag_seconds", "Time since the commit of the oldest event in flight; 0 when none is."),
		unpublished:    gauge("gapless_relay_unpublished_bytes", "WAL the server has told of and that is not acknowledged."),
		queueRecords:   gauge("gapless_relay_queue_records", "Records in flight."),
		queueBytes:     gauge("gapless_relay_queue_bytes", "Bytes of the records in flight."),
		leader:         gauge("gapless_relay_leader", "1 while this relay holds the slot."),
		paused:         gauge("gapless_relay_paused", "1 while an operator has paused this relay."),
		holding:        gauge("gapless_relay_holding", "1 while the sink does not acknowledge."),
		held:           gauge("gapless_relay_held_records", "Rows that wait for a topic which takes nothing."),
		rowsParked:     gauge("gapless_rows_parked", "Rows in gapless.parked that are not sent and not discarded."),
		progressWrites: counters("gapless_relay_progress_writes_total", "Writes of the progress record, by result: stored, failed.", "result"),
		rowsDeleted:    counters("gapless_relay_rows_deleted_total", "Relayed rows deleted from tables of one's own.", "table"),
		partitionsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_relay_partitions_dropped_total", Help: "Partitions of the outbox dropped after all of their rows were relayed.", ConstLabels: labels,
		}),
		slotActive:      gauge("gapless_slot_active", "1 while a walsender serves the slot."),
		slotRetained:    gauge("gapless_slot_retained_bytes", "WAL that the slot keeps on the server's disk."),
		slotSafe:        gauge("gapless_slot_safe_bytes", "WAL that may still be written before the slot is lost; -1 without a limit."),
		slotStatus:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gapless_slot_status", Help: "1 for the slot's wal_status.", ConstLabels: labels}, []string{"status"}),
		slotUnconfirmed: gauge("gapless_slot_unconfirmed_bytes", "WAL between the server's end and what the slot was told."),
		topics:          map[string]*topicMetrics{},
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.events, m.publish, m.commitToAck, m.reconnects, m.lag, m.unpublished, m.queueRecords, m.queueBytes, m.leader, m.paused,
		m.holding, m.held, m.rowsParked, m.progressWrites, m.rowsDeleted, m.partitionsDropped, m.slotActive, m.slotRetained, m.slotSafe, m.slotStatus, m.slotUnconfirmed,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// maxTopics bounds the label: a writer that makes up topics must not grow the
// series without end. Beyond it events count under "other".
const maxTopics = 1000

func (m *metrics) topic(name string) *topicMetrics {
	if t, ok := m.topics[name]; ok {
		return t
	}
	if len(m.topics) >= maxTopics && name != "other" {
		return m.topic("other")
	}
	t := &topicMetrics{
		published: m.events.WithLabelValues(name, "published"),
		parked:    m.events.WithLabelValues(name, "parked"),
		waiting:   m.events.WithLabelValues(name, "waiting"),
		redriven:  m.events.WithLabelValues(name, "redriven"),
		failed:    m.events.WithLabelValues(name, "failed"),
	}
	m.topics[name] = t
	return t
}

func (m *metrics) slot(f slotFigures) {
	m.slotActive.Set(flag(f.Active))
	m.slotRetained.Set(float64(f.RetainedBytes))
	m.slotSafe.Set(float64(f.SafeBytes))
	for _, status := range []string{"reserved", "extended", "unreserved", "lost"} {
		m.slotStatus.WithLabelValues(status).Set(flag(f.WALStatus == status))
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
