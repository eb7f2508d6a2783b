package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
)

// PlaceOrder is POST /v1/orders.
func (s *Server) PlaceOrder(ctx context.Context, req PlaceOrderRequestObject) (PlaceOrderResponseObject, error) {
	a, err := s.placeOrder(ctx, req)
	s.metrics.placed(a, err)
	if err != nil {
		return nil, err
	}
	taken := placed{answer: a}
	wait := parsePreferWait(req.Params.Prefer)
	if wait == 0 {
		return taken, nil
	}
	return s.placedAndDecided(ctx, taken, wait), nil
}

func (s *Server) placeOrder(ctx context.Context, req PlaceOrderRequestObject) (answer, error) {
	key, err := parseIdempotencyKey(req.Params.IdempotencyKey)
	if err != nil {
		return answer{}, err
	}
	body, err := readBody(req.Body)
	if err != nil {
		return answer{}, err
	}
	o, err := decodeOrder(body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	return s.place(ctx, principalFrom(ctx), key, o)
}

// placedAndDecided waits for the stock's decision and returns the order as it
// then is. Whatever goes wrong after the commit, the order is taken: the answer
// is then the plain one.
func (s *Server) placedAndDecided(ctx context.Context, taken placed, wait time.Duration) PlaceOrderResponseObject {
	if !s.stepAside(ctx) {
		return taken
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(s.drainCtx, cancel)()
	w := s.watcher.watch(taken.orderID)
	defer w.stop()
	for {
		select {
		case <-ctx.Done():
			return taken
		case state := <-w.changes:
			if !state.stockDecided() {
				continue
			}
			o, err := s.order(ctx, anonymous, taken.orderID) // its principal placed it
			if err != nil {
				return taken
			}
			return decided{taken, o, "wait=" + seconds(wait)}
		}
	}
}

// placed is the stored answer, byte for byte.
type placed struct{ answer }

func (p placed) headers(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Location", "/v1/orders/"+p.orderID.String())
	h.Set("Cache-Control", "no-store")
	if p.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
}

// VisitPlaceOrderResponse writes a 202.
func (p placed) VisitPlaceOrderResponse(w http.ResponseWriter) error {
	p.headers(w.Header())
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // a client that is gone asks again
	return nil
}

type decided struct {
	placed
	order   *Order
	applied string
}

// VisitPlaceOrderResponse writes a 200.
func (d decided) VisitPlaceOrderResponse(w http.ResponseWriter) error {
	d.headers(w.Header())
	w.Header().Set("Preference-Applied", d.applied)
	writeJSON(w, http.StatusOK, d.order)
	return nil
}

// readBody reads a body that the middleware has bounded.
func readBody(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(r)
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &problem{kind: kindTooLarge, cause: err}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &problem{kind: kindTimeout, cause: err}
	}
	return nil, &problem{kind: kindMalformed, detail: "the body ends too early", cause: err}
}

// order returns the order as who sees it.
func (s *Server) order(ctx context.Context, who principal, id uuid.UUID) (*Order, error) {
	return s.showOrder(ctx, s.db, who, id)
}
