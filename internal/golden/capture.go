//go:build unix

package golden

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// Partitions of each topic.
const Partitions = 4

// Rig is what [Capture] works on. The database's server has wal_level logical and a
// free slot for each case; the broker's topics of the cases are deleted first.
type Rig struct {
	Connect     *kafkaserver.Connect
	Brokers     []string
	DatabaseURL string // of a superuser, by TCP

	// Quiet is how long nothing may arrive before what arrived counts as all.
	// Zero: 3 s.
	Quiet time.Duration
}

// wave is how many connectors run side by side. Each has a dozen threads.
const wave = 16

// Capture runs all cases and returns them with their records. It takes about as many
// seconds as there are cases, divided by two.
func (r Rig) Capture(ctx context.Context, cases []Case) ([]Case, error) {
	admin, err := r.begin(ctx, cases)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	cases = slices.Clone(cases)
	// A connector without a filter gets the messages of all, so those with are apart.
	first := slices.IndexFunc(cases, func(c Case) bool { return c.Prefix() != "" })
	if first < 0 {
		first = len(cases)
	}
	for _, part := range [][]Case{cases[:first], cases[first:]} {
		for some := range slices.Chunk(part, wave) {
			if err := r.wave(ctx, admin, some); err != nil {
				return nil, err
			}
		}
	}
	return cases, collect(ctx, r.Brokers, admin, cases)
}

// begin removes what an earlier capture has left. Close what it returns.
func (r Rig) begin(ctx context.Context, cases []Case) (*kadm.Client, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...))
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	admin := kadm.NewClient(client)
	if err := remove(ctx, admin, cases); err != nil {
		admin.Close()
		return nil, err
	}
	return admin, nil
}

func (r Rig) wave(ctx context.Context, admin *kadm.Client, cases []Case) error {
	each := func(do func(context.Context, *Case) error) error {
		g, ctx := errgroup.WithContext(ctx)
		for i := range cases {
			g.Go(func() error {
				if err := do(ctx, &cases[i]); err != nil {
					return fmt.Errorf("case %s: %w", cases[i].Name, err)
				}
				return nil
			})
		}
		return g.Wait()
	}
	if err := each(r.start); err != nil {
		return err
	}
	if err := each(r.write); err != nil {
		return err
	}
	if err := r.quiet(ctx, admin, cases); err != nil {
		return err
	}
	return each(r.judge)
}

func remove(ctx context.Context, admin *kadm.Client, cases []Case) error {
	topics, err := topicsOf(ctx, admin, cases)
	if err != nil || len(topics) == 0 {
		return err
	}
	if _, err := admin.DeleteTopics(ctx, slices.Collect(maps.Keys(topics))...); err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	return nil
}

// topicsOf tells which topic belongs to which case, by its place.
func topicsOf(ctx context.Context, admin *kadm.Client, cases []Case) (map[string]int, error) {
	all, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	of := map[string]int{}
	for topic := range all {
		for i, c := range cases {
			if strings.Contains(topic, c.Tag()) {
				of[topic] = i
			}
		}
	}
	return of, nil
}

// start makes the table and returns when its connector streams, or has failed.
func (r Rig) start(ctx context.Context, c *Case) error {
	db, err := r.db(ctx)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, c.Table(c.DDL), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("make table: %w", err)
	}
	options, err := r.options(c)
	if err != nil {
		return err
	}
	if err := r.Connect.Put(ctx, c.Name, options); err != nil {
		return err
	}
	return eventually(ctx, func() error {
		if state, _, err := r.Connect.TaskState(ctx, c.Name); err != nil || state == "FAILED" {
			return err
		}
		var active bool
		err := db.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid"+
			" WHERE s.slot_name = $1 AND r.state = 'streaming'", "g_"+c.Name).Scan(&active)
		if err == nil && !active {
			err = errors.New("does not stream yet")
		}
		return err
	})
}

