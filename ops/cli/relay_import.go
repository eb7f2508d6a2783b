package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"gopkg.in/yaml.v3"

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
	text, err := c.read(e)
	if err != nil {
		return usageError{err}
	}
	plan, err := debezium.Import(text)
	if err != nil {
		var all interface{ Unwrap() []error }
		n := 1
		if errors.As(err, &all) {
			n = len(all.Unwrap())
		}
		return usageError{fmt.Errorf("%s: %d options cannot be taken over:\n%w", c.File, n, err)}
	}
	if c.TopicPrefix != "" {
		plan.Router.TopicPrefix = c.TopicPrefix
	}
	if c.Slot != "" {
		plan.Slot = c.Slot
	}
	file := File{
		Version: 1,
		Kafka:   KafkaFile{Brokers: plan.Brokers},
		Relays:  []RelayFile{{Name: plan.Name, DatabaseURL: plan.DatabaseURL, Slot: plan.Slot, Publication: plan.Publication}},
	}
	for _, t := range plan.Tables {
		file.Relays[0].Tables = append(file.Relays[0].Tables, tableFile(t, plan.Router))
	}
	if len(plan.Messages) == 0 {
		file.Relays[0].Tables = append(file.Relays[0].Tables, TableFile{Messages: "outbox", Format: "none"}) // which are sent by default
	}
	for _, prefix := range plan.Messages {
		t := tableFile("", plan.Router)
		t.Messages = prefix
		file.Relays[0].Tables = append(file.Relays[0].Tables, t)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# For gapless relay --config, made of %s.\n", c.File)
	if len(plan.Brokers) == 0 {
		fmt.Fprintln(&out, "# The brokers are the worker's: name them here, by --brokers or by GAPLESS_BROKERS.")
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(&out, "# %s.\n", n)
	}
	y := yaml.NewEncoder(&out)
	y.SetIndent(2)
	if err := errors.Join(y.Encode(file), y.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = e.stdout.Write(out.Bytes())
	return err
}

// maxConfig bounds what is read as a configuration.
const maxConfig = 1 << 20

func (c *relayImport) read(e *env) ([]byte, error) {
	if c.File == "-" {
		return readAll(e.stdin, maxConfig)
	}
	f, err := os.Open(c.File)
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
