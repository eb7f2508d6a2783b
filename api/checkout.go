package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// Routes of idempotency keys.
const (
	routePlace  = "POST /v1/orders"
	routeCancel = "POST /v1/orders/{order_id}/cancel"
	routeReview = "POST /v1/orders/{order_id}/review"
)

// answer is what a key stands for.
type answer struct {
	orderID  uuid.UUID
	status   int
	body     []byte
	replayed bool
}

// enter returns once no twin is running in this process, with leave or with the
// answer that a twin has left.
func (s *Server) enter(ctx context.Context, who principal, key string, hash []byte) (leave func(), a answer, found bool, err error) {
	leave, twin := s.inFlight.enter(who.name, key)
	if twin == nil {
		return leave, answer{}, false, nil
	}
	timer := time.NewTimer(twinWait)
	defer timer.Stop()
	for {
		select {
		case <-twin:
		case <-timer.C:
			return nil, answer{}, false, &problem{kind: kindInFlight}
		case <-ctx.Done():
			return nil, answer{}, false, &problem{kind: kindInFlight, cause: ctx.Err()}
		}
		if a, found, err = s.stored(ctx, s.db, who.name, routePlace, key, hash); err != nil || found {
			return nil, a, found, err
		}
		if leave, twin = s.inFlight.enter(who.name, key); twin == nil {
			return leave, answer{}, false, nil
		}
	}
}

// placement is an order about to be written.
type placement struct {
	id    uuid.UUID
	who   principal
	key   string
	hash  []byte
	order *PlaceOrder
	unit  []int64
	total int64
	at    time.Time
	body  []byte
}

