//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

// refused is an address where nobody listens.
const refused = "127.0.0.1:1"

func TestCommandLineFaults(t *testing.T) {
	t.Parallel()
	const db = "--database-url=postgres://127.0.0.1:1/x"
	for _, c := range []struct {
		args  string
		texts []string
	}{
		{"frobnicate", []string{"gapless has no command frobnicate"}},
		{"relya", []string{`gapless has no command relya, did you mean "relay"?`}},
		{"relay frobnicate", []string{"gapless relay has no command frobnicate"}},
		{"relay run frobnicate", []string{"unexpected argument frobnicate"}},
		{"version now", []string{"unexpected argument now"}},
		{"relay --nope", []string{"--nope"}},
		{"api --auth=jwt", []string{"--auth", "jwt"}},
		{"api --max-concurrent=many", []string{"--max-concurrent"}},
		{"version --log-level=loud", []string{"--log-level", "loud"}},
		{"migrate up", []string{"--database-url is not set", "GAPLESS_DATABASE_URL", "DATABASE_URL"}},
		{"migrate status --database-url=postgres://u:verysecret@h:port/x", []string{"--database-url"}},
		{"api --database-url=postgres://u:verysecret@h:port/x", []string{"--database-url"}},
		{"relay --brokers=x:1", []string{"--database-url is not set"}},
		{"relay " + db, []string{"--brokers is not set", "KAFKA_BROKERS"}},
		{"relay " + db + " --brokers=kafka://x:1", []string{"--brokers", "scheme"}},
		{"consume " + db + " --brokers=x:y", []string{"--brokers", "x:y"}},
		{"consume " + db, []string{"--brokers is not set"}},
		{"consume " + db + " --brokers=x:1 paymnt", []string{`no consumer "paymnt"`, "payment"}},
		{"consume " + db + " --brokers=x:1 --smtp=ftp://u:verysecret@h", []string{"--smtp", "ftp"}},
		{"verify " + db, []string{"--brokers is not set"}},
		{"topics apply --brokers=x:1 --partitions=0", []string{"--partitions"}},
		{"topics apply --brokers=x:1 --topic=a/b", []string{"--topic", "a/b"}},
		{"topics apply --brokers=x:1 --no-pipeline", []string{"--topic", "--aggregate"}},
		{"schema check", []string{"--registry-url is not set", "--against"}},
		{"migrate down " + db, []string{"--yes"}},
		{"migrate up " + db + " --component=inbx", []string{"inbx", "inbox"}},
		{"keys create", []string{"<name>"}},
		{"catalog import " + db + " /does/not/exist.csv", []string{"/does/not/exist.csv"}},
		{"api " + db + " --listen=0.0.0.0:8080", []string{"--auth keys"}},
		{"demo --listen=0.0.0.0:8080", []string{"0.0.0.0:8080"}},
		{"demo --orders=-1", []string{"--orders"}},
		{"demo --without=nobody", []string{"nobody", "payment"}},
		{"trace", []string{"<id>"}},
		{"load --orders=0", []string{"--orders"}},
		{"load --api-url=127.0.0.1:8080", []string{"--api-url"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, strings.Fields(c.args)...)
			r.failsWith(t, cli.ExitUsage, c.texts...)
			if strings.Contains(r.stderr, "verysecret") {
				t.Errorf("a password is printed: %s", r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("stdout: %s", r.stdout)
			}
		})
	}
}

// TestFiltersTakeWhatThereCanBe: a mistyped word would find nothing, which looks
// like good news.
func TestFiltersTakeWhatThereCanBe(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	for filter, constraint := range map[string]string{
		"saga list --status": "saga_status_check", "inbox list --outcome": "inbox_outcome_check", "dead list --status": "dead_letter_status_check",
	} {
		var definition string
		err := db.Pool(t).QueryRow(t.Context(), "select pg_get_constraintdef(oid) from pg_constraint where conname = $1 and not coninhcount > 0", constraint).Scan(&definition)
		if err != nil {
			t.Fatal(err)
		}
		words := regexp.MustCompile(`'([a-z_]+)'`).FindAllStringSubmatch(definition, -1)
		if len(words) < 3 {
			t.Fatalf("%s: %s", constraint, definition)
		}
		r := run(t, nil, append(strings.Fields(filter), "nowhere", "--database-url", db.URL)...)
		r.failsWith(t, cli.ExitUsage, "nowhere")
		for _, word := range words {
			if !strings.Contains(r.complaint(), `"`+word[1]+`"`) {
				t.Errorf("%s: %s is not named in: %s", filter, word[1], r.complaint())
			}
			run(t, nil, append(strings.Fields(filter), word[1], "--database-url", db.URL)...).succeeds(t)
		}
	}
}

func TestConfigurationFileFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		texts []string
	}{
		"unknown key":        {"version: 1\nkafka: {broker: [x]}\n", []string{"broker"}},
		"no version":         {"kafka: {brokers: [x]}\n", []string{"version: 1"}},
		"newer version":      {"version: 2\n", []string{"version is 2"}},
		"not YAML":           {"version: [1\n", []string{"--config"}},
		"relay unnamed":      {"version: 1\nrelays: [{name: a}, {slot: b}]\n", []string{"relays[1].name", "missing"}},
		"relay named twice":  {"version: 1\nrelays: [{name: a}, {name: a}]\n", []string{"relays[1].name", `"a"`, "relays[0]"}},
		"messages and table": {"version: 1\nrelays: [{tables: [{table: a.b, messages: outbox, format: debezium}]}]\n", []string{"tables[0].messages", "no table"}},
		"messages of ours":   {"version: 1\nrelays: [{tables: [{messages: gapless.outbox, format: debezium}]}]\n", []string{"tables[0].messages", "format native"}},
		"messages' options":  {"version: 1\nrelays: [{tables: [{messages: gapless.outbox, format: native, null_fields: true}]}]\n", []string{"tables[0]", "no options"}},
		"messages twice":     {"version: 1\nrelays: [{tables: [{messages: x, format: debezium}, {messages: y, format: debezium}, {messages: y, format: debezium}]}]\n", []string{"tables[2].messages", "twice"}},
		"retention":          {"version: 1\nrelays: [{retention: soon}]\n", []string{"soon", "7d"}},
		"table unnamed":      {"version: 1\nrelays: [{tables: [{table: outbox, format: native}]}]\n", []string{"tables[0]", "schema.table"}},
		"format unknown":     {"version: 1\nrelays: [{tables: [{table: a.b, format: avro}]}]\n", []string{"tables[0]", "avro", "debezium"}},
		"table named twice":  {"version: 1\nrelays: [{tables: [{table: a.b, format: native}, {table: a.b, format: native}]}]\n", []string{"a.b", "twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "gapless.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, nil, "version", "--config", path).failsWith(t, cli.ExitUsage, append(c.texts, path)...)
		})
	}
	run(t, nil, "version", "--config", "/does/not/exist.yaml").failsWith(t, cli.ExitUsage, "/does/not/exist.yaml")
	run(t, map[string]string{"GAPLESS_DATABASE_URL_FILE": "/does/not/exist"}, "migrate", "up").
		failsWith(t, cli.ExitUsage, "GAPLESS_DATABASE_URL_FILE", "/does/not/exist")
}

func TestDatabaseFaults(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	empty := pgtest.NewEmptyDB(t)
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	wrong := changed(t, db.LoginURL(t, pgtest.App), func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "verysecret") })
	missing := changed(t, db.URL, func(u *url.URL) { u.Path = "/nowhere" })
	away := changed(t, db.URL, func(u *url.URL) { u.Host = refused })
	for _, command := range []string{"migrate up", "keys create k", "api", "consume", "relay", "verify", "trace 0198c0de-0000-7000-8000-000000000000"} {
		args := strings.Fields(command)
		switch args[0] {
		case "consume", "relay", "verify":
			args = append(args, "--brokers="+brokers)
		}
		switch args[0] {
		case "consume", "relay", "api":
			args = append(args, "--ops-listen=127.0.0.1:0")
		}
		with := func(url string) []string { return append(args[:len(args):len(args)], "--database-url="+url) }
		t.Run("password/"+command, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, with(wrong)...)
			r.failsWith(t, cli.ExitFailed, "password authentication failed", "check user and password")
			if strings.Contains(r.stderr, "verysecret") {
				t.Errorf("a password is printed: %s", r.stderr)
			}
		})
		t.Run("no database/"+command, func(t *testing.T) {
			t.Parallel()
			run(t, nil, with(missing)...).failsWith(t, cli.ExitFailed, `database "nowhere" does not exist`, "create the database")
		})
		if args[0] != "relay" { // which waits for its server
			t.Run("no server/"+command, func(t *testing.T) {
				t.Parallel()
				r := run(t, nil, with(away)...)
				r.failsWith(t, cli.ExitFailed, "cannot reach Postgres at "+refused, "connection refused", "start Postgres")
				if strings.Count(r.stderr, "refused") != 1 {
					t.Errorf("said twice: %s", r.stderr)
				}
			})
		}
		switch args[0] {
		case "keys", "verify", "api", "consume":
			t.Run("no schema/"+command, func(t *testing.T) {
				t.Parallel()
				run(t, nil, with(empty.URL)...).failsWith(t, cli.ExitFailed, "gapless migrate up")
			})
		}
	}
}

