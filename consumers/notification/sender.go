package notification

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/sql"
)

// claimed is how many mails a sender takes at once.
const claimed = 50

// mailRow is a claimed row.
type mailRow struct {
	MessageID  string    `db:"message_id"`
	CustomerID string    `db:"customer_id"`
	Subject    string    `db:"subject"`
	Body       string    `db:"body"`
	Attempts   int       `db:"attempts"`
	CreatedAt  time.Time `db:"created_at"`
}

// Run sends what is pending. It blocks until ctx ends and returns nil then; a
// mail under way is settled or given back first. Without SMTP it only waits.
func (n *Notifier) Run(ctx context.Context) error {
	if n.config.SMTP == nil {
		<-ctx.Done()
		return nil
	}
	if n.config.Pool == nil {
		return errors.New("notification: Config.Pool is required to send")
	}
	away := n.config.Interval // grows while the server, or the database, is away
	for ctx.Err() == nil {
		took, err := n.sendSome(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			n.log.Warn("mail not sent, will try again", "error", err, "pause", away)
			wait(ctx, away/2+rand.N(away/2+1))
			away = min(2*away, time.Minute)
			continue
		case took < claimed:
			wait(ctx, n.config.Interval)
		}
		away = n.config.Interval
	}
	return nil
}

// sendSome claims and sends a few mails. Its error is one that stopped it: of
// the database or of the connection, not of one mail.
func (n *Notifier) sendSome(ctx context.Context) (took int, err error) {
	// Local time from before the claim: the lease cannot end before we think it
	// does.
	expires := time.Now().Add(n.config.Lease)
	rows, err := n.config.Pool.Query(ctx, sql.NotificationClaim, claimed, n.config.Lease.Seconds())
	if err != nil {
		return 0, fmt.Errorf("claim mails: %w", err)
	}
	mails, err := pgx.CollectRows(rows, pgx.RowToStructByName[mailRow])
	if err != nil {
		return 0, fmt.Errorf("claim mails: %w", err)
	}
	if len(mails) == 0 {
		return 0, nil
	}
	s, err := n.config.SMTP.open(ctx)
	if err != nil {
		return 0, errors.Join(err, n.release(ctx, mails))
	}
	defer s.close()
	for i, m := range mails {
		if time.Until(expires) <= s.timeout || ctx.Err() != nil {
			return i, n.release(ctx, mails[i:])
		}
		if err := n.sendOne(ctx, s, m); err != nil {
			return i, errors.Join(err, n.release(ctx, mails[i+1:]))
		}
	}
	return len(mails), nil
}

// sendOne brings one mail to an outcome. It returns an error when the session,
// or the database, cannot be used for the next.
func (n *Notifier) sendOne(ctx context.Context, s *session, m mailRow) error {
	to, err := recipient(m.CustomerID, n.config.RecipientDomain)
	if err != nil {
		return n.settle(ctx, m, failed, 0, err)
	}
	text, err := compose(m, n.config.From, to)
	if err != nil {
		return n.settle(ctx, m, failed, 0, err)
	}
	err = s.send(ctx, n.config.From, to, text)
	if err == nil {
		crashpoint.Hit("notification.after_send")
		return n.settle(ctx, m, sent, 0, nil)
	}
	if _, unserved := errors.AsType[*unservedError](err); unserved {
		return errors.Join(err, n.release(ctx, []mailRow{m}))
	}
	_, refused := errors.AsType[*refusedError](err)
	_, answered := errors.AsType[*textproto.Error](err)
	status, pause := pending, n.backoff(m.Attempts)
	if refused || m.Attempts >= n.config.Attempts {
		status = failed
	}
	if serr := n.settle(ctx, m, status, pause, err); serr != nil {
		return serr
	}
	if !answered && !refused {
		return err
	}
	return s.reset()
}

// backoff after so many attempts: doubled with each, half of it random.
func (n *Notifier) backoff(attempts int) time.Duration {
	d := n.config.Backoff
	for range attempts - 1 {
		if d >= n.config.MaxBackoff {
			break
		}
		d *= 2
	}
	d = min(d, n.config.MaxBackoff)
	return d/2 + rand.N(d/2+1)
}

// farewell bounds writes that must be made although ctx has ended: without them
// a mail that was taken would be sent again.
const farewell = 5 * time.Second

func (n *Notifier) settle(ctx context.Context, m mailRow, status string, pause time.Duration, cause error) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), farewell, errors.New("mark mail: timeout"))
	defer cancel()
	var text string
	if cause != nil {
		text = storable(cause.Error())
	}
	if _, err := n.config.Pool.Exec(ctx, sql.NotificationSettle, m.MessageID, status, pause.Seconds(), text); err != nil {
		return fmt.Errorf("mark mail %s: %w", m.MessageID, err)
	}
	result := status
	if status == pending {
		result = "retried"
	}
	n.mails.WithLabelValues(result).Inc()
	return nil
}

func (n *Notifier) release(ctx context.Context, mails []mailRow) error {
	if len(mails) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), farewell, errors.New("give mails back: timeout"))
	defer cancel()
	ids := make([]string, len(mails))
	for i, m := range mails {
		ids[i] = m.MessageID
	}
	if _, err := n.config.Pool.Exec(ctx, sql.NotificationRelease, ids); err != nil {
		return fmt.Errorf("give mails back: %w", err)
	}
	return nil
}

// storable makes what a server answered fit a text column.
func storable(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "")
	}
	return s
}

// wait sleeps, or returns early with ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
