package kafkastate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrFenced says that another relay has taken the slot.
var ErrFenced = errors.New("another relay has taken the slot")

// MaxRows bounds the open parked rows of a slot.
const MaxRows = 100_000

// fetchWait is how long a broker keeps a fetch that finds nothing: what an aborted
// transaction has held back may be seen no sooner.
const fetchWait = 500 * time.Millisecond

// openFor bounds a transaction: the broker aborts it after that.
const openFor = 10 * time.Second

// Log is the state of one slot in the topic: read all the time, written by transactions
// of whoever has fenced the others, and by anybody where operators write.
//
// All methods may be called concurrently. Each is bounded by its context, but that Fence
// and Write wait for one another.
type Log struct {
	cfg    Config
	reader *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	slot    *Slot
	next    int64            // offset up to which the topic has been read
	fresh   map[string]int64 // offsets of what was written here and not read yet, by key
	changed chan struct{}    // closed when any of this has changed
	broken  error            // an UnusableError; for good
	fault   error            // of the newest fetch
	limit   int              // bytes of a record
	id      kadm.TopicID

	writing  sync.Mutex
	producer *kgo.Client
	fenced   bool
}

func (c Config) options() []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("gapless-relay-state"), kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.WithLogger(logger{c.Logger}),
	}, c.Options...)
}

// Open looks at the topic, makes it when Create says so, and begins to read it. It
// returns an *UnusableError when the topic cannot hold the state.
func Open(ctx context.Context, c Config) (*Log, error) {
	c = c.withDefaults()
	l := &Log{cfg: c, slot: newSlot(c.Slot), fresh: map[string]int64{}, changed: make(chan struct{}), done: make(chan struct{}), limit: kafkaRecordBytes}
	var err error
	l.reader, err = kgo.NewClient(l.reading(kgo.NewOffset().AtStart())...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	shape, err := ensure(ctx, l.reader, c)
	if err != nil {
		l.reader.Close()
		return nil, err
	}
	if shape.MaxBytes > 0 {
		l.limit = shape.MaxBytes
	}
	l.id = shape.ID
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go l.read(ctx)
	return l, nil
}

// reading are the options of a client that reads from an offset. Control records are
// kept, because the last one of the topic may be one: its offset tells the end.
func (l *Log) reading(from kgo.Offset) []kgo.Opt {
	return append(l.cfg.options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.cfg.Topic: {0: from}}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(fetchWait))
}

// Close ends reading and writing. What is not committed is not there.
func (l *Log) Close() {
	l.cancel()
	<-l.done
	l.reader.Close()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.producer != nil {
		l.producer.Close()
	}
	l.producer, l.fenced = nil, true
}

func (l *Log) read(ctx context.Context) {
	defer close(l.done)
	for {
		fetches := l.reader.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.fault = nil
		fetches.EachError(func(_ string, _ int32, err error) { l.failed(err) })
		fetches.EachRecord(l.take)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if fetches.Err() != nil { // the client goes on by itself
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// failed judges an error of a fetch: most pass by themselves.
func (l *Log) failed(err error) {
	if _, ok := errors.AsType[*kgo.ErrDataLoss](err); ok || errors.Is(err, kerr.OffsetOutOfRange) {
		l.unusable("topic %s has lost records of its end, or was made again: %v", l.cfg.Topic, err)
		return
	}
	l.fault = err
}

func (l *Log) unusable(what string, args ...any) {
	if l.broken == nil {
		l.broken = &UnusableError{fmt.Sprintf(what, args...), "Find out what happened to the topic. " + byHand(l.cfg.Slot)}
	}
}

func byHand(slot string) string {
	return "If the record cannot be mended, write a tombstone for its key. Without a position the relay begins where the slot is: 'gapless relay forget --slot " + slot +
		"'; events that were sent after that come again with the same id, and of parked rows only those are known that the topic still has."
}

func (l *Log) take(r *kgo.Record) {
	l.next = r.Offset + 1
	if r.Attrs.IsControl() {
		return
	}
	key := string(r.Key)
	if at, ok := l.fresh[key]; ok {
		if r.Offset < at {
			return
		}
		delete(l.fresh, key)
		if r.Offset == at {
			return
		}
	}
	if err := l.slot.apply(key, r.Value, r.Offset); err != nil {
		l.unusable("record %s of topic %s, at offset %d, cannot be read: %v", key, l.cfg.Topic, r.Offset, err)
	}
}

// View calls f with the state as it is known. f must not keep it, nor block.
func (l *Log) View(f func(*Slot)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	f(l.slot)
	return nil
}

// MaxBytes bounds the record of an entry, from below.
func (l *Log) MaxBytes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit - 1024 // of the batch around it
}

// End reads what is in the topic now, to its end.
func (l *Log) End(ctx context.Context) error {
	end, err := l.end(ctx)
	if err != nil {
		return err
	}
	for {
		l.mu.Lock()
		next, broken, fault, changed := l.next, l.broken, l.fault, l.changed
		if broken == nil && next >= end {
			if err := l.slot.check(); err != nil {
				l.unusable("topic %s cannot be what a relay left: %v", l.cfg.Topic, err)
				broken = l.broken
			}
		}
		l.mu.Unlock()
		switch {
		case broken != nil:
			return broken
		case next >= end:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if fault == nil {
				fault = fmt.Errorf("an open transaction may be in the way: %w", ctx.Err())
			}
			return fmt.Errorf("read topic %s to its end, offset %d of %d: %w", l.cfg.Topic, next, end, fault)
		}
	}
}

// end asks for the offset behind the last record, and whether the topic is still the one
// that has been read.
func (l *Log) end(ctx context.Context) (int64, error) {
	l.mu.Lock()
	known := l.next
	l.mu.Unlock()
	admin := kadm.NewClient(l.reader)
	details, err := admin.ListTopics(ctx, l.cfg.Topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("look for topic %s: %w", l.cfg.Topic, err)
	}
	ends, err := admin.ListEndOffsets(ctx, l.cfg.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the end of topic %s: %w", l.cfg.Topic, err)
	}
	starts, err := admin.ListStartOffsets(ctx, l.cfg.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the start of topic %s: %w", l.cfg.Topic, err)
	}
	end, _ := ends.Lookup(l.cfg.Topic, 0)
	start, _ := starts.Lookup(l.cfg.Topic, 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch id := details[l.cfg.Topic].ID; {
	case id != l.id:
		l.unusable("topic %s was deleted and made again under the relay", l.cfg.Topic)
	case end.Offset < known:
		l.unusable("topic %s ends at offset %d, and %d had been read", l.cfg.Topic, end.Offset, known-1)
	case start.Offset == end.Offset:
		l.next = max(l.next, end.Offset) // there is nothing to read
	}
	return end.Offset, l.broken
}

// Append writes as an operator, or as a relay that tells of itself: outside of the
// fence, at once, whoever has the slot. What was given up because ctx ended may be there
// yet.
func (l *Log) Append(ctx context.Context, e Entry) error {
	value, err := e.encode()
	if err != nil {
		return err
	}
	outcome := make(chan error, 1)
	r := &kgo.Record{Topic: l.cfg.Topic, Key: []byte(e.key), Value: value}
	l.reader.Produce(ctx, r, func(_ *kgo.Record, err error) { outcome <- err })
	select {
	case err = <-outcome:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("write %s to topic %s: %w", e.key, l.cfg.Topic, err)
	}
	return nil
}