func changed(t *testing.T, text string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func TestAServerThatCannotDecode(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "replica"})
	u := server.SuperuserURL()
	r := run(t, nil, "migrate", "up", "--database-url", u)
	r.failsWith(t, cli.ExitFailed, "wal_level is \"replica\"", "set wal_level = logical", "--no-slot")
	if strings.Count(r.complaint(), "wal_level is") != 1 {
		t.Errorf("said twice: %s", r.complaint())
	}
	run(t, nil, "migrate", "up", "--no-slot", "--database-url", u).succeeds(t)
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	start(t, nil, "relay", "--create-topics", "--database-url", u, "--brokers", brokers, "--ops-listen", "127.0.0.1:0").
		ended(t).failsWith(t, cli.ExitRefused, "wal_level is replica", "logical")
}

func TestRelayRefusals(t *testing.T) {
	t.Parallel()
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	for name, c := range map[string]struct {
		spoil string
		slot  bool
		texts []string
	}{
		"publication missing":   {"drop publication gapless", true, []string{`publication "gapless" does not exist`, "--publication", "\nCREATE PUBLICATION"}},
		"publication empty":     {"alter publication gapless drop table gapless.outbox, gapless.dead_letter", true, []string{"has no table"}},
		"slot gone, rows there": {"insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('a', 'b', 'c', '{}')", false, []string{"slot"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDB(t)
			slot := db.SlotName("cli")
			if c.slot {
				slot = db.Slot(t, "cli")
			}
			if _, err := db.Pool(t).Exec(t.Context(), c.spoil); err != nil {
				t.Fatal(err)
			}
			start(t, nil, "relay", "--create-topics", "--database-url", db.URL, "--brokers", brokers, "--slot", slot, "--ops-listen", "127.0.0.1:0").
				ended(t).failsWith(t, cli.ExitRefused, append(c.texts, "refused")...)
		})
	}
}

// TestARefusalIsSaidOnce: to a person in lines that can be copied, to a program
// as one record.
func TestARefusalIsSaidOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "cli")
	pool := db.Pool(t)
	if _, err := pool.Exec(t.Context(), "drop publication gapless"); err != nil {
		t.Fatal(err)
	}
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	args := []string{"relay", "--create-topics", "--database-url", db.URL, "--brokers", brokers, "--slot", slot}
	r := start(t, nil, append(args, "--ops-listen", "127.0.0.1:0")...).ended(t)
	r.failsWith(t, cli.ExitRefused, "does not exist")
	if n := strings.Count(r.stderr, "does not exist"); n != 1 {
		t.Errorf("said %d times: %s", n, r.stderr)
	}
	lines := strings.Split(r.complaint(), "\n")
	if len(lines) < 4 {
		t.Fatalf("no statements: %s", r.stderr)
	}
	for _, statement := range lines[2:] {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}

	if _, err := pool.Exec(t.Context(), "drop publication gapless"); err != nil {
		t.Fatal(err)
	}
	r = start(t, nil, append(args, "--log-format", "json", "--ops-listen", "127.0.0.1:0")...).ended(t)
	var record struct {
		Msg, What, Remedy string
		SQL               []string
	}
	for line := range strings.Lines(r.stderr) {
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Errorf("%v in: %s", err, line)
		}
	}
	if r.code != cli.ExitRefused || record.Msg != "refused" || !strings.Contains(record.What, "does not exist") || record.Remedy == "" || len(record.SQL) != len(lines)-2 {
		t.Errorf("exit code %d, %+v", r.code, record)
	}
}

func TestAnUnmigratedDatabaseIsSentToMigrate(t *testing.T) {
	t.Parallel()
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	r := start(t, nil, "relay", "--database-url", pgtest.NewEmptyDB(t).URL, "--brokers", brokers, "--ops-listen", "127.0.0.1:0").ended(t)
	r.failsWith(t, cli.ExitRefused, "no schema of Gapless", "gapless migrate up")
	if strings.Contains(r.stderr, "SELECT") {
		t.Errorf("SQL for a database in which nothing is: %s", r.stderr)
	}
}

// TestAMistypedSlotMakesNone and names the one that may be meant.
func TestAMistypedSlotMakesNone(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "cli")
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	start(t, nil, "relay", "--create-topics", "--database-url", db.URL, "--brokers", brokers, "--slot", slot+"x", "--ops-listen", "127.0.0.1:0").
		ended(t).failsWith(t, cli.ExitRefused, slot, "--slot", "--create-slot")
}

