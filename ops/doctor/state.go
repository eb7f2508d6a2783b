package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/gapless/gapless/relay/kafkastate"
)

// stateShape is what the topic of the relay's state is.
func (e *exam) stateShape(ctx context.Context) (kafkastate.Shape, error) {
	if _, err := e.cluster(ctx); err != nil {
		return kafkastate.Shape{}, err
	}
	return e.state.get(func() (kafkastate.Shape, error) {
		return kafkastate.Look(ctx, kafkastate.Config{Brokers: e.cfg.Brokers, Options: e.cfg.KafkaOptions, Topic: e.cfg.StateTopic, Slot: e.cfg.Slot})
	})
}

// keepsStateInKafka tells whether relays of a database without schema find their state.
func (e *exam) keepsStateInKafka(ctx context.Context) bool {
	shape, err := e.stateShape(ctx)
	return err == nil && shape.Judge(e.cfg.StateTopic) == nil
}

func (e *exam) stateTopic(ctx context.Context) (verdict, error) {
	shape, err := e.stateShape(ctx)
	if err != nil {
		return verdict{}, err
	}
	holds, err := e.installed(ctx)
	if err != nil {
		return verdict{}, err
	}
	topic := e.cfg.StateTopic
	if !shape.Exists && holds.Outbox {
		return well("there is no topic %s, and none is needed: the state is in the database", topic), nil
	}
	if u, ok := errors.AsType[*kafkastate.UnusableError](shape.Judge(topic)); ok {
		if !shape.Exists { // which is what the schema's own check says
			return warn("gapless migrate up. Where schema gapless may not be: "+u.Remedy, "neither schema gapless nor topic %s, either of which holds a relay's state, is there", topic), nil
		}
		return fault(u.Remedy, "%s", u.What), nil
	}
	switch {
	case shape.Policy == "":
		return unknown("kafka-acls.sh --add --allow-principal … --operation DescribeConfigs --topic "+topic, "this client may not read the settings of %s", topic)
	case shape.Replicas == 1 && len(e.kafka.value.brokers) > 1:
		return warn("kafka-reassign-partitions.sh, with more replicas", "%s has one replica: with its disk go the position and the parked rows", topic), nil
	case shape.MaxBytes < e.cfg.MaxRecordBytes:
		return warn(strings.ReplaceAll(e.alter("max.message.bytes", "8388608"), "--entity-name …", "--entity-name "+topic),
			"%s takes records of %d bytes: a parked row that is larger is kept without its bytes", topic, shape.MaxBytes), nil
	}
	return well("%s has one partition, is compacted, and has %d replicas", topic, shape.Replicas), nil
}
