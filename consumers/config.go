package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/outbox"
)

// Config of [New], [Run] and [NewInbox]. Zero means the default; a negative
// number turns the thing off where that makes sense, and is a fault elsewhere.
type Config struct {
	// DatabaseURL of the database that holds the inbox and the handlers' tables;
	// or Pool, which stays the caller's to close. Exactly one. pool_max_conns in the
	// URL bounds the pool; without it there is a connection for each transaction. The
	// files that it names (passfile, sslcert, sslkey, sslrootcert, service) are read
	// again for each connection.
	DatabaseURL string
	Pool        *pgxpool.Pool

	// Brokers of Kafka. Not used by [NewInbox].
	Brokers []string
	// KafkaOptions go to every client, for TLS, SASL and timeouts. What the inbox
	// needs to be right (group, marks, isolation, rebalance) wins over them.
	KafkaOptions []kgo.Opt

	// Consumers to run, each in a group of its own. Names are distinct.
	Consumers []Consumer
	// Instance makes this process a static member of its groups (KIP-345): a
	// process that starts under the name of one that died takes over its
	// partitions at once, where others wait for the dead one's session to end,
	// which is 10 s. A clean stop keeps the partitions for as long, so that a
	// restart moves none. Each process that runs at the same time needs a name of
	// its own: Run returns an error when another takes its name. "" is a member
	// like any other.
	Instance string
	// Generation of the consumers: 1, and higher for a rebuild, which has a group
	// and inbox rows of its own. Default 1.
	Generation int

	// Encoder of emitted messages; nil means JSON.
	Encoder outbox.Encoder

	// BatchSize is the most messages in one transaction. Default 500.
	BatchSize int
	// Concurrency is how many transactions of one consumer run at once. Few of
	// them make batches grow under load, which is what makes commits cheap.
	// Default 2.
	Concurrency int
	// PrepareConcurrency is how many Prepare of one consumer run at once.
	// Default 64.
	PrepareConcurrency int

	// MaxAttempts at a message before it is parked. Default 5.
	MaxAttempts int
	// RetryFor bounds the tries in time, while the offset is held. Default 30 s;
	// negative is no bound.
	RetryFor time.Duration
	// RetryMessages bounds the tries, from the third on, by what waits behind the
	// message in its partition. Default 1000; negative is no bound.
	RetryMessages int
	// RetryBackoff is the pause after the first failure; it doubles. Default
	// 200 ms.
	RetryBackoff time.Duration

	// DrainTimeout bounds what is under way when a partition is given up or Run
	// ends; after it, transactions are cut off. Default 5 s.
	DrainTimeout time.Duration

	// Logger; nil is silent. Registerer of metrics; nil keeps them unregistered.
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Trace, when set, is called around each transaction with what it is about to
	// apply: start a span with links to the messages' traceparent, return its
	// context and its end. It runs on hot paths and must not block.
	Trace func(ctx context.Context, consumer string, batch []*Message) (context.Context, func(error))
}

// queueBytes bounds what is received for one partition and not settled.
const queueBytes = 16 << 20

func (c Config) withDefaults() Config {
	c.Generation = cmp.Or(c.Generation, 1)
	c.BatchSize = cmp.Or(c.BatchSize, 500)
	c.Concurrency = cmp.Or(c.Concurrency, 2)
	c.PrepareConcurrency = cmp.Or(c.PrepareConcurrency, 64)
	c.MaxAttempts = cmp.Or(c.MaxAttempts, 5)
	c.RetryFor = cmp.Or(c.RetryFor, 30*time.Second)
	c.RetryMessages = cmp.Or(c.RetryMessages, 1000)
	c.RetryBackoff = cmp.Or(c.RetryBackoff, 200*time.Millisecond)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// consumerName keeps names fit for a group id, a topic name and a label.
var consumerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// instanceName is what a broker takes as group.instance.id.
var instanceName = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,200}$`)

func (c *Config) validate() error {
	faults := []error{c.validateInbox()}
	if len(c.Brokers) == 0 {
		faults = append(faults, errors.New("config: Brokers is empty"))
	}
	if len(c.Consumers) == 0 {
		faults = append(faults, errors.New("config: Consumers is empty"))
	}
	if !instanceName.MatchString(c.Instance) {
		faults = append(faults, fmt.Errorf("config: Instance %q must be letters, digits, '.', '_' and '-', at most 200", c.Instance))
	}
	names := map[string]bool{}
	for i := range c.Consumers {
		faults = append(faults, c.Consumers[i].validate())
		if len(c.Consumers[i].Topics) == 0 {
			faults = append(faults, fmt.Errorf("config: consumer %q: Topics is empty", c.Consumers[i].Name))
		}
		if names[c.Consumers[i].Name] {
			faults = append(faults, fmt.Errorf("config: consumer %q is named twice", c.Consumers[i].Name))
		}
		names[c.Consumers[i].Name] = true
	}
	return errors.Join(faults...)
}

// validateInbox checks what does not concern Kafka.
func (c *Config) validateInbox() error {
	var faults []error
	if (c.DatabaseURL == "") == (c.Pool == nil) {
		faults = append(faults, errors.New("config: give DatabaseURL or Pool, one of them"))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Generation", int64(c.Generation)},
		{"BatchSize", int64(c.BatchSize)},
		{"Concurrency", int64(c.Concurrency)},
		{"PrepareConcurrency", int64(c.PrepareConcurrency)},
		{"MaxAttempts", int64(c.MaxAttempts)},
		{"RetryBackoff", int64(c.RetryBackoff)},
		{"DrainTimeout", int64(c.DrainTimeout)},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("config: %s is negative", f.name))
		}
	}
	return errors.Join(faults...)
}

func (c *Consumer) validate() error {
	var faults []error
	if !consumerName.MatchString(c.Name) {
		faults = append(faults, fmt.Errorf("config: consumer %q: Name must be lower-case letters, digits, '_' and '-', at most 63", c.Name))
	}
	if (c.Apply == nil) == (c.ApplyBatch == nil) {
		faults = append(faults, fmt.Errorf("config: consumer %q: set Apply or ApplyBatch, one of them", c.Name))
	}
	return errors.Join(faults...)
}
