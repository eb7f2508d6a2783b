//go:build unix

package doctor_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// installation is a whole one: migrated, topics applied, contracts registered, relay
// and consumers running, each with the rights of its role alone.
func installation(t *testing.T) *world {
	t.Helper()
	w, _ := newServer(t, sound)
	w.cfg.Slot, w.cfg.Consumers = "gapless", pipeline.Subscriptions()
	if _, err := goose.Up(t.Context(), goose.Config{DatabaseURL: w.cfg.DatabaseURL}); err != nil {
		t.Fatal(err)
	}
	w.exec("create role relay login replication password 'relay' in role gapless_relay")
	w.exec("create role consumer login password 'consumer' in role gapless_consumer")
	w.exec("create role reader login password 'reader' in role gapless_readonly")
	w.exec("grant pg_read_all_stats to relay, reader")
	w.withKafka(kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	w.withRegistry()
	w.withRelay(w.as("relay"))
	w.withConsumers(w.as("consumer"))
	w.withStamp(time.Now())
	return w
}

// as is the URL of a login whose password is its name.
func (w *world) as(login string) string {
	return w.changed(func(u *url.URL) { u.User = url.UserPassword(login, login) })
}

func TestAHealthyInstallationIsAllWell(t *testing.T) {
	t.Parallel()
	w := installation(t)
	for databaseURL, not := range map[string][]string{
		w.cfg.DatabaseURL: nil,
		w.as("relay"):     nil,
		// What only the relay's own login can try.
		w.as("reader"): {"replication-connection: not judged: this login has no REPLICATION"},
	} {
		w.cfg.DatabaseURL = databaseURL
		w.withStamp(time.Now())
		r := w.look()
		if list := bad(r); !slices.Equal(list, not) {
			t.Errorf("with %s: %s", databaseURL, strings.Join(list, "\n"))
		}
		if len(r.Checks) != len(doctor.IDs()) || r.OK != len(r.Checks)-len(not) {
			t.Errorf("%d of %d checks, %d ok", len(r.Checks), len(doctor.IDs()), r.OK)
		}
		var text bytes.Buffer
		if err := r.WriteText(&text, false); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(lines) > 24 || !strings.Contains(lines[len(lines)-1], fmt.Sprintf("%d ok, 0 warnings, 0 faults", r.OK)) {
			t.Errorf("not one screen with the verdict last:\n%s", &text)
		}
	}
}

// What looks leaves nothing behind: no transaction id is used up, and Kafka is asked
// nothing that could change it.
func TestLooksOnly(t *testing.T) {
	t.Parallel()
	w, _ := newServer(t, sound)
	w.cfg.Slot, w.cfg.Consumers = "gapless", pipeline.Subscriptions()
	if _, err := goose.Up(t.Context(), goose.Config{DatabaseURL: w.cfg.DatabaseURL}); err != nil {
		t.Fatal(err)
	}
	w.withKafka(kfake.AllowAutoTopicCreation())
	w.withRegistry()
	w.exec("insert into gapless.outbox (aggregatetype, aggregateid, type) values ('parcel', 'k', 'T')")
	var mu sync.Mutex
	asked := map[int16]int{}
	w.fake.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		asked[req.Key()]++
		return nil, nil, false
	})
	const next = "select pg_snapshot_xmax(pg_current_snapshot())::text"
	var before, after string
	if err := w.pool.QueryRow(t.Context(), next).Scan(&before); err != nil {
		t.Fatal(err)
	}
	first := w.look()
	if err := w.pool.QueryRow(t.Context(), next).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the next transaction id went from %s to %s", before, after)
	}
	// Not FindCoordinator, for one: that makes the topic of offsets where there is none.
	looking := []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.DescribeConfigs, kmsg.ListOffsets, kmsg.ListGroups}
	mu.Lock()
	for key := range maps.Keys(asked) {
		if !slices.Contains(looking, kmsg.Key(key)) {
			t.Errorf("Kafka was asked to %s", kmsg.NameForKey(key))
		}
	}
	if asked[int16(kmsg.Metadata)] == 0 {
		t.Error("Kafka was asked nothing")
	}
	mu.Unlock()
	if w.fake.TopicInfo("outbox.event.parcel") != nil {
		t.Error("a topic was made by looking for it")
	}
	// And a server that lets it write nothing finds the same.
	w.option("default_transaction_read_only=on")
	if got, want := outcomes(w.look()), outcomes(first); !maps.Equal(got, want) {
		t.Errorf("read-only: %v, else: %v", got, want)
	}
}

