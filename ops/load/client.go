package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// client speaks the REST API with an idea of which answers are final.
type client struct {
	base string
	key  string
	http *http.Client
	mark func() // counts a try that had no final answer
}

// order is the part of an order's JSON that is looked at.
type order struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Reason string `json:"reason"`
}

func (o order) end() string {
	switch {
	case o.Status == "confirmed" || o.Status == "needs_attention" && o.Reason == "":
		return o.Status
	case o.Status == "cancelled" || o.Status == "needs_attention":
		return o.Status + "/" + o.Reason
	}
	return ""
}

// errAgain marks an answer after which the outcome is not known.
var errAgain = errors.New("no final answer")

// place puts the order until the answer is final.
func (c *client) place(ctx context.Context, s Scenario, customer, idempotencyKey string) (order, error) {
	body, err := json.Marshal(map[string]any{
		"customer_id": customer, "currency": "USD", "plan": s.Plan, "payment_token": s.Token,
		"items":            []map[string]any{{"sku": s.SKU, "quantity": s.Quantity}},
		"shipping_address": map[string]string{"line1": s.Line1, "city": "San Francisco", "postal_code": s.PostalCode, "country": "US"},
	})
	if err != nil {
		return order{}, err
	}
	var o order
	err = c.until(ctx, func() error {
		return c.do(ctx, http.MethodPost, "/v1/orders", body, idempotencyKey, &o)
	})
	if err == nil && o.ID == "" {
		err = errors.New("the answer to the order has no id")
	}
	return o, err
}

func (c *client) look(ctx context.Context, id string) (order, error) {
	var o order
	err := c.until(ctx, func() error { return c.do(ctx, http.MethodGet, "/v1/orders/"+id, nil, "", &o) })
	return o, err
}

// act cancels or decides; that it comes too late is no failure.
func (c *client) act(ctx context.Context, id, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	err = c.until(ctx, func() error { return c.do(ctx, http.MethodPost, "/v1/orders/"+id+"/"+path, text, "", nil) })
	if s, ok := errors.AsType[*statusError](err); ok && s.status == http.StatusConflict {
		return nil
	}
	return err
}

// until tries again while the outcome is unknown.
func (c *client) until(ctx context.Context, try func() error) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := try()
		if !errors.Is(err, errAgain) {
			return err
		}
		c.mark()
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-timer.C:
		}
	}
}

type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

func (c *client) do(ctx context.Context, method, path string, body []byte, idempotencyKey string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", idempotencyKey)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	switch {
	case resp.StatusCode < 300:
		if into == nil {
			return nil
		}
		return json.Unmarshal(text, into)
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500,
		resp.StatusCode == http.StatusConflict && idempotencyKey != "":
		return fmt.Errorf("%w: status %d", errAgain, resp.StatusCode)
	}
	return &statusError{resp.StatusCode, string(text[:min(len(text), 300)])}
}
