package notification

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/sql"
)

// Name of the consumer.
const Name = "notification"

// Status of a mail.
const (
	pending = "pending"
	sent    = "sent"
	failed  = "failed"
	notSent = "not_sent"
)

// Config of the notifier. The zero value writes the table and sends nothing.
type Config struct {
	// SMTP server; nil sends nothing, and every mail is not_sent.
	SMTP *SMTP
	// Pool of the database that holds schema notification, for [Notifier.Run].
	Pool *pgxpool.Pool
	// From is the sender's address. Default orders@gapless.invalid.
	From string
	// MessageIDDomain is the right side of Message-IDs. It must stay the same,
	// or a repeat does not look like one. Default gapless.invalid.
	MessageIDDomain string
	// RecipientDomain completes customer ids that are no addresses. Default
	// customers.invalid, which no server will deliver to (RFC 2606).
	RecipientDomain string
	// Attempts at a mail before it is failed. Default 12.
	Attempts int
	// Backoff after the first failure; it doubles, up to MaxBackoff. Defaults
	// 10 seconds and 1 hour.
	Backoff, MaxBackoff time.Duration
	// Lease is how long a claimed mail is this sender's: longer than SMTP's
	// Timeout, or a slow server gets it twice. Default 5 minutes.
	Lease time.Duration
	// Interval at which the table is asked for what is due. Default 1 second.
	Interval time.Duration
	// Logger; nil means none.
	Logger *slog.Logger
	// Registerer of the metrics; nil means none.
	Registerer prometheus.Registerer
}

// Validate reports every field that cannot be.
func (c *Config) Validate() error {
	var errs []error
	if c.Attempts < 0 || c.Backoff < 0 || c.MaxBackoff < 0 || c.Lease < 0 || c.Interval < 0 {
		errs = append(errs, errors.New("config: Attempts, Backoff, MaxBackoff, Lease and Interval must not be negative"))
	}
	if c.SMTP != nil {
		errs = append(errs, c.SMTP.validate())
		if lease := cmp.Or(c.Lease, defaultLease); lease <= cmp.Or(c.SMTP.Timeout, defaultTimeout) {
			errs = append(errs, errors.New("config: Lease must be longer than SMTP.Timeout"))
		}
	}
	return errors.Join(errs...)
}

const defaultLease = 5 * time.Minute

// Notifier is the consumer and its sender.
type Notifier struct {
	config Config
	log    *slog.Logger
	mails  *prometheus.CounterVec
}

// New returns a notifier. It does no I/O. It panics on a Config that
// contradicts itself, see [Config.Validate].
func New(c Config) *Notifier {
	if err := c.Validate(); err != nil {
		panic("notification: " + err.Error())
	}
	c.From = cmp.Or(c.From, "orders@gapless.invalid")
	c.MessageIDDomain = cmp.Or(c.MessageIDDomain, "gapless.invalid")
	c.RecipientDomain = cmp.Or(c.RecipientDomain, "customers.invalid")
	c.Attempts = cmp.Or(c.Attempts, 12)
	c.Backoff = cmp.Or(c.Backoff, 10*time.Second)
	c.MaxBackoff = max(cmp.Or(c.MaxBackoff, time.Hour), c.Backoff)
	c.Lease = cmp.Or(c.Lease, defaultLease)
	c.Interval = cmp.Or(c.Interval, time.Second)
	n := &Notifier{config: c, log: c.Logger, mails: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gapless_notification_mails_total", Help: "Mails tried, by result: sent, failed, retried.",
	}, []string{"result"})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if c.Registerer != nil {
		c.Registerer.MustRegister(n.mails)
	}
	return n
}

// Consumer is the notifier's part in the inbox runtime.
func (n *Notifier) Consumer() consumers.Consumer {
	return consumers.Consumer{
		Name:       Name,
		Topics:     []string{contracts.Topic(contracts.Order)},
		Types:      []string{"OrderPlaced", "OrderConfirmed", "OrderCancelled", "OrderInReview", "OrderNeedsAttention"},
		ApplyBatch: n.applyBatch,
	}
}

func (n *Notifier) applyBatch(_ context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	size := len(batch)
	var (
		ids, customers, kinds, subjects, bodies, statuses = make([]string, size), make([]string, size), make([]string, size), make([]string, size), make([]string, size), make([]string, size)
		events, orders                                    = make([][16]byte, size), make([][16]byte, size)
	)
	status := pending
	if n.config.SMTP == nil {
		status = notSent
	}
	for i, d := range batch {
		body, order, err := participant.Decode(d.Message)
		if err != nil {
			return err
		}
		l, err := write(body)
		if err != nil {
			return consumers.Poison(participant.Invalid, err)
		}
		ids[i] = d.ID.String() + "@" + n.config.MessageIDDomain
		events[i], orders[i], customers[i] = d.ID, order, l.customer
		kinds[i], subjects[i], bodies[i], statuses[i] = l.kind, l.subject, l.body, status
	}
	tx.Queue(sql.NotificationAppend, ids, events, orders, customers, kinds, subjects, bodies, statuses)
	return nil
}
