package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/catalog"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/ops/verify"
	"github.com/gapless/gapless/relay"
)

const patience = 90 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// Consumers, relay and broker are stopped in turn while customers order:
// checkout answers 202 at the first try, no order passes pending, and once
// everything runs again every order ends and every invariant holds.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	consumers, relay := s.startConsumers(t), s.startRelay(t)
	s.ended(t, s.order(t, 5)) // it works before anything is stopped

	consumers.stop(t)
	orders := s.order(t, 10)
	s.relayed(t) // the consumers would have had what it takes
	s.pending(t, orders)
	consumers = s.startConsumers(t)
	s.ended(t, orders)

	relay.stop(t)
	orders = s.order(t, 10)
	s.pending(t, orders)
	relay = s.startRelay(t)
	s.ended(t, orders)

	s.broker.stop(t)
	orders = s.order(t, 10)
	s.pending(t, orders)
	s.broker.start(t)
	s.ended(t, orders)

	// All three, and back in the order that helps least.
	consumers.stop(t)
	relay.stop(t)
	s.broker.stop(t)
	orders = s.order(t, 10)
	s.pending(t, orders)
	s.startConsumers(t)
	s.startRelay(t)
	s.pending(t, orders)
	s.broker.start(t)
	s.ended(t, orders)

	report, err := verify.Run(t.Context(), verify.Config{Pool: s.pool, Brokers: s.broker.addresses(), Consumers: pipeline.Judged()})
	if err != nil {
		t.Fatal(err)
	}
	if report.Broken() || len(report.Incomplete) > 0 || report.Invariants[0].Judged == 0 {
		var text strings.Builder
		if err := report.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Error(text.String())
	}
}

// shop is everything but relay and consumers.
type shop struct {
	url    string // of the database
	pool   *pgxpool.Pool
	broker broker
	api    *api.Server
	client *http.Client
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{url: pgtest.Server(t, nil).SuperuserURL(), broker: newBroker(t)}
	if _, err := goose.Up(t.Context(), goose.Config{DatabaseURL: s.url}); err != nil {
		t.Fatal(err)
	}
	s.pool = pgtest.OpenPool(t, s.url)
	products, err := catalog.Sample()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Import(t.Context(), s.pool, products, false); err != nil {
		t.Fatal(err)
	}
	config := topics.Config{Brokers: s.broker.addresses(), Partitions: 2, Consumers: pipeline.Subscriptions()}
	if _, err := topics.Apply(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	s.api, err = api.New(api.Config{Pool: s.pool, Listen: "127.0.0.1:0", Auth: api.AuthNone, DrainDelay: -1, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	background(t, s.api.Run)
	<-s.api.Started()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	return s
}

func (s *shop) startConsumers(t *testing.T) *service {
	t.Helper()
	p, err := pipeline.New(pipeline.Config{Pool: s.pool, Brokers: s.broker.addresses()})
	if err != nil {
		t.Fatal(err)
	}
	return background(t, p.Run)
}

func (s *shop) startRelay(t *testing.T) *service {
	t.Helper()
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: s.broker.addresses(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(relay.Config{DatabaseURL: s.url, Sink: sink, ReconnectMax: time.Second, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return background(t, r.Run)
}

// order places n orders and returns their paths. Each must be taken at the first
// try.
func (s *shop) order(t *testing.T, n int) []string {
	t.Helper()
	const body = `{"customer_id":"c-1","currency":"USD","items":[{"sku":"A-1","quantity":1}],"payment_token":"tok_ok","plan":"standard",
		"shipping_address":{"line1":"1 Main St","city":"San Francisco","postal_code":"94107","country":"US"}}`
	var paths []string
	for range n {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.api.URL()+"/v1/orders", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", uuid.NewString())
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("POST /v1/orders answered %s", resp.Status)
		}
		paths = append(paths, resp.Header.Get("Location"))
	}
	return paths
}

func (s *shop) status(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var order struct{ Status string }
	if err := json.NewDecoder(resp.Body).Decode(&order); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s answered %s: %v", path, resp.Status, err)
	}
	return order.Status
}

func (s *shop) pending(t *testing.T, orders []string) {
	t.Helper()
	for _, path := range orders {
		if status := s.status(t, path); status != "pending" {
			t.Errorf("%s is %s while nobody can decide", path, status)
		}
	}
}

// ended waits until each of them is confirmed, as an order of this kind must be.
func (s *shop) ended(t *testing.T, orders []string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		for _, path := range orders {
			if status := s.status(t, path); status != "confirmed" {
				return fmt.Errorf("%s is %s", path, status)
			}
		}
		return nil
	})
}

// relayed waits until the relay has stored that everything is in Kafka.
func (s *shop) relayed(t *testing.T) {
	t.Helper()
	var now string
	if err := s.pool.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&now); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		var at string
		var passed bool
		err := s.pool.QueryRow(t.Context(), "SELECT confirmed_flush_lsn::text, confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = 'gapless'", now).Scan(&at, &passed)
		if err == nil && !passed {
			err = fmt.Errorf("the relay is at %s before %s", at, now)
		}
		return err
	})
}

// service runs in this process until it is stopped.
type service struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func background(t *testing.T, run func(context.Context) error) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &service{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = run(ctx)
	}()
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *service) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	<-s.done
	if s.err != nil {
		t.Errorf("a service ended with %v", s.err)
	}
}
