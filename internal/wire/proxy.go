package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction of bytes.
type Direction int

// The directions.
const (
	Up   Direction = iota // from client to server
	Down                  // from server to client
)

// Config of a Proxy.
type Config struct {
	// Target is the server's host:port. It may be set later, see SetTarget.
	Target string
	// Kafka forwards whole frames of Kafka's protocol, which CutAnswers needs.
	Kafka bool
	// TLS is spoken with clients; the server is spoken to in clear. Nil: none.
	TLS *tls.Config
}

// Counts are what has happened so far.
type Counts struct {
	Links     int // accepted
	Refused   int // links that did not come through TLS
	Delayed   int // pieces
	Paced     int // pieces that waited for their turn at a rate
	Held      int // pieces that waited in OneWay(Down) or a black hole
	Dropped   int // packets of clients that were not looked at
	HalfOpen  int // links whose peer has gone
	Resets    int // links
	Cut       int // answers
	Unreached int // links for which the server could not be reached
}

// mode is what is done to the links.
type mode struct {
	delay time.Duration
	rate  int
	held  [2]bool
	deaf  bool // to clients that are connected
	shut  bool // to new ones
}

// Proxy listens on a port of its own. Its methods may be called concurrently.
type Proxy struct {
	cfg      Config
	listener *net.TCPListener
	wg       sync.WaitGroup

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when mode changes
	target  string
	cuts    int
	free    [2]time.Time // when a byte may go next, at a rate
	links   map[*link]bool
	counts  Counts
	closed  bool
}

// Listen starts a proxy on a free port of 127.0.0.1.
func Listen(ctx context.Context, cfg Config) (*Proxy, error) {
	lc := net.ListenConfig{KeepAlive: -1} // a deaf socket would end by keepalives of our own
	lc.SetMultipathTCP(false)             // its sockets take no filter
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{cfg: cfg, listener: l.(*net.TCPListener), changed: make(chan struct{}), target: cfg.Target, links: map[*link]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget says where new links lead.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Close ends all links and returns when they are gone.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.end()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

// Counts tells what has happened so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts
	for l := range p.links {
		c.Dropped += drops(l.client)
	}
	c.Dropped += drops(p.listener)
	return c
}

func (p *Proxy) count(f func(*Counts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.counts)
}

// become changes the mode, and makes links deaf or hearing as it says.
func (p *Proxy) become(m mode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for l := range p.links {
		if !l.halfOpen {
			errs = append(errs, l.setDeaf(m.deaf))
		}
	}
	if m.shut != p.mode.shut {
		errs = append(errs, setDeaf(p.listener, m.shut))
	}
	p.mode = m
	p.free = [2]time.Time{}
	close(p.changed)
	p.changed = make(chan struct{})
	return errors.Join(errs...)
}

// Delay makes each piece wait.
func (p *Proxy) Delay(d time.Duration) error { return p.become(mode{delay: d}) }

// Rate lets so many bytes a second through in each direction.
func (p *Proxy) Rate(bytesPerSecond int) error { return p.become(mode{rate: bytesPerSecond}) }

// OneWay loses what goes in the direction, and lets new links in.
func (p *Proxy) OneWay(lost Direction) error {
	if lost == Down {
		return p.become(mode{held: [2]bool{Down: true}})
	}
	return p.become(mode{deaf: true, held: [2]bool{Up: true}})
}

// BlackHole swallows everything.
func (p *Proxy) BlackHole() error {
	return p.become(mode{deaf: true, shut: true, held: [2]bool{true, true}})
}

// HalfOpen takes the servers of the links there are away, without a word to the
// clients, and returns how many there were.
func (p *Proxy) HalfOpen() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	n := 0
	for l := range p.links {
		errs = append(errs, l.setDeaf(true))
		l.halfOpen = true
		_ = l.server.Close() // it has ended already otherwise
		n++
	}
	p.counts.HalfOpen += n
	return n, errors.Join(errs...)
}

// Reset ends the links there are with RST, and returns how many there were.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.links)
	for l := range p.links {
		l.reset()
	}
	p.counts.Resets += n
	return n
}

// CutAnswers loses the answers to the next n produce requests, and the links on
// which they would come.
func (p *Proxy) CutAnswers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = n
}

// Heal ends every fault. Links that are half open end with RST.
func (p *Proxy) Heal() error {
	p.CutAnswers(0)
	err := p.become(mode{})
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.halfOpen {
			l.reset()
		}
	}
	return err
}

// takeCut tells whether the answer of a request that has just gone up is to be cut.
func (p *Proxy) takeCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cuts == 0 {
		return false
	}
	p.cuts--
	return true
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.AcceptTCP()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(conn) })
	}
}

const dialTimeout = 5 * time.Second

// serve is the life of a link.
func (p *Proxy) serve(client *net.TCPConn) {
	p.mu.Lock()
	p.counts.Links++
	target := p.target
	p.mu.Unlock()
	conn, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: -1}).Dial("tcp4", target)
	if err != nil {
		p.count(func(c *Counts) { c.Unreached++ })
		_ = client.SetLinger(0) // a refused connection is what the client would have seen
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: conn.(*net.TCPConn), stream: client, gone: make(chan struct{})}
	if !p.enter(l) {
		l.end()
		return
	}
	defer p.leave(l)
	if p.cfg.TLS != nil {
		s := tls.Server(client, p.cfg.TLS)
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		err := s.HandshakeContext(ctx)
		cancel()
		if err != nil {
			p.count(func(c *Counts) { c.Refused++ })
			return
		}
		l.stream = s
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(Up) })
	pumps.Go(func() { l.pump(Down) })
	pumps.Wait()
}

// enter puts a link under the present mode; false when the proxy is closed.
func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.links[l] = true
	return l.setDeaf(p.mode.deaf) == nil
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Dropped += drops(l.client)
	delete(p.links, l)
	l.end()
}

// admit returns when n bytes may go in the direction; false when the link has ended.
func (p *Proxy) admit(l *link, d Direction, n int) bool {
	if !p.hold(l, d) {
		return false
	}
	p.mu.Lock()
	wait := p.mode.delay
	if wait > 0 {
		p.counts.Delayed++
	}
	if p.mode.rate > 0 {
		now := time.Now()
		if p.free[d].Before(now) {
			p.free[d] = now
		}
		wait += p.free[d].Sub(now)
		if p.free[d].After(now) {
			p.counts.Paced++
		}
		p.free[d] = p.free[d].Add(time.Duration(n) * time.Second / time.Duration(p.mode.rate))
	}
	changed := p.changed
	p.mu.Unlock()
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return p.hold(l, d)
	case <-changed:
		return p.admit(l, d, n)
	case <-l.gone:
		return false
	}
}

// hold waits while the direction is held.
func (p *Proxy) hold(l *link, d Direction) bool {
	for counted := false; ; counted = true {
		p.mu.Lock()
		held, changed := p.mode.held[d], p.changed
		if held && !counted {
			p.counts.Held++
		}
		p.mu.Unlock()
		if !held {
			return true
		}
		select {
		case <-changed:
		case <-l.gone:
			return false
		}
	}
}
