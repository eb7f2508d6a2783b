package saga_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/uuid"

	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/testkit"
)

// Orders of every kind under everything that can happen to messages at once:
// rollbacks after the handler, repeats under the same and under another event
// id, orders between topics and keys that differ, deadlines that pass,
// cancellations and decisions at any moment. When it is over, every order has
// ended and nothing was lost or made.
func TestConservationUnderChaos(t *testing.T) {
	t.Parallel()
	seed := testkit.Seed(t)
	for n := range 4 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			b := newBus(t, seed+int64(n))
			b.stock(map[string]int{"A-1": 40, "B-1": 25}) // not enough for all
			b.chaos = chaos{rollback: 0.15, duplicate: 0.3, reissue: 0.15, shuffle: 0.5, expire: 0.04}

			var orders []uuid.UUID
			for range 40 {
				if len(orders) < 30 {
					orders = append(orders, b.place(anyOrder(b.rnd)))
				}
				id := orders[b.rnd.IntN(len(orders))]
				switch b.rnd.IntN(8) {
				case 0:
					b.cancel(id)
				case 1:
					b.tell(id, &gaplessv1.ApproveReview{OrderId: id.String()})
				case 2:
					b.tell(id, &gaplessv1.RejectReview{OrderId: id.String()})
				}
				b.step(1 + b.rnd.IntN(20))
			}
			if b.rollers.Load() == 0 {
				t.Error("no transaction was rolled back: the fault did not fire")
			}
			b.chaos = chaos{}
			b.settle()
			for _, id := range orders {
				b.tell(id, &gaplessv1.ApproveReview{OrderId: id.String()})
			}
			b.settle()

			if n := one[int](b, "select count(*) from checkout.orders where status not in ('confirmed', 'cancelled')"); n != 0 {
				t.Errorf("%d orders have not ended: %s", n, one[string](b, `select string_agg(o.status || ' ' || s.status || ' at ' || s.step, ', ')
					from checkout.orders o join gapless.saga s using (order_id) where o.status not in ('confirmed', 'cancelled')`))
			}
			if n := one[int](b, "select count(*) from gapless.dead_letter"); n != 0 {
				t.Errorf("%d dead letters: %s", n, one[string](b, "select string_agg(consumer || ' ' || type || ' ' || error, '; ') from gapless.dead_letter"))
			}
			b.conserved()
		})
	}
}

func anyOrder(rnd *rand.Rand) *gaplessv1.OrderPlaced {
	kinds := []func(*gaplessv1.OrderPlaced){
		func(*gaplessv1.OrderPlaced) {}, func(*gaplessv1.OrderPlaced) {}, func(*gaplessv1.OrderPlaced) {},
		token("tok_declined"), token("tok_flaky"), token("tok_lost"), flagged, flagged, nowhere, tooMuch, trial,
	}
	return order(kinds[rnd.IntN(len(kinds))])
}
