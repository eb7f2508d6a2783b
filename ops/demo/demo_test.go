package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/demo"
	"github.com/gapless/gapless/ops/load"
	"github.com/gapless/gapless/ops/pipeline"
)

const patience = 90 * time.Second

func TestExitTellsEveryEndAndLeavesNothing(t *testing.T) {
	t.Parallel()
	var out screen
	c := config(t, &out)
	c.Orders, c.Exit = 60, true
	report, err := demo.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Verify == nil {
		t.Errorf("report is not OK:\n%s", out.text())
	}
	ends := map[string]bool{}
	for _, s := range load.Mix() {
		if len(s.Ends) == 1 { // else a race decides
			ends[s.Ends[0]] = true
		}
	}
	for end := range ends {
		if report.Load.Ends[end] == 0 {
			t.Errorf("no order ended %s; ends %v", end, report.Load.Ends)
		}
		if !strings.Contains(out.text(), end) {
			t.Errorf("%s is not printed", end)
		}
	}
	for i := range report.Verify.Invariants {
		if v := &report.Verify.Invariants[i]; v.Judged == 0 {
			t.Errorf("invariant %d %s: nothing judged", v.Number, v.Name)
		}
	}
	addresses := []string{out.find(t, apiAddress), out.find(t, opsAddress), out.find(t, postgresAddress), out.find(t, kafkaAddress)}
	for _, address := range addresses {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s still takes connections", address)
		}
	}
}

func TestDataDirGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// As root, Postgres runs as somebody else, who has to get in.
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // holds orders of a sandbox
			t.Fatal(err)
		}
	}
	var rows int64
	for round := range 2 {
		var out screen
		c := config(t, &out)
		c.Orders, c.Exit, c.DataDir = 12, true, dir
		report, err := demo.Run(t.Context(), c)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if !report.OK() {
			t.Errorf("round %d: report is not OK:\n%s", round, out.text())
		}
		if report.Verify.Cut.Rows <= rows {
			t.Errorf("round %d: %d rows after %d", round, report.Verify.Cut.Rows, rows)
		}
		rows = report.Verify.Cut.Rows
	}
}

func TestWithoutIsCheckedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]demo.Config{
		"unknown":   {Without: []string{"nobody"}},
		"with exit": {Without: []string{"relay"}, Exit: true},
	} {
		var out screen
		c.Out = &out
		if _, err := demo.Run(t.Context(), c); err == nil || out.text() != "" {
			t.Errorf("%s: error %v, printed %q", name, err, out.text())
		}
	}
}

// A port that is taken is found before anything is started, and no address is
// printed that is somebody else's.
func TestTakenPortsAreFoundFirst(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for name, change := range map[string]func(*demo.Config){
		"api":       func(c *demo.Config) { c.Listen = address },
		"operators": func(c *demo.Config) { c.OpsListen = address },
	} {
		var out screen
		c := config(t, &out)
		c.DataDir = filepath.Join(t.TempDir(), "data")
		change(&c)
		_, err := demo.Run(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), address) || out.text() != "" {
			t.Errorf("%s: error %v, printed %q", name, err, out.text())
		}
		if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
			t.Errorf("%s: servers were started: %v", name, err)
		}
	}
}

// Everything that can be left out at once: what is left is the API, and it
// takes orders.
func TestWithoutLeavesOut(t *testing.T) {
	t.Parallel()
	var out screen
	c := config(t, &out)
	c.Orders, c.Without = 5, append([]string{"relay"}, pipeline.Names()...)
	d := start(t, c, &out)
	d.placed(t)
	pool := d.readonly(t)
	var orders, pending, claims int
	err := pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE status = 'pending'), (SELECT count(*) FROM gapless.inbox)
		FROM checkout.orders`).Scan(&orders, &pending, &claims)
	if err != nil {
		t.Fatal(err)
	}
	if orders != 5 || pending != 5 || claims != 0 {
		t.Errorf("%d orders, %d pending, %d claims", orders, pending, claims)
	}
	if report := d.end(t); report.Verify != nil {
		t.Error("the invariants were judged")
	}
}

// The demo comes up although the API's address is somebody else's: nothing of it asked
// for that.
func TestEachNameCanBeLeftOut(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var out screen
	c := config(t, &out)
	c.Without, c.Listen = []string{"api"}, taken.Addr().String()
	d := start(t, c, &out)
	d.up(t)
	d.end(t)
}

// config is a demo on ports that nobody else has.
func config(t *testing.T, out *screen) demo.Config {
	t.Helper()
	return demo.Config{Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", Out: out}
}

var (
	apiAddress      = regexp.MustCompile(`api       http://([^/]+)/`)
	opsAddress      = regexp.MustCompile(`health    http://([^/]+)/`)
	postgresAddress = regexp.MustCompile(`postgres  psql 'postgres://[^@]+@([^/]+)/`)
	postgresURL     = regexp.MustCompile(`postgres  psql '([^']+)'`)
	kafkaAddress    = regexp.MustCompile(`kafka     (\S+)`)
)

// running is a demo that goes on until it is ended.
type running struct {
	out    *screen
	cancel context.CancelFunc
	done   chan struct{}
	report *demo.Report
	err    error
}

func start(t *testing.T, c demo.Config, out *screen) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &running{out: out, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.report, d.err = demo.Run(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		<-d.done
	})
	return d
}

// up waits until the demo's addresses are told.
func (d *running) up(t *testing.T) { d.told(t, "up in ") }

// placed waits until the orders are placed, and have ended where they can.
func (d *running) placed(t *testing.T) { d.told(t, "press Ctrl-C to end") }

func (d *running) told(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		select {
		case <-d.done:
			t.Fatalf("the demo ended: %v\n%s", d.err, d.out.text())
		default:
		}
		if !strings.Contains(d.out.text(), text) {
			return fmt.Errorf("has not said %q", text)
		}
		return nil
	})
}

// readonly is the demo's own login for people.
func (d *running) readonly(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), d.out.find(t, postgresURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (d *running) end(t *testing.T) *demo.Report {
	t.Helper()
	d.cancel()
	<-d.done
	if d.err != nil {
		t.Fatalf("the demo ended: %v", d.err)
	}
	return d.report
}

// screen is where a demo prints.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *screen) find(t *testing.T, re *regexp.Regexp) string {
	t.Helper()
	m := re.FindStringSubmatch(s.text())
	if m == nil {
		t.Fatalf("%s is not in\n%s", re, s.text())
	}
	return m[1]
}