func outcomes(r doctor.Report) map[string]doctor.Outcome {
	m := map[string]doctor.Outcome{}
	for _, f := range r.Checks {
		m[f.ID] = f.Outcome
	}
	return m
}

// Before the first migration there is one thing to do, and nothing fails for want of a
// table.
func TestBeforeMigrateUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withKafka()
	w.cfg.Slot = "gapless"
	w.cfg.DatabaseURL = pgtest.NewEmptyDB(t).URL
	faults := []string{}
	for _, f := range w.look().Checks {
		if f.Outcome == doctor.Fault {
			faults = append(faults, f.ID)
			if !strings.HasPrefix(f.Fix, "gapless migrate up") {
				t.Errorf("%s: %s; fix: %s", f.ID, f.Found, f.Fix)
			}
		}
		if strings.Contains(f.Found, "SQLSTATE") {
			t.Errorf("%s: %s", f.ID, f.Found)
		}
	}
	if want := []string{"migrated", "publication", "slot"}; !slices.Equal(faults, want) {
		t.Errorf("faults %v, want %v", faults, want)
	}
}

// One that cannot be looked at keeps no other from being judged.
func TestChecksAreIndependent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withKafka()
	w.exec("drop view gapless.relay_lag cascade")
	r := w.look()
	judged := outcomes(r)
	for id, want := range map[string]doctor.Outcome{
		"relay-lag": doctor.NotJudged, "relay-paused": doctor.NotJudged, "registry": doctor.NotJudged,
		"relay-progress": doctor.OK, "parked-rows": doctor.OK, "topics": doctor.OK, "dead-letters": doctor.OK,
	} {
		if judged[id] != want {
			t.Errorf("%s is %s, want %s", id, judged[id], want)
		}
	}
	w.cfg.Brokers = nil
	for _, f := range w.look("brokers", "topics", "consumer-lag", "slot").Checks {
		if kafka := f.ID != "slot"; kafka != (f.Outcome == doctor.NotJudged && f.Found == "--brokers is not set") {
			t.Errorf("%s: %s: %s", f.ID, f.Outcome, f.Found)
		}
	}
}

// A server that takes the connection and says nothing holds nobody up, and what needs
// it does not wait for it again.
func TestServersThatSayNothing(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := l.Addr().String()
	const timeout = 500 * time.Millisecond
	w := &world{T: t, cfg: doctor.Config{
		DatabaseURL: "postgres://u@" + silent + "/x?sslmode=disable", Brokers: []string{silent}, Registry: &schema.Config{RegistryURL: "http://" + silent}, Timeout: timeout,
	}}
	began := time.Now()
	for _, f := range w.look().Checks {
		want := doctor.NotJudged
		if slices.Contains([]string{"postgres", "brokers", "registry"}, f.ID) {
			want = doctor.Fault
		}
		if f.Outcome != want || want == doctor.Fault && !strings.Contains(f.Found, "no answer within 500ms") {
			t.Errorf("%s: %s: %s", f.ID, f.Outcome, f.Found)
		}
	}
	if took := time.Since(began); took > 20*timeout {
		t.Errorf("took %s", took)
	}
}

