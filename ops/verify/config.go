package verify

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
)

// Consumer is a consumer whose effects are judged: every event of its topics
// must have a claim of it.
type Consumer struct {
	Name       string
	Topics     []string
	Generation int // default 1
}

// Config of [Run]. Zero values mean the defaults; a negative duration is off.
type Config struct {
	// Pool or DatabaseURL: exactly one. The login needs to read what it judges:
	// gapless_readonly is enough.
	Pool        *pgxpool.Pool
	DatabaseURL string
	// Brokers are the bootstrap servers. KafkaOptions come on top, for TLS and
	// SASL.
	Brokers      []string
	KafkaOptions []kgo.Opt
	// Consumers whose effects are judged. Analytics, loyalty and notification
	// are found by their names for the read models. None means that effects and
	// read models are not judged.
	Consumers []Consumer
	// Slot of the relay. Default gapless.
	Slot string
	// TopicPrefix before the aggregate type. Default outbox.event.
	TopicPrefix string

	// Wait is how long the relay may take to pass the cut. Default 30 s;
	// negative: it must have passed it already.
	Wait time.Duration
	// Young is how long ago a thing must have changed before a breach of
	// conservation or termination counts. Default 10 s; negative: not at all.
	Young time.Duration
	// Stall is how long Kafka may give nothing before the reading fails. Default
	// 30 s.
	Stall time.Duration
	// Examples of breaches kept for each check. Default 10; negative: none.
	Examples int
	// Progress is told what is being done, from Run's goroutine, a few times a
	// second at most. Optional.
	Progress func(Progress)
}

// Progress is where a run is.
type Progress struct {
	Step string // constant, lower case
	Done int64  // rows or records so far
	All  int64  // 0 when it is not known
	Why  string // what it waits for, one line; "" when it works
}

func (c Config) withDefaults() (Config, error) {
	c.Slot = cmp.Or(c.Slot, "gapless")
	c.TopicPrefix = cmp.Or(c.TopicPrefix, contracts.TopicPrefix)
	c.Wait = max(0, cmp.Or(c.Wait, 30*time.Second))
	c.Young = max(0, cmp.Or(c.Young, 10*time.Second))
	c.Stall = cmp.Or(c.Stall, 30*time.Second)
	c.Examples = max(0, cmp.Or(c.Examples, 10))
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if (c.Pool == nil) == (c.DatabaseURL == "") {
		fault("Pool or DatabaseURL: exactly one must be set")
	}
	if len(c.Brokers) == 0 {
		fault("Brokers: must not be empty")
	}
	if c.Stall < 0 {
		fault("Stall: must not be negative, is %s", c.Stall)
	}
	if len(c.Consumers) > maxConsumers {
		fault("Consumers: at most %d, are %d", maxConsumers, len(c.Consumers))
	}
	seen := make(map[string]bool)
	consumers := make([]Consumer, len(c.Consumers))
	for i, consumer := range c.Consumers {
		consumer.Generation = cmp.Or(consumer.Generation, 1)
		switch {
		case consumer.Name == "":
			fault("Consumers[%d].Name: must not be empty", i)
		case seen[consumer.Name]:
			fault("Consumers[%d].Name: %q is there twice", i, consumer.Name)
		case consumer.Generation < 1:
			fault("Consumers[%d].Generation: must be at least 1, is %d", i, consumer.Generation)
		}
		seen[consumer.Name], consumers[i] = true, consumer
	}
	c.Consumers = consumers
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("verify: %w", err)
	}
	return c, nil
}

// generation of a consumer, 0 when it is not to be judged.
func (c Config) generation(name string) int {
	for _, consumer := range c.Consumers {
		if consumer.Name == name {
			return consumer.Generation
		}
	}
	return 0
}
