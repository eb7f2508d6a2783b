package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
)

const patience = 40 * time.Second // with a machine that is busy

// sent is a record as it was when the sink got it.
type sent struct {
	topic, key, value string
	null              bool
	headers           []format.Header
	timestamp         time.Time
	position          format.Position
}

func (s sent) header(name string) string {
	for _, h := range s.headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// memory is a Sink that is no broker: the core names none.
type memory struct {
	mu      sync.Mutex
	got     []sent
	held    []func(error) // acknowledgements not given
	holding bool
	refuse  func(sent) error // from Send
	fail    func(sent) error // through ack
	resets  int
	closed  bool
	// broken keys take nothing before Reset, as a partition of which a batch failed.
	broken map[string]bool
	double *memory // takes the replays
}

var errGivenUp = errors.New("an earlier record of the key failed")

func (m *memory) Send(r *format.Record, ack func(*format.Record, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := sent{
		topic: r.Topic, key: string(r.Key), value: string(r.Value), null: r.Value == nil,
		timestamp: r.Timestamp, position: r.Position,
	}
	for _, h := range r.Headers {
		s.headers = append(s.headers, format.Header{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	if m.refuse != nil {
		if err := m.refuse(s); err != nil {
			return err
		}
	}
	if m.broken[s.key] {
		go ack(r, errGivenUp)
		return nil
	}
	if m.fail != nil {
		if err := m.fail(s); err != nil {
			if m.broken == nil {
				m.broken = map[string]bool{}
			}
			m.broken[s.key] = true
			go ack(r, err)
			return nil
		}
	}
	m.got = append(m.got, s)
	if m.holding {
		m.held = append(m.held, func(err error) { ack(r, err) })
		return nil
	}
	ack(r, nil)
	return nil
}

func (m *memory) Reset(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resets++
	m.held, m.broken = nil, nil
	return nil
}

func (m *memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) Double() (relay.Sink, error) {
	if m.double == nil {
		return nil, errors.New("no second sink was planted")
	}
	return m.double, nil
}

func (m *memory) records() []sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

func (m *memory) values() []string {
	var v []string
	for _, s := range m.records() {
		v = append(v, s.value)
	}
	return v
}

// hold stops acknowledging; release acknowledges what is held and what comes.
func (m *memory) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = true
}

func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = false
	for _, ack := range m.held {
		ack(nil)
	}
	m.held = nil
}

// ackFirst acknowledges the first n that are held.
func (m *memory) ackFirst(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ack := range m.held[:n] {
		ack(nil)
	}
	m.held = m.held[n:]
}

// running is a relay of a test.
type running struct {
	*relay.Relay
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

type setup struct {
	db   *pgtest.DB
	pool *pgxpool.Pool
	slot string

	kafka *inKafka // where the state is there
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	db := pgtest.NewDB(t)
	return &setup{db: db, pool: db.Pool(t), slot: db.Slot(t, "relay")}
}

func (s *setup) config(sink relay.Sink) relay.Config {
	c := relay.Config{
		DatabaseURL: s.db.URL, Slot: s.slot, Sink: sink,
		Logger: slog.New(slog.DiscardHandler), ProgressEvery: 20 * time.Millisecond,
	}
	if s.kafka != nil {
		c.DatabaseURL, c.Storage = s.kafka.login, s.kafka.storage()
	}
	return c
}

func run(t testing.TB, cfg relay.Config) *running {
	t.Helper()
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, r)
}

func launch(t testing.TB, r *relay.Relay) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	run := &running{Relay: r, t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(run.done)
		run.err = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-run.done
		if t.Failed() {
			t.Logf("Run returned %v, status %+v", run.err, r.Status())
		}
	})
	return run
}

// stop ends the relay in good order.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	<-r.done
	if r.err != nil {
		r.t.Fatalf("stop: %v", r.err)
	}
}

// ended waits for Run to end by itself.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		r.t.Fatalf("relay still runs: %+v", r.Status())
		return nil
	}
}

func (r *running) become(state relay.State) {
	r.t.Helper()
	testkit.Eventually(r.t, patience, func() error {
		if s := r.Status(); s.State != state {
			select {
			case <-r.done:
				return fmt.Errorf("state %s, want %s; Run returned %w", s.State, state, r.err)
			default:
			}
			return fmt.Errorf("state %s (%s), want %s", s.State, s.Reason, state)
		}
		return nil
	})
}

func (s *setup) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// append writes one event for each value, in one transaction.
func (s *setup) append(t testing.TB, key string, values ...string) {
	t.Helper()
	if s.kafka != nil && s.kafka.login != s.db.URL {
		s.exec(t, "insert into "+ownTable+" (aggregatetype, aggregateid, type, payload) select 'order', $1, 'T', v from unnest($2::text[]) with ordinality as u(v, n) order by n", key, values)
		return
	}
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) select 'order', $1, 'T', convert_to(v, 'UTF8') from unnest($2::text[]) with ordinality as u(v, n) order by n", key, values)
}

func want(t testing.TB, m *memory, values ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := m.values(); !slices.Equal(got, values) {
			return fmt.Errorf("got %q, want %q", got, values)
		}
		return nil
	})
}

// stored waits until this relay has handled events, and record and slot say so.
func (s *setup) stored(t testing.TB, r *running, events uint64) {
	t.Helper()
	if s.kafka == nil {
		s.storedInPostgres(t, r, events)
		return
	}
	storedAt(t, r, events, func() (lsn string, err error) {
		err = s.inState(t.Context(), func(v *kafkastate.Slot) error {
			if v.Progress == nil {
				return errors.New("no record")
			}
			lsn = v.Progress.Resume
			return nil
		})
		return lsn, err
	})
}

func (s *setup) storedInPostgres(t testing.TB, r *running, events uint64) {
	t.Helper()
	storedAt(t, r, events, func() (lsn string, err error) {
		err = s.pool.QueryRow(t.Context(), "select resume_lsn::text from gapless.relay_progress where slot = $1", s.slot).Scan(&lsn)
		return lsn, err
	})
}

func storedAt(t testing.TB, r *running, events uint64, at func() (string, error)) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		lsn, err := at()
		if err != nil {
			return err
		}
		st := r.Status()
		if st.Events < events || st.InFlight != 0 || st.Stored.String() != lsn || st.Confirmed < st.Stored {
			return fmt.Errorf("record %s, status %+v", lsn, st)
		}
		return nil
	})
}

func refusal(t testing.TB, err error, what string) {
	t.Helper()
	var r *relay.Refusal
	if !errors.As(err, &r) || !strings.Contains(r.Error(), what) || r.Refusal() == "" {
		t.Errorf("error %v, want a refusal about %q with a remedy", err, what)
	}
}
