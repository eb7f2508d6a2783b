package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// armedLife is how long a life has to come by its step.
const armedLife = 4 * time.Second

// killer kills one service again and again.
type killer struct {
	*run
	service *service
	kills   int
	rng     *rand.Rand
	deck    deck
}

// killAll ends with the service running, after its last kill.
func (k *killer) killAll(ctx context.Context) error {
	// The first life began with the service, unarmed.
	if err := k.endAtRandom(ctx); err != nil {
		return err
	}
	for n := 1; n < k.kills; n++ {
		if n%2 == 1 {
			if err := k.armed(ctx, k.deck.deal()); err != nil {
				return err
			}
			continue
		}
		if err := k.service.Start(""); err != nil {
			return err
		}
		if err := k.restarted(ctx); err != nil {
			return err
		}
		if err := k.endAtRandom(ctx); err != nil {
			return err
		}
	}
	if k.seed%2 == 0 {
		k.service.Args = k.service.nameless
	}
	if err := k.service.Start(""); err != nil {
		return err
	}
	return k.up(ctx, k.service)
}

// restarted waits until the service does its work again, so that whoever is
// killed next was at work. It notes how long that took.
func (k *killer) restarted(ctx context.Context) error {
	start := time.Now()
	if err := k.up(ctx, k.service); err != nil {
		return err
	}
	if k.service.Name != "consume" {
		k.tally.recovered(k.service.Name, time.Since(start))
		return nil
	}
	var before int64
	if err := k.db.QueryRow(ctx, claims).Scan(&before); err != nil {
		return fmt.Errorf("count claims: %w", err)
	}
	err := k.work(ctx, "at work", func(ctx context.Context) bool {
		var n int64
		return k.db.QueryRow(ctx, claims).Scan(&n) == nil && n > before
	})
	if err != nil {
		return err
	}
	k.tally.recovered(k.service.Name, time.Since(start))
	return k.work(ctx, "done with what it died at", func(ctx context.Context) bool {
		var n int64
		return k.db.QueryRow(ctx, suspects).Scan(&n) == nil && n == 0
	})
}

const (
	claims = "SELECT count(*) FROM gapless.inbox"
	// A message at which the process dies five times is parked, rightly, and its
	// order does not end as its kind must. So a life that is not armed outlasts
	// what two deaths have left behind; the gateway's slow answer takes longer
	// than the short lives do.
	suspects = `SELECT count(*) FROM gapless.inbox_attempt a WHERE attempts > 1 AND NOT EXISTS
		(SELECT FROM gapless.inbox i WHERE i.consumer = a.consumer AND i.generation = a.generation AND i.event_id = a.event_id)`
)

func (k *killer) work(ctx context.Context, what string, look func(context.Context) bool) error {
	alive, err := k.service.Until(ctx, time.Minute, what, look)
	if err == nil && !alive {
		_, err = k.service.Died()
		err = errors.Join(fmt.Errorf("%s died before it was %s; its log is %s", k.service.Name, what, k.service.Log), err)
	}
	return err
}

// endAtRandom lets the life go on for a moment and kills it.
func (k *killer) endAtRandom(ctx context.Context) error {
	if err := pause(ctx, time.Duration(k.rng.IntN(1000))*time.Millisecond); err != nil {
		return err
	}
	if !k.service.Running() {
		_, err := k.service.Died()
		return fmt.Errorf("%s died by itself; its log is %s: %w", k.service.Name, k.service.Log, err)
	}
	if _, err := k.service.Kill(); err != nil {
		return err
	}
	k.tally.random(k.service.Name)
	return nil
}

// armed is a life that ends at s or, when it does not come by in time, at
// random.
func (k *killer) armed(ctx context.Context, s step) error {
	if err := s.lay(ctx, k.db); err != nil {
		return err
	}
	if err := k.service.Start(s.plan(k.rng)); err != nil {
		return err
	}
	if s.stopping {
		// A relay that stands by until its last life has let go of the slot is ready too,
		// and ends without passing the step.
		if err := k.work(ctx, "streaming", k.service.Streams); err != nil {
			return err
		}
		if err := k.service.Proc.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	timer := time.NewTimer(armedLife)
	defer timer.Stop()
	var at string
	var err error
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		at, err = k.service.Kill() // it may have come by just now
	case <-k.service.Proc.Done():
		at, err = k.service.Died()
	}
	if err != nil {
		return err
	}
	switch at {
	case s.name:
		k.tally.step(at)
	case "":
		k.tally.random(k.service.Name)
		k.deck.putBack(s)
	default:
		return fmt.Errorf("%s says it died at %s, but was armed with %s; its log is %s", k.service.Name, at, s.name, k.service.Log)
	}
	return nil
}
