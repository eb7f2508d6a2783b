package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless/gapless/internal/wire"
)

// networkFaults are what happens between the relay and its servers.
func networkFaults() []fault {
	return []fault{
		{name: "answer-cut", what: "produce requests are carried out, their answers are lost and the connection is reset, ten times", make: answerCut},
		{name: "kafka-reset", what: "RST on every connection to Kafka, ten times", make: resets(toKafka)},
		{name: "postgres-reset", what: "RST on every connection to Postgres, five times", make: resets(toPostgres)},
		{name: "kafka-slow", what: "1 Mbit/s to Kafka for six seconds", make: slow},
		{name: "kafka-delay", what: "each piece to and from Kafka waits 200 ms, for six seconds", make: delayed(toKafka, 200*time.Millisecond)},
		{name: "postgres-delay", what: "each piece to and from Postgres waits 100 ms, for six seconds", make: delayed(toPostgres, 100*time.Millisecond)},
		{name: "kafka-half-open", what: "Kafka's ends of the connections vanish without FIN or RST", make: halfOpen(toKafka)},
		{name: "postgres-half-open", what: "Postgres' ends of the connections vanish without FIN or RST", make: halfOpen(toPostgres)},
		{name: "kafka-black-hole", what: "nothing arrives at Kafka and nothing is answered, for 25 seconds", make: blackHole(toKafka)},
		{name: "postgres-black-hole", what: "nothing arrives at Postgres and nothing is answered, for 25 seconds", make: blackHole(toPostgres)},
		{name: "kafka-deaf", what: "what the relay sends to Kafka is lost for 20 seconds; what Kafka sends arrives", make: oneWay(toKafka, wire.Up)},
		{name: "kafka-mute", what: "what Kafka sends is lost for 20 seconds; what the relay sends arrives", make: oneWay(toKafka, wire.Down)},
		{name: "postgres-deaf", what: "what the relay sends to Postgres is lost for 20 seconds; what Postgres sends arrives", make: oneWay(toPostgres, wire.Up)},
		{name: "postgres-mute", what: "what Postgres sends is lost for 20 seconds; what the relay sends arrives", make: oneWay(toPostgres, wire.Down)},
	}
}

func toKafka(r *run) *wire.Proxy    { return r.broker.toKafka }
func toPostgres(r *run) *wire.Proxy { return r.toPG }

func answerCut(ctx context.Context, r *run) error {
	p := r.broker.toKafka
	before := p.Counts().Cut
	r.begins()
	for n := range 10 {
		p.CutAnswers(1)
		err := eventually(ctx, readyTime, func(context.Context) error {
			if cut := p.Counts().Cut - before; cut <= n {
				return fmt.Errorf("%d answers cut", cut)
			}
			return nil
		})
		if err != nil {
			return err
		}
		// An answer between two, or the client would take longer to ask each time.
		if n == 9 {
			break
		}
		if err := r.flows(ctx, 1+r.rng.IntN(50)); err != nil {
			return err
		}
	}
	r.heals()
	r.proves("%d answers cut", p.Counts().Cut-before)
	return nil
}

func resets(of func(*run) *wire.Proxy) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		p, times := of(r), 10
		if p == r.toPG {
			times = 5
		}
		n := 0
		r.begins()
		for range times {
			var now int
			err := eventually(ctx, readyTime, func(context.Context) error {
				if now = p.Reset(); now == 0 {
					return errors.New("there is no connection to reset")
				}
				return nil
			})
			if err != nil {
				return err
			}
			n += now
			if err := pause(ctx, time.Duration(50+r.rng.IntN(300))*time.Millisecond); err != nil {
				return err
			}
		}
		r.heals()
		r.proves("%d connections reset", n)
		return nil
	}
}

// lasting makes a fault of a proxy that lasts for d, and heals it. count is what of
// the proxy's counts must have grown.
func lasting(ctx context.Context, r *run, p *wire.Proxy, d time.Duration, what string, count func(wire.Counts) int, harm func() error) error {
	before := count(p.Counts())
	r.begins()
	if err := harm(); err != nil {
		return err
	}
	if err := pause(ctx, d); err != nil {
		return err
	}
	fired := count(p.Counts()) - before
	err := p.Heal()
	r.heals()
	if fired > 0 {
		r.proves("%d %s", fired, what)
	}
	return err
}

const megabit = 1_000_000 / 8

func slow(ctx context.Context, r *run) error {
	p := r.broker.toKafka
	return lasting(ctx, r, p, 6*time.Second, "pieces waited for their turn", func(c wire.Counts) int { return c.Paced }, func() error { return p.Rate(megabit) })
}

func delayed(of func(*run) *wire.Proxy, d time.Duration) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		p := of(r)
		return lasting(ctx, r, p, 6*time.Second, "pieces delayed", func(c wire.Counts) int { return c.Delayed }, func() error { return p.Delay(d) })
	}
}

func halfOpen(of func(*run) *wire.Proxy) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		p := of(r)
		r.beginsAndHeals() // new connections are fine from the start
		n, err := p.HalfOpen()
		if err != nil {
			return err
		}
		before := p.Counts().Dropped
		if err := r.flows(ctx, 100); err != nil {
			return err
		}
		if dropped := p.Counts().Dropped - before; n > 0 && dropped > 0 {
			r.proves("%d connections, %d packets dropped", n, dropped)
		}
		return p.Heal()
	}
}

func blackHole(of func(*run) *wire.Proxy) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		p := of(r)
		return lasting(ctx, r, p, 25*time.Second, "packets dropped", func(c wire.Counts) int { return c.Dropped }, p.BlackHole)
	}
}

func oneWay(of func(*run) *wire.Proxy, lost wire.Direction) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		p := of(r)
		count, what := func(c wire.Counts) int { return c.Dropped }, "packets dropped"
		if lost == wire.Down {
			count, what = func(c wire.Counts) int { return c.Held }, "pieces held"
		}
		return lasting(ctx, r, p, 20*time.Second, what, count, func() error { return p.OneWay(lost) })
	}
}
