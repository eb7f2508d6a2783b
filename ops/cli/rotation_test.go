//go:build unix

package cli_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// The passwords of both servers are rotated under a relay and its standby, first at the
// server and then in the file, and every connection ends meanwhile.
func TestPasswordsRotateUnderLoad(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]func(t *testing.T, r *rotated, env map[string]string) (write func(password string)){
		"URL in a file": func(t *testing.T, r *rotated, env map[string]string) func(string) {
			path := filepath.Join(t.TempDir(), "url")
			env["GAPLESS_DATABASE_URL_FILE"] = path
			return func(password string) {
				overwrite(t, path, changed(t, r.url, func(u *url.URL) { u.User = url.UserPassword(r.login, password) })+"\n")
			}
		},
		"password file": func(t *testing.T, r *rotated, env map[string]string) func(string) {
			path := filepath.Join(t.TempDir(), "password")
			env["GAPLESS_DATABASE_URL"], env["GAPLESS_DATABASE_PASSWORD_FILE"] = r.url, path
			return func(password string) { overwrite(t, path, password+"\n") }
		},
		"pgpass": func(t *testing.T, r *rotated, env map[string]string) func(string) {
			path := filepath.Join(t.TempDir(), "pgpass")
			env["GAPLESS_DATABASE_URL"] = r.url + "&passfile=" + path
			return func(password string) { overwrite(t, path, "*:*:*:"+r.login+":"+password+"\n") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if kafkaserver.IsReal(t) && name != "password file" {
				t.Skip("to Kafka it is the same")
			}
			passwordsRotate(t, give)
		})
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func passwordsRotate(t *testing.T, give func(*testing.T, *rotated, map[string]string) func(string)) {
	db := pgtest.NewEmptyDB(t)
	run(t, nil, "migrate", "up", "--component", "outbox", "--no-slot", "--database-url", db.URL).succeeds(t)
	r := newRotated(t, db, pgtest.Relay)
	secured := kafkaserver.ForTestSecured(t, "kafka-0", kafkaserver.SASL)
	admin := secured.Client(t, kafkaserver.SASL)
	kind := kafkaserver.Name(t, "counted")
	topic := "outbox.event." + kind
	env := map[string]string{}
	write := give(t, r, env)
	r.setPassword(t, "postgres-0")
	write("postgres-0")
	kafkaPassword := filepath.Join(t.TempDir(), "kafka")
	overwrite(t, kafkaPassword, "kafka-0\n")
	maps.Copy(env, map[string]string{
		"GAPLESS_BROKERS": strings.Join(secured.Brokers(kafkaserver.SASL), ","), "GAPLESS_KAFKA_CA": secured.Authority.CA,
		"GAPLESS_KAFKA_SASL": "SCRAM-SHA-512", "GAPLESS_KAFKA_USER": kafkaserver.User, "GAPLESS_KAFKA_PASSWORD_FILE": kafkaPassword,
		"GAPLESS_SLOT": db.Slot(t, "rotated"),
	})
	// The relay may write, and read what it needs to know of its topics.
	run(t, env, "topics", "apply", "--no-pipeline", "--topic", topic, "--partitions", "1").succeeds(t)
	first, firstOps := startRelay(t, env)
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, firstOps, "streaming") })
	standby, standbyOps := startRelay(t, env)
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, standbyOps, "standby") })

	rows := writeRows(t, db.Pool(t), kind)
	cuts := []int64{rows.confirmed(t, r.admin)}
	refused := sayAnew(t, 2, "password authentication failed", first, standby)
	r.setPassword(t, "postgres-1")
	if r.hangUp(t) == 0 {
		t.Fatal("the relay had no connection")
	}
	refused()
	write("postgres-1")

	cuts = append(cuts, rows.confirmed(t, r.admin))
	words := "SASL_AUTHENTICATION_FAILED"
	if !kafkaserver.IsReal(t) {
		words = "sink does not acknowledge" // kfake hangs up on a wrong password
	}
	refused = sayAnew(t, 1, words, first, standby)
	secured.SetPassword(t, kafkaserver.SASL, "kafka-1")
	if secured.HangUp(kafkaserver.SASL) == 0 {
		t.Fatal("the relay had no connection to Kafka")
	}
	refused()
	overwrite(t, kafkaPassword, "kafka-1\n")
	rows.confirmed(t, r.admin)

	// Who stands by has the passwords of today, too.
	cuts = append(cuts, rows.confirmed(t, r.admin))
	active, other := first, standbyOps
	if stateIs(t, firstOps, "streaming") != nil {
		active, other = standby, firstOps
	}
	if ended := active.end(t); ended.code != cli.ExitOK {
		t.Errorf("exit code %d", ended.code)
	}
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, other, "streaming") })
	rows.confirmed(t, r.admin)
	rows.end()
	rows.confirmed(t, r.admin)
	rows.judge(t, admin, topic, cuts)
	for _, s := range []*service{first, standby} {
		if ended := s.end(t); ended.code != cli.ExitOK {
			t.Errorf("exit code %d: %s", ended.code, ended.stderr)
		}
	}
}

func startRelay(t *testing.T, env map[string]string) (s *service, ops string) {
	t.Helper()
	ops = freeAddr(t)
	return start(t, env, "relay", "--ops-listen", ops), ops
}

