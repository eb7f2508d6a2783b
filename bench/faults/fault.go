package main

import (
	"context"
	"time"
)

// fault is one kind of harm.
type fault struct {
	name string
	what string // for the table
	// make does it, proves it and heals it; the load goes on all the while.
	make func(context.Context, *run) error
	// cold faults start their relays themselves.
	cold bool
	// broker has a Kafka of its own; nil is the common one.
	broker func(context.Context, *run) (*broker, error)
	// flags are the relay's, beside those of its servers.
	flags func(*run) []string
}

// faults are all there are, in the order in which they are made.
func faults() []fault {
	var all []fault
	all = append(all, processFaults()...)
	all = append(all, postgresFaults()...)
	all = append(all, kafkaFaults()...)
	all = append(all, networkFaults()...)
	all = append(all, secretFaults()...)
	return append(all, mixedFaults()...)
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// eventually looks until look returns nil, and returns its last error after limit.
func eventually(ctx context.Context, limit time.Duration, look func(context.Context) error) error {
	deadline := time.Now().Add(limit)
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := look(one)
		cancel()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if stopped := pause(ctx, 10*time.Millisecond); stopped != nil {
			return stopped
		}
	}
}
