package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// visibleWithin bounds how long a new topic may take until brokers know it.
const visibleWithin = 30 * time.Second

// Report is what Apply did, or would do.
type Report struct {
	Created       []string     `json:"created"`
	Repartitioned []Difference `json:"repartitioned"` // partitions added
	Changed       []Difference `json:"changed"`       // settings
	// Differences are left as they are: replication, and partitions beyond what
	// was asked for.
	Differences []Difference `json:"differences"`
	Topics      int          `json:"topics"` // in all
}

// Difference is what a topic has, and what it was to have.
type Difference struct {
	Topic string `json:"topic"`
	What  string `json:"what"` // "partitions", "replication", or a setting's name
	Have  string `json:"have"`
	Want  string `json:"want"`
}

// RepartitionError refuses to add partitions.
type RepartitionError struct{ Topics []Difference }

func (e *RepartitionError) Error() string {
	list := make([]string, len(e.Topics))
	for i, d := range e.Topics {
		list[i] = fmt.Sprintf("%s has %s partitions, not %s", d.Topic, d.Have, d.Want)
	}
	return "topics exist with fewer partitions: " + strings.Join(list, "; ")
}

// Refusal says what to do.
func (e *RepartitionError) Refusal() string {
	return "keys would move to other partitions and lose their order; keep the number with --partitions, " +
		"or stop the relay, let every consumer finish, and use --allow-repartition"
}

// Apply makes what is missing. See the package comment for what it leaves alone.
//
// It returns a [*RepartitionError], and has changed nothing, when a topic would
// need more partitions.
func Apply(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	admin, err := c.admin(ctx)
	if err != nil {
		return Report{}, err
	}
	defer admin.Close()
	var before Report // of passes in which somebody else was faster
	for {
		p, err := plan(ctx, admin, c)
		if err != nil || c.DryRun {
			return p.report, err
		}
		created, late, err := p.carryOut(ctx, admin, c)
		p.report.Created = append(append([]string{}, before.Created...), created...)
		p.report.Repartitioned = merge(before.Repartitioned, p.report.Repartitioned)
		p.report.Changed = merge(before.Changed, p.report.Changed)
		if before = p.report; err != nil || !late {
			return p.report, err
		}
	}
}

// merge adds what is new: a broker may show a change late.
func merge(list, more []Difference) []Difference {
	for _, d := range more {
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	if list == nil {
		return []Difference{}
	}
	return list
}

// steps are what is to be done.
type steps struct {
	report Report
	create []topic
	grow   []topic
	alter  map[string]map[string]string // settings by topic
}

func plan(ctx context.Context, admin *kadm.Client, c Config) (steps, error) {
	wanted := c.wanted()
	p := steps{
		report: Report{Created: []string{}, Repartitioned: []Difference{}, Changed: []Difference{}, Differences: []Difference{}, Topics: len(wanted)},
		alter:  make(map[string]map[string]string),
	}
	details, err := admin.ListTopics(ctx)
	if err != nil {
		return p, fmt.Errorf("list topics: %w", err)
	}
	var existing []string
	for _, t := range wanted {
		d, ok := details[t.name]
		if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			p.create = append(p.create, t)
			p.report.Created = append(p.report.Created, t.name)
			continue
		}
		if d.Err != nil {
			return p, fmt.Errorf("list topic %s: %w", t.name, d.Err)
		}
		existing = append(existing, t.name)
		diff := Difference{t.name, "partitions", strconv.Itoa(len(d.Partitions)), strconv.Itoa(t.partitions)}
		switch n := len(d.Partitions); {
		case n < t.partitions:
			p.grow = append(p.grow, t)
			p.report.Repartitioned = append(p.report.Repartitioned, diff)
		case n > t.partitions:
			p.report.Differences = append(p.report.Differences, diff)
		}
		if n := d.Partitions.NumReplicas(); c.Replication > 0 && n != c.Replication {
			p.report.Differences = append(p.report.Differences, Difference{t.name, "replication", strconv.Itoa(n), strconv.Itoa(c.Replication)})
		}
	}
	if len(p.grow) > 0 && !c.AllowRepartition {
		return steps{}, &RepartitionError{p.report.Repartitioned}
	}
	return p, p.compareSettings(ctx, admin, c, existing)
}

