package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

var errAway = errors.New("for the test")

// topical is a memory that holds a topic back.
type topical struct {
	memory
	away  string
	late  bool          // it takes records first, and gives them back
	asked chan struct{} // receives when somebody waits
	back  chan struct{} // closed when the topic is back
}

func newTopical(late bool) *topical {
	return &topical{late: late, away: "outbox.event.away", asked: make(chan struct{}, 100), back: make(chan struct{})}
}

func (m *topical) Send(r *format.Record, ack func(*format.Record, error)) error {
	m.mu.Lock()
	away := m.away
	m.mu.Unlock()
	if held := (&relay.HeldError{Topic: away, Cause: errAway}); r.Topic == away && m.late {
		go ack(r, held)
		return nil
	} else if r.Topic == away {
		return held
	}
	return m.memory.Send(r, ack)
}

func (m *topical) AwaitHeld(ctx context.Context) error {
	m.asked <- struct{}{}
	select {
	case <-m.back:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *topical) Reset(ctx context.Context) error {
	select {
	case <-m.back:
		m.mu.Lock()
		m.away = ""
		m.mu.Unlock()
	default:
	}
	return m.memory.Reset(ctx)
}

// eachTopical runs f with a sink that holds at once and with one that holds later.
func eachTopical(t *testing.T, f func(t *testing.T, s *setup, sink *topical)) {
	t.Helper()
	for name, late := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, newSetup(t), newTopical(late))
		})
	}
}

func (s *setup) appendTwo(t testing.TB, first, last int) {
	t.Helper()
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select kind, 'k', 'T', convert_to(kind || i, 'UTF8') from generate_series($1::int, $2::int) i, unnest(array['away', 'near']) kind`, first, last)
}

func numbered(kind string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(kind, i+1))
	}
	return all
}

func of(kind string, m *memory) (got []string) {
	for _, v := range m.values() {
		if strings.HasPrefix(v, kind) {
			got = append(got, v)
		}
	}
	return got
}

func have(t testing.TB, kind string, m *memory, n int) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := of(kind, m); !slices.Equal(got, numbered(kind, n)) {
			return fmt.Errorf("%d of %s: %q", len(got), kind, got[max(0, len(got)-20):])
		}
		return nil
	})
}

// What is held comes when the topic is back, in order, and nothing else comes twice;
// the position waits for it, also through a stop.
func TestTopicIsHeldAlone(t *testing.T) {
	t.Parallel()
	eachTopical(t, topicIsHeldAlone)
}

func topicIsHeldAlone(t *testing.T, s *setup, sink *topical) {
	r := run(t, s.config(sink))
	s.appendTwo(t, 1, 3000)
	have(t, "near", &sink.memory, 3000)
	<-sink.asked
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.State != relay.Streaming || st.Held != 3000 || st.InFlight != 0 || !strings.Contains(st.Reason, errAway.Error()) || st.Done == st.Received {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	close(sink.back)
	have(t, "away", &sink.memory, 3000)
	have(t, "near", &sink.memory, 3000)
	s.appendTwo(t, 3001, 3010)
	have(t, "away", &sink.memory, 3010)
	have(t, "near", &sink.memory, 3010)
	s.stored(t, r, 6020)
	if st := r.Status(); st.Held != 0 || st.Reason != "" {
		t.Errorf("%+v", st)
	}
}

// A stop does not wait for what is held, and a new process begins before it.
func TestStopWithATopicHeld(t *testing.T) {
	t.Parallel()
	eachTopical(t, stopWithATopicHeld)
}

func stopWithATopicHeld(t *testing.T, s *setup, sink *topical) {
	r := run(t, s.config(sink))
	s.appendTwo(t, 1, 10)
	have(t, "near", &sink.memory, 10)
	<-sink.asked
	r.stop()
	if st := r.Status(); st.Reason != "" {
		t.Errorf("stopped with %+v", st)
	}
	var second memory
	r = run(t, s.config(&second))
	have(t, "away", &second, 10)
	s.stored(t, r, 20)
}

// A sink that fails while a topic is held: what it took already is not sent again.
func TestFailureWithATopicHeld(t *testing.T) {
	t.Parallel()
	eachTopical(t, failureWithATopicHeld)
}

func failureWithATopicHeld(t *testing.T, s *setup, sink *topical) {
	failed := false
	sink.fail = func(v sent) error {
		if v.value == "near500" && !failed {
			failed = true
			return errors.New("for the test")
		}
		return nil
	}
	r := run(t, s.config(sink))
	s.appendTwo(t, 1, 499)
	have(t, "near", &sink.memory, 499)
	s.appendTwo(t, 500, 500)
	have(t, "near", &sink.memory, 500) // none twice
	<-sink.asked
	<-sink.asked // by the second stream
	close(sink.back)
	have(t, "away", &sink.memory, 500)
	s.stored(t, r, 1000)
}

// A row whose key is blocked is not sent before one of the key that is held.
func TestRedriveBehindATopicThatIsHeld(t *testing.T) {
	t.Parallel()
	eachTopical(t, redriveBehindATopicThatIsHeld)
}

func redriveBehindATopicThatIsHeld(t *testing.T, s *setup, sink *topical) {
	sink.refuse = poison
	run(t, s.config(sink))
	row := "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'k', 'T', convert_to($2, 'UTF8'))"
	s.exec(t, row, "away", "first")
	s.exec(t, row, "near", "poison")
	s.exec(t, row, "away", "second")
	wantParked(t, s, "parked k poison too_large", "waiting k second waiting")
	sink.mu.Lock()
	sink.refuse = nil
	sink.mu.Unlock()
	request := s.request(t, "redrive")
	s.append(t, "other", "beside") // the relay goes on, and asks for requests
	want(t, &sink.memory, "beside")
	testkit.Eventually(t, patience, func() error {
		var asked int
		return s.pool.QueryRow(t.Context(), `select 1 from pg_stat_activity where application_name = $1 and query like '%relay_request%'
			and query_start > (select requested_at + interval '1 second' from gapless.relay_request where id = $2)`, "gapless relay "+s.slot, request).Scan(&asked)
	})
	if got := sink.values(); len(got) != 1 {
		t.Errorf("sent %q while an earlier row of the key is held", got)
	}
	close(sink.back)
	s.finished(t, request)
	testkit.Eventually(t, patience, func() error {
		got := sink.values()
		if first, second := slices.Index(got, "first"), slices.Index(got, "second"); first < 0 || second < first || !slices.Contains(got, "poison") {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}
