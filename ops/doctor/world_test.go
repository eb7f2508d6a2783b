//go:build unix

package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/replication"
)

// sound are the settings of a server that nothing is wrong with.
var sound = map[string]string{
	"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_slot_wal_keep_size": "10GB", "wal_sender_timeout": "60s",
}

func TestMain(m *testing.M) {
	var settings []pgtest.Option
	for name, value := range sound {
		settings = append(settings, pgtest.Setting(name, value))
	}
	pgtest.Main(m, settings...)
}

const patience = 30 * time.Second

// world is an installation in which nothing is wrong, until a test plants something.
// What is slow to make is made by those who ask for it.
type world struct {
	*testing.T
	cfg  doctor.Config
	db   *pgtest.DB // nil on a server of the test's own
	pool *pgxpool.Pool
	fake *kfake.Cluster

	letGo func() // stops what a plant stops
}

// newWorld has a database of the shared server, with its slot.
func newWorld(t *testing.T) *world {
	t.Helper()
	db := pgtest.NewDB(t)
	return &world{T: t, db: db, pool: db.Pool(t), cfg: doctor.Config{
		DatabaseURL: db.URL, Slot: db.Slot(t, "doctor"), Consumers: pipeline.Subscriptions(), Timeout: 20 * time.Second,
	}}
}

// newServer has a server of its own, which settings differ on, and no schema.
func newServer(t *testing.T, settings map[string]string) (*world, *pgserver.Server) {
	t.Helper()
	s := pgtest.Server(t, settings)
	return &world{T: t, pool: pgtest.OpenPool(t, s.SuperuserURL()), cfg: doctor.Config{DatabaseURL: s.SuperuserURL(), Timeout: 20 * time.Second}}, s
}

func (w *world) exec(statement string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), statement, args...); err != nil {
		w.Fatalf("%s: %v", statement, err)
	}
}

// withSlot makes a slot on a server of the test's own.
func (w *world) withSlot(name string) {
	w.Helper()
	w.exec("select pg_create_logical_replication_slot($1, 'pgoutput')", name)
}

// withKafka adds a broker with every topic of the pipeline.
func (w *world) withKafka(opts ...kfake.Opt) {
	w.Helper()
	w.fake = kafkaserver.Fake(w.T, opts...)
	w.cfg.Brokers = w.fake.ListenAddrs()
	w.applyTopics(2)
}

func (w *world) applyTopics(partitions int) {
	w.Helper()
	c := topics.Config{Brokers: w.cfg.Brokers, KafkaOptions: w.cfg.KafkaOptions, Consumers: w.cfg.Consumers, Partitions: partitions}
	if _, err := topics.Apply(w.Context(), c); err != nil {
		w.Fatal(err)
	}
}

func (w *world) admin() *kadm.Client { return kadm.NewClient(kafkaserver.Client(w.T, w.cfg.Brokers)) }

// alter sets a setting of a topic.
func (w *world) alter(topic, setting, value string) {
	w.Helper()
	answers, err := w.admin().AlterTopicConfigs(w.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: setting, Value: &value}}, topic)
	if err == nil {
		_, err = answers.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		w.Fatalf("alter %s: %v", setting, err)
	}
}

// withStamp makes the record that a broker stamps when a group commits an offset; the
// fake keeps no topic of them.
func (w *world) withStamp(at time.Time) {
	w.Helper()
	const topic = "__consumer_offsets"
	if w.fake.TopicInfo(topic) == nil {
		if err := w.fake.CreateTopic(topic, 1, nil); err != nil {
			w.Fatal(err)
		}
	}
	client := kafkaserver.Client(w.T, w.cfg.Brokers)
	if err := client.ProduceSync(w.Context(), &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: at}).FirstErr(); err != nil {
		w.Fatal(err)
	}
}

// withRegistry adds a registry in which every contract is registered.
func (w *world) withRegistry() {
	w.Helper()
	w.cfg.Registry = &schema.Config{RegistryURL: w.registryURL()}
	if _, err := schema.Register(w.Context(), schema.Config{RegistryURL: w.cfg.Registry.RegistryURL, DB: w.pool}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) registryURL() string {
	w.Helper()
	local, err := schema.StartLocal(w.Context(), nil)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := local.Close(); err != nil {
			w.Error(err)
		}
	})
	return local.URL()
}

