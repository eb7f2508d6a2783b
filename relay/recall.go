package relay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
	"github.com/gapless/gapless/sql"
)

// A slot whose owner's offsets are lost gives rows that it has sent. Which ones, the topics
// tell: the records are the same.
//
// A row counts as sent when a record with its header id, its key and its value is in its
// topic, wherever it lies there and whatever lies behind it: that is all that a consumer can
// tell it by, so nothing is lost. The id alone would not do: two tables that go to one topic
// may count their rows alike. Where two rows make one such record, the second is sent.
//
// What is sent goes out in the log's order, so it is only in doubt how far back to read. A
// program that begins anew where its offset was repeats what it had sent before:
//
//	old9 new1 new2 | old9 new1        new: what the slot gives again
//
// so a record that the slot does not give is no end. A partition is read backwards until
// recallDepth records in a row are none of the slot's; what would be found behind that is
// sent again.

// recallDepth is how many records behind the last one that the slot gives are read of a
// partition; recallRows is how many rows the places are kept of.
const (
	recallDepth = 10_000
	recallRows  = 1_000_000
)

// recalled is a row that the slot gives.
type recalledRow struct {
	place core.Point
	key   uint64 // of topic and key; 0 where there is none
	sent  bool
}

// recollection finds out which rows were sent. It does no I/O.
type recollection struct {
	rows       []recalledRow // in the log's order
	rowOf      map[[16]byte]int
	topics     map[string]struct{}
	partitions map[topicPartition]*stretch
	depth      int
}

type topicPartition struct {
	topic     string
	partition int32
}

// stretch is what is known of the records of a partition.
type stretch struct {
	older int  // records in a row that the slot does not give, before the first one that it does
	read  int  // of the stretch that is being read
	first int  // records before the first one of it that the slot gives
	found bool // there is one
}

func newRecollection(depth int) *recollection {
	return &recollection{rowOf: map[[16]byte]int{}, topics: map[string]struct{}{}, partitions: map[topicPartition]*stretch{}, depth: depth}
}

// add takes the record of a row, in the log's order. One without an id cannot be found.
func (c *recollection) add(r *format.Record, at core.Point) {
	row := recalledRow{place: at}
	if r.Key != nil {
		sum := digest([]byte(r.Topic), r.Key)
		row.key = binary.BigEndian.Uint64(sum[:]) | 1
	}
	c.rows = append(c.rows, row)
	id, ok := identity(r)
	if _, twice := c.rowOf[id]; !ok || twice {
		return
	}
	c.rowOf[id] = len(c.rows) - 1
	c.topics[r.Topic] = struct{}{}
}

// see takes a record of a topic.
func (c *recollection) see(r *format.Record) {
	at := topicPartition{r.Topic, r.Partition}
	p := c.partitions[at]
	if p == nil {
		p = &stretch{}
		c.partitions[at] = p
	}
	p.read++
	id, ok := identity(r)
	if row, known := c.rowOf[id]; ok && known {
		c.rows[row].sent = true
		if !p.found {
			p.found, p.first = true, p.read-1
		}
	}
}

// more ends a stretch, and tells whether the one before it is wanted.
func (c *recollection) more(topic string, partition int32) bool {
	p := c.partitions[topicPartition{topic, partition}]
	if p == nil {
		return true // nothing but what no consumer gets
	}
	if p.found {
		p.older = p.first
	} else {
		p.older += p.read
	}
	p.read, p.first, p.found = 0, 0, false
	return p.older < c.depth
}

// sent are the places of what was sent, of each key up to the first that was not. What is
// behind a gap is sent again, so that the newest record of the key is the newest one in the
// topic, too. gaps is how many rows are sent again for that: none of a program that sends in
// order to a topic that keeps what it has.
func (c *recollection) sent() (places []core.Point, gaps int) {
	ended := map[uint64]struct{}{}
	for _, row := range c.rows {
		_, isBehind := ended[row.key]
		switch isBehind = isBehind && row.key != 0; {
		case !row.sent:
			ended[row.key] = struct{}{}
		case isBehind:
			gaps++
		default:
			places = append(places, row.place)
		}
	}
	return places, gaps
}

// identity is what a consumer tells a record by.
func identity(r *format.Record) (id [16]byte, ok bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == "id" && r.Headers[i].Value != nil {
			return digest([]byte(r.Topic), r.Headers[i].Value, r.Key, r.Value), true
		}
	}
	return id, false
}

