package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/combine"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/sql"
)

// Name of the consumer.
const Name = "payment"

// Reasons for which a payment command is parked.
const (
	// GatewayRefused: a void or a refund was declined; a person must look.
	GatewayRefused = "gateway_refused"
	// OutOfOrder: a capture of a payment that was never asked for.
	OutOfOrder = "out_of_order"
)

// errStale says that the payment changed after the call was prepared: by an
// earlier message of the same batch. Run again, the call is prepared anew.
var errStale = errors.New("payment has changed since the command was prepared")

// Querier reads payments before the gateway is called; a pool is one. It is
// used concurrently.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Config of the participant.
type Config struct {
	// DB holds schema payment. Required.
	DB Querier
	// Gateway moves the money. Required.
	Gateway Gateway
	// Attempts at a call within one Prepare, while the gateway fails or its
	// answers are lost, before the partition waits. Default 5; negative means 1.
	Attempts int
	// Backoff before the second attempt; it doubles with each, with jitter.
	// Default 50 ms; negative means none.
	Backoff time.Duration
}

// service is a Config with its defaults.
type service struct {
	Config
	payments *combine.Combiner[uuid.UUID, payment]
}

// New returns the participant. It does no I/O. It panics when DB or Gateway is
// missing.
func New(c Config) consumers.Consumer {
	if c.DB == nil || c.Gateway == nil {
		panic("payment: Config.DB and Config.Gateway are required")
	}
	c.Attempts = max(cmp.Or(c.Attempts, 5), 1)
	c.Backoff = max(cmp.Or(c.Backoff, 50*time.Millisecond), 0)
	s := &service{Config: c}
	s.payments = combine.New(2, 256, s.read)
	return consumers.Consumer{
		Name:       Name,
		Topics:     []string{contracts.Topic(contracts.PaymentCommand)},
		Types:      []string{"AuthorizePayment", "CapturePayment", "VoidPayment", "RefundPayment"},
		Prepare:    s.prepare,
		ApplyBatch: s.applyBatch,
	}
}

func (s *service) prepare(ctx context.Context, m *consumers.Message) (any, error) {
	command, order, err := decode(m)
	if err != nil {
		return nil, err
	}
	p, err := s.payments.Do(ctx, order)
	if err != nil {
		return nil, err
	}
	return s.call(ctx, m, p, command)
}

func decode(m *consumers.Message) (proto.Message, uuid.UUID, error) {
	command, order, err := participant.Decode(m)
	if err != nil {
		return nil, uuid.Nil, err
	}
	if m.StepID() == "" {
		return nil, uuid.Nil, consumers.Poison(participant.Invalid, errors.New("header gapless_step is missing: without an idempotency key nothing is charged"))
	}
	if a, ok := command.(*gaplessv1.AuthorizePayment); ok && a.GetAmountMinor() < 0 {
		return nil, uuid.Nil, consumers.Poison(participant.Invalid, fmt.Errorf("amount %d is negative", a.GetAmountMinor()))
	}
	return command, order, nil
}

// read returns the payments as they are; one that is not there yet is empty.
func (s *service) read(ctx context.Context, orders []uuid.UUID) []combine.Answer[payment] {
	answers := make([]combine.Answer[payment], len(orders))
	rows, err := s.DB.Query(ctx, sql.PaymentRead, participant.Raw(participant.SortIDs(slices.Clone(orders))))
	var list []payment
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowToStructByName[payment])
	}
	if err != nil {
		err = fmt.Errorf("read payments: %w", err)
	}
	for i, order := range orders {
		answers[i] = combine.Answer[payment]{Value: payment{OrderID: order}, Err: err}
		if n := slices.IndexFunc(list, func(p payment) bool { return p.OrderID == order }); n >= 0 {
			answers[i].Value = list[n]
		}
	}
	return answers
}

