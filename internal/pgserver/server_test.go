//go:build unix

package pgserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/internal/testkit"
)

// orphanVariable makes this test binary the parent that is killed, see
// TestServerDiesWithItsParent.
const orphanVariable = "GAPLESS_PGSERVER_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		os.Exit(orphanParent())
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func query[T any](t *testing.T, url, statement string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var v T
	if err := conn.QueryRow(t.Context(), statement, args...).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// backends lists the server's processes, the postmaster included.
func backends(t *testing.T, s *pgserver.Server) []int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{s.Pid()}
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err != nil {
			t.Fatalf("parse %q: %v", line, err)
		}
		if parent == s.Pid() {
			pids = append(pids, pid)
		}
	}
	if len(pids) < 3 {
		t.Fatalf("found %d processes of a running server", len(pids))
	}
	return pids
}

func checkGone(t *testing.T, s *pgserver.Server, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if process.Alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())))
	if err != nil {
		t.Errorf("port is left: %v", err)
		return
	}
	l.Close()
}

// Copies of one cluster are told apart, and recover from a crash like any other.
func TestCopiesHaveIdentifiersOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 3 { // the first may be the one that is made
		s := start(t, pgserver.Config{FromStock: true})
		id := query[string](t, s.SuperuserURL(), "SELECT system_identifier::text FROM pg_control_system()")
		if seen[id] {
			t.Errorf("identifier %s twice", id)
		}
		seen[id] = true
		n := query[int](t, s.SuperuserURL(), "WITH made AS (SELECT pg_create_logical_replication_slot('s', 'pgoutput')) SELECT count(*)::int FROM made")
		if err := s.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := query[int](t, s.SuperuserURL(), "SELECT count(*)::int FROM pg_replication_slots"); got != n {
			t.Errorf("%d slots after the crash, want %d", got, n)
		}
		if got := query[string](t, s.SuperuserURL(), "SELECT system_identifier::text FROM pg_control_system()"); got != id {
			t.Errorf("identifier %s after the crash, was %s", got, id)
		}
	}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{})
	if got := query[string](t, s.SuperuserURL(), "show wal_level"); got != "logical" {
		t.Errorf("wal_level %s, want logical", got)
	}
	pids, run := backends(t, s), filepath.Dir(s.LogFile())
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s, pids)
	if _, err := os.Stat(run); !os.IsNotExist(err) {
		t.Errorf("run directory is left: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("a server that was removed restarted")
	}
}

func TestStopDoesNotWaitForAnOpenTransaction(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{})
	conn, err := pgx.Connect(t.Context(), s.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "begin; create table held (n int)"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("took %s, which is the patience for a fast shutdown", took)
	}
}

func TestPausedServerIsStopped(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{})
	pids := backends(t, s)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s, pids)
}

func TestKillTakesBackendsAlongAndRestartRecovers(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{Durable: true})
	query[int](t, s.SuperuserURL(), "with t as (select 1 as n) select n from t")
	conn, err := pgx.Connect(t.Context(), s.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "create table kept as select 41 + 1 as n"); err != nil {
		t.Fatal(err)
	}
	pids, done, port := backends(t, s), s.Done(), s.Port()
	if err := s.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	checkGone(t, s, pids)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Port() != port {
		t.Errorf("port %d after the restart, was %d", s.Port(), port)
	}
	if got := query[int](t, s.SuperuserURL(), "select n from kept"); got != 42 {
		t.Errorf("read %d, want 42", got)
	}
	if got := query[string](t, s.SuperuserURL(), "show fsync"); got != "on" {
		t.Errorf("fsync %s on a durable server", got)
	}
}

func TestTwoServersAtOnce(t *testing.T) {
	t.Parallel()
	a, b := start(t, pgserver.Config{}), start(t, pgserver.Config{})
	if a.Port() == b.Port() {
		t.Fatalf("both listen on %d", a.Port())
	}
	if query[string](t, a.SuperuserURL(), "show data_directory") == query[string](t, b.SuperuserURL(), "show data_directory") {
		t.Error("both have one data directory")
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{})
	for _, url := range []string{
		s.UserURL("postgres", "wrong", "postgres"),
		strings.Replace(s.SocketURL("postgres"), "password=", "password=x", 1),
	} {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			conn.Close(t.Context())
			t.Error("logged in with a wrong password")
		} else if !strings.Contains(err.Error(), "28P01") {
			t.Errorf("%v, want invalid_password", err)
		}
	}
	if got := query[int](t, s.SocketURL("postgres"), "select 1"); got != 1 {
		t.Errorf("over the socket: %d", got)
	}
}

