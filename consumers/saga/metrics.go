package saga

import "github.com/prometheus/client_golang/prometheus"

// metrics of the timer. What it counts has been committed.
type metrics struct {
	resends   prometheus.Counter
	givenUp   prometheus.Counter
	instances *prometheus.GaugeVec
	oldest    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		resends: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_saga_resends_total", Help: "Commands sent again because they were not answered in time.",
		}),
		givenUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gapless_saga_given_up_total", Help: "Steps given up because they were never answered.",
		}),
		instances: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gapless_saga_instances", Help: "Sagas that are not over, by status.",
		}, []string{"status"}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gapless_saga_oldest_running_seconds", Help: "Age of the oldest saga that is not over and waits for no person.",
		}),
	}
	if r != nil {
		r.MustRegister(m.resends, m.givenUp, m.instances, m.oldest)
	}
	return m
}
