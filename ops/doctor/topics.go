package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// wantedTopic is one that the relay writes to.
type wantedTopic struct {
	name        string
	ours        bool // 'topics apply' makes it
	deadLetters bool
}

// topicsWanted are the topics of the pipeline, where the database holds it, and those
// of the rows that are there.
func (e *exam) topicsWanted(ctx context.Context) ([]wantedTopic, error) {
	return e.wanted.get(func() ([]wantedTopic, error) {
		p, err := e.needsPublication(ctx)
		if err != nil {
			return nil, err
		}
		holds, err := e.installed(ctx)
		if err != nil {
			return nil, err
		}
		byName := map[string]wantedTopic{}
		if holds.Shop && slices.Contains(p.Tables, "gapless.outbox") {
			for _, name := range (topics.Config{Consumers: e.cfg.Consumers}).Names() {
				byName[name] = wantedTopic{name, true, strings.HasPrefix(name, "dlq.")}
			}
		}
		for _, table := range p.Tables {
			names, err := e.routed(ctx, table)
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok { // of this table; the others go on
				e.unread = append(e.unread, fmt.Sprintf("%s (%s)", table, pg.Message))
			} else if err != nil {
				return nil, err
			}
			for _, name := range names {
				if _, known := byName[name]; !known {
					byName[name] = wantedTopic{name: name}
				}
			}
		}
		if len(byName) == 0 && len(e.unread) > 0 {
			return nil, &unjudged{"rows cannot be read: " + some(e.unread), "GRANT SELECT to this login"}
		}
		if len(byName) == 0 {
			return nil, &unjudged{"the published tables have no rows, so no topic is known of", ""}
		}
		return slices.SortedFunc(maps.Values(byName), func(a, b wantedTopic) int { return cmp.Compare(a.name, b.name) }), nil
	})
}

// routed are the topics of a table's rows, as the relay would make them.
func (e *exam) routed(ctx context.Context, table string) ([]string, error) {
	var how format.Format = eventrouter.Config{}
	if table == "gapless.outbox" {
		how = format.Native{}
	}
	if set, ok := e.cfg.Tables[table]; ok {
		how = set
	}
	switch how := how.(type) {
	case format.Native:
		types, err := values(ctx, e, sql.DoctorTypes, nil)
		for i := range types {
			types[i] = cmp.Or(how.TopicPrefix, contracts.TopicPrefix) + types[i]
		}
		return types, err
	case eventrouter.Config:
		if table == "gapless.dead_letter" {
			return nil, nil // the topics of dead letters are those of the consumers
		}
		of := strings.NewReplacer("aggregatetype", pgx.Identifier{how.RoutedBy()}.Sanitize(), "gapless.outbox", quoted(table))
		found, err := values(ctx, e, of.Replace(sql.DoctorRoutes), nil)
		var names []string
		for _, value := range found {
			if made, err := how.Topics(value); err == nil { // else the row is parked
				names = append(names, made...)
			}
		}
		return names, err
	}
	return nil, nil
}

// topicFacts are the wanted topics as the brokers have them.
type topicFacts struct {
	there   kadm.TopicDetails
	wanted  []wantedTopic
	missing []wantedTopic
}

func (e *exam) topicFacts(ctx context.Context) (topicFacts, error) {
	k, err := e.cluster(ctx)
	if err != nil {
		return topicFacts{}, err
	}
	return e.found.get(func() (f topicFacts, err error) {
		if f.wanted, err = e.topicsWanted(ctx); err != nil {
			return f, err
		}
		names := make([]string, len(f.wanted))
		for i, t := range f.wanted {
			names[i] = t.name
		}
		if f.there, err = k.admin.ListTopics(kadm.WithAuthorizedOps(ctx), names...); err != nil {
			return f, err
		}
		for _, t := range f.wanted {
			if d, ok := f.there[t.name]; !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
				f.missing = append(f.missing, t)
				delete(f.there, t.name)
			}
		}
		return f, nil
	})
}

