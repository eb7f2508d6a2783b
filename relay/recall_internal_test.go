package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
)

func recordOf(topic, key, event string) *format.Record {
	id, value, _ := strings.Cut(event, "=")
	return &format.Record{
		Topic: topic, Key: []byte(key), Value: []byte(value), Partition: -1,
		Headers: []format.Header{{Key: "eventType", Value: []byte("T")}, {Key: "id", Value: []byte(id)}},
	}
}

// tell reads a partition in stretches of the lengths, as a sink does; the last one repeats.
func (c *recollection) tell(topic string, partition int32, key string, events []string, lengths ...int) (read int) {
	for end := len(events); end > 0; {
		begin := max(0, end-lengths[0])
		for _, e := range events[begin:end] {
			r := recordOf(topic, key, e)
			r.Partition = partition
			c.see(r)
			read++
		}
		if !c.more(topic, partition) {
			break
		}
		end = begin
		if len(lengths) > 1 {
			lengths = lengths[1:]
		}
	}
	return read
}

// The slot gives new1 to new4; what was sent is told by what lies at the end.
func TestRecallTellsWhatWasSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tail  string
		depth int
		sent  string
		gaps  int
		read  int // 0: all
	}{
		"nothing":             {"old1 old2 old3", 10, "", 0, 0},
		"an empty partition":  {"", 10, "", 0, 0},
		"some":                {"old1 new1 new2", 10, "new1 new2", 0, 0},
		"all":                 {"old1 new1 new2 new3 new4", 10, "new1 new2 new3 new4", 0, 0},
		"begun anew":          {"old9 new1 new2 new3 new1", 10, "new1 new2 new3", 0, 0},
		"from further back":   {"old8 old9 new1 new2 old8 old9 new1", 10, "new1 new2", 0, 0},
		"and nothing new":     {"old8 old9 new1 new2 old8", 10, "new1 new2", 0, 0},
		"time and again":      {"old9 new1 old9 new1 new2 old9 new1 new2 new3 old9", 10, "new1 new2 new3", 0, 0},
		"too far back":        {"new1 new2 old7 old8 old9 new1", 3, "new1", 0, 4},
		"just in reach":       {"new1 new2 old8 old9 new1", 3, "new1 new2", 0, 0},
		"other programs'":     {"new1 x1 new2 x2 x3 new3 x4", 4, "new1 new2 new3", 0, 0},
		"a gap":               {"old9 new1 new3", 10, "new1", 1, 0},
		"only the last":       {"new4", 10, "", 1, 0},
		"an id that was used": {"old9 new1=another new2", 10, "", 1, 0},
	} {
		for _, lengths := range [][]int{{1}, {1, 2, 4}, {3}, {100}} {
			if test.read > 0 && lengths[len(lengths)-1] > 1 {
				continue
			}
			c := newRecollection(test.depth)
			var names []string
			for i := range 4 {
				names = append(names, fmt.Sprint("new", i+1))
				c.add(recordOf("t", "k", names[i]), core.Point{Commit: core.LSN(i)})
			}
			tail := strings.Fields(test.tail)
			read := c.tell("t", 0, "k", tail, lengths...)
			var sent []string
			places, gaps := c.sent()
			for _, p := range places {
				sent = append(sent, names[p.Commit])
			}
			if got := strings.Join(sent, " "); got != test.sent || gaps != test.gaps {
				t.Errorf("%s, stretches %v: sent %q, %d again, want %q, %d", name, lengths, got, gaps, test.sent, test.gaps)
			}
			if want := max(test.read, 0); want > 0 && read != want || want == 0 && read != len(tail) {
				t.Errorf("%s, stretches %v: %d of %d records were read", name, lengths, read, len(tail))
			}
		}
	}
}

