// Command chart draws what the benchmarks measured.
//
//	go run . RESULTS OUT.svg
//
// RESULTS is a folder with the medians that bench/relay and bench/latency write with -out;
// what is not there is left out.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: chart RESULTS OUT.svg")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// contender is a colour of the bars.
type contender struct {
	name  string
	color color.Color
}

var contenders = []contender{
	{"receive and drop", color.RGBA{0xb8, 0xb8, 0xb8, 0xff}},
	{"Gapless", color.RGBA{0x2f, 0x7d, 0x5b, 0xff}},
	{"Debezium", color.RGBA{0xc9, 0x6a, 0x3b, 0xff}},
	{"go-pq-cdc-kafka", color.RGBA{0x6a, 0x8f, 0xb8, 0xff}},
}

// contenderOf names the contender that a program's own name stands for.
func contenderOf(name string) string {
	switch {
	case name == "relay to Kafka" || name == "relay":
		return "Gapless"
	case strings.HasPrefix(strings.ToLower(name), "debezium"):
		return "Debezium"
	}
	return name
}

// panel is a group of bars for each label.
type panel struct {
	title, unit string
	labels      []string
	values      map[string][]float64 // by contender, one a label; 0 is nothing
}

func (p *panel) set(label, contender string, value float64) {
	at := len(p.labels) - 1
	if at < 0 || p.labels[at] != label {
		p.labels = append(p.labels, label)
		at++
	}
	if p.values == nil {
		p.values = map[string][]float64{}
	}
	for len(p.values[contender]) <= at {
		p.values[contender] = append(p.values[contender], 0)
	}
	p.values[contender][at] = value
}

func run(results, out string) error {
	rate := panel{title: "Draining a backlog", unit: "events/s"}
	cpu := panel{title: "Processor", unit: "µs an event"}
	memory := panel{title: "Memory", unit: "peak MB"}
	delay := panel{title: "Commit to consumer", unit: "ms"}
	for _, f := range []struct{ file, label string }{{"debezium", "one event\na transaction"}, {"debezium-100", "a hundred events\na transaction"}} {
		var s struct {
			Contenders []struct {
				Name                               string
				EventsPerS, CPUMicrosEvent, PeakMB float64
			}
		}
		if ok, err := read(results, f.file, &s); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		for _, c := range s.Contenders {
			name := contenderOf(c.Name)
			rate.set(f.label, name, c.EventsPerS)
			if name != "receive and drop" {
				cpu.set(f.label, name, c.CPUMicrosEvent)
				memory.set(f.label, name, c.PeakMB)
			}
		}
	}
	for _, f := range []struct{ file, label string }{{"latency", "500/s"}, {"latency-2000", "2,000/s"}} {
		var s map[string]json.RawMessage
		if ok, err := read(results, f.file, &s); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		for _, quantile := range []string{"p50", "p99"} {
			for _, name := range []string{"relay", "debezium"} {
				var q map[string]float64
				if err := json.Unmarshal(s[name+"_commit_to_consumer_ms"], &q); err == nil {
					delay.set(f.label+"\n"+quantile, contenderOf(name), q[quantile])
				}
			}
		}
	}
	return drawAll(out, rate, cpu, memory, delay)
}

// read tells whether the file is there.
func read(results, name string, into any) (bool, error) {
	text, err := os.ReadFile(filepath.Join(results, name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(text, into)
}

func drawAll(out string, panels ...panel) error {
	const width, height = 10 * vg.Inch, 7 * vg.Inch
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: vg.Millimeter * 8, PadY: vg.Millimeter * 8, PadTop: vg.Millimeter * 3, PadRight: vg.Millimeter * 3}
	var grid [][]*plot.Plot
	for i := 0; i < len(panels); i += 2 {
		var row []*plot.Plot
		for _, p := range panels[i : i+2] {
			made, err := p.plot(i == 0 && len(row) == 0)
			if err != nil {
				return fmt.Errorf("%s: %w", p.title, err)
			}
			row = append(row, made)
		}
		grid = append(grid, row)
	}
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	for i, row := range plot.Align(grid, tiles, dc) {
		for j := range row {
			if grid[i][j] != nil {
				grid[i][j].Draw(row[j])
			}
		}
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

const barWidth = 22

// plot is nil where nothing was measured.
func (p *panel) plot(legend bool) (*plot.Plot, error) {
	made := plot.New()
	made.Title.Text, made.Y.Label.Text = p.title, p.unit
	made.Y.Min = 0
	if len(p.labels) == 0 {
		return nil, nil
	}
	made.NominalX(p.labels...)
	var there []contender
	for _, c := range contenders {
		if p.values[c.name] != nil {
			there = append(there, c)
		}
	}
	top := 0.0
	for i, c := range there {
		values := p.values[c.name]
		for len(values) < len(p.labels) {
			values = append(values, 0)
		}
		bars, err := plotter.NewBarChart(plotter.Values(values), vg.Points(barWidth))
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width = c.color, 0
		bars.Offset = vg.Points((float64(i) - float64(len(there)-1)/2) * barWidth)
		made.Add(bars)
		figures := plotter.XYLabels{}
		for x, v := range values {
			if v > 0 {
				figures.XYs = append(figures.XYs, plotter.XY{X: float64(x), Y: v})
				figures.Labels = append(figures.Labels, figure(v))
				top = max(top, v)
			}
		}
		labels, err := plotter.NewLabels(figures)
		if err != nil {
			return nil, err
		}
		for at := range labels.TextStyle {
			labels.TextStyle[at].Font.Size = vg.Points(7)
			labels.TextStyle[at].XAlign = draw.XCenter
		}
		labels.Offset = vg.Point{X: bars.Offset, Y: vg.Points(2)}
		made.Add(labels)
		if legend {
			made.Legend.Add(c.name+"      ", bars) // a viewer's fonts are wider than ours
		}
	}
	made.X.Min, made.X.Max = -0.6, float64(len(p.labels))-0.4
	made.Y.Max = top * 1.15
	made.Y.Tick.Marker = plot.TickerFunc(ticks)
	made.Title.TextStyle.Font.Size, made.Legend.TextStyle.Font.Size = vg.Points(13), vg.Points(9)
	made.Legend.Top, made.Legend.Padding = true, vg.Points(5)
	if legend {
		made.Y.Max = top * 1.45
	}
	return made, nil
}

// ticks are the usual ones in the form of the figures.
func ticks(low, high float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range all {
		if t.Label != "" {
			all[i].Label = figure(t.Value)
		}
	}
	return all
}

func figure(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.1fk", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