// call makes the call that the command needs, the payment being p.
func (s *service) call(ctx context.Context, m *consumers.Message, p payment, command proto.Message) (prepared, error) {
	done := prepared{action: plan(p, command)}
	key := m.StepID()
	err := s.retry(ctx, func() (err error) {
		switch done.action {
		case actAuthorize:
			a := command.(*gaplessv1.AuthorizePayment)
			done.charge, err = s.Gateway.Authorize(ctx, key, AuthorizeRequest{
				OrderID: p.OrderID, Token: a.GetPaymentToken(), AmountMinor: a.GetAmountMinor(),
				Currency: a.GetCurrency(), PostalCode: a.GetPostalCode(),
			})
		case actCapture:
			err = s.Gateway.Capture(ctx, key, p.ChargeID)
		case actVoid:
			err = s.Gateway.Void(ctx, key, p.StepIDs["AuthorizePayment"])
		case actRefund:
			err = s.Gateway.Refund(ctx, key, p.ChargeID)
		case actVoidStray:
			// key is the authorisation's own: the command is AuthorizePayment.
			err = s.Gateway.Void(ctx, key+"/stray", key)
		}
		return err
	})
	crashpoint.Hit("payment.after_gateway")
	if refusal, ok := errors.AsType[*DeclinedError](err); ok {
		switch done.action {
		case actAuthorize, actCapture:
			done.declined = refusal
			return done, nil
		}
		return prepared{}, consumers.Poison(GatewayRefused, err)
	}
	if err != nil {
		return prepared{}, consumers.Unavailable(fmt.Errorf("%s of order %s: %w", m.Type, p.OrderID, err))
	}
	return done, nil
}

// retry makes a call until its outcome is known: with one and the same key that
// is safe.
func (s *service) retry(ctx context.Context, call func() error) error {
	backoff := s.Backoff
	for attempt := 1; ; attempt++ {
		err := call()
		if err == nil {
			return nil
		}
		if _, final := errors.AsType[*DeclinedError](err); final || attempt >= s.Attempts {
			return err
		}
		if werr := wait(ctx, backoff/2+time.Duration(rand.Int64N(int64(backoff/2+1)))); werr != nil {
			return errors.Join(err, werr)
		}
		backoff *= 2
	}
}

func (s *service) applyBatch(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	commands := make([]proto.Message, len(batch))
	orders := make([]uuid.UUID, len(batch))
	for i, d := range batch {
		var err error
		if commands[i], orders[i], err = decode(d.Message); err != nil {
			return err
		}
	}
	payments, err := lock(ctx, tx, slices.Clone(orders))
	if err != nil {
		return err
	}
	for i, d := range batch {
		p := payments[orders[i]]
		if p == nil {
			p = &payment{OrderID: orders[i], StepIDs: make(map[string]string)}
			payments[orders[i]] = p
		}
		done, ok := d.Prepared.(prepared)
		if !ok || done.action != plan(*p, commands[i]) {
			return fmt.Errorf("%s of order %s: %w", d.Type, p.OrderID, errStale)
		}
		if _, capture := commands[i].(*gaplessv1.CapturePayment); capture && p.Status == "" {
			return consumers.Poison(OutOfOrder, fmt.Errorf("order %s has no payment to capture", p.OrderID))
		}
		reply := p.record(commands[i], done)
		p.Version++
		p.StepIDs[d.Type] = d.StepID()
		if err := tx.Emit(ctx, d.Message, participant.Reply(d.Message, contracts.Payment, p.OrderID, p.Version, reply)); err != nil {
			return err
		}
	}
	save(tx, payments)
	return nil
}

func lock(ctx context.Context, tx consumers.Tx, orders []uuid.UUID) (map[uuid.UUID]*payment, error) {
	rows, err := tx.Query(ctx, sql.PaymentLock, participant.Raw(participant.SortIDs(orders)))
	if err != nil {
		return nil, fmt.Errorf("lock payments: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[payment])
	if err != nil {
		return nil, fmt.Errorf("lock payments: %w", err)
	}
	payments := make(map[uuid.UUID]*payment, len(orders))
	for _, p := range list {
		payments[p.OrderID] = p
	}
	return payments, nil
}

func save(tx consumers.Tx, payments map[uuid.UUID]*payment) {
	orders := participant.SortIDs(slices.Collect(maps.Keys(payments)))
	n := len(orders)
	var (
		statuses        = make([]string, n)
		currencies      = make([]string, n)
		amounts         = make([]int64, n)
		capturedAmounts = make([]int64, n)
		refundedAmounts = make([]int64, n)
		charges         = make([]string, n)
		flagged         = make([]bool, n)
		reasons         = make([]string, n)
		versions        = make([]int64, n)
		steps           = make([]map[string]string, n)
	)
	for i, order := range orders {
		p := payments[order]
		statuses[i], currencies[i], amounts[i] = p.Status, p.Currency, p.AmountMinor
		capturedAmounts[i], refundedAmounts[i] = p.CapturedMinor, p.RefundedMinor
		charges[i], flagged[i], reasons[i] = p.ChargeID, p.Flagged, p.Reason
		versions[i], steps[i] = p.Version, p.StepIDs
	}
	tx.Queue(sql.PaymentSave, participant.Raw(orders), statuses, currencies, amounts, capturedAmounts, refundedAmounts, charges, flagged, reasons, versions, steps)
}
