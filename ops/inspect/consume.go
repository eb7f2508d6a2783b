package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/sql"
)

// Consumer is a consumer to ask about.
type Consumer struct {
	Name       string
	Topics     []string
	Generation int // default 1
}

// ConsumeConfig of [Consume].
type ConsumeConfig struct {
	// Brokers are the bootstrap servers, KafkaOptions come on top.
	Brokers      []string
	KafkaOptions []kgo.Opt
	Consumers    []Consumer
	// Timeout bounds the look into Kafka. Default 8 s.
	Timeout time.Duration
}

// ConsumerStatus is where one consumer stands, over all its processes.
type ConsumerStatus struct {
	Consumer   string            `json:"consumer"`
	Generation int               `json:"generation"`
	Group      string            `json:"group"`
	State      string            `json:"state"` // of the group: "Stable", "Empty", "Dead", …
	Members    int               `json:"members"`
	Partitions []PartitionStatus `json:"partitions"`
	Lag        int64             `json:"lag_messages"`
	LagSeconds float64           `json:"lag_seconds"` // of the oldest message not behind an offset
	Table      InboxStatus       `json:"inbox"`
	Blocked    []BlockedKey      `json:"blocked"`

	// By Rates, from two looks.
	Rate         float64 `json:"rate,omitempty"`          // messages a second
	DrainSeconds float64 `json:"drain_seconds,omitempty"` // at that rate; 0: drained, or not known

	at time.Time
}

// PartitionStatus is where a consumer stands in one partition.
type PartitionStatus struct {
	Topic      string  `json:"topic"`
	Partition  int32   `json:"partition"`
	Committed  int64   `json:"committed"` // next offset; -1: none was committed yet
	End        int64   `json:"end"`
	Lag        int64   `json:"lag_messages"`
	LagSeconds float64 `json:"lag_seconds"`
	Blocked    int     `json:"blocked_keys"`
	Member     string  `json:"member,omitempty"` // client id of its owner
	Error      string  `json:"error,omitempty"`  // why Kafka does not tell; the partition is -1 when the topic is missing
}

// InboxStatus is what the tables tell of a consumer. Applied and Ignored count
// events made in the last ten minutes.
type InboxStatus struct {
	Consumer        string     `json:"-" db:"consumer"`
	Generation      int        `json:"-" db:"generation"`
	Applied         int64      `json:"applied" db:"applied"`
	Ignored         int64      `json:"ignored" db:"ignored"`
	Retrying        int64      `json:"retrying" db:"retrying"`
	BlockedKeys     int64      `json:"blocked_keys" db:"blocked_keys"`
	BlockedSince    *time.Time `json:"blocked_since,omitempty" db:"blocked_since"`
	WaitingMessages int64      `json:"waiting_messages" db:"waiting_messages"`
	DeadLetters     int64      `json:"dead_letters" db:"dead_letters"`
	LastAppliedAt   *time.Time `json:"last_applied_at,omitempty" db:"last_applied_at"`
}

// BlockedKey is a key that waits for a dead letter.
type BlockedKey struct {
	Consumer     string    `json:"consumer" db:"consumer"`
	Generation   int       `json:"generation" db:"generation"`
	Topic        string    `json:"topic" db:"topic"`
	Key          string    `json:"key" db:"key"`
	DeadLetterID uuid.UUID `json:"dead_letter_id" db:"dead_letter_id"`
	BlockedAt    time.Time `json:"blocked_at" db:"blocked_at"`
	Partition    int32     `json:"partition" db:"partition"`
	Reason       string    `json:"reason" db:"reason"`
	Waiting      int64     `json:"waiting" db:"waiting"`
}

// Consumers lists what the tables tell of each consumer.
func Consumers(ctx context.Context, db DB) ([]InboxStatus, error) {
	return list[InboxStatus](ctx, db, "consumers", sql.OpsConsumers, nil)
}

// BlockedKeys lists blocked keys, oldest first.
func BlockedKeys(ctx context.Context, db DB, n int) ([]BlockedKey, error) {
	return list[BlockedKey](ctx, db, "blocked keys", sql.OpsBlocked, pgx.StrictNamedArgs{"limit": limit(n)})
}

// Consume tells where each consumer stands, by Kafka and by the tables.
func Consume(ctx context.Context, db DB, c ConsumeConfig) ([]ConsumerStatus, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(c.Timeout, 8*time.Second), errors.New("no answer from Kafka in time"))
	defer cancel()
	tables, err := Consumers(ctx, db)
	if err != nil {
		return nil, err
	}
	blocked, err := BlockedKeys(ctx, db, 1_000)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, c.KafkaOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, fmt.Errorf("cannot reach Kafka at %v: %w", c.Brokers, cmp.Or(context.Cause(ctx), err))
	}
	admin := kadm.NewClient(client) // shares the client; closed with it
	list := make([]ConsumerStatus, 0, len(c.Consumers))
	for _, consumer := range c.Consumers {
		s := ConsumerStatus{Consumer: consumer.Name, Generation: cmp.Or(consumer.Generation, 1), Partitions: []PartitionStatus{}, Blocked: []BlockedKey{}}
		s.Group = contracts.Group(s.Consumer, s.Generation)
		for _, t := range tables {
			if t.Consumer == s.Consumer && t.Generation == s.Generation {
				s.Table = t
			}
		}
		for _, b := range blocked {
			if b.Consumer == s.Consumer && b.Generation == s.Generation {
				s.Blocked = append(s.Blocked, b)
			}
		}
		if err := s.readGroup(ctx, admin, consumer.Topics); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if err := readAges(ctx, c, list); err != nil {
		return nil, err
	}
	return list, nil
}

