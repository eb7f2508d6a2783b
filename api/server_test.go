package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

func (f *fixture) ops(path string) (int, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.server.OpsURL()+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestPostgresAwayIs503AndHeals(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t, map[string]string{"synchronous_commit": "on"})
	pgtest.Migrate(t, pg.SuperuserURL())
	f := &fixture{T: t}
	f.start(pg.SuperuserURL())
	admin := pgtest.OpenPool(t, pg.SuperuserURL())
	if _, err := admin.Exec(t.Context(), catalogue); err != nil {
		t.Fatal(err)
	}
	first := f.place("k", good())
	if first.StatusCode != http.StatusAccepted {
		t.Fatalf("status %d: %s", first.StatusCode, first.text)
	}
	if status, text := f.ops("/readyz?verbose"); status != 200 || !strings.Contains(text, `"ok": true`) {
		t.Errorf("readyz: %d %s", status, text)
	}
	if err := pg.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r := f.place(fmt.Sprintf("k-%d", i), good())
		if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("status %d: %s", r.StatusCode, r.text)
		}
	}
	if r := f.do(http.MethodGet, "/v1/products", "", nil); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("products: status %d", r.StatusCode)
	}
	if status, text := f.ops("/readyz"); status != 503 || !strings.HasPrefix(text, "api: postgres: ") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if status, _ := f.ops("/livez"); status != 200 {
		t.Errorf("livez: %d: a dependency must not fail it", status)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		r := f.place("k", good())
		if r.StatusCode != http.StatusAccepted {
			return fmt.Errorf("status %d: %s", r.StatusCode, r.text)
		}
		if !bytes.Equal(r.text, first.text) {
			t.Errorf("answer %s, want %s", r.text, first.text)
		}
		return nil
	})
	testkit.Eventually(t, 20*time.Second, func() error { // a connection of before may be the one that is asked
		if status, _ := f.ops("/readyz"); status != 200 {
			return fmt.Errorf("readyz: %d", status)
		}
		return nil
	})
}

func TestADatabaseThatWillNeverDoIsAnError(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	missing := *u
	missing.Path = "/no_such_database"
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		config api.Config
		want   string
	}{
		"not migrated":     {api.Config{DatabaseURL: db.URL, Listen: "127.0.0.1:0"}, "gapless migrate up"},
		"missing database": {api.Config{DatabaseURL: missing.String(), Listen: "127.0.0.1:0"}, "no_such_database"},
		"port in use":      {api.Config{DatabaseURL: db.URL, Listen: taken.Addr().String()}, "address already in use"},
	} {
		server, err := api.New(c.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestStopEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.DrainDelay, c.RequestTimeout, c.StopTimeout = 100*time.Millisecond, 30*time.Second, 31*time.Second
	})
	id := f.placed("k")
	open, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { done <- f.events(t.Context(), id, "", func(string, api.Order) { open <- struct{}{} }) }()
	<-open
	// A request that is held up in the database when the stop comes.
	tx, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), "lock table gapless.outbox in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan response, 1)
	go func() {
		r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "held"})
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	testkit.Eventually(t, 10*time.Second, func() error {
		if f.count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and application_name = 'gapless api'") == 0 {
			return errors.New("the request does not wait yet")
		}
		return nil
	})
	f.stop()
	testkit.Eventually(t, 10*time.Second, func() error {
		if status, _ := f.ops("/readyz"); status != 503 {
			return fmt.Errorf("readyz %d while stopping", status)
		}
		return nil
	})
	if err := <-done; err != nil {
		t.Errorf("stream: %v, want a clean end", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.StatusCode != http.StatusAccepted {
		t.Errorf("the request under way: status %d: %s", r.StatusCode, r.text)
	}
	f.halt()
}

func TestASlowClientIsCut(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.ReadHeaderTimeout, c.ReadTimeout = 100*time.Millisecond, 200*time.Millisecond
	})
	for name, c := range map[string]struct{ send, want string }{
		"header": {"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nX-A: ", ""},
		"body":   {"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", "408"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(f.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(conn)
			if err != nil {
				t.Fatalf("the connection stays open: %v", err)
			}
			if !strings.Contains(string(text), c.want) {
				t.Errorf("answer %q, want %s", text, c.want)
			}
		})
	}
}

