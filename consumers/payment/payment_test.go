package payment_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/consumers/payment"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
)

func ExampleNew() {
	var pool *pgxpool.Pool // of the service; the sandbox has one of its own
	c := payment.New(payment.Config{DB: pool, Gateway: payment.NewSandbox(pool)})
	fmt.Println(c.Name, c.Topics, c.Prepare != nil)
	// Output: payment [outbox.event.payment.command] true
}

// fixture is a harness on a login with a consumer's rights, and the sandbox on
// another pool.
type fixture struct {
	*consumerstest.Harness
	t       *testing.T
	db      *pgtest.DB
	gateway *meddler
}

func setup(t *testing.T) *fixture {
	t.Helper()
	db := pgtest.NewDB(t)
	url := db.LoginURL(t, pgtest.Consumer)
	m := &meddler{Gateway: payment.NewSandbox(pgtest.OpenPool(t, url))}
	c := payment.New(payment.Config{DB: pgtest.OpenPool(t, url), Gateway: m, Attempts: 4, Backoff: -1})
	return &fixture{consumerstest.New(t, url, c), t, db, m}
}

// meddler is the sandbox with a line that fails on demand.
type meddler struct {
	payment.Gateway
	mu    sync.Mutex
	fails func(operation, key string) error
	calls []string
}

func (m *meddler) meddle(operation, key string, do func() error) error {
	m.mu.Lock()
	m.calls = append(m.calls, operation)
	fails := m.fails
	m.mu.Unlock()
	if fails != nil {
		if err := fails(operation, key); err != nil {
			return err
		}
	}
	return do()
}

func (m *meddler) Authorize(ctx context.Context, key string, r payment.AuthorizeRequest) (a payment.Authorization, err error) {
	err = m.meddle("authorize", key, func() (err error) { a, err = m.Gateway.Authorize(ctx, key, r); return err })
	return a, err
}

func (m *meddler) Capture(ctx context.Context, key, charge string) error {
	return m.meddle("capture", key, func() error { return m.Gateway.Capture(ctx, key, charge) })
}

func (m *meddler) Void(ctx context.Context, key, authorization string) error {
	return m.meddle("void", key, func() error { return m.Gateway.Void(ctx, key, authorization) })
}

func (m *meddler) Refund(ctx context.Context, key, charge string) error {
	return m.meddle("refund", key, func() error { return m.Gateway.Refund(ctx, key, charge) })
}

func (f *fixture) command(order uuid.UUID, m proto.Message) *consumers.Message {
	name := string(m.ProtoReflect().Descriptor().Name())
	return f.Event(contracts.PaymentCommand, order.String(), m,
		consumers.Header{Name: "gapless_step", Value: []byte(uuid.NewSHA1(order, []byte(name)).String())})
}

func (f *fixture) authorize(order uuid.UUID, token string) *consumers.Message {
	return f.command(order, &gaplessv1.AuthorizePayment{OrderId: order.String(), PaymentToken: token, AmountMinor: 1000, Currency: "USD", PostalCode: "94107"})
}

func (f *fixture) capture(order uuid.UUID) *consumers.Message {
	return f.command(order, &gaplessv1.CapturePayment{OrderId: order.String()})
}

func (f *fixture) void(order uuid.UUID) *consumers.Message {
	return f.command(order, &gaplessv1.VoidPayment{OrderId: order.String()})
}

func (f *fixture) refund(order uuid.UUID) *consumers.Message {
	return f.command(order, &gaplessv1.RefundPayment{OrderId: order.String()})
}

// expect compares replies, the payment and the gateway's charges of an order.
func (f *fixture) expect(order uuid.UUID, replies, status, charges string) {
	f.t.Helper()
	var list []string
	for _, e := range f.Emitted() {
		if e.AggregateID == order.String() {
			list = append(list, e.Type)
			if *e.AggregateVersion != int64(len(list)) {
				f.t.Errorf("%s has version %d, want %d", e.Type, *e.AggregateVersion, len(list))
			}
		}
	}
	if got := strings.Join(list, " "); got != replies {
		f.t.Errorf("replies = %s, want %s", got, replies)
	}
	scan := func(query string) (text string) {
		if err := f.Pool().QueryRow(f.t.Context(), query, order).Scan(&text); err != nil {
			f.t.Fatal(err)
		}
		return text
	}
	if got := scan("select coalesce(max(status), '') from payment.payments where order_id = $1"); got != status {
		f.t.Errorf("payment is %q, want %q", got, status)
	}
	got := scan("select coalesce(string_agg(status || ' ' || captured_minor || '-' || refunded_minor, ', '), '') from sandbox.charges where order_id = $1")
	if got != charges {
		f.t.Errorf("charges = %q, want %q", got, charges)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for token, want := range map[string][3]string{
		"tok_ok":       {"PaymentAuthorized", "authorized", "authorized 0-0"},
		"tok_declined": {"PaymentDeclined", "declined", ""},
		"tok_flaky":    {"PaymentAuthorized", "authorized", "authorized 0-0"},
		"tok_lost":     {"PaymentAuthorized", "authorized", "authorized 0-0"},
		"tok_slow":     {"PaymentAuthorized", "authorized", "authorized 0-0"},
		"tok_unheard":  {"PaymentDeclined", "declined", ""},
	} {
		t.Run(token, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			order := uuid.New()
			f.Feed(f.authorize(order, token))
			f.expect(order, want[0], want[1], want[2])
		})
	}
}

