//go:build unix

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// rotated is a database whose login's password is changed under what uses it.
type rotated struct {
	admin *pgxpool.Pool
	login string
	url   string // without a password
}

func newRotated(t *testing.T, db *pgtest.DB, group pgtest.Role) *rotated {
	t.Helper()
	db.LoginURL(t, group) // the group role is there
	r := &rotated{admin: db.Pool(t), login: "rotated_" + db.Name}
	r.exec(t, "create role "+pgx.Identifier{r.login}.Sanitize()+" login replication in role "+string(group))
	t.Cleanup(func() {
		_, err := r.admin.Exec(context.WithoutCancel(t.Context()), "drop role "+pgx.Identifier{r.login}.Sanitize())
		if err != nil {
			t.Error(err)
		}
	})
	r.url = changed(t, db.URL, func(u *url.URL) { u.User = url.User(r.login) })
	return r
}

func (r *rotated) exec(t *testing.T, statement string) {
	t.Helper()
	if _, err := r.admin.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func (r *rotated) setPassword(t *testing.T, password string) {
	t.Helper()
	r.exec(t, "alter role "+pgx.Identifier{r.login}.Sanitize()+" password '"+password+"'")
}

// hangUp ends the connections of the login and returns how many.
func (r *rotated) hangUp(t *testing.T) (n int) {
	t.Helper()
	err := r.admin.QueryRow(t.Context(), "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1", r.login).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// load is rows that are written one after another until the load ends.
type load struct {
	written atomic.Int64
	end     func()
}

func writeRows(t *testing.T, pool *pgxpool.Pool, kind string) *load {
	t.Helper()
	s := &load{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			n := s.written.Load() + 1
			_, err := pool.Exec(context.WithoutCancel(ctx), `insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload)
				values ($1, 'one', $2, 'Counted', $3)`, kind, n, strconv.AppendInt(nil, n, 10))
			if err != nil {
				done <- err
				return
			}
			s.written.Store(n)
			<-pace.C
		}
		done <- nil
	}()
	testkit.Eventually(t, 30*time.Second, func() error {
		if s.written.Load() < 50 {
			select {
			case err := <-done:
				t.Fatalf("the load: %v", err)
			default:
			}
			return errors.New("hardly a row is written")
		}
		return nil
	})
	s.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the load: %v", err)
		}
	}
	return s
}

// confirmed waits until the relay has stored that all rows so far were sent, and
// returns the last one's number.
func (s *load) confirmed(t *testing.T, pool *pgxpool.Pool) int64 {
	t.Helper()
	n := s.written.Load()
	var at string
	if err := pool.QueryRow(t.Context(), "select pg_current_wal_insert_lsn()::text").Scan(&at); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		var there bool
		err := pool.QueryRow(t.Context(), "select coalesce(bool_or(resume_lsn >= $1::text::pg_lsn), false) from gapless.relay_progress", at).Scan(&there)
		if err == nil && !there {
			err = fmt.Errorf("row %d is not confirmed", n)
		}
		return err
	})
	return n
}

// sayAnew waits until the services, as many as must, have words in their logs that were
// not there when it was called.
func sayAnew(t *testing.T, must int, words string, services ...*service) (wait func()) {
	t.Helper()
	var from []int
	for _, s := range services {
		from = append(from, len(s.log.String()))
	}
	return func() {
		t.Helper()
		testkit.Eventually(t, 30*time.Second, func() error {
			found := 0
			for i, s := range services {
				if strings.Contains(s.log.String()[from[i]:], words) {
					found++
				}
			}
			if found < must {
				said := ""
				for i, s := range services {
					said += s.log.String()[from[i]:]
				}
				return fmt.Errorf("%d of %d have said %q: %s", found, must, words, said)
			}
			return nil
		})
	}
}