// existing are the wanted topics that can be looked at.
func (e *exam) existing(ctx context.Context) ([]wantedTopic, kadm.TopicDetails, error) {
	f, err := e.topicFacts(ctx)
	if err != nil {
		return nil, nil, err
	}
	list := slices.DeleteFunc(slices.Clone(f.wanted), func(t wantedTopic) bool { d, ok := f.there[t.name]; return !ok || d.Err != nil })
	if len(list) == 0 {
		return nil, nil, &unjudged{"none of the topics can be looked at", ""}
	}
	return list, f.there, nil
}

// topicSettings are settings by topic and name.
type topicSettings map[string]map[string]string

func (e *exam) topicSettings(ctx context.Context) (topicSettings, error) {
	list, _, err := e.existing(ctx)
	if err != nil {
		return nil, err
	}
	return e.settings.get(func() (topicSettings, error) {
		names := make([]string, len(list))
		for i, t := range list {
			names[i] = t.name
		}
		found, err := e.kafka.value.admin.DescribeTopicConfigs(ctx, names...)
		if err != nil {
			return nil, err
		}
		all := topicSettings{}
		for _, resource := range found {
			if errors.Is(resource.Err, kerr.TopicAuthorizationFailed) {
				return nil, &unjudged{"this client may not read the settings of " + resource.Name, "kafka-acls.sh --add --allow-principal … --operation DescribeConfigs --topic " + resource.Name}
			}
			if resource.Err != nil {
				return nil, fmt.Errorf("describe topic %s: %w", resource.Name, resource.Err)
			}
			all[resource.Name] = map[string]string{}
			for _, s := range resource.Configs {
				all[resource.Name][s.Key] = s.MaybeValue()
			}
		}
		return all, nil
	})
}

func (e *exam) topicsExist(ctx context.Context) (verdict, error) {
	f, err := e.topicFacts(ctx)
	if err != nil {
		return verdict{}, err
	}
	var refused []string
	for _, t := range f.wanted {
		if d, ok := f.there[t.name]; ok && d.Err != nil {
			refused = append(refused, fmt.Sprintf("%s (%v)", t.name, d.Err))
		}
	}
	switch {
	case len(f.missing) > 0:
		names := make([]string, len(f.missing))
		fix := "gapless topics apply"
		for i, t := range f.missing {
			names[i] = t.name
			if !t.ours {
				fix = fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions 32", e.cfg.Brokers[0], t.name)
			}
		}
		return fault(fix, "missing: %s: their events wait, and from 100,000 rows on all others with them", some(names)), nil
	case len(refused) > 0:
		return fault("kafka-acls.sh --add --allow-principal … --operation Describe --operation Write --topic …", "%s", some(refused)), nil
	}
	if len(e.unread) > 0 {
		return unknown("GRANT SELECT to this login", "%d are there; rows cannot be read: %s", len(f.wanted), some(e.unread))
	}
	return well("all %d are there", len(f.wanted)), nil
}

func (e *exam) topicPartitions(ctx context.Context) (verdict, error) {
	list, there, err := e.existing(ctx)
	if err != nil {
		return verdict{}, err
	}
	var headless, single []string
	most := 0
	for _, t := range list {
		d := there[t.name]
		for _, p := range d.Partitions.Sorted() {
			if p.Err != nil || p.Leader < 0 {
				headless = append(headless, fmt.Sprintf("%s/%d", t.name, p.Partition))
			}
		}
		if most = max(most, len(d.Partitions)); len(d.Partitions) == 1 && !t.deadLetters {
			single = append(single, t.name)
		}
	}
	switch {
	case len(headless) > 0:
		return fault("start the brokers that hold their replicas", "without a leader, so that no event of their keys leaves: %s", some(headless)), nil
	case len(single) > 0:
		return warn("gapless topics apply --partitions 32 --allow-repartition, while no relay runs and the consumers have read all (keys move)",
			"one partition, so that one process at a time consumes it: %s", some(single)), nil
	}
	return well("up to %d partitions, each with a leader", most), nil
}

