package debezium_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/ops/debezium"
	"github.com/gapless/gapless/ops/topics"
)

// The file that a real standalone worker has left behind a real connector.
func TestOffsetsOfARealWorker(t *testing.T) {
	t.Parallel()
	offsets, err := debezium.ReadOffsets(t.Context(), filepath.Join("testdata", "offsets"), topics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := offsets.Of("dbz")
	if err != nil {
		t.Fatal(err)
	}
	if o.Connector != "taken" || o.Server != "dbz" || o.Snapshot || o.Commit == 0 || o.Row == 0 || o.XID == 0 {
		t.Errorf("%+v", o)
	}
	if _, err := offsets.Of("other"); !errors.Is(err, debezium.ErrOffsets) || !strings.Contains(err.Error(), `"other"`) || !strings.Contains(err.Error(), "dbz") {
		t.Errorf("another connector: %v", err)
	}
}

// And one of a real Debezium Server.
func TestOffsetsOfARealServer(t *testing.T) {
	t.Parallel()
	offsets, err := debezium.ReadOffsets(t.Context(), filepath.Join("testdata", "server-offsets"), topics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := offsets.Of("")
	if err != nil {
		t.Fatal(err)
	}
	if want := (debezium.Offset{Connector: "kafka", Server: "dbz_s10_null_json", Commit: 22248384, Row: 22248488, XID: 776}); o != want {
		t.Errorf("%+v", o)
	}
}

// serialized is a map as FileOffsetBackingStore writes it; an empty value is null.
func serialized(pairs ...string) []byte {
	b := []byte("\xac\xed\x00\x05sr\x00\x11java.util.HashMap\x05\x07\xda\xc1\xc3\x16\x60\xd1\x03\x00\x02F\x00\x0aloadFactorI\x00\x09thresholdxp\x3f\x40\x00\x00\x00\x00\x00\x0cw\x08\x00\x00\x00\x10")
	b = binary.BigEndian.AppendUint32(b, uint32(len(pairs)/2))
	for i, p := range pairs {
		switch {
		case p == "" && i%2 == 1:
			b = append(b, 'p')
			continue
		case i == 0:
			b = append(b, "ur\x00\x02[B\xac\xf3\x17\xf8\x06\x08\x54\xe0\x02\x00\x00xp"...)
		default:
			b = append(b, "uq\x00\x7e\x00\x02"...)
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return append(b, 'x')
}

func TestOffsets(t *testing.T) {
	t.Parallel()
	const key, plain = `["c",{"server":"dbz"}]`, `{"lsn_proc":300,"messageType":"INSERT","lsn_commit":200,"lsn":300,"txId":7,"ts_usec":1}`
	for name, c := range map[string]struct {
		pairs []string
		want  debezium.Offset
		err   string
	}{
		"in the stream":    {[]string{key, plain}, debezium.Offset{Commit: 200, Row: 300, XID: 7}, ""},
		"wrapped":          {[]string{`{"schema":null,"payload":` + key + `}`, `{"schema":null,"payload":` + plain + `}`}, debezium.Offset{Commit: 200, Row: 300, XID: 7}, ""},
		"no commit yet":    {[]string{key, `{"lsn_proc":300,"lsn":300,"txId":7}`}, debezium.Offset{Row: 300, XID: 7}, ""},
		"in a snapshot":    {[]string{key, `{"lsn":300,"txId":7,"snapshot":"INITIAL","last_snapshot_record":false}`}, debezium.Offset{Snapshot: true}, ""},
		"after a snapshot": {[]string{key, `{"lsn":300,"lsn_proc":300,"txId":7,"snapshot":true,"last_snapshot_record":true}`}, debezium.Offset{}, ""},
		"beside others":    {[]string{`["m",{"server":"mine"}]`, `{"file":"binlog.1","pos":4}`, `["f",{"filename":"x"}]`, `{"position":1}`, key, plain}, debezium.Offset{Commit: 200, Row: 300, XID: 7}, ""},
		"several":          {[]string{key, plain, `["d",{"server":"other"}]`, plain}, debezium.Offset{}, "several (topic.prefix dbz, other)"},
		"reset":            {[]string{key, ""}, debezium.Offset{}, "none of a Debezium connector"},
		"none":             {nil, debezium.Offset{}, "none of a Debezium connector"},
		"another key":      {[]string{"x", plain}, debezium.Offset{}, "no offset's of Kafka Connect"},
		"another value":    {[]string{key, "x"}, debezium.Offset{}, "no offset's of Debezium"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkaserver.Fake(t, kfake.SeedTopics(3, "connect-offsets"))
			client := kafkaserver.Client(t, cluster.ListenAddrs())
			for i := 0; i < len(c.pairs); i += 2 {
				// An older one of each is before it.
				for _, value := range []string{`{"lsn":1,"lsn_commit":1}`, c.pairs[i+1]} {
					r := &kgo.Record{Topic: "connect-offsets", Key: []byte(c.pairs[i]), Value: []byte(value)}
					if value == "" {
						r.Value = nil
					}
					if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
			}
			path := filepath.Join(t.TempDir(), "offsets")
			if err := os.WriteFile(path, serialized(c.pairs...), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, where := range []string{path, "connect-offsets"} {
				offsets, err := debezium.ReadOffsets(t.Context(), where, topics.Config{Brokers: cluster.ListenAddrs()})
				var got debezium.Offset
				if err == nil {
					got, err = offsets.Of("")
				}
				if c.err != "" {
					if !errors.Is(err, debezium.ErrOffsets) || !strings.Contains(err.Error(), c.err) {
						t.Errorf("%s: %v", where, err)
					}
					continue
				}
				c.want.Connector, c.want.Server = "c", "dbz"
				if c.want.Snapshot {
					got.Commit, got.Row, got.XID = 0, 0, 0
				}
				if err != nil || got != c.want {
					t.Errorf("%s: %+v, %v", where, got, err)
				}
			}
		})
	}
}

func TestOffsetsThatAreNotThere(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.Fake(t).ListenAddrs()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no map"), 0o600); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{
		"no-such-topic":   "no such file, and as a topic",
		"/does/not/exist": "/does/not/exist",
		text:              "FileOffsetBackingStore",
	} {
		if _, err := debezium.ReadOffsets(t.Context(), where, topics.Config{Brokers: brokers}); !errors.Is(err, debezium.ErrOffsets) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// A file that is cut off, or is another one, is refused and never half believed.
func FuzzOffsets(f *testing.F) {
	captured, err := os.ReadFile(filepath.Join("testdata", "offsets"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(captured)
	f.Add(serialized(`["c",{"server":"dbz"}]`, `{"lsn":1}`, `["d",{"server":"e"}]`, ""))
	for i := range captured {
		f.Add(captured[:i])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(t.TempDir(), "offsets")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		offsets, err := debezium.ReadOffsets(t.Context(), path, topics.Config{})
		if err != nil {
			if !errors.Is(err, debezium.ErrOffsets) {
				t.Error(err)
			}
			return
		}
		if len(file) < len(captured) && string(file) == string(captured[:len(file)]) {
			t.Error("a file that is cut off was taken for whole")
		}
		_, _ = offsets.Of("")
	})
}
