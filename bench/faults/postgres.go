package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// postgresFaults are what happens to the database.
func postgresFaults() []fault {
	return []fault{
		{name: "walsender-terminated", what: "pg_terminate_backend of the walsender, five times", make: walsenderTerminated},
		{name: "postgres-fast", what: "fast shutdown of Postgres (SIGINT), and a start", make: postgresFast},
		{name: "postgres-immediate", what: "immediate shutdown of Postgres (SIGQUIT), and a start", make: postgresImmediate},
		{name: "postgres-kill", what: "kill -9 of Postgres with all its processes, and a start", make: postgresKilled},
		{name: "postgres-away-at-start", what: "no Postgres for five seconds when the relay starts", make: postgresAway},
		{name: "postgres-backend-kill", what: "kill -9 of the walsender, for which Postgres restarts all its processes", make: backendKilled},
	}
}

// serverLog is Postgres' log from here on.
type serverLog struct {
	path string
	from int
}

func (r *run) serverLog() serverLog {
	text, _ := os.ReadFile(r.pg.LogFile()) // what is missing is missed by says
	return serverLog{r.pg.LogFile(), len(text)}
}

func (l serverLog) says(words string) error {
	text, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text[l.from:]), words) {
		return fmt.Errorf("the server's log does not say %q", words)
	}
	return nil
}

const walsenderPID = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'gapless' AND active_pid IS NOT NULL"

func walsenderTerminated(ctx context.Context, r *run) error {
	a := r.relay("a")
	r.beginsAndHeals()
	for range 5 {
		var done bool
		err := eventually(ctx, readyTime, func(ctx context.Context) error {
			return r.db.QueryRow(ctx, "SELECT pg_terminate_backend(pid) FROM ("+walsenderPID+") AS slot (pid)").Scan(&done)
		})
		if err != nil {
			return fmt.Errorf("terminate the walsender: %w", err)
		}
		if !done {
			return errors.New("the walsender could not be terminated")
		}
		if err := pause(ctx, time.Duration(r.rng.IntN(400))*time.Millisecond); err != nil {
			return err
		}
	}
	if err := r.streams(ctx, a); err != nil {
		return err
	}
	n, err := metric(ctx, a, reconnects)
	if err != nil {
		return err
	}
	if n < 1 {
		return errors.New("the relay did not reconnect")
	}
	r.proves("5 walsenders terminated, %.0f reconnects", n)
	return nil
}

func postgresFast(ctx context.Context, r *run) error {
	return r.restartPostgres(ctx, "received fast shutdown request", func() error { return nil })
}

func postgresImmediate(ctx context.Context, r *run) error {
	return r.restartPostgres(ctx, "received immediate shutdown request", func() error {
		done := r.pg.Done()
		if err := syscall.Kill(r.pg.Pid(), syscall.SIGQUIT); err != nil {
			return fmt.Errorf("signal Postgres: %w", err)
		}
		select {
		case <-done:
			return nil
		case <-time.After(20 * time.Second):
			return errors.New("the server did not end within 20 s of SIGQUIT")
		}
	})
}

func postgresKilled(ctx context.Context, r *run) error {
	return r.restartPostgres(ctx, "database system was not properly shut down", func() error { return r.pg.Kill(ctx) })
}

// restartPostgres ends the server, leaves it away for a while and starts it again.
// Its log has the proof.
func (r *run) restartPostgres(ctx context.Context, proof string, end func() error) error {
	log := r.serverLog()
	r.begins()
	if err := end(); err != nil {
		return err
	}
	if err := r.pg.Restart(ctx); err != nil {
		return err
	}
	r.heals()
	if err := log.says(proof); err != nil {
		return err
	}
	r.proves("server's log: %s", proof)
	return r.streams(ctx, r.relay("a"))
}

func postgresAway(ctx context.Context, r *run) error {
	a := r.relay("a")
	if err := a.Stop(); err != nil {
		return err
	}
	before := r.toPG.Counts().Unreached
	r.begins()
	if err := r.pg.Kill(ctx); err != nil {
		return err
	}
	if err := a.Start(""); err != nil {
		return err
	}
	err := pause(ctx, 5*time.Second)
	if n := r.toPG.Counts().Unreached - before; n > 0 {
		r.proves("%d connections found no server", n)
	}
	if err := errors.Join(err, r.pg.Restart(ctx)); err != nil {
		return err
	}
	r.heals()
	if !a.Running() {
		return fmt.Errorf("the relay did not wait: %w", a.Proc.Err())
	}
	return r.up(ctx, a)
}

func backendKilled(ctx context.Context, r *run) error {
	log := r.serverLog()
	var pid int
	if err := r.db.QueryRow(ctx, walsenderPID).Scan(&pid); err != nil {
		return fmt.Errorf("find the walsender: %w", err)
	}
	r.beginsAndHeals() // the server comes back by itself
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the walsender: %w", err)
	}
	err := eventually(ctx, readyTime, func(context.Context) error { return log.says("database system is ready to accept connections") })
	if err != nil {
		return err
	}
	const proof = "was terminated by signal 9"
	if err := log.says(proof); err != nil {
		return err
	}
	r.proves("server's log: %s", proof)
	return r.streams(ctx, r.relay("a"))
}