func (r Rig) db(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, r.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

func (r Rig) options(c *Case) (map[string]string, error) {
	database, err := kafkaserver.DatabaseOptions(r.DatabaseURL)
	if err != nil {
		return nil, err
	}
	o := Base()
	maps.Copy(o, database)
	maps.Copy(o, map[string]string{
		"topic.prefix": "dbz_" + c.Name, "slot.name": "g_" + c.Name, "publication.name": "g_" + c.Name,
		"publication.autocreate.mode": "filtered", "table.include.list": "public." + c.Name,
		"poll.interval.ms":                          "10",
		"topic.creation.default.partitions":         strconv.Itoa(Partitions),
		"topic.creation.default.replication.factor": "1",
	})
	maps.Copy(o, c.Options)
	return o, nil
}

func (r Rig) write(ctx context.Context, c *Case) error {
	db, err := r.db(ctx)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	return c.Write(ctx, db)
}

// Write runs the case's statements.
func (c Case) Write(ctx context.Context, db *pgx.Conn) error {
	for _, s := range c.SQL {
		// Sent as one message, they are one transaction.
		if _, err := db.PgConn().Exec(ctx, c.Table(strings.Join(s, ";"))).ReadAll(); err != nil {
			return fmt.Errorf("run %q: %w", s, err)
		}
	}
	return nil
}

// patience is how long a connector that streams may send nothing at all.
const patience = 15 * time.Second

// quiet returns when nothing has come for a while, and each case has either a record
// or a task that has failed, or had time enough to get one.
func (r Rig) quiet(ctx context.Context, admin *kadm.Client, cases []Case) error {
	var seen string
	began := time.Now()
	since := began
	for {
		counts, err := r.counts(ctx, admin, cases)
		if err != nil {
			return err
		}
		if now := fmt.Sprint(counts); counts == nil || now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) >= cmp.Or(r.Quiet, 3*time.Second) {
			if time.Since(began) > patience {
				return nil
			}
			silent, err := r.silent(ctx, cases, counts)
			if err != nil || !silent {
				return err
			}
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// counts of records by case; nil while a topic is being made.
func (r Rig) counts(ctx context.Context, admin *kadm.Client, cases []Case) ([]int64, error) {
	topics, err := topicsOf(ctx, admin, cases)
	if err != nil {
		return nil, err
	}
	counts := make([]int64, len(cases))
	if len(topics) == 0 { // none would be all
		return counts, nil
	}
	ends, err := admin.ListEndOffsets(ctx, slices.Sorted(maps.Keys(topics))...)
	if err != nil {
		return nil, nil //nolint:nilerr // it is there in a moment
	}
	ends.Each(func(o kadm.ListedOffset) { counts[topics[o.Topic]] += max(o.Offset, 0) })
	return counts, nil
}

// silent tells whether a task that has not failed has sent nothing.
func (r Rig) silent(ctx context.Context, cases []Case, counts []int64) (bool, error) {
	for i, c := range cases {
		if counts[i] > 0 {
			continue
		}
		if state, _, err := r.Connect.TaskState(ctx, c.Name); err != nil || state != "FAILED" {
			return err == nil, err
		}
	}
	return false, nil
}

// judge notes the task's state and ends the connector.
func (r Rig) judge(ctx context.Context, c *Case) error {
	state, trace, err := r.Connect.TaskState(ctx, c.Name)
	if err != nil {
		return err
	}
	c.TaskState, c.TaskCause, c.Records = state, lastCause(trace), []Record{}
	if err := r.Connect.Delete(ctx, c.Name); err != nil {
		return err
	}
	db, err := r.db(ctx)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	return eventually(ctx, func() error { // its walsender may be there for a moment more
		_, err := db.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", "g_"+c.Name)
		return err
	})
}

func lastCause(trace string) string {
	if trace == "" {
		return ""
	}
	cause, _, _ := strings.Cut(trace, "\n")
	for line := range strings.SplitSeq(trace, "\n") {
		if strings.HasPrefix(line, "Caused by: ") {
			cause = line
		}
	}
	return cause
}

// collect reads the cases' topics to their ends.
func collect(ctx context.Context, brokers []string, admin *kadm.Client, cases []Case) error {
	topics, err := topicsOf(ctx, admin, cases)
	if err != nil || len(topics) == 0 {
		return err
	}
	records, err := ReadTopics(ctx, brokers, slices.Sorted(maps.Keys(topics)))
	if err != nil {
		return err
	}
	for _, r := range records {
		c := &cases[topics[r.Topic]]
		if !c.Timed() {
			r.Timestamp = 0
		}
		c.Records = append(c.Records, r)
	}
	return nil
}

// ReadTopics returns what the topics hold, in order of topic, partition and offset.
func ReadTopics(ctx context.Context, brokers, topics []string) ([]Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	starts, err := kadm.NewClient(client).ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	var left int64
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	starts.Each(func(o kadm.ListedOffset) { left -= o.Offset })
	var records []Record
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read topics: %w", err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			left--
			r := Record{
				Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Key: k.Key, Value: k.Value,
				Headers: []Header{}, Timestamp: k.Timestamp.UnixMilli(),
			}
			for _, h := range k.Headers {
				r.Headers = append(r.Headers, Header{h.Key, h.Value})
			}
			records = append(records, r)
		})
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records, nil
}

func eventually(ctx context.Context, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
