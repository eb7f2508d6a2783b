package api_test

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// pgProxy stands between a server and its Postgres. It passes everything on
// until it is armed; then the answer to a COMMIT of an order is held back.
type pgProxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	armed bool
	conns []net.Conn
	held  chan struct{} // closed when an answer is held back: the fault fired
}

func newPGProxy(t *testing.T, databaseURL string) (p *pgProxy, proxied string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &pgProxy{listener: l, target: u.Host, held: make(chan struct{})}
	if u.Host == "" {
		t.Fatalf("no host in %s", databaseURL)
	}
	u.Host = l.Addr().String()
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *pgProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		server, err := d.DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(server, client, nil) })
		p.wg.Go(func() { p.pass(client, server, []byte("COMMIT\x00")) })
	}
}

// pass copies until an end. hold is what makes an armed proxy keep the rest.
func (p *pgProxy) pass(to, from net.Conn, hold []byte) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	holding := false
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		// An order's answers fit one read: they are sent at the Sync.
		if hold != nil && bytes.Contains(buf[:n], hold) && p.fire() {
			holding = true
		}
		if holding {
			continue // the client waits, the server has committed
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *pgProxy) fire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed {
		return false
	}
	p.armed = false
	close(p.held)
	return true
}

func (p *pgProxy) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = true
}

// cut closes every connection there is.
func (p *pgProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
