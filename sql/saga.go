package sql

import _ "embed"

// SagaLock locks and reads sagas.
//
//go:embed saga_lock.sql
var SagaLock string

// SagaDue locks and reads sagas whose deadline has passed.
//
//go:embed saga_due.sql
var SagaDue string

// SagaCreate writes new sagas.
//
//go:embed saga_create.sql
var SagaCreate string

// SagaSave writes changed sagas.
//
//go:embed saga_save.sql
var SagaSave string

// SagaStepSave writes steps, new or changed.
//
//go:embed saga_step_save.sql
var SagaStepSave string

// SagaIgnoredAppend notes replies that moved nothing.
//
//go:embed saga_ignored_append.sql
var SagaIgnoredAppend string

// SagaOrdersLock locks the orders whose state changes.
//
//go:embed saga_orders_lock.sql
var SagaOrdersLock string

// SagaOrdersSave writes the state of orders.
//
//go:embed saga_orders_save.sql
var SagaOrdersSave string

// SagaCount counts open sagas by status.
//
//go:embed saga_count.sql
var SagaCount string

// SagaAudit notes an operator's action.
//
//go:embed saga_audit.sql
var SagaAudit string
