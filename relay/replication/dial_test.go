package replication

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A server that takes the connection and says nothing more must not hold up
// the relay for as long as the kernel likes.
func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	done := make(chan struct{})
	go func() { served <- welcome(listener, done) }()
	cfg, err := pgconn.ParseConfig("postgres://u@" + listener.Addr().String() + "/d?sslmode=disable&connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identify(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Identify: %v", err)
	}
	close(done)
	if err := <-served; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // of a connection that is broken already
}

// welcome logs one client in, and is silent until done.
func welcome(listener net.Listener, done <-chan struct{}) error {
	defer listener.Close()
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := b.Flush(); err != nil {
		return err
	}
	<-done
	return nil
}
