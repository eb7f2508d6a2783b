package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// Place is where a relay keeps its state.
type Place string

// The places.
const (
	// Auto is Postgres where schema gapless is, or may be made; else Kafka, where that is
	// configured. A record that is in Kafka while there is no schema keeps it there.
	Auto     Place = ""
	Postgres Place = "postgres" // schema gapless of the database
	Kafka    Place = "kafka"    // a compacted topic
)

// Storage says where a relay keeps its state: how far it is, what it has parked, what
// operators want. The zero value is schema gapless of the database.
//
// The place is chosen at the first start and never changed in silence: a slot whose record
// is in the other place is refused. One that has its record in the database does not ask
// Kafka, unless the state is to be there.
type Storage struct {
	Place Place

	// Brokers and Options are those of the topic's cluster. Without Brokers nothing is
	// kept in Kafka, nor looked for there.
	Brokers     []string
	Options     []kgo.Opt
	Topic       string // default kafkastate.DefaultTopic
	CreateTopic bool   // when it is missing
	// MaxParked bounds what of a slot's parked rows is kept in memory, at some hundred bytes
	// each: the stream holds at it. In Kafka it counts the rows that are parked or wait
	// behind such, by default kafkastate.MaxRows; in the database the keys that these block,
	// by default a million.
	MaxParked int

	// MakeSchema makes schema gapless where the login may and the state is not to be in
	// Kafka; nil: it is not made.
	MakeSchema func(context.Context) error
}

// ErrNoRetention says that the configuration asks for retention, which deletes in the
// database by what the database knows, of a relay whose state is in Kafka.
var ErrNoRetention = errors.New("retention needs the relay's state in the database (schema gapless), and it is in Kafka: leave retention out")

func (s Storage) validate(c Config) error {
	if s.MaxParked < 0 {
		return fmt.Errorf("Storage: MaxParked %d is negative", s.MaxParked)
	}
	switch s.Place {
	case Auto, Postgres:
	case Kafka:
		if len(s.Brokers) == 0 {
			return errors.New("Storage: Kafka needs Brokers")
		}
		if c.Retention.Outbox > 0 || len(c.Retention.Tables) > 0 {
			return ErrNoRetention
		}
	default:
		return fmt.Errorf("Storage: place %q is none of postgres, kafka", s.Place)
	}
	return nil
}

func (s Storage) log(cfg Config) kafkastate.Config {
	return kafkastate.Config{
		Brokers: s.Brokers, Options: s.Options, Topic: cmp.Or(s.Topic, kafkastate.DefaultTopic), Slot: cfg.Slot, Create: s.CreateTopic, Logger: cfg.Logger,
	}
}

// stateTopic is where this relay keeps its state, or others do by default. Nothing else
// goes there, whatever a row or a route says: it would be read back as the relay's own.
func (c Config) stateTopic(topic string) *format.Fault {
	if topic != kafkastate.DefaultTopic && (topic != c.Storage.Topic || topic == "") {
		return nil
	}
	return &format.Fault{Reason: format.BadTopic, Detail: "topic " + topic + " holds the state of relays"}
}

// keepsInPostgres tells where the state is, once its place is chosen.
func (r *Relay) keepsInPostgres() bool {
	_, ok := r.remembered().(*store)
	return ok
}

// advised is a refusal with what to do where the state is.
func (r *Relay) advised(refusal *Refusal) error {
	if s := r.remembered(); s != nil {
		return s.advise(refusal)
	}
	return refusal
}

func (s *store) advise(r *Refusal) *Refusal { return r }

// forgetState lets go of a state of its own.
func (r *Relay) forgetState() {
	if s := r.remembered(); s != nil && !r.keepsInPostgres() {
		s.close()
	}
}

// placement is what relay_place.sql says.
type placement struct {
	Made     bool `db:"made"`
	Readable bool `db:"readable"`
	Makeable bool `db:"makeable"`
}

// choose finds out where the state is. It writes nothing but what is needed to keep it.
func (r *Relay) choose(ctx context.Context, system string) error {
	c := r.cfg.Storage
	if len(c.Brokers) == 0 {
		r.remember(r.store)
		return nil
	}
	found, err := collect[placement](ctx, r.store, sql.RelayPlace)
	if err != nil {
		return fmt.Errorf("look for the place of the state: %w", err)
	}
	if c.Place != Kafka && found.Made && found.Readable {
		// A slot whose record is here never had its first one made while Kafka had one:
		// Kafka need not be there for it.
		here, err := r.store.load(ctx)
		if err != nil {
			return err
		}
		if here != nil {
			r.remember(r.store)
			return nil
		}
	}
	elsewhere, err := r.inKafka(ctx, system)
	if err != nil {
		return err
	}
	chosen := c.Place
	if chosen == Auto && !found.Made && elsewhere != nil {
		chosen = Kafka // a right that was granted since is no reason to move
	}
	if chosen != Kafka && !found.Made && found.Makeable && c.MakeSchema != nil {
		if err := c.MakeSchema(ctx); err != nil {
			if _, refused := errors.AsType[*pgconn.PgError](err); refused {
				return refuse("Run 'gapless migrate up', or keep the state elsewhere with --state kafka.", "schema gapless cannot be made for the relay's state: %v", err)
			}
			return fmt.Errorf("make schema gapless for the relay's state: %w", err)
		}
		r.log.InfoContext(ctx, "schema gapless made, for the relay's state")
		found.Made, found.Readable = true, true
	}
	switch {
	case chosen == Auto && found.Made:
		chosen = Postgres
	case chosen == Auto:
		chosen = Kafka
	}
	if chosen == Postgres {
		return r.chooseStore(elsewhere)
	}
	return r.chooseKafka(ctx, found, elsewhere)
}

