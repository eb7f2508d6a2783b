package cli_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/ops/cli"
	"github.com/gapless/gapless/relay/core"
)

// One of two relays takes a connector's slot over. The other's slot never was Debezium's,
// and its rows must come.
func TestOffsetsAreOfOneRelay(t *testing.T) {
	t.Parallel()
	taken, fresh := newOutboxDB(t), newOutboxDB(t)
	for _, db := range []outboxDB{taken, fresh} {
		db.exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", db.slot)
	}
	cluster := kafkaserver.Fake(t, kfake.SeedTopics(1, "outbox.event.taken", "outbox.event.fresh", "connect-offsets"))
	brokers := cluster.ListenAddrs()
	fresh.append(t, "fresh", "before the offset")
	taken.append(t, "taken", "sent by the connector")
	taken.exec(t, "set synchronous_commit = on; select pg_logical_emit_message(true, 'flush', '')")
	// The commit is where its stream says that it ends.
	var end string
	if err := taken.Pool(t).QueryRow(t.Context(), `select max(lsn)::text from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'gapless')`, taken.slot).Scan(&end); err != nil {
		t.Fatal(err)
	}
	lsn, err := core.ParseLSN(end)
	if err != nil {
		t.Fatal(err)
	}
	client := kafkaserver.Client(t, brokers, kgo.ConsumeTopics("outbox.event.taken", "outbox.event.fresh"))
	offset := fmt.Sprintf(`{"lsn_proc":%d,"messageType":"COMMIT","lsn_commit":%d,"lsn":%d,"txId":7,"ts_usec":1}`, uint64(lsn), uint64(lsn), uint64(lsn))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "connect-offsets", Key: []byte(`["c",{"server":"dbz"}]`), Value: []byte(offset)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	file := func(takes string) string {
		entry := strings.Replace(taken.entry("taken"), "{", "{"+takes, 1)
		return write(t, "relays.yaml", "version: 1\nkafka: {brokers: ["+strings.Join(brokers, ",")+"]}\nrelays:\n"+entry+fresh.entry("fresh"))
	}
	r := run(t, nil, "relay", "--config", file(""), "--debezium-offsets", "connect-offsets", "--ops-listen", "127.0.0.1:0")
	if r.code != cli.ExitUsage || !strings.Contains(r.stderr, "debezium_offsets") {
		t.Errorf("a flag for both: code %d, %s", r.code, r.stderr)
	}
	s := start(t, nil, "relay", "--config", file("debezium_offsets: connect-offsets, "), "--ops-listen", "127.0.0.1:0")
	taken.append(t, "taken", "by the relay")
	var got []string
	for _, r := range consumed(t, client, 2) {
		got = append(got, string(r.Value))
	}
	slices.Sort(got)
	if want := []string{"before the offset", "by the relay"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q; log: %s", got, want, s.log)
	}
}
