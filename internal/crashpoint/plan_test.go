package crashpoint

import "testing"

func TestPlanFiresOnceAtItsHit(t *testing.T) {
	t.Parallel()
	p, err := parse("relay.a:3,relay.b")
	if err != nil {
		t.Fatal(err)
	}
	for hit := 1; hit <= 5; hit++ {
		if got, want := p.fires("relay.a"), hit == 3; got != want {
			t.Errorf("hit %d of relay.a: fires = %v, want %v", hit, got, want)
		}
	}
	if !p.fires("relay.b") {
		t.Error("relay.b without a count did not fire at its first hit")
	}
	if p.fires("relay.c") {
		t.Error("a step that is not in the plan fired")
	}
}

func TestPlanRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{"relay.a:0", "relay.a:x", ":1", "relay.a:1,"} {
		if _, err := parse(spec); err == nil {
			t.Errorf("parse %q: no error", spec)
		}
	}
}
