package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/faults/check"
	"github.com/gapless/gapless/relay/core"
)

// reader follows a topic from its beginning.
type reader struct {
	client *kgo.Client
	broker *broker
	topic  string
	remade int

	done chan struct{}

	mu      sync.Mutex
	records []check.Record
	seen    map[string]bool
	places  map[[2]int64]string // ids by partition and offset
	next    map[int32]int64
	ended   bool  // the topic is no more, and was read to its end
	failed  error // a record that cannot be read
}

func startReader(b *broker, remade int, topic string) (*reader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.direct...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond),
		// A broker that comes back is to be found at once.
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	r := &reader{
		client: client, broker: b, topic: topic, remade: remade,
		done: make(chan struct{}), seen: map[string]bool{}, places: map[[2]int64]string{}, next: map[int32]int64{},
	}
	go r.follow()
	return r, nil
}

func (r *reader) follow() {
	defer close(r.done)
	for {
		fetches := r.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		// Errors are the fault's; the client goes on by itself.
		fetches.EachRecord(r.take)
	}
}

func (r *reader) take(k *kgo.Record) {
	record, err := parse(k)
	record.Remade = r.remade
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = errors.Join(r.failed, err)
	}
	place := [2]int64{int64(k.Partition), k.Offset}
	if id, again := r.places[place]; again { // a client that lost its leader may read twice
		if id != record.ID {
			r.failed = errors.Join(r.failed, fmt.Errorf("%s/%d@%d was %s and is %s", k.Topic, k.Partition, k.Offset, id, record.ID))
		}
		return
	}
	r.places[place] = record.ID
	r.records = append(r.records, record)
	r.seen[record.ID] = true
	r.next[k.Partition] = k.Offset + 1
}

// parse reads what the relay says of a row in headers.
func parse(k *kgo.Record) (r check.Record, err error) {
	r = check.Record{Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Appended: k.Timestamp, Key: string(k.Key)}
	for _, h := range k.Headers {
		value := string(h.Value)
		switch h.Key {
		case "ce_id":
			r.ID = value
		case "ce_sequence":
			r.Version, err = strconv.ParseInt(value, 10, 64)
		case "gapless_position": // timeline/commit LSN/index
			first, last := strings.Index(value, "/"), strings.LastIndex(value, "/")
			if first < 0 || first == last {
				return r, fmt.Errorf("%s/%d@%d: position %q", k.Topic, k.Partition, k.Offset, value)
			}
			if r.Commit, err = core.ParseLSN(value[first+1 : last]); err == nil {
				r.Index, err = strconv.ParseInt(value[last+1:], 10, 64)
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s/%d@%d: header %s: %w", k.Topic, k.Partition, k.Offset, h.Key, err)
		}
	}
	return r, nil
}

// distinct is how many rows have come.
func (r *reader) distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// has is how many of the rows have come.
func (r *reader) has(ids map[string]bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range ids {
		if r.seen[id] {
			n++
		}
	}
	return n
}

// atEnd waits until everything is read that the topic holds now.
func (r *reader) atEnd(ctx context.Context) error {
	if r.ended {
		return nil
	}
	ends, err := r.broker.admin.ListEndOffsets(ctx, r.topic)
	if err := errors.Join(err, ends.Error()); err != nil {
		return fmt.Errorf("ask for the end of %s: %w", r.topic, err)
	}
	return eventually(ctx, 30*time.Second, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for partition, end := range ends[r.topic] {
			if next := r.next[partition]; next < end.Offset {
				return fmt.Errorf("%s/%d was read to %d of %d", r.topic, partition, next, end.Offset)
			}
		}
		return r.failed
	})
}

// close returns what was read. It may be called again.
func (r *reader) close() []check.Record {
	r.client.Close()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records
}
