package saga_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/pgtest"
)

// While a commit waits for its synchronous standby, its event is in Kafka and
// its row cannot be selected. However long that takes, the event must not end
// as a dead letter.
func TestOrderThatCannotBeSeenYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	h := consumerstest.New(t, db.LoginURL(t, pgtest.Consumer), saga.New(saga.Config{}).Consumer())
	id := uuid.Must(uuid.NewV7())
	placed := order(trial) // changes the order at once
	placed.OrderId = id.String()
	m := h.Event(contracts.Order, id.String(), placed)
	m.Timestamp = time.Now()

	if got := h.FeedFor(2*time.Second, m); len(got) != 0 && got[0] != "" {
		t.Fatalf("outcome %q of an event whose order cannot be seen", got)
	}
	if n := h.Int("select (select count(*) from gapless.inbox_attempt) + (select count(*) from gapless.dead_letter)"); n != 0 {
		t.Fatalf("%d attempts and dead letters were counted", n)
	}
	_, err := db.Pool(t).Exec(t.Context(), `
		insert into checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address)
		values ($1, 'p', 'c-1', 'USD', 0, 'trial', 'tok_ok', '{}')`, id)
	if err != nil {
		t.Fatal(err)
	}
	h.Feed(h.Again(m))
	if got := h.Text("select status from checkout.orders"); got != "(confirmed)" {
		t.Fatalf("order is %s once it can be seen", got)
	}
}
