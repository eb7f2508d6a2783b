package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/testkit"
)

// decide does to an order what the saga would.
func (f *fixture) decide(id, set string) {
	f.Helper()
	f.sql("update checkout.orders set "+set+", version = version + 1, updated_at = clock_timestamp() where order_id = $1", id)
}

func TestPreferWaitAnswersOnceStockIsDecided(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answered := make(chan response, 1)
	go func() {
		r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k", "Prefer": "respond-async, wait=99"})
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	var id string
	testkit.Eventually(t, 10*time.Second, func() error {
		return f.admin.QueryRow(t.Context(), "select order_id::text from checkout.orders").Scan(&id)
	})
	f.decide(id, "stock_status = 'reserved'")
	r := <-answered
	var o api.Order
	r.into(t, &o)
	if r.StatusCode != http.StatusOK || o.StockStatus != api.Reserved || o.ID.String() != id {
		t.Errorf("status %d: %s", r.StatusCode, r.text)
	}
	if got := r.Header.Get("Preference-Applied"); got != "wait=30" {
		t.Errorf("preference-applied %q", got)
	}
}

func TestPreferWaitEndsWithAPlain202(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.place("k", good(), map[string]string{"Prefer": "wait=1"})
	if r.StatusCode != http.StatusAccepted || r.Header.Get("Preference-Applied") != "" {
		t.Errorf("status %d: %s", r.StatusCode, r.text)
	}
	if r := f.place("k2", good(), map[string]string{"Prefer": "wait=soon"}); r.StatusCode != http.StatusAccepted {
		t.Errorf("a preference that cannot be read: status %d", r.StatusCode)
	}
}

// events reads server-sent events until the stream ends.
func (f *fixture) events(ctx context.Context, id, last string, each func(id string, o api.Order)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/v1/orders/"+id+"/events", nil)
	if err != nil {
		return err
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		return fmt.Errorf("status %d, %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	var eventID string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			eventID = value
		case "data":
			var o api.Order
			if err := json.Unmarshal([]byte(value), &o); err != nil {
				return err
			}
			each(eventID, o)
		case "":
			if value == "still here" {
				each("beat", api.Order{})
			}
		}
	}
	return lines.Err()
}

func TestEventsFollowAnOrderToItsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.Heartbeat = 20 * time.Millisecond })
	id := f.placed("k")
	var seen []string
	var ids []string
	beats := 0
	err := f.events(t.Context(), id, "", func(event string, o api.Order) {
		if event == "beat" {
			if beats++; beats == 2 {
				f.decide(id, "stock_status = 'reserved'")
			}
			return
		}
		seen, ids = append(seen, string(o.Status)+" "+string(o.StockStatus)), append(ids, event)
		switch len(seen) {
		case 2:
			f.decide(id, "status = 'in_review'")
		case 3:
			f.decide(id, "status = 'confirmed', confirmed_at = now()")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "pending undecided, pending reserved, in_review reserved, confirmed reserved"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("seen %s, want %s", got, want)
	}
	if beats < 2 {
		t.Error("no heartbeat")
	}
	// A client that comes back and has seen the end gets nothing twice.
	n := 0
	if err := f.events(t.Context(), id, ids[len(ids)-1], func(string, api.Order) { n++ }); err != nil || n != 0 {
		t.Errorf("after the end: %d events, %v", n, err)
	}
}

func TestManyWatchersShareOneQuery(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaxConns = 2 })
	id := f.placed("k")
	const n = 50
	open := make(chan struct{}, n)
	done := make(chan error, n)
	for range n {
		go func() {
			first := true
			done <- f.events(t.Context(), id, "", func(string, api.Order) {
				if first {
					open <- struct{}{}
				}
				first = false
			})
		}()
	}
	for range n {
		<-open
	}
	f.placed("k2") // fifty waiters hold no connection
	f.decide(id, "status = 'cancelled', reason = 'out_of_stock'")
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestStreamsHaveALimitOfTheirOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaxStreams, c.MaxConcurrent = 1, 1 })
	id := f.placed("k")
	ctx, cancel := context.WithCancel(t.Context())
	open, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { done <- f.events(ctx, id, "", func(string, api.Order) { open <- struct{}{} }) }()
	<-open
	f.placed("k2") // the stream does not hold the one place
	f.wantProblem(f.do(http.MethodGet, "/v1/orders/"+id+"/events", "", nil), 429, "too-many-requests")
	if r := f.place("k3", good(), map[string]string{"Prefer": "wait=5"}); r.StatusCode != http.StatusAccepted {
		t.Errorf("waiting without a place: status %d, want the plain 202", r.StatusCode)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := f.events(ctx, id, "", func(string, api.Order) { cancel() }); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the place is not given back: %w", err)
		}
		return nil
	})
}