func (p *steps) compareSettings(ctx context.Context, admin *kadm.Client, c Config, existing []string) error {
	if len(existing) == 0 {
		return nil
	}
	found, err := admin.DescribeTopicConfigs(ctx, existing...)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	for _, name := range existing {
		resource, err := found.On(name, nil)
		if err = errors.Join(err, resource.Err); err != nil {
			return fmt.Errorf("describe topic %s: %w", name, err)
		}
		have := make(map[string]string)
		for _, setting := range resource.Configs {
			have[setting.Key] = setting.MaybeValue()
		}
		wanted := c.settings()
		for _, key := range slices.Sorted(maps.Keys(wanted)) {
			if enough(key, wanted[key], have[key]) {
				continue
			}
			if p.alter[name] == nil {
				p.alter[name] = make(map[string]string)
			}
			p.alter[name][key] = wanted[key]
			p.report.Changed = append(p.report.Changed, Difference{name, key, have[key], wanted[key]})
		}
	}
	return nil
}

// carryOut returns what it has created, and whether somebody else was faster with
// a topic: its partitions and settings are to be looked at then.
func (p *steps) carryOut(ctx context.Context, admin *kadm.Client, c Config) (created []string, late bool, err error) {
	settings := make(map[string]*string)
	for key, value := range c.settings() {
		settings[key] = &value
	}
	replication := int16(-1) // the cluster's default, KIP-464
	if c.Replication > 0 {
		replication = int16(c.Replication)
	}
	for _, t := range p.create {
		answer, err := admin.CreateTopic(ctx, int32(t.partitions), replication, settings, t.name)
		switch {
		case err == nil:
			created = append(created, t.name)
		case errors.Is(err, kerr.TopicAlreadyExists):
			late = true
		default:
			return created, late, fmt.Errorf("create topic %s: %w%s", t.name, err, message(answer.ErrMessage))
		}
	}
	for _, t := range p.grow {
		answers, err := admin.UpdatePartitions(ctx, t.partitions, t.name)
		if err = errors.Join(err, answers.Error()); err != nil {
			return created, late, fmt.Errorf("add partitions to topic %s: %w", t.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.alter)) {
		var changes []kadm.AlterConfig
		for _, key := range slices.Sorted(maps.Keys(p.alter[name])) {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: kadm.StringPtr(p.alter[name][key])})
		}
		answers, err := admin.AlterTopicConfigs(ctx, changes, name)
		if err == nil {
			answer, lost := answers.On(name, nil)
			err = errors.Join(lost, answer.Err)
		}
		if err != nil {
			return created, late, fmt.Errorf("alter topic %s: %w", name, err)
		}
	}
	return created, late, awaitVisible(ctx, admin, p.create, p.grow)
}

func message(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// awaitVisible returns when every partition has a leader: a controller answers
// before the brokers know, and a service started now would find nothing. A topic
// that somebody else made may have fewer partitions than we want.
func awaitVisible(ctx context.Context, admin *kadm.Client, made, grown []topic) error {
	if len(made)+len(grown) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, visibleWithin, errors.New("topics were created, but the brokers do not show them"))
	defer cancel()
	wanted := make(map[string]int)
	for _, t := range made {
		wanted[t.name] = 1
	}
	for _, t := range grown {
		wanted[t.name] = t.partitions
	}
	names := slices.Sorted(maps.Keys(wanted))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		details, err := admin.ListTopics(ctx, names...)
		if err == nil && allVisible(details, wanted) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for topics: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func allVisible(details kadm.TopicDetails, wanted map[string]int) bool {
	for name, partitions := range wanted {
		d := details[name]
		if d.Err != nil || len(d.Partitions) < partitions {
			return false
		}
		for _, p := range d.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return false
			}
		}
	}
	return true
}