// A login that may not see how long others' transactions are open says so.
func TestWhatIsHiddenIsNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx, err := w.pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "select pg_current_xact_id()")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	w.cfg.DatabaseURL = w.db.LoginURL(t, pgtest.Readonly)
	if f := w.find("open-transactions"); f.Outcome != doctor.NotJudged || f.Fix != `GRANT pg_read_all_stats TO "test_gapless_readonly"` {
		t.Errorf("%s: %s; fix: %s", f.Outcome, f.Found, f.Fix)
	}
}

// An outbox of one's own: another slot, another publication, a table of the
// configuration.
func TestATableOfOnesOwn(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	if _, err := goose.Up(t.Context(), goose.Config{DatabaseURL: db.URL, Components: []string{"outbox"}, NoSlot: true}); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, db: db, pool: db.Pool(t)}
	w.exec("create table public.events (id uuid, kind text, account text, payload jsonb)")
	w.exec("create publication billing for table public.events with (publish = 'insert')")
	w.exec("insert into public.events values (gen_random_uuid(), 'InvoiceEvent', 'a', '{}'), (gen_random_uuid(), 'Refund', 'a', '{}')")
	w.fake = kafkaserver.Fake(t)
	w.cfg = doctor.Config{
		DatabaseURL: db.URL, Slot: db.Slot(t, "billing"), Publication: "billing", Brokers: w.fake.ListenAddrs(), Timeout: patience,
		Tables: map[string]format.Format{"public.events": eventrouter.Config{RouteBy: "kind", TopicRegex: "(?<what>.*)Event", TopicReplacement: "billing.${what}"}},
	}
	kafkaserver.CreateTopics(t, w.cfg.Brokers, 2, "billing.Invoice", "Refund")
	for _, f := range w.look("publication", "publication-tables", "publication-root", "slot", "migrated", "statements", "topics", "topic-write").Checks {
		if f.Outcome != doctor.OK {
			t.Errorf("%s: %s: %s", f.ID, f.Outcome, f.Found)
		}
	}
}

// A table that this login may not read is named, and the topics of the others are
// judged.
func TestATableThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withKafka()
	w.exec("create table public.events (id uuid, aggregatetype text)")
	w.exec("insert into public.events values (gen_random_uuid(), 'not a topic')")
	w.exec("alter publication gapless add table public.events")
	if f := w.find("topics"); f.Outcome != doctor.OK {
		t.Errorf("a row that is parked: %s: %s", f.Outcome, f.Found)
	}
	w.cfg.DatabaseURL = w.db.LoginURL(t, pgtest.Relay)
	f := w.find("topics")
	if f.Outcome != doctor.NotJudged || !strings.Contains(f.Found, "22 are there; rows cannot be read: public.events (permission denied") {
		t.Errorf("%s: %s", f.Outcome, f.Found)
	}
	w.delete(ordersTopic)
	if f := w.find("topics"); f.Outcome != doctor.Fault {
		t.Errorf("%s: %s", f.Outcome, f.Found)
	}
}

func TestQuickAsksLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withKafka()
	w.cfg.Quick = true
	var ids []string
	for _, f := range w.look().Checks {
		if ids = append(ids, f.ID); f.Outcome != doctor.OK {
			t.Errorf("%s: %s: %s", f.ID, f.Outcome, f.Found)
		}
	}
	if want := []string{"postgres", "primary", "migrated", "publication", "slot", "slot-wal", "brokers"}; !slices.Equal(ids, want) {
		t.Errorf("%v, want %v", ids, want)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	err := doctor.Config{DatabaseURL: "host=x port=y", Only: []string{"nothing"}, Timeout: -1, TransactionAge: -1, MaxRecordBytes: -1}.Validate()
	for _, want := range []string{"DatabaseURL", "nothing", "Timeout", "TransactionAge", "MaxRecordBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if _, err := doctor.Run(t.Context(), doctor.Config{}); err == nil || !strings.Contains(err.Error(), "DatabaseURL: must be set") {
		t.Error(err)
	}
}

// A run that is interrupted says nothing of what it has not looked at.
func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := doctor.Run(ctx, newWorld(t).cfg); err == nil {
		t.Error("no error")
	}
}
