package relay

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// A relay that has lost the slot parks nothing: the row would block a key that the
// new owner does not know to be blocked.
func TestZombieParksNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	s, err := openStore(t.Context(), Config{DatabaseURL: db.URL, Slot: db.Slot(t, "fence")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.create(t.Context(), "1", 1, core.Position{Resume: 16}, false, 0); err != nil {
		t.Fatal(err)
	}
	_, mine, err := s.take(t.Context(), "a", "1", 1)
	if err != nil {
		t.Fatal(err)
	}
	row := func(index int64) []*parked {
		r := &format.Record{Topic: "t", Key: []byte("k"), Position: format.Position{Timeline: 1, Commit: 32, Index: index}}
		return []*parked{{table: "gapless.outbox", record: r, status: statusParked, blockedBy: "k", fault: &format.Fault{Reason: format.TooLarge}}}
	}
	if err := s.park(t.Context(), mine, row(0)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.take(t.Context(), "b", "1", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.park(t.Context(), mine, row(1)); !errors.Is(err, errFenced) {
		t.Errorf("parked by a zombie: %v", err)
	}
	if err := s.settle(t.Context(), mine, nil, nil); !errors.Is(err, errFenced) {
		t.Errorf("settled by a zombie: %v", err)
	}
	if _, err := s.finishRequests(t.Context(), mine, []int64{1}); !errors.Is(err, errFenced) {
		t.Errorf("requests finished by a zombie: %v", err)
	}
	var rows int
	if err := s.pool.QueryRow(t.Context(), "select count(*) from gapless.parked").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// A stop that comes while a table is being looked up does not break the stream off.
func TestTableIsLookedUpWhileStopping(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	store, err := openStore(t.Context(), Config{DatabaseURL: db.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer store.close()
	stopping, stop := context.WithCancel(t.Context())
	stop()
	s := &session{r: &Relay{store: store}, tables: map[uint32]*table{}}
	err = s.relation(stopping, &pgoutput.Relation{ID: 7, Namespace: []byte("public"), Name: []byte("shop_outbox")})
	if err != nil || s.tables[7] == nil {
		t.Errorf("%v, %v", s.tables, err)
	}
}

// A statement that keeps failing is due when its pause is over: until then the stream is
// read.
func TestNothingIsDueBeforeItsPauseIsOver(t *testing.T) {
	t.Parallel()
	s := &session{machine: core.New(core.Config{Position: core.Position{Resume: 10}, Confirmed: 10}, 0), want: newWants(Config{})}
	s.want.lastLook, s.want.lastAsk = 4*time.Second, 4*time.Second
	const now = 6 * time.Second
	if due := s.want.due(s, now); due != 0 {
		t.Errorf("due in %s", due)
	}
	s.worker.again[kindControl] = now + 5*time.Second
	if due := s.want.due(s, now); due < 50*time.Millisecond { // a proof is wanted, too
		t.Errorf("due in %s, before the pause is over", due)
	}
}

// What is acknowledged at the moment in which something ends the stream is known to the
// next one.
func TestAcknowledgedBesideAnEnd(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(nil, "s")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{r: &Relay{metrics: m}, inbox: newInbox(), machine: core.New(core.Config{Position: core.Position{Resume: 10}, Confirmed: 10}, 0)}
	if err := s.machine.Begin(20, 0); err != nil {
		t.Fatal(err)
	}
	var records []*format.Record
	for range 2 {
		if _, _, err := s.machine.Change(); err != nil {
			t.Fatal(err)
		}
		r, _ := s.slabs.next()
		s.slabs.keep(r)
		r.Seq = s.machine.Track(1)
		records = append(records, r)
	}
	s.inbox.ack(records[1], nil)
	s.inbox.result(func() { s.worker.fatal = errTopicBack })
	if err := s.takeInbox(0); !errors.Is(err, errTopicBack) {
		t.Error(err)
	}
	if got := s.machine.Ahead(); len(got) != 1 || got[0] != (core.Point{Commit: 20, Index: 1}) {
		t.Errorf("known %v", got)
	}
}
