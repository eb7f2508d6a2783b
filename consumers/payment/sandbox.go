package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// entry is one call of the gateway.
type entry struct {
	operation operation
	key       string
	subject   string // a charge; for a void, the key that was authorised
	outcome   string // of an authorisation that is new
	request   AuthorizeRequest
}

type operation int

const (
	authorize operation = iota
	capture
	void
	refund
)

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
	done, err := s.ledger.Do(ctx, entry{operation: authorize, key: key, subject: charge, outcome: first, request: r})
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
	return s.settle(ctx, "captured", entry{operation: capture, key: key, subject: chargeID})
}

// Void implements [Gateway].
func (s *Sandbox) Void(ctx context.Context, key, authorization string) error {
	return s.settle(ctx, "voided", entry{operation: void, key: key, subject: authorization})
}

// Refund implements [Gateway].
func (s *Sandbox) Refund(ctx context.Context, key, chargeID string) error {
	return s.settle(ctx, "refunded", entry{operation: refund, key: key, subject: chargeID})
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
// own: one call's fault is not another's, and a statement takes no key twice.
func (s *Sandbox) write(ctx context.Context, entries []entry) []combine.Answer[result] {
	answers := make([]combine.Answer[result], len(entries))
	err := s.transact(ctx, entries, answers)
	if pg, ok := errors.AsType[*pgconn.PgError](err); len(entries) == 1 || !ok || !isOneCalls(pg.Code) {
		return answers
	}
	for i := range entries {
		_ = s.transact(ctx, entries[i:i+1], answers[i:i+1]) // the error is in the answer
	}
	return answers
}

// isOneCalls tells whether an error of the server may be one call's doing: not its
// connection, its resources or a person's.
func isOneCalls(code string) bool {
	return !slices.Contains([]string{"08", "53", "57", "58"}, code[:min(2, len(code))])
}

// transact answers each entry with the same error if it fails. A failure on the
// way back may hide a commit, so that every error is of unknown outcome; the
// caller's key finds out.
func (s *Sandbox) transact(ctx context.Context, entries []entry, answers []combine.Answer[result]) error {
	results := make(map[string]result, len(entries))
	read := func(rows pgx.Rows) error {
		var key string
		var r result
		_, err := pgx.ForEachRow(rows, []any{&key, &r.calls, &r.outcome}, func() error {
			results[key] = r
			return nil
		})
		return err
	}
	var batch pgx.Batch
	// A void has to see the charge of the call it waited for.
	batch.Queue(sql.InboxBegin)
	for _, e := range entries {
		switch e.operation {
		case void:
			batch.Queue(sql.SandboxAuthorizationSpend, e.subject)
			batch.Queue(sql.SandboxVoid, e.key, e.subject).Query(read)
		case refund:
			batch.Queue(sql.SandboxRefund, e.key, e.subject).Query(read)
		}
	}
	if list := only(entries, authorize); len(list) > 0 {
		queueAuthorize(&batch, list).Query(read)
	}
	if list := only(entries, capture); len(list) > 0 {
		queueCapture(&batch, list).Query(read)
	}
	batch.Queue(sql.InboxCommit)
	err := s.pool.SendBatch(ctx, &batch).Close()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	for i, e := range entries {
		answers[i] = combine.Answer[result]{Value: results[e.key], Err: err}
	}
	return err
}

// only returns the entries of one operation, sorted by key.
func only(entries []entry, o operation) []entry {
	var list []entry
	for _, e := range entries {
		if e.operation == o {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return list
}

func queueAuthorize(batch *pgx.Batch, list []entry) *pgx.QueuedQuery {
	n := len(list)
	keys, charges, outcomes, orders := make([]string, n), make([]string, n), make([]string, n), make([][16]byte, n)
	tokens, currencies, amounts := make([]string, n), make([]string, n), make([]int64, n)
	for i, e := range list {
		keys[i], charges[i], outcomes[i], orders[i] = e.key, e.subject, e.outcome, e.request.OrderID
		tokens[i], currencies[i], amounts[i] = e.request.Token, e.request.Currency, e.request.AmountMinor
	}
	return batch.Queue(sql.SandboxAuthorize, keys, charges, outcomes, orders, tokens, currencies, amounts)
}

func queueCapture(batch *pgx.Batch, list []entry) *pgx.QueuedQuery {
	keys, charges := make([]string, len(list)), make([]string, len(list))
	for i, e := range list {
		keys[i], charges[i] = e.key, e.subject
	}
	return batch.Queue(sql.SandboxCapture, keys, charges)
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
