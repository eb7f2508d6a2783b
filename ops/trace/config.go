package trace

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
)

// Consumer is a consumer that is expected to claim every event of its topics.
type Consumer struct {
	Name       string
	Topics     []string
	Generation int // default 1
}

// Config of [Trace].
type Config struct {
	// Pool is the database. gapless_readonly and gapless_app may read it all.
	Pool *pgxpool.Pool
	// Brokers are the bootstrap servers, KafkaOptions come on top. None: Postgres
	// alone is asked.
	Brokers      []string
	KafkaOptions []kgo.Opt
	// Consumers whose claims are looked for. None: whoever has claimed is shown,
	// nobody is missing, and a large inbox takes its time.
	Consumers []Consumer
	// TopicPrefix before the aggregate type. Default outbox.event.
	TopicPrefix string
	// KafkaTimeout bounds the look into Kafka. Default 5 s; negative: none.
	KafkaTimeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	c.TopicPrefix = cmp.Or(c.TopicPrefix, contracts.TopicPrefix)
	c.KafkaTimeout = cmp.Or(c.KafkaTimeout, 5*time.Second)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Pool == nil {
		fault("Pool: must be set")
	}
	consumers := make([]Consumer, len(c.Consumers))
	for i, consumer := range c.Consumers {
		consumer.Generation = cmp.Or(consumer.Generation, 1)
		if consumer.Name == "" {
			fault("Consumers[%d].Name: must not be empty", i)
		}
		consumers[i] = consumer
	}
	c.Consumers = consumers
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("trace: %w", err)
	}
	return c, nil
}
