package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/internal/pgtest"
)

// One message kills the process each time, before a slower one of another
// partition is done. Only the first is parked.
func TestBystanderOfDeathsIsNotParked(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 2)
	spec := child{DatabaseURL: d.LoginURL(t, pgtest.Consumer), Brokers: c.brokers, Name: c.name, Topic: c.topic, Instance: c.name, MaxAttempts: 3}
	c.produce(t, c.record(0, "culprit", "exit late"), c.record(1, "bystander", "slow"))
	for deaths := 0; ; deaths++ {
		p := spec.start(t)
		ctx, cancel := context.WithCancel(t.Context())
		isParked := make(chan struct{})
		go func() {
			defer close(isParked)
			waitForParked(ctx, d)
		}()
		select {
		case <-isParked:
			cancel()
		case <-p.done:
			cancel()
			<-isParked
			if code := p.wait(t); code != 3 || deaths > 8 {
				t.Fatalf("child ended with %d after %d deaths", code, deaths)
			}
			continue
		}
		break
	}
	d.waitForEffects(t, 1)
	d.once(t, 1)
	if got := d.text(t, "SELECT key FROM effect"); got != "bystander" {
		t.Errorf("effect of %q", got)
	}
	if got := d.text(t, "SELECT string_agg(convert_from(key, 'UTF8') || ' ' || reason || ' ' || attempts, ', ') FROM gapless.dead_letter"); got != "culprit "+consumers.ReasonDied+" 3" {
		t.Errorf("dead letters %q", got)
	}
}

// Suspects that wait for a dependency have no place in the trials: others go on.
func TestSuspectsThatWaitHoldNoOthers(t *testing.T) {
	t.Parallel()
	const partitions = 65 // one more than may be on trial
	d, c := newDatabase(t), newCluster(t, partitions)
	leftBehind(t, d, c, partitions)
	var waiting sync.Map
	var isBack atomic.Bool
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Value) == "down" && !isBack.Load() {
			waiting.Store(string(m.Key), true)
			return consumers.Unavailable(errors.New("away"))
		}
		return applyEffect(ctx, tx, m)
	}
	for n := range partitions - 1 {
		c.produce(t, c.record(int32(n), strconv.Itoa(n), "down"))
	}
	r := run(t, c.config(d, consumer))
	waitFor(t, func() error {
		n := 0
		waiting.Range(func(any, any) bool { n++; return true })
		if n < partitions-1 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	c.produce(t, c.record(partitions-1, "last", "good"))
	d.waitForEffects(t, 1)
	isBack.Store(true)
	d.waitForEffects(t, partitions)
	r.end()
	d.once(t, partitions)
}