func TestFlagged(t *testing.T) {
	t.Parallel()
	f := setup(t)
	order := uuid.New()
	f.Feed(f.command(order, &gaplessv1.AuthorizePayment{OrderId: order.String(), PaymentToken: "tok_ok", AmountMinor: 1, Currency: "USD", PostalCode: "00000"}))
	if m, ok := f.Decode(f.Emitted()[0]).(*gaplessv1.PaymentAuthorized); !ok || !m.GetFlagged() {
		t.Errorf("reply = %v, want it flagged", m)
	}
}

func TestCaptureVoidRefund(t *testing.T) {
	t.Parallel()
	f := setup(t)
	kept, voided, refunded := uuid.New(), uuid.New(), uuid.New()
	for _, order := range []uuid.UUID{kept, voided, refunded} {
		f.Feed(f.authorize(order, "tok_ok"))
	}
	f.Feed(f.capture(kept), f.void(voided), f.capture(refunded))
	f.Feed(f.refund(refunded))
	f.expect(kept, "PaymentAuthorized PaymentCaptured", "captured", "captured 1000-0")
	f.expect(voided, "PaymentAuthorized PaymentVoided", "voided", "voided 0-0")
	f.expect(refunded, "PaymentAuthorized PaymentCaptured PaymentRefunded", "refunded", "refunded 1000-1000")
}

// Whichever undo is asked for, the payment's state says which it takes.
func TestUndoFitsTheState(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, b := uuid.New(), uuid.New()
	f.Feed(f.authorize(a, "tok_ok"), f.authorize(b, "tok_ok"))
	f.Feed(f.capture(b))
	f.Feed(f.refund(a), f.void(b))
	f.expect(a, "PaymentAuthorized PaymentVoided", "voided", "voided 0-0")
	f.expect(b, "PaymentAuthorized PaymentCaptured PaymentRefunded", "refunded", "refunded 1000-1000")
}

// Everything in one batch: each command is prepared on what the one before it
// has done.
func TestWholeLifeInOneBatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	f.Feed(
		f.authorize(a, "tok_lost"), f.authorize(b, "tok_ok"), f.void(c),
		f.capture(a), f.void(b), f.authorize(c, "tok_ok"),
		f.refund(a), f.authorize(b, "tok_ok"),
	)
	f.expect(a, "PaymentAuthorized PaymentCaptured PaymentRefunded", "refunded", "refunded 1000-1000")
	f.expect(b, "PaymentAuthorized PaymentVoided PaymentDeclined", "voided", "voided 0-0")
	f.expect(c, "PaymentVoided PaymentDeclined", "voided", "") // never charged
	if n := len(f.DeadLetters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A void that overtakes its authorisation: nothing is charged later.
func TestVoidBeforeAuthorize(t *testing.T) {
	t.Parallel()
	f := setup(t)
	order := uuid.New()
	f.Feed(f.void(order))
	f.Feed(f.authorize(order, "tok_ok"))
	f.expect(order, "PaymentVoided PaymentDeclined", "voided", "")
}

// The same commands under other event ids, and the same events again.
func TestRepeats(t *testing.T) {
	t.Parallel()
	f := setup(t)
	order := uuid.New()
	for range 2 {
		f.Feed(f.authorize(order, "tok_lost"))
	}
	first := f.capture(order)
	f.Feed(first)
	f.Feed(first, f.Again(first), f.capture(order))
	f.expect(order, "PaymentAuthorized PaymentAuthorized PaymentCaptured PaymentCaptured", "captured", "captured 1000-0")
}

// A gateway that is away pauses the partition: nothing is parked, nothing is
// counted, and when it is back there is one charge.
func TestGatewayAway(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{payment.ErrTransient, payment.ErrUnknownOutcome, errors.New("no route to host")} {
		t.Run(kind.Error(), func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			left := 30 // more than any number of attempts
			f.gateway.fails = func(string, string) error {
				if left--; left > 0 {
					return kind
				}
				return nil
			}
			prepare := f.prepare()
			order := uuid.New()
			m := f.authorize(order, "tok_ok")
			if _, err := prepare(t.Context(), m); !consumers.IsUnavailable(err) || !errors.Is(err, kind) {
				t.Fatalf("error = %v, want it marked unavailable", err)
			}
			left = 6 // two attempts at Prepare
			f.Feed(m)
			f.expect(order, "PaymentAuthorized", "authorized", "authorized 0-0")
			if n := f.Int("select count(*) from gapless.inbox_attempt") + int64(len(f.DeadLetters())); n != 0 {
				t.Errorf("%d attempts and dead letters of a message that was never at fault", n)
			}
		})
	}
}

