//go:build crashpoints

package consumers_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

// Each named step of a consumer, killed with SIGKILL at its first and a later
// hit: after a restart every event has one effect, in order, and the poison is
// one dead letter.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range []string{
		"consumer.after_fetch", "consumer.after_claim", "consumer.after_apply", "consumer.before_commit", "consumer.after_commit",
		"consumer.after_attempt", "consumer.before_park", "consumer.after_park",
	} {
		for _, hit := range []int{1, 3} {
			if hit > 1 && (strings.HasSuffix(step, "_park") || strings.HasSuffix(step, "_fetch")) {
				continue // they happen once here
			}
			t.Run(fmt.Sprintf("%s:%d", step, hit), func(t *testing.T) {
				t.Parallel()
				killedAt(t, fmt.Sprintf("%s:%d", step, hit))
			})
		}
	}
}

func killedAt(t *testing.T, plan string) {
	d, c := newDatabase(t), newCluster(t, 2)
	spec := child{DatabaseURL: d.LoginURL(t, pgtest.Consumer), Brokers: c.brokers, Name: c.name, Topic: c.topic, Instance: c.name, MaxAttempts: 4, BatchSize: 20}
	for i := range 100 {
		value := "good"
		if i == 60 {
			value = "fail"
		}
		c.produce(t, c.record(int32(i%2), strconv.Itoa(i), value))
	}
	armed := spec
	armed.Env = []string{"GAPLESS_CRASH=" + plan}
	victim := armed.start(t)
	if code := victim.wait(t); code != -1 {
		t.Fatalf("child ended with %d, not by a signal", code)
	}
	step, _, _ := strings.Cut(plan, ":")
	if !strings.Contains(victim.log(), "crashpoint "+step) {
		t.Fatal("the fault did not fire")
	}
	spec.start(t)
	d.waitForEffects(t, 99)
	waitFor(t, func() error {
		if d.int(t, "SELECT count(*) FROM gapless.dead_letter") == 0 {
			return errors.New("the failing message is not parked")
		}
		if got := d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); got != 0 {
			return fmt.Errorf("%d attempts are left behind", got)
		}
		return nil
	})
	d.once(t, 99)
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
	if got := d.int(t, `SELECT count(*) FROM (
		SELECT i."offset" < lag(i."offset") OVER (PARTITION BY i.partition ORDER BY e.n) AS inverted
		FROM effect AS e JOIN gapless.inbox AS i USING (event_id)) AS o WHERE inverted`); got != 0 {
		t.Errorf("%d effects out of order", got)
	}
}
