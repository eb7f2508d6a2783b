package relay_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/testkit"
)

// Whoever made the slot died before looking whether rows were there already.
func TestSlotMadeAfterRowsIsRefused(t *testing.T) {
	t.Parallel()
	// Transactions of other tests, open while the slot is made, would leave in
	// doubt which side of it the row is on.
	s, _ := ownServer(t, nil)
	s.exec(t, "select pg_drop_replication_slot($1)", s.slot)
	s.append(t, "k", "before the slot")
	s.exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	s.append(t, "k", "after the slot")
	var sink memory
	refusal(t, run(t, s.config(&sink)).ended(), "was made after 1 or more rows of gapless.outbox")
	want(t, &sink)

	s.exec(t, "delete from gapless.outbox where convert_from(payload, 'UTF8') = 'before the slot'")
	run(t, s.config(&sink))
	want(t, &sink, "after the slot")
}

// A slot that is older than its publication: from Postgres 18 on it would pass over
// what was written in between.
func TestPublicationMadeAfterRowsIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := ownServer(t, nil)
	s.exec(t, "drop publication gapless")
	s.append(t, "k", "without a publication")
	s.exec(t, "create publication gapless for table gapless.outbox, gapless.dead_letter with (publish = 'insert', publish_via_partition_root = true)")
	s.append(t, "k", "with it")
	var sink memory
	refusal(t, run(t, s.config(&sink)).ended(), "1 or more rows of gapless.outbox were written before")
	want(t, &sink)
}

// A table that was out of the publication for a while has rows that no slot
// sends; a table that is new in it has not.
func TestPublicationChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.proven(t, r)
	r.stop()
	s.exec(t, "create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table plain")
	s.append(t, "k", "2")
	r = run(t, s.config(&sink))
	want(t, &sink, "1", "2")
	s.stored(t, r, 1)
	r.stop()
	// No proof covers "2" yet, and none is needed for a table more.
	s.exec(t, "create table another (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table another")
	r = run(t, s.config(&sink))
	s.proven(t, r)
	r.stop()

	s.exec(t, "alter publication gapless drop table gapless.outbox")
	s.append(t, "k", "seen by no slot")
	s.exec(t, "alter publication gapless add table gapless.outbox")
	s.append(t, "k", "3")
	refusal(t, run(t, s.config(&sink)).ended(), "1 rows")
	want(t, &sink, "1", "2")
}

// The same under a running relay: it notices, and does not go on as if nothing had
// been missed. Neither does it stop for what loses nothing.
func TestPublicationChangedUnderTheStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change []string
		what   string // "" goes on
	}{
		"table taken out": {[]string{"alter publication gapless drop table gapless.outbox", "", "alter publication gapless add table gapless.outbox"}, "publication"},
		"made again": {[]string{
			"drop publication gapless", "",
			"create publication gapless for table gapless.outbox, gapless.dead_letter with (publish = 'insert', publish_via_partition_root = true)",
		}, "publication"},
		"options set":     {[]string{"alter publication gapless set (publish = 'insert, update')"}, ""},
		"table added":     {[]string{"create table plain (id uuid, aggregatetype text, aggregateid text, payload text)", "alter publication gapless add table plain"}, ""},
		"another renewed": {[]string{"create publication other for table gapless.outbox", "drop publication other"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			var sink memory
			config := s.config(&sink)
			config.ProofEvery = 20 * time.Millisecond
			r := run(t, config)
			s.append(t, "k", "1")
			want(t, &sink, "1")
			s.proven(t, r)
			for _, statement := range c.change {
				if statement == "" {
					s.append(t, "k", "seen by no slot")
				} else {
					s.exec(t, statement)
				}
			}
			s.append(t, "k", "2") // after which it looks; an idle one looks every ten seconds
			if c.what != "" {
				refusal(t, r.ended(), c.what)
				if slices.Contains(sink.values(), "seen by no slot") {
					t.Error("nothing was missed: the test tests nothing")
				}
				return
			}
			want(t, &sink, "1", "2")
			s.proven(t, r)
			s.append(t, "k", "3")
			want(t, &sink, "1", "2", "3")
		})
	}
}

// proven waits until the record holds a proof that covers all that was relayed:
// only then the slot moves on without events.
func (s *setup) proven(t testing.TB, r *running) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		s.exec(t, "select pg_logical_emit_message(false, 'other', 'wal')")
		if st := r.Status(); st.Confirmed <= st.Stored {
			return fmt.Errorf("no proof is stored yet: %+v", st)
		}
		return nil
	})
}

// idled waits until something was sent, and keepalives have moved the slot past the record
// since.
func (s *setup) idled(t testing.TB, r *running) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Events == 0 {
			return fmt.Errorf("nothing is sent yet: %+v", st)
		}
		return nil
	})
	s.proven(t, r)
}
