package topics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
)

// maxMessageBytes is what every topic takes at least.
const maxMessageBytes = 2 << 20

// Consumer is a consumer whose dead letters need topics.
type Consumer struct {
	Name       string
	Topics     []string
	Generation int // default 1
}

// Config of [Apply] and [Missing].
type Config struct {
	// Brokers are the bootstrap servers. KafkaOptions come on top, for TLS and
	// SASL.
	Brokers      []string
	KafkaOptions []kgo.Opt
	// Topics to make. Default: those of the catalogue.
	Topics []string
	// Consumers whose dead letters need topics.
	Consumers []Consumer

	// Partitions of a topic of events. Default 32.
	Partitions int
	// DeadLetterPartitions of a topic of dead letters. Default 1.
	DeadLetterPartitions int
	// Replication of new topics. Default: the cluster's.
	Replication int
	// MinInsync is min.insync.replicas. Default: the cluster's.
	MinInsync int
	// AllowRepartition lets Apply add partitions, which moves keys.
	AllowRepartition bool
	// DryRun says what would be done, and does nothing.
	DryRun bool
}

func (c Config) withDefaults() (Config, error) {
	if c.Topics == nil {
		c.Topics = contracts.Topics()
	}
	c.Partitions = cmp.Or(c.Partitions, 32)
	c.DeadLetterPartitions = cmp.Or(c.DeadLetterPartitions, 1)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		fault("Brokers: must not be empty")
	}
	for _, n := range []struct {
		field      string
		value, max int
	}{
		{"Partitions", c.Partitions, 10_000},
		{"DeadLetterPartitions", c.DeadLetterPartitions, 10_000},
		{"Replication", c.Replication, 1_000},
		{"MinInsync", c.MinInsync, 1_000},
	} {
		if n.value < 0 || n.value > n.max {
			fault("%s: must be between 1 and %d, is %d", n.field, n.max, n.value)
		}
	}
	if c.MinInsync > 0 && c.Replication > 0 && c.MinInsync > c.Replication {
		fault("MinInsync: %d replicas can never be in sync with a Replication of %d", c.MinInsync, c.Replication)
	}
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("topics: %w", err)
	}
	return c, nil
}

// reachWithin bounds how long a broker may take to answer at first: a command
// says that it is away, it does not wait for it.
const reachWithin = 8 * time.Second

func (c Config) admin(ctx context.Context) (*kadm.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, c.KafkaOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if err := client.Ping(limited); err != nil {
		client.Close()
		return nil, fmt.Errorf("cannot reach Kafka at %s: %w", strings.Join(c.Brokers, ", "), err)
	}
	return kadm.NewClient(client), nil
}

// Names returns every topic that c asks for, sorted, each once.
func (c Config) Names() []string {
	var names []string
	for _, t := range c.wanted() {
		names = append(names, t.name)
	}
	return names
}

// topic is one that is wanted.
type topic struct {
	name       string
	partitions int
}

func (c Config) wanted() []topic {
	events := c.Topics
	if events == nil {
		events = contracts.Topics()
	}
	var list []topic
	for _, name := range events {
		list = append(list, topic{name, c.Partitions})
	}
	for _, consumer := range c.Consumers {
		group := contracts.Group(consumer.Name, consumer.Generation)
		for _, name := range consumer.Topics {
			list = append(list, topic{contracts.DeadLetterTopic(group, name), c.DeadLetterPartitions})
		}
	}
	slices.SortFunc(list, func(a, b topic) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(list, func(a, b topic) bool { return a.name == b.name })
}

// settings of a topic that is made. Values that are "at least" are not lowered
// where the topic exists.
func (c Config) settings() map[string]string {
	s := map[string]string{
		"cleanup.policy":         "delete",
		"max.message.bytes":      strconv.Itoa(maxMessageBytes),
		"message.timestamp.type": "CreateTime",
	}
	if c.MinInsync > 0 {
		s["min.insync.replicas"] = strconv.Itoa(c.MinInsync)
	}
	return s
}

// enough tells whether a value that was found does as well as the one wanted.
func enough(setting, want, have string) bool {
	if setting != "max.message.bytes" {
		return want == have
	}
	w, _ := strconv.Atoi(want) // ours
	h, err := strconv.Atoi(have)
	return err == nil && h >= w
}
