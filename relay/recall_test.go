package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// predecessor is a program that has sent of a slot, and whose offsets are lost.
type predecessor struct {
	*crashes
	client *kgo.Client
	ids    map[int]string
}

// newPredecessor writes n rows of five keys, of which the slot gives those behind confirmed.
func newPredecessor(t *testing.T, n, confirmed int) *predecessor {
	t.Helper()
	p := &predecessor{crashes: crashesOf(t, newSetup(t)), ids: map[int]string{}}
	p.client = kafkaserver.Client(t, p.brokers)
	p.exec(t, "create table taken (id uuid default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text, n int)")
	p.exec(t, "alter publication gapless add table taken")
	const insert = `insert into taken (aggregatetype, aggregateid, type, payload, n) select $1, 'k' || i % 5, 'T', i::text, i from generate_series($2::int, $3::int) i`
	p.exec(t, insert, p.aggregate, 1, confirmed)
	p.flush(t)
	p.exec(t, "select pg_replication_slot_advance($1, pg_current_wal_flush_lsn())", p.slot)
	for first := confirmed + 1; first <= n; first += 7 { // several in a transaction
		p.exec(t, insert, p.aggregate, first, min(first+6, n))
	}
	p.flush(t)
	rows, err := p.pool.Query(t.Context(), "select n, id::text from taken")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		var id string
		if err := rows.Scan(&n, &id); err != nil {
			t.Fatal(err)
		}
		p.ids[n] = id
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

// flush brings what is committed to the server's disk: nobody is given more.
func (s *setup) flush(t *testing.T) {
	t.Helper()
	s.script(t, "begin; set local synchronous_commit = on; select pg_logical_emit_message(true, 'gapless.flush', ''); commit")
}

func (p *predecessor) record(n int) *kgo.Record {
	return &kgo.Record{
		Topic: p.topic, Key: fmt.Append(nil, "k", n%5), Value: strconv.AppendInt(nil, int64(n), 10),
		Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(p.ids[n])}},
	}
}

