package consumers_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
)

// cutter cuts a connection when the answer to the next request has arrived: the
// server did what it was told and nobody hears of it.
type cutter struct{ armed, fired atomic.Bool }

type cutConn struct {
	net.Conn
	*cutter
	doomed atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.armed.CompareAndSwap(true, false) {
		c.doomed.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && n > 0 && c.doomed.Load() {
		c.fired.Store(true)
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestLostCommitAnswer(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	cut := &cutter{}
	config := d.pool.Config()
	dial := (&net.Dialer{}).DialContext
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, cutter: cut}, nil
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	consumer := effectConsumer()
	cutNext := false
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if cutNext {
			cut.armed.Store(true) // the next request is the pipeline with COMMIT
			cutNext = false
		}
		return applyEffect(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: pool, MaxAttempts: 1}, consumer)
	process(t, in, message(t, 0, "a", "")) // prepares the statements, which takes requests of its own
	cutNext = true
	got := process(t, in, message(t, 1, "b", ""), message(t, 2, "c", ""))
	if !cut.fired.Load() {
		t.Fatal("the fault did not fire")
	}
	if !slices.Equal(got, []consumers.Outcome{consumers.Duplicate, consumers.Duplicate}) || d.effects(t) != "a b c" {
		t.Errorf("outcomes %v, effects %q; want what was committed to be found, once", got, d.effects(t))
	}
}
