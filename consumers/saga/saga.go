package saga

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/outbox"
)

// Name of the consumer.
const Name = "saga"

// Config of the saga. The zero value is a saga whose [Saga.Consumer] works and
// which has no timers.
type Config struct {
	// Pool is the database of sagas and orders, for [Saga.Run] and [Saga.Mend].
	// The consumer itself works on the runtime's transaction.
	Pool *pgxpool.Pool
	// Encoder of commands that the timer sends; the one that the runtime has.
	// nil means JSON.
	Encoder outbox.Encoder
	// Timeout before a command that is not answered is sent again; it doubles
	// with each, up to MaxTimeout. Defaults 1 and 10 minutes.
	Timeout, MaxTimeout time.Duration
	// Attempts is how many commands are sent for a step before it is given up:
	// undone, or, if it is an undo itself, handed to a person. Default 8.
	Attempts int
	// Interval at which the timer looks for what is due. Default 1 second.
	Interval time.Duration
	// Logger; nil means none.
	Logger *slog.Logger
	// Registerer of the metrics; nil means none.
	Registerer prometheus.Registerer
}

// Saga is the orchestrator of orders. It may be used concurrently, and by any
// number of processes on the same database.
type Saga struct {
	config  Config
	machine *Machine
	writer  *outbox.Writer
	log     *slog.Logger
	metrics *metrics
	aside   aside
}

// New returns a saga. It does no I/O. It panics on a Config that contradicts
// itself, see [Config.Validate].
func New(c Config) *Saga {
	if err := c.Validate(); err != nil {
		panic("saga: " + err.Error())
	}
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.MaxTimeout = max(cmp.Or(c.MaxTimeout, 10*time.Minute), c.Timeout)
	c.Attempts = cmp.Or(c.Attempts, 8)
	c.Interval = cmp.Or(c.Interval, time.Second)
	s := &Saga{
		config:  c,
		machine: NewMachine(Definition(), Policy{Timeout: c.Timeout, MaxTimeout: c.MaxTimeout, Attempts: c.Attempts}),
		writer:  outbox.New(outbox.Config{Encoder: c.Encoder}),
		log:     c.Logger,
		metrics: newMetrics(c.Registerer),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Validate reports every field that cannot be.
func (c *Config) Validate() error {
	var errs []error
	if c.Timeout < 0 || c.MaxTimeout < 0 {
		errs = append(errs, errors.New("config: Timeout and MaxTimeout must not be negative: a command whose answer is awaited for ever ends no order"))
	}
	if c.Attempts < 0 {
		errs = append(errs, errors.New("config: Attempts must not be negative"))
	}
	if c.Interval < 0 {
		errs = append(errs, errors.New("config: Interval must not be negative"))
	}
	return errors.Join(errs...)
}

// participants whose commands may end as dead letters.
var participants = [...]struct{ consumer, aggregateType string }{
	{"inventory", contracts.InventoryCommand},
	{"payment", contracts.PaymentCommand},
	{"fulfillment", contracts.FulfillmentCommand},
}

// DeadLetterTopics are the topics on which the saga learns that one of its
// commands was parked.
func DeadLetterTopics() []string {
	topics := make([]string, len(participants))
	for i, p := range participants {
		topics[i] = contracts.DeadLetterTopic(contracts.Group(p.consumer, 1), contracts.Topic(p.aggregateType))
	}
	return topics
}

// Consumer is the saga's part in the inbox runtime.
func (s *Saga) Consumer() consumers.Consumer {
	return consumers.Consumer{
		Name: Name,
		Topics: slices.Concat([]string{
			contracts.Topic(contracts.Order), contracts.Topic(contracts.Stock), contracts.Topic(contracts.Payment),
			contracts.Topic(contracts.Shipment), contracts.Topic(contracts.SagaCommand),
		}, DeadLetterTopics()),
		Types: []string{
			"OrderPlaced", "ApproveReview", "RejectReview", "CancelOrder",
			"StockReserved", "StockRejected", "StockReleased",
			"PaymentAuthorized", "PaymentDeclined", "PaymentCaptured", "PaymentVoided", "PaymentRefunded",
			"ShipmentCreated", "ShipmentFailed", "ShipmentCancelled",
			// As dead letters only.
			"ReserveStock", "ReleaseStock", "AuthorizePayment", "CapturePayment", "VoidPayment", "RefundPayment",
			"CreateShipment", "CancelShipment",
		},
		ApplyBatch: s.applyBatch,
	}
}

func (s *Saga) applyBatch(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	inputs := make([]input, len(batch))
	for i, d := range batch {
		in, err := decode(d.Message)
		if err != nil {
			return err
		}
		inputs[i] = in
	}
	w := newWork(s.machine)
	if err := w.lock(ctx, tx, inputs); err != nil {
		return err
	}
	for _, in := range inputs {
		w.apply(in)
	}
	return w.finish(ctx, tx)
}
