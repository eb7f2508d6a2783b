package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

func TestParallelPostsOfOneKeyMakeOneOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	bodies := map[string]bool{}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k"})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[r.StatusCode]++
			if r.StatusCode == http.StatusAccepted {
				bodies[string(r.text)] = true
			} else if r.Header.Get("Retry-After") == "" {
				t.Errorf("status %d without Retry-After", r.StatusCode)
			}
		})
	}
	wg.Wait()
	for status := range statuses {
		if status != 202 && status != 409 {
			t.Errorf("statuses %v, want 202 and 409 alone", statuses)
		}
	}
	if statuses[202] == 0 || len(bodies) != 1 {
		t.Errorf("statuses %v, %d different bodies", statuses, len(bodies))
	}
	f.wantOneOrder()
}

func (f *fixture) wantOneOrder() {
	f.Helper()
	for _, table := range []string{"checkout.orders", "checkout.order_items", "gapless.outbox", "gapless.idempotency_key"} {
		if n := f.count("select count(*) from " + table); n != 1 {
			f.Errorf("%s has %d rows, want 1", table, n)
		}
	}
}

// The API is killed three times while 100 clients send ten keys, one key after
// the other, until every client has its 202 for each.
func TestParallelPostsOfOneKeyThroughKills(t *testing.T) {
	t.Parallel()
	const clients, keys, kills = 100, 10, 3
	f := newFixture(t)
	databaseURL := f.db.LoginURL(t, pgtest.App)
	c := startChild(t, databaseURL, "127.0.0.1:0")
	f.url = c.url
	address := strings.TrimPrefix(c.url, "http://")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var cutOff, taken atomic.Int64
	var mu sync.Mutex
	statuses := map[int]int{}
	bodies := map[string]bool{}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for n := 0; n < keys && ctx.Err() == nil; {
				r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": fmt.Sprint("k-", n)})
				if err != nil {
					cutOff.Add(1)
					pause(ctx, 5*time.Millisecond)
					continue
				}
				mu.Lock()
				statuses[r.StatusCode]++
				if r.StatusCode == http.StatusAccepted {
					bodies[string(r.text)] = true
					taken.Add(1)
					n++
				}
				mu.Unlock()
			}
		})
	}
	for kill := range kills {
		testkit.Eventually(t, 30*time.Second, func() error {
			if want := int64((kill + 1) * clients * keys / (kills + 2)); taken.Load() < want {
				return fmt.Errorf("%d answers of %d", taken.Load(), want)
			}
			return nil
		})
		before := cutOff.Load()
		c.kill()
		testkit.Eventually(t, 10*time.Second, func() error {
			if cutOff.Load() == before {
				return errors.New("no request met the kill: the fault did not fire")
			}
			return nil
		})
		c = startChild(t, databaseURL, address)
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("not every client got its 202: %v", statuses)
	}
	for status := range statuses {
		if status != 202 && status != 409 {
			t.Errorf("statuses %v, want 202 and 409 alone", statuses)
		}
	}
	if len(bodies) != keys {
		t.Errorf("%d different answers, want %d", len(bodies), keys)
	}
	for _, table := range []string{"checkout.orders", "checkout.order_items", "gapless.outbox", "gapless.idempotency_key"} {
		if n := f.count("select count(*) from " + table); n != keys {
			t.Errorf("%s has %d rows, want %d", table, n, keys)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// The process dies when Postgres has committed and the answer is on its way.
func TestADeathBetweenCommitAndAnswerKeepsTheAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	proxy, proxied := newPGProxy(t, f.db.LoginURL(t, pgtest.App))
	c := startChild(t, proxied, "127.0.0.1:0")
	f.url = c.url
	f.placed("warm") // statements are prepared, prices remembered
	proxy.arm()
	lost := make(chan error, 1)
	go func() {
		_, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k"})
		lost <- err
	}()
	<-proxy.held
	if n := f.count("select count(*) from gapless.idempotency_key where key = 'k'"); n != 1 {
		t.Fatal("the answer was held back before the commit was seen")
	}
	c.kill()
	if err := <-lost; err == nil {
		t.Fatal("the client got an answer: the fault did not fire")
	}
	again := startChild(t, proxied, "127.0.0.1:0")
	f.url = again.url
	r := f.place("k", good())
	if r.StatusCode != http.StatusAccepted || r.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("status %d, headers %v: %s", r.StatusCode, r.Header, r.text)
	}
	if n := f.count("select count(*) from checkout.orders"); n != 2 {
		t.Errorf("%d orders, want the warm one and this", n)
	}
}

func TestALostAnswerToCommitIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	f := &fixture{T: t, db: db, admin: db.Pool(t)}
	f.sql(catalogue)
	proxy, proxied := newPGProxy(t, db.LoginURL(t, pgtest.App))
	f.start(proxied)
	f.placed("warm")
	proxy.arm()
	answered := make(chan response, 1)
	go func() {
		r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k"})
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	<-proxy.held
	proxy.cut()
	r := <-answered
	f.wantProblem(r, 503, "outcome-unknown")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// The pool may hold more connections that were cut: each costs one more try.
	testkit.Eventually(t, 10*time.Second, func() error {
		again := f.place("k", good())
		if again.StatusCode == http.StatusServiceUnavailable {
			return errors.New("still unavailable")
		}
		if again.StatusCode != http.StatusAccepted || again.Header.Get("Idempotent-Replayed") != "true" {
			t.Fatalf("status %d: %s", again.StatusCode, again.text)
		}
		return nil
	})
}

func TestAKeyInFlightIsAConflict(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `insert into gapless.idempotency_key (principal, route, key, request_hash, order_id, status_code, body)
		values ('anonymous', 'POST /v1/orders', 'k', sha256('x'), gapless.uuid7(), 202, '')`); err != nil {
		t.Fatal(err)
	}
	r := f.place("k", good())
	f.wantProblem(r, 409, "idempotency-key-in-flight")
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("retry-after %q", r.Header.Get("Retry-After"))
	}
	f.placed("other") // nothing else is held up
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.placed("k")
}

