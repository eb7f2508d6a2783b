package fulfillment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/sql"
)

// Name of the consumer.
const Name = "fulfillment"

// Config of the participant.
type Config struct {
	// Refuse returns a code when the carrier does not ship to an address, else
	// "". nil refuses a first line of "fail". Country XX is always refused.
	Refuse func(*gaplessv1.Address) string
}

type service struct{ Config }

// New returns the participant. It does no I/O.
func New(c Config) consumers.Consumer {
	if c.Refuse == nil {
		c.Refuse = func(a *gaplessv1.Address) string {
			if strings.EqualFold(a.GetLine1(), "fail") {
				return "address_refused"
			}
			return ""
		}
	}
	s := &service{c}
	return consumers.Consumer{
		Name:       Name,
		Topics:     []string{contracts.Topic(contracts.FulfillmentCommand)},
		Types:      []string{"CreateShipment", "CancelShipment"},
		ApplyBatch: s.applyBatch,
	}
}

// Status of a shipment; empty before the first command.
const (
	created   = "created"
	failed    = "failed"
	cancelled = "cancelled"
)

// shipment is a row of fulfillment.shipments.
type shipment struct {
	OrderID  uuid.UUID         `db:"order_id"`
	Status   string            `db:"status"`
	Address  address           `db:"address"`
	Tracking string            `db:"tracking_number"`
	Reason   string            `db:"reason"`
	Version  int64             `db:"version"`
	StepIDs  map[string]string `db:"step_ids"`
}

// address is stored in the words of the HTTP interface.
type address struct {
	Line1      string `json:"line1,omitempty"`
	Line2      string `json:"line2,omitempty"`
	City       string `json:"city,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"`
}

func (s *service) applyBatch(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	commands := make([]proto.Message, len(batch))
	orders := make([]uuid.UUID, len(batch))
	for i, d := range batch {
		var err error
		if commands[i], orders[i], err = participant.Decode(d.Message); err != nil {
			return err
		}
	}
	shipments, err := lock(ctx, tx, slices.Clone(orders))
	if err != nil {
		return err
	}
	for i, d := range batch {
		p := shipments[orders[i]]
		if p == nil {
			p = &shipment{OrderID: orders[i], StepIDs: make(map[string]string)}
			shipments[orders[i]] = p
		}
		var reply proto.Message
		switch c := commands[i].(type) {
		case *gaplessv1.CreateShipment:
			reply = s.create(p, c)
		case *gaplessv1.CancelShipment:
			reply = p.cancel()
		default:
			return consumers.Poison(participant.Invalid, fmt.Errorf("type %q is no command of this participant", d.Type))
		}
		p.Version++
		p.StepIDs[d.Type] = d.StepID()
		if err := tx.Emit(ctx, d.Message, participant.Reply(d.Message, contracts.Shipment, p.OrderID, p.Version, reply)); err != nil {
			return err
		}
	}
	save(tx, shipments)
	return nil
}

func (s *service) create(p *shipment, c *gaplessv1.CreateShipment) proto.Message {
	if p.Status == "" {
		a := c.GetAddress()
		p.Address = address{
			Line1: a.GetLine1(), Line2: a.GetLine2(), City: a.GetCity(), Region: a.GetRegion(),
			PostalCode: a.GetPostalCode(), Country: a.GetCountry(),
		}
		p.Status = created
		// Of the order id: the carrier, asked again, would give the same.
		p.Tracking = "GL" + strings.ToUpper(strings.ReplaceAll(p.OrderID.String(), "-", ""))
		if code := s.refuse(a); code != "" {
			p.Status, p.Reason, p.Tracking = failed, code, ""
		}
	}
	switch p.Status {
	case failed:
		return &gaplessv1.ShipmentFailed{OrderId: p.OrderID.String(), Code: p.Reason}
	case cancelled:
		return &gaplessv1.ShipmentFailed{OrderId: p.OrderID.String(), Code: cancelled}
	}
	return &gaplessv1.ShipmentCreated{OrderId: p.OrderID.String(), TrackingNumber: p.Tracking, Address: &gaplessv1.Address{
		Line1: p.Address.Line1, Line2: p.Address.Line2, City: p.Address.City, Region: p.Address.Region,
		PostalCode: p.Address.PostalCode, Country: p.Address.Country,
	}}
}

func (s *service) refuse(a *gaplessv1.Address) string {
	if a.GetCountry() == "XX" {
		return "country_refused"
	}
	return s.Refuse(a)
}

func (p *shipment) cancel() proto.Message {
	if p.Status != failed { // created, or nothing yet: then a tombstone
		p.Status = cancelled
	}
	return &gaplessv1.ShipmentCancelled{OrderId: p.OrderID.String()}
}

func lock(ctx context.Context, tx consumers.Tx, orders []uuid.UUID) (map[uuid.UUID]*shipment, error) {
	rows, err := tx.Query(ctx, sql.FulfillmentLock, participant.Raw(participant.SortIDs(orders)))
	if err != nil {
		return nil, fmt.Errorf("lock shipments: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[shipment])
	if err != nil {
		return nil, fmt.Errorf("lock shipments: %w", err)
	}
	shipments := make(map[uuid.UUID]*shipment, len(orders))
	for _, p := range list {
		shipments[p.OrderID] = p
	}
	return shipments, nil
}

func save(tx consumers.Tx, shipments map[uuid.UUID]*shipment) {
	orders := participant.SortIDs(slices.Collect(maps.Keys(shipments)))
	n := len(orders)
	var (
		statuses  = make([]string, n)
		addresses = make([]address, n)
		trackings = make([]string, n)
		reasons   = make([]string, n)
		versions  = make([]int64, n)
		steps     = make([]map[string]string, n)
	)
	for i, order := range orders {
		p := shipments[order]
		statuses[i], addresses[i], trackings[i] = p.Status, p.Address, p.Tracking
		reasons[i], versions[i], steps[i] = p.Reason, p.Version, p.StepIDs
	}
	tx.Queue(sql.FulfillmentSave, participant.Raw(orders), statuses, addresses, trackings, reasons, versions, steps)
}
