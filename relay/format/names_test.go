package format

import (
	"strconv"
	"strings"
	"testing"
)

// What a writer makes up is not kept without bound, neither many names nor long ones.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	n := newNames("p.")
	for i := range 2 * maxNames {
		for _, name := range []string{strconv.Itoa(i), strings.Repeat("h", maxName) + strconv.Itoa(i)} {
			if got := n.of([]byte(name)); got != "p."+name {
				t.Fatalf("%q became %q", name, got)
			}
		}
	}
	kept := 0
	for name, s := range n.seen {
		kept += len(name) + len(s)
	}
	if most := maxNames * (2*maxName + len(n.prefix)); len(n.seen) > maxNames || kept > most {
		t.Errorf("%d names of %d bytes are kept, want at most %d of %d", len(n.seen), kept, maxNames, most)
	}
	if _, ok := n.seen[strconv.Itoa(2*maxNames-1)]; !ok {
		t.Error("a short name is not kept")
	}
}
