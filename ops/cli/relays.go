package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/relay"
)

// oneRelay is a relay of this process.
type oneRelay struct {
	name    string // "" where it is the only one
	command *relayRun
	cluster cluster
	relay   *relay.Relay
	door    *entrance
	log     *slog.Logger
	ended   atomic.Pointer[string] // why, where it was not told to
}

// run returns when the relay has ended.
func (o *oneRelay) run(ctx context.Context) error {
	withShop, err := o.command.pipelineInstalled(ctx)
	switch {
	case errors.Is(err, errAway) && o.command.CreateTopics:
		beside, end := context.WithCancel(ctx)
		var topics sync.WaitGroup
		topics.Go(func() { o.createTopicsLater(beside) })
		defer topics.Wait()
		defer end()
	case errors.Is(err, errAway): // rows for a topic that is missing are held
	case err != nil && ctx.Err() == nil:
		return err
	case withShop:
		o.door.topics = relayTopics(o.cluster)
	}
	err = o.door.then(o.relay.Run)(ctx)
	if errors.Is(err, relay.ErrNoRetention) {
		return usageError{err}
	}
	return err
}

// createTopicsLater makes the pipeline's topics when the database, which was away at the
// start, has said that they are needed. The relay waits for it meanwhile, and holds rows whose
// topics are missing.
func (o *oneRelay) createTopicsLater(ctx context.Context) {
	for pause := time.Second; ; pause = min(2*pause, 5*time.Second) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		withShop, err := o.command.pipelineInstalled(ctx)
		if errors.Is(err, errAway) {
			continue
		}
		if err == nil && withShop {
			err = newEntrance(o.cluster, relayTopics(o.cluster), true, o.log).pass(ctx)
		}
		if err != nil && ctx.Err() == nil {
			o.log.WarnContext(ctx, "missing topics are not created", "error", inOneLine(err))
		}
		return
	}
}

func (o *oneRelay) checks() []health.Check {
	if why := o.ended.Load(); why != nil {
		return []health.Check{{Name: "relay", Detail: "has ended: " + *why}}
	}
	if shut := o.door.check(); shut != nil {
		return shut
	}
	s := o.relay.Status()
	detail := string(s.State)
	if s.Reason != "" {
		detail += ": " + s.Reason
	}
	return []health.Check{{Name: "relay", OK: s.Ready(), Detail: detail}}
}

func (o *oneRelay) status() relay.Status {
	s := o.relay.Status()
	if why := o.ended.Load(); why != nil {
		s.State, s.Reason = relay.Stopped, *why
	}
	return s
}

// relays are those of this process, one or more.
type relays []*oneRelay

// run returns when all have ended. One that ends with an error leaves the others
// running: they are of other databases, and what it waits for may be a person.
func (l relays) run(ctx context.Context) error {
	if len(l) == 1 {
		return l[0].run(ctx)
	}
	errs := make([]error, len(l))
	var running atomic.Int64
	running.Store(int64(len(l)))
	var wg sync.WaitGroup
	for i, o := range l {
		wg.Go(func() {
			errs[i] = o.run(ctx)
			left := running.Add(-1)
			if errs[i] == nil {
				return
			}
			why := inOneLine(errs[i])
			o.ended.Store(&why)
			attrs := []any{"reason", why, "still_running", left}
			if statements := statementsOf(errs[i]); len(statements) > 0 {
				attrs = append(attrs, "sql", statements)
			}
			o.log.ErrorContext(ctx, "relay has ended", attrs...)
		})
	}
	wg.Wait()
	ended := &endedError{of: len(l)}
	for i, err := range errs {
		if err != nil {
			ended.names, ended.errs = append(ended.names, l[i].name), append(ended.errs, err)
		}
	}
	if len(ended.errs) == 0 {
		return nil
	}
	return ended
}

// checks are those of all. The names of several say whose they are.
func (l relays) checks() []health.Check {
	var all []health.Check
	for _, o := range l {
		for _, c := range o.checks() {
			if o.name != "" {
				c.Name = o.name + "/" + c.Name
			}
			all = append(all, c)
		}
	}
	return all
}

// status of the one, or of all by name.
func (l relays) status() any {
	if len(l) == 1 {
		return l[0].status()
	}
	type named struct {
		Name string `json:"name"`
		relay.Status
	}
	all := make([]named, len(l))
	for i, o := range l {
		all[i] = named{o.name, o.status()}
	}
	return map[string]any{"relays": all}
}

// endedError tells of those of several relays that ended without being told to.
type endedError struct {
	of    int
	names []string
	errs  []error
}

func (e *endedError) Error() string {
	return fmt.Sprintf("%d of %d relays have ended: %v", len(e.errs), e.of, errors.Join(e.errs...))
}

func (e *endedError) Unwrap() []error { return e.errs }

// code is that of a refusal where one was refused.
func (e *endedError) code() int {
	for _, err := range e.errs {
		if code, _ := explain(err); code == ExitRefused {
			return code
		}
	}
	return ExitFailed
}

// text has a paragraph for each, as it would have ended alone.
func (e *endedError) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d relays have ended", len(e.errs), e.of)
	for i, err := range e.errs {
		_, text := explain(err)
		fmt.Fprintf(&b, "\nrelay %s: %s", e.names[i], text)
	}
	return b.String()
}

// inOneLine is what explain says, without statements.
func inOneLine(err error) string {
	if r, ok := errors.AsType[refusal](err); ok {
		return oneLine(fmt.Sprintf("refused: %v: %s", err, r.Refusal()))
	}
	_, text := explain(err)
	return text
}