// TestVerifyThatCouldNotJudge must not end as one that could.
func TestVerifyThatCouldNotJudge(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "cli")
	if _, err := db.Pool(t).Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('a', 'b', 'c', '{}')"); err != nil {
		t.Fatal(err)
	}
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	r := run(t, nil, "verify", "--database-url", db.URL, "--brokers", brokers, "--slot", slot, "--wait", "2s")
	if !strings.Contains(r.stderr, "waits up to 2s (--wait): no relay is connected to slot") {
		t.Errorf("the wait is not told of: %s", r.stderr)
	}
	if r.code != cli.ExitFailed || strings.Contains(r.stdout, "every invariant holds") || !strings.Contains(r.stdout, "no relay is connected to slot \""+slot) ||
		!strings.Contains(r.stdout, "start 'gapless relay'") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

func TestMigrateRefusesASlotThatWouldSkip(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	if _, err := db.Pool(t).Exec(t.Context(), "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('a', 'b', 'c', '{}')"); err != nil {
		t.Fatal(err)
	}
	r := run(t, nil, "migrate", "up", "--database-url", db.URL, "--slot", db.SlotName("cli"))
	r.failsWith(t, cli.ExitRefused, "outbox holds events", "gapless relay")
	if what, _, _ := strings.Cut(r.complaint(), ": stop"); strings.Count(what, "slot ") != 1 {
		t.Errorf("said twice: %s", what)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	taken := listen(t).Addr().String()
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	for _, args := range [][]string{
		{"api", "--listen", taken, "--ops-listen", "127.0.0.1:0"},
		{"api", "--listen", "127.0.0.1:0", "--ops-listen", taken},
		{"relay", "--brokers", brokers, "--ops-listen", taken},
		{"consume", "--brokers", brokers, "--ops-listen", taken},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			t.Parallel()
			run(t, nil, append(args, "--database-url", db.URL)...).
				failsWith(t, cli.ExitFailed, taken, "address already in use", "another program listens there")
		})
	}
}

func TestCommandsSayThatNoBrokerAnswers(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	silent := listen(t).Addr().String() // accepts by the backlog, never answers
	for _, command := range [][]string{{"topics", "apply"}, {"verify", "--database-url", db.URL}} {
		for _, broker := range []string{refused, silent} {
			t.Run(command[0]+"/"+broker, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				r := run(t, nil, append(command, "--brokers", broker)...)
				r.failsWith(t, cli.ExitFailed, "cannot reach Kafka at "+broker+": ", "correct --brokers")
				if broker == refused && strings.Count(r.complaint(), refused) != 1 {
					t.Errorf("said twice: %s", r.complaint())
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
			})
		}
	}
}

func TestLoadSaysThatNoAPIAnswers(t *testing.T) {
	t.Parallel()
	run(t, nil, "load", "--api-url", "http://"+refused).failsWith(t, cli.ExitFailed, "connection refused", "start 'gapless api'")
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	run(t, nil, "load", "--api-url", other.URL).failsWith(t, cli.ExitFailed, other.URL, "404", "--api-url")
}

func TestInsufficientRights(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	run(t, nil, "keys", "create", "k", "--database-url", db.LoginURL(t, pgtest.Readonly)).
		failsWith(t, cli.ExitFailed, "permission denied", "gapless_app")
}

func TestRegistryFaults(t *testing.T) {
	t.Parallel()
	run(t, nil, "schema", "check", "--registry-url", "http://"+refused).failsWith(t, cli.ExitFailed, "connection refused", "start the registry")
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	run(t, nil, "schema", "check", "--registry-url", other.URL).failsWith(t, cli.ExitFailed, "404", "Confluent's API")
	run(t, nil, "schema", "check", "--against", "/does/not/exist").failsWith(t, cli.ExitFailed, "/does/not/exist")
}

// TestServerVersion: an old server is not at hand; its error is.
func TestServerVersion(t *testing.T) {
	t.Parallel()
	code, line := cli.Explain(fmt.Errorf("%w: this is 13", goose.ErrServerVersion))
	if code != cli.ExitFailed || !strings.Contains(line, "PostgreSQL 14 or newer") || !strings.Contains(line, "this is 13") || strings.Contains(line, "\n") {
		t.Errorf("%d %s", code, line)
	}
}

func TestMissingContractsAreNamed(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	run(t, nil, "api", "--encoding=protobuf", "--database-url", db.URL, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0").
		failsWith(t, cli.ExitFailed, "schema register")
}

func TestKeywordStringsAreURLsToo(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	c, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	keywords := "host=" + c.Host + " user=" + c.User + " password='" + c.Password + "' dbname=" + c.Database + " port=" + strings.TrimSpace(portOf(db.URL, t))
	run(t, nil, "migrate", "status", "--database-url", keywords).succeeds(t)
}

func portOf(text string, t *testing.T) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}
