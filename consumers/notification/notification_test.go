package notification_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/notification"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

func ExampleNotifier_Consumer() {
	n := notification.New(notification.Config{}) // no SMTP: the table is all there is
	fmt.Println(n.Consumer().Name, n.Consumer().Topics)
	// Output: notification [outbox.event.order]
}

type fixture struct {
	*consumerstest.Harness
	t    *testing.T
	url  string
	pool *pgxpool.Pool
}

// setup gives the table some pending mails, by way of the consumer.
func setup(t *testing.T, n *notification.Notifier, customers ...string) *fixture {
	t.Helper()
	url := pgtest.NewDB(t).LoginURL(t, pgtest.Consumer)
	f := &fixture{consumerstest.New(t, url, n.Consumer()), t, url, pgtest.OpenPool(t, url)}
	for _, c := range customers {
		id := uuid.NewString()
		f.Feed(f.Event(contracts.Order, id, &gaplessv1.OrderConfirmed{OrderId: id, CustomerId: c, TotalMinor: 1234, Currency: "EUR"}))
	}
	return f
}

// pending writes rows for a sender, whichever it will be.
func pending() *notification.Notifier {
	return notification.New(notification.Config{SMTP: &notification.SMTP{Addr: "127.0.0.1:1"}})
}

// run starts a sender and stops it after the test.
func (f *fixture) run(c notification.Config) {
	f.t.Helper()
	c.Pool = f.pool
	c.Interval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	n := notification.New(c)
	go func() { done <- n.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
	})
}

// until waits for rows of that status.
func (f *fixture) until(status string, n int64) {
	f.t.Helper()
	testkit.Eventually(f.t, 20*time.Second, func() error {
		if got := f.Int("select count(*) from notification.messages where status = $1", status); got != n {
			return fmt.Errorf("%d mails are %s, want %d: %s", got, status, n,
				f.Text("select string_agg(status || ' ' || attempts || ' ' || coalesce(error, ''), '; ') from notification.messages"))
		}
		return nil
	})
}

func TestEveryEventHasItsMail(t *testing.T) {
	t.Parallel()
	f := setup(t, notification.New(notification.Config{}))
	id := uuid.NewString()
	for _, m := range []proto.Message{
		&gaplessv1.OrderPlaced{OrderId: id, CustomerId: "c", TotalMinor: 5, Currency: "USD"},
		&gaplessv1.OrderInReview{OrderId: id, CustomerId: "c"},
		&gaplessv1.OrderConfirmed{OrderId: id, CustomerId: "c"},
		&gaplessv1.OrderCancelled{OrderId: id, CustomerId: "c", Reason: gaplessv1.Reason_REASON_OUT_OF_STOCK},
		&gaplessv1.OrderNeedsAttention{OrderId: id, CustomerId: "c"},
	} {
		e := f.Event(contracts.Order, id, m)
		f.Feed(e)
		f.Feed(f.Again(e))
	}
	if n := f.Int("select count(*) from notification.messages where status = 'not_sent'"); n != 5 {
		t.Errorf("%d mails, want 5 that are not sent", n)
	}
	if n := f.Int("select count(distinct kind) from notification.messages"); n != 5 {
		t.Errorf("%d kinds, want 5", n)
	}
	if n := f.Int("select count(*) from notification.messages where message_id <> event_id || '@gapless.invalid'"); n != 0 {
		t.Errorf("%d Message-IDs are not made of their event's id", n)
	}
}