func (f *fixture) commands() (types []string) {
	f.Helper()
	rows, err := f.admin.Query(f.Context(), "select type, payload, headers, aggregate_version from gapless.outbox where aggregatetype = $1 order by id", contracts.SagaCommand)
	if err != nil {
		f.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var typ string
		var payload []byte
		var headers map[string]string
		var version *int64
		if err := rows.Scan(&typ, &payload, &headers, &version); err != nil {
			f.Fatal(err)
		}
		m, err := contracts.Decode(headers["content-type"], typ, payload)
		if err != nil {
			f.Fatal(err)
		}
		if id := m.(interface{ GetOrderId() string }).GetOrderId(); headers["ce_correlationid"] != id || version != nil || headers["traceparent"] == "" {
			f.Errorf("%s: headers %v, version %v", typ, headers, version)
		}
		if c, ok := m.(*gaplessv1.CancelOrder); ok && c.GetRequestedBy() == "" {
			f.Error("nobody has asked for the cancellation")
		}
		types = append(types, typ)
	}
	return types
}

func TestCancelIsOneCommand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.placed("k")
	for range 3 {
		r := f.do(http.MethodPost, "/v1/orders/"+id+"/cancel", "{}", nil)
		if r.StatusCode != http.StatusAccepted {
			t.Fatalf("status %d: %s", r.StatusCode, r.text)
		}
	}
	if got := strings.Join(f.commands(), " "); got != "CancelOrder" {
		t.Errorf("commands: %s", got)
	}
	for _, status := range []string{"'confirmed', confirmed_at = now()", "'needs_attention'", "'cancelled', reason = 'out_of_stock'"} {
		other := f.placed("k " + status)
		f.decide(other, "status = "+status)
		f.wantProblem(f.do(http.MethodPost, "/v1/orders/"+other+"/cancel", "", nil), 409, "wrong-state")
	}
	done := f.placed("k done")
	f.decide(done, "status = 'cancelled', reason = 'customer_cancelled'")
	if r := f.do(http.MethodPost, "/v1/orders/"+done+"/cancel", "", nil); r.StatusCode != http.StatusAccepted {
		t.Errorf("cancelled already: status %d", r.StatusCode)
	}
	f.wantProblem(f.do(http.MethodPost, "/v1/orders/0192f8c0-0000-7000-8000-000000000000/cancel", "", nil), 404, "not-found")
	if got := strings.Join(f.commands(), " "); got != "CancelOrder" {
		t.Errorf("commands: %s", got)
	}
}

func TestTheFirstReviewCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.placed("k")
	path := "/v1/orders/" + id + "/review"
	f.wantProblem(f.do(http.MethodPost, path, `{"decision":"approve"}`, nil), 409, "wrong-state")
	f.decide(id, "status = 'in_review'")
	f.wantProblem(f.do(http.MethodPost, path, `{"decision":"perhaps"}`, nil), 422, "invalid-review")
	f.wantProblem(f.do(http.MethodPost, path, `{"decision":"approve","x":1}`, nil), 422, "invalid-review")
	f.wantProblem(f.do(http.MethodPost, path, `{`, nil), 400, "malformed")
	f.wantProblem(f.do(http.MethodPost, path, `{"decision":"approve"}`, map[string]string{"Content-Type": "text/plain"}), 415, "unsupported-media-type")
	statuses := make(chan int, 20)
	for i := range 20 {
		go func() {
			decision := "approve"
			if i%2 == 1 {
				decision = "reject"
			}
			r, err := f.try(http.MethodPost, path, `{"decision":"`+decision+`"}`, nil)
			if err != nil {
				t.Error(err)
			}
			statuses <- r.StatusCode
		}()
	}
	for range 20 {
		if status := <-statuses; status != 202 && status != 409 {
			t.Errorf("status %d", status)
		}
	}
	if got := f.commands(); len(got) != 1 {
		t.Errorf("commands: %v, want one", got)
	}
}