// holdSlot reads the slot as a relay would, until let go.
func (w *world) holdSlot() (letGo func()) {
	w.Helper()
	c, err := pgconn.ParseConfig(w.cfg.DatabaseURL)
	if err != nil {
		w.Fatal(err)
	}
	conn, err := replication.Dial(w.Context(), c)
	if err == nil {
		err = conn.Start(w.Context(), replication.Options{Slot: w.cfg.Slot, Publication: "gapless"})
	}
	if err != nil {
		w.Fatal(err)
	}
	open := true
	letGo = func() {
		if !open {
			return
		}
		open = false
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = conn.Close(ctx)
		testkit.Eventually(w.T, patience, func() error {
			var active bool
			err := w.pool.QueryRow(ctx, "select active from pg_replication_slots where slot_name = $1", w.cfg.Slot).Scan(&active)
			if err == nil && active {
				err = errors.New("the slot is still active")
			}
			return err
		})
	}
	w.Cleanup(letGo)
	return letGo
}

// run runs f until the test ends or stop is called.
func (w *world) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if !ended {
			ended = true
			if err := <-done; err != nil {
				w.Error(err)
			}
		}
	}
	w.Cleanup(stop)
	return stop
}

var quiet = slog.New(slog.DiscardHandler)

// withConsumers runs every consumer, and returns once each is in its group.
func (w *world) withConsumers(databaseURL string) (stop func()) {
	w.Helper()
	p, err := pipeline.New(pipeline.Config{Pool: pgtest.OpenPool(w.T, databaseURL), Brokers: w.cfg.Brokers, Logger: quiet})
	if err != nil {
		w.Fatal(err)
	}
	stop = w.run(p.Run)
	for _, c := range w.cfg.Consumers {
		ctx, cancel := context.WithTimeout(w.Context(), patience)
		_, err := w.fake.WaitGroupStable(ctx, "gapless."+c.Name, 1)
		cancel()
		if err != nil {
			w.Fatalf("group of %s: %v", c.Name, err)
		}
	}
	return stop
}

// withRelay runs a relay, and returns once it streams.
func (w *world) withRelay(databaseURL string) {
	w.Helper()
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: w.cfg.Brokers, Logger: quiet, MaxRecordBytes: 2 << 20})
	if err != nil {
		w.Fatal(err)
	}
	r, err := relay.New(relay.Config{DatabaseURL: databaseURL, Slot: w.cfg.Slot, Sink: sink, Logger: quiet})
	if err != nil {
		w.Fatal(err)
	}
	w.run(r.Run)
	testkit.Eventually(w.T, patience, func() error {
		if s := r.Status(); s.State != relay.Streaming {
			return fmt.Errorf("%s: %s", s.State, s.Reason)
		}
		return nil
	})
}

// look runs some checks, or all.
func (w *world) look(ids ...string) doctor.Report {
	w.Helper()
	c := w.cfg
	c.Only = ids
	r, err := doctor.Run(w.Context(), c)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// find runs one check.
func (w *world) find(id string) doctor.Finding {
	w.Helper()
	return w.look(id).Checks[0]
}

// login makes a login of a test's own, with a password that is its name.
func (w *world) login(prefix, attributes string) string {
	w.Helper()
	name := strings.ToLower(kafkaserver.Name(w.T, prefix))
	w.exec("create role " + name + " login password '" + name + "' " + attributes)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := pgx.Connect(ctx, w.db.URL)
		if err == nil {
			_, err = conn.Exec(ctx, "drop owned by "+name+"; drop role "+name)
			_ = conn.Close(ctx)
		}
		if err != nil {
			w.Error(err)
		}
	})
	return w.changed(func(u *url.URL) { u.User = url.UserPassword(name, name) })
}

// changed is the database URL, changed.
func (w *world) changed(change func(*url.URL)) string {
	w.Helper()
	u, err := url.Parse(w.cfg.DatabaseURL)
	if err != nil {
		w.Fatal(err)
	}
	change(u)
	return u.String()
}

// option adds a setting to the session that the database URL opens.
func (w *world) option(setting string) {
	w.Helper()
	w.cfg.DatabaseURL = w.changed(func(u *url.URL) {
		q := u.Query()
		q.Set("options", strings.TrimSpace(q.Get("options")+" -c "+setting))
		u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // the driver takes no other space
	})
}

// switchWAL uses up files of WAL, 16 MiB each.
func (w *world) switchWAL(files int) {
	w.Helper()
	for range files {
		w.exec("select pg_logical_emit_message(false, 'doctor', 'x')")
		w.exec("select pg_switch_wal()")
	}
}

// bad are the findings that are not ok, as text.
func bad(r doctor.Report) []string {
	var list []string
	for _, f := range r.Checks {
		if f.Outcome != doctor.OK {
			list = append(list, fmt.Sprintf("%s: %s: %s", f.ID, f.Outcome, f.Found))
		}
	}
	slices.Sort(list)
	return list
}
