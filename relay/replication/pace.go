package replication

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// bulkBytes is how much the kernel gathers before it wakes us in bulk mode.
	bulkBytes = 96 << 10
	// bulkWait bounds what gathering adds to an event's latency.
	bulkWait = 2 * time.Millisecond
	// A stream that is farBehind has nothing left to be quick about: it gathers
	// farFactor times as much for farFactor times as long, and whoever takes the
	// records gets larger batches of them.
	farBehind = time.Second
	farFactor = 6
	// window reads in less than windowTime turn bulk mode on; fewer than
	// quietBytes in one bulkWait turn it off.
	window     = 32
	windowTime = window * 250 * time.Microsecond
	quietBytes = 4 << 10
	// leastWait is what a read takes: with a deadline that has passed nothing is read.
	leastWait = time.Millisecond
)

// pace decides how long to gather before a read.
type pace struct {
	raw   syscall.RawConn // nil where gathering is not possible
	bulk  bool
	far   bool // farBehind, as told last
	low   int  // SO_RCVLOWAT as set
	reads int
	since time.Time

	// The closure for a raw read is made once; these are its arguments.
	readRaw func(fd uintptr)
	into    []byte
	got     int
	gotErr  error
}

func (p *pace) attach(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn) // not a *tls.Conn: bytes on the wire are not frames
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil || setReceiveLow(raw, 1) != nil {
		return
	}
	p.raw, p.low = raw, 1
	p.readRaw = func(fd uintptr) { p.got, p.gotErr = readNow(fd, p.into) }
}

// Behind tells the connection how late what it reads is, so that it may gather
// more where that cannot be noticed. It returns whether that is farBehind or more.
func (c *Conn) Behind(d time.Duration) (far bool) {
	c.pace.far = d >= farBehind
	return c.pace.far
}

func (p *pace) read(c *Conn, wait time.Duration) (int, error) {
	wait = max(wait, leastWait)
	into := c.buf[c.w:]
	if p.bulk {
		return p.gather(c, into, wait)
	}
	now := time.Now()
	if err := c.deadline(now.Add(wait)); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(into)
	if p.raw == nil || n == 0 {
		return n, err
	}
	if p.reads++; p.reads == window {
		p.bulk = now.Sub(p.since) < windowTime
		p.reads, p.since = 0, now
	}
	return n, err
}

// gather waits until bulkBytes have come, or for bulkWait, and takes what is
// there.
func (p *pace) gather(c *Conn, into []byte, wait time.Duration) (int, error) {
	low, limit := bulkBytes, bulkWait
	if p.far {
		low, limit = farFactor*bulkBytes, farFactor*bulkWait
	}
	if err := p.setLow(low); err != nil {
		return 0, err
	}
	if err := c.deadline(time.Now().Add(min(wait, limit))); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(into)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// The poller has not been told of anything below the mark, so ask.
	p.into = into
	if err := p.raw.Control(p.readRaw); err != nil {
		return 0, err
	}
	p.into = nil
	if p.got < quietBytes {
		p.bulk, p.reads, p.since = false, 0, time.Now()
		if err := p.setLow(1); err != nil {
			return p.got, err
		}
	}
	return p.got, p.gotErr
}

func (p *pace) setLow(n int) error {
	if n == p.low {
		return nil
	}
	p.low = n
	return setReceiveLow(p.raw, n)
}

// deadline is set before interrupted is looked at: Interrupt does it the other
// way round, so one of the two sees the other.
func (c *Conn) deadline(t time.Time) error {
	if err := c.conn.SetReadDeadline(t); err != nil {
		return err
	}
	if c.interrupted.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}