func (f *fixture) prepare() func(context.Context, *consumers.Message) (any, error) {
	return payment.New(payment.Config{DB: f.Pool(), Gateway: f.gateway, Attempts: 4, Backoff: -1}).Prepare
}

// A void that the gateway refuses is never reported as done.
func TestRefusedUndoIsParked(t *testing.T) {
	t.Parallel()
	f := setup(t)
	order := uuid.New()
	f.Feed(f.authorize(order, "tok_ok"))
	f.gateway.fails = func(operation, _ string) error {
		if operation == "void" {
			return &payment.DeclinedError{Code: "too_late"}
		}
		return nil
	}
	f.Feed(f.void(order))
	f.expect(order, "PaymentAuthorized", "authorized", "authorized 0-0")
	if letters := f.DeadLetters(); len(letters) != 1 || letters[0].Reason != payment.GatewayRefused {
		t.Errorf("dead letters = %+v, want one: %s", letters, payment.GatewayRefused)
	}
}

// A declined capture leaves the authorisation for the saga to void.
func TestDeclinedCapture(t *testing.T) {
	t.Parallel()
	f := setup(t)
	order := uuid.New()
	f.Feed(f.authorize(order, "tok_ok"))
	f.gateway.fails = func(operation, _ string) error {
		if operation == "capture" {
			return &payment.DeclinedError{Code: "expired"}
		}
		return nil
	}
	f.Feed(f.capture(order))
	f.Feed(f.void(order))
	f.expect(order, "PaymentAuthorized PaymentDeclined PaymentVoided", "voided", "voided 0-0")
}

func TestPoison(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good := uuid.New()
	noStep := f.Event(contracts.PaymentCommand, "k1", &gaplessv1.AuthorizePayment{OrderId: uuid.NewString(), PaymentToken: "tok_ok"})
	negative := uuid.New()
	f.Feed(
		f.Record(contracts.PaymentCommand, "k2", "AuthorizePayment", []byte("garbage")),
		noStep,
		f.command(negative, &gaplessv1.AuthorizePayment{OrderId: negative.String(), PaymentToken: "tok_ok", AmountMinor: -1}),
		f.capture(uuid.New()), // of nothing
		f.authorize(good, "tok_ok"),
	)
	f.expect(good, "PaymentAuthorized", "authorized", "authorized 0-0")
	if n := len(f.DeadLetters()); n != 4 {
		t.Errorf("%d dead letters, want 4", n)
	}
	if n := f.Int("select count(*) from sandbox.charges"); n != 1 {
		t.Errorf("%d charges, want the good one's", n)
	}
}

// A crash at every point of every delivery, after the gateway was called: one
// charge an order, and the same effect.
func TestCrashes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	pool := f.db.Pool(t)
	c := payment.New(payment.Config{DB: pool, Gateway: payment.NewSandbox(pool), Backoff: -1})
	h := consumerstest.New(t, f.db.URL, c)
	a, b := uuid.New(), uuid.New()
	messages := []*consumers.Message{f.authorize(a, "tok_lost"), f.authorize(b, "tok_flaky")}
	h.Repeatedly(messages, func() string {
		return h.Text(`select (select string_agg(status, ',' order by order_id) from payment.payments) || ' '
			|| (select count(*) from sandbox.charges) || ' ' || (select count(*) from gapless.outbox)`)
	}, func() {
		if _, err := pool.Exec(t.Context(), "truncate payment.payments, gapless.outbox, sandbox.charges, sandbox.requests"); err != nil {
			t.Fatal(err)
		}
	})
}
