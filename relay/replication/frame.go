package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless/gapless/relay/core"
)

const (
	bufferSize = 256 << 10
	// maxMessage is Postgres' own limit for one message.
	maxMessage = 1 << 30
	// A message above largeMessage is looked at, by its first peekBytes, before there is
	// memory for it.
	largeMessage = 1 << 20
	peekBytes    = 4 << 10
)

// ErrStreamEnded says that the server ended the stream in good order, as it
// does when it shuts down.
var ErrStreamEnded = errors.New("server ended the stream")

// ErrMalformed says that a frame is not what the protocol has.
var ErrMalformed = errors.New("malformed replication frame")

// Frame is one message of the stream. Data is nil for a keepalive.
type Frame struct {
	Data  []byte   // a pgoutput message, a view into the buffer
	Start core.LSN // of the change; several may share one
	End   core.LSN // the server's end of WAL, for a keepalive: nothing before it is unsent
	Sent  int64    // by the server's clock, in microseconds since 2000; 0 for a keepalive
	Reply bool     // the server wants a status update now
}

// Fill reads what the network has, waiting at most wait for it. Coming back
// without data is not an error. It moves the buffer: frames taken before are
// gone.
func (c *Conn) Fill(wait time.Duration) error {
	c.room()
	n, err := c.pace.read(c, wait)
	c.w += n
	if n > 0 {
		dropped := min(c.drop, c.w-c.r)
		c.drop -= dropped
		c.r += dropped
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read stream: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return nil
}

// room makes place for the rest of the message that has begun.
func (c *Conn) room() {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.buf) > 4*bufferSize {
			c.buf = make([]byte, bufferSize) // after a giant, memory goes back
		}
		return
	}
	need := 0
	if c.w-c.r >= 5 {
		need = 1 + int(binary.BigEndian.Uint32(c.buf[c.r+1:]))
	}
	peeking := c.prefixes != nil && need > largeMessage && c.w-c.r < peekBytes
	if need > len(c.buf) && need <= 1+maxMessage && !peeking {
		grown := make([]byte, need+bufferSize)
		c.w = copy(grown, c.buf[c.r:c.w])
		c.r, c.buf = 0, grown
		return
	}
	if c.r > 0 && (len(c.buf)-c.w < len(c.buf)/4 || c.r+need > len(c.buf)) {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
}

// message takes one protocol message out of the buffer; ok is false when it is
// not there whole.
func (c *Conn) message() (kind byte, body []byte, ok bool, err error) {
	for {
		have := c.buf[c.r:c.w]
		if len(have) < 5 {
			return 0, nil, false, nil
		}
		n := int(binary.BigEndian.Uint32(have[1:]))
		if n < 4 || n > maxMessage {
			return 0, nil, false, fmt.Errorf("message %q of %d bytes: %w", have[0], n, ErrMalformed)
		}
		if len(have) < 1+n {
			if n < largeMessage || len(have) < peekBytes || !c.isForeign(have) {
				return 0, nil, false, nil
			}
			return have[0], c.abridged(n), true, nil
		}
		kind, body = have[0], have[5:1+n]
		c.r += 1 + n
		switch kind {
		case 'E':
			return 0, nil, false, serverError(body)
		case 'N', 'S', 'A': // notices and parameters may come at any time
			continue
		}
		return kind, body, true, nil
	}
}

// A logical message in a data frame: its prefix is behind kind, length, the frame's head,
// the message's kind, flags and LSN.
const (
	messageAt = 5 + 25
	prefixAt  = messageAt + 1 + 1 + 8
)

// isForeign tells of a message that has begun that it is a logical one with a prefix that
// nobody wants.
func (c *Conn) isForeign(have []byte) bool {
	if c.prefixes == nil || have[0] != 'd' || have[5] != 'w' || have[messageAt] != 'M' {
		return false
	}
	prefix, _, ok := bytes.Cut(have[prefixAt:peekBytes], []byte{0})
	return !ok || !c.prefixes[string(prefix)]
}

// abridged is a message of n bytes, of which only the beginning is here, without prefix
// and content. The rest is passed over as it comes.
func (c *Conn) abridged(n int) (body []byte) {
	body = c.buf[c.r+5 : c.r+prefixAt+5]
	clear(body[prefixAt-5:]) // the end of an empty prefix, and the length of no content
	c.drop = 1 + n - (c.w - c.r)
	c.r = c.w
	return body
}

func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("decode error response: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&m)
}

// Next takes the next frame that is in memory whole. ok is false when Fill is
// needed.
func (c *Conn) Next() (f Frame, ok bool, err error) {
	kind, body, ok, err := c.message()
	if err != nil || !ok {
		return f, false, err
	}
	switch kind {
	case 'd':
		f, err = parseFrame(body)
		return f, err == nil, err
	case 'c', 'C', 'Z':
		return f, false, ErrStreamEnded
	}
	return f, false, fmt.Errorf("message %q in the stream: %w", kind, ErrMalformed)
}

func parseFrame(body []byte) (f Frame, err error) {
	if len(body) == 0 {
		return f, fmt.Errorf("empty frame: %w", ErrMalformed)
	}
	switch body[0] {
	case 'w': // start, end, time, data
		if len(body) < 25 {
			return f, fmt.Errorf("data frame of %d bytes: %w", len(body), ErrMalformed)
		}
		f.Start = core.LSN(binary.BigEndian.Uint64(body[1:]))
		f.End = core.LSN(binary.BigEndian.Uint64(body[9:]))
		f.Sent = int64(binary.BigEndian.Uint64(body[17:]))
		f.Data = body[25:]
		return f, nil
	case 'k': // end, time, reply
		if len(body) != 18 {
			return f, fmt.Errorf("keepalive of %d bytes: %w", len(body), ErrMalformed)
		}
		f.End = core.LSN(binary.BigEndian.Uint64(body[1:]))
		f.Reply = body[17] != 0
		return f, nil
	}
	return f, fmt.Errorf("frame kind %q: %w", body[0], ErrMalformed)
}
