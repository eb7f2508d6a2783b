package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// tally counts what was done to the processes and what came of it.
type tally struct {
	mu       sync.Mutex
	atRandom map[string]int
	atStep   map[string]int
	recovery map[string][]time.Duration
	phases   []string // of one seed

	Orders  int
	Tries   int64
	Rows    int64
	Repeats int64
}

func (t *tally) random(service string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count(&t.atRandom, service, 1)
}

func (t *tally) step(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count(&t.atStep, name, 1)
}

func (t *tally) recovered(service string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recovery == nil {
		t.recovery = make(map[string][]time.Duration)
	}
	t.recovery[service] = append(t.recovery[service], took)
}

func (t *tally) add(u *tally) {
	for name, n := range u.atRandom {
		count(&t.atRandom, name, n)
	}
	for name, n := range u.atStep {
		count(&t.atStep, name, n)
	}
	for name, list := range u.recovery {
		for _, d := range list {
			t.recovered(name, d)
		}
	}
	t.Orders += u.Orders
	t.Tries += u.Tries
	t.Rows += u.Rows
	t.Repeats += u.Repeats
}

func (t *tally) named() int { return sum(t.atStep) }
func (t *tally) kills() int { return sum(t.atRandom) + sum(t.atStep) }

// never lists the steps that did not fire.
func (t *tally) never() (names []string) {
	for _, list := range steps {
		for _, s := range list {
			if t.atStep[s.name] == 0 {
				names = append(names, s.name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (t *tally) write(w io.Writer) {
	fmt.Fprintln(w, "killed at random")
	for _, name := range slices.Sorted(maps.Keys(t.atRandom)) {
		fmt.Fprintf(w, "  %4d  %s\n", t.atRandom[name], name)
	}
	fmt.Fprintln(w, "killed at a step")
	for _, name := range slices.Sorted(maps.Keys(t.atStep)) {
		fmt.Fprintf(w, "  %4d  %s\n", t.atStep[name], name)
	}
	fmt.Fprintln(w, "at work again after its start, median and longest")
	for _, name := range slices.Sorted(maps.Keys(t.recovery)) {
		list := slices.Sorted(slices.Values(t.recovery[name]))
		fmt.Fprintf(w, "  %s  %s  %s\n", list[len(list)/2].Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond), name)
	}
	fmt.Fprintf(w, "%d orders, %d requests without an answer, %d rows, %d records repeated\n", t.Orders, t.Tries, t.Rows, t.Repeats)
}

func count(m *map[string]int, name string, n int) {
	if *m == nil {
		*m = make(map[string]int)
	}
	(*m)[name] += n
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}
