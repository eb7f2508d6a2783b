package consumers_test

import (
	"context"
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