// Whatever fails between BEGIN and COMMIT, nothing of the order is there, the
// key is free, and the connection is usable.
func TestNeverHalfAnOrder(t *testing.T) {
	t.Parallel()
	const fail = `create or replace function public.fail() returns trigger language plpgsql as $$ begin raise exception 'planted'; end $$;`
	for name, plant := range map[string]string{
		"key":       `create trigger fail before insert on gapless.idempotency_key for each row execute function public.fail()`,
		"order":     `create trigger fail after insert on checkout.orders for each row execute function public.fail()`,
		"items":     `create trigger fail after insert on checkout.order_items for each row execute function public.fail()`,
		"outbox":    `create trigger fail after insert on gapless.outbox for each row execute function public.fail()`,
		"at commit": `create constraint trigger fail after insert on checkout.orders deferrable initially deferred for each row execute function public.fail()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			f := newFixture(t, func(c *api.Config) { c.MaxConns, c.Logger = 1, logger(&log) })
			f.sql(fail)
			f.sql(plant)
			f.wantProblem(f.place("k", good()), 500, "internal")
			f.wantNothing()
			var pid, pidAfter int
			const ours = "select pid from pg_stat_activity where datname = current_database() and application_name = 'gapless api'"
			if err := f.admin.QueryRow(t.Context(), ours).Scan(&pid); err != nil {
				t.Fatal(err)
			}
			f.sql("drop function public.fail cascade")
			f.placed("k")
			if err := f.admin.QueryRow(t.Context(), ours).Scan(&pidAfter); err != nil {
				t.Fatal(err)
			}
			if pid != pidAfter {
				t.Error("the connection was thrown away")
			}
			f.halt()
			if !strings.Contains(log.String(), "planted") {
				t.Errorf("the log does not say why: %s", log.String())
			}
		})
	}
}

// A lock timeout that is not the key's is no conflict of keys.
func TestALockElsewhereIsNotAConflict(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sql(`create function public.fail() returns trigger language plpgsql as $$ begin raise exception 'planted' using errcode = '55P03'; end $$;
		create trigger fail before insert on checkout.orders for each row execute function public.fail()`)
	f.wantProblem(f.place("k", good()), 503, "unavailable")
	f.wantNothing()
}

func TestTheLockTimeoutIsTheKeysAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sql(`create table public.seen (timeout text);
		grant insert on public.seen to public;
		create function public.see() returns trigger language plpgsql as $$ begin insert into public.seen values (tg_table_name || ' ' || current_setting('lock_timeout')); return new; end $$;
		create trigger see before insert on gapless.idempotency_key for each row execute function public.see();
		create trigger see before insert on checkout.orders for each row execute function public.see()`)
	f.placed("k")
	var seen string
	if err := f.admin.QueryRow(t.Context(), "select string_agg(timeout, ', ' order by timeout) from public.seen").Scan(&seen); err != nil {
		t.Fatal(err)
	}
	if seen != "idempotency_key 500ms, orders 0" {
		t.Errorf("lock timeouts: %s", seen)
	}
}

func TestDifferentOrdersUnderOneKeyMakeOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r, err := f.try(http.MethodPost, "/v1/orders", good(`"quantity":2`, fmt.Sprintf(`"quantity":%d`, i+1)), map[string]string{"Idempotency-Key": "k"})
			if err != nil {
				t.Error(err)
				return
			}
			switch r.StatusCode {
			case http.StatusAccepted:
				accepted.Add(1)
			case http.StatusConflict, http.StatusUnprocessableEntity:
			default:
				t.Errorf("status %d: %s", r.StatusCode, r.text)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Errorf("%d accepted, want 1", accepted.Load())
	}
	f.wantOneOrder()
}

// A hundred twins of a request that is held up leave the pool to the others.
func TestTwinsDoNotTakeThePool(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaxConns = 2 })
	f.placed("warm")
	tx, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	// What holds the first one up is a lock of its own, after its key.
	if _, err := tx.Exec(t.Context(), `insert into gapless.idempotency_key (principal, route, key, request_hash, order_id, status_code, body)
		values ('anonymous', 'POST /v1/orders', 'k', sha256('x'), gapless.uuid7(), 202, '')`); err != nil {
		t.Fatal(err)
	}
	statuses := make(chan int, 100)
	for range 100 {
		go func() {
			r, err := f.try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": "k"})
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			statuses <- r.StatusCode
		}()
	}
	for n := range 10 {
		f.placed(fmt.Sprint("other ", n))
	}
	for range 100 {
		if status := <-statuses; status != http.StatusConflict {
			t.Errorf("status %d, want 409", status)
		}
	}
}

// Servers that know nothing of each other: the key's row alone decides.
func TestParallelPostsOfOneKeyToSeveralServers(t *testing.T) {
	t.Parallel()
	const keys = 20
	first := newFixture(t)
	servers := []*fixture{first}
	for range 3 {
		s := &fixture{T: t, db: first.db, admin: first.admin}
		s.start(first.db.LoginURL(t, pgtest.App))
		servers = append(servers, s)
	}
	var mu sync.Mutex
	bodies := map[string]bool{}
	fresh := 0
	for key := range keys {
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				r, err := servers[i%len(servers)].try(http.MethodPost, "/v1/orders", good(), map[string]string{"Idempotency-Key": fmt.Sprint("k-", key)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				switch r.StatusCode {
				case http.StatusAccepted:
					bodies[string(r.text)] = true
					if r.Header.Get("Idempotent-Replayed") == "" {
						fresh++
					}
				case http.StatusConflict:
				default:
					t.Errorf("status %d: %s", r.StatusCode, r.text)
				}
			})
		}
		wg.Wait()
	}
	if len(bodies) != keys || fresh != keys {
		t.Errorf("%d different answers, %d of them said to be first, want %d of both", len(bodies), fresh, keys)
	}
	for _, table := range []string{"checkout.orders", "checkout.order_items", "gapless.outbox", "gapless.idempotency_key"} {
		if n := first.count("select count(*) from " + table); n != keys {
			t.Errorf("%s has %d rows, want %d", table, n, keys)
		}
	}
	// They did meet in the database: what lost there was rolled back. A backend
	// reports its numbers when it ends.
	for _, s := range servers {
		s.halt()
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if first.count("select xact_rollback from pg_stat_database where datname = current_database()") < keys {
			return errors.New("the servers did not meet")
		}
		return nil
	})
}
