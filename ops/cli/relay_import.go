package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/debezium"
)

type relayImport struct {
	File        string `arg:"" help:"Kafka Connect's JSON or properties, or Debezium Server's application.properties; - for standard input."`
	TopicPrefix string `help:"Put before each topic, to run beside Debezium on a slot of its own." placeholder:"shadow." local:""`
	Slot        string `help:"Another slot than the connector's." placeholder:"NAME" local:""`
}

// Run prints a file for --config. What was not taken goes to its comments, so that
// it stays with the file; what cannot be taken is an error for each option.
func (c *relayImport) Run(_ context.Context, e *env) error {
	text, err := readText(c.File, e)
	if err != nil {
		return usageError{err}
	}
	file, notes, err := importedFile(c.File, text)
	if err != nil {
		return err
	}
	own := &file.Relays[0]
	if c.TopicPrefix != "" {
		for i := range own.Tables {
			t := &own.Tables[i]
			if t.Route == nil {
				t.Route = &RouteFile{}
			}
			t.Route.TopicPrefix = c.TopicPrefix
		}
		if h := own.Heartbeat; h != nil { // not into the connector's own topic
			h.Topic = c.TopicPrefix + h.topic(own.Tables[0].ServerName)
		}
	}
	if c.Slot != "" {
		own.Slot = c.Slot
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# For gapless relay --config, made of %s.\n", terminal.Line(c.File))
	if len(file.Kafka.Brokers) == 0 {
		fmt.Fprintln(&out, "# The brokers are the worker's: name them here, by --brokers or by GAPLESS_BROKERS.")
	}
	for _, n := range notes {
		fmt.Fprintf(&out, "# %s.\n", terminal.Line(n)) // else a name could end the comment
	}
	y := yaml.NewEncoder(&out)
	y.SetIndent(2)
	if err := errors.Join(y.Encode(file), y.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = e.stdout.Write(out.Bytes())
	return err
}

// importedFile makes a configuration of a connector's, with a note for each option that
// was not taken. name is for the error, which has a line for each that cannot be.
func importedFile(name string, text []byte) (File, []string, error) {
	plan, err := debezium.Import(text)
	if err != nil {
		var all interface{ Unwrap() []error }
		n := 1
		if errors.As(err, &all) {
			n = len(all.Unwrap())
		}
		return File{}, nil, usageError{fmt.Errorf("%s: %s cannot be taken over:\n%w", name, terminal.Count(n, "option"), err)}
	}
	own := RelayFile{Name: plan.Name, DatabaseURL: plan.DatabaseURL, Slot: plan.Slot, Publication: plan.Publication, SignalTable: plan.SignalTable}
	if h := plan.Heartbeat; h.Every > 0 {
		own.Heartbeat = &HeartbeatFile{Interval: h.Every.String(), Prefix: h.Prefix, Topic: h.Topic}
	}
	for _, t := range plan.Tables {
		own.Tables = append(own.Tables, tableFile(t, plan.Router))
	}
	for _, prefix := range plan.Messages {
		t := tableFile("", plan.Router)
		t.Messages = prefix
		own.Tables = append(own.Tables, t)
	}
	return File{Version: 1, Kafka: KafkaFile{Brokers: plan.Brokers}, Relays: []RelayFile{own}}, plan.Notes, nil
}

// maxConfig bounds what is read as a configuration.
const maxConfig = 1 << 20

// readText reads a configuration; - is standard input.
func readText(path string, e *env) ([]byte, error) {
	if path == "-" {
		return readAll(e.stdin, maxConfig)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, maxConfig)
}

// readAll refuses what is larger: it is another file than was meant.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("more than %d bytes: that is no configuration", limit)
	}
	return text, err
}
