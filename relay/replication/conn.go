package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/relay/core"
)

// System is what IDENTIFY_SYSTEM says.
type System struct {
	ID       string
	Timeline int32
	Flushed  core.LSN // end of the WAL on the server's disk
}

// Conn is a connection in replication mode.
type Conn struct {
	pg      *pgconn.PgConn // nil once the stream runs
	conn    net.Conn
	timeout time.Duration // for each answer before the stream; 0 is none

	buf  []byte
	r, w int
	drop int // bytes of a message that nobody wants, still to come
	out  [39]byte

	prefixes map[string]bool

	pace        pace
	interrupted atomic.Bool

	ending  sync.Mutex // between Interrupt and Close
	closing bool
}

// writeTimeout bounds a status update of 39 bytes: it blocks only when the
// peer has stopped reading for a whole socket buffer.
const writeTimeout = 10 * time.Second

// Dial connects to the server of cfg, which is not changed. Its ConnectTimeout
// bounds the wait for each answer before the stream too.
func Dial(ctx context.Context, cfg *pgconn.Config) (*Conn, error) {
	cfg = cfg.Copy()
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["client_encoding"] = "UTF8" // the driver does not ask for it
	cfg.DialFunc = deadpeer.Dial
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect for replication: %w", err)
	}
	return &Conn{pg: pg, timeout: cfg.ConnectTimeout}, nil
}

func (c *Conn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// SetSenderTimeout has the server end this connection, and free its slot, when nothing
// was heard of us for d: wal_sender_timeout, of this session alone.
func (c *Conn) SetSenderTimeout(ctx context.Context, d time.Duration) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if err := c.pg.Exec(ctx, fmt.Sprintf("SET wal_sender_timeout = %d", d.Milliseconds())).Close(); err != nil {
		return fmt.Errorf("set wal_sender_timeout: %w", err)
	}
	return nil
}

// Identify asks who the server is.
func (c *Conn) Identify(ctx context.Context) (System, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	s, err := pglogrepl.IdentifySystem(ctx, c.pg)
	if err != nil {
		return System{}, fmt.Errorf("identify system: %w", err)
	}
	return System{ID: s.SystemID, Timeline: s.Timeline, Flushed: core.LSN(s.XLogPos)}, nil
}

// History tells where the server's history left the timelines before the given one, on
// which it is. Call it before Start.
func (c *Conn) History(ctx context.Context, timeline int32) (map[int32]core.LSN, error) {
	if timeline == 1 {
		return nil, nil // there is no file
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	h, err := pglogrepl.TimelineHistory(ctx, c.pg, timeline)
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	left, err := parseHistory(string(h.Content))
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	return left, nil
}

// parseHistory reads a history file: lines of "timeline<TAB>LSN<TAB>reason", and comments.
func parseHistory(file string) (map[int32]core.LSN, error) {
	left := map[int32]core.LSN{}
	for line := range strings.Lines(file) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("a line without an LSN: %q", line)
		}
		timeline, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil {
			return nil, err
		}
		if left[int32(timeline)], err = core.ParseLSN(fields[1]); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// Options of a stream.
type Options struct {
	Slot        string
	Publication string
	Start       core.LSN
	Messages    bool // pg_logical_emit_message too
	// Prefixes of logical messages that somebody wants. A large one of another prefix comes
	// without prefix and content, so that it needs no memory. nil: all are wanted.
	Prefixes map[string]bool
}

// Start begins the stream. After it only Fill, Next, Status, Interrupt and
// Close may be called. ctx bounds the call.
func (c *Conn) Start(ctx context.Context, o Options) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	// A write that took long has left a reader behind, which would take the answer.
	if err := c.pg.SyncConn(ctx); err != nil {
		return fmt.Errorf("start replication: %w", err)
	}
	hijacked, err := c.pg.Hijack()
	if err != nil {
		return fmt.Errorf("start replication: %w", err)
	}
	c.pg, c.conn = nil, hijacked.Conn
	if n := hijacked.Frontend.ReadBufferLen(); n != 0 {
		return fmt.Errorf("start replication: %d bytes of an earlier answer are unread", n)
	}
	c.buf, c.prefixes = make([]byte, bufferSize), o.Prefixes
	query := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', binary 'true', publication_names %s%s)",
		quoteIdentifier(o.Slot), o.Start, quoteLiteral(quoteIdentifier(o.Publication)), messagesOption(o.Messages))
	b, err := (&pgproto3.Query{String: query}).Encode(nil)
	if err != nil {
		return fmt.Errorf("start replication: %w", err)
	}
	stop := context.AfterFunc(ctx, c.Interrupt)
	defer stop()
	if err := c.write(b); err != nil {
		return fmt.Errorf("start replication: %w", err)
	}
	for {
		kind, _, ok, err := c.message()
		if err != nil {
			return fmt.Errorf("start replication: %w", err)
		}
		if ok && kind == 'W' {
			if !stop() { // what was interrupted stays so
				return fmt.Errorf("start replication: %w", ctx.Err())
			}
			c.pace.attach(c.conn)
			return nil
		}
		if ok {
			return fmt.Errorf("start replication: unexpected message %q", kind)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("start replication: %w", err)
		}
		if err := c.Fill(time.Second); err != nil {
			return fmt.Errorf("start replication: %w", err)
		}
	}
}

