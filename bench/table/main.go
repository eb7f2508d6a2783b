// Command table prints what is to be reached, and whether it was.
//
//	go run ./bench/table RESULTS
//
// RESULTS is a folder with the medians that bench/relay and bench/latency write with -out.
// What is not there was not measured, and the table says so.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: table RESULTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(results string, out io.Writer) error {
	m, err := read(results)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | reach | measured | |")
	fmt.Fprintln(out, "| --- | --- | --- | --- |")
	for _, g := range goals(m) {
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", g.what, g.reach, g.measured, g.verdict())
	}
	return nil
}

// measured is what the files say; what was not measured is NaN.
type measured struct {
	drains map[string]drain
	delays map[string]delay
}

// drain is of one backlog.
type drain struct{ rates, cpu, memory map[string]float64 }

// delay is of one rate of transactions, in milliseconds.
type delay struct {
	start           float64
	relay, debezium map[string]float64 // by quantile
}

const (
	drop     = "receive and drop"
	relay    = "relay to Kafka"
	debezium = "Debezium"
)

func read(results string) (measured, error) {
	m := measured{map[string]drain{}, map[string]delay{}}
	for _, name := range []string{"relay", "debezium", "debezium-100", "hundred-thousand", "ten-million", "one-partition", "databases"} {
		var file struct {
			Contenders []struct {
				Name                               string
				EventsPerS, CPUMicrosEvent, PeakMB float64
			}
		}
		if err := readFile(results, name, &file); err != nil {
			return m, err
		}
		d := drain{map[string]float64{}, map[string]float64{}, map[string]float64{}}
		for _, c := range file.Contenders {
			if strings.HasPrefix(c.Name, debezium+" ") {
				c.Name = debezium // without its version
			}
			d.rates[c.Name], d.cpu[c.Name], d.memory[c.Name] = c.EventsPerS, c.CPUMicrosEvent, c.PeakMB
		}
		m.drains[name] = d
	}
	for _, name := range []string{"latency", "latency-2000"} {
		var file struct {
			Start    float64            `json:"start_to_first_record_ms"`
			Relay    map[string]float64 `json:"relay_commit_to_consumer_ms"`
			Debezium map[string]float64 `json:"debezium_commit_to_consumer_ms"`
		}
		if err := readFile(results, name, &file); err != nil {
			return m, err
		}
		m.delays[name] = delay{figure(file.Start), file.Relay, file.Debezium}
	}
	return m, nil
}

func readFile(results, name string, into any) error {
	path := filepath.Join(results, name+".json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// of is the figure of that name, or NaN.
func of(figures map[string]float64, name string) float64 {
	return figure(figures[name])
}

// figure is NaN for the 0 of a field that a file does not have.
func figure(v float64) float64 {
	if v > 0 {
		return v
	}
	return math.NaN()
}

// goal is one figure that is to be reached.
type goal struct {
	what, reach, measured string
	known, met            bool
}

func (g goal) verdict() string {
	switch {
	case !g.known:
		return "not measured"
	case g.met:
		return "reached"
	}
	return "NOT reached"
}

// judged makes a goal of a figure; one that is NaN was not measured.
func judged(what, reach string, figure float64, met bool, measured string) goal {
	if math.IsNaN(figure) {
		return goal{what: what, reach: reach}
	}
	return goal{what, reach, measured, true, met}
}

// atLeast is for a rate as a multiple of another.
func atLeast(what string, multiple float64, whose string, rate, others float64) goal {
	ratio := rate / others
	return judged(what, fmt.Sprintf(">= %g x %s", multiple, whose), ratio, ratio >= multiple,
		fmt.Sprintf("%.3f (%.0f/s of %.0f/s)", ratio, rate, others))
}

// fraction is for a time that is to be at most an nth of Debezium's.
func fraction(what string, n float64, ms, debezium float64) goal {
	ratio := debezium / ms
	return judged(what, fmt.Sprintf("<= 1/%g of Debezium's", n), ratio, ratio >= n,
		fmt.Sprintf("1/%.2f (%.2f ms of %.2f ms)", ratio, ms, debezium))
}

func atMost(what string, limit float64, unit string, value float64) goal {
	return judged(what, fmt.Sprintf("<= %g %s", limit, unit), value, value <= limit, fmt.Sprintf("%.2f %s", value, unit))
}

// flatness is how much the memory of the longest backlog may exceed that of the shortest.
const flatness = 1.1

func flat(what string, short, long float64) goal {
	ratio := long / short
	return judged(what, fmt.Sprintf("<= %g x that of 100,000", flatness), ratio, ratio <= flatness,
		fmt.Sprintf("%.3f (%.1f MB of %.1f MB)", ratio, long, short))
}

func goals(m measured) []goal {
	single, hundred := m.drains["debezium"], m.drains["debezium-100"]
	short, long := m.drains["hundred-thousand"], m.drains["ten-million"]
	many, one, databases := m.drains["relay"], m.drains["one-partition"], m.drains["databases"]
	list := []goal{
		atLeast("single events", 0.95, "receive and drop", of(single.rates, relay), of(single.rates, drop)),
		atLeast("single events", 3.5, "Debezium", of(single.rates, relay), of(single.rates, debezium)),
		atLeast("transactions of 100", 0.95, "receive and drop", of(hundred.rates, relay), of(hundred.rates, drop)),
		atLeast("transactions of 100", 2.5, "Debezium", of(hundred.rates, relay), of(hundred.rates, debezium)),
		atMost("CPU of a single event", 7, "µs", of(single.cpu, relay)),
		atMost("peak RSS, 500,000 single events", 48, "MB", of(single.memory, relay)),
		atMost("peak RSS, 100,000 in transactions of 100", 48, "MB", of(short.memory, relay)),
		atMost("peak RSS, 1,000,000 of a table of one's own in transactions of 100", 48, "MB", of(hundred.memory, relay)),
		atMost("peak RSS, 10,000,000 in transactions of 100", 48, "MB", of(long.memory, relay)),
		flat("peak RSS of 10,000,000", of(short.memory, relay), of(long.memory, relay)),
	}
	for _, r := range []struct{ file, rate string }{{"latency", "500 tx/s"}, {"latency-2000", "2,000 tx/s"}} {
		d := m.delays[r.file]
		list = append(list,
			fraction("commit to consumer at "+r.rate+", p50", 6, of(d.relay, "p50"), of(d.debezium, "p50")),
			fraction("commit to consumer at "+r.rate+", p99", 4, of(d.relay, "p99"), of(d.debezium, "p99")))
	}
	return append(list,
		atMost("start to first record", 150, "ms", m.delays["latency"].start),
		atLeast("JSON expansion on", 0.8, "off", of(single.rates, "relay, JSON expanded"), of(single.rates, relay)),
		atLeast("32 partitions", 0.95, "receive and drop", of(many.rates, relay), of(many.rates, drop)),
		atLeast("one partition", 0.95, "receive and drop", of(one.rates, relay), of(one.rates, drop)),
		atLeast("10 relays of 10 databases in one process", 0.9, "one relay", of(databases.rates, "10 relays of 10 databases"), of(databases.rates, relay)))
}