// digest tells nil from empty, and where one part ends.
func digest(parts ...[]byte) (sum [16]byte) {
	h := sha256.New()
	var size [8]byte
	for _, part := range parts {
		n := int64(len(part))
		if part == nil {
			n = -1
		}
		binary.BigEndian.PutUint64(size[:], uint64(n))
		h.Write(size[:])
		h.Write(part)
	}
	return [16]byte(h.Sum(nil)[:16])
}

var errTooManyRows = errors.New("too many rows")

// recall notes in r.ahead what of the rows behind p is in the topics, and returns up to
// where it has looked. A process that dies before it has stored a position behind that is
// followed by one that looks again, and then finds what this one has sent, too.
func (r *Relay) recall(ctx context.Context, s start, p core.Position) (until core.LSN, err error) {
	began := time.Now()
	c := newRecollection(recallDepth)
	r.log.InfoContext(ctx, "taking over: reading what the slot gives", "from", p.Resume)
	until, err = r.slotGives(ctx, s, p, c)
	if errors.Is(err, errTooManyRows) {
		return 0, refuse("Start with --debezium-offsets if the connector's offsets are there. Else start without taking over: all that the slot gives is sent then, also what was sent before.",
			"slot %q gives more than %d rows: too many to look for in the topics", r.cfg.Slot, recallRows)
	}
	if err != nil {
		return 0, err
	}
	topics := slices.Sorted(maps.Keys(c.topics))
	if len(topics) > 0 {
		r.log.InfoContext(ctx, "taking over: reading the ends of the topics", "rows", len(c.rows), "topics", len(topics))
		if err := r.cfg.Sink.(Recaller).Recall(ctx, topics, c.see, c.more); err != nil {
			return 0, &sinkError{err: fmt.Errorf("read the ends of the topics: %w", err)}
		}
	}
	places, gaps := c.sent()
	log := r.log.With("slot_at", s.slotAt, "up_to", until, "rows", len(c.rows), "sent_before", len(places), "took", time.Since(began).Round(time.Millisecond))
	if len(places) == 0 && len(c.rows) > 0 {
		log.WarnContext(ctx, "taking over: none of the rows is in its topic, all are sent")
	} else {
		log.InfoContext(ctx, "taking over")
	}
	if gaps > 0 {
		log.WarnContext(ctx, "rows are missing in the topics though later ones of their keys are there: they are sent now, and those again behind them", "again", gaps)
	}
	r.on(history{s.system.ID, s.system.Timeline})
	r.ahead, r.recalled, r.messages = places, true, s.messages
	return until, nil
}

// slotGives has c take the rows behind p, up to the end of the log.
func (r *Relay) slotGives(ctx context.Context, s start, p core.Position, c *recollection) (until core.LSN, err error) {
	look := &session{r: r, system: s.system, tables: map[uint32]*table{}, warned: map[string]bool{}}
	look.machine = core.New(core.Config{Position: p, Confirmed: s.slotAt}, 0)
	if look.emissions, err = emissions(r.cfg); err != nil {
		return 0, err
	}
	look.collect = func(record *format.Record, at core.Point) error {
		if len(c.rows) == recallRows {
			return errTooManyRows
		}
		c.add(record, at)
		look.slabs.current.buf.Reset()
		return nil
	}
	open := false
	err = r.look(ctx, s, p.Resume, r.cfg.prefixes(), func(conn *replication.Conn, f *replication.Frame) (done bool, err error) {
		if until == 0 { // the slot is ours now: nobody else can send what is behind this
			if until, err = r.store.flushed(ctx); err != nil {
				return false, err
			}
		}
		look.conn = conn
		if f.Data == nil {
			return f.End >= until && !open, nil
		}
		m := &look.message
		if err := pgoutput.Decode(f.Data, m); err != nil {
			return false, err
		}
		switch m.Kind {
		case pgoutput.KindMessage:
			if !s.messages {
				return false, nil // the stream will not have it, nor count it
			}
		case pgoutput.KindBegin:
			if open = core.LSN(m.Begin.CommitLSN) < until; !open {
				return true, nil
			}
		case pgoutput.KindCommit:
			open = false
		}
		return false, look.receive(ctx, f)
	})
	return until, err
}

func (s *store) flushed(ctx context.Context) (core.LSN, error) {
	type flushed struct {
		LSN string `db:"lsn"`
	}
	f, err := collect[flushed](ctx, s, sql.RelayFlushed)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	return core.ParseLSN(f.LSN)
}