func messagesOption(on bool) string {
	if on {
		return ", messages 'true'"
	}
	return ""
}

func quoteIdentifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteLiteral(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

// errZeroFlush guards the worst mistake this package could make.
var errZeroFlush = errors.New("flush position is 0")

// Status tells the server that everything before flush is done with. reply
// asks it to answer at once.
func (c *Conn) Status(flush core.LSN, now time.Time, reply bool) error {
	if flush == 0 {
		return fmt.Errorf("send status: %w", errZeroFlush)
	}
	b := c.out[:]
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], 38)
	b[5] = 'r'
	for _, at := range [...]int{6, 14, 22} { // written, flushed, applied
		binary.BigEndian.PutUint64(b[at:], uint64(flush))
	}
	binary.BigEndian.PutUint64(b[30:], uint64(now.UnixMicro()-946684800_000_000))
	b[38] = 0
	if reply {
		b[38] = 1
	}
	if err := c.write(b); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

func (c *Conn) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// Interrupt makes a Fill that waits, and every later one, return at once. Safe for
// concurrent use, also with Close, whose wait it leaves alone: whoever ends a stream may
// have seen that its context ended before a function that the context calls has run.
func (c *Conn) Interrupt() {
	c.ending.Lock()
	defer c.ending.Unlock()
	c.interrupted.Store(true)
	if c.conn != nil && !c.closing {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Close ends the connection, and waits a moment for the server to free the
// slot.
func (c *Conn) Close(ctx context.Context) error {
	if c.pg != nil {
		return c.pg.Close(ctx)
	}
	if c.conn == nil {
		return nil
	}
	c.ending.Lock()
	c.closing = true
	c.ending.Unlock()
	// CopyDone and Terminate, so that the server's log has no "unexpected EOF".
	if err := c.write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}); err == nil {
		c.awaitEnd(ctx)
	}
	return c.conn.Close()
}

// farewell bounds the wait for the server's side to end.
const farewell = time.Second

// awaitEnd reads until the walsender is gone: it frees the slot before it
// closes, so whoever starts after us finds the slot free.
func (c *Conn) awaitEnd(ctx context.Context) {
	end := time.Now().Add(farewell)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if c.conn.SetReadDeadline(end) != nil {
		return
	}
	// Not c.buf: a Start that failed has none, and a read into nothing returns
	// at once for ever.
	rest := make([]byte, 4<<10)
	for {
		if _, err := c.conn.Read(rest); err != nil {
			return
		}
	}
}