// Over TLS that is verified, with a password, to the right address.
func TestSend(t *testing.T) {
	t.Parallel()
	s := serve(t, "secret")
	f := setup(t, pending(), "c-1", "x@example.org", "Jürgen@example.org", "with space")
	reg := prometheus.NewPedanticRegistry()
	f.run(notification.Config{
		SMTP:       &notification.SMTP{Addr: s.addr, Username: "gapless", Password: "secret", RootCAs: s.roots},
		Registerer: reg,
	})
	f.until("sent", 2)
	f.until("failed", 2) // one is no address, one needs SMTPUTF8, which this server has not
	for _, m := range s.taken() {
		if !m.tls || m.user != "gapless" {
			t.Errorf("mail came with tls %t as %q", m.tls, m.user)
		}
		if m.to != "c-1@customers.invalid" && m.to != "x@example.org" {
			t.Errorf("mail to %s", m.to)
		}
		if !strings.Contains(m.text, "12.34 EUR") || !strings.HasSuffix(m.id, "@gapless.invalid>") {
			t.Errorf("mail = %s", m.text)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

// A certificate that nobody vouches for, a server without TLS, a password that
// is wrong: nothing is sent, no mail is used up, and no password leaves.
func TestServerIsNotTrusted(t *testing.T) {
	t.Parallel()
	secure, plain := serve(t, "secret"), serve(t, "")
	for name, config := range map[string]*notification.SMTP{
		"unknown certificate": {Addr: secure.addr, Username: "gapless", Password: "secret"},
		"no STARTTLS":         {Addr: plain.addr},
		"wrong password":      {Addr: secure.addr, Username: "gapless", Password: "guess", RootCAs: secure.roots},
		"no password":         {Addr: secure.addr, RootCAs: secure.roots},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, pending(), "c-1")
			n := notification.New(notification.Config{SMTP: config, Pool: f.pool})
			if took, err := n.SendSome(t.Context()); err == nil || took != 0 {
				t.Errorf("took %d, error %v", took, err)
			}
			if n := f.Int("select count(*) from notification.messages where status = 'pending' and attempts = 0 and next_try_at <= clock_timestamp()"); n != 1 {
				t.Error("the mail is not as it was before")
			}
		})
	}
	if n := len(secure.taken()) + len(plain.taken()); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	var tries atomic.Int32
	s.onMail = func(to string) error {
		switch {
		case strings.HasPrefix(to, "gone"):
			return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
		case strings.HasPrefix(to, "busy") && tries.Add(1) < 3:
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}
		case strings.HasPrefix(to, "never"):
			return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "later"}
		}
		return nil
	}
	f := setup(t, pending(), "gone", "busy", "good", "never", "a\r\nBcc: x@example.org")
	f.run(notification.Config{
		SMTP: &notification.SMTP{Addr: s.addr, Security: notification.Plain}, Attempts: 4, Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond,
	})
	f.until("sent", 2)
	f.until("failed", 3)
	for customer, want := range map[string]int64{"gone": 1, "busy": 3, "good": 1, "never": 4} {
		if n := f.Int("select attempts from notification.messages where customer_id = $1", customer); n != want {
			t.Errorf("%s: %d attempts, want %d", customer, n, want)
		}
	}
}

// Any number of senders: each mail once.
func TestManySenders(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	customers := make([]string, 120)
	for i := range customers {
		customers[i] = fmt.Sprintf("c-%d", i)
	}
	f := setup(t, pending(), customers...)
	for range 3 {
		f.run(notification.Config{SMTP: &notification.SMTP{Addr: s.addr, Security: notification.Plain}})
	}
	f.until("sent", int64(len(customers)))
	if n := len(s.taken()); n != len(customers) {
		t.Errorf("%d mails, want %d", n, len(customers))
	}
}

// The sender is killed after the server took the mail and before that was
// noted: one repeat, the same bytes under the same Message-ID.
func TestKilledBetweenSendAndMark(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	f := setup(t, pending(), "c-1")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), executable)
	child.Env = append(os.Environ(), "GAPLESS_TEST_SENDER="+f.url, "GAPLESS_TEST_SMTP="+s.addr)
	child.Stderr = os.Stderr
	taken, died := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	s.onData = func() error {
		// It has handed the mail over and waits for the answer.
		close(taken)
		<-died
		return nil
	}
	s.mu.Unlock()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-taken:
	case <-t.Context().Done():
		t.Fatal("the sender sent nothing")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	err = child.Wait()
	close(died)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
		t.Fatalf("the sender was not killed: %v", err)
	}
	s.mu.Lock()
	s.onData = nil
	s.mu.Unlock()
	f.until("pending", 1)

	// The lease keeps it from everybody, then ends.
	n := notification.New(notification.Config{SMTP: &notification.SMTP{Addr: s.addr, Security: notification.Plain}, Pool: f.pool})
	if took, err := n.SendSome(t.Context()); err != nil || took != 0 {
		t.Fatalf("took %d during the lease, error %v", took, err)
	}
	if _, err := f.pool.Exec(t.Context(), "update notification.messages set next_try_at = clock_timestamp()"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := n.SendSome(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.until("sent", 1)
	mails := s.taken()
	if len(mails) != 2 || mails[0].text != mails[1].text || mails[0].id == "" {
		t.Errorf("mails = %+v, want one and its repeat", mails)
	}
}

// Told to stop in the middle of a mail, the sender finishes that one and gives
// back the others.
func TestStopFinishesTheMail(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	f := setup(t, pending(), "c-1", "c-2", "c-3")
	ctx, cancel := context.WithCancel(t.Context())
	s.onData = func() error { cancel(); return nil }
	n := notification.New(notification.Config{SMTP: &notification.SMTP{Addr: s.addr, Security: notification.Plain}, Pool: f.pool})
	if err := n.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.Int("select count(*) from notification.messages where status = 'sent'"); n != 1 || len(s.taken()) != 1 {
		t.Errorf("%d sent, %d taken, want 1", n, len(s.taken()))
	}
	if n := f.Int("select count(*) from notification.messages where status = 'pending' and attempts = 0 and next_try_at <= clock_timestamp()"); n != 2 {
		t.Errorf("%d mails were given back, want 2", n)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []notification.Config{
		{Attempts: -1},
		{SMTP: &notification.SMTP{}},
		{SMTP: &notification.SMTP{Addr: "h:25", Security: "ssl"}},
		{SMTP: &notification.SMTP{Addr: "h:25", Timeout: time.Hour}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}
