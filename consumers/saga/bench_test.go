package saga_test

import (
	"testing"
	"time"
)

// BenchmarkPipeline is what the services cost without a broker: orders, from
// placed to confirmed and every reader done, a batch at a time on one connection.
func BenchmarkPipeline(bench *testing.B) {
	b := newBus(bench, 1)
	b.stock(map[string]int{"A-1": 100_000_000, "B-1": 100_000_000})
	busy := make(map[string]time.Duration)
	for bench.Loop() {
		for range 500 {
			b.place(order())
		}
		for moved := true; moved; {
			b.carry()
			moved = false
			for name := range b.services {
				start := time.Now()
				for b.deliver(name, 500) {
					moved = true
				}
				busy[name] += time.Since(start)
			}
		}
		// The bus reads the whole table at each step; that is not the services'.
		if _, err := b.admin.Exec(bench.Context(), "truncate gapless.outbox"); err != nil {
			bench.Fatal(err)
		}
	}
	var all time.Duration
	for name, d := range busy {
		all += d
		bench.ReportMetric(float64(d.Microseconds())/float64(500*bench.N), name+"-µs/order")
	}
	bench.ReportMetric(float64(500*bench.N)/all.Seconds(), "orders/s")
}
