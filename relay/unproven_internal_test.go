package relay

import (
	"strconv"
	"testing"
)

func TestRowSet(t *testing.T) {
	t.Parallel()
	const n = 1000
	s := newRowSet()
	id := func(i int) []byte { return []byte(strconv.Itoa(i)) }
	for i := range n {
		s.add("a", id(i))
		s.add("b", id(i/2)) // each twice
	}
	s.seal()
	if want := n + n/2; s.left != want {
		t.Fatalf("%d rows, want %d", s.left, want)
	}
	for range 2 { // a row that comes twice counts once
		for i := range n - 10 {
			s.meet("a", id(i))
			s.meet("c", id(i))
			s.meet("a", id(n+i))
		}
	}
	if want := 10 + n/2; s.left != want {
		t.Errorf("%d rows left, want %d", s.left, want)
	}
}
