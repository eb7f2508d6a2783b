package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// maxStream is how long a stream lasts at most; the client comes back with
// Last-Event-ID.
const maxStream = 30 * time.Minute

// WatchOrder is GET /v1/orders/{order_id}/events.
func (s *Server) WatchOrder(ctx context.Context, req WatchOrderRequestObject) (WatchOrderResponseObject, error) {
	who := principalFrom(ctx)
	o, err := s.order(ctx, who, req.OrderID)
	if err != nil {
		return nil, err
	}
	if !s.stepAside(ctx) {
		return nil, problemf(kindTooMany, "too many streams are open")
	}
	seen := ""
	if req.Params.LastEventID != nil {
		seen = *req.Params.LastEventID
	}
	return &stream{server: s, ctx: ctx, who: who, id: req.OrderID, order: o, seen: seen}, nil
}

// stream writes an order's changes until it is at its end, the client has gone
// or the server stops.
type stream struct {
	server *Server
	ctx    context.Context //nolint:containedctx // the generated interface has no other way in
	who    principal
	id     uuid.UUID
	order  *Order
	seen   string // Last-Event-ID
}

// eventID is opaque to clients: it changes whenever the row does.
func eventID(o *Order) string { return strconv.FormatInt(o.UpdatedAt.UnixMicro(), 36) }

// VisitWatchOrderResponse blocks for as long as the stream is open.
func (st *stream) VisitWatchOrderResponse(w http.ResponseWriter) error {
	s := st.server
	ctx, cancel := context.WithTimeout(st.ctx, maxStream)
	defer cancel()
	defer context.AfterFunc(s.drainCtx, cancel)()
	control := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that buffers would hold the news back
	w.WriteHeader(http.StatusOK)
	send := func(text []byte) bool {
		// Best effort: a writer without deadlines has none to extend.
		_ = control.SetWriteDeadline(time.Now().Add(2*s.cfg.Heartbeat + 5*time.Second))
		_, err := w.Write(text)
		return err == nil && control.Flush() == nil
	}
	watch := s.watcher.watch(st.id)
	defer watch.stop()
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	first := []byte("retry: 1000\n\n")
	if eventID(st.order) != st.seen {
		first = st.event(first, st.order)
	}
	if !send(first) || terminal(st.order.Status) {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if !send([]byte(": still here\n\n")) {
				return nil
			}
		case state := <-watch.changes:
			if state.updatedAt == st.order.UpdatedAt.UnixMicro() {
				continue // the first look finds what the first event told
			}
			o, err := s.order(ctx, st.who, st.id)
			if err != nil {
				// Postgres is away: end the stream, the client comes back and learns why.
				return nil
			}
			if eventID(o) == eventID(st.order) {
				continue
			}
			st.order = o
			if !send(st.event(nil, o)) || terminal(o.Status) {
				return nil
			}
		}
	}
}

func (st *stream) event(to []byte, o *Order) []byte {
	text, err := json.Marshal(o)
	if err != nil {
		return to // an Order always encodes
	}
	b := bytes.NewBuffer(to)
	fmt.Fprintf(b, "event: order\nid: %s\ndata: %s\n\n", eventID(o), text)
	return b.Bytes()
}
