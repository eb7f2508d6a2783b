package consumers

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// partition is an assigned partition and its worker. The poll loop puts
// messages in, the worker settles them in order.
type partition struct {
	partitionID
	group  *group
	lane   *lane
	member string // of this assignment alone: it deletes no row but its own

	takeover *takeover

	wake chan struct{} // of capacity 1: there is something in the queue
	stop chan struct{} // closed to give the partition up
	done chan struct{} // closed when the worker is gone

	stopOnce sync.Once

	mu     sync.Mutex
	queue  []*item // received and not taken by the worker
	size   int     // bytes in queue and taken
	taken  []*item // the worker's, from the first that is not settled on
	paused bool    // fetching is paused until the queue is short again
	lost   bool    // no longer ours: nothing may be marked
	next   int64   // offset after the last settled message, -1 before the first
	end    int64   // of the partition, -1 before the first fetch
	first  int64   // end when the first messages came: later ones no earlier owner has seen
	state  string
	err    error
	rate   rate
}

func newPartition(g *group, id partitionID, member string) *partition {
	p := &partition{
		partitionID: id, group: g, member: member, next: -1, end: -1, state: StateRunning,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	p.lane = &lane{
		engine: g.engine, commit: g.committer.commit, alone: g.committer.alone, stop: p.stop, tried: map[partitionID]int64{},
		behind: p.behind, settled: p.settled, state: p.setState, patience: patience, prepared: p.nudge,
	}
	return p
}

// patience is how long the messages of a batch wait for its slowest Prepare.
const patience = 20 * time.Millisecond

// run is the worker. It ends when the partition is given up, or with ctx.
func (p *partition) run(ctx context.Context) {
	defer close(p.done)
	if err := p.assign(ctx); err != nil {
		return // given up before the first message
	}
	work, cancel := context.WithCancel(ctx)
	defer p.lane.calls.Wait()
	defer cancel()
	for {
		select {
		case <-p.stop:
			// A call of Prepare that is under way is made again by the next owner.
			cancel()
			p.lane.calls.Wait()
			p.unassign(ctx)
			return
		case <-ctx.Done():
			return // cut off: the row stays, the next owner is careful
		case <-p.wake:
		}
		for items := p.take(); len(items) > 0; items = p.take() {
			late, err := p.lane.settle(work, items)
			if err != nil {
				break // stop or ctx is done
			}
			if len(late) == len(items) {
				break // until one is over, or more has come
			}
		}
	}
}

// assign takes the partition's row. One that is found there was left by a
// process that died at work, perhaps of a message.
func (p *partition) assign(ctx context.Context) error {
	e := p.group.engine
	var left string
	defer func() { p.takeover.done(p.partitionID, left) }()
	tried := int64(-1)
	err := p.lane.insist(ctx, func() error {
		var batch pgx.Batch
		batch.Queue(sql.InboxAssign, e.consumer.Name, e.generation, p.topic, p.partition, p.member).
			QueryRow(func(row pgx.Row) error { return row.Scan(&left, &tried) })
		return e.send(ctx, &batch)
	})
	if err != nil {
		return err
	}
	p.setState(StateRunning, nil)
	if tried >= 0 {
		p.lane.tried[p.partitionID] = tried
	}
	if left != "" {
		p.lane.suspects = e.config.BatchSize
	}
	return nil
}

// takeover counts what one assignment has found left behind: a process that died
// had dozens of partitions, and is told of once.
type takeover struct {
	log *slog.Logger

	mu   sync.Mutex
	open int // partitions that have not looked yet
	left int
}

// done says by whom a partition was left behind, if by anybody.
func (t *takeover) done(id partitionID, by string) {
	if by != "" {
		t.log.Debug("partition was left behind by a process that died", "topic", id.topic, "partition", id.partition, "left_by", by)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if by != "" {
		t.left++
	}
	if t.open == 0 && t.left > 0 {
		t.log.Warn("partitions were left behind by a process that died, what it may have died of is tried with each attempt recorded", "partitions", t.left)
	}
}

func (p *partition) unassign(ctx context.Context) {
	e := p.group.engine
	var batch pgx.Batch
	batch.Queue(sql.InboxUnassign, e.consumer.Name, e.generation, p.topic, p.partition, p.member)
	if err := e.send(ctx, &batch); err != nil {
		// The next owner takes us for dead, which costs it one slow batch.
		e.log.Warn("partition not let go in the database", "topic", p.topic, "partition", p.partition, "error", err)
	}
}

// put queues what was fetched. It never blocks: a queue that is full pauses the
// partition's fetches.
func (p *partition) put(items []*item, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = max(p.end, end)
	if len(items) == 0 {
		return
	}
	if p.next < 0 {
		p.next, p.first = items[0].Offset, p.end
	}
	p.queue = append(p.queue, items...)
	for _, it := range items {
		p.size += it.bytes()
	}
	if !p.paused && (len(p.queue) >= p.high() || p.size >= queueBytes) {
		p.paused = true
		p.group.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
	p.nudge()
}

// nudge makes the worker look again.
func (p *partition) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// high is where a queue is full: enough for two batches, and for a retry to see
// that RetryMessages wait.
func (p *partition) high() int {
	c := p.group.engine.config
	return max(2*c.BatchSize, c.RetryMessages)
}

// take returns what the worker has not settled yet, and as many from the head of
// the queue as make it a batch. So what was under way when a process died is
// always among the first BatchSize messages that have no claim.
func (p *partition) take() []*item {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
		return nil
	default:
	}
	items := make([]*item, 0, len(p.taken)+len(p.queue))
	for _, it := range p.taken {
		if !it.isSettled {
			items = append(items, it)
		}
	}
	// A message that is late keeps those behind it in memory, settled or not.
	n := min(len(p.queue), max(0, p.group.engine.config.BatchSize-len(items)), max(0, p.high()-len(p.taken)))
	items = append(items, p.queue[:n]...)
	p.taken = append(p.taken, p.queue[:n]...)
	p.queue = p.queue[n:]
	if len(items) > 0 && items[0].Offset >= p.first {
		p.lane.suspects = 0
	}
	p.resume()
	return items
}

// resume fetches again when there is room for it.
func (p *partition) resume() {
	if p.paused && len(p.queue) < p.high()/2 && p.size < queueBytes/2 {
		p.paused = false
		p.group.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
}

func (p *partition) behind() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

// settled is lane.settled: what is committed in the database, and all before it,
// may be committed in Kafka.
func (p *partition) settled(items []*item) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate.add(len(items))
	for _, it := range items {
		it.isSettled = true
		p.size -= it.bytes()
		it.Message = &Message{Topic: it.Topic, Partition: it.Partition, Offset: it.Offset} // the rest is not needed any more
	}
	p.resume()
	n := 0
	for n < len(p.taken) && p.taken[n].isSettled {
		n++
	}
	if n > 0 {
		last := p.taken[n-1]
		p.next, p.taken = last.Offset+1, p.taken[n:]
		if !p.lost {
			p.group.mark(p.partitionID, last)
		}
	}
	return p.next - 1
}

// settledTo is the offset before which every message has its outcome, -1 where
// that is not known yet.
func (p *partition) settledTo() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *partition) setState(state string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.err = state, err
}

// release tells the worker to end after the transaction it is in.
func (p *partition) release() { p.stopOnce.Do(func() { close(p.stop) }) }

// disown forbids marks: the partition may have another owner already.
func (p *partition) disown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = true
}

func (p *partition) status(now time.Time) PartitionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PartitionStatus{Topic: p.topic, Partition: p.partition, Next: p.next, End: p.end, State: p.state, Rate: p.rate.perSecond}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	if p.next >= 0 && p.end > p.next {
		s.LagMessages = p.end - p.next
	}
	oldest := p.taken
	if len(oldest) == 0 {
		oldest = p.queue
	}
	if len(oldest) > 0 {
		s.LagSeconds = max(0, now.Sub(oldest[0].Timestamp).Seconds())
	}
	return s
}

func (p *partition) tick(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate.tick(d)
}

// rate is a moving average over about ten seconds.
type rate struct {
	count     int
	perSecond float64
}

func (r *rate) add(n int) { r.count += n }

func (r *rate) tick(d time.Duration) {
	if d <= 0 {
		return
	}
	weight := 1 - math.Exp(-d.Seconds()/10)
	r.perSecond += weight * (float64(r.count)/d.Seconds() - r.perSecond)
	r.count = 0
	if r.perSecond < 0.001 {
		r.perSecond = 0
	}
}
