package compare

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/ops/topics"
)

// Config says what to compare. A and B must be set.
type Config struct {
	// Brokers are the bootstrap servers. KafkaOptions come on top, for TLS and SASL.
	Brokers      []string
	KafkaOptions []kgo.Opt

	A, B string // topics

	IDHeader      string   // that tells an event; default id
	IgnoreHeaders []string // by name
	Partitions    bool     // must be the same too
	Timestamps    bool     // must be the same too
	Examples      int      // of each kind of difference; default 5, negative none

	// Progress is told now and then how many records were read. nil is nobody.
	Progress func(read, total int64)
}

// Side is one topic.
type Side struct {
	Topic   string `json:"topic"`
	Records int64  `json:"records"`
	Events  int64  `json:"events"`     // distinct
	Repeats int64  `json:"repeats"`    // later occurrences of an event
	NoID    int64  `json:"without_id"` // which cannot be compared
	Only    int64  `json:"only_here"`
	Tail    int64  `json:"tail"` // only here so far: nothing behind them is in both
}

// Report is the verdict.
type Report struct {
	A          Side     `json:"a"`
	B          Side     `json:"b"`
	Common     int64    `json:"common"`
	Different  int64    `json:"different"`  // common, with another key, value, header, …
	Inversions int64    `json:"inversions"` // common, in another order for their key
	Examples   []string `json:"examples,omitempty"`
}

// Same tells whether nothing differs. Nothing to compare is not the same.
func (r Report) Same() bool {
	return r.Common > 0 && r.A.Only+r.B.Only+r.Different+r.Inversions+r.A.NoID+r.B.NoID == 0
}

// Topics compares. It ends with ctx.
func Topics(ctx context.Context, c Config) (Report, error) {
	if c.A == "" || c.B == "" || c.A == c.B {
		return Report{}, errors.New("compare needs two topics")
	}
	c.IDHeader = cmp.Or(c.IDHeader, "id")
	c.Examples = cmp.Or(c.Examples, 5)
	x := comparison{Config: c, events: map[string]*event{}}
	x.report.A.Topic, x.report.B.Topic = c.A, c.B
	from := topics.Config{Brokers: c.Brokers, KafkaOptions: c.KafkaOptions, Topics: []string{c.A, c.B}}
	if err := topics.Read(ctx, from, x.take, c.Progress); err != nil {
		return Report{}, err
	}
	x.judge()
	return x.report, nil
}

// event is what is known of one id: where it was first in each topic, and what it was.
type event struct {
	id   string
	seen [2]bool
	at   [2]place
	sum  [2][sha256.Size]byte // of all that is compared but the order
	key  string
}

type place struct {
	partition int32
	offset    int64
}

type comparison struct {
	Config
	report Report
	events map[string]*event
	order  [2][]*event // first occurrences, each partition in its order
	hash   hash.Hash
}

func (x *comparison) side(i int) *Side {
	if i == 0 {
		return &x.report.A
	}
	return &x.report.B
}

func (x *comparison) take(r *kgo.Record) {
	i := 0
	if r.Topic == x.B {
		i = 1
	}
	s := x.side(i)
	s.Records++
	id, ok := header(r, x.IDHeader)
	if !ok {
		s.NoID++
		return
	}
	e := x.events[id]
	if e == nil {
		e = &event{id: id, key: string(r.Key)}
		x.events[id] = e
	}
	if e.seen[i] {
		s.Repeats++
		return
	}
	s.Events++
	e.seen[i], e.at[i], e.sum[i] = true, place{r.Partition, r.Offset}, x.sum(r)
	x.order[i] = append(x.order[i], e)
}

func header(r *kgo.Record, name string) (string, bool) {
	for _, h := range r.Headers {
		if h.Key == name && h.Value != nil {
			return string(h.Value), true
		}
	}
	return "", false
}