func TestTooManyAtOnceAre429(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	f := newFixture(t, func(c *api.Config) {
		c.MaxConcurrent = 1
		c.Timeline = func(context.Context, uuid.UUID) (json.RawMessage, error) {
			close(entered)
			<-leave
			return nil, api.ErrNotFound
		}
	})
	id := f.placed("k")
	// That has its answer, and may hold its place a moment longer.
	testkit.Eventually(t, 10*time.Second, func() error {
		if _, text := f.ops("/metrics"); !strings.Contains(text, "gapless_http_requests_in_flight 0\n") {
			return errors.New("a request is under way")
		}
		return nil
	})
	done := make(chan int, 1)
	go func() {
		r, err := f.try(http.MethodGet, "/v1/orders/"+id+"/timeline", "", nil)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		done <- r.StatusCode
	}()
	select {
	case <-entered:
	case status := <-done:
		t.Fatalf("the request that should hold the only place: status %d", status)
	}
	r := f.do(http.MethodGet, "/v1/products", "", nil)
	f.wantProblem(r, 429, "too-many-requests")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if status, _ := f.ops("/readyz"); status != 200 {
		t.Errorf("readyz %d", status)
	}
	close(leave)
	if status := <-done; status != 404 {
		t.Errorf("the request under way: status %d", status)
	}
}

