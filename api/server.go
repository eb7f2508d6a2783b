package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

var (
	errDraining    = errors.New("the server is stopping")
	errStarting    = errors.New("the server is starting")
	errNotMigrated = errors.New("the checkout's tables are missing: run 'gapless migrate up'")
)

// startCheckTimeout bounds the first look at the database.
const startCheckTimeout = 5 * time.Second

// Server is the REST checkout.
type Server struct {
	cfg      Config
	poolCfg  *pgxpool.Config // nil where the caller has a pool
	log      *slog.Logger
	metrics  *metrics
	writer   *outbox.Writer
	limiter  *limiter
	inFlight inFlight
	router   *chi.Mux
	started  chan struct{}
	draining <-chan struct{} // closed at the stop
	drain    context.CancelFunc
	drainCtx context.Context //nolint:containedctx // ends what waits or watches, whoever asked for it
	down     atomic.Bool     // what was last logged about Postgres

	// Set by Run before started is closed.
	db        *pgxpool.Pool
	catalogue *catalogue
	auth      *authenticator
	watcher   *watcher
	addr      net.Addr
	opsAddr   net.Addr
}

// New returns a Server. It does no I/O. A Config that cannot work is a
// [*UsageError].
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: c, log: c.Logger.With("component", "api"), metrics: newMetrics(),
		writer:  outbox.New(outbox.Config{Encoder: c.Encoder}),
		limiter: newLimiter(c.MaxConcurrent, c.MaxStreams),
		started: make(chan struct{}),
	}
	s.drainCtx, s.drain = context.WithCancel(context.Background())
	s.draining = s.drainCtx.Done()
	if c.Pool == nil {
		pc, err := c.poolConfig()
		if err != nil {
			return nil, err
		}
		s.poolCfg = pc
	}
	s.router = s.newRouter()
	return s, nil
}

// Started is closed once both listeners accept; [Server.URL] is known then.
func (s *Server) Started() <-chan struct{} { return s.started }

// URL is where the API listens. Valid once Started is closed.
func (s *Server) URL() string { return "http://" + s.addr.String() }

// OpsURL is where health and metrics are, empty without OpsListen. Valid once
// Started is closed.
func (s *Server) OpsURL() string {
	if s.opsAddr == nil {
		return ""
	}
	return "http://" + s.opsAddr.String()
}

// Run serves until ctx ends, then stops as [Config.DrainDelay] says and returns
// nil. It may be called once.
//
// A database that does not answer at the start is waited for, request by
// request; one that refuses (wrong password, no such database, not migrated) is
// an error.
func (s *Server) Run(ctx context.Context) (err error) {
	// Listening comes first: a port in use is the commonest mistake.
	listener := s.cfg.Listener
	if listener == nil {
		if listener, err = listen(ctx, s.cfg.Listen); err != nil {
			return err
		}
	}
	defer listener.Close()
	s.addr = listener.Addr()
	var opsListener net.Listener
	if s.cfg.OpsListen != "" {
		if opsListener, err = listen(ctx, s.cfg.OpsListen); err != nil {
			return err
		}
		defer opsListener.Close()
		s.opsAddr = opsListener.Addr()
	}
	if err := s.openPool(ctx); err != nil {
		return err
	}
	if s.poolCfg != nil {
		defer s.db.Close()
	}
	unregister, err := s.metrics.register(s.cfg.Registerer, s.db)
	if err != nil {
		return err
	}
	defer unregister()
	if err := s.check(ctx); err != nil {
		return err
	}
	s.catalogue = &catalogue{db: s.db, age: s.cfg.PriceAge}
	s.auth = &authenticator{db: s.db, age: s.cfg.KeyAge}
	s.watcher = newWatcher(s.db)
	return s.serve(ctx, listener, opsListener)
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	return l, nil
}

func (s *Server) openPool(ctx context.Context) error {
	s.db = s.cfg.Pool
	if s.poolCfg == nil {
		return nil
	}
	// The pool lives as long as Run, not as long as ctx: requests under way at
	// the stop still need it.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.poolCfg)
	if err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	s.db = pool
	return nil
}

// check tells a database that will never do from one that is away.
func (s *Server) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startCheckTimeout)
	defer cancel()
	var migrated bool
	err := s.db.QueryRow(ctx, sql.CheckoutReady).Scan(&migrated)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case "28P01", "28000", "3D000", "42501":
			return fmt.Errorf("open database: %w", err)
		}
	}
	if err != nil {
		s.dbDown(err)
		return nil
	}
	if !migrated {
		return errNotMigrated
	}
	return nil
}

func (s *Server) serve(ctx context.Context, listener, opsListener net.Listener) error {
	// work outlives ctx by the drain; it ends when the last request has.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	public := s.httpServer(s.router)
	servers := []*http.Server{public}
	var g errgroup.Group
	failed := make(chan struct{})
	failOnce := sync.OnceFunc(func() { close(failed) })
	start := func(server *http.Server, l net.Listener) {
		g.Go(func() error {
			defer failOnce() // a server that ends by itself takes the others with it
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	start(public, listener)
	if opsListener != nil {
		ops := s.httpServer(s.opsHandler())
		servers = append(servers, ops)
		start(ops, opsListener)
	}
	g.Go(func() error { return s.watcher.run(work) })
	g.Go(func() error { return s.maintain(ctx) })
	g.Go(func() error {
		defer stopWork()
		select {
		case <-ctx.Done():
		case <-failed:
		}
		return s.stop(ctx, servers)
	})
	close(s.started)
	s.log.InfoContext(ctx, "listening", "address", listener.Addr().String(), "auth", s.cfg.Auth)
	err := g.Wait()
	s.log.InfoContext(ctx, "stopped")
	return err
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: max(s.cfg.ReadHeaderTimeout, 0),
		ReadTimeout:       max(s.cfg.ReadTimeout, 0),
		WriteTimeout:      max(s.cfg.WriteTimeout, 0),
		IdleTimeout:       max(s.cfg.IdleTimeout, 0),
		MaxHeaderBytes:    s.cfg.MaxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// stop says that it stops, gives load balancers time to notice, ends those that
// wait or watch, and lets requests under way end. The listener for operators
// goes last, so that readiness can be seen to be gone.
func (s *Server) stop(ctx context.Context, servers []*http.Server) error {
	s.log.InfoContext(ctx, "stopping", "drain", max(s.cfg.DrainDelay, 0))
	s.drain()
	ctx = context.WithoutCancel(ctx)
	if s.cfg.DrainDelay > 0 {
		timer := time.NewTimer(s.cfg.DrainDelay)
		<-timer.C
	}
	timed, cancel := context.WithTimeout(ctx, s.cfg.StopTimeout)
	defer cancel()
	var errs []error
	for _, server := range servers {
		if err := server.Shutdown(timed); err != nil {
			// A client that does not end must not keep the process from ending: what
			// it asked for is committed or rolls back.
			s.log.WarnContext(ctx, "requests cut at the stop", "error", err)
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}

// dbContext bounds a request's work in Postgres, and does not end with the
// request: a client that hangs up would tear the connection down with it, and a
// herd of those would leave none to the others.
func (s *Server) dbContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.cfg.RequestTimeout)
}

// dbDown and dbUp log changes, not requests.
func (s *Server) dbDown(err error) {
	if !s.down.Swap(true) {
		s.log.Warn("postgres unavailable", "error", err)
	}
}

func (s *Server) dbUp() {
	if s.down.Load() && s.down.Swap(false) { // a load costs nothing on the way of every order
		s.log.Info("postgres available again")
	}
}
