package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/format"
)

// KafkaConfig of a KafkaSink. Zero values mean the default.
type KafkaConfig struct {
	Brokers []string // host:port; needed unless Options has seed brokers

	// MaxRecordBytes bounds a record, and with it a batch; keep it at or below
	// the broker's message.max.bytes. Default 1000012. A topic whose
	// max.message.bytes is lower is found out at its first refusal.
	MaxRecordBytes int32

	Logger *slog.Logger // default slog.Default

	// Options are TLS, SASL, hooks, compression (default none) and the like. What the
	// relay's promise hangs on wins over them: acks, the partitioner, batches, flushing.
	// Turning idempotency off is refused, and so is having topics made by the first
	// record. They are given to several clients, also at the same time: hooks must bear
	// that. A hook may change the headers of a record and wrap its Context, as tracing
	// does; its key and its value are the relay's.
	Options []kgo.Opt
}

// KafkaSink sends to Kafka: idempotent producer, acks from all in-sync
// replicas, retried without end, the Java client's default partitioner.
type KafkaSink struct {
	cfg KafkaConfig
	log *slog.Logger

	drivers    sync.WaitGroup
	renewAfter time.Duration // the constant, but in tests

	mu     sync.Mutex
	client *kgo.Client
	made   time.Time // when the client was
	limits limits    // of the client: what it was made with
	// learned is what the next client is made with, and reported what the topics'
	// configurations said when it was learned.
	learned  limits
	reported map[string]int
	spans    map[string]*span // of topics that refused a timestamp
	solos    map[string]*solo // of topics that refused a record
	rounds   rounds
	gather   bool // see Gatherer
	hooked   bool // Options have hooks
	// named tells that a record has named its partition; partitions is how many the
	// client knows of, for topics to which that happened.
	named      bool
	partitions map[string]int
	doubted    string             // topic and partition that the client has not found
	counted    map[string]counted // of topics without a partition that a record named
	topics     map[string]bool    // sent to; whether they have been found
	strange    bool               // some of what is queued have not
	ailing     map[string]error
	held       map[string]error // topics that take nothing, see HeldError
	beats      *kgo.Client      // for heartbeats; made by the first
}

// batchDefault is kgo's default, a little below the broker's 1 MiB.
const batchDefault = 1_000_012

// NewKafkaSink checks cfg. It does no I/O: the client is made by the first Send.
func NewKafkaSink(cfg KafkaConfig) (*KafkaSink, error) {
	cfg.MaxRecordBytes = cmp.Or(cfg.MaxRecordBytes, batchDefault)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	k := &KafkaSink{
		cfg: cfg, log: cfg.Logger, renewAfter: renewAfter,
		learned: limits{}, reported: map[string]int{}, spans: map[string]*span{}, solos: map[string]*solo{}, topics: map[string]bool{}, partitions: map[string]int{}, counted: map[string]counted{}, ailing: map[string]error{}, held: map[string]error{},
	}
	if cfg.MaxRecordBytes < 1024 {
		return nil, fmt.Errorf("kafka sink config: MaxRecordBytes %d is below 1024", cfg.MaxRecordBytes)
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	return k, nil
}

// check looks at what only a client tells of Options. It does no I/O.
func (k *KafkaSink) check() error {
	client, err := k.beside()
	if err != nil {
		return fmt.Errorf("kafka sink config: %w", err)
	}
	defer client.Close()
	k.hooked = reflect.ValueOf(client.OptValue(kgo.WithHooks)).Len() > 0 // its type is not exported
	if off, ok := client.OptValue(kgo.DisableIdempotentWrite).(bool); ok && off {
		return errors.New("kafka sink config: Options turn idempotency off: a retried batch could land twice, or out of order")
	}
	if on, ok := client.OptValue(kgo.AllowAutoTopicCreation).(bool); ok && on {
		return errors.New("kafka sink config: Options let the broker make topics by itself, with its own partitions and settings: make them beforehand")
	}
	seeds, _ := client.OptValue(kgo.SeedBrokers).([]string)
	if len(k.cfg.Brokers) == 0 && (len(seeds) == 0 || len(seeds) == 1 && seeds[0] == "127.0.0.1") { // the client's default
		return errors.New("kafka sink config: Brokers is empty")
	}
	return nil
}

// Double implements Doubler.
func (k *KafkaSink) Double() (Sink, error) { return NewKafkaSink(k.cfg) }

// beside makes a client that sends nothing of the stream's.
func (k *KafkaSink) beside() (*kgo.Client, error) {
	return kgo.NewClient(k.options(nil)...)
}

func (k *KafkaSink) options(l limits) []kgo.Opt {
	most := func(topic string) int { return k.mostOf(l, topic) }
	place := placed{byKey: kgo.StickyKeyPartitioner(nil)} // murmur2, as the Java client
	if k.hooked {
		place.most = most
	}
	opts := []kgo.Opt{
		kgo.ClientID("gapless-relay"),
		// A topic that was made a moment ago, or a leader that has moved, is found
		// again after this, not after the client's 5 s.
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		// A topic that was made a moment ago may not be known everywhere. One that
		// stays unknown is held, and others go on: see HeldError.
		kgo.UnknownTopicRetries(4),
		kgo.WithLogger(kafkaLogger{k.log}),
	}
	if len(k.cfg.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(k.cfg.Brokers...))
	}
	return append(append(opts, k.cfg.Options...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(place),
		kgo.ManualFlushing(), // see rounds
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 { return int32(max(most(topic), minBatch)) }),
		// Our own bound on what is in flight is the lower one: Produce must
		// never block the goroutine that answers the server's keepalives.
		kgo.MaxBufferedRecords(1<<22),
		// Of bytes there is none: flushing by hand, the client gives up what goes beyond,
		// and takes the smaller record behind it.
		kgo.MaxBufferedBytes(0),
	)
}

