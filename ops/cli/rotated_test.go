//go:build unix

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
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
				return fmt.Errorf("%d of %d have said %q: %s", found, must, words, services[0].log.String()[from[0]:])
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
