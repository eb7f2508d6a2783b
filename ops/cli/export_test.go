package cli

import (
	"context"
	"io"
	"log/slog"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Explain is explain, for tests of errors that no server at hand gives.
var Explain = explain

// Tables reads the formats of a configuration file.
func Tables(path string) (map[string]format.Format, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return file.one().tables()
}

// Messages reads the prefixes of a configuration file, and adds those of flags.
func Messages(path string, flags ...string) (map[string]eventrouter.Config, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return (&messages{flags}).with(file.one())
}

// Verified is verified.
var Verified = verified

// Import is 'relay import -', and ExplainConnector 'explain --connector - -o json', without
// a command line, whose parsing takes longer than all the rest.
func Import(ctx context.Context, connector io.Reader, out io.Writer) error {
	return (&relayImport{File: "-"}).Run(ctx, connectorEnv(connector, out))
}

// ExplainConnector is described at Import.
func ExplainConnector(ctx context.Context, connector io.Reader, out io.Writer) error {
	c := explainCommand{output: output{Output: "json"}, Table: "gapless.outbox", Connector: "-"}
	return c.Run(ctx, connectorEnv(connector, out))
}

// connectorEnv has all that is printed in one place.
func connectorEnv(connector io.Reader, out io.Writer) *env {
	return &env{stdin: connector, stdout: out, stderr: out, log: slog.New(slog.NewTextHandler(out, nil))}
}
