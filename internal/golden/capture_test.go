//go:build jvm

package golden_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestDebeziumStillSendsThis captures all cases anew from a real Debezium on a real
// broker and compares. GAPLESS_GOLDEN_WRITE writes the file; GAPLESS_GOLDEN names
// another one.
func TestDebeziumStillSendsThis(t *testing.T) {
	path := cmp.Or(os.Getenv("GAPLESS_GOLDEN"), "cases.json")
	cases, err := golden.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	server := pgtest.Server(t, map[string]string{
		"max_replication_slots": "40", "max_wal_senders": "40", "max_connections": "200", "wal_level": "logical",
	})
	brokers := kafkaserver.ForTest(t)
	connect := kafkaserver.ConnectForTest(t, brokers)
	began := time.Now()
	fresh, err := golden.Rig{Connect: connect, Brokers: brokers, DatabaseURL: server.SuperuserURL()}.Capture(t.Context(), cases)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cases captured in %s", len(fresh), time.Since(began))
	for i, c := range fresh {
		if c.TaskState != cases[i].TaskState || !reflect.DeepEqual(golden.Sorted(c.Records), golden.Sorted(cases[i].Records)) {
			t.Errorf("case %s: %s\nsent  %s\nstored %s", c.Name, c.TaskCause, text(t, c.Records), text(t, cases[i].Records))
		}
	}
	if os.Getenv("GAPLESS_GOLDEN_WRITE") != "" {
		if err := os.WriteFile(path, append(indented(t, fresh), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func text(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func indented(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
