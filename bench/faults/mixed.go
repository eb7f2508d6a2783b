package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// mixedFaults are many of the others, one on top of the other.
func mixedFaults() []fault {
	return []fault{
		{name: "mixed", what: "two relays, and for 20 seconds one thing after the other: killed, terminated, reset, cut", make: mixed},
	}
}

// mixed does something every half second or so, and heals by itself.
func mixed(ctx context.Context, r *run) error {
	if _, err := r.start(ctx, "b"); err != nil {
		return err
	}
	done := map[string]int{}
	deeds := []struct {
		name string
		do   func() error
	}{
		{"kills", func() error { return r.killOne() }},
		{"walsenders terminated", func() error {
			// None is there while nobody streams.
			_, err := r.db.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM ("+walsenderPID+") AS slot (pid)")
			return err
		}},
		{"resets of Kafka", func() error { r.broker.toKafka.Reset(); return nil }},
		{"resets of Postgres", func() error { r.toPG.Reset(); return nil }},
		{"answers to be cut", func() error { r.broker.toKafka.CutAnswers(1); return nil }},
		{"pauses of the broker", func() error {
			if err := r.broker.kafka.Pause(); err != nil {
				return err
			}
			err := pause(ctx, time.Duration(r.rng.IntN(500))*time.Millisecond)
			if resumed := r.broker.kafka.Resume(); err == nil {
				err = resumed
			}
			return err
		}},
	}
	r.begins()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		deed := deeds[r.rng.IntN(len(deeds))]
		if err := deed.do(); err != nil {
			return fmt.Errorf("%s: %w", deed.name, err)
		}
		done[deed.name]++
		if err := pause(ctx, time.Duration(r.rng.IntN(1000))*time.Millisecond); err != nil {
			return err
		}
	}
	err := r.broker.heal()
	r.heals()
	var list []string
	for name, n := range done {
		list = append(list, fmt.Sprintf("%d %s", n, name))
	}
	slices.Sort(list)
	r.proves("%s", strings.Join(list, ", "))
	return err
}

// killOne kills a relay, whether it streams or stands by, and starts it again.
func (r *run) killOne() error {
	s := r.relays[r.rng.IntN(len(r.relays))]
	if !s.Running() {
		return fmt.Errorf("%s ended by itself: %w", s.Name, s.Proc.Err())
	}
	if _, err := s.Kill(); err != nil {
		return err
	}
	return s.Start("")
}