func (p *predecessor) sends(t *testing.T, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := p.client.ProduceSync(t.Context(), p.record(n)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// inTransaction sends what no consumer of committed records ever gets, or may one day get.
func (p *predecessor) inTransaction(t *testing.T, abort bool, numbers ...int) {
	t.Helper()
	client := kafkaserver.Client(t, p.brokers, kgo.TransactionalID(p.topic+fmt.Sprint(numbers)))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		if err := client.ProduceSync(t.Context(), p.record(n)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if abort {
		if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
	}
}

// counts is how often each row is there for a consumer of committed records, when all are.
func (p *predecessor) counts(t *testing.T, rows int) []int {
	t.Helper()
	f := follow(t, p.brokers, p.topic)
	counts := make([]int, rows+1)
	testkit.Eventually(t, 2*patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(counts)
		newest := map[string]int{}
		there := 0
		for _, r := range f.records {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				t.Fatal(err)
			}
			if counts[n]++; counts[n] == 1 {
				there++
				if newest[string(r.Key)] > n {
					t.Fatalf("key %s: %d came after %d", r.Key, n, newest[string(r.Key)])
				}
				newest[string(r.Key)] = n
			}
		}
		if there != rows {
			return fmt.Errorf("%d of %d rows are there", there, rows)
		}
		return nil
	})
	return counts
}

func (p *predecessor) takeOver(t *testing.T, log slog.Handler) *running {
	t.Helper()
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: p.brokers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := p.config(sink)
	cfg.TakeOverTopics, cfg.Logger = true, slog.New(log)
	return run(t, cfg)
}

// The other program had begun anew twice, and died with some of what it had in flight
// arrived: what is there is not sent again, and nothing else is left out.
func TestTakesOverByTheTopics(t *testing.T) {
	t.Parallel()
	const rows, confirmed = 300, 100
	p := newPredecessor(t, rows, confirmed)
	p.sends(t, 1, 150)
	p.sends(t, 90, 120)
	p.sends(t, 60, 105)
	for _, n := range []int{151, 152, 156, 161} { // of two keys more than of the others
		p.sends(t, n, n)
	}
	var log testkit.Buffer
	r := p.takeOver(t, slog.NewTextHandler(&log, nil))
	counts := p.counts(t, rows)
	for n := 1; n <= rows; n++ {
		want := 1
		if n >= 90 && n <= 120 {
			want++
		}
		if n >= 60 && n <= 105 {
			want++
		}
		if counts[n] != want {
			t.Errorf("%d is there %d times, want %d", n, counts[n], want)
		}
	}
	if text := log.String(); !strings.Contains(text, "rows=200 sent_before=54") || strings.Contains(text, "level=WARN") {
		t.Error(text)
	}
	p.setup.stored(t, r, 200-54)
	p.exec(t, "insert into taken (aggregatetype, aggregateid, payload) values ($1, 'k0', '301')", p.aggregate)
	p.counts(t, rows+1)
	r.stop()
	var later testkit.Buffer
	r = p.takeOver(t, slog.NewTextHandler(&later, nil)) // it may stay on the command line
	p.exec(t, "insert into taken (aggregatetype, aggregateid, payload) values ($1, 'k0', '302')", p.aggregate)
	p.counts(t, rows+2)
	if strings.Contains(later.String(), "taking over") {
		t.Error(later.String())
	}
	r.stop()
}

// What a consumer may never get was not sent. What is missing before a later row of its
// key is sent, and told of.
func TestTakesOverByTheTopicsWhatCounts(t *testing.T) {
	t.Parallel()
	p := newPredecessor(t, 60, 10)
	p.sends(t, 1, 20)
	p.sends(t, 26, 26) // 21 is of the same key: it is sent again behind that
	p.inTransaction(t, true, 22, 23)
	p.sends(t, 24, 24)
	p.inTransaction(t, false, 25)
	var log testkit.Buffer
	r := p.takeOver(t, slog.NewTextHandler(&log, nil))
	p.setup.stored(t, r, 60-10-11)
	if text := log.String(); !strings.Contains(text, "rows=50 sent_before=11") || !strings.Contains(text, "again=1") {
		t.Error(text)
	}
	r.stop()
}

// Killed in the midst of what the topics tell of: the next one looks again, and finds what
// the first has sent.
func TestKilledWhileTakingOverByTheTopics(t *testing.T) {
	t.Parallel()
	const rows, confirmed, kills = 12_000, 100, 3
	p := newPredecessor(t, rows, confirmed)
	p.sends(t, 1, 400)
	there := func() (n int64) {
		ends, err := kadm.NewClient(p.client).ListEndOffsets(t.Context(), p.topic)
		if err != nil {
			t.Fatal(err)
		}
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return n
	}
	for i := range kills {
		c := p.start("TAKE_OVER=1")
		testkit.Eventually(t, patience, func() error {
			if n := there(); n < int64(600*(i+1)) {
				return fmt.Errorf("%d records: %s", n, c.stderr)
			}
			return nil
		})
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if !c.killed(t) {
			t.Fatal("it was not killed")
		}
		if there() >= rows {
			t.Fatal("it was through")
		}
	}
	c := p.start("TAKE_OVER=1")
	for n, count := range p.counts(t, rows) {
		if n > 0 && count != 1 {
			t.Errorf("%d is there %d times", n, count)
		}
	}
	if n := strings.Count(c.stderr.String(), "sent_before="); n != 1 {
		t.Errorf("it has looked %d times: %s", n, c.stderr)
	}
}

// Without an answer of Kafka's nothing is sent, and a topic that is not there has nothing.
func TestTakesOverByTopicsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	var sink deaf
	s := newSetup(t)
	cfg := s.config(&sink)
	cfg.TakeOverTopics = true
	s.append(t, "k", "1", "2")
	s.flush(t)
	sink.err = errors.New("planted")
	r := run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		if sink.asked < 2 {
			return errors.New("it was not asked twice")
		}
		return nil
	})
	if n := len(sink.records()) + s.rows(t, "gapless.relay_progress"); n != 0 {
		t.Errorf("%d records and positions", n)
	}
	sink.mu.Lock()
	sink.err = nil
	sink.mu.Unlock()
	want(t, &sink.memory, "1", "2")
	r.stop()
	if !slices.Equal(sink.topics, []string{"outbox.event.order"}) {
		t.Errorf("asked for %v", sink.topics)
	}
	if _, err := relay.New(func() relay.Config { c := s.config(&memory{}); c.TakeOverTopics = true; return c }()); err == nil || !strings.Contains(err.Error(), "TakeOverTopics") {
		t.Errorf("a sink that tells nothing: %v", err)
	}
}

// deaf is a sink that has nothing, or does not answer.
type deaf struct {
	memory
	err    error
	asked  int
	topics []string
}

func (f *deaf) Recall(_ context.Context, topics []string, _ func(*format.Record), _ func(string, int32) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	f.topics = topics
	return f.err
}
