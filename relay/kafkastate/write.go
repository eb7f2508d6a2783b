package kafkastate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/crashpoint"
)

// TransactionalID of the relays of a slot.
func TransactionalID(topic, slot string) string { return topic + "." + slot }

// Fence keeps whoever wrote before from writing, and reads the topic to its end: what is
// there then is final until this Log writes. Call it only while holding the slot, or to
// take the record away from whoever does.
func (l *Log) Fence(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.fenced = false
	return l.fence(ctx)
}

func (l *Log) fence(ctx context.Context) (err error) {
	l.drop()
	if l.producer, err = l.transactional(ctx); err != nil {
		return err
	}
	return l.End(ctx)
}

// maxBatch is what the client sends in one request at the most, whatever a topic takes.
const maxBatch = 64 << 20

// transactional makes a client that has the slot's transactional id.
func (l *Log) transactional(ctx context.Context) (*kgo.Client, error) {
	l.mu.Lock()
	limit := l.limit
	l.mu.Unlock()
	id := TransactionalID(l.cfg.Topic, l.cfg.Slot)
	client, err := kgo.NewClient(append(l.cfg.options(),
		kgo.TransactionalID(id), kgo.TransactionTimeout(openFor), kgo.ProducerBatchMaxBytes(int32(min(limit, maxBatch))))...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("take over transactional id %s: %w", id, err)
	}
	return client, nil
}

// Release aborts a transaction that the relay which had the slot before has left open:
// until then, or its timeout, nobody reads what is behind it. Call it only while nobody
// has the slot.
func (l *Log) Release(ctx context.Context) error {
	id := TransactionalID(l.cfg.Topic, l.cfg.Slot)
	found, err := kadm.NewClient(l.reader).DescribeTransactions(ctx, id)
	if err != nil {
		return fmt.Errorf("describe transactional id %s: %w", id, err)
	}
	if found[id].State != "Ongoing" {
		return nil
	}
	client, err := l.transactional(ctx)
	if err == nil {
		client.Close()
	}
	return err
}

// drop gives the producer up. A transaction that is open is aborted by the next fence.
func (l *Log) drop() {
	if l.producer != nil {
		l.producer.Close()
		l.producer = nil
	}
}

// Write commits the entries, all or none, for the relay with this incarnation. It returns
// ErrFenced, and then none is there, when another relay has fenced this one. After any
// other error they may be there or not: write again.
func (l *Log) Write(ctx context.Context, incarnation int64, entries ...Entry) error {
	records := make([]*kgo.Record, len(entries))
	for i, e := range entries {
		value, err := e.encode()
		if err != nil {
			return err
		}
		records[i] = &kgo.Record{Topic: l.cfg.Topic, Key: []byte(e.key), Value: value}
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.ready(ctx, incarnation); err != nil {
		return l.judge(err)
	}
	l.mu.Lock()
	before := l.next
	l.mu.Unlock()
	if err := l.transact(ctx, records); err != nil {
		l.drop() // the outcome is not known: it is read from the topic
		return l.judge(err)
	}
	return l.written(records, before)
}

// ready makes the producer again after an error. One that lost the slot meanwhile must
// not fence its successor, so it looks first.
func (l *Log) ready(ctx context.Context, incarnation int64) error {
	if l.fenced {
		return ErrFenced
	}
	if err := l.View(func(*Slot) {}); err != nil || l.producer != nil {
		return err
	}
	if err := errors.Join(l.End(ctx), l.owns(incarnation)); err != nil {
		return err
	}
	return errors.Join(l.fence(ctx), l.owns(incarnation))
}

func (l *Log) owns(incarnation int64) (err error) {
	broken := l.View(func(s *Slot) {
		if s.Progress != nil && s.Progress.Incarnation != incarnation {
			err = ErrFenced
		}
	})
	return errors.Join(broken, err)
}

func (l *Log) judge(err error) error {
	switch {
	case errors.Is(err, ErrFenced), errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch):
		l.fenced = true
		l.drop()
		return fmt.Errorf("write to topic %s: %w", l.cfg.Topic, ErrFenced)
	case errors.Is(err, kerr.MessageTooLarge):
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.limit = l.limit / 2; l.limit < 64<<10 {
			l.limit = 64 << 10
		}
	}
	return err
}

// transact commits the records. ctx bounds it: a client that does not give up is closed.
func (l *Log) transact(ctx context.Context, records []*kgo.Record) error {
	client := l.producer
	failed := func(err error) error {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("write to topic %s: %w", l.cfg.Topic, err)
	}
	stop := context.AfterFunc(ctx, client.Close)
	defer stop()
	if err := client.BeginTransaction(); err != nil {
		return failed(err)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		// Left open it would keep others from reading on, so it is ended at once.
		ending, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = client.EndTransaction(ending, kgo.TryAbort) // if it fails, time ends it
		return failed(err)
	}
	crashpoint.Hit("relay.after_state")
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return failed(err)
	}
	return nil
}

// written takes over what was committed, unless it was read before we were told. before
// is how far the topic had been read when it was begun.
func (l *Log) written(records []*kgo.Record, before int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		if r.Offset < before {
			l.unusable("topic %s was deleted and made again under the relay: offset %d was written, and %d had been read", l.cfg.Topic, r.Offset, before-1)
			break
		}
		if r.Offset < l.next {
			continue
		}
		if err := l.slot.apply(string(r.Key), r.Value, r.Offset); err != nil {
			return fmt.Errorf("write %s: %w", r.Key, err)
		}
		l.fresh[string(r.Key)] = r.Offset
	}
	return l.broken
}

// logger passes the client's warnings on: it tries again what it warns of.
type logger struct{ log *slog.Logger }

func (l logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(_ kgo.LogLevel, message string, keyvals ...any) {
	l.log.Warn("kafka client", append([]any{"message", message}, keyvals...)...)
}
