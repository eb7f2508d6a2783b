package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(b, body...)
}

func data(end uint64, payload string) []byte {
	b := append([]byte{'w'}, make([]byte, 24)...)
	binary.BigEndian.PutUint64(b[9:], end)
	return message('d', string(b)+payload)
}

func keepalive(end uint64, reply byte) []byte {
	b := append([]byte{'k'}, make([]byte, 17)...)
	binary.BigEndian.PutUint64(b[1:], end)
	b[17] = reply
	return message('d', string(b))
}

// pipe returns a connection in mid stream, and the server's end of it.
func pipe(t testing.TB) (*Conn, net.Conn) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	c := &Conn{conn: client, buf: make([]byte, bufferSize)}
	c.pace.attach(client)
	return c, server
}

func next(t testing.TB, c *Conn) (Frame, error) {
	t.Helper()
	for range 10_000 {
		f, ok, err := c.Next()
		if ok || err != nil {
			return f, err
		}
		if err := c.Fill(time.Second); err != nil {
			return f, err
		}
	}
	t.Fatal("no frame")
	return Frame{}, nil
}

// Frames that come in pieces of every size, a giant among them, are the same
// frames.
func TestFramesInPieces(t *testing.T) {
	t.Parallel()
	giant := make([]byte, 3*bufferSize)
	for i := range giant {
		giant[i] = byte(i)
	}
	stream := append(data(1, "one"), message('N', "notice")...)
	stream = append(stream, keepalive(2, 1)...)
	stream = append(stream, data(3, string(giant))...)
	stream = append(stream, data(4, "four")...)
	for _, size := range []int{1, 7, 100, 64 << 10, len(stream)} {
		c, server := pipe(t)
		done := make(chan error, 1)
		go func() {
			rest := stream
			if size == 1 || size == 7 { // byte by byte around the small frames, the giant at once
				for len(rest) > len(giant) {
					if _, err := server.Write(rest[:size]); err != nil {
						done <- err
						return
					}
					rest = rest[size:]
				}
			}
			for len(rest) > 0 {
				n := min(max(size, 4096), len(rest))
				if _, err := server.Write(rest[:n]); err != nil {
					done <- err
					return
				}
				rest = rest[n:]
			}
			done <- nil
		}()
		for i, want := range []struct {
			data string
			end  core.LSN
		}{{"one", 1}, {"", 2}, {string(giant), 3}, {"four", 4}} {
			f, err := next(t, c)
			if err != nil {
				t.Fatal(err)
			}
			if string(f.Data) != want.data || f.End != want.end || f.Reply != (i == 1) {
				t.Fatalf("pieces of %d: frame %d: %d bytes, end %s, reply %v", size, i, len(f.Data), f.End, f.Reply)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// Many small messages turn gathering on; a pause turns it off and delivers
// what is there, within its bound.
func TestGatheringKeepsLatencyBounded(t *testing.T) {
	t.Parallel()
	c, server := pipe(t)
	if c.pace.raw == nil {
		t.Log("no gathering on this system")
		return
	}
	if err := setReceiveLow(c.pace.raw, bulkBytes); err != nil {
		t.Fatal(err)
	}
	c.pace.bulk = true
	if _, err := server.Write(data(1, "lonely")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f, err := next(t, c)
	if err != nil || string(f.Data) != "lonely" {
		t.Fatalf("%q, %v", f.Data, err)
	}
	if d := time.Since(began); d > 500*time.Millisecond {
		t.Errorf("a lonely frame took %s", d)
	}
	for range 3 { // quiet: gathering ends
		if err := c.Fill(5 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if c.pace.bulk {
		t.Error("still gathering though nothing comes")
	}
}

func TestFillWaitsNoLongerThanTold(t *testing.T) {
	t.Parallel()
	c, _ := pipe(t)
	if err := c.Fill(time.Millisecond); err != nil {
		t.Errorf("nothing came: %v", err)
	}
	c.Interrupt()
	began := time.Now()
	if err := c.Fill(time.Minute); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("interrupted after %s", d)
	}
}

// What is due at once is no reason to read nothing.
func TestFillWithNoTimeToWaitReads(t *testing.T) {
	t.Parallel()
	c, server := pipe(t)
	if _, err := server.Write(data(1, "there")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if err := c.Fill(0); err != nil {
			return err
		}
		f, ok, err := c.Next()
		if err == nil && (!ok || string(f.Data) != "there") {
			err = fmt.Errorf("frame %q", f.Data)
		}
		return err
	})
}

// Close returns when the server has freed the slot, even if what interrupts the stream
// comes late.
func TestInterruptLeavesCloseItsWait(t *testing.T) {
	t.Parallel()
	c, server := pipe(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Close(t.Context())
	}()
	if _, err := io.ReadFull(server, make([]byte, len("c\x00\x00\x00\x04X\x00\x00\x00\x04"))); err != nil {
		t.Fatal(err)
	}
	for range 50 { // one of them comes after the deadline of the wait was set
		c.Interrupt()
		time.Sleep(time.Millisecond)
	}
	select {
	case <-ended:
		t.Error("closed with the server still there")
	default:
	}
	_ = server.Close()
	<-ended
}

func logicalMessage(prefix string, size int) []byte {
	payload := append([]byte{'M', 1}, make([]byte, 8)...)
	payload = append(append(payload, prefix...), 0)
	payload = binary.BigEndian.AppendUint32(payload, uint32(size))
	return data(7, string(append(payload, make([]byte, size)...)))
}

// A giant that nobody wants is told of, needs no memory, and what is behind it comes
// whole, wherever the network cuts.
func TestForeignGiantsArePassedOver(t *testing.T) {
	for _, prefix := range []string{"other", "wanted but longer", strings.Repeat("p", 3<<20)} {
		for _, piece := range []int{5, peekBytes - 1, bufferSize - 3, 8 << 20} {
			c, server := pipe(t)
			c.prefixes = map[string]bool{"wanted": true}
			stream := slices.Concat(data(1, "before"), logicalMessage(prefix, 3<<20), keepalive(9, 0), logicalMessage("wanted", 2<<20), data(11, "after"))
			go func() {
				for first := stream[:min(piece, len(stream))]; len(stream) > 0; first = stream[:min(8<<20, len(stream))] {
					if _, err := server.Write(first); err != nil {
						return
					}
					stream = stream[len(first):]
				}
			}()
			var m pgoutput.Message
			if f, err := next(t, c); err != nil || string(f.Data) != "before" {
				t.Fatalf("%q, %v", f.Data, err)
			}
			f, err := next(t, c)
			if err != nil {
				t.Fatal(err)
			}
			if err := pgoutput.Decode(f.Data, &m); err != nil || f.End != 7 || !m.Logical.Transactional || len(m.Logical.Prefix)+len(m.Logical.Content) != 0 {
				t.Fatalf("end %d, prefix of %d bytes, content of %d: %v", f.End, len(m.Logical.Prefix), len(m.Logical.Content), err)
			}
			if f, err := next(t, c); err != nil || f.Data != nil || f.End != 9 {
				t.Fatalf("%+v, %v", f, err)
			}
			if len(c.buf) != bufferSize {
				t.Errorf("a buffer of %d bytes", len(c.buf))
			}
			if f, err = next(t, c); err != nil {
				t.Fatal(err)
			}
			if err := pgoutput.Decode(f.Data, &m); err != nil || string(m.Logical.Prefix) != "wanted" || len(m.Logical.Content) != 2<<20 {
				t.Fatalf("prefix %q, content of %d: %v", m.Logical.Prefix, len(m.Logical.Content), err)
			}
			if f, err := next(t, c); err != nil || string(f.Data) != "after" {
				t.Fatalf("%q, %v", f.Data, err)
			}
		}
	}
}

func TestEndsAreErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream []byte
		is     func(error) bool
	}{
		"copy done":    {message('c', ""), func(err error) bool { return errors.Is(err, ErrStreamEnded) }},
		"closed":       {nil, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"cut in frame": {data(1, "one")[:20], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"unknown":      {message('?', ""), func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"short data":   {message('d', "w123"), func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"empty frame":  {message('d', ""), func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"length 0":     {[]byte{'d', 0, 0, 0, 0}, func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"length 4 GiB": {[]byte{'d', 255, 255, 255, 255}, func(err error) bool { return errors.Is(err, ErrMalformed) }},
		"server's error": {message('E', "SFATAL\x00C57P01\x00Mbye\x00\x00"), func(err error) bool {
			var pg *pgconn.PgError
			return errors.As(err, &pg) && pg.Code == "57P01"
		}},
	} {
		conn, server := pipe(t)
		if _, err := server.Write(c.stream); err != nil {
			t.Fatal(err)
		}
		server.Close()
		if _, err := next(t, conn); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A flush of 0 would be taken for the write position.
func TestStatusRefusesZero(t *testing.T) {
	t.Parallel()
	c, server := pipe(t)
	if err := c.Status(0, time.Now(), false); err == nil {
		t.Fatal("a flush of 0 went out")
	}
	if err := c.Status(0x1234, time.Unix(946684800, 5000), true); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 39)
	if _, err := io.ReadFull(server, b); err != nil {
		t.Fatal(err)
	}
	if b[0] != 'd' || binary.BigEndian.Uint32(b[1:]) != 38 || b[5] != 'r' || b[38] != 1 || binary.BigEndian.Uint64(b[30:]) != 5 {
		t.Errorf("% x", b)
	}
	for _, at := range []int{6, 14, 22} {
		if got := binary.BigEndian.Uint64(b[at:]); got != 0x1234 {
			t.Errorf("position at %d is %#x", at, got)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	const file = "# made by hand\n\n1\t0/5000028\tno recovery target specified\n2\t0/7000000\tafter\n"
	left, err := parseHistory(file)
	if want := map[int32]core.LSN{1: 0x5000028, 2: 0x7000000}; err != nil || !maps.Equal(left, want) {
		t.Errorf("%v, %v", left, err)
	}
	for _, bad := range []string{"1\n", "one\t0/5000028\n", "1\tfar\n", "99999999999\t0/1\n"} {
		if left, err := parseHistory(bad); err == nil {
			t.Errorf("%q is %v", bad, left)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add(append(data(1, "one"), keepalive(2, 1)...))
	f.Add(message('E', "C57P01\x00\x00"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := &Conn{buf: append([]byte(nil), stream...), w: len(stream)}
		for {
			_, ok, err := c.Next()
			if err != nil || !ok {
				return
			}
		}
	})
}

// A Start that failed leaves no buffer. Close must not turn in circles then.
func TestCloseAfterFailedStart(t *testing.T) {
	t.Parallel()
	c, server := pipe(t)
	c.buf = nil
	closed := make(chan error, 1)
	go func() { closed <- c.Close(t.Context()) }()
	goodbye := make([]byte, 10)
	if _, err := io.ReadFull(server, goodbye); err != nil {
		t.Fatal(err)
	}
	server.Close()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		c.conn.Close() // or it spins on
		t.Fatal("Close does not return")
	}
}
