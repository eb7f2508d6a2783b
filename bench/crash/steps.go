package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5/pgxpool"
)

// step is a named crash point.
type step struct {
	name string
	// within is the highest number of hits that comes by in a short life under
	// load; the one that kills is drawn from it.
	within int
	// bait is what has to be in the outbox for the step to be reached at all.
	bait string
	// stopping is a step on the way out: the process is asked to end.
	stopping bool
}

func (s step) plan(rng *rand.Rand) string { return fmt.Sprintf("%s:%d", s.name, 1+rng.IntN(s.within)) }

// Rows that nobody can take: some that no consumer can decode, and one with a
// header that has no name. Each has a key of its own, and must end as a dead
// letter or parked.
const (
	undecodable = `INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
		SELECT gapless.uuid7(), 'order', gapless.uuid7()::text, 1, 'OrderPlaced', '\xdeadbeef', '{"content-type": "application/json"}'
		FROM generate_series(1, 3)`
	unsendable = `INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers)
		SELECT gapless.uuid7(), 'order', gapless.uuid7()::text, 1, 'OrderPlaced', '\x7b7d', '{"": "application/json"}'`
)

// steps are the crash points of each service.
var steps = map[string][]step{
	"api": {
		{name: "api.before_transaction", within: 15},
		{name: "api.after_send", within: 15},
		{name: "api.after_commit", within: 15},
	},
	"relay": {
		{name: "relay.after_connect", within: 1},
		{name: "relay.after_begin", within: 30},
		{name: "relay.after_track", within: 30},
		{name: "relay.after_commit", within: 30},
		{name: "relay.after_send", within: 30},
		{name: "relay.after_ack", within: 5},
		{name: "relay.after_store", within: 3},
		{name: "relay.after_confirm", within: 3},
		{name: "relay.after_park", within: 1, bait: unsendable},
		{name: "relay.stopping", within: 1, stopping: true},
	},
	"consume": {
		{name: "consumer.after_fetch", within: 15},
		{name: "consumer.after_claim", within: 40},
		{name: "consumer.after_apply", within: 40},
		{name: "consumer.before_commit", within: 40},
		{name: "consumer.after_commit", within: 40},
		{name: "consumer.after_attempt", within: 10},
		{name: "consumer.before_park", within: 1, bait: undecodable},
		{name: "consumer.after_park", within: 2, bait: undecodable},
		{name: "payment.after_gateway", within: 5},
		{name: "notification.after_send", within: 5},
		{name: "saga.before_timer_commit", within: 2},
	},
}

// deck deals a service's steps; one that did not fire is put back for the end of
// the round.
type deck struct {
	steps []step
	left  []step
	rng   *rand.Rand
}

func (d *deck) deal() step {
	if len(d.left) == 0 {
		d.left = append(d.left, d.steps...)
		d.rng.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	s := d.left[0]
	d.left = d.left[1:]
	return s
}

func (d *deck) putBack(s step) { d.left = append(d.left, s) }

func (s step) lay(ctx context.Context, db *pgxpool.Pool) error {
	if s.bait == "" {
		return nil
	}
	if _, err := db.Exec(ctx, s.bait); err != nil {
		return fmt.Errorf("lay bait for %s: %w", s.name, err)
	}
	return nil
}
