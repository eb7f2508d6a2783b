package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/process"
)

const (
	relayTopic    = "outbox.event.order"
	debeziumTopic = "dbz.order"
	replayTopic   = "replayed"
	pastTopic     = "outbox.event.past"
)

// contender brings events from the outbox into its topic.
type contender struct {
	name, topic string
	start       func(context.Context) (stop func() error, err error)
	close       func() error
}

func closeAll(all []*contender) (err error) {
	for _, c := range all {
		if c.close != nil {
			err = errors.Join(err, c.close())
		}
	}
	return err
}

func (b *stage) contenders(ctx context.Context) ([]*contender, error) {
	all := []*contender{{name: "relay", topic: relayTopic, start: func(context.Context) (func() error, error) {
		p, err := b.relay()
		return func() error { return stop(p) }, err
	}}}
	if b.replay {
		c, err := b.replayContender(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	if !b.debezium {
		return all, nil
	}
	c, err := b.debeziumContender(ctx)
	return append(all, c), err
}

// replayRows are enough for a window at the replay's default rate.
const replayRows = 200_000

// replayContender is the relay while a replay sends old rows to a topic of its own, at the
// rate that it has when nobody says another.
func (b *stage) replayContender(ctx context.Context) (*contender, error) {
	_, err := b.pool.Exec(ctx, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, headers)
		select 'past', 'p-' || i % 1000, 'OrderPlaced', $1, '{"content-type": "application/json"}' from generate_series(1, $2::int) i`, payload, replayRows)
	if err != nil {
		return nil, err
	}
	return &contender{
		name: "relay beside a replay", topic: relayTopic,
		start: func(ctx context.Context) (func() error, error) {
			p, err := b.relay()
			if err != nil {
				return nil, err
			}
			if err := b.caughtUp(ctx); err != nil {
				return nil, errors.Join(err, stop(p))
			}
			old, err := process.Start(process.Command{
				Path: b.binary, Args: []string{"relay", "replay", "--aggregate", "past", "--topic", replayTopic, "--no-dry-run", "--reason", "a measurement"},
				Env: b.env, Output: os.Stderr,
			})
			return func() error {
				select {
				case <-old.Done():
					return errors.Join(errors.New("the replay has ended before the window"), old.Err(), stop(p))
				default:
				}
				err := old.Signal(syscall.SIGTERM)
				<-old.Done() // exit code 1: it was interrupted
				return errors.Join(err, stop(p))
			}, err
		},
	}, nil
}

// caughtUp waits until an event that is written now has come.
func (b *stage) caughtUp(ctx context.Context) error {
	id, _, err := b.write(ctx, 0)
	if err != nil {
		return err
	}
	_, err = b.wait(ctx, id)
	return err
}

// debeziumContender keeps its worker, so that the JVM is warm after the first turn. Its
// settings are for little delay: polling every 10 ms, linger 5 ms, as its users have them.
func (b *stage) debeziumContender(ctx context.Context) (*contender, error) {
	for _, statement := range []string{
		"create publication dbz for table gapless.outbox with (publish = 'insert', publish_via_partition_root = true)",
		"select pg_create_logical_replication_slot('dbz', 'pgoutput')",
	} {
		if _, err := b.pool.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return nil, err
		}
	}
	config, err := bed.Connector(b.url, map[string]string{
		"slot.name": "dbz", "publication.name": "dbz", "table.include.list": "gapless.outbox", "publish.via.partition.root": "true",
		"value.converter": "io.debezium.converters.BinaryDataConverter", "value.converter.delegate.converter.type": "org.apache.kafka.connect.json.JsonConverter",
		"transforms.outbox.route.topic.replacement": "dbz.${routedByValue}",
	})
	if err != nil {
		return nil, err
	}
	worker, err := bed.Debezium(ctx, b.brokers, nil)
	if err != nil {
		return nil, err
	}
	return &contender{
		name: "debezium", topic: debeziumTopic,
		start: func(ctx context.Context) (func() error, error) {
			return func() error { return worker.Delete(context.WithoutCancel(ctx), "outbox") }, worker.Put(ctx, "outbox", config)
		},
		close: func() error { return worker.Stop(context.WithoutCancel(ctx)) },
	}, nil
}