// ticket is the sink's part of a record. It is its record's Context, or wrapped in it, so
// that the one promise function finds it again without an allocation.
type ticket struct {
	context.Context
	kafka     kgo.Record
	record    *format.Record
	ack       func(*format.Record, error)
	sink      *KafkaSink
	alone     bool          // no other record of the topic is out
	misplaced bool          // its topic has no such partition
	grown     *format.Fault // hooks made it larger than its topic takes
}

// size of the record as the relay gave it.
func (t *ticket) size() int { return wireSize(t.record.Key, t.record.Value, t.record.Headers) }

type ticketKey struct{}

// Value implements context.Context.
func (t *ticket) Value(key any) any {
	if key == (ticketKey{}) {
		return t
	}
	return t.Context.Value(key)
}

func ticketOf(r *kgo.Record) *ticket {
	t, _ := r.Context.Value(ticketKey{}).(*ticket)
	return t
}

// Send implements Sink.
func (k *KafkaSink) Send(r *format.Record, ack func(*format.Record, error)) error {
	client, limit, bounds, err := k.ready(r.Topic)
	if err != nil {
		return err
	}
	if bounds != nil {
		if fault := bounds.refuses(r); fault != nil {
			return fault
		}
	}
	if r.Partition >= 0 {
		if fault := k.beyond(client, r); fault != nil {
			return fault
		}
	}
	if size := wireSize(r.Key, r.Value, r.Headers); size > limit {
		return tooLargeFor(limit, size)
	}
	t, ok := r.Sink.(*ticket)
	if !ok {
		t = &ticket{Context: context.Background()}
		r.Sink = t
	}
	t.record, t.ack, t.sink, t.alone, t.misplaced, t.grown = r, ack, k, false, false, nil
	headers := r.Headers
	if k.hooked {
		headers = slices.Clone(headers) // r may be sent again, or parked
	}
	t.kafka = kgo.Record{
		Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: headers, Timestamp: r.Timestamp, Context: t,
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.client != client || len(k.ailing) > 0 {
		return errRefused
	}
	if cause := k.held[r.Topic]; cause != nil {
		return &HeldError{Topic: r.Topic, Cause: cause} // since the look before
	}
	k.enqueue(t)
	return nil
}

func promise(r *kgo.Record, err error) {
	t := ticketOf(r)
	if t.misplaced {
		t.ack(t.record, t.sink.astray(t, err))
		return
	}
	fault := t.grown
	switch {
	case fault != nil:
		t.sink.halt()
	case t.alone:
		fault = t.sink.soloDone(t, err)
	}
	if fault != nil {
		err = fault
	} else if err != nil {
		t.sink.failed(t.record.Topic, err)
		err = fmt.Errorf("produce to %s: %w", t.record.Topic, err)
	}
	t.ack(t.record, err)
}

// wireSize bounds what a record takes in a batch of its own, from above.
func wireSize(key, value []byte, headers []format.Header) int {
	n := len(key) + len(value) + 128
	for _, h := range headers {
		n += len(h.Key) + len(h.Value) + 12
	}
	return n
}

// errRefused keeps what comes later from landing before what was refused: the
// client has given up everything of that partition, and would take more.
var errRefused = errors.New("records sent before were refused")

func (k *KafkaSink) ready(topic string) (*kgo.Client, int, *span, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ailing) > 0 {
		return nil, 0, nil, errRefused
	}
	if len(k.held) > 0 {
		if cause := k.held[topic]; cause != nil {
			return nil, 0, nil, &HeldError{Topic: topic, Cause: cause}
		}
	}
	k.retire()
	if k.client == nil {
		l := maps.Clone(k.learned)
		client, err := kgo.NewClient(k.options(l)...)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("make kafka client: %w", err)
		}
		k.client, k.made, k.limits = client, time.Now(), l
	}
	found, there := k.topics[topic]
	if !there {
		if len(k.topics) > 10_000 {
			clear(k.topics)
		}
		k.topics[topic] = false
	}
	k.strange = k.strange || !found
	return k.client, k.mostOf(k.limits, topic), k.spans[topic], nil
}

// halt lets nothing out before Reset.
func (k *KafkaSink) halt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rounds.failed = true
}

func (k *KafkaSink) failed(topic string, err error) {
	if errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ailing[topic] = err
	k.rounds.failed = true
	if concernsTopic(err) {
		delete(k.topics, topic)
	}
}

