//go:build unix

package cli_test

import (
	"strings"
	"testing"

	"github.com/gapless/gapless/ops/cli"
)

func TestSignalTableIsImported(t *testing.T) {
	t.Parallel()
	path, text := imported(t, map[string]string{
		"signal.data.collection": "public.debezium_signal", "signal.enabled.channels": "source", "signal.poll.interval.ms": "100",
		"table.include.list": "public.outbox,public.debezium_signal",
	})
	got, err := cli.Values([]string{"relay", "--config", path}, func(string) string { return "" })
	if err != nil || got["signal-table"] != "public.debezium_signal" {
		t.Errorf("%v, %v\n%s", got, err, text)
	}
	tables, err := cli.Tables(path)
	if err != nil || len(tables) != 2 || tables["public.outbox"] == nil || tables["public.debezium_signal"] != nil {
		t.Errorf("%v, %v", tables, err)
	}
	if !strings.Contains(text, "# signal.poll.interval.ms: ") {
		t.Error(text)
	}
	file := write(t, "relay.yaml", "version: 1\nrelays:\n- signal_table: a.b\n  tables:\n  - {table: a.b, format: debezium}\n")
	run(t, nil, "relay", "--config", file).failsWith(t, cli.ExitUsage, "signal_table", "a.b")
}
