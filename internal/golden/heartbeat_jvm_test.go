//go:build jvm

package golden_test

import (
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
)

// TestDebeziumStillBeatsLikeThis captures the heartbeats anew and compares all but their
// time. GAPLESS_GOLDEN_WRITE writes the file.
func TestDebeziumStillBeatsLikeThis(t *testing.T) {
	cases := golden.Heartbeats()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	brokers := kafkaserver.ForTest(t)
	connect := kafkaserver.ConnectForTest(t, brokers)
	fresh, err := golden.Rig{Connect: connect, Brokers: brokers, DatabaseURL: server.SuperuserURL()}.CaptureHeartbeats(t.Context(), cases)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("GAPLESS_GOLDEN_WRITE") != "" {
		if err := os.WriteFile("heartbeats.json", append(indented(t, fresh), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, c := range fresh {
		if len(c.Records) != 1 || !reflect.DeepEqual(timeless(c.Records), timeless(cases[i].Records)) {
			t.Errorf("case %s: %s\nsent  %s\nstored %s", c.Name, c.TaskCause, text(t, c.Records), text(t, cases[i].Records))
		}
	}
}

var digits = regexp.MustCompile(`\d{13}`)

// timeless takes the moment out of heartbeats.
func timeless(records []golden.Record) []golden.Record {
	out := append([]golden.Record(nil), records...)
	for i := range out {
		out[i].Timestamp, out[i].Value = 0, digits.ReplaceAll(out[i].Value, []byte("0"))
	}
	return out
}
