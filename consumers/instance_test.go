package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gapless/gapless/consumers"
)

// Who starts under the name of one that is still in the group has its
// partitions without waiting for the session to end, and the other stops with
// an error instead of taking them back.
func TestRunInstanceTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 3)
	config := c.config(d, consumers.Consumer{Apply: applyEffect})
	config.Instance = "one"

	first, err := consumers.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Run(context.WithoutCancel(t.Context())) }()
	for i := range int32(3) {
		c.produce(t, c.record(i, fmt.Sprint("a", i), "1"))
	}
	d.waitForEffects(t, 3)

	run(t, config)
	for i := range int32(3) {
		c.produce(t, c.record(i, fmt.Sprint("b", i), "2"))
	}
	d.waitForEffects(t, 6)
	d.once(t, 6)
	err = <-ended
	if !errors.Is(err, kerr.FencedInstanceID) || !strings.Contains(err.Error(), `instance "one"`) {
		t.Errorf("the first ended with %v", err)
	}
}

func TestInstanceMustBeAName(t *testing.T) {
	t.Parallel()
	_, err := consumers.New(consumers.Config{
		DatabaseURL: "postgres://x", Brokers: []string{"x"}, Instance: "no name!",
		Consumers: []consumers.Consumer{{Name: "x", Topics: []string{"t"}, Apply: func(context.Context, consumers.Tx, consumers.Delivery) error { return nil }}},
	})
	if err == nil || !strings.Contains(err.Error(), "Instance") {
		t.Errorf("error %v", err)
	}
}