// place takes an order, or finds the answer it was given before.
func (s *Server) place(ctx context.Context, who principal, key string, o *PlaceOrder) (answer, error) {
	hash, err := requestHash(o)
	if err != nil {
		return answer{}, err
	}
	leave, stored, found, err := s.enter(ctx, who, key, hash)
	if err != nil || found {
		return stored, err
	}
	defer leave()
	products, err := s.catalogue.find(ctx, o.Items)
	if err != nil {
		return answer{}, err
	}
	unit, total, err := price(o, products)
	if err != nil {
		// The catalogue may have changed since the first try of this very order.
		if stored, found, findErr := s.stored(ctx, s.db, who.name, routePlace, key, hash); findErr != nil || found {
			return stored, findErr
		}
		return answer{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return answer{}, fmt.Errorf("make order id: %w", err)
	}
	p := &placement{
		id: id, who: who, key: key, hash: hash, order: o, unit: unit, total: total,
		at: time.Now().UTC().Truncate(time.Microsecond), // what the database keeps
	}
	if p.body, err = p.answerBody(); err != nil {
		return answer{}, err
	}
	batch, err := s.pipeline(ctx, p)
	if err != nil {
		return answer{}, err
	}
	crashpoint.Hit("api.before_transaction")
	start := time.Now()
	failed, err := s.sendPipeline(ctx, batch)
	s.metrics.transaction.Observe(time.Since(start).Seconds())
	crashpoint.Hit("api.after_commit")
	if err == nil {
		return answer{orderID: p.id, status: 202, body: p.body}, nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && failed == keyStatement {
		switch pgErr.Code {
		case "55P03":
			return answer{}, &problem{kind: kindInFlight, cause: err}
		case "23505":
			stored, found, err := s.stored(ctx, s.db, who.name, routePlace, key, hash)
			if err == nil && !found { // deleted by retention in between: the next try is a first one
				err = &problem{kind: kindInFlight}
			}
			return stored, err
		}
	}
	if !nothingWritten(err, failed, batch.Len()-1) {
		return answer{}, &problem{kind: kindUnknown, cause: err}
	}
	return answer{}, fmt.Errorf("place order: %w", err)
}

// keyStatement is the place of the key's insert in the pipeline.
const keyStatement = 2

// pipeline is everything from BEGIN to COMMIT. See the package comment for why
// this is all or nothing.
func (s *Server) pipeline(ctx context.Context, p *placement) (*pgx.Batch, error) {
	o := p.order
	skus, quantities := make([]string, len(o.Items)), make([]int32, len(o.Items))
	items := make([]*gaplessv1.Item, len(o.Items))
	for i, item := range o.Items {
		skus[i], quantities[i] = item.Sku, item.Quantity
		items[i] = &gaplessv1.Item{Sku: item.Sku, Quantity: item.Quantity, UnitPriceMinor: p.unit[i]}
	}
	var batch pgx.Batch
	batch.Queue(sql.CheckoutBegin)
	batch.Queue(sql.IdempotencyLockTimeout)
	batch.Queue(sql.IdempotencyKeyInsert, p.who.name, routePlace, p.key, p.hash, p.id, 202, p.body)
	batch.Queue(sql.IdempotencyLockTimeoutReset)
	batch.Queue(sql.CheckoutOrderInsert, p.id, p.who.name, o.CustomerID, o.Currency, p.total, string(*o.Plan), o.PaymentToken,
		o.ShippingAddress, traceFrom(ctx).Parent, p.at, skus, quantities, p.unit)
	err := s.writer.Queue(ctx, &batch, outbox.Event{
		AggregateType:    contracts.Order,
		AggregateID:      p.id.String(),
		AggregateVersion: 1,
		Headers:          map[string]string{outbox.HeaderCorrelationID: p.id.String()},
		Message: &gaplessv1.OrderPlaced{
			OrderId: p.id.String(), CustomerId: o.CustomerID, Currency: o.Currency, TotalMinor: p.total, Items: items,
			ShippingAddress: addressMessage(o.ShippingAddress), PaymentToken: o.PaymentToken, Plan: planMessage(*o.Plan),
			PlacedAt: timestamppb.New(p.at),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("append OrderPlaced: %w", err)
	}
	batch.Queue(sql.CheckoutCommit)
	return &batch, nil
}

// sendPipeline runs a pipeline that ends in COMMIT. On an error it returns the
// number of the statement that failed.
func (s *Server) sendPipeline(ctx context.Context, batch *pgx.Batch) (failed int, err error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return 0, &problem{kind: kindUnavailable, cause: err}
	}
	defer conn.Release()
	results := conn.SendBatch(ctx, batch)
	crashpoint.Hit("api.after_send")
	n := batch.Len()
	for failed = range n {
		tag, execErr := results.Exec()
		if execErr != nil {
			err = execErr
			break
		}
		if failed == n-1 && tag.String() != "COMMIT" {
			// COMMIT of an aborted transaction answers ROLLBACK and is no error.
			err = fmt.Errorf("commit: the server answered %q", tag)
		}
	}
	closeErr := results.Close()
	if err == nil {
		s.dbUp()
		return 0, nil // what happens to the connection after COMMIT's answer is the pool's affair
	}
	if closeErr != nil && !conn.Conn().IsClosed() {
		// The server waits in the failed transaction. A pool throws such a
		// connection away; repeats are too common for that.
		if _, rollbackErr := conn.Exec(ctx, sql.CheckoutRollback); rollbackErr != nil {
			s.log.DebugContext(ctx, "rollback failed", "error", rollbackErr)
		}
	}
	return failed, err
}

// acquire waits for a connection, but not for ever: while Postgres is away a
// request has an answer soon.
func (s *Server) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AcquireTimeout)
	defer cancel()
	conn, err := s.db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("acquire connection: %w", err)
	}
	return conn, nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// stored returns the answer kept under a key: a problem if it belongs to another
// request.
func (s *Server) stored(ctx context.Context, db querier, who, route, key string, hash []byte) (a answer, found bool, err error) {
	var storedHash []byte
	err = db.QueryRow(ctx, sql.IdempotencyKeyFind, who, route, key).Scan(&storedHash, &a.orderID, &a.status, &a.body)
	if errors.Is(err, pgx.ErrNoRows) {
		return answer{}, false, nil
	}
	if err != nil {
		return answer{}, false, fmt.Errorf("find idempotency key: %w", err)
	}
	if !bytes.Equal(hash, storedHash) {
		return answer{}, true, &problem{kind: kindMismatch}
	}
	a.replayed = true
	return a, true, nil
}

func (p *placement) answerBody() ([]byte, error) {
	body, err := json.Marshal(PlacedOrder{
		ID: p.id, Status: Pending, CustomerID: p.order.CustomerID, Currency: p.order.Currency, TotalMinor: p.total,
		Plan: *p.order.Plan, CreatedAt: p.at,
	})
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return append(body, '\n'), nil
}

func planMessage(p Plan) gaplessv1.Plan {
	if p == Trial {
		return gaplessv1.Plan_PLAN_TRIAL
	}
	return gaplessv1.Plan_PLAN_STANDARD
}

func addressMessage(a Address) *gaplessv1.Address {
	m := &gaplessv1.Address{Line1: a.Line1, City: a.City, PostalCode: a.PostalCode, Country: a.Country}
	if a.Line2 != nil {
		m.Line2 = *a.Line2
	}
	if a.Region != nil {
		m.Region = *a.Region
	}
	return m
}