// readGroup fills in offsets and members.
func (s *ConsumerStatus) readGroup(ctx context.Context, admin *kadm.Client, names []string) error {
	described, err := admin.DescribeGroups(ctx, s.Group)
	if err != nil {
		return fmt.Errorf("describe group %s: %w", s.Group, err)
	}
	group := described[s.Group]
	s.State, s.Members = cmp.Or(group.State, "Dead"), len(group.Members)
	owners := make(map[string]map[int32]string)
	for _, member := range group.Members {
		assigned, ok := member.Assigned.AsConsumer()
		if !ok {
			continue
		}
		for _, topic := range assigned.Topics {
			for _, p := range topic.Partitions {
				if owners[topic.Topic] == nil {
					owners[topic.Topic] = make(map[int32]string)
				}
				owners[topic.Topic][p] = member.ClientID
			}
		}
	}
	committed, err := topics.Committed(ctx, admin, s.Group)
	if err != nil {
		return err
	}
	s.at = time.Now()
	if len(names) == 0 { // which Kafka would take for all
		return nil
	}
	ends, err := admin.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return fmt.Errorf("list ends of topics: %w", err)
	}
	starts, err := admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return fmt.Errorf("list starts of topics: %w", err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Err != nil {
			s.Partitions = append(s.Partitions, PartitionStatus{Topic: end.Topic, Partition: end.Partition, Committed: -1, Error: end.Err.Error()})
			return
		}
		p := PartitionStatus{Topic: end.Topic, Partition: end.Partition, Committed: -1, End: end.Offset, Member: owners[end.Topic][end.Partition]}
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Err == nil {
			from = start.Offset
		}
		if o, ok := committed.Lookup(end.Topic, end.Partition); ok && o.Err == nil && o.At >= 0 {
			p.Committed, from = o.At, max(from, o.At)
		}
		p.Lag = max(0, end.Offset-from)
		for _, b := range s.Blocked {
			if b.Topic == p.Topic && b.Partition == p.Partition {
				p.Blocked++
			}
		}
		s.Lag += p.Lag
		s.Partitions = append(s.Partitions, p)
	})
	slices.SortFunc(s.Partitions, comparePartitions)
	return nil
}

// Rates fills in rate and time to drain from an earlier look at the same
// consumers.
func Rates(earlier, now []ConsumerStatus) {
	for i := range now {
		for j := range earlier {
			a, b := &earlier[j], &now[i]
			seconds := b.at.Sub(a.at).Seconds()
			if a.Group != b.Group || seconds <= 0 {
				continue
			}
			b.Rate = float64(b.done()-a.done()) / seconds
			if b.Rate > 0 {
				b.DrainSeconds = float64(b.Lag) / b.Rate
			}
		}
	}
}

// done is how far the offsets are, all partitions together.
func (s *ConsumerStatus) done() (n int64) {
	for _, p := range s.Partitions {
		n += max(0, p.Committed)
	}
	return n
}

// furthest is how many partitions that are merely behind are printed of a consumer.
const furthest = 3

// WriteConsumers writes one line a consumer, and below it the partitions that are
// in trouble (blocked keys, an error), the few that are furthest behind, and how
// many more are behind. With all it is every partition.
func WriteConsumers(w io.Writer, list []ConsumerStatus, all bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CONSUMER\tSTATE\tMEMBERS\tLAG\tSECONDS\tRATE\tDRAINED IN\tBLOCKED\tWAITING\tDEAD\tRETRYING")
	for i := range list {
		s := &list[i]
		rate, drain := "-", "-"
		if s.Rate > 0 {
			rate = fmt.Sprintf("%.0f/s", s.Rate)
			drain = time.Duration(s.DrainSeconds * float64(time.Second)).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%.1f\t%s\t%s\t%d\t%d\t%d\t%d\n", s.Consumer, s.State, s.Members, s.Lag, s.LagSeconds, rate, drain,
			s.Table.BlockedKeys, s.Table.WaitingMessages, s.Table.DeadLetters, s.Table.Retrying)
		shown, rest := s.Partitions, []PartitionStatus(nil)
		if !all {
			shown, rest = s.remarkable()
		}
		for _, p := range shown {
			if p.Error != "" {
				fmt.Fprintf(t, "  %s/%d\t%s\t\t\t\t\t\t\t\t\t\n", p.Topic, p.Partition, terminal.Line(p.Error))
				continue
			}
			fmt.Fprintf(t, "  %s/%d\t%s\t\t%d\t%.1f\t\t\t%d\t\t\t\n", p.Topic, p.Partition, terminal.Line(p.Member), p.Lag, p.LagSeconds, p.Blocked)
		}
		if len(rest) > 0 {
			var lag int64
			for _, p := range rest {
				lag += p.Lag
			}
			fmt.Fprintf(t, "  and %d more behind (--all)\t\t\t%d\t\t\t\t\t\t\t\n", len(rest), lag)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write consumers: %w", err)
	}
	return nil
}

// remarkable divides the partitions that are not as they should be into those to
// show, in their order, and those that are merely behind like others.
func (s *ConsumerStatus) remarkable() (shown, rest []PartitionStatus) {
	var behind []PartitionStatus
	for _, p := range s.Partitions {
		switch {
		case p.Blocked > 0 || p.Error != "":
			shown = append(shown, p)
		case p.Lag > 0:
			behind = append(behind, p)
		}
	}
	slices.SortStableFunc(behind, func(a, b PartitionStatus) int { return cmp.Compare(b.Lag, a.Lag) })
	n := min(len(behind), furthest)
	shown, rest = append(shown, behind[:n]...), behind[n:]
	slices.SortFunc(shown, comparePartitions)
	return shown, rest
}

func comparePartitions(a, b PartitionStatus) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
