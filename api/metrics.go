package api

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are listed in the package comment.
type metrics struct {
	inFlight    prometheus.Gauge
	streams     prometheus.Gauge
	requests    *prometheus.HistogramVec
	panics      prometheus.Counter
	checkouts   *prometheus.CounterVec
	transaction prometheus.Histogram
	idempotency *prometheus.CounterVec
	deleted     prometheus.Counter
}

func newMetrics() *metrics {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	return &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gapless_http_requests_in_flight", Help: "HTTP requests under way, streams included.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gapless_http_streams", Help: "Requests that wait or watch.",
		}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gapless_http_request_duration_seconds", Help: "Time from the request's header to the end of the answer.",
			Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"method", "route", "code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_http_panics_total", Help: "Handlers that panicked.",
		}),
		checkouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gapless_checkout_requests_total", Help: "Requests to place an order, by outcome.",
		}, []string{"result"}),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gapless_checkout_duration_seconds", Help: "Time of the transaction of an order, the wait for a connection included.",
			Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}),
		idempotency: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gapless_idempotency_requests_total", Help: "Requests with an Idempotency-Key, by what the key was found to be.",
		}, []string{"result"}),
		deleted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_idempotency_keys_deleted_total", Help: "Idempotency keys deleted by retention.",
		}),
	}
}

func (m *metrics) collectors(pool *pgxpool.Pool) []prometheus.Collector {
	connections := func(state string, count func(*pgxpool.Stat) int32) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gapless_checkout_connections", Help: "Connections to Postgres, by state.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(count(pool.Stat())) })
	}
	return []prometheus.Collector{
		m.inFlight, m.streams, m.requests, m.panics, m.checkouts, m.transaction, m.idempotency, m.deleted,
		connections("acquired", (*pgxpool.Stat).AcquiredConns),
		connections("idle", (*pgxpool.Stat).IdleConns),
		connections("max", (*pgxpool.Stat).MaxConns),
	}
}

// register adds all or none.
func (m *metrics) register(r prometheus.Registerer, pool *pgxpool.Pool) (unregister func(), err error) {
	var done []prometheus.Collector
	unregister = func() {
		for _, c := range done {
			r.Unregister(c)
		}
	}
	for _, c := range m.collectors(pool) {
		if err := r.Register(c); err != nil {
			unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
		done = append(done, c)
	}
	return unregister, nil
}

// placed counts the outcome of a request to place an order.
func (m *metrics) placed(a answer, err error) {
	if err == nil {
		if a.replayed {
			m.checkouts.WithLabelValues("replayed").Inc()
			m.idempotency.WithLabelValues("replayed").Inc()
			return
		}
		m.checkouts.WithLabelValues("accepted").Inc()
		m.idempotency.WithLabelValues("first").Inc()
		return
	}
	p := problemOf(err)
	result := "error"
	switch p.kind {
	case kindInFlight:
		result = "in_flight"
		m.idempotency.WithLabelValues("conflict").Inc()
	case kindMismatch:
		result = "mismatch"
		m.idempotency.WithLabelValues("mismatch").Inc()
	case kindUnavailable:
		result = "unavailable"
	case kindUnknown:
		result = "unknown"
	default:
		if p.kind.status < 500 {
			result = "invalid"
		}
	}
	m.checkouts.WithLabelValues(result).Inc()
}
