package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/sql"
)

// Every statement of a request finds its rows by an index, however many orders
// there are.
func TestStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	admin := db.Pool(t)
	if _, err := admin.Exec(t.Context(), catalogue+`;
		insert into checkout.products select 'S-' || n, 'n', 1, 'USD' from generate_series(1, 2000) n;
		insert into checkout.orders (order_id, principal, customer_id, currency, total_minor, plan, payment_token, shipping_address)
			select gapless.uuid7(), 'p' || n % 50, 'c' || n % 100, 'USD', 1, 'standard', 't', '{}' from generate_series(1, 5000) n;
		insert into checkout.order_items select order_id, 1, 'A-1', 1, 1 from checkout.orders;
		insert into gapless.idempotency_key select 'p', 'r', n::text, sha256('x'), gapless.uuid7(), 202, '', now() - n * interval '1 minute' from generate_series(1, 5000) n;
		insert into checkout.api_keys select sha256(n::text::bytea), n::text from generate_series(1, 2000) n;
		analyze`); err != nil {
		t.Fatal(err)
	}
	app := db.LoginPool(t, pgtest.App)
	for name, c := range map[string]struct {
		statement string
		args      []any
		indexes   []string
	}{
		"show":     {sql.CheckoutOrderShow, []any{uuid.New(), "p1", false}, []string{"orders_pkey", "order_items_pkey"}},
		"own":      {sql.CheckoutOrdersListOwn, []any{"p1", "c1", uuid.Max, 51}, []string{"orders_principal_customer_id_idx", "order_items_pkey"}},
		"all":      {sql.CheckoutOrdersListAll, []any{"c1", uuid.Max, 51}, []string{"orders_customer_id_idx", "order_items_pkey"}},
		"watch":    {sql.CheckoutOrdersWatch, []any{[]uuid.UUID{uuid.New()}}, []string{"orders_pkey"}},
		"products": {sql.CheckoutProductsList, []any{"A", 10}, []string{"products_pkey"}},
		"prices":   {sql.CheckoutProductsFind, []any{[]string{"A-1"}}, []string{"products_pkey"}},
		"api key":  {sql.CheckoutAPIKeyFind, []any{[]byte("x")}, []string{"api_keys_pkey"}},
		"key":      {sql.IdempotencyKeyFind, []any{"p", "r", "1"}, []string{"idempotency_key_pkey"}},
		"old keys": {sql.IdempotencyKeyDeleteOld, []any{"72:00:00", 100}, []string{"idempotency_key_created_at_idx"}},
	} {
		rows, err := app.Query(t.Context(), "explain "+c.statement, c.args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, index := range c.indexes {
			if !strings.Contains(plan.String(), index) {
				t.Errorf("%s does not use %s:\n%s", name, index, plan.String())
			}
		}
		if strings.Contains(plan.String(), "Seq Scan") {
			t.Errorf("%s reads a whole table:\n%s", name, plan.String())
		}
	}
}