// judge reads the topic of one partition: every row is there, the first of each in
// order, and what was confirmed before a cut did not come again after it.
func (s *load) judge(t *testing.T, client *kgo.Client, topic string, cuts []int64) {
	t.Helper()
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}})
	var next, repeats, runs int64 = 1, 0, 0
	for last := int64(0); next <= s.written.Load(); {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		fetched := client.PollFetches(ctx)
		cancel()
		if err := errors.Join(fetched.Err(), ctx.Err()); err != nil && fetched.NumRecords() == 0 {
			t.Fatalf("row %d of %d has not come: %v", next, s.written.Load(), err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			n, err := strconv.ParseInt(string(r.Value), 10, 64)
			switch {
			case err != nil:
				t.Fatal(err)
			case n > next:
				t.Fatalf("row %d came in the place of %d", n, next)
			case n == next:
				next++
			default:
				repeats++
				if n != last+1 { // it began again
					if runs++; runs > int64(len(cuts)) || n <= cuts[runs-1] {
						t.Fatalf("row %d came again after %d, cut %d of %d", n, last, runs, len(cuts))
					}
				}
			}
			last = n
		})
	}
	t.Logf("%d rows, %d repeats in %d cuts", s.written.Load(), repeats, len(cuts))
}

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
			if kafkaserver.IsReal() && name != "password file" {
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
	var cuts []int64
	for n := 1; n <= 2; n++ {
		password := fmt.Sprintf("postgres-%d", n)
		cuts = append(cuts, rows.confirmed(t, r.admin))
		refused := sayAnew(t, 2, "password authentication failed", first, standby)
		r.setPassword(t, password)
		if r.hangUp(t) == 0 {
			t.Fatal("the relay had no connection")
		}
		refused()
		write(password)

		password = fmt.Sprintf("kafka-%d", n)
		cuts = append(cuts, rows.confirmed(t, r.admin))
		words := "SASL_AUTHENTICATION_FAILED"
		if !kafkaserver.IsReal() {
			words = "sink does not acknowledge" // kfake hangs up on a wrong password
		}
		refused = sayAnew(t, 1, words, first, standby)
		secured.SetPassword(t, kafkaserver.SASL, password)
		if secured.HangUp(kafkaserver.SASL) == 0 {
			t.Fatal("the relay had no connection to Kafka")
		}
		refused()
		overwrite(t, kafkaPassword, password+"\n")
		rows.confirmed(t, r.admin)
	}
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

// The certificate that a relay shows to Kafka is replaced in its files.
func TestClientCertificateRotates(t *testing.T) {
	t.Parallel()
	if kafkaserver.IsReal() {
		t.Skip("a real broker does not tell which certificate it was shown")
	}
	db := pgtest.NewEmptyDB(t)
	run(t, nil, "migrate", "up", "--component", "outbox", "--no-slot", "--database-url", db.URL).succeeds(t)
	secured := kafkaserver.ForTestSecured(t, "unused", kafkaserver.Mutual)
	kind := kafkaserver.Name(t, "counted")
	topic := "outbox.event." + kind
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	issue := func() {
		c, k := secured.Authority.Issue(time.Hour)
		for from, to := range map[string]string{c: cert, k: key} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, to, string(text))
		}
	}
	issue()
	env := map[string]string{
		"GAPLESS_DATABASE_URL": db.URL, "GAPLESS_BROKERS": strings.Join(secured.Brokers(kafkaserver.Mutual), ","),
		"GAPLESS_KAFKA_CA": secured.Authority.CA, "GAPLESS_KAFKA_CERT": cert, "GAPLESS_KAFKA_KEY": key, "GAPLESS_SLOT": db.Slot(t, "rotated"),
	}
	run(t, env, "topics", "apply", "--no-pipeline", "--topic", topic, "--partitions", "1").succeeds(t)
	s, ops := startRelay(t, env)
	testkit.Eventually(t, 30*time.Second, func() error { return stateIs(t, ops, "streaming") })
	pool := db.Pool(t)
	rows := writeRows(t, pool, kind)
	var cuts []int64
	for range 2 {
		cuts = append(cuts, rows.confirmed(t, pool))
		before := secured.Shown()
		issue()
		if secured.HangUp(kafkaserver.Mutual) == 0 {
			t.Fatal("the relay had no connection to Kafka")
		}
		testkit.Eventually(t, 30*time.Second, func() error {
			if secured.Shown() == before || secured.Shown().Cmp(before) == 0 {
				return errors.New("no new certificate was shown")
			}
			return nil
		})
		rows.confirmed(t, pool)
	}
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
		"api", "--listen", freeAddr(t), "--ops-listen", ops)
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