// Reset implements Sink. It closes the client, so that nothing of it arrives
// any more, and waits until the topics that failed look writable, but for those
// that are held from then on.
func (k *KafkaSink) Reset(ctx context.Context) error {
	k.mu.Lock()
	old := k.client
	k.client = nil
	k.mu.Unlock()
	if old != nil {
		old.Close()
	}
	k.drivers.Wait()
	// What was answered until now was about the old client.
	k.mu.Lock()
	ailing := k.ailing
	k.ailing = map[string]error{}
	k.rounds = rounds{}
	clear(k.partitions) // the next client finds more, or fewer
	for topic, cause := range ailing {
		if concernsTopic(cause) {
			k.held[topic] = cause
			delete(ailing, topic)
		}
	}
	isWell := len(ailing) == 0 && len(k.held) == 0
	k.mu.Unlock()
	if isWell {
		return nil
	}
	probe, err := k.beside()
	if err != nil {
		return fmt.Errorf("make kafka client: %w", err)
	}
	defer probe.Close()
	k.release(ctx, kadm.NewClient(probe))
	for topic, cause := range ailing {
		switch {
		case errors.Is(cause, kerr.MessageTooLarge):
			k.learn(ctx, kadm.NewClient(probe), topic)
		case errors.Is(cause, kerr.InvalidTimestamp) && !k.spanKnown(topic):
			k.learnSpan(ctx, kadm.NewClient(probe), topic)
		case recordRefused(cause):
			k.suspect(topic, cause)
		}
		if err := k.await(ctx, kadm.NewClient(probe), topic); err != nil {
			return err
		}
	}
	return nil
}

// await returns when the topic is there and not forbidden. One that is not by now, whatever
// it failed for, is held.
func (k *KafkaSink) await(ctx context.Context, admin *kadm.Client, topic string) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		faults, err := topicErrors(ctx, admin, topic)
		if err == nil {
			fault := faults[topic]
			if fault == nil {
				return nil
			}
			if concernsTopic(fault) {
				k.hold(topic, errors.Unwrap(fault))
				return nil
			}
			err = fault
		}
		k.log.Warn("holding until the topic can be written", "topic", topic, "reason", err)
		if !sleep(ctx, jitter(pause)) {
			return ctx.Err()
		}
	}
}

func topicError(ctx context.Context, admin *kadm.Client, topics ...string) error {
	faults, err := topicErrors(ctx, admin, topics...)
	if err != nil {
		return err
	}
	return errors.Join(slices.Collect(maps.Values(faults))...)
}

// topicErrors tells which of the topics, of which there is at least one, cannot be written
// and why.
func topicErrors(ctx context.Context, admin *kadm.Client, topics ...string) (map[string]error, error) {
	faults := map[string]error{}
	for some := range slices.Chunk(topics, topicsAtOnce) {
		if err := addTopicErrors(ctx, admin, some, faults); err != nil {
			return nil, err
		}
	}
	return faults, nil
}

// topicsAtOnce is of how many topics a broker is asked in one request: some hundred take it
// milliseconds, and a writer can make up names without end.
const topicsAtOnce = 500

func addTopicErrors(ctx context.Context, admin *kadm.Client, topics []string, faults map[string]error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	details, err := admin.ListTopics(kadm.WithAuthorizedOps(ctx), topics...)
	if err != nil {
		return fmt.Errorf("reach kafka: %w", err)
	}
	for topic, d := range details {
		if d.Err != nil {
			faults[topic] = fmt.Errorf("topic %s: %w", topic, d.Err)
		} else if ops := d.AuthorizedOperations; len(ops) > 0 && !mayWrite(ops) {
			faults[topic] = fmt.Errorf("topic %s: %w", topic, errMayNotWrite)
		}
	}
	return nil
}

func mayWrite(ops []kadm.ACLOperation) bool {
	for _, op := range ops {
		if op == kadm.OpWrite || op == kadm.OpAll {
			return true
		}
	}
	return false
}

// Diagnose implements Diagnoser.
func (k *KafkaSink) Diagnose(ctx context.Context) error {
	k.mu.Lock()
	client := k.client
	topics := make([]string, 0, len(k.topics))
	for t := range k.topics {
		topics = append(topics, t)
	}
	k.mu.Unlock()
	if client == nil || len(topics) == 0 {
		return nil
	}
	return topicError(ctx, kadm.NewClient(client), topics...)
}

// Close implements Sink.
func (k *KafkaSink) Close(context.Context) error {
	k.mu.Lock()
	client, beats := k.client, k.beats
	k.client, k.beats = nil, nil
	k.mu.Unlock()
	for _, c := range []*kgo.Client{client, beats} {
		if c != nil {
			c.Close()
		}
	}
	k.drivers.Wait()
	return nil
}

// kafkaLogger passes on what the client has to say; its warnings and errors
// are retried by it, so none is more than a warning here.
type kafkaLogger struct{ log *slog.Logger }

func (l kafkaLogger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l kafkaLogger) Log(_ kgo.LogLevel, message string, keyvals ...any) {
	l.log.Warn("kafka client", append([]any{"message", message}, keyvals...)...)
}
