package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are listed in the package comment.
type metrics struct {
	events         *prometheus.CounterVec
	publish        prometheus.Histogram
	commitToAck    prometheus.Histogram
	reconnects     *prometheus.CounterVec
	lag            prometheus.Gauge
	unpublished    prometheus.Gauge
	queueRecords   prometheus.Gauge
	queueBytes     prometheus.Gauge
	leader         prometheus.Gauge
	paused         prometheus.Gauge
	holding        prometheus.Gauge
	held           prometheus.Gauge
	progressWrites *prometheus.CounterVec
	rowsDeleted    *prometheus.CounterVec
	heartbeats     *prometheus.CounterVec

	// What the server told, without labels: there is no series while nothing is known.
	rowsParked, oldestTransaction                       *prometheus.GaugeVec
	slotActive, slotRetained, slotSafe, slotUnconfirmed *prometheus.GaugeVec
	slotStatus                                          *prometheus.GaugeVec

	partitionsDropped prometheus.Counter

	topics map[string]*topicMetrics
}

type topicMetrics struct{ published, parked, waiting, redriven, failed prometheus.Counter }

func newMetrics(reg prometheus.Registerer, slot string) (*metrics, error) {
	labels := prometheus.Labels{"slot": slot}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	told := func(name, help string, by ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, by)
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
		progressWrites: counters("gapless_relay_progress_writes_total", "Writes of the progress record, by result: stored, failed.", "result"),
		rowsDeleted:    counters("gapless_relay_rows_deleted_total", "Relayed rows deleted from tables of one's own.", "table"),
		heartbeats:     counters("gapless_relay_heartbeats_total", "Heartbeats, by result: sent, failed.", "result"),
		partitionsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_relay_partitions_dropped_total", Help: "Partitions of the outbox dropped after all of their rows were relayed.", ConstLabels: labels,
		}),
		rowsParked:        told("gapless_rows_parked", "Rows in gapless.parked that are not sent and not discarded."),
		oldestTransaction: told("gapless_oldest_transaction_seconds", "How long the server's oldest transaction is known to be open; 0 when none holds anything back."),
		slotActive:        told("gapless_slot_active", "1 while a walsender serves the slot."),
		slotRetained:      told("gapless_slot_retained_bytes", "WAL that the slot keeps on the server's disk."),
		slotSafe:          told("gapless_slot_safe_bytes", "WAL that may still be written before the slot is lost; -1 without a limit."),
		slotStatus:        told("gapless_slot_status", "1 for the slot's wal_status.", "status"),
		slotUnconfirmed:   told("gapless_slot_unconfirmed_bytes", "WAL between the server's end and what the slot was told."),
		topics:            map[string]*topicMetrics{},
	}
	if reg == nil {
		return m, nil
	}
	all := []prometheus.Collector{
		m.events, m.publish, m.commitToAck, m.reconnects, m.lag, m.unpublished, m.queueRecords, m.queueBytes, m.leader, m.paused,
		m.holding, m.held, m.progressWrites, m.rowsDeleted, m.heartbeats, m.partitionsDropped,
		m.rowsParked, m.oldestTransaction, m.slotActive, m.slotRetained, m.slotSafe, m.slotStatus, m.slotUnconfirmed,
	}
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			for _, done := range all[:i] {
				reg.Unregister(done)
			}
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

// idle resets what a stream has set.
func (m *metrics) idle() {
	for _, g := range []prometheus.Gauge{m.leader, m.paused, m.holding, m.held, m.lag, m.unpublished, m.queueRecords, m.queueBytes} {
		g.Set(0)
	}
}

// show sets what the server told.
func (m *metrics) show(f figures, oldest time.Duration) {
	set := func(g *prometheus.GaugeVec, v float64) { g.WithLabelValues().Set(v) }
	if f.parked != nil {
		set(m.rowsParked, float64(*f.parked))
	}
	set(m.oldestTransaction, seconds(oldest))
	set(m.slotActive, flag(f.slot.Active))
	set(m.slotRetained, float64(f.slot.RetainedBytes))
	set(m.slotSafe, float64(f.slot.SafeBytes))
	set(m.slotUnconfirmed, float64(f.slot.UnconfirmedBytes))
	for _, status := range []string{"reserved", "extended", "unreserved", "lost"} {
		m.slotStatus.WithLabelValues(status).Set(flag(f.slot.WALStatus == status))
	}
}

// forget removes what the server told: an old figure must not stand for a new one.
func (m *metrics) forget() {
	for _, g := range []*prometheus.GaugeVec{
		m.rowsParked, m.oldestTransaction, m.slotActive, m.slotRetained, m.slotSafe, m.slotUnconfirmed, m.slotStatus,
	} {
		g.Reset()
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
