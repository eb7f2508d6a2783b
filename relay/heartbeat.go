package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Heartbeat is a record that goes out now and then beside the events, as a Debezium
// connector sends it, for those who watch a topic for a sign of life. It is no event: no
// position holds it, none is sent for the time that was missed, and one that cannot be
// sent is logged and counted, and holds up nothing. The relay that has the slot sends it,
// while it streams: none comes of a standby, of one that is paused, or that holds because
// the sink does not acknowledge. Between heartbeats and events there is no order.
type Heartbeat struct {
	Every time.Duration // 0: none
	Topic string        // Debezium's is __debezium-heartbeat.<topic.prefix>
	// As gives the bytes: those of its ServerName and of its converters for key and value.
	As eventrouter.Config
}

// Beater is a Sink that sends heartbeats.
type Beater interface {
	// Beat sends r beside what Send was given, and returns when it has arrived, has
	// failed, or ctx has ended. Neither it nor its failure delays an event. It is called
	// from a goroutine of its own.
	Beat(ctx context.Context, r *format.Record) error
}

// beatTimeout bounds how long a heartbeat is on its way: a later one tells more.
const beatTimeout = 10 * time.Second

func (h Heartbeat) validate(sink Sink) error {
	if h.Every == 0 {
		return nil
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if h.Every < 0 {
		fault("Heartbeat.Every %s is negative", h.Every)
	}
	if h.As.ServerName == "" {
		fault("Heartbeat.As.ServerName is empty: it is the key")
	}
	if err := format.CheckTopic(h.Topic); err != nil {
		fault("Heartbeat.Topic: %w", err)
	}
	if _, _, err := h.As.Heartbeat(time.Time{}); err != nil {
		fault("Heartbeat.As: %w", err)
	}
	if _, ok := sink.(Beater); !ok && sink != nil {
		fault("Heartbeat: %T sends none", sink)
	}
	return errors.Join(faults...)
}

// beat sends heartbeats until ctx ends. The first comes after the first interval, and the
// interval goes on over the end of a stream.
func (r *Relay) beat(ctx context.Context) {
	h := r.cfg.Heartbeat
	ticker := time.NewTicker(h.Every)
	defer ticker.Stop()
	var failing string // why; told of once
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if r.Status().State != Streaming {
			continue
		}
		err := r.beatOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.metrics.heartbeats.WithLabelValues("sent").Inc()
			if failing != "" {
				r.log.InfoContext(ctx, "heartbeats are sent again", "topic", h.Topic)
			}
			failing = ""
			continue
		}
		r.metrics.heartbeats.WithLabelValues("failed").Inc()
		if why := err.Error(); why != failing {
			failing = why
			r.log.WarnContext(ctx, "heartbeat not sent, the next is tried; events go on", "topic", h.Topic, "reason", err)
		}
	}
}

func (r *Relay) beatOnce(ctx context.Context) error {
	now := time.Now()
	key, value, err := r.cfg.Heartbeat.As.Heartbeat(now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	return r.cfg.Sink.(Beater).Beat(ctx, &format.Record{Topic: r.cfg.Heartbeat.Topic, Key: key, Value: value, Timestamp: now})
}
