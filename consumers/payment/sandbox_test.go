package payment_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/consumers/payment"
	"github.com/gapless/gapless/internal/pgtest"
)

func sandbox(t *testing.T) (*payment.Sandbox, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.NewDB(t).LoginPool(t, pgtest.Consumer)
	return payment.NewSandbox(pool), pool
}

func count(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func request(token string) payment.AuthorizeRequest {
	return payment.AuthorizeRequest{OrderID: uuid.New(), Token: token, AmountMinor: 500, Currency: "EUR"}
}

// One key, any number of calls at once: one charge. Two keys: two, as any
// gateway would.
func TestSandboxKeys(t *testing.T) {
	t.Parallel()
	s, pool := sandbox(t)
	var g errgroup.Group
	r := request("tok_ok")
	for range 16 {
		g.Go(func() error { _, err := s.Authorize(t.Context(), "k", r); return err })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, "select count(*) from sandbox.charges"); n != 1 {
		t.Errorf("%d charges for one key", n)
	}
	if n := count(t, pool, "select calls from sandbox.requests"); n != 16 {
		t.Errorf("%d calls on record, want 16", n)
	}
	if _, err := s.Authorize(t.Context(), "other", r); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, "select count(*) from sandbox.charges"); n != 2 {
		t.Errorf("%d charges for two keys", n)
	}
}

func TestSandboxFlakyAndLost(t *testing.T) {
	t.Parallel()
	s, pool := sandbox(t)
	for i, want := range []error{payment.ErrTransient, payment.ErrTransient, nil, nil} {
		if _, err := s.Authorize(t.Context(), "flaky", request("tok_flaky")); !errors.Is(err, want) {
			t.Errorf("flaky call %d: %v, want %v", i+1, err, want)
		}
		if n := count(t, pool, "select count(*) from sandbox.charges"); (n == 1) != (i >= 2) {
			t.Errorf("flaky call %d: %d charges", i+1, n)
		}
	}
	for i, want := range []error{payment.ErrUnknownOutcome, nil, nil} {
		if _, err := s.Authorize(t.Context(), "lost", request("tok_lost")); !errors.Is(err, want) {
			t.Errorf("lost call %d: %v, want %v", i+1, err, want)
		}
		if n := count(t, pool, "select count(*) from sandbox.charges"); n != 2 {
			t.Errorf("lost call %d: %d charges, want the flaky one's and one", i+1, n)
		}
	}
}

// An authorisation and its void, at once and in any order, leave nothing
// charged.
func TestSandboxVoidRaces(t *testing.T) {
	t.Parallel()
	s, pool := sandbox(t)
	for range 20 {
		key := uuid.NewString()
		var g errgroup.Group
		g.Go(func() error {
			_, err := s.Authorize(t.Context(), key, request("tok_ok"))
			if _, declined := errors.AsType[*payment.DeclinedError](err); declined {
				return nil // the void was first
			}
			return err
		})
		g.Go(func() error { return s.Void(t.Context(), key+"/void", key) })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, pool, "select count(*) from sandbox.charges where status <> 'voided'"); n != 0 {
		t.Errorf("%d of 20 charges outlived their void", n)
	}
}

func TestSandboxSettles(t *testing.T) {
	t.Parallel()
	s, _ := sandbox(t)
	ctx := t.Context()
	a, err := s.Authorize(ctx, "k", request("tok_ok"))
	if err != nil {
		t.Fatal(err)
	}
	declined := func(what string, err error) {
		t.Helper()
		if _, ok := errors.AsType[*payment.DeclinedError](err); !ok {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
	declined("refund before capture", s.Refund(ctx, "r0", a.ChargeID))
	declined("capture of nothing", s.Capture(ctx, "c0", "ch_none"))
	for range 2 {
		if err := s.Capture(ctx, "c", a.ChargeID); err != nil {
			t.Errorf("capture: %v", err)
		}
	}
	declined("void after capture", s.Void(ctx, "v0", "k"))
	for range 2 {
		if err := s.Refund(ctx, "r", a.ChargeID); err != nil {
			t.Errorf("refund: %v", err)
		}
	}
	if err := s.Void(ctx, "v1", "never seen"); err != nil {
		t.Errorf("void of nothing: %v", err)
	}
	_, err = s.Authorize(ctx, "never seen", request("tok_ok"))
	declined("authorisation after its void", err)
}

// Calls share a transaction; one that the ledger cannot hold fails alone.
func TestSandboxFaultIsItsOwn(t *testing.T) {
	t.Parallel()
	s, pool := sandbox(t)
	var g errgroup.Group
	for i := range 40 {
		r := request("tok_ok")
		key := uuid.NewString()
		if i%10 == 3 {
			r.Currency = "E\x00R"
		}
		g.Go(func() error {
			_, err := s.Authorize(t.Context(), key, r)
			if bad := r.Currency != "EUR"; bad != errors.Is(err, payment.ErrUnknownOutcome) {
				t.Errorf("currency %q: %v", r.Currency, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, "select count(*) from sandbox.charges"); n != 36 {
		t.Errorf("%d charges, want 36", n)
	}
}