func (r *Relay) chooseStore(elsewhere *progress) error {
	if elsewhere != nil {
		return r.refusePlaces(nil, elsewhere, Postgres)
	}
	r.remember(r.store)
	return nil
}

func (r *Relay) chooseKafka(ctx context.Context, found placement, here *progress) error {
	if c := r.cfg.Retention; c.Outbox > 0 || len(c.Tables) > 0 {
		return ErrNoRetention
	}
	if found.Made && !found.Readable {
		r.log.WarnContext(ctx, "gapless.relay_progress may not be read: whether the slot has a record there is not known")
	} else if found.Made {
		elsewhere, err := r.store.load(ctx)
		if err != nil {
			return err
		}
		if elsewhere != nil {
			return r.refusePlaces(elsewhere, here, Kafka)
		}
	}
	k, err := openKafkaState(ctx, r.cfg, r.store)
	if err != nil {
		return err
	}
	r.log.InfoContext(ctx, "state is kept in Kafka", "topic", k.topic)
	r.remember(k)
	return nil
}

// inKafka reads the record in the topic; nil where there is none, nor a topic, or it may
// not be read. A slot of the same name on another server is nobody's business here.
func (r *Relay) inKafka(ctx context.Context, system string) (*progress, error) {
	cfg := r.cfg
	cfg.Storage.CreateTopic = false
	shape, err := kafkastate.Look(ctx, cfg.Storage.log(cfg))
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), err == nil && shape.Judge(cfg.Storage.log(cfg).Topic) != nil:
		return nil, nil
	case err != nil:
		return nil, &stateError{err}
	}
	k, err := openKafkaState(ctx, cfg, r.store)
	if err != nil {
		return nil, err
	}
	defer k.close()
	p, err := k.load(ctx)
	if err != nil || p != nil && p.SystemID != system {
		return nil, err
	}
	return p, nil
}

// refusePlaces is for a slot with a record where it is not looked for.
func (r *Relay) refusePlaces(inPostgres, inKafka *progress, chosen Place) error {
	slot, topic := r.cfg.Slot, r.cfg.Storage.log(r.cfg).Topic
	drop := "DELETE FROM gapless.relay_progress WHERE slot = " + literal(slot)
	forget := "gapless relay forget --slot " + slot + " --state-topic " + topic
	switch {
	case inPostgres != nil && inKafka != nil:
		return refuseSQL([]string{drop}, "Keep the one that relays have gone on with, and settle the parked rows of the other first, for they would be left behind. "+
			"To keep Kafka's run the statement, to keep the database's run '"+forget+"'.",
			"slot %q has a record in schema gapless, at %s, and one in topic %s, at %s", slot, inPostgres.position.Resume, topic, inKafka.position.Resume)
	case chosen == Kafka && inPostgres != nil:
		return refuse("Start with --state postgres. To move to Kafka, let the relay settle what is parked and stop, then delete the record there: "+drop+
			". The relay then begins where the slot is.",
			"the state is to be in Kafka, but slot %q has its record in schema gapless, at %s", slot, inPostgres.position.Resume)
	case chosen == Postgres && inKafka != nil:
		return refuse("Start with --state kafka. To move to the database, let the relay settle what is parked and stop, then run '"+forget+
			"'. The relay then begins where the slot is.",
			"the state is to be in schema gapless, but slot %q has its record in topic %s, at %s", slot, topic, inKafka.position.Resume)
	}
	return nil
}

// stateError ends a stream because of the state's own server.
type stateError struct{ err error }

func (e *stateError) Error() string { return "state: " + e.err.Error() }
func (e *stateError) Unwrap() error { return e.err }

// forbidden tells whether a right is missing, which a person must grant.
func (e *stateError) forbidden() bool {
	for _, code := range []error{kerr.TopicAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.ClusterAuthorizationFailed} {
		if errors.Is(e.err, code) {
			return true
		}
	}
	return false
}
