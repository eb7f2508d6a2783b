package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/crashpoint"
)

// group is one consumer's membership of its Kafka group.
type group struct {
	engine    *engine
	committer *committer
	member    string
	client    *kgo.Client

	// workers live on this context, which outlives Run's: what is under way when
	// Run is told to stop is finished.
	workers context.Context
	cutOff  context.CancelFunc
	wg      sync.WaitGroup

	offsets *offsets   // in the database
	failed  chan error // of capacity 1: ends the session

	mu          sync.Mutex
	partitions  map[partitionID]*partition
	assignments int
	standing    standing
}

func newGroup(e *engine, member string) *group {
	return &group{
		engine: e, member: member, committer: newCommitter(e), partitions: map[partitionID]*partition{},
	}
}

func (g *group) name() string { return contracts.Group(g.engine.consumer.Name, g.engine.generation) }

func (g *group) options() []kgo.Opt {
	c := g.engine.config
	opts := []kgo.Opt{
		kgo.ClientID("gapless-" + g.engine.consumer.Name),
		kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(3 * time.Second),
		kgo.RebalanceTimeout(max(60*time.Second, 3*c.DrainTimeout)),
		kgo.AutoCommitInterval(time.Second),
		kgo.FetchMaxWait(500 * time.Millisecond),
		// A fetch should fit the queues: what is over is fetched again later.
		kgo.FetchMaxPartitionBytes(256 << 10),
		kgo.FetchMaxBytes(8 << 20),
		// A few kilobytes may decompress to gigabytes.
		kgo.MaxDecompressBatchBytes(64 << 20),
	}
	opts = append(opts, c.KafkaOptions...)
	if c.Instance != "" {
		opts = append(opts, kgo.InstanceID(c.Instance))
	}
	return append(opts,
		kgo.SeedBrokers(c.Brokers...),
		kgo.ConsumerGroup(g.name()),
		kgo.ConsumeTopics(g.engine.consumer.Topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		// A group that is new, or whose offsets expired, begins at the start: the
		// inbox absorbs repeats, nothing makes up for what was skipped. One whose
		// offset is no longer in the log has lost records, and must not go on as
		// if it had not: see LostError.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AutoCommitMarks(),
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(g.begin),
		kgo.OnPartitionsAssigned(g.assigned),
		kgo.OnPartitionsRevoked(g.revoked),
		kgo.OnPartitionsLost(g.lost),
		kgo.WithHooks(g),
	)
}

// OnNewClient keeps the client before it begins to work: it may join the group,
// and call begin, before [kgo.NewClient] has returned.
func (g *group) OnNewClient(client *kgo.Client) { g.client = client }

// run consumes until ctx ends. When the database has gone back it joins anew,
// and begins where the database is.
func (g *group) run(ctx context.Context) error {
	for {
		err := g.session(ctx)
		if !errors.Is(err, errWentBack) {
			return err
		}
		g.engine.log.Warn("joining again", "reason", err)
		timer := time.NewTimer(backoff(time.Second, time.Second, 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// session consumes until ctx ends, then finishes what is under way.
func (g *group) session(ctx context.Context) error {
	g.offsets = newOffsets(g.engine)
	g.engine.timeline.Store(0)
	g.failed = make(chan error, 1)
	g.workers, g.cutOff = context.WithCancel(context.WithoutCancel(ctx))
	defer g.cutOff()
	if _, err := kgo.NewClient(g.options()...); err != nil {
		return fmt.Errorf("make Kafka client of %s: %w", g.engine.consumer.Name, err)
	}
	for range g.engine.config.Concurrency {
		g.wg.Go(func() { g.committer.run(g.workers) })
	}
	eg, egCtx := errgroup.WithContext(ctx)
	eg.Go(func() error { return g.poll(egCtx) })
	eg.Go(func() error { return g.observe(egCtx) })
	eg.Go(func() error {
		select {
		case err := <-g.failed:
			return err
		case <-egCtx.Done():
			return nil
		}
	})
	err := eg.Wait()
	g.close(ctx)
	return err
}

// poll hands what is fetched to the partitions. Rebalances wait only while it
// does so, never for a transaction. Its errors are that another process has our
// name, and that records are gone which were never read.
func (g *group) poll(ctx context.Context) error {
	for {
		fetches := g.client.PollFetches(ctx)
		if fetches.IsClientClosed() || ctx.Err() != nil {
			g.client.AllowRebalance()
			return nil //nolint:nilerr // the end of ctx is a clean stop
		}
		var fenced, lost error
		fetches.EachError(func(topic string, partition int32, err error) {
			if errors.Is(err, kerr.FencedInstanceID) {
				fenced = err
				return
			}
			if errors.Is(err, kerr.OffsetOutOfRange) {
				lost = g.lostAt(partitionID{topic, partition})
				return
			}
			if loss, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
				g.engine.log.Error("records are gone from the topic before they were read", "topic", topic,
					"partition", partition, "error", loss)
				return
			}
			g.engine.log.Warn("fetch", "topic", topic, "partition", partition, "error", err)
		})
		if fenced != nil {
			g.client.AllowRebalance()
			// To join again would take the name back, and so on for ever.
			return fmt.Errorf("consume %s as instance %q: another process has taken that name, give each its own: %w",
				g.engine.consumer.Name, g.engine.config.Instance, fenced)
		}
		if lost != nil {
			g.client.AllowRebalance()
			return lost
		}
		fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
			g.dispatch(partitionID{ftp.Topic, ftp.Partition}, ftp.Records, ftp.LastStableOffset)
		})
		crashpoint.Hit("consumer.after_fetch")
		g.client.AllowRebalance()
		g.breathe(ctx)
	}
}

// breath is the longest pause between two polls.
const breath = 10 * time.Millisecond

// breathe waits while as many transactions run as may: what is polled then could
// only queue, and the client gathers meanwhile. Fetches get fewer and larger, and
// a fetch costs the broker about the same whatever is in it.
func (g *group) breathe(ctx context.Context) {
	if !g.committer.isFull() {
		return
	}
	timer := time.NewTimer(breath)
	defer timer.Stop()
	select {
	case <-g.committer.freed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (g *group) dispatch(id partitionID, records []*kgo.Record, end int64) {
	g.mu.Lock()
	p := g.partitions[id]
	g.mu.Unlock()
	if p == nil {
		return // given up between the fetch and now; its next owner reads them
	}
	items := make([]*item, len(records))
	for i, r := range records {
		items[i] = g.engine.newItem(messageOf(r), r.LeaderEpoch)
	}
	p.put(items, end)
}

func (g *group) mark(id partitionID, last *item) {
	g.client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{
		id.topic: {id.partition: {Epoch: last.epoch, Offset: last.Offset + 1}},
	})
}

func (g *group) assigned(_ context.Context, client *kgo.Client, topics map[string][]int32) {
	// A pause outlives the assignment it was made in.
	client.ResumeFetchPartitions(topics)
	g.mu.Lock()
	defer g.mu.Unlock()
	got := ids(topics)
	takeover := &takeover{log: g.engine.log, open: len(got)}
	for _, id := range got {
		g.assignments++
		p := newPartition(g, id, fmt.Sprintf("%s/%d", g.member, g.assignments))
		p.takeover = takeover
		g.partitions[id] = p
		g.wg.Go(func() { p.run(g.workers) })
	}
	if len(got) > 0 {
		g.engine.log.Info("partitions assigned", "partitions", len(got))
	}
}

// begin corrects the offsets at which partitions are about to be read.
func (g *group) begin(ctx context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var list []partitionID
	for topic, partitions := range at {
		for n := range partitions {
			list = append(list, partitionID{topic, n})
		}
	}
	stored, err := g.offsets.load(ctx, list)
	if errors.Is(err, errWentBack) {
		g.fail(err)
	}
	if err != nil {
		return nil, err // the client asks again
	}
	back := 0
	floors := make(map[partitionID]int64) // what was reached before, of those that begin at the start
	for _, id := range list {
		committed := at[id.topic][id.partition]
		begin := beginAt(committed, stored[id])
		if reached := max(committed.EpochOffset().Offset, stored[id]); begin.EpochOffset().Offset < 0 && reached > 0 {
			floors[id] = reached
		}
		if begin != committed {
			back++
		}
		at[id.topic][id.partition] = begin
	}
	if back > 0 {
		// Usual after a death: the database's offsets are up to a second behind.
		g.engine.log.Info("partitions begin where the database is, before the group's committed offset", "partitions", back)
	}
	return at, g.missed(ctx, floors)
}

// missed ends the session when records are gone that a partition, which is about
// to begin at the log's start, has not reached yet.
func (g *group) missed(ctx context.Context, reached map[partitionID]int64) error {
	if len(reached) == 0 {
		return nil
	}
	starts, err := kadm.NewClient(g.client).ListStartOffsets(ctx, g.engine.consumer.Topics...)
	if err != nil {
		return fmt.Errorf("list starts of topics: %w", err)
	}
	for id, n := range reached {
		if start, ok := starts.Lookup(id.topic, id.partition); ok && start.Err == nil && start.Offset > n {
			g.fail(g.lostAt(id))
		}
	}
	return nil
}

func (g *group) lostAt(id partitionID) *LostError {
	return &LostError{
		Group: g.name(), Topic: id.topic, Partition: id.partition,
		consumer: g.engine.consumer.Name, generation: g.engine.generation,
	}
}

// fail ends the session with err, unless it is ending already.
func (g *group) fail(err error) {
	select {
	case g.failed <- err:
	default:
	}
}

// save stores how far the partitions are settled.
func (g *group) save(ctx context.Context, list []*partition) error {
	next := make(map[partitionID]int64, len(list))
	for _, p := range list {
		next[p.partitionID] = p.settledTo()
	}
	return g.offsets.save(ctx, next)
}

// revoked finishes the transactions under way, commits what they settled, and
// only then lets the group go on.
func (g *group) revoked(_ context.Context, client *kgo.Client, topics map[string][]int32) {
	g.saveLast(g.giveUp(topics, g.engine.config.DrainTimeout))
	g.commitMarked(client)
	g.engine.log.Info("partitions revoked", "partitions", len(ids(topics)))
}

// lost has nothing to commit: the partitions may have other owners already. A
// transaction of ours that still commits is a claim, which they will find.
func (g *group) lost(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	for _, id := range ids(topics) {
		g.mu.Lock()
		p := g.partitions[id]
		g.mu.Unlock()
		if p != nil {
			p.disown()
		}
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), farewell, errors.New("forget offsets: timeout"))
	defer cancel()
	g.offsets.forget(ctx, g.giveUp(topics, g.engine.config.DrainTimeout))
	g.engine.log.Warn("partitions lost", "partitions", len(ids(topics)))
}

// giveUp ends the workers of the partitions. After the timeout it leaves them
// to end by themselves, without the right to mark an offset. It returns the
// partitions.
func (g *group) giveUp(topics map[string][]int32, timeout time.Duration) []*partition {
	var leaving []*partition
	g.mu.Lock()
	for _, id := range ids(topics) {
		if p := g.partitions[id]; p != nil {
			leaving = append(leaving, p)
			delete(g.partitions, id)
		}
	}
	g.mu.Unlock()
	for _, p := range leaving {
		p.release()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	isLate := false
	for _, p := range leaving {
		if !isLate {
			select {
			case <-p.done:
			case <-timer.C:
				isLate = true
			}
		}
		if isLate {
			g.engine.log.Warn("partition given up with a transaction under way", "topic", p.topic, "partition", p.partition)
		}
		p.disown()
		g.engine.metrics.forget(p.topic, p.partition)
	}
	return leaving
}

// farewell bounds each last word to the brokers, so that a stop with no broker
// in reach is still a quick one.
const farewell = 2 * time.Second

func (g *group) saveLast(list []*partition) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), farewell, errors.New("store offsets: timeout"))
	defer cancel()
	if err := g.save(ctx, list); err != nil {
		// The next owner begins a second earlier and finds duplicates.
		g.engine.log.Debug("store offsets", "error", err)
	}
	g.offsets.forget(ctx, list)
}

