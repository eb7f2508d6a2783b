package relay

import (
	"testing"
	"time"
)

func TestHorizon(t *testing.T) {
	t.Parallel()
	var h horizon
	at := func(activity uint64, snapshot string, want bool) {
		t.Helper()
		if got := h.reached(proof{Snapshot: snapshot}, activity); got != want {
			t.Errorf("%s at %d: reached %t", snapshot, activity, got)
		}
	}
	at(1, "100:100:", true) // nothing was open
	at(2, "90:110:90,95", false)
	at(2, "95:120:95", false)
	at(2, "112:130:112", true) // it began later
	at(3, "112:140:112", false)
	at(4, "112:150:112", false)
	at(4, "145:160:145", false) // it was open when the newer row had been relayed
	at(4, "150:160:150", true)
	at(5, "gibberish", false)
	h = horizon{}
	if h.pause() != quiet {
		t.Errorf("pause %s", h.pause())
	}
	for range 10 {
		at(6, "1:9:1", false)
	}
	if h.pause() != 5*time.Second {
		t.Errorf("pause %s", h.pause())
	}
}
