package demo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/verify"
)

// effects are what a second delivery must not change.
var effects = []string{
	"checkout.orders", "inventory.stock", "inventory.reservations", "inventory.stock_movements", "payment.payments",
	"sandbox.charges", "fulfillment.shipments", "notification.messages", "analytics.sales_by_hour", "loyalty.points",
	"gapless.saga", "gapless.saga_step", "gapless.outbox", "gapless.inbox", "gapless.dead_letter", "gapless.key_block",
}

// Every record of a pipeline that has come to rest is produced again by hand,
// byte for byte, and then once more: nothing changes.
func TestRecordsProducedAgainHaveNoSecondEffect(t *testing.T) {
	t.Parallel()
	var out screen
	c := config(t, &out)
	if kafkaserver.IsReal(t) {
		c.Brokers = kafkaserver.ForTest(t)
		sweep(t, c.Brokers)
		t.Cleanup(func() { sweep(t, c.Brokers) })
	}
	c.Orders = 30
	d := start(t, c, &out)
	d.placed(t)

	pool := d.readonly(t)
	brokers := strings.Split(out.find(t, kafkaAddress), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	drained(t, admin)
	before := fingerprints(t, pool)
	// The relay may have repeated some itself, when the broker made it begin anew.
	first, err := verify.Run(t.Context(), verify.Config{Pool: pool, Brokers: brokers, Consumers: pipeline.Judged(), Young: -1})
	if err != nil {
		t.Fatal(err)
	}

	records := readAll(t, admin, brokers)
	if len(records) < 100 {
		t.Fatalf("%d records for 30 orders", len(records))
	}
	for range 2 {
		if err := client.ProduceSync(t.Context(), again(records)...).FirstErr(); err != nil {
			t.Fatalf("produce again: %v", err)
		}
	}
	drained(t, admin)
	after := fingerprints(t, pool)
	for _, table := range effects {
		if before[table] != after[table] {
			t.Errorf("%s has changed", table)
		}
	}
	report, err := verify.Run(t.Context(), verify.Config{Pool: pool, Brokers: brokers, Consumers: pipeline.Judged(), Young: -1})
	if err != nil {
		t.Fatal(err)
	}
	if report.Broken() || report.Cut.Repeats != first.Cut.Repeats+int64(2*len(records)) {
		var text strings.Builder
		if err := report.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Errorf("after %d repeats, and %d of the relay's own:\n%s", 2*len(records), first.Cut.Repeats, text.String())
	}
	d.end(t)
}

// again is the records as somebody would produce them who knows nothing of us.
func again(records []*kgo.Record) []*kgo.Record {
	list := make([]*kgo.Record, len(records))
	for i, r := range records {
		list[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
	}
	return list
}

// readAll reads the pipeline's topics up to where they end.
func readAll(t *testing.T, admin *kadm.Client, brokers []string) (records []*kgo.Record) {
	t.Helper()
	ends, err := admin.ListEndOffsets(t.Context(), contracts.Topics()...)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	starts := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		want += o.Offset
		if starts[o.Topic] == nil {
			starts[o.Topic] = map[int32]kgo.Offset{}
		}
		starts[o.Topic][o.Partition] = kgo.NewOffset().AtStart()
	})
	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(starts))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for int64(len(records)) < want {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read records, %d of %d: %v", len(records), want, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// drained waits until every consumer has committed the ends of its topics. A
// record may cause another, so it must hold for a while.
func drained(t *testing.T, admin *kadm.Client) {
	t.Helper()
	var groups []string
	for _, name := range pipeline.Names() {
		groups = append(groups, contracts.Group(name, 1))
	}
	since := time.Now()
	testkit.Eventually(t, patience, func() error {
		lags, err := admin.Lag(t.Context(), groups...)
		if err == nil {
			err = lags.Error()
		}
		if err != nil {
			since = time.Now()
			return err
		}
		for _, g := range lags.Sorted() {
			if n := g.Lag.Total(); n > 0 {
				since = time.Now()
				return fmt.Errorf("%s is %d records behind", g.Group, n)
			}
		}
		if time.Since(since) < time.Second {
			return fmt.Errorf("at rest since %s", time.Since(since))
		}
		return nil
	})
}

// fingerprints of the tables' contents.
func fingerprints(t *testing.T, pool *pgxpool.Pool) map[string]string {
	t.Helper()
	prints := make(map[string]string, len(effects))
	for _, table := range effects {
		var digest string
		err := pool.QueryRow(t.Context(), "SELECT count(*) || ' rows ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM "+table+" t").Scan(&digest)
		if err != nil {
			t.Fatalf("read %s: %v", table, err)
		}
		prints[table] = digest
	}
	return prints
}

// sweep deletes what looks like the pipeline's topics and its groups from a
// broker that other tests have used: verify must find each record's row.
func sweep(t *testing.T, brokers []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := admin.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var old []string
	for name := range all {
		if strings.HasPrefix(name, contracts.TopicPrefix) || strings.HasPrefix(name, "dlq.") {
			old = append(old, name)
		}
	}
	if len(old) > 0 {
		if _, err := admin.DeleteTopics(ctx, old...); err != nil {
			t.Fatalf("delete topics: %v", err)
		}
	}
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pipeline.Names() {
		group := contracts.Group(name, 1)
		if _, ok := groups[group]; !ok {
			continue
		}
		if _, err := admin.DeleteGroup(ctx, group); err != nil {
			t.Fatalf("delete group %s: %v", group, err)
		}
	}
}
