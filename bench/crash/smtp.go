package main

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
)

// mailbox is a mail server that takes everything and keeps nothing, so that the
// sender of mail has work to be killed at.
type mailbox struct {
	listener net.Listener
	wg       sync.WaitGroup
}

func openMailbox(ctx context.Context) (*mailbox, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for mail: %w", err)
	}
	m := &mailbox{listener: l}
	m.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { take(conn) })
		}
	})
	return m, nil
}

func (m *mailbox) url() string { return "smtp+plain://" + m.listener.Addr().String() }

// close ends the server. Its clients must have ended before.
func (m *mailbox) close() error {
	err := m.listener.Close()
	m.wg.Wait()
	return err
}

// take speaks as much SMTP (RFC 5321) as a sender without extensions needs. A
// sender that is killed is an error of the connection, and ends it.
func take(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	err := c.PrintfLine("220 ready")
	for err == nil {
		var line string
		if line, err = c.ReadLine(); err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "DATA":
			if err = c.PrintfLine("354 go on"); err != nil {
				return
			}
			if _, err = c.ReadDotBytes(); err != nil {
				return
			}
			err = c.PrintfLine("250 taken")
		case "QUIT":
			_ = c.PrintfLine("221 bye") // it closes either way
			return
		default:
			err = c.PrintfLine("250 ok")
		}
	}
}
