package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/sql"
)

// Tokens of the sandbox. Any other is declined.
const (
	TokenOK       = "tok_ok"
	TokenDeclined = "tok_declined" // a final no
	TokenFlaky    = "tok_flaky"    // two transient failures for each key, then success
	TokenLost     = "tok_lost"     // charged, but the first answer is lost
	TokenSlow     = "tok_slow"     // answers after two seconds
)

// FlaggedPostalCode makes the sandbox suspect fraud.
const FlaggedPostalCode = "00000"

// slowness of TokenSlow.
const slowness = 2 * time.Second

// Sandbox is a provider that moves no money: its ledger is sandbox.charges, and
// sandbox.requests remembers every idempotency key. Each call is one
// transaction on the pool it was given, which is never a handler's.
type Sandbox struct {
	pool *pgxpool.Pool
}

// NewSandbox returns a provider on a pool of its own. It does no I/O.
func NewSandbox(pool *pgxpool.Pool) *Sandbox { return &Sandbox{pool: pool} }

// Authorize implements [Gateway].
func (s *Sandbox) Authorize(ctx context.Context, key string, r AuthorizeRequest) (Authorization, error) {
	first := "authorized"
	switch r.Token {
	case TokenOK, TokenLost:
	case TokenFlaky:
		first = "transient"
	case TokenSlow:
		if err := wait(ctx, slowness); err != nil {
			return Authorization{}, err
		}
	default:
		first = "declined"
	}
	// Of the key, so that a key makes one charge and two keys would show as two.
	charge := "ch_" + uuid.NewSHA1(uuid.NameSpaceOID, []byte(key)).String()
	calls, outcome, err := s.call(ctx, sql.SandboxAuthorize, key, charge, first, r.OrderID, r.Token, r.Currency, r.AmountMinor)
	if err != nil {
		return Authorization{}, err
	}
	switch {
	case outcome == "transient":
		return Authorization{}, ErrTransient
	case outcome != "authorized":
		return Authorization{}, &DeclinedError{Code: "card_" + outcome}
	case r.Token == TokenLost && calls == 1:
		return Authorization{}, ErrUnknownOutcome
	}
	return Authorization{ChargeID: charge, Flagged: r.PostalCode == FlaggedPostalCode}, nil
}

// Capture implements [Gateway].
func (s *Sandbox) Capture(ctx context.Context, key, chargeID string) error {
	return s.settle(ctx, sql.SandboxCapture, "captured", key, chargeID)
}

// Void implements [Gateway].
func (s *Sandbox) Void(ctx context.Context, key, authorization string) error {
	var (
		batch   pgx.Batch // without BEGIN, a batch is one transaction
		outcome string
	)
	batch.Queue(sql.SandboxAuthorizationSpend, authorization)
	batch.Queue(sql.SandboxVoid, key, authorization).QueryRow(func(row pgx.Row) error { return row.Scan(new(int), &outcome) })
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return check(outcome, "voided")
}

// Refund implements [Gateway].
func (s *Sandbox) Refund(ctx context.Context, key, chargeID string) error {
	return s.settle(ctx, sql.SandboxRefund, "refunded", key, chargeID)
}

func (s *Sandbox) settle(ctx context.Context, statement, want, key, subject string) error {
	_, outcome, err := s.call(ctx, statement, key, subject)
	if err != nil {
		return err
	}
	return check(outcome, want)
}

func check(outcome, want string) error {
	if outcome != want {
		return &DeclinedError{Code: outcome}
	}
	return nil
}

// call runs one statement. A failure on the way back may hide a commit, so that
// every error is of unknown outcome; the caller's key finds out.
func (s *Sandbox) call(ctx context.Context, statement string, args ...any) (calls int, outcome string, err error) {
	if err := s.pool.QueryRow(ctx, statement, args...).Scan(&calls, &outcome); err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return calls, outcome, nil
}

// wait sleeps, or returns early with ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