func (g *group) commitMarked(client *kgo.Client) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), farewell, errors.New("commit offsets: timeout"))
	defer cancel()
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		// They come again and are duplicates.
		g.engine.log.Warn("commit offsets", "error", err)
	}
}

// close finishes what is under way, commits it and leaves the group.
func (g *group) close(ctx context.Context) {
	g.mu.Lock()
	all := map[string][]int32{}
	for id := range g.partitions {
		all[id.topic] = append(all[id.topic], id.partition)
	}
	g.mu.Unlock()
	g.saveLast(g.giveUp(all, g.engine.config.DrainTimeout))
	g.cutOff()
	g.commitMarked(g.client)
	leaving, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), farewell, errors.New("leave group: timeout"))
	defer cancel()
	if err := g.client.LeaveGroupContext(leaving); err != nil {
		g.engine.log.Debug("leave group", "error", err) // the session timeout does it
	}
	g.client.CloseAllowingRebalance()
	g.wg.Wait()
	g.engine.log.Info("consumer stopped", "cause", context.Cause(ctx))
}

// observe keeps gauges, rates and the offsets in the database. Its error is
// errWentBack.
func (g *group) observe(ctx context.Context) error {
	const interval, look = time.Second, 15 * time.Second
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last, looked := time.Now(), time.Time{}
	for {
		now := time.Now()
		g.mu.Lock()
		list := make([]*partition, 0, len(g.partitions))
		for _, p := range g.partitions {
			list = append(list, p)
		}
		g.mu.Unlock()
		for _, p := range list {
			p.tick(now.Sub(last))
			g.engine.metrics.partition(p.status(now))
		}
		last = now
		if err := g.save(ctx, list); errors.Is(err, errWentBack) {
			return err
		} else if err != nil {
			g.engine.log.Debug("store offsets", "error", err)
		}
		if now.Sub(looked) >= look {
			looked = now
			if s, err := g.engine.standing(ctx); err == nil {
				g.engine.metrics.standing(s)
				g.mu.Lock()
				g.standing = s
				g.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (g *group) status(now time.Time) Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{
		Consumer: g.engine.consumer.Name, Group: g.name(),
		BlockedKeys: g.standing.keys, WaitingMessages: g.standing.waiting, DeadLetters: g.standing.letters,
	}
	for _, p := range g.partitions {
		s.Partitions = append(s.Partitions, p.status(now))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return s
}

func ids(topics map[string][]int32) []partitionID {
	var list []partitionID
	for topic, partitions := range topics {
		for _, n := range partitions {
			list = append(list, partitionID{topic, n})
		}
	}
	return list
}
