package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers/internal/combine"
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
// sandbox.requests remembers every idempotency key. Calls made at the same time
// share a transaction on the pool it was given, which is never a handler's.
type Sandbox struct {
	pool   *pgxpool.Pool
	ledger *combine.Combiner[entry, result]
}

// entry is what a call writes into the ledger: statements that return a count of
// calls and an outcome in the last.
type entry struct {
	key        string
	statements []statement
}

type statement struct {
	sql  string
	args []any
}

type result struct {
	calls   int
	outcome string
}

// NewSandbox returns a provider on a pool of its own. It does no I/O.
func NewSandbox(pool *pgxpool.Pool) *Sandbox {
	s := &Sandbox{pool: pool}
	// One transaction at a time: two could wait for each other's rows.
	s.ledger = combine.New(1, 64, s.write)
	return s
}

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
	done, err := s.ledger.Do(ctx, entry{key, []statement{
		{sql.SandboxAuthorize, []any{key, charge, first, r.OrderID, r.Token, r.Currency, r.AmountMinor}},
	}})
	if err != nil {
		return Authorization{}, err
	}
	switch {
	case done.outcome == "transient":
		return Authorization{}, ErrTransient
	case done.outcome != "authorized":
		return Authorization{}, &DeclinedError{Code: "card_" + done.outcome}
	case r.Token == TokenLost && done.calls == 1:
		return Authorization{}, ErrUnknownOutcome
	}
	return Authorization{ChargeID: charge, Flagged: r.PostalCode == FlaggedPostalCode}, nil
}

// Capture implements [Gateway].
func (s *Sandbox) Capture(ctx context.Context, key, chargeID string) error {
	return s.settle(ctx, "captured", entry{key, []statement{{sql.SandboxCapture, []any{key, chargeID}}}})
}

// Void implements [Gateway].
func (s *Sandbox) Void(ctx context.Context, key, authorization string) error {
	return s.settle(ctx, "voided", entry{key, []statement{
		{sql.SandboxAuthorizationSpend, []any{authorization}},
		{sql.SandboxVoid, []any{key, authorization}},
	}})
}

// Refund implements [Gateway].
func (s *Sandbox) Refund(ctx context.Context, key, chargeID string) error {
	return s.settle(ctx, "refunded", entry{key, []statement{{sql.SandboxRefund, []any{key, chargeID}}}})
}

func (s *Sandbox) settle(ctx context.Context, want string, e entry) error {
	done, err := s.ledger.Do(ctx, e)
	if err != nil {
		return err
	}
	if done.outcome != want {
		return &DeclinedError{Code: done.outcome}
	}
	return nil
}

// write makes the entries in one transaction, or, where that fails, each in its
// own: one call's fault is not another's.
func (s *Sandbox) write(ctx context.Context, entries []entry) []combine.Answer[result] {
	answers := make([]combine.Answer[result], len(entries))
	err := s.transact(ctx, entries, answers)
	if err == nil || len(entries) == 1 {
		return answers
	}
	for i := range entries {
		_ = s.transact(ctx, entries[i:i+1], answers[i:i+1]) // the error is in the answer
	}
	return answers
}

// transact answers each entry with the same error if it fails. A failure on the
// way back may hide a commit, so that every error is of unknown outcome; the
// caller's key finds out.
func (s *Sandbox) transact(ctx context.Context, entries []entry, answers []combine.Answer[result]) error {
	var batch pgx.Batch // without BEGIN, a batch is one transaction
	for i, e := range entries {
		answers[i] = combine.Answer[result]{}
		last := len(e.statements) - 1
		for n, st := range e.statements {
			q := batch.Queue(st.sql, st.args...)
			if n == last {
				q.QueryRow(func(row pgx.Row) error { return row.Scan(&answers[i].Value.calls, &answers[i].Value.outcome) })
			}
		}
	}
	err := s.pool.SendBatch(ctx, &batch).Close()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		for i := range answers {
			answers[i].Err = err
		}
	}
	return err
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
