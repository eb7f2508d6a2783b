package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// Place is where a relay keeps its state.
type Place string

// The places.
const (
	// Auto is Postgres where schema gapless is, or may be made; else Kafka, where that is
	// configured.
	Auto     Place = ""
	Postgres Place = "postgres" // schema gapless of the database
	Kafka    Place = "kafka"    // a compacted topic
)

// Storage says where a relay keeps its state: how far it is, what it has parked, what
// operators want. The zero value is schema gapless of the database.
//
// The place is chosen at the first start and never changed in silence: a slot with a
// record in both places is refused, and so is one whose record is in the other place.
type Storage struct {
	Place Place

	// Brokers and Options are those of the topic's cluster. Without Brokers nothing is
	// kept in Kafka, nor looked for there.
	Brokers     []string
	Options     []kgo.Opt
	Topic       string // default kafkastate.DefaultTopic
	CreateTopic bool   // when it is missing

	// MakeSchema makes schema gapless, for Auto and where the login may; nil: it is not made.
	MakeSchema func(context.Context) error
}

// ErrNoRetention says that the configuration asks for retention, which deletes in the
// database by what the database knows, of a relay whose state is in Kafka.
var ErrNoRetention = errors.New("retention needs the relay's state in the database (schema gapless), and it is in Kafka: leave retention out")

func (s Storage) validate(c Config) error {
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

// place is what relay_place.sql says.
type placement struct {
	Made     bool `db:"made"`
	Readable bool `db:"readable"`
	Makeable bool `db:"makeable"`
}

// choose finds out where the state is. It writes nothing but what is needed to keep it.
func (r *Relay) choose(ctx context.Context) error {
	c := r.cfg.Storage
	if len(c.Brokers) == 0 {
		r.remember(r.store)
		return nil
	}
	found, err := collect[placement](ctx, r.store, sql.RelayPlace)
	if err != nil {
		return fmt.Errorf("look for the place of the state: %w", err)
	}
	chosen := c.Place
	if chosen == Auto {
		switch {
		case found.Made:
			chosen = Postgres
		case found.Makeable && c.MakeSchema != nil:
			if err := c.MakeSchema(ctx); err != nil {
				return fmt.Errorf("make schema gapless for the relay's state: %w", err)
			}
			r.log.InfoContext(ctx, "schema gapless made, for the relay's state")
			chosen, found.Made, found.Readable = Postgres, true, true
		default:
			chosen = Kafka
		}
	}
	if chosen == Postgres {
		return r.chooseStore(ctx, found)
	}
	return r.chooseKafka(ctx, found)
}

func (r *Relay) chooseStore(ctx context.Context, found placement) error {
	other, err := r.inKafka(ctx)
	if err != nil || other == nil {
		if err == nil {
			r.remember(r.store)
		}
		return err
	}
	defer other.close()
	elsewhere, err := other.load(ctx)
	if err != nil {
		return err
	}
	var here *progress
	if found.Made {
		if here, err = r.store.load(ctx); err != nil {
			return err
		}
	}
	if elsewhere != nil {
		return r.refusePlaces(here, elsewhere, Postgres)
	}
	r.remember(r.store)
	return nil
}

func (r *Relay) chooseKafka(ctx context.Context, found placement) error {
	if c := r.cfg.Retention; c.Outbox > 0 || len(c.Tables) > 0 {
		return ErrNoRetention
	}
	k, err := openKafkaState(ctx, r.cfg, r.store)
	if err != nil {
		return err
	}
	if found.Made && !found.Readable {
		r.log.WarnContext(ctx, "gapless.relay_progress may not be read: whether slot has a record there is not known")
	} else if found.Made {
		elsewhere, err := r.store.load(ctx)
		if err == nil && elsewhere != nil {
			var here *progress
			if here, err = k.load(ctx); err == nil {
				err = r.refusePlaces(elsewhere, here, Kafka)
			}
		}
		if err != nil {
			k.close()
			return err
		}
	}
	r.log.InfoContext(ctx, "state is kept in Kafka", "topic", k.topic)
	r.remember(k)
	return nil
}

// inKafka opens the topic, if it is there, to look for a record; nil where it is not, or
// may not be read.
func (r *Relay) inKafka(ctx context.Context) (*kafkaState, error) {
	cfg := r.cfg
	cfg.Storage.CreateTopic = false
	shape, err := kafkastate.Look(ctx, cfg.Storage.log(cfg))
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), err == nil && shape.Judge(cfg.Storage.log(cfg).Topic) != nil:
		return nil, nil
	case err != nil:
		return nil, &stateError{err}
	}
	return openKafkaState(ctx, cfg, r.store)
}

// refusePlaces is for a slot with a record where it is not looked for.
func (r *Relay) refusePlaces(inPostgres, inKafka *progress, chosen Place) error {
	slot, topic := r.cfg.Slot, r.cfg.Storage.log(r.cfg).Topic
	drop := "DELETE FROM gapless.relay_progress WHERE slot = '" + strings.ReplaceAll(slot, "'", "''") + "'"
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
