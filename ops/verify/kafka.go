package verify

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/ops/topics"
)

// kafka reads topics up to where they ended at one moment.
type kafka struct {
	options []kgo.Opt
	admin   *kadm.Client

	parts  map[string]int32                   // partitions of a topic
	floors map[string]map[int32]*logFloor     // where retention has cut
	behind map[string]map[int32][]groupOffset // by topic and partition
}

// logFloor is the first offset of a partition that has lost its beginning, and
// the timestamp of the first record found there, 0 when there was none.
type logFloor struct{ offset, at int64 }

// groupOffset is how far a consumer is.
type groupOffset struct {
	bit    uint64
	offset int64
}

// reachWithin bounds how long a broker may take to answer at first.
const reachWithin = 8 * time.Second

func openKafka(ctx context.Context, c Config) (*kafka, error) {
	options := append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, c.KafkaOptions...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if err := client.Ping(limited); err != nil {
		client.Close()
		return nil, fmt.Errorf("cannot reach Kafka at %s: %w", strings.Join(c.Brokers, ", "), err)
	}
	return &kafka{
		options: options, admin: kadm.NewClient(client),
		parts: make(map[string]int32), floors: make(map[string]map[int32]*logFloor), behind: make(map[string]map[int32][]groupOffset),
	}, nil
}

func (k *kafka) close() { k.admin.Close() }

// cut is where reading starts and ends.
type cut struct {
	starts map[string]map[int32]kgo.Offset
	ends   map[string]map[int32]int64
	left   int   // partitions not read to their end
	all    int64 // offsets to read
}

// ends lists the topics that begin with prefix, their ends, and what is before.
func (k *kafka) cut(ctx context.Context, prefix string) (cut, error) {
	c := cut{starts: make(map[string]map[int32]kgo.Offset), ends: make(map[string]map[int32]int64)}
	details, err := k.admin.ListTopics(ctx)
	if err != nil {
		return c, fmt.Errorf("list topics: %w", err)
	}
	var names []string
	for _, d := range details.Sorted() {
		if !strings.HasPrefix(d.Topic, prefix) {
			continue
		}
		if d.Err != nil {
			return c, fmt.Errorf("list topic %s: %w", d.Topic, d.Err)
		}
		names = append(names, d.Topic)
		k.parts[d.Topic] = int32(len(d.Partitions))
	}
	if len(names) == 0 {
		return c, nil
	}
	// The ends first: a partition that is cut by retention in between then has a
	// start behind its end, which is an empty one.
	ends, err := k.admin.ListCommittedOffsets(ctx, names...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return c, fmt.Errorf("list ends of topics: %w", err)
	}
	starts, err := k.admin.ListStartOffsets(ctx, names...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return c, fmt.Errorf("list starts of topics: %w", err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if start.Offset > 0 {
			put(k.floors, end.Topic, end.Partition, &logFloor{offset: start.Offset})
		}
		if start.Offset >= end.Offset {
			return
		}
		put(c.starts, end.Topic, end.Partition, kgo.NewOffset().At(start.Offset))
		put(c.ends, end.Topic, end.Partition, end.Offset)
		c.left++
		c.all += end.Offset - start.Offset
	})
	return c, nil
}

func put[V any](m map[string]map[int32]V, topic string, partition int32, v V) {
	if m[topic] == nil {
		m[topic] = make(map[int32]V)
	}
	m[topic][partition] = v
}

// readOffsets reads how far each consumer is. After the ends and before the
// inbox, so that whatever is behind an offset has its claim already.
func (k *kafka) readOffsets(ctx context.Context, consumers []Consumer) error {
	for i, consumer := range consumers {
		group := contracts.Group(consumer.Name, consumer.Generation)
		offsets, err := topics.Committed(ctx, k.admin, group)
		if err != nil {
			return err
		}
		for _, topic := range consumer.Topics {
			for partition := range k.parts[topic] {
				g := groupOffset{bit: 1 << i}
				if o, ok := offsets.Lookup(topic, partition); ok && o.Err == nil {
					g.offset = o.At
				}
				if k.behind[topic] == nil {
					k.behind[topic] = make(map[int32][]groupOffset)
				}
				k.behind[topic][partition] = append(k.behind[topic][partition], g)
			}
		}
	}
	return nil
}

// due tells which consumers must have a claim of a record, and how many are not
// there yet.
func (k *kafka) due(r *kgo.Record) (due uint64, waiting int) {
	for _, g := range k.behind[r.Topic][r.Partition] {
		if r.Offset < g.offset {
			due |= g.bit
		} else {
			waiting++
		}
	}
	return due, waiting
}

// read gives every record before the cut's ends to f, in offset order within a
// partition. Markers of transactions are kept, since one of them may be the last
// before an end; they do not reach f.
func (k *kafka) read(ctx context.Context, c cut, stall time.Duration, f func(*kgo.Record)) error {
	if c.left == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(k.options[:len(k.options):len(k.options)],
		kgo.ConsumePartitions(c.starts), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(250*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	for c.left > 0 {
		poll, cancel := context.WithTimeout(ctx, stall)
		fetches := client.PollFetches(poll)
		idle := poll.Err() != nil && fetches.NumRecords() == 0
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		if idle {
			return fmt.Errorf("read topics: Kafka gave nothing for %s, and %d partitions are not read to their end", stall, c.left)
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			end, ok := c.ends[p.Topic][p.Partition]
			if !ok {
				return
			}
			for _, r := range p.Records {
				if r.Offset < end && !r.Attrs.IsControl() {
					k.noteFloor(r)
					f(r)
				}
				if r.Offset+1 >= end {
					delete(c.ends[p.Topic], p.Partition)
					c.left--
					client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
					return
				}
			}
		})
	}
	return nil
}

func (k *kafka) noteFloor(r *kgo.Record) {
	if floor := k.floors[r.Topic][r.Partition]; floor != nil && floor.at == 0 {
		floor.at = r.Timestamp.UnixMicro()
	}
}

// expired tells whether retention may have taken the record of a row.
func (k *kafka) expired(topic string, key []byte, at time.Time) bool {
	n := k.parts[topic]
	if n == 0 {
		return false
	}
	partition := kgo.StickyKeyPartitioner(nil).ForTopic(topic).Partition(&kgo.Record{Key: key}, int(n))
	floor := k.floors[topic][int32(partition)]
	return floor != nil && (floor.at == 0 || at.UnixMicro() <= floor.at)
}

func (r *run) readKafka(ctx context.Context) error {
	c, err := r.kafka.cut(ctx, r.TopicPrefix)
	if err != nil {
		return err
	}
	if err := r.kafka.readOffsets(ctx, r.Consumers); err != nil {
		return err
	}
	err = r.kafka.read(ctx, c, r.Stall, func(record *kgo.Record) {
		due, waiting := r.kafka.due(record)
		r.ledger.addRecord(record, due, waiting)
		if r.ledger.records%progressEvery == 0 {
			r.Progress(Progress{Step: "read kafka", Done: r.ledger.records, All: c.all})
		}
	})
	r.report.Cut.Records, r.report.Cut.Repeats = r.ledger.records, r.ledger.repeats
	return err
}

// consumersOf names the consumers of a set of bits.
func consumersOf(list []Consumer, set uint64) string {
	var names []string
	for ; set != 0; set &= set - 1 {
		names = append(names, list[bits.TrailingZeros64(set)].Name)
	}
	return strings.Join(names, ", ")
}