func stateIs(t *testing.T, ops, want string) error {
	t.Helper()
	if code, body := get(t, "http://"+ops+"/status"); code != http.StatusOK || !strings.Contains(body, `"`+want+`"`) {
		return fmt.Errorf("not %s: %s", want, body)
	}
	return nil
}

// The certificate that a relay shows to Postgres is replaced in its files, by one that is
// not trusted and then by one that is.
func TestDatabaseCertificateRotates(t *testing.T) {
	t.Parallel()
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	serverCert, serverKey := authority.Issue(time.Hour)
	server := pgtest.TLSServer(t, pgserver.TLS{Cert: serverCert, Key: serverKey, ClientCA: authority.CA})
	run(t, nil, "migrate", "up", "--component", "outbox", "--database-url", server.SuperuserURL()).succeeds(t)
	r := &rotated{admin: pgtest.OpenPool(t, server.SuperuserURL()), login: "app"}
	r.exec(t, "create role app login replication password 'app' in role gapless_relay")
	brokers := kafkaserver.ForTest(t)
	kind := kafkaserver.Name(t, "counted")
	topic := "outbox.event." + kind
	kafkaserver.CreateTopic(t, brokers, topic, 1)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {authority.CA}, "sslcert": {cert}, "sslkey": {key}}
	env := map[string]string{
		"GAPLESS_BROKERS":      strings.Join(brokers, ","),
		"GAPLESS_DATABASE_URL": changed(t, server.UserURL("app", "app", "postgres"), func(u *url.URL) { u.RawQuery = query.Encode() }),
	}
	issue(t, authority, cert, key)
	s, ops := startRelay(t, env)
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, ops, "streaming") })
	rows := writeRows(t, r.admin, kind)
	cuts := []int64{rows.confirmed(t, r.admin)}
	refused := sayAnew(t, 1, "unknown certificate authority", s)
	issue(t, stranger, cert, key)
	if r.hangUp(t) == 0 {
		t.Fatal("the relay had no connection")
	}
	refused()
	issue(t, authority, cert, key)
	rows.confirmed(t, r.admin)
	rows.end()
	rows.confirmed(t, r.admin)
	rows.judge(t, kafkaserver.Client(t, brokers), topic, cuts)
	if ended := s.end(t); ended.code != cli.ExitOK {
		t.Errorf("exit code %d: %s", ended.code, ended.stderr)
	}
}

// issue puts a certificate of an authority into files.
func issue(t *testing.T, from *testkit.Authority, cert, key string) {
	t.Helper()
	c, k := from.Issue(time.Hour)
	for path, to := range map[string]string{c: cert, k: key} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, to, string(text))
	}
}

// The same with Kafka.
func TestKafkaCertificateRotates(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	run(t, nil, "migrate", "up", "--component", "outbox", "--no-slot", "--database-url", db.URL).succeeds(t)
	secured, stranger := kafkaserver.ForTestSecured(t, "unused", kafkaserver.Mutual), testkit.NewAuthority(t)
	kind := kafkaserver.Name(t, "counted")
	topic := "outbox.event." + kind
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	issue(t, secured.Authority, cert, key)
	env := map[string]string{
		"GAPLESS_DATABASE_URL": db.URL, "GAPLESS_BROKERS": strings.Join(secured.Brokers(kafkaserver.Mutual), ","),
		"GAPLESS_KAFKA_CA": secured.Authority.CA, "GAPLESS_KAFKA_CERT": cert, "GAPLESS_KAFKA_KEY": key, "GAPLESS_SLOT": db.Slot(t, "rotated"),
	}
	run(t, env, "topics", "apply", "--no-pipeline", "--topic", topic, "--partitions", "1").succeeds(t)
	s, ops := startRelay(t, env)
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, ops, "streaming") })
	pool := db.Pool(t)
	rows := writeRows(t, pool, kind)
	cuts := []int64{rows.confirmed(t, pool)}
	refused := sayAnew(t, 1, "remote error: tls", s)
	issue(t, stranger, cert, key)
	if secured.HangUp(kafkaserver.Mutual) == 0 {
		t.Fatal("the relay had no connection to Kafka")
	}
	refused()
	issue(t, secured.Authority, cert, key)
	rows.confirmed(t, pool)
	rows.end()
	rows.confirmed(t, pool)
	rows.judge(t, secured.Client(t, kafkaserver.Mutual), topic, cuts)
	if ended := s.end(t); ended.code != cli.ExitOK {
		t.Errorf("exit code %d: %s", ended.code, ended.stderr)
	}
}

// The API says that Postgres is not there while its password does not fit, and that it
// is when it does.
func TestAPIPasswordRotates(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	r := newRotated(t, db, pgtest.App)
	password := filepath.Join(t.TempDir(), "password")
	r.setPassword(t, "first")
	overwrite(t, password, "first")
	ops := freeAddr(t)
	s := start(t, map[string]string{"GAPLESS_DATABASE_URL": r.url, "GAPLESS_DATABASE_PASSWORD_FILE": password},
		"api", "--listen", "127.0.0.1:0", "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	r.setPassword(t, "second")
	if r.hangUp(t) == 0 {
		t.Fatal("the API had no connection")
	}
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusServiceUnavailable)
	overwrite(t, password, "second")
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	if ended := s.end(t); ended.code != cli.ExitOK || strings.Contains(ended.stderr, "second") {
		t.Errorf("exit code %d: %s", ended.code, ended.stderr)
	}
}