// Two rows that make the same record are one for a consumer: the second is sent.
func TestRecallOfTwins(t *testing.T) {
	t.Parallel()
	c := newRecollection(10)
	for i, r := range []*format.Record{recordOf("t", "k", "a"), recordOf("t", "k", "a"), recordOf("other", "k", "a"), {Topic: "t", Key: []byte("k"), Value: []byte("no id")}} {
		c.add(r, core.Point{Index: int64(i)})
	}
	c.tell("t", 0, "k", []string{"a", "a"}, 10)
	if places, _ := c.sent(); !slices.Equal(places, []core.Point{{Index: 0}}) {
		t.Errorf("sent %v", places)
	}
	for _, pair := range [][2]*format.Record{
		{{Topic: "t", Headers: []format.Header{{Key: "id", Value: []byte("i")}}}, {Topic: "t", Headers: []format.Header{{Key: "id", Value: []byte("i")}}, Value: []byte{}}},
		{recordOf("t", "ab", "c"), recordOf("t", "a", "bc")},
		{recordOf("t", "k", "a=bc"), recordOf("t", "k", "ab=c")},
	} {
		a, _ := identity(pair[0])
		b, _ := identity(pair[1])
		if a == b {
			t.Errorf("%+v and %+v are told apart by nothing", pair[0], pair[1])
		}
	}
}

// other is a program that sends as Debezium does: in order, with acknowledgements lost at
// its death, an offset that it stores now and then, and a slot that it confirms after that.
type other struct {
	t          *rapid.T
	events     []int   // their partitions
	partitions [][]int // what is there, by event
	next       int     // to be sent
	offset     int     // stored
	confirmed  int     // by the slot
	ragged     [][]int // of each partition, what may not arrive
}

func (o *other) send(n int) {
	for ; n > 0 && o.next < len(o.events); n-- {
		p := o.events[o.next]
		o.ragged[p] = append(o.ragged[p], o.next)
		o.next++
	}
}

func (o *other) acknowledge() {
	for p := range o.ragged {
		o.partitions[p] = append(o.partitions[p], o.ragged[p]...)
		o.ragged[p] = nil
	}
}

// die lets a prefix of what is in flight arrive in each partition.
func (o *other) die() {
	for p := range o.ragged {
		n := rapid.IntRange(0, len(o.ragged[p])).Draw(o.t, "arrives")
		o.partitions[p] = append(o.partitions[p], o.ragged[p][:n]...)
		o.ragged[p] = nil
	}
}

// Whatever it did before it died: nothing is lost, the first occurrences of a key are in
// order, and nothing is sent that is there, unless it lies too far back.
func TestRecallOfAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 3
		o := &other{t: t, partitions: make([][]int, partitions), ragged: make([][]int, partitions)}
		o.events = rapid.SliceOfN(rapid.IntRange(0, partitions-1), 1, 40).Draw(t, "events")
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 9), 1, 20).Draw(t, "steps") {
			switch {
			case step < 5:
				o.send(1 + 2*step)
			case step < 6:
				o.acknowledge()
			case step < 8: // stores its offset; the slot may be told later, or never
				o.acknowledge()
				o.offset = o.next
				if step == 7 {
					o.confirmed = o.offset
				}
			case step < 9:
				o.die()
				o.next = o.offset
			default: // and its offset is lost
				o.die()
				o.next, o.offset = o.confirmed, o.confirmed
			}
		}
		o.die()
		depth := rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "depth")
		c := newRecollection(depth)
		name := func(e int) string { return fmt.Sprint("e", e) }
		key := func(p int) string { return fmt.Sprint("k", p) }
		for e := o.confirmed; e < len(o.events); e++ {
			c.add(recordOf("t", key(o.events[e]), name(e)), core.Point{Commit: core.LSN(e)})
		}
		length := rapid.IntRange(1, 9).Draw(t, "stretch")
		for p, there := range o.partitions {
			var events []string
			for _, e := range there {
				events = append(events, name(e))
			}
			c.tell("t", int32(p), key(p), events, length)
		}
		places, gaps := c.sent()
		if gaps != 0 {
			t.Fatalf("%d gaps", gaps)
		}
		sent := map[int]bool{}
		for _, p := range places {
			sent[int(p.Commit)] = true
		}
		for p, there := range o.partitions {
			all := slices.Clone(there)
			for e := o.confirmed; e < len(o.events); e++ {
				switch {
				case o.events[e] != p:
				case !sent[e]:
					all = append(all, e)
					if depth == 1000 && slices.Contains(there, e) {
						t.Fatalf("event %d is there and is sent again", e)
					}
				case !slices.Contains(there, e):
					t.Fatalf("event %d is lost", e)
				}
			}
			newest := -1
			for _, e := range all {
				if e > newest {
					if slices.Contains(o.events[newest+1:e], p) {
						t.Fatalf("partition %d: %v", p, all)
					}
					newest = e
				}
			}
		}
	})
}
