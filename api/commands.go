package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// CancelOrder is POST /v1/orders/{order_id}/cancel.
func (s *Server) CancelOrder(ctx context.Context, req CancelOrderRequestObject) (CancelOrderResponseObject, error) {
	who := principalFrom(ctx)
	o, err := s.command(ctx, who, command{
		route: routeCancel, orderID: req.OrderID, content: "cancel",
		message: &gaplessv1.CancelOrder{OrderId: req.OrderID.String(), RequestedBy: who.name},
		allowed: func(o *Order) error {
			switch {
			case o.Status == Pending || o.Status == InReview:
				return nil
			case o.Reason != nil && *o.Reason == CustomerCancelled:
				return errAlreadyDone
			}
			return problemf(kindWrongState, "the order is %s and can no longer be cancelled", o.Status)
		},
	})
	if err != nil {
		return nil, err
	}
	return CancelOrder202JSONResponse(*o), nil
}

// ReviewOrder is POST /v1/orders/{order_id}/review.
func (s *Server) ReviewOrder(ctx context.Context, req ReviewOrderRequestObject) (ReviewOrderResponseObject, error) {
	who := principalFrom(ctx)
	if !who.operator {
		return nil, problemf(kindForbidden, "reviews are decided by operators")
	}
	body, err := readBody(req.Body)
	if err != nil {
		return nil, err
	}
	decision, err := decodeReview(body)
	if err != nil {
		return nil, err
	}
	var message proto.Message = &gaplessv1.ApproveReview{OrderId: req.OrderID.String(), DecidedBy: who.name}
	if decision == Reject {
		message = &gaplessv1.RejectReview{OrderId: req.OrderID.String(), DecidedBy: who.name}
	}
	o, err := s.command(ctx, who, command{
		route: routeReview, orderID: req.OrderID, content: string(decision), message: message,
		allowed: func(o *Order) error {
			if o.Status == InReview {
				return nil
			}
			return problemf(kindWrongState, "the order is %s, not in review", o.Status)
		},
	})
	if err != nil {
		return nil, err
	}
	return ReviewOrder202JSONResponse(*o), nil
}

// command is a wish that goes to the saga.
type command struct {
	route   string
	orderID uuid.UUID
	content string // what makes two commands of a route the same
	message proto.Message
	// allowed returns errAlreadyDone where the wish is fulfilled, or a problem.
	allowed func(*Order) error
}

var errAlreadyDone = errors.New("already done")

// command writes c into the outbox unless it is there already. The key row, of
// nobody's principal and with the order's id as its key, makes that one
// decision however many ask at once.
func (s *Server) command(ctx context.Context, who principal, c command) (*Order, error) {
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	hash := sha256.Sum256([]byte(c.content))
	if _, found, err := s.stored(ctx, s.db, "", c.route, c.orderID.String(), hash[:]); found && err != nil {
		return nil, s.commandTaken(ctx, who, c, err)
	} else if err != nil {
		return nil, err
	} else if found {
		return s.order(ctx, who, c.orderID)
	}
	o, err := s.order(ctx, who, c.orderID)
	if err != nil {
		return nil, err
	}
	if err := c.allowed(o); errors.Is(err, errAlreadyDone) {
		return o, nil
	} else if err != nil {
		return nil, err
	}
	var batch pgx.Batch
	batch.Queue(sql.CheckoutBegin)
	batch.Queue(sql.IdempotencyLockTimeout)
	batch.Queue(sql.IdempotencyKeyInsert, "", c.route, c.orderID.String(), hash[:], c.orderID, 202, []byte{})
	batch.Queue(sql.IdempotencyLockTimeoutReset)
	err = s.writer.Queue(ctx, &batch, outbox.Event{
		AggregateType: contracts.SagaCommand, AggregateID: c.orderID.String(), Message: c.message,
		Headers: map[string]string{outbox.HeaderCorrelationID: c.orderID.String()},
	})
	if err != nil {
		return nil, fmt.Errorf("append command: %w", err)
	}
	batch.Queue(sql.CheckoutCommit)
	failed, err := s.sendPipeline(ctx, &batch)
	if err == nil {
		return o, nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && failed == keyStatement {
		switch pgErr.Code {
		case "55P03":
			return nil, &problem{kind: kindInFlight, cause: err}
		case "23505":
			if _, _, err := s.stored(ctx, s.db, "", c.route, c.orderID.String(), hash[:]); err != nil {
				return nil, s.commandTaken(ctx, who, c, err)
			}
			return o, nil
		}
	}
	if !nothingWritten(err, failed, batch.Len()-1) {
		return nil, &problem{kind: kindUnknown, cause: err}
	}
	return nil, fmt.Errorf("write command: %w", err)
}

// commandTaken is for a key that stands for another content: somebody has
// decided otherwise. Only who sees the order learns that.
func (s *Server) commandTaken(ctx context.Context, who principal, c command, err error) error {
	if p, ok := errors.AsType[*problem](err); !ok || p.kind != kindMismatch {
		return err
	}
	if _, err := s.order(ctx, who, c.orderID); err != nil {
		return err
	}
	return problemf(kindWrongState, "the order has been decided otherwise")
}
