package contracts

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gapless/gapless/contracts/gaplessv1"
)

// Contract is one message type on one topic.
type Contract struct {
	AggregateType string
	Message       proto.Message
}

// Type is the outbox type of the contract.
func (c Contract) Type() string { return string(c.descriptor().Name()) }

// FullName is the Protobuf name of the message.
func (c Contract) FullName() string { return string(c.descriptor().FullName()) }

// Subject is the registry's subject: TopicRecordName.
func (c Contract) Subject() string { return Topic(c.AggregateType) + "-" + c.FullName() }

func (c Contract) descriptor() protoreflect.MessageDescriptor {
	return c.Message.ProtoReflect().Descriptor()
}

// Catalogue returns every contract of the pipeline, grouped by topic.
func Catalogue() []Contract {
	return []Contract{
		{Order, (*gaplessv1.OrderPlaced)(nil)},
		{Order, (*gaplessv1.OrderInReview)(nil)},
		{Order, (*gaplessv1.OrderConfirmed)(nil)},
		{Order, (*gaplessv1.OrderCancelled)(nil)},
		{Order, (*gaplessv1.OrderNeedsAttention)(nil)},
		{Stock, (*gaplessv1.StockReserved)(nil)},
		{Stock, (*gaplessv1.StockRejected)(nil)},
		{Stock, (*gaplessv1.StockReleased)(nil)},
		{Payment, (*gaplessv1.PaymentAuthorized)(nil)},
		{Payment, (*gaplessv1.PaymentDeclined)(nil)},
		{Payment, (*gaplessv1.PaymentCaptured)(nil)},
		{Payment, (*gaplessv1.PaymentVoided)(nil)},
		{Payment, (*gaplessv1.PaymentRefunded)(nil)},
		{Shipment, (*gaplessv1.ShipmentCreated)(nil)},
		{Shipment, (*gaplessv1.ShipmentFailed)(nil)},
		{Shipment, (*gaplessv1.ShipmentCancelled)(nil)},
		{InventoryCommand, (*gaplessv1.ReserveStock)(nil)},
		{InventoryCommand, (*gaplessv1.ReleaseStock)(nil)},
		{PaymentCommand, (*gaplessv1.AuthorizePayment)(nil)},
		{PaymentCommand, (*gaplessv1.CapturePayment)(nil)},
		{PaymentCommand, (*gaplessv1.VoidPayment)(nil)},
		{PaymentCommand, (*gaplessv1.RefundPayment)(nil)},
		{FulfillmentCommand, (*gaplessv1.CreateShipment)(nil)},
		{FulfillmentCommand, (*gaplessv1.CancelShipment)(nil)},
		{SagaCommand, (*gaplessv1.ApproveReview)(nil)},
		{SagaCommand, (*gaplessv1.RejectReview)(nil)},
		{SagaCommand, (*gaplessv1.CancelOrder)(nil)},
	}
}

// Topics returns the topics of the catalogue, each once, in its order.
func Topics() []string {
	var list []string
	for _, c := range Catalogue() {
		if t := Topic(c.AggregateType); len(list) == 0 || list[len(list)-1] != t {
			list = append(list, t)
		}
	}
	return list
}
