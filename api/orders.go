package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// orderRow is an order with its items.
type orderRow struct {
	OrderID         uuid.UUID   `db:"order_id"`
	CustomerID      string      `db:"customer_id"`
	Currency        string      `db:"currency"`
	TotalMinor      int64       `db:"total_minor"`
	Plan            string      `db:"plan"`
	ShippingAddress Address     `db:"shipping_address"`
	Status          string      `db:"status"`
	Reason          *string     `db:"reason"`
	StockStatus     string      `db:"stock_status"`
	Version         int64       `db:"version"`
	CreatedAt       time.Time   `db:"created_at"`
	UpdatedAt       time.Time   `db:"updated_at"`
	ConfirmedAt     *time.Time  `db:"confirmed_at"`
	Items           []OrderItem `db:"items"`
}

func (r orderRow) order() Order {
	o := Order{
		ID: r.OrderID, Status: OrderStatus(r.Status), StockStatus: OrderStockStatus(r.StockStatus), CustomerID: r.CustomerID,
		Currency: r.Currency, TotalMinor: r.TotalMinor, Plan: Plan(r.Plan), Items: r.Items, ShippingAddress: r.ShippingAddress,
		Version: r.Version, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.Reason != nil {
		reason := Reason(*r.Reason)
		o.Reason = &reason
	}
	if r.ConfirmedAt != nil {
		at := r.ConfirmedAt.UTC()
		o.ConfirmedAt = &at
	}
	return o
}

type rowsQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// showOrder returns the order as who sees it, or a problem of kind not-found.
func (s *Server) showOrder(ctx context.Context, db rowsQuerier, who principal, id uuid.UUID) (*Order, error) {
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	rows, err := db.Query(ctx, sql.CheckoutOrderShow, id, who.name, who.operator)
	if err != nil {
		return nil, fmt.Errorf("show order: %w", err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[orderRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problemf(kindNotFound, "there is no order %s", id)
	}
	if err != nil {
		return nil, fmt.Errorf("show order: %w", err)
	}
	o := row.order()
	return &o, nil
}

// ShowOrder is GET /v1/orders/{order_id}.
func (s *Server) ShowOrder(ctx context.Context, req ShowOrderRequestObject) (ShowOrderResponseObject, error) {
	o, err := s.order(ctx, principalFrom(ctx), req.OrderID)
	if err != nil {
		return nil, err
	}
	return ShowOrder200JSONResponse(*o), nil
}

// ShowTimeline is GET /v1/orders/{order_id}/timeline.
func (s *Server) ShowTimeline(ctx context.Context, req ShowTimelineRequestObject) (ShowTimelineResponseObject, error) {
	if _, err := s.order(ctx, principalFrom(ctx), req.OrderID); err != nil {
		return nil, err
	}
	if s.cfg.Timeline == nil {
		return nil, &problem{kind: kindNotImplemented}
	}
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	text, err := s.cfg.Timeline(ctx, req.OrderID)
	if errors.Is(err, ErrNotFound) {
		return nil, problemf(kindNotFound, "there is no order %s", req.OrderID)
	}
	if err != nil {
		return nil, fmt.Errorf("show timeline: %w", err)
	}
	return timeline(text), nil
}

// timeline is sent as it was given.
type timeline json.RawMessage

// VisitShowTimelineResponse writes a 200.
func (t timeline) VisitShowTimelineResponse(w http.ResponseWriter) error {
	writeJSON(w, http.StatusOK, json.RawMessage(t))
	return nil
}

const (
	defaultOrders   = 50
	maxOrders       = 200
	defaultProducts = 200
	maxProducts     = 1000
)

// afterEveryOrder sorts after every UUIDv7.
var afterEveryOrder = uuid.Max

// ListOrders is GET /v1/orders. A page holds what was there when it was asked
// for: an order placed meanwhile comes before the first page, never into one.
func (s *Server) ListOrders(ctx context.Context, req ListOrdersRequestObject) (ListOrdersResponseObject, error) {
	limit, err := pageSize(req.Params.Limit, defaultOrders, maxOrders)
	if err != nil {
		return nil, err
	}
	customer := req.Params.CustomerID
	if customer == "" || !printable(customer) {
		return nil, problemf(kindMalformed, "parameter customer_id is malformed")
	}
	before := afterEveryOrder
	if req.Params.Cursor != nil {
		raw, err := decodeCursor(*req.Params.Cursor)
		if err == nil {
			before, err = uuid.FromBytes(raw)
		}
		if err != nil {
			return nil, problemf(kindMalformed, "parameter cursor is not a next_cursor of ours")
		}
	}
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	var rows pgx.Rows
	if who := principalFrom(ctx); who.operator {
		rows, err = s.db.Query(ctx, sql.CheckoutOrdersListAll, customer, before, limit+1)
	} else {
		rows, err = s.db.Query(ctx, sql.CheckoutOrdersListOwn, who.name, customer, before, limit+1)
	}
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[orderRow])
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	page := ListOrders200JSONResponse{Body: OrderPage{Orders: make([]Order, 0, len(list))}}
	for _, row := range list[:min(len(list), limit)] {
		page.Body.Orders = append(page.Body.Orders, row.order())
	}
	if len(list) > limit {
		last := list[limit-1].OrderID
		cursor := encodeCursor(last[:])
		link := nextLink("/v1/orders", url.Values{"customer_id": {customer}, "limit": {strconv.Itoa(limit)}, "cursor": {cursor}})
		page.Body.NextCursor, page.Headers.Link = &cursor, &link
	}
	return page, nil
}

// ListProducts is GET /v1/products.
func (s *Server) ListProducts(ctx context.Context, req ListProductsRequestObject) (ListProductsResponseObject, error) {
	limit, err := pageSize(req.Params.Limit, defaultProducts, maxProducts)
	if err != nil {
		return nil, err
	}
	after := ""
	if req.Params.Cursor != nil {
		raw, err := decodeCursor(*req.Params.Cursor)
		if after = string(raw); err != nil || !printable(after) {
			return nil, problemf(kindMalformed, "parameter cursor is not a next_cursor of ours")
		}
	}
	ctx, cancel := s.dbContext(ctx)
	defer cancel()
	rows, err := s.db.Query(ctx, sql.CheckoutProductsList, after, limit+1)
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[product])
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	page := ListProducts200JSONResponse{Body: ProductPage{Products: make([]Product, 0, len(list))}}
	for _, p := range list[:min(len(list), limit)] {
		page.Body.Products = append(page.Body.Products, Product{Sku: p.Sku, Name: p.Name, PriceMinor: p.PriceMinor, Currency: p.Currency})
	}
	if len(list) > limit {
		cursor := encodeCursor([]byte(list[limit-1].Sku))
		link := nextLink("/v1/products", url.Values{"limit": {strconv.Itoa(limit)}, "cursor": {cursor}})
		page.Body.NextCursor, page.Headers.Link = &cursor, &link
	}
	return page, nil
}

func pageSize(asked *int, preset, most int) (int, error) {
	if asked == nil {
		return preset, nil
	}
	if *asked < 1 || *asked > most {
		return 0, problemf(kindMalformed, "parameter limit must be between 1 and %d", most)
	}
	return *asked, nil
}

func encodeCursor(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func decodeCursor(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

func nextLink(path string, query url.Values) string {
	return "<" + path + "?" + query.Encode() + `>; rel="next"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone asks again
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