func TestDataDirStaysAndIsUsedAgain(t *testing.T) {
	t.Parallel()
	data := filepath.Join(reachableDir(t), "data")
	first, err := pgserver.Start(t.Context(), pgserver.Config{DataDir: data, Settings: map[string]string{"work_mem": "5MB"}})
	if err != nil {
		t.Fatal(err)
	}
	query[string](t, first.SuperuserURL(), "select 'x' from pg_create_physical_replication_slot('kept')")

	_, err = pgserver.Start(t.Context(), pgserver.Config{DataDir: data})
	if err == nil || !strings.Contains(err.Error(), "postmaster.pid") {
		t.Errorf("second server on one data directory: %v, want the log's words about postmaster.pid", err)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := start(t, pgserver.Config{DataDir: data, Settings: map[string]string{"work_mem": "6MB", "application_name": `a'b\c`}})
	if got := query[int](t, second.SuperuserURL(), "select count(*) from pg_replication_slots"); got != 1 {
		t.Errorf("%d slots, want the one made before", got)
	}
	if got := query[string](t, second.SuperuserURL(), "show work_mem"); got != "6MB" {
		t.Errorf("work_mem %s, want that of the second start", got)
	}
	if got := query[string](t, second.SuperuserURL(), "select reset_val from pg_settings where name = 'application_name'"); got != `a'b\c` {
		t.Errorf("application_name %s was not quoted", got)
	}
}

func TestForeignDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := reachableDir(t)
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pgserver.Start(t.Context(), pgserver.Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "holds no cluster") {
		t.Errorf("Start: %v, want a refusal", err)
	}
}

func TestStartErrorHoldsTheServersWords(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"wal_level": "sideways"}})
	if err == nil || !strings.Contains(err.Error(), `"wal_level": "sideways"`) {
		t.Errorf("Start: %v", err)
	}
}

func TestConfigFaultsAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{
		Durable:   true,
		StopGrace: -1,
		Settings:  map[string]string{"Port": "1", "a b": "", "work_mem": "1\ninclude = 'x'"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Port is decided", `"a b"`, "work_mem holds", "StopGrace"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	temp := reachableDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := pgserver.Start(ctx, pgserver.Config{TempDir: temp}); !errors.Is(err, context.DeadlineExceeded) {
		if err == nil {
			_ = s.Stop(context.Background())
		}
		t.Fatalf("Start: %v, want the deadline", err)
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("%s is left", entries[0].Name())
	}
}

func TestCancelledInitLeavesTheDataDirUsable(t *testing.T) {
	t.Parallel()
	data := filepath.Join(reachableDir(t), "data")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s, err := pgserver.Start(ctx, pgserver.Config{DataDir: data}); err == nil {
		_ = s.Stop(context.Background())
		t.Fatal("initialised within 100 ms: the fault did not fire")
	}
	s := start(t, pgserver.Config{DataDir: data})
	if got := query[int](t, s.SuperuserURL(), "select 1"); got != 1 {
		t.Errorf("read %d", got)
	}
}

func TestFetchedBinaries(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{BinDir: pgserver.Embedded})
	if got := query[int](t, s.SuperuserURL(), "select current_setting('server_version_num')::int / 10000"); got != 18 || s.Major() != 18 {
		t.Errorf("major %d (%d), want 18", got, s.Major())
	}
}

// TestServerDiesWithItsParent kills a parent with SIGKILL and watches its server.
func TestServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), orphanVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var run string
	_, scanErr := fmt.Fscan(out, &pid, &run)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	testkit.Eventually(t, 10*time.Second, func() error {
		if process.Alive(pid) {
			return fmt.Errorf("postmaster %d still runs", pid)
		}
		return nil
	})

	// The next start by the same account removes what it left, once it is old
	// enough not to be a directory in the making.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(run, old, old); err != nil {
		t.Fatal(err)
	}
	start(t, pgserver.Config{TempDir: filepath.Dir(run)})
	if _, err := os.Stat(run); !os.IsNotExist(err) {
		t.Errorf("run directory of a killed process is left: %v", err)
	}
}

func orphanParent() int {
	s, err := pgserver.Start(context.Background(), pgserver.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.Pid(), filepath.Dir(s.LogFile()))
	select {}
}

// reachableDir is t.TempDir for a server that may run as another account: the
// modes of t.TempDir, and perhaps of TMPDIR, keep that out.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the point of it
		t.Fatal(err)
	}
	return dir
}

func Example() {
	ctx := context.Background()
	s, err := pgserver.Start(ctx, pgserver.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Stop(ctx) }()
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(ctx)
	var level string
	if err := conn.QueryRow(ctx, "show wal_level").Scan(&level); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(level)
	// Output: logical
}
