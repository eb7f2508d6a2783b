//go:build unix

package cli_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrecedence reads the slot's name off 'migrate print', which needs no
// server.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := write(t, "gapless.yaml", "version: 1\nrelays: [{slot: by_file}]\n")
	secret := write(t, "slot", "by_secret\n")
	for _, c := range []struct {
		name, want string
		env        map[string]string
		args       []string
	}{
		{"default", "gapless", nil, nil},
		{"file", "by_file", nil, []string{"--config", file}},
		{"file by =", "by_file", nil, []string{"--config=" + file}},
		{"file by environment", "by_file", map[string]string{"GAPLESS_CONFIG": file}, nil},
		{"environment over file", "by_env", map[string]string{"GAPLESS_SLOT": "by_env"}, []string{"--config", file}},
		{"secret over file", "by_secret", map[string]string{"GAPLESS_SLOT_FILE": secret}, []string{"--config", file}},
		{"environment over its secret", "by_env", map[string]string{"GAPLESS_SLOT": "by_env", "GAPLESS_SLOT_FILE": secret}, nil},
		{"flag over all", "by_flag", map[string]string{"GAPLESS_SLOT": "by_env", "GAPLESS_SLOT_FILE": secret}, []string{"--config", file, "--slot", "by_flag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, c.env, append([]string{"migrate", "print"}, c.args...)...).succeeds(t)
			if !strings.Contains(r.stdout, "pg_create_logical_replication_slot('"+c.want+"'") {
				i := max(0, strings.Index(r.stdout, "pg_create_logical"))
				t.Errorf("slot is not %s: …%.120s", c.want, r.stdout[i:])
			}
		})
	}
}

func TestDatabaseURLComesFromEverywhere(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	bad := "postgres://nobody@127.0.0.1:1/x"
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"flag":               {map[string]string{"GAPLESS_DATABASE_URL": bad, "DATABASE_URL": bad}, []string{"--database-url", db.URL}},
		"our variable":       {map[string]string{"GAPLESS_DATABASE_URL": db.URL, "DATABASE_URL": bad}, nil},
		"ecosystem variable": {map[string]string{"DATABASE_URL": db.URL}, nil},
		"secret":             {map[string]string{"GAPLESS_DATABASE_URL_FILE": write(t, "url", db.URL+"\n")}, nil},
		"ecosystem secret":   {map[string]string{"DATABASE_URL_FILE": write(t, "url", db.URL)}, nil},
		"file":               {nil, []string{"--config", write(t, "g.yaml", "version: 1\nrelays: [{database_url: '"+db.URL+"'}]\n")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, c.env, append([]string{"migrate", "status"}, c.args...)...).succeeds(t)
			if !strings.Contains(r.stdout, "00001") || strings.Contains(r.stdout, " no\n") {
				t.Errorf("stdout: %s", r.stdout)
			}
		})
	}
}

// TestDemoTakesServersFromItsCommandLineAlone: it would write roles and orders
// into whatever DATABASE_URL names.
func TestDemoTakesServersFromItsCommandLineAlone(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/production", "GAPLESS_LISTEN": "0.0.0.0:8080"}
	// The address comes from the environment, and is found to be wrong first.
	run(t, env, "demo").failsWith(t, cli.ExitUsage, "0.0.0.0:8080")
	flagged := run(t, nil, "demo", "--database-url", "postgres://u@127.0.0.1:1/x", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	flagged.failsWith(t, cli.ExitFailed, "connection refused")
	values, err := cli.Values([]string{"demo"}, func(name string) string { return env[name] })
	if err != nil || values["database-url"] != "" || values["listen"] != "0.0.0.0:8080" {
		t.Errorf("demo takes %v, %v", values, err)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("nobody", "verysecret")
	r := run(t, map[string]string{"GAPLESS_DATABASE_URL_FILE": write(t, "url", u.String())}, "migrate", "up", "--log-level=debug")
	if r.code != cli.ExitFailed || strings.Contains(r.stdout+r.stderr, "verysecret") {
		t.Errorf("code %d, stderr: %s", r.code, r.stderr)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	root := run(t, nil, "--help").succeeds(t)
	commands := 0
	for line := range strings.Lines(root.stdout[strings.Index(root.stdout, "Commands:"):]) {
		name, help, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") {
			continue
		}
		commands++
		if !strings.HasPrefix(line, "  "+name) || strings.TrimSpace(help) == "" {
			t.Errorf("%s has no help", name)
		}
		r := run(t, nil, name, "--help").succeeds(t)
		if r.stderr != "" || !strings.HasPrefix(r.stdout, "Usage: gapless "+name) {
			t.Errorf("help of %s: %s %s", name, r.stdout, r.stderr)
		}
	}
	if commands < 11 {
		t.Errorf("%d commands in: %s", commands, root.stdout)
	}
	for _, leaf := range []string{"relay run", "consume run", "topics apply", "migrate up", "trace"} {
		r := run(t, nil, append(strings.Fields(leaf), "--help")...).succeeds(t)
		if !strings.Contains(r.stdout, "$GAPLESS_DATABASE_URL") && leaf != "topics apply" {
			t.Errorf("help of %s names no variable: %s", leaf, r.stdout)
		}
	}
	for command, flags := range map[string][]string{"relay": {"--slot", "--brokers", "--create-topics"}, "consume": {"--instance", "--smtp", "[<names> ...]"}} {
		r := run(t, nil, command, "--help").succeeds(t)
		for _, want := range append(flags, "gapless "+command+" run", "status") {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("help of %s does not show %s: %s", command, want, r.stdout)
			}
		}
	}
	r := run(t, nil, "version").succeeds(t)
	if !strings.HasPrefix(r.stdout, "gapless test (go1.") {
		t.Errorf("version: %s", r.stdout)
	}
	for _, args := range [][]string{{"--version"}, {"relay", "--version"}} {
		if flag := run(t, nil, args...).succeeds(t); flag.stdout != r.stdout || flag.stderr != "" {
			t.Errorf("%v: %s%s", args, flag.stdout, flag.stderr)
		}
	}
	// A variable is no question.
	if other := run(t, map[string]string{"GAPLESS_VERSION": "true"}, "saga", "graph").succeeds(t); strings.Contains(other.stdout, "gapless test") {
		t.Errorf("a variable printed the version: %s", other.stdout)
	}
}
