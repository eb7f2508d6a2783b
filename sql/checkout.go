package sql

import _ "embed"

// CheckoutAPIKeyFind finds the principal of a key.
//
//go:embed checkout_api_key_find.sql
var CheckoutAPIKeyFind string

// CheckoutAPIKeyInsert stores the hash of a new key.
//
//go:embed checkout_api_key_insert.sql
var CheckoutAPIKeyInsert string

// CheckoutBegin opens the transaction of an order.
//
//go:embed checkout_begin.sql
var CheckoutBegin string

// CheckoutCommit ends the transaction of an order.
//
//go:embed checkout_commit.sql
var CheckoutCommit string

// CheckoutOrderInsert inserts an order with its items.
//
//go:embed checkout_order_insert.sql
var CheckoutOrderInsert string

// CheckoutOrderShow reads one order as a principal sees it.
//
//go:embed checkout_order_show.sql
var CheckoutOrderShow string

// CheckoutOrdersListAll pages through all orders of one customer.
//
//go:embed checkout_orders_list_all.sql
var CheckoutOrdersListAll string

// CheckoutOrdersListOwn pages through a principal's orders of one customer.
//
//go:embed checkout_orders_list_own.sql
var CheckoutOrdersListOwn string

// CheckoutOrdersWatch reads the state of the orders that are waited for.
//
//go:embed checkout_orders_watch.sql
var CheckoutOrdersWatch string

// CheckoutProductsFind reads the prices of some SKUs.
//
//go:embed checkout_products_find.sql
var CheckoutProductsFind string

// CheckoutProductsList pages through the catalogue.
//
//go:embed checkout_products_list.sql
var CheckoutProductsList string

// CheckoutReady tells whether the checkout's tables are there.
//
//go:embed checkout_ready.sql
var CheckoutReady string

// CheckoutRollback frees a connection whose pipeline failed.
//
//go:embed checkout_rollback.sql
var CheckoutRollback string
