package consumers_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/internal/pgtest"
)

// Retention has passed the group's offset: what it took was never read, and a
// jump to the log's start would hide that.
func TestRecordsGoneBeforeTheyWereReadAreRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	db := pgtest.NewDB(t)
	for range 10 {
		c.produce(t, c.record(0, "k", "v"))
	}
	group := "gapless." + c.name
	var committed kadm.Offsets
	committed.AddOffset(c.topic, 0, 3, -1)
	if err := c.groups.CommitAllOffsets(t.Context(), group, committed); err != nil {
		t.Fatal(err)
	}
	var deleted kadm.Offsets
	deleted.AddOffset(c.topic, 0, 7, -1)
	if _, err := c.groups.DeleteRecords(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	err := consumers.Run(t.Context(), consumers.Config{
		DatabaseURL: db.LoginURL(t, pgtest.Consumer), Brokers: c.brokers,
		Consumers: []consumers.Consumer{{
			Name: c.name, Topics: []string{c.topic},
			Apply: func(context.Context, consumers.Tx, consumers.Delivery) error { return nil },
		}},
	})
	lost, ok := errors.AsType[*consumers.LostError](err)
	if !ok || lost.Topic != c.topic || lost.Group != group || lost.Refusal() == "" {
		t.Fatalf("run ended with %v", err)
	}
	var n int
	if err := db.Pool(t).QueryRow(t.Context(), "select count(*) from gapless.inbox").Scan(&n); err != nil || n != 0 {
		t.Fatalf("%d messages were applied past the gap (%v)", n, err)
	}
}