func (e *exam) topicWrite(ctx context.Context) (verdict, error) {
	list, there, err := e.existing(ctx)
	if err != nil {
		return verdict{}, err
	}
	var forbidden []string
	told := false
	for _, t := range list {
		ops := there[t.name].AuthorizedOperations
		told = told || len(ops) > 0
		if len(ops) > 0 && !slices.Contains(ops, kadm.OpWrite) && !slices.Contains(ops, kadm.OpAll) {
			forbidden = append(forbidden, t.name)
		}
	}
	switch {
	case !told:
		return unknown("", "the brokers do not say what this client may do")
	case len(forbidden) > 0:
		return fault("kafka-acls.sh --add --allow-principal … --operation Write --topic "+forbidden[0], "may not write: %s", some(forbidden)), nil
	}
	return well("may write to %d topics", len(list)), nil
}

// each calls judge with every topic's setting, as a number where it is one, and
// returns what judge found worth a word.
func (e *exam) each(ctx context.Context, setting string, judge func(t wantedTopic, value string, n int64) string) (said []string, topics int, err error) {
	list, _, err := e.existing(ctx)
	if err != nil {
		return nil, 0, err
	}
	settings, err := e.topicSettings(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, t := range list {
		value, ok := settings[t.name][setting]
		if !ok {
			continue // not known to these brokers
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			n = -1
		}
		if word := judge(t, value, n); word != "" {
			said = append(said, t.name+" "+word)
		}
	}
	return said, len(list), nil
}

func (e *exam) alter(setting, value string) string {
	return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name … --add-config %s=%s", e.cfg.Brokers[0], setting, value)
}

func (e *exam) topicMaxBytes(ctx context.Context) (verdict, error) {
	const setting = "max.message.bytes"
	small, all, err := e.each(ctx, setting, func(_ wantedTopic, _ string, n int64) string {
		if n >= int64(e.cfg.MaxRecordBytes) {
			return ""
		}
		return "takes " + inspect.Size(n)
	})
	if err != nil {
		return verdict{}, err
	}
	if len(small) > 0 {
		return warn(e.alter(setting, strconv.Itoa(e.cfg.MaxRecordBytes)), "%s, but the outbox takes payloads of 1 MiB beside their headers, and the relay sends %s: what is larger is parked",
			some(small), inspect.Size(int64(e.cfg.MaxRecordBytes))), nil
	}
	return well("all %d take %s", all, inspect.Size(int64(e.cfg.MaxRecordBytes))), nil
}

func (e *exam) topicMinInsync(ctx context.Context) (verdict, error) {
	_, there, err := e.existing(ctx)
	if err != nil {
		return verdict{}, err
	}
	const setting = "min.insync.replicas"
	brokers := len(e.kafka.value.brokers)
	var impossible, fragile, halting, behind []string
	_, all, err := e.each(ctx, setting, func(t wantedTopic, _ string, n int64) string {
		d := there[t.name]
		replicas := int64(d.Partitions.NumReplicas())
		switch {
		case n > replicas:
			impossible = append(impossible, fmt.Sprintf("%s has %d replicas and needs %d", t.name, replicas, n))
		case replicas == 1 && brokers > 1:
			fragile = append(fragile, t.name+" has one replica")
		case n == 1 && replicas > 1:
			fragile = append(fragile, t.name+" needs one of its replicas")
		case n == replicas && replicas > 1:
			halting = append(halting, fmt.Sprintf("%s needs all %d replicas", t.name, replicas))
		}
		for _, p := range d.Partitions.Sorted() {
			if n <= replicas && int64(len(p.ISR)) < n {
				behind = append(behind, fmt.Sprintf("%s/%d has %d of %d", t.name, p.Partition, len(p.ISR), n))
			}
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	switch {
	case len(impossible) > 0:
		return fault(e.alter(setting, "1"), "no record is ever acknowledged: %s", some(impossible)), nil
	case len(behind) > 0:
		return fault("start the brokers that hold the other replicas", "no record is acknowledged until more replicas are in sync: %s", some(behind)), nil
	case len(fragile) > 0:
		return warn("three replicas, and gapless topics apply --min-insync 2", "a broker that is lost takes acknowledged records with it: %s", some(fragile)), nil
	case len(halting) > 0:
		return warn("one replica more, or "+e.alter(setting, "2"), "a broker that is down stops the relay: %s", some(halting)), nil
	}
	if brokers == 1 {
		return well("the cluster is one broker: its disk is all there is"), nil
	}
	return well("all %d need more than one of their replicas", all), nil
}

func (e *exam) topicElections(ctx context.Context) (verdict, error) {
	const setting = "unclean.leader.election.enable"
	said, all, err := e.each(ctx, setting, func(_ wantedTopic, value string, _ int64) string {
		if value == "true" {
			return "allows it"
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	if len(said) > 0 {
		return warn(e.alter(setting, "false"), "a replica that lacks acknowledged records may become leader: %s", some(said)), nil
	}
	return well("none of %d allows it", all), nil
}

func (e *exam) topicCleanup(ctx context.Context) (verdict, error) {
	const setting = "cleanup.policy"
	said, all, err := e.each(ctx, setting, func(_ wantedTopic, value string, _ int64) string {
		if strings.Contains(value, "compact") {
			return "is " + value
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	if len(said) > 0 {
		return warn(e.alter(setting, "delete"), "%s: of each key only the newest event stays", some(said)), nil
	}
	return well("none of %d is compacted", all), nil
}

// retentionLow is a weekend without anybody.
const retentionLow = 72 * time.Hour

func (e *exam) topicRetention(ctx context.Context) (verdict, error) {
	const setting = "retention.ms"
	said, all, err := e.each(ctx, setting, func(_ wantedTopic, _ string, n int64) string {
		if d := time.Duration(n) * time.Millisecond; n >= 0 && n < retentionLow.Milliseconds() {
			return "keeps records for " + d.String()
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	// A limit by size deletes whatever its age; how soon is up to the load.
	bySize, _, err := e.each(ctx, "retention.bytes", func(_ wantedTopic, _ string, n int64) string {
		if n >= 0 {
			return "keeps " + inspect.Size(n) + " a partition"
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	if said = append(said, bySize...); len(said) > 0 {
		return warn(e.alter(setting, "604800000,retention.bytes=-1"), "%s: a consumer that is away for longer refuses to go on, for it has lost events", some(said)), nil
	}
	return well("all %d keep records for at least %s", all, retentionLow), nil
}

// lateLow is for how long a relay may be away and still have its rows taken.
const lateLow = 7 * 24 * time.Hour

func (e *exam) topicTimestamps(ctx context.Context) (verdict, error) {
	const setting = "message.timestamp.type"
	stamped, all, err := e.each(ctx, setting, func(_ wantedTopic, value string, _ int64) string {
		if value == "LogAppendTime" {
			return "has " + value
		}
		return ""
	})
	if err != nil {
		return verdict{}, err
	}
	if len(stamped) > 0 {
		return warn(e.alter(setting, "CreateTime"), "%s: records have the time of their arrival in place of their row's", some(stamped)), nil
	}
	for _, setting := range []string{"message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"} {
		strict, _, err := e.each(ctx, setting, func(_ wantedTopic, _ string, n int64) string {
			if d := time.Duration(n) * time.Millisecond; n >= 0 && n < lateLow.Milliseconds() {
				return "takes none that are older than " + d.String()
			}
			return ""
		})
		if err != nil {
			return verdict{}, err
		}
		if len(strict) > 0 {
			return warn(e.alter(setting, "9223372036854775807"), "%s: rows that a relay sends late are parked", some(strict)), nil
		}
	}
	return well("all %d have CreateTime and take late records", all), nil
}
