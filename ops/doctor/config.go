package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
)

// Config of [Run]. Zero values mean the defaults.
type Config struct {
	// DatabaseURL of the database with the outbox, as libpq has it.
	DatabaseURL string
	Slot        string // default gapless
	Publication string // default gapless
	// Tables are the relay's, see relay.Config: the publication has to hold them, and
	// their formats name topics.
	Tables map[string]format.Format
	// Messages: the relay sends logical messages.
	Messages bool

	// Brokers are the bootstrap servers, KafkaOptions come on top. None: what is about
	// Kafka is not judged.
	Brokers      []string
	KafkaOptions []kgo.Opt
	// StateTopic holds the relay's state where that is in Kafka. Default
	// kafkastate.DefaultTopic.
	StateTopic string
	// MaxRecordBytes is the largest record that the relay sends. Default 2 MiB.
	MaxRecordBytes int

	// Registry is how to ask the schema registry. Nil: not judged.
	Registry *schema.Config

	// Consumers of the pipeline, where the database holds it.
	Consumers []topics.Consumer

	// TransactionAge is how long a transaction may be open. Default 10 min.
	TransactionAge time.Duration
	// Timeout of each check, and of each first look at a server. Default 5 s.
	Timeout time.Duration

	// Only these checks, by their ids; Quick takes what a container's health check
	// needs. Both empty: all.
	Only  []string
	Quick bool

	// Remedy returns the fix for an error of Postgres or of the registry, BrokerRemedy
	// that for one of Kafka; "" where there is none. Nil: no fixes for errors.
	Remedy, BrokerRemedy func(error) string

	// Now is the clock of this program. Default time.Now.
	Now func() time.Time
}

// Validate names every fault of c, as [Run] would.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	c.Slot = cmp.Or(c.Slot, "gapless")
	c.Publication = cmp.Or(c.Publication, "gapless")
	c.StateTopic = cmp.Or(c.StateTopic, kafkastate.DefaultTopic)
	c.MaxRecordBytes = cmp.Or(c.MaxRecordBytes, 2<<20)
	c.TransactionAge = cmp.Or(c.TransactionAge, 10*time.Minute)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	none := func(error) string { return "" }
	if c.Remedy == nil {
		c.Remedy = none
	}
	if c.BrokerRemedy == nil {
		c.BrokerRemedy = none
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.DatabaseURL == "" {
		fault("DatabaseURL: must be set")
	} else if _, err := pgconnect.Parse(c.DatabaseURL); err != nil {
		fault("DatabaseURL: %w", err)
	}
	if c.TransactionAge < 0 {
		fault("TransactionAge: must not be negative, is %s", c.TransactionAge)
	}
	if c.Timeout < 0 {
		fault("Timeout: must not be negative, is %s", c.Timeout)
	}
	if c.MaxRecordBytes < 0 {
		fault("MaxRecordBytes: must not be negative, is %d", c.MaxRecordBytes)
	}
	for _, id := range c.Only {
		if !slices.Contains(IDs(), id) {
			fault("Only: there is no check %q; choose from %s", id, strings.Join(IDs(), ", "))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("doctor: %w", err)
	}
	return c, nil
}

func (c Config) wants(k check) bool {
	if len(c.Only) > 0 {
		return slices.Contains(c.Only, k.id)
	}
	return k.quick || !c.Quick
}
