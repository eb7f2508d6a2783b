package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		childMain()
		return
	}
	pgtest.Main(m)
}

const catalogue = `
	insert into checkout.products (sku, name, price_minor, currency) values
		('A-1', 'Lamp', 1250, 'USD'), ('B-2', 'Vase', 300, 'USD'), ('E-1', 'Tasse', 700, 'EUR'),
		('G-9', 'Gold', 1000000000000, 'USD')`

// fixture is a server on a database of its own, logged in with the rights of an
// application and no more.
type fixture struct {
	*testing.T
	db     *pgtest.DB
	admin  *pgxpool.Pool
	server *api.Server
	url    string
	stop   context.CancelFunc
	done   chan error
	client *http.Client
	reg    *prometheus.Registry
}

func newFixture(t *testing.T, change ...func(*api.Config)) *fixture {
	t.Helper()
	db := pgtest.NewDB(t)
	f := &fixture{T: t, db: db, admin: db.Pool(t)}
	f.sql(catalogue)
	f.start(db.LoginURL(t, pgtest.App), change...)
	return f
}

func (f *fixture) start(databaseURL string, change ...func(*api.Config)) {
	f.Helper()
	f.reg = prometheus.NewPedanticRegistry()
	c := api.Config{
		DatabaseURL: databaseURL, Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", MaxConns: 8,
		DrainDelay: -1, Registerer: f.reg, Logger: slog.New(slog.DiscardHandler),
	}
	for _, ch := range change {
		ch(&c)
	}
	server, err := api.New(c)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.server, f.stop, f.done = server, cancel, make(chan error, 1)
	go func() { f.done <- server.Run(ctx) }()
	select {
	case <-server.Started():
	case err := <-f.done:
		f.Fatalf("run: %v", err)
	}
	f.url = server.URL()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	f.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	f.Cleanup(func() {
		transport.CloseIdleConnections()
		f.halt()
	})
}

// halt stops the server, once.
func (f *fixture) halt() {
	f.Helper()
	f.stop()
	if f.done == nil {
		return
	}
	if err := <-f.done; err != nil {
		f.Errorf("run: %v", err)
	}
	f.done = nil
}

func (f *fixture) sql(text string, args ...any) {
	f.Helper()
	if _, err := f.admin.Exec(f.Context(), text, args...); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) count(query string, args ...any) (n int) {
	f.Helper()
	if err := f.admin.QueryRow(f.Context(), query, args...).Scan(&n); err != nil {
		f.Fatal(err)
	}
	return n
}

// response is an answer, read whole.
type response struct {
	*http.Response
	text []byte
}

func (r response) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.text, v); err != nil {
		t.Fatalf("%s: %v in %s", r.Request.URL, err, r.text)
	}
}

func (f *fixture) do(method, path, body string, header map[string]string) response {
	f.Helper()
	r, err := f.try(method, path, body, header)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

func (f *fixture) try(method, path, body string, header map[string]string) (response, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(f.Context(), method, f.url+path, reader)
	if err != nil {
		return response{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		if value == "-" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return response{resp, text}, err
}

func (f *fixture) place(key, body string, header ...map[string]string) response {
	f.Helper()
	all := map[string]string{"Idempotency-Key": key}
	for _, h := range header {
		maps.Copy(all, h)
	}
	return f.do(http.MethodPost, "/v1/orders", body, all)
}

// placed places a good order and returns its id.
func (f *fixture) placed(key string, header ...map[string]string) string {
	f.Helper()
	r := f.place(key, good(), header...)
	if r.StatusCode != http.StatusAccepted {
		f.Fatalf("status %d: %s", r.StatusCode, r.text)
	}
	var o api.PlacedOrder
	r.into(f.T, &o)
	return o.ID.String()
}

const goodBody = `{"customer_id":"c-1","currency":"USD","items":[{"sku":"A-1","quantity":2}],
	"shipping_address":{"line1":"1 Main St","city":"San Francisco","postal_code":"94107","country":"US"},
	"payment_token":"tok_ok","plan":"standard"}`

// good returns a valid body with pieces replaced, old then new.
func good(replace ...string) string { return strings.NewReplacer(replace...).Replace(goodBody) }

func (f *fixture) wantProblem(r response, status int, kind string) api.Problem {
	f.Helper()
	if r.StatusCode != status {
		f.Fatalf("status %d, want %d: %s", r.StatusCode, status, r.text)
	}
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		f.Errorf("content-type %q", got)
	}
	var p api.Problem
	r.into(f.T, &p)
	if p.Type != "/problems/"+kind {
		f.Errorf("type %s, want %s: %s", p.Type, kind, r.text)
	}
	if p.Status != status || p.Title == "" || p.TraceID == nil || len(*p.TraceID) != 32 {
		f.Errorf("incomplete problem %s", r.text)
	}
	return p
}

// wantNothing checks that no part of an order was written.
func (f *fixture) wantNothing() {
	f.Helper()
	for _, table := range []string{"checkout.orders", "checkout.order_items", "gapless.outbox", "gapless.idempotency_key"} {
		if n := f.count("select count(*) from " + table); n != 0 {
			f.Errorf("%s has %d rows, want none", table, n)
		}
	}
}

func logger(buf *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(buf, nil)) }
