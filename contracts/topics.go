package contracts

import (
	"strconv"
	"strings"
)

// TopicPrefix comes before the aggregate type in a topic's name, as with
// Debezium's EventRouter.
const TopicPrefix = "outbox.event."

// Aggregate types of the order pipeline.
const (
	Order              = "order"
	Stock              = "stock"
	Payment            = "payment"
	Shipment           = "shipment"
	InventoryCommand   = "inventory.command"
	PaymentCommand     = "payment.command"
	FulfillmentCommand = "fulfillment.command"
	SagaCommand        = "saga.command"
)

// Topic returns the topic of an aggregate type.
func Topic(aggregateType string) string { return TopicPrefix + aggregateType }

// DeadLetterTopic returns the topic that a group's dead letters from topic go
// to.
func DeadLetterTopic(group, topic string) string { return "dlq." + group + "." + topic }

// Group returns the Kafka consumer group of a consumer: gapless.<consumer>,
// and gapless.<consumer>.g<N> for a rebuild.
func Group(consumer string, generation int) string {
	if generation <= 1 {
		return "gapless." + consumer
	}
	return "gapless." + consumer + ".g" + strconv.Itoa(generation)
}

// ShortName is the outbox type of a full message name: what follows its last
// dot.
func ShortName(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }
