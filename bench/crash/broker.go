package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// instance is the name that the consumers have in their groups: with it they
// have their partitions back at once after a kill.
const instance = "crash"

// broker is the administrator's view of Kafka.
type broker struct{ admin *kadm.Client }

func openBroker(seeds []string) (*broker, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return &broker{kadm.NewClient(cl)}, nil
}

func (b *broker) close() { b.admin.Close() }

// empty deletes what an earlier run left: verify must find each record's row.
func (b *broker) empty(ctx context.Context) error {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var old []string
	for name := range topics {
		if strings.HasPrefix(name, "outbox.event.") || strings.HasPrefix(name, "dlq.gapless.") {
			old = append(old, name)
		}
	}
	if len(old) > 0 {
		if _, err := b.admin.DeleteTopics(ctx, old...); err != nil {
			return fmt.Errorf("delete topics: %w", err)
		}
	}
	left, err := b.groups(ctx)
	if err != nil {
		return err
	}
	for _, group := range left {
		// A static member stays until its session ends; this one never comes back.
		if _, err := b.admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs(instance)); err != nil {
			return fmt.Errorf("leave group %s: %w", group, err)
		}
	}
	// Others that were killed hold their group as long.
	deadline := time.Now().Add(time.Minute)
	for {
		left, err := b.groups(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		responses, err := b.admin.DeleteGroups(ctx, left...)
		if err != nil {
			return fmt.Errorf("delete groups: %w", err)
		}
		if responses.Error() == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("delete groups: %w", responses.Error())
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func (b *broker) groups(ctx context.Context) ([]string, error) {
	all, err := b.admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	var ours []string
	for _, g := range all.Groups() {
		if strings.HasPrefix(g, "gapless.") {
			ours = append(ours, g)
		}
	}
	return ours, nil
}

// drained waits until each group has committed the end of each of its topics.
func (b *broker) drained(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		behind, err := b.behind(ctx)
		if err == nil && behind == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("consumers are not at the end after %s: %s", limit, behind), err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (b *broker) behind(ctx context.Context) (string, error) {
	ours, err := b.groups(ctx)
	if err != nil {
		return "", err
	}
	lags, err := b.admin.Lag(ctx, ours...)
	if err != nil {
		return "", fmt.Errorf("read lags: %w", err)
	}
	if err := lags.Error(); err != nil {
		return "", fmt.Errorf("read lags: %w", err)
	}
	var behind []string
	for _, g := range lags.Sorted() {
		if n := g.Lag.Total(); n > 0 {
			behind = append(behind, fmt.Sprintf("%s by %d", g.Group, n))
		}
	}
	return strings.Join(behind, ", "), nil
}
