package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// link is a client's connection and the one to the server that belongs to it.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	server *net.TCPConn
	stream net.Conn // the client, through TLS if it is spoken

	once sync.Once
	gone chan struct{}

	// Under the proxy's lock.
	deaf     bool
	halfOpen bool

	mu  sync.Mutex
	cut map[int32]bool // numbers of requests whose answer is to be lost
}

func (l *link) end() {
	l.once.Do(func() { close(l.gone) })
	for _, conn := range []net.Conn{l.client, l.server} {
		conn.Close()
	}
}

// reset ends the link with RST on both sides (socket(7), SO_LINGER of 0).
func (l *link) reset() {
	_ = l.client.SetLinger(0) // it has ended already otherwise
	_ = l.server.SetLinger(0)
	l.end()
}

func (l *link) setDeaf(deaf bool) error {
	if deaf == l.deaf {
		return nil
	}
	l.deaf = deaf
	if err := setDeaf(l.client, deaf); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("make a socket deaf: %w", err)
	}
	return nil
}

// pump forwards one direction until an end has closed.
func (l *link) pump(d Direction) {
	from, to := net.Conn(l.server), l.stream
	if d == Up {
		from, to = to, from
	}
	forward := l.pieces
	if l.proxy.cfg.Kafka {
		forward = l.frames
	}
	forward(d, from, to)
	l.proxy.mu.Lock()
	half := l.halfOpen
	l.proxy.mu.Unlock()
	if half {
		<-l.gone // the client is to hear nothing
	}
	l.end()
}

// pieces forwards what comes. Any error is the end of the link.
func (l *link) pieces(d Direction, from io.Reader, to io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.write(d, to, buf[:n]) || err != nil {
			return
		}
	}
}

// paced is how much is written at a time, so that a rate is even.
const paced = 4 << 10

func (l *link) write(d Direction, to io.Writer, b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), paced)
		if !l.proxy.admit(l, d, n) {
			return false
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

const (
	produceKey = 0        // https://kafka.apache.org/protocol#protocol_api_keys
	maxFrame   = 64 << 20 // a length beyond it is no frame of Kafka
)

// frames forwards whole frames: a length of four bytes, and in a request the kind (2
// bytes), its version (2) and a number (4), which the answer begins with.
func (l *link) frames(d Direction, from io.Reader, to io.Writer) {
	var length [4]byte
	for {
		if _, err := io.ReadFull(from, length[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > maxFrame {
			return
		}
		frame := make([]byte, 4+n)
		copy(frame, length[:])
		if _, err := io.ReadFull(from, frame[4:]); err != nil {
			return
		}
		body := frame[4:]
		if d == Down && len(body) >= 4 && l.isCut(int32(binary.BigEndian.Uint32(body))) {
			l.proxy.count(func(c *Counts) { c.Cut++ })
			l.reset()
			return
		}
		if d == Up && len(body) >= 8 && binary.BigEndian.Uint16(body) == produceKey && l.proxy.takeCut() {
			l.mark(int32(binary.BigEndian.Uint32(body[4:])))
		}
		if !l.write(d, to, frame) {
			return
		}
	}
}

func (l *link) mark(number int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == nil {
		l.cut = map[int32]bool{}
	}
	l.cut[number] = true
}

func (l *link) isCut(number int32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[number]
}
