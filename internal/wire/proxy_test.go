package wire_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	moment   = 100 * time.Millisecond // in which nothing must happen
)

// server runs serve for each connection until the test ends.
func server(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

func proxy(t *testing.T, cfg wire.Config) *wire.Proxy {
	t.Helper()
	p, err := wire.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *wire.Proxy) *net.TCPConn {
	t.Helper()
	conn, err := (&net.Dialer{KeepAlive: -1, Timeout: patience}).DialContext(t.Context(), "tcp4", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// say writes a text and returns how long its echo took.
func say(t *testing.T, conn net.Conn, text string) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := listen(t, conn, len(text), patience); got != text {
		t.Fatalf("heard %q, want %q", got, text)
	}
	return time.Since(began)
}

// listen reads n bytes, or what has come when the time is over.
func listen(t *testing.T, conn net.Conn, n int, limit time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, n)
	got, err := io.ReadFull(conn, buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(buf[:got])
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPasses(t *testing.T) {
	t.Parallel()
	p := proxy(t, wire.Config{Target: server(t, echo)})
	conn := dial(t, p)
	say(t, conn, "hello")
	if c := p.Counts(); c != (wire.Counts{Links: 1}) {
		t.Errorf("counts %+v", c)
	}
	check(t, conn.CloseWrite())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	p := proxy(t, wire.Config{Target: server(t, echo)})
	conn := dial(t, p)
	check(t, p.Delay(moment))
	if took := say(t, conn, "hello"); took < 2*moment {
		t.Errorf("there and back in %s, want %s at least", took, 2*moment)
	}
	if n := p.Counts().Delayed; n < 2 {
		t.Errorf("%d pieces delayed", n)
	}
	check(t, p.Heal())
	if took := say(t, conn, "hello"); took >= 2*moment {
		t.Errorf("%s after the healing", took)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	p := proxy(t, wire.Config{Target: server(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })})
	conn := dial(t, p)
	check(t, p.Rate(256<<10))
	// 64 KiB are a quarter of a second, and the end of the link comes behind them.
	began := time.Now()
	if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	check(t, conn.CloseWrite())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("64 KiB at 256 KiB/s took %s", took)
	}
	if n := p.Counts().Paced; n == 0 {
		t.Error("no piece waited")
	}
}

// deafened fails for an error, but for that of a machine where only root may make a socket
// deaf: there is no such fault for a plain user then.
func deafened(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	check(t, err)
}

func TestOneWay(t *testing.T) {
	t.Parallel()
	for lost, name := range map[wire.Direction]string{wire.Up: "up", wire.Down: "down"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan string, 1)
			p := proxy(t, wire.Config{Target: server(t, func(conn net.Conn) {
				buf := make([]byte, 5)
				_, _ = io.ReadFull(conn, buf) // the connection is made
				_, _ = conn.Write(buf)
				for text := range heard {
					_, _ = conn.Write([]byte(text))
				}
			})})
			t.Cleanup(func() { close(heard) })
			conn := dial(t, p)
			say(t, conn, "ready")
			deafened(t, p.OneWay(lost))
			heard <- "from the server"
			got := listen(t, conn, len("from the server"), moment)
			if want := map[wire.Direction]string{wire.Up: "from the server", wire.Down: ""}[lost]; got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
			if lost == wire.Up {
				if _, err := conn.Write([]byte("lost")); err != nil {
					t.Fatal(err)
				}
			}
			testkit.Eventually(t, patience, func() error {
				if c := p.Counts(); c.Dropped+c.Held == 0 {
					return fmt.Errorf("nothing was lost: %+v", c)
				}
				return nil
			})
			check(t, p.Heal())
			if lost == wire.Down {
				if got := listen(t, conn, len("from the server"), patience); got != "from the server" {
					t.Errorf("after the healing: %q", got)
				}
			}
		})
	}
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	p := proxy(t, wire.Config{Target: server(t, echo)})
	conn := dial(t, p)
	say(t, conn, "hello")
	deafened(t, p.BlackHole())
	if _, err := conn.Write([]byte("anybody")); err != nil {
		t.Fatal(err)
	}
	if got := listen(t, conn, 1, moment); got != "" {
		t.Errorf("heard %q from within", got)
	}
	if runtime.GOOS == "linux" {
		d := net.Dialer{Timeout: moment}
		if other, err := d.DialContext(t.Context(), "tcp4", p.Addr()); err == nil {
			other.Close()
			t.Error("a new connection was answered")
		}
		if c := p.Counts(); c.Dropped < 2 {
			t.Errorf("%d packets dropped, want those of two connections", c.Dropped)
		}
	}
	check(t, p.Heal())
	if got := listen(t, conn, len("anybody"), patience); got != "anybody" {
		t.Errorf("after the healing: %q", got)
	}
	say(t, dial(t, p), "hello")
}

