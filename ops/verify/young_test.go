package verify_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/ops/verify"
)

func TestLaterRowsAreNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order, _ := w.order("confirmed")
	w.relay()
	// Committed once the snapshot is taken, while verify waits for the relay:
	// its row is in no snapshot, and its record may be in Kafka or not.
	var late event
	planted := false
	w.exec("DELETE FROM gapless.relay_progress")
	r := w.verify(func(c *verify.Config) {
		c.Wait = time.Minute
		c.Progress = func(p verify.Progress) {
			if p.Step != "wait for the relay" || planted {
				return
			}
			planted = true
			w.append("stock", order.String(), "StockReleased", 2, uuid.Nil) // not sent yet
			late = w.append("inventory.command", order.String(), "ReleaseStock", 2, uuid.Nil)
			w.send(late)
			w.pass()
		}
	})
	if !planted {
		t.Fatal("verify did not wait for the relay")
	}
	if r.Broken() || len(r.Incomplete) > 0 {
		t.Errorf("%v; incomplete: %v", breaches(r), r.Incomplete)
	}
	if v := r.Invariants[0]; v.TooYoung != 1 { // the late record, ahead of inventory's offset
		t.Errorf("loss: %+v", v.Counts)
	}
}

func TestTheYoungAreNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order, _ := w.order("confirmed")
	other, _ := w.order("confirmed")
	w.relay()
	w.exec("UPDATE payment.payments SET captured_minor = 0 WHERE order_id = $1", order)
	w.exec("UPDATE gapless.saga SET status = 'running', finished_at = NULL, deadline = clock_timestamp() + interval '1 minute' WHERE saga_id = $1", other)
	w.exec("UPDATE checkout.orders SET status = 'pending', confirmed_at = NULL WHERE order_id = $1", other)
	w.exec("DELETE FROM loyalty.points WHERE order_id = $1", other)
	w.exec("UPDATE analytics.sales_by_hour SET orders = 1, revenue_minor = 900")
	r := w.verify(func(c *verify.Config) { c.Young = time.Hour })
	if r.Broken() {
		t.Fatal(breaches(r))
	}
	for number, want := range map[int]int64{5: 4, 6: 1} {
		if got := r.Invariants[number-1].TooYoung; got != want {
			t.Errorf("invariant %d: %d too young, want %d", number, got, want)
		}
	}
	if r := w.verify(); r.Invariants[4].Broken == 0 {
		t.Error("without mercy for the young, the capture that is missing must be seen")
	}
}

// TestNothingButYoungIsNoProof: an invariant of which nothing was judged is not said
// to hold.
func TestNothingButYoungIsNoProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.order("confirmed") // and no consumer has seen it
	for _, table := range []string{"analytics.sales_by_hour", "loyalty.points", "notification.messages"} {
		w.exec("DELETE FROM " + table)
	}
	r := w.verify()
	if v := r.Invariants[6]; v.Judged != 0 || v.TooYoung == 0 || v.Verdict != verify.TooYoung {
		t.Errorf("%+v", v)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || strings.Contains(text.String(), "every invariant holds") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestAConsumerThatIsBehindIsNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order, _ := w.order("confirmed")
	w.relay()
	w.send(w.append("stock", order.String(), "StockReleased", 2, uuid.Nil))
	if r := w.verify(); r.Broken() || r.Invariants[0].TooYoung != 1 {
		t.Errorf("%v, loss %+v", breaches(r), r.Invariants[0].Counts)
	}
	w.commit()
	if r := w.verify(); !r.Broken() {
		t.Error("the offset is past a record that nobody claimed")
	}
}

func TestWhatRetentionTookIsExpired(t *testing.T) {
	t.Parallel()
	t.Run("from the outbox", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.order("confirmed")
		w.relay()
		var first string
		if err := w.pool.QueryRow(t.Context(), "SELECT tableoid::regclass::text FROM gapless.outbox LIMIT 1").Scan(&first); err != nil {
			t.Fatal(err)
		}
		w.exec("DROP TABLE " + first)
		r := w.verify()
		if r.Broken() || r.Invariants[1].Expired != 4 || r.Invariants[1].Judged != 0 {
			t.Errorf("%v, phantoms %+v", breaches(r), r.Invariants[1].Counts)
		}
	})
	t.Run("from Kafka", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.order("confirmed")
		w.relay()
		admin := kadm.NewClient(w.client)
		ends, err := admin.ListEndOffsets(t.Context(), w.prefix+"order")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeleteRecords(t.Context(), ends.Offsets()); err != nil {
			t.Fatal(err)
		}
		r := w.verify()
		if r.Broken() || r.Invariants[0].Expired != 2 {
			t.Errorf("%v, loss %+v", breaches(r), r.Invariants[0].Counts)
		}
	})
}
