package kafkastate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// DefaultTopic holds the state of every slot whose relay is not told another one.
const DefaultTopic = "gapless.relay.state"

// Config of a Log.
type Config struct {
	Brokers []string
	Options []kgo.Opt // of TLS and SASL
	Topic   string    // default DefaultTopic
	Slot    string
	Create  bool         // make the topic when it is missing
	Logger  *slog.Logger // default slog.Default
}

func (c Config) withDefaults() Config {
	c.Topic = cmp.Or(c.Topic, DefaultTopic)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// UnusableError says why a topic cannot hold the state, and what to do.
type UnusableError struct{ What, Remedy string }

func (e *UnusableError) Error() string { return e.What }

const (
	// recordBytes is what the topic takes when it is made here: a row of a few megabytes
	// with its bytes in base64.
	recordBytes = 8 << 20
	// kafkaRecordBytes is what a topic takes by default, and is taken for its limit where
	// the broker does not say.
	kafkaRecordBytes = 1_048_588
	// adminTimeout bounds looking at the topic, and making it.
	adminTimeout = 15 * time.Second
)

// settings of the topic. Small segments, because the newest one is never compacted, and
// a start reads it.
func settings() map[string]*string {
	text := func(s string) *string { return &s }
	return map[string]*string{
		"cleanup.policy":            text("compact"),
		"max.message.bytes":         text(strconv.Itoa(recordBytes)),
		"segment.bytes":             text("16777216"),
		"min.cleanable.dirty.ratio": text("0.1"),
	}
}

// Making is the command by which a person makes the topic.
func Making(topic string) string {
	return "kafka-topics.sh --bootstrap-server … --create --topic " + topic +
		" --partitions 1 --config cleanup.policy=compact --config max.message.bytes=" + strconv.Itoa(recordBytes) + " --config segment.bytes=16777216"
}

// Shape is what a topic is.
type Shape struct {
	Exists     bool
	ID         kadm.TopicID
	Partitions int
	Replicas   int
	Policy     string // cleanup.policy; "" where the broker does not say
	MaxBytes   int    // max.message.bytes; 0 where the broker does not say
}

// Look finds out what the topic is. A topic that may not be described is an error.
func Look(ctx context.Context, c Config) (Shape, error) {
	c = c.withDefaults()
	client, err := kgo.NewClient(c.options()...)
	if err != nil {
		return Shape{}, fmt.Errorf("make kafka client: %w", err)
	}
	defer client.Close()
	return look(ctx, kadm.NewClient(client), c.Topic)
}

func look(ctx context.Context, admin *kadm.Client, topic string) (s Shape, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	details, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return s, fmt.Errorf("look for topic %s: %w", topic, err)
	}
	d, ok := details[topic]
	switch {
	case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		return s, nil
	case d.Err != nil:
		return s, fmt.Errorf("look for topic %s: %w", topic, d.Err)
	}
	s.Exists, s.ID, s.Partitions, s.Replicas = true, d.ID, len(d.Partitions), d.Partitions.NumReplicas()
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return s, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	for _, c := range configs {
		if errors.Is(c.Err, kerr.TopicAuthorizationFailed) {
			return s, nil
		}
		if c.Err != nil {
			return s, fmt.Errorf("describe topic %s: %w", topic, c.Err)
		}
		for _, v := range c.Configs {
			switch v.Key {
			case "cleanup.policy":
				s.Policy = v.MaybeValue()
			case "max.message.bytes":
				s.MaxBytes, _ = strconv.Atoi(v.MaybeValue()) // 0: it does not say
			}
		}
	}
	return s, nil
}

// Judge tells why the topic cannot hold the state; nil when it can.
func (s Shape) Judge(topic string) error {
	switch {
	case !s.Exists:
		return &UnusableError{
			"topic " + topic + ", which is to hold the relay's state, does not exist",
			"Make it: " + Making(topic) + ", or start the relay with --create-topics. If it was there before, its parked rows are gone with it: find out first who deleted it.",
		}
	case s.Partitions != 1:
		return &UnusableError{
			fmt.Sprintf("topic %s has %d partitions, and the relay's state needs the order of one", topic, s.Partitions),
			"Name another topic with --state-topic, or make one: " + Making("…"),
		}
	case s.Policy != "" && s.Policy != "compact":
		return &UnusableError{
			fmt.Sprintf("topic %s has cleanup.policy=%s: Kafka would remove the relay's state in time", topic, s.Policy),
			"kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name " + topic + " --add-config cleanup.policy=compact",
		}
	}
	return nil
}

// ensure makes the topic, if it is told to, and returns what it is.
func ensure(ctx context.Context, client *kgo.Client, c Config) (Shape, error) {
	admin := kadm.NewClient(client)
	s, err := look(ctx, admin, c.Topic)
	if err != nil {
		return s, err
	}
	if !s.Exists && c.Create {
		if s, err = create(ctx, admin, c); err != nil {
			return s, err
		}
	}
	if s.Exists && s.Policy == "" {
		c.Logger.WarnContext(ctx, "settings of the state topic may not be read, so whether it is compacted is not known", "topic", c.Topic)
	}
	return s, s.Judge(c.Topic)
}

func create(ctx context.Context, admin *kadm.Client, c Config) (Shape, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	config := settings()
	_, err := admin.CreateTopic(ctx, 1, -1, config, c.Topic)
	if errors.Is(err, kerr.InvalidConfig) || errors.Is(err, kerr.PolicyViolation) {
		// Some services let nobody set the others.
		_, err = admin.CreateTopic(ctx, 1, -1, map[string]*string{"cleanup.policy": config["cleanup.policy"]}, c.Topic)
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return Shape{}, fmt.Errorf("create topic %s: %w", c.Topic, err)
	}
	if err == nil {
		c.Logger.InfoContext(ctx, "state topic created", "topic", c.Topic)
	}
	for { // a broker answers before it knows the topic itself
		s, err := look(ctx, admin, c.Topic)
		if err != nil || s.Exists && s.Partitions > 0 {
			return s, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return s, fmt.Errorf("create topic %s: %w", c.Topic, ctx.Err())
		}
	}
}
