package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"debezium": `{"Contenders": [
			{"Name": "receive and drop", "EventsPerS": 50000, "CPUMicrosEvent": 2, "PeakMB": 38},
			{"Name": "relay to Kafka", "EventsPerS": 47000, "CPUMicrosEvent": 6, "PeakMB": 48},
			{"Name": "Debezium 3.6.0.Final", "EventsPerS": 10000, "CPUMicrosEvent": 120, "PeakMB": 900}]}`,
		"hundred-thousand": `{"Contenders": [{"Name": "relay to Kafka", "EventsPerS": 47000, "CPUMicrosEvent": 6, "PeakMB": 40}]}`,
		"ten-million":      `{"Contenders": [{"Name": "relay to Kafka", "EventsPerS": 47000, "CPUMicrosEvent": 6, "PeakMB": 60}]}`,
		"debezium-100":     `{"Contenders": [{"Name": "relay to Kafka", "EventsPerS": 47000}]}`,
		"latency-2000":     `{"relay_commit_to_consumer_ms": {"p50": 2, "p99": 10}, "debezium_commit_to_consumer_ms": {"p50": 14, "p99": 30}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := run(dir, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| single events | >= 0.95 x receive and drop | 0.940 (47000/s of 50000/s) | NOT reached |",
		"| single events | >= 3.5 x Debezium | 4.700 (47000/s of 10000/s) | reached |",
		"| transactions of 100 | >= 2.5 x Debezium |  | not measured |",
		"| CPU of a single event | <= 7 µs | 6.00 µs | reached |",
		"| peak RSS, 500,000 single events | <= 48 MB | 48.00 MB | reached |",
		"| peak RSS of 10,000,000 | <= 1.1 x that of 100,000 | 1.500 (60.0 MB of 40.0 MB) | NOT reached |",
		"| commit to consumer at 500 tx/s, p50 | <= 1/6 of Debezium's |  | not measured |",
		"| commit to consumer at 2,000 tx/s, p50 | <= 1/6 of Debezium's | 1/7.00 (2.00 ms of 14.00 ms) | reached |",
		"| commit to consumer at 2,000 tx/s, p99 | <= 1/4 of Debezium's | 1/3.00 (10.00 ms of 30.00 ms) | NOT reached |",
		"| peak RSS, 1,000,000 of a table of one's own in transactions of 100 | <= 48 MB |  | not measured |",
		"| start to first record | <= 150 ms |  | not measured |",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
}

// A broken file is no table of what was not measured.
func TestBrokenResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "latency.json"), []byte(`{"runs": `), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "latency.json") {
		t.Errorf("error %v does not name the file", err)
	}
}
