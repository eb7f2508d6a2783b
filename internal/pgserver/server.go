//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/process"
)

// Server is a running Postgres. Its methods may be called concurrently.
type Server struct {
	cfg      Config
	bin      binaries
	as       account
	run      runDir
	dataDir  string
	password string
	port     int

	mu      sync.Mutex // one of start, stop, kill at a time
	removed bool

	procMu sync.Mutex // guards proc alone, so that Pid and Done never wait for a stop
	proc   *process.Process
}

// Start initialises the cluster where needed, starts the server and returns when
// it accepts connections. When ctx ends first, nothing is left running. ctx does
// not end a server that was started: [Server.Stop] does.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure postgres: %w", err)
	}
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	major, fresh := 0, true
	if cfg.DataDir != "" {
		if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
			return nil, fmt.Errorf("resolve data directory: %w", err)
		}
		if major, err = dataMajor(cfg.DataDir); err != nil {
			return nil, err
		}
		if fresh, err = emptyDir(cfg.DataDir); err != nil {
			return nil, err
		}
		if !fresh && major == 0 {
			return nil, fmt.Errorf("data directory %s is not empty and holds no cluster", cfg.DataDir)
		}
	}
	bin, err := resolveBinaries(ctx, cfg.BinDir, major, as)
	if err != nil {
		return nil, err
	}
	run, err := newRunDir(ctx, cfg.TempDir, as)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, as: as, run: run, dataDir: cfg.DataDir}
	if s.dataDir == "" {
		s.dataDir = filepath.Join(run.path, "data")
	}
	defer func() {
		if err == nil {
			return
		}
		if cfg.DataDir == "" {
			err = errors.Join(err, removeSegment(s.dataDir))
		}
		err = errors.Join(err, run.remove())
	}()
	if s.password, err = prepareData(ctx, cfg, bin, as, run, s.dataDir, fresh); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// errPortTaken is a lost race for the port that we chose.
var errPortTaken = errors.New("port was taken by another program")

// start starts the server, on its old port when it had one.
func (s *Server) start(ctx context.Context) error {
	keep := s.port != 0
	const attempts = 5
	for n := 1; ; n++ {
		if !keep {
			port, err := process.FreePort(ctx)
			if err != nil {
				return err
			}
			s.port = port
		}
		err := s.launch(ctx)
		if err == nil {
			s.cfg.Logger.Info("postgres started", "major", s.bin.major, "port", s.port, "pid", s.Pid(), "data_dir", s.dataDir)
			return nil
		}
		if keep || n == attempts || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.run.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open server log: %w", err)
	}
	defer log.Close()
	offset, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("open server log: %w", err)
	}
	p, err := process.Start(process.Command{
		Path: s.bin.path("postgres"),
		Args: []string{
			"-D", s.dataDir, "-p", strconv.Itoa(s.port),
			"-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=" + s.run.socketDir(),
		},
		Env: environment(s.run), Dir: s.run.path, Output: log, User: s.as.user,
		// Immediate shutdown: a fast one waits for walsenders, whose receivers may
		// have died with us. What was committed is recovered at the next start.
		DeathSignal: syscall.SIGQUIT,
	})
	if err != nil {
		return err
	}
	s.procMu.Lock()
	s.proc = p
	s.procMu.Unlock()
	if err := s.waitReady(ctx, p); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, p.KillTree(end))
		if s.lostPort(offset) {
			err = errors.Join(errPortTaken, err)
		}
		return fmt.Errorf("start postgres: %w\n%s", err, tail(s.run.logFile()))
	}
	return nil
}

// waitReady returns when the server answers a login with our password, so that it
// cannot be another server on that port.
func (s *Server) waitReady(ctx context.Context, p *process.Process) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, s.SuperuserURL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.Done():
			return fmt.Errorf("server ended: %w", cmpErr(p.Err(), "exit status 0"))
		case <-ctx.Done():
			return fmt.Errorf("wait until it accepts: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func cmpErr(err error, instead string) error {
	if err == nil {
		return errors.New(instead)
	}
	return err
}

// lostPort tells whether the log since offset says that the port was taken.
func (s *Server) lostPort(offset int64) bool {
	b, err := os.ReadFile(s.run.logFile())
	return err == nil && int64(len(b)) >= offset &&
		strings.Contains(string(b[offset:]), "could not create any TCP/IP sockets")
}

// URL is a connection string for the superuser and the given database.
func (s *Server) URL(database string) string { return s.UserURL(superuser, s.password, database) }

// SuperuserURL is [Server.URL] of the database postgres.
func (s *Server) SuperuserURL() string { return s.URL("postgres") }

// UserURL is a connection string for another login.
func (s *Server) UserURL(login, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(login, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SocketURL is [Server.URL] over the Unix-domain socket. Only this account (and
// root) can open it.
func (s *Server) SocketURL(database string) string {
	return s.UserSocketURL(superuser, s.password, database)
}

// UserSocketURL is [Server.UserURL] over the Unix-domain socket.
func (s *Server) UserSocketURL(login, password, database string) string {
	q := url.Values{
		"host": {s.run.socketDir()}, "port": {strconv.Itoa(s.port)},
		"user": {login}, "password": {password}, "sslmode": {"disable"},
	}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: q.Encode()}).String()
}

// Port is the TCP port on 127.0.0.1. It does not change over a Restart.
func (s *Server) Port() int { return s.port }

// Major is the server's major version.
func (s *Server) Major() int { return s.bin.major }

// DataDir is the cluster's data directory.
func (s *Server) DataDir() string { return s.dataDir }

// LogFile is where the server logs to. Stop removes it.
func (s *Server) LogFile() string { return s.run.logFile() }

// Pid is the postmaster's process id; after the server has ended, the last one.
func (s *Server) Pid() int { return s.process().Pid() }

// Done is closed when the server has ended. After a Restart it is a new channel.
func (s *Server) Done() <-chan struct{} { return s.process().Done() }

func (s *Server) process() *process.Process {
	s.procMu.Lock()
	defer s.procMu.Unlock()
	return s.proc
}