func TestAPanicIsA500AndNoMore(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := newFixture(t, func(c *api.Config) {
		c.Logger = logger(&log)
		c.Timeline = func(context.Context, uuid.UUID) (json.RawMessage, error) { panic("planted by " + t.Name()) }
	})
	id := f.placed("k")
	f.wantProblem(f.do(http.MethodGet, "/v1/orders/"+id+"/timeline", "", nil), 500, "internal")
	f.placed("k2")
	f.halt()
	if !strings.Contains(log.String(), "server_test.go") || strings.Contains(log.String(), "planted by") {
		t.Errorf("the log has not where it happened, or what may be payload: %s", log.String())
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	var asked uuid.UUID
	f := newFixture(t, func(c *api.Config) {
		c.Timeline = func(_ context.Context, id uuid.UUID) (json.RawMessage, error) {
			if asked = id; id == uuid.Nil {
				return nil, api.ErrNotFound
			}
			return json.RawMessage(`{"order_id":"` + id.String() + `"}`), nil
		}
	})
	id := f.placed("k")
	r := f.do(http.MethodGet, "/v1/orders/"+id+"/timeline", "", nil)
	if r.StatusCode != http.StatusOK || asked.String() != id || !strings.Contains(string(r.text), id) {
		t.Errorf("status %d: %s", r.StatusCode, r.text)
	}
	g := newFixture(t)
	g.wantProblem(g.do(http.MethodGet, "/v1/orders/"+g.placed("k")+"/timeline", "", nil), 501, "no-timeline")
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []string
	for i := range 5 {
		want = append([]string{f.placed(strconv.Itoa(i))}, want...)
	}
	var got []string
	path := "/v1/orders?customer_id=c-1&limit=2"
	for path != "" {
		r := f.do(http.MethodGet, path, "", nil)
		var page api.OrderPage
		r.into(t, &page)
		for _, o := range page.Orders {
			got = append(got, o.ID.String())
		}
		path = ""
		if link := r.Header.Get("Link"); link != "" {
			path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
			if page.NextCursor == nil || !strings.Contains(path, *page.NextCursor) {
				t.Errorf("link %s without the cursor", link)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("orders %v, want %v", got, want)
	}
	var skus []string
	for path := "/v1/products?limit=3"; path != ""; {
		r := f.do(http.MethodGet, path, "", nil)
		var page api.ProductPage
		r.into(t, &page)
		for _, p := range page.Products {
			skus = append(skus, p.Sku)
		}
		path = strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Link"), "<"), `>; rel="next"`)
	}
	if got := strings.Join(skus, " "); got != "A-1 B-2 E-1 G-9" {
		t.Errorf("products %s", got)
	}
	for _, bad := range []string{
		"/v1/orders", "/v1/orders?customer_id=", "/v1/orders?customer_id=a%00b", "/v1/orders?customer_id=%ff", "/v1/orders?customer_id=a&limit=0",
		"/v1/orders?customer_id=a&limit=201", "/v1/orders?customer_id=a&limit=x", "/v1/orders?customer_id=a&cursor=!", "/v1/orders?customer_id=a&cursor=YQ",
		"/v1/products?limit=-1", "/v1/products?cursor=AA", "/v1/products?cursor=%25",
	} {
		f.wantProblem(f.do(http.MethodGet, bad, "", nil), 400, "malformed")
	}
}

func TestTracesAreTakenOrMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for parent, kept := range map[string]bool{
		"00-" + trace + "-00f067aa0ba902b7-01":                  true,
		"00-" + trace + "-00f067aa0ba902b7-00":                  true,
		"01-" + trace + "-00f067aa0ba902b7-01-later":            true,
		"00-" + trace + "-00f067aa0ba902b7-01-later":            false,
		"ff-" + trace + "-00f067aa0ba902b7-01":                  false,
		"00-" + trace + "-0000000000000000-01":                  false,
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01": false,
		"garbage": false,
	} {
		r := f.do(http.MethodGet, "/v1/products", "", map[string]string{"traceparent": parent})
		if got := r.Header.Get("X-Request-Id"); (got == trace) != kept || len(got) != 32 {
			t.Errorf("%s: request id %q", parent, got)
		}
	}
	var spanned string
	g := newFixture(t, func(c *api.Config) {
		c.StartSpan = func(ctx context.Context, operation string, tr api.Trace) (context.Context, api.Trace, func(int)) {
			tr.Parent = strings.Replace(tr.Parent, "00f067aa0ba902b7", "1111111111111111", 1)
			return ctx, tr, func(status int) { spanned = fmt.Sprint(operation, " ", status) }
		}
	})
	g.placed("k", map[string]string{"traceparent": "00-" + trace + "-00f067aa0ba902b7-01"})
	g.halt()
	if spanned != "POST /v1/orders 202" {
		t.Errorf("span %q", spanned)
	}
	if n := g.count("select count(*) from gapless.outbox where headers->>'traceparent' like '%1111111111111111%'"); n != 1 {
		t.Error("the row does not carry the span that was started")
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.placed("k")
	f.place("k", good())
	f.place("k", good(`"quantity":2`, `"quantity":3`))
	f.do(http.MethodGet, "/v1/orders/"+uuid.NewString(), "", nil)
	f.do("BREW", "/"+uuid.NewString(), "", nil)
	problems, err := testutil.GatherAndLint(f.reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	_, text := f.ops("/metrics")
	for _, want := range []string{
		`gapless_idempotency_requests_total{result="first"} 1`, `gapless_idempotency_requests_total{result="replayed"} 1`,
		`gapless_idempotency_requests_total{result="mismatch"} 1`, `gapless_checkout_requests_total{result="accepted"} 1`,
		`gapless_checkout_duration_seconds_count 3`, `gapless_http_request_duration_seconds_count{code="202",method="POST",route="/v1/orders"} 2`,
		`code="404",method="GET",route="/v1/orders/{order_id}"} 1`, `code="405",method="other",route="none"`, `gapless_checkout_connections{state="max"} 8`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if status, text := f.ops("/version"); status != 200 || !strings.Contains(text, `"version": "devel"`) {
		t.Errorf("version: %d %s", status, text)
	}
}

func TestRoutesAndContractAgree(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			// Nobody there, nothing given: every operation answers with a problem that
			// its contract lists, and none with 404 of the router or 405.
			r := f.do(method, strings.ReplaceAll(path, "{order_id}", "x"), "", nil)
			if path == "/v1/products" {
				continue
			}
			if op.Responses.Status(r.StatusCode) == nil || r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d is not in the contract", method, path, r.StatusCode)
			}
		}
	}
	f.placed("k")
}

func TestMaintenanceWorksWithTheRightsOfAnApplication(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaintainEvery = 20 * time.Millisecond })
	id := f.placed("young")
	f.sql(`insert into gapless.idempotency_key (principal, route, key, request_hash, order_id, status_code, body, created_at)
		select 'x', 'y', n::text, sha256('x'), gapless.uuid7(), 202, '', now() - interval '73 hours' from generate_series(1, 2500) n`)
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := f.count("select count(*) from gapless.idempotency_key"); n != 1 {
			return fmt.Errorf("%d keys are left", n)
		}
		return nil
	})
	if n := f.count("select count(*) from gapless.idempotency_key where order_id = $1", id); n != 1 {
		t.Error("the young key is gone")
	}
	if n := f.count("select count(*) from pg_inherits where inhparent = 'gapless.outbox'::regclass"); n < 15 {
		t.Errorf("%d outbox partitions", n)
	}
}
