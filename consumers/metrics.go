package consumers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/pgtext"
)

// metrics are shared by all consumers of a registerer.
type metrics struct {
	events      *prometheus.CounterVec
	failures    *prometheus.CounterVec
	retries     *prometheus.CounterVec
	parkedTotal *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	batch       *prometheus.HistogramVec
	lagMessages *prometheus.GaugeVec
	lagSeconds  *prometheus.GaugeVec
	held        *prometheus.GaugeVec
	keys        *prometheus.GaugeVec
	waiting     *prometheus.GaugeVec
	letters     *prometheus.GaugeVec
	oldest      *prometheus.GaugeVec
}

// newMetrics registers the metrics with r, or finds them there: several Runners
// of one process may share a registerer.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		events:      counter("gapless_inbox_events_total", "Messages settled, by what became of them: applied, duplicate, ignored, waiting or parked.", "consumer", "type", "result"),
		failures:    counter("gapless_inbox_failures_total", "Tries at single messages that failed.", "consumer", "type"),
		retries:     counter("gapless_inbox_retries_total", "Tries again: of a transaction (again), of a batch message by message (singly), of a failed message (failed), for a dependency (held).", "consumer", "reason"),
		parkedTotal: counter("gapless_dlq_in_total", "Messages parked as dead letters.", "consumer", "cause"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gapless_inbox_process_duration_seconds", Help: "Committed transactions, from the connection to the COMMIT's answer.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"consumer"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gapless_inbox_batch_messages", Help: "Messages in one committed transaction.",
			Buckets:                     []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"consumer"}),
		lagMessages: gauge("gapless_inbox_lag_messages", "Messages between the last settled one and the partition's end.", "consumer", "topic", "partition"),
		lagSeconds:  gauge("gapless_inbox_lag_seconds", "Age of the oldest message received and not settled; 0 when there is none.", "consumer", "topic", "partition"),
		held:        gauge("gapless_inbox_partition_held", "1 while a partition waits for a dependency, the database, or a failed message's next try.", "consumer", "topic", "partition"),
		keys:        gauge("gapless_inbox_blocked_keys", "Keys that wait for a dead letter.", "consumer"),
		waiting:     gauge("gapless_inbox_waiting_messages", "Messages behind blocked keys.", "consumer"),
		letters:     gauge("gapless_dlq_messages", "Dead letters that are neither redriven nor discarded.", "consumer"),
		oldest:      gauge("gapless_dlq_oldest_seconds", "Age of the oldest open dead letter; 0 when there is none.", "consumer"),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(
		register(r, &m.events), register(r, &m.failures), register(r, &m.retries), register(r, &m.parkedTotal),
		register(r, &m.duration), register(r, &m.batch), register(r, &m.lagMessages), register(r, &m.lagSeconds),
		register(r, &m.held), register(r, &m.keys), register(r, &m.waiting), register(r, &m.letters), register(r, &m.oldest),
	)
}

func register[C prometheus.Collector](r prometheus.Registerer, c *C) error {
	err := r.Register(*c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			*c = existing
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// consumerMetrics are those of one consumer.
type consumerMetrics struct {
	*metrics
	consumer string
	known    []string // types that always have a label of their own

	mu    sync.Mutex
	types map[string]bool // further ones, at most maxTypes
}

// maxTypes bounds the label type for a consumer that takes every type: a
// foreign producer chooses those names.
const maxTypes = 64

func (m *metrics) of(c Consumer) *consumerMetrics {
	return &consumerMetrics{metrics: m, consumer: c.Name, known: c.Types, types: map[string]bool{}}
}

func (m *consumerMetrics) typeLabel(typ string) string {
	if slices.Contains(m.known, typ) {
		return typ
	}
	if len(m.known) > 0 {
		return "other"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.types[typ]:
	case len(m.types) >= maxTypes || len(typ) > 128 || typ != pgtext.Clean(typ):
		return "other"
	default:
		m.types[typ] = true
	}
	return typ
}

// committed counts a transaction and what it settled.
func (m *consumerMetrics) committed(items []*item, took time.Duration) {
	m.duration.WithLabelValues(m.consumer).Observe(took.Seconds())
	m.batch.WithLabelValues(m.consumer).Observe(float64(len(items)))
	type label struct {
		typ     string
		outcome Outcome
	}
	counts := make(map[label]int, 4)
	for _, it := range items {
		counts[label{it.Type, it.outcome}]++
	}
	for l, n := range counts {
		m.events.WithLabelValues(m.consumer, m.typeLabel(l.typ), string(l.outcome)).Add(float64(n))
	}
}

func (m *consumerMetrics) parked(it *item, reason string) {
	m.events.WithLabelValues(m.consumer, m.typeLabel(it.Type), string(it.outcome)).Inc()
	if it.outcome != Parked {
		return
	}
	switch reason {
	case ReasonFailed, ReasonPanic, ReasonDied, ReasonNoType:
	default:
		reason = "poison" // a handler's own words are no label
	}
	m.parkedTotal.WithLabelValues(m.consumer, reason).Inc()
}

func (m *consumerMetrics) failed(it *item) {
	m.failures.WithLabelValues(m.consumer, m.typeLabel(it.Type)).Inc()
}

func (m *consumerMetrics) retry(reason string) { m.retries.WithLabelValues(m.consumer, reason).Inc() }

func (m *consumerMetrics) partition(s PartitionStatus) {
	labels := []string{m.consumer, s.Topic, strconv.Itoa(int(s.Partition))}
	m.lagMessages.WithLabelValues(labels...).Set(float64(s.LagMessages))
	m.lagSeconds.WithLabelValues(labels...).Set(s.LagSeconds)
	held := 0.0
	if s.State != StateRunning {
		held = 1
	}
	m.held.WithLabelValues(labels...).Set(held)
}

// forget removes the gauges of a partition that is no longer ours: a lag that
// nobody measures any more must not stand.
func (m *consumerMetrics) forget(topic string, partition int32) {
	labels := []string{m.consumer, topic, strconv.Itoa(int(partition))}
	m.lagMessages.DeleteLabelValues(labels...)
	m.lagSeconds.DeleteLabelValues(labels...)
	m.held.DeleteLabelValues(labels...)
}

func (m *consumerMetrics) standing(s standing) {
	m.keys.WithLabelValues(m.consumer).Set(float64(s.keys))
	m.waiting.WithLabelValues(m.consumer).Set(float64(s.waiting))
	m.letters.WithLabelValues(m.consumer).Set(float64(s.letters))
	m.oldest.WithLabelValues(m.consumer).Set(s.oldest)
}