// The kernel of a client that watches its peer tells it that there is none.
func TestBlackHoleIsFoundByTheClientsKernel(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // documented as Linux only
	}
	p := proxy(t, wire.Config{Target: server(t, echo)})
	conn := dial(t, p)
	say(t, conn, "hello")
	check(t, conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}))
	deafened(t, p.BlackHole())
	check(t, conn.SetReadDeadline(time.Now().Add(patience)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("read: %v, want ETIMEDOUT", err)
	}
}

func TestHalfOpen(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	p := proxy(t, wire.Config{Target: server(t, func(conn net.Conn) {
		echo(conn)
		ended <- struct{}{}
	})})
	conn := dial(t, p)
	say(t, conn, "hello")
	n, err := p.HalfOpen()
	deafened(t, err)
	if n != 1 {
		t.Fatalf("%d links", n)
	}
	<-ended // for the server it is over
	if _, err := conn.Write([]byte("anybody")); err != nil {
		t.Fatal(err)
	}
	if got := listen(t, conn, 1, moment); got != "" {
		t.Errorf("heard %q", got)
	}
	other := dial(t, p)
	say(t, other, "hello")
	check(t, p.Heal())
	check(t, conn.SetReadDeadline(time.Now().Add(patience)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the healing: %v, want a reset", err)
	}
	say(t, other, "hello")
	check(t, other.Close())
	<-ended
}

func TestReset(t *testing.T) {
	t.Parallel()
	p := proxy(t, wire.Config{Target: server(t, echo)})
	conn := dial(t, p)
	say(t, conn, "hello")
	if n := p.Reset(); n != 1 {
		t.Errorf("%d links reset, want 1", n)
	}
	check(t, conn.SetReadDeadline(time.Now().Add(patience)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
	say(t, dial(t, p), "hello")
}

// request is a frame as Kafka has them: length, kind, version, number.
func request(kind int16, number int32) []byte {
	b := binary.BigEndian.AppendUint32(nil, 9)
	b = binary.BigEndian.AppendUint16(b, uint16(kind))
	b = binary.BigEndian.AppendUint16(b, 9)
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	return append(b, 'x')
}

func TestCutAnswers(t *testing.T) {
	t.Parallel()
	carried := make(chan int32, 10)
	p := proxy(t, wire.Config{Kafka: true, Target: server(t, func(conn net.Conn) {
		frame := make([]byte, 13)
		for {
			if _, err := io.ReadFull(conn, frame); err != nil {
				return
			}
			carried <- int32(binary.BigEndian.Uint32(frame[8:]))
			_, _ = conn.Write(append([]byte{0, 0, 0, 4}, frame[8:12]...))
		}
	})})
	conn := dial(t, p)
	ask := func(kind int16, number int32) error {
		t.Helper()
		// In two pieces: a frame is not a packet.
		b := request(kind, number)
		for _, piece := range [][]byte{b[:5], b[5:]} {
			if _, err := conn.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		check(t, conn.SetReadDeadline(time.Now().Add(patience)))
		answer := make([]byte, 8)
		_, err := io.ReadFull(conn, answer)
		if got := <-carried; got != number {
			t.Errorf("the server was asked number %d, want %d", got, number)
		}
		if err == nil && int32(binary.BigEndian.Uint32(answer[4:])) != number {
			t.Errorf("answer %v to number %d", answer, number)
		}
		return err
	}
	check(t, ask(0, 1))
	p.CutAnswers(1)
	check(t, ask(3, 2)) // no produce request
	if err := ask(0, 3); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the answer to be cut: %v, want a reset", err)
	}
	if c := p.Counts(); c.Cut != 1 {
		t.Errorf("%d answers cut, want 1", c.Cut)
	}
	conn = dial(t, p)
	check(t, ask(0, 4))
}

func TestServerThatIsAwayIsAReset(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := l.Addr().String()
	l.Close()
	p := proxy(t, wire.Config{Target: away})
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp4", p.Addr())
	if err == nil { // else the reset was there before the call had returned
		defer conn.Close()
		check(t, conn.SetReadDeadline(time.Now().Add(patience)))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
	if c := p.Counts(); c.Unreached != 1 {
		t.Errorf("%d links found no server, want 1", c.Unreached)
	}
	p.SetTarget(server(t, echo))
	say(t, dial(t, p), "hello")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	p := proxy(t, wire.Config{Target: server(t, echo), TLS: authority.Server(false)})
	text, err := os.ReadFile(authority.CA)
	check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for name, c := range map[string]struct {
		cfg     *tls.Config
		refused int
	}{
		"trusted":  {&tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, 0},
		"stranger": {&tls.Config{ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, 1},
	} {
		before := p.Counts().Refused
		conn := tls.Client(dial(t, p), c.cfg)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := conn.HandshakeContext(ctx)
		cancel()
		if c.refused == 0 {
			check(t, err)
			say(t, conn, "hello")
			continue
		}
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		}
		testkit.Eventually(t, patience, func() error {
			if n := p.Counts().Refused - before; n != 1 {
				return fmt.Errorf("%d links refused", n)
			}
			return nil
		})
	}
}
