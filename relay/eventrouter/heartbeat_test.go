package eventrouter_test

import (
	"bytes"
	"maps"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/relay/eventrouter"
)

// What Debezium sent is what we send, for the moment that its value names.
func TestHeartbeatsAreThoseOfDebezium(t *testing.T) {
	t.Parallel()
	moment := regexp.MustCompile(`ts_ms"?[:=](\d+)`)
	for _, c := range golden.Heartbeats() {
		options := golden.Base()
		maps.Copy(options, c.Options)
		options["topic.prefix"] = "dbz_" + c.Name
		router, _, err := eventrouter.FromConnector(options)
		if err != nil {
			t.Fatalf("case %s: %v", c.Name, err)
		}
		if len(c.Records) != 1 || len(c.Records[0].Headers) != 0 || c.Records[0].Partition != 0 {
			t.Fatalf("case %s: %+v", c.Name, c.Records)
		}
		want := c.Records[0]
		m := moment.FindSubmatch(want.Value)
		if m == nil {
			t.Fatalf("case %s: no time in %s", c.Name, want.Value)
		}
		ms, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		key, value, err := router.Heartbeat(time.UnixMilli(ms))
		if err != nil || !bytes.Equal(key, want.Key) || !bytes.Equal(value, want.Value) {
			t.Errorf("case %s (%s): %v\n%s %s, want\n%s %s", c.Name, c.About, err, key, value, want.Key, want.Value)
		}
	}
	for _, c := range []eventrouter.Config{
		{Key: eventrouter.Converter{Class: eventrouter.BinaryConverter}}, {Value: eventrouter.Converter{Class: eventrouter.BytesConverter}},
	} {
		if _, _, err := c.Heartbeat(time.Now()); err == nil {
			t.Errorf("%+v has bytes for a structure", c)
		}
	}
}