// sum is over all that must be the same, each part with its length, so that none runs
// into the next.
func (x *comparison) sum(r *kgo.Record) (sum [sha256.Size]byte) {
	if x.hash == nil {
		x.hash = sha256.New()
	}
	x.hash.Reset()
	part := func(b []byte) {
		fmt.Fprintf(x.hash, "%d %t:", len(b), b == nil)
		x.hash.Write(b)
	}
	part(r.Key)
	part(r.Value)
	for _, h := range r.Headers {
		if !slices.Contains(x.IgnoreHeaders, h.Key) {
			part([]byte(h.Key))
			part(h.Value)
		}
	}
	if x.Partitions {
		fmt.Fprintf(x.hash, "p%d", r.Partition)
	}
	if x.Timestamps {
		fmt.Fprintf(x.hash, "t%d", r.Timestamp.UnixMilli())
	}
	x.hash.Sum(sum[:0])
	return sum
}

func (x *comparison) judge() {
	var examples [4]int
	example := func(kind int, format string, args ...any) {
		if examples[kind]++; examples[kind] <= x.Examples {
			x.report.Examples = append(x.report.Examples, fmt.Sprintf(format, args...))
		}
	}
	// The last of each partition that both have.
	var last [2]map[int32]int64
	for i := range last {
		last[i] = map[int32]int64{}
		for _, e := range x.order[i] {
			if e.seen[0] && e.seen[1] {
				last[i][e.at[i].partition] = max(last[i][e.at[i].partition], e.at[i].offset+1)
			}
		}
		s := x.side(i)
		for _, e := range x.order[i] {
			if e.seen[1-i] {
				continue
			}
			if e.at[i].offset >= last[i][e.at[i].partition] {
				s.Tail++
				continue
			}
			s.Only++
			example(i, "event %s is in %s/%d@%d alone", e.id, s.Topic, e.at[i].partition, e.at[i].offset)
		}
	}
	for _, e := range x.order[0] {
		if !e.seen[1] {
			continue
		}
		x.report.Common++
		if e.sum[0] != e.sum[1] {
			x.report.Different++
			example(2, "event %s differs between %s/%d@%d and %s/%d@%d", e.id, x.A, e.at[0].partition, e.at[0].offset, x.B, e.at[1].partition, e.at[1].offset)
		}
	}
	x.inversions(func(first, second *event) {
		example(3, "events %s and %s of one key come the other way round in %s", first.id, second.id, x.B)
	})
}

// inversions numbers the common events of each key as A has them, and wants the
// numbers to rise in B.
func (x *comparison) inversions(example func(first, second *event)) {
	sequence := map[*event]int{}
	for n, e := range x.sorted(0) {
		sequence[e] = n
	}
	latest := map[string]*event{}
	for _, e := range x.sorted(1) {
		before := latest[e.key]
		if before != nil && sequence[before] > sequence[e] {
			x.report.Inversions++
			example(e, before)
			continue
		}
		latest[e.key] = e
	}
}

// sorted are the common events of a topic, each partition in its order.
func (x *comparison) sorted(i int) []*event {
	var common []*event
	for _, e := range x.order[i] {
		if e.seen[0] && e.seen[1] {
			common = append(common, e)
		}
	}
	slices.SortFunc(common, func(a, b *event) int {
		return cmp.Or(cmp.Compare(a.at[i].partition, b.at[i].partition), cmp.Compare(a.at[i].offset, b.at[i].offset))
	})
	return common
}

// Verdict is one line.
func (r Report) Verdict() string {
	if r.Same() {
		return fmt.Sprintf("the same: %d events of %s are in %s, as they are and in their order", r.Common, r.A.Topic, r.B.Topic)
	}
	if r.Common == 0 {
		return fmt.Sprintf("nothing to compare: no event is in both %s and %s", r.A.Topic, r.B.Topic)
	}
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{
		{r.A.Only, "only in " + r.A.Topic},
		{r.B.Only, "only in " + r.B.Topic},
		{r.Different, "different"},
		{r.Inversions, "in another order"},
		{r.A.NoID + r.B.NoID, "without an id"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return "not the same: " + strings.Join(parts, ", ")
}
