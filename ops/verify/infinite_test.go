package verify_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Nothing stops a row with an odd created_at; the relay parks it, and verify
// still comes to a judgement.
func TestOddTimesAreJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []uuid.UUID
	for _, at := range []string{"infinity", "-infinity", "294000-01-01", "0044-01-01 BC"} {
		id := uuid.Must(uuid.NewV7())
		ids = append(ids, id)
		w.exec("INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, type, created_at) VALUES ($1, 'order', $2, 'Odd', $2::text::timestamptz)", id, at)
		w.exec(`INSERT INTO gapless.parked (slot, event_id, relation, topic, system_id, timeline, commit_lsn, commit_index, reason)
			VALUES ('gapless', $1, 'gapless.outbox', 't', '1', 1, '0/1', $2, 'bad_value')`, id, len(ids))
	}
	w.pass()
	w.commit()
	if r := w.verify(); r.Broken() || r.Invariants[0].Parked != 4 {
		t.Errorf("%v; loss %+v", breaches(r), r.Invariants[0].Counts)
	}
	w.exec("DELETE FROM gapless.parked WHERE event_id = ANY ($1)", ids[:2])
	r := w.verify()
	list := strings.Join(breaches(r), "\n")
	if !strings.Contains(list, ids[0].String()) || !strings.Contains(list, ids[1].String()) {
		t.Errorf("breaches %q do not name the rows that are lost", list)
	}
}
