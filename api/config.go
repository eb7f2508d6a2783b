package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/outbox"
)

// Ways to know who asks.
const (
	// AuthNone lets everybody in as the operator "anonymous". Loopback addresses
	// only.
	AuthNone = "none"
	// AuthKeys asks for a key of [CreateKey] as a bearer token.
	AuthKeys = "keys"
)

// ErrNotFound is what a [Config.Timeline] returns for an order it cannot find.
var ErrNotFound = errors.New("not found")

// Config of a Server. Zero values are the defaults; a negative duration or
// number turns the thing off.
type Config struct {
	// DatabaseURL of Postgres. Exclusive with Pool. The files that it names (passfile,
	// sslcert, sslkey, sslrootcert, service) are read again for each connection.
	DatabaseURL string
	// Pool is used and not closed. Exclusive with DatabaseURL.
	Pool *pgxpool.Pool
	// MaxConns of the pool made for DatabaseURL; a pool_max_conns in the URL
	// wins. Default 8 for each core, at least 16.
	MaxConns int
	// Encoder of events; nil means JSON.
	Encoder outbox.Encoder

	// Listen is the address of the API. Default 127.0.0.1:8080. Listener, if set,
	// is bound to it already; Run closes it.
	Listen   string
	Listener net.Listener
	// OpsListen is the address of health and metrics. Empty means none.
	OpsListen string
	// Auth is AuthNone or AuthKeys. Default AuthNone if Listen is a loopback
	// address; otherwise it must be said.
	Auth string
	// Version is what /version answers. Default devel.
	Version string

	// MaxBody is the largest request body in bytes. Default 64 KiB.
	MaxBody int64
	// MaxHeader is the largest request header in bytes. Default 16 KiB.
	MaxHeader int
	// MaxConcurrent requests, beyond which 429 is answered. Default 512.
	MaxConcurrent int
	// MaxStreams is how many may wait or watch at once. Default 1024.
	MaxStreams int
	// ReadHeaderTimeout cuts a client that is slow with its header. Default 5 s.
	ReadHeaderTimeout time.Duration
	// ReadTimeout is for the whole request, body included. Default 10 s.
	ReadTimeout time.Duration
	// WriteTimeout is from the end of the header to the end of the answer; a
	// stream extends it with each event. Default 45 s.
	WriteTimeout time.Duration
	// IdleTimeout closes an unused connection. Default 60 s.
	IdleTimeout time.Duration
	// RequestTimeout is what a request may take in Postgres. Default 5 s; less
	// than StopTimeout, so that a stop cuts no transaction.
	RequestTimeout time.Duration
	// AcquireTimeout is how long a request waits for a connection. Default 2 s.
	AcquireTimeout time.Duration
	// Heartbeat between the comments that keep a stream open. Default 15 s.
	Heartbeat time.Duration
	// PriceAge is for how long a price may be remembered. Default 1 s.
	PriceAge time.Duration
	// KeyAge is for how long an API key is taken for valid without asking.
	// Default 10 s.
	KeyAge time.Duration
	// KeyRetention of idempotency keys. Default 72 h.
	KeyRetention time.Duration
	// MaintainEvery is the interval of retention and outbox partitions. Default
	// 1 h, the first time at the start.
	MaintainEvery time.Duration
	// DrainDelay is how long the server goes on after it was told to stop and
	// says so on /readyz, for load balancers to notice. Default 500 ms.
	DrainDelay time.Duration
	// StopTimeout is what requests under way then get. Default 8 s.
	StopTimeout time.Duration

	// Timeline returns an order's way through every store as JSON, or
	// ErrNotFound. nil means that the route answers 501. It is called only after
	// the principal was found to see the order.
	Timeline func(ctx context.Context, orderID uuid.UUID) (json.RawMessage, error)
	// StartSpan is called for each request to the API with its operation, for
	// example "POST /v1/orders", and its trace context. The returned Trace is the
	// one that goes into rows. end is called with the status. nil means none.
	StartSpan func(ctx context.Context, operation string, t Trace) (_ context.Context, _ Trace, end func(status int))

	// Logger; nil means slog.Default.
	Logger *slog.Logger
	// Registerer of metrics; nil means a new registry. If it is a Gatherer too,
	// as *prometheus.Registry is, /metrics shows it.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:8080")
	if c.Auth == "" && loopback(c.Listen) {
		c.Auth = AuthNone
	}
	c.MaxConns = cmp.Or(c.MaxConns, max(16, 8*runtime.GOMAXPROCS(0)))
	c.Version = cmp.Or(c.Version, "devel")
	c.MaxBody = cmp.Or(c.MaxBody, 64<<10)
	c.MaxHeader = cmp.Or(c.MaxHeader, 16<<10)
	c.MaxConcurrent = cmp.Or(c.MaxConcurrent, 512)
	c.MaxStreams = cmp.Or(c.MaxStreams, 1024)
	for d, value := range map[*time.Duration]time.Duration{
		&c.ReadHeaderTimeout: 5 * time.Second,
		&c.ReadTimeout:       10 * time.Second,
		&c.WriteTimeout:      45 * time.Second,
		&c.IdleTimeout:       time.Minute,
		&c.RequestTimeout:    5 * time.Second,
		&c.AcquireTimeout:    2 * time.Second,
		&c.Heartbeat:         15 * time.Second,
		&c.PriceAge:          time.Second,
		&c.KeyAge:            10 * time.Second,
		&c.KeyRetention:      72 * time.Hour,
		&c.MaintainEvery:     time.Hour,
		&c.DrainDelay:        500 * time.Millisecond,
		&c.StopTimeout:       8 * time.Second,
	} {
		*d = cmp.Or(*d, value)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	return c
}

// UsageError is a Config that cannot work. Its text names every fault.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// validate is called after withDefaults.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case c.DatabaseURL == "" && c.Pool == nil:
		bad("DatabaseURL: is empty; give --database-url or GAPLESS_DATABASE_URL")
	case c.DatabaseURL != "" && c.Pool != nil:
		bad("DatabaseURL: and Pool are both set; give one")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("Listen: %q is not host:port", c.Listen)
	}
	if c.OpsListen != "" {
		if _, _, err := net.SplitHostPort(c.OpsListen); err != nil {
			bad("OpsListen: %q is not host:port", c.OpsListen)
		}
	}
	switch {
	case c.Auth == AuthKeys:
	case c.Auth == AuthNone && !loopback(c.Listen):
		bad("Auth: none would let anybody in on %s, which is not a loopback address; use keys, or listen on 127.0.0.1", c.Listen)
	case c.Auth == "":
		bad("Auth: must be said for %s, which is not a loopback address; use keys", c.Listen)
	case c.Auth != AuthNone:
		bad("Auth: %q is neither none nor keys", c.Auth)
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxBody", c.MaxBody},
		{"MaxHeader", int64(c.MaxHeader)},
		{"MaxConcurrent", int64(c.MaxConcurrent)},
		{"MaxConns", int64(c.MaxConns)},
		{"RequestTimeout", int64(c.RequestTimeout)},
		{"AcquireTimeout", int64(c.AcquireTimeout)},
		{"Heartbeat", int64(c.Heartbeat)},
		{"StopTimeout", int64(c.StopTimeout)},
	} {
		if f.value < 0 {
			bad("%s: is negative, and cannot be turned off", f.name)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &UsageError{Err: errors.Join(errs...)}
}

// poolConfig parses DatabaseURL.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	pc, err := pgconnect.Parse(c.DatabaseURL)
	if err != nil {
		return nil, &UsageError{Err: fmt.Errorf("DatabaseURL: %w", err)}
	}
	pc.BeforeConnect = pgconnect.Again(c.DatabaseURL)
	if !strings.Contains(c.DatabaseURL, "pool_max_conns") {
		pc.MaxConns = int32(min(c.MaxConns, 10_000))
	}
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "gapless api"
	}
	return pc, nil
}

// loopback reports whether nobody but this machine can reach the address. A
// name other than localhost is not looked up: what it means may change.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
