package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/ops/inspect"
)

// consumerLate is how old a message may be that a consumer has not settled.
const consumerLate = lagWarns

func (e *exam) consumerLag(ctx context.Context) (verdict, error) {
	if err := e.needsInbox(ctx); err != nil {
		return verdict{}, err
	}
	if holds, err := e.installed(ctx); err != nil {
		return verdict{}, err
	} else if !holds.Shop || len(e.cfg.Consumers) == 0 {
		return unknown("", "this database has no order pipeline: which consumers there should be is not known")
	}
	k, err := e.cluster(ctx)
	if err != nil {
		return verdict{}, err
	}
	// The first question about a group makes its broker create the topic of offsets.
	// This one does not.
	groups, err := k.admin.ListGroups(ctx)
	if err != nil {
		return verdict{}, err
	}
	if len(groups) == 0 {
		return warn("gapless consume", "there is no consumer group that this client may see"), nil
	}
	c := inspect.ConsumeConfig{Brokers: e.cfg.Brokers, KafkaOptions: e.cfg.KafkaOptions, Timeout: e.cfg.Timeout}
	for _, consumer := range e.cfg.Consumers {
		c.Consumers = append(c.Consumers, inspect.Consumer{Name: consumer.Name, Topics: consumer.Topics, Generation: consumer.Generation})
	}
	var list []inspect.ConsumerStatus
	err = e.read(ctx, func(tx pgx.Tx) (err error) {
		list, err = inspect.Consume(ctx, tx, c)
		return err
	})
	if err != nil {
		return verdict{}, err
	}
	var late, idle []string
	for i := range list {
		s := &list[i]
		switch {
		case s.Members == 0:
			who := s.Consumer
			if s.Lag > 0 {
				who = fmt.Sprintf("%s (%d messages wait)", who, s.Lag)
			}
			idle = append(idle, who)
		case seconds(s.LagSeconds) > consumerLate:
			late = append(late, fmt.Sprintf("%s is %s and %d messages behind", s.Consumer, seconds(s.LagSeconds), s.Lag))
		}
	}
	switch {
	case len(idle) > 0:
		return warn("gapless consume", "nobody runs %s", some(idle)), nil
	case len(late) > 0:
		return warn("gapless consume status --watch; then start more processes of it, as many as there are partitions", "%s", some(late)), nil
	}
	return well("%d consumers are less than %s behind", len(list), consumerLate), nil
}

// inbox lists what the tables tell of the consumers.
func (e *exam) inbox(ctx context.Context) (list []inspect.InboxStatus, err error) {
	if err := e.needsInbox(ctx); err != nil {
		return nil, err
	}
	err = e.read(ctx, func(tx pgx.Tx) (err error) {
		list, err = inspect.Consumers(ctx, tx)
		return err
	})
	return list, err
}

func (e *exam) blockedKeys(ctx context.Context) (verdict, error) {
	list, err := e.inbox(ctx)
	if err != nil {
		return verdict{}, err
	}
	var blocked []string
	for _, s := range list {
		if s.BlockedKeys > 0 {
			blocked = append(blocked, fmt.Sprintf("%d keys of %s, with %d messages behind them", s.BlockedKeys, s.Consumer, s.WaitingMessages))
		}
	}
	if len(blocked) > 0 {
		return warn("gapless consume status, gapless dead list", "blocked: %s", some(blocked)), nil
	}
	return well("no key is blocked"), nil
}

func (e *exam) deadLetters(ctx context.Context) (verdict, error) {
	list, err := e.inbox(ctx)
	if err != nil {
		return verdict{}, err
	}
	var open []string
	for _, s := range list {
		if s.DeadLetters > 0 {
			open = append(open, fmt.Sprintf("%d of %s", s.DeadLetters, s.Consumer))
		}
	}
	if len(open) > 0 {
		return warn("gapless dead list", "open: %s", some(open)), nil
	}
	return well("none is open"), nil
}
