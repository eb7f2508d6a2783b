package inspect

import (
	"strings"
	"testing"

	"github.com/gapless/gapless/relay"
)

// The worst thing is named first, and a relay that holds is not called streaming.
func TestStateOfARelay(t *testing.T) {
	t.Parallel()
	at := "0/1"
	for want, r := range map[string]Relay{
		"no slot":                     {WALStatus: "missing", ResumeLSN: &at},
		"lost":                        {WALStatus: "lost", Active: true, Paused: true},
		"never run":                   {WALStatus: "reserved"},
		"stopped":                     {WALStatus: "reserved", ResumeLSN: &at, LagSeconds: 99},
		"waiting":                     {WALStatus: "reserved", ResumeLSN: &at, Runs: true, ToldReason: "kafka is away", LagSeconds: 99},
		"paused":                      {WALStatus: "reserved", ResumeLSN: &at, Active: true, Paused: true, LagSeconds: 99},
		"holding":                     {WALStatus: "reserved", ResumeLSN: &at, Active: true, ToldState: "holding", Held: 1, LagSeconds: 99},
		"streaming, with rows held":   {WALStatus: "reserved", ResumeLSN: &at, Active: true, ToldState: "streaming", Held: 1, LagSeconds: 99},
		"nearly lost":                 {WALStatus: "unreserved", ResumeLSN: &at, Active: true, LagSeconds: 99},
		"behind":                      {WALStatus: "reserved", ResumeLSN: &at, Active: true, LagSeconds: 99, Parked: 1},
		"streaming, with parked rows": {WALStatus: "reserved", ResumeLSN: &at, Active: true, Parked: 1},
		"streaming":                   {WALStatus: "reserved", ResumeLSN: &at, Active: true, LagSeconds: 1},
	} {
		got, advice, _ := r.judge()
		if got != want || (advice == "") != (want == "streaming") {
			t.Errorf("%+v is %q (%s), want %q", r, got, advice, want)
		}
	}
}

// A relay that is started would refuse with the same words and statements.
func TestAdviceIsTheRelaysOwn(t *testing.T) {
	t.Parallel()
	at := "0/1"
	for _, c := range []struct {
		r    Relay
		says *relay.Refusal
	}{
		{Relay{Slot: "s", WALStatus: "missing", ResumeLSN: &at}, relay.SlotMissing("s")},
		{Relay{Slot: "s", WALStatus: "lost", ResumeLSN: &at}, relay.SlotLost("s")},
	} {
		_, advice, statements := c.r.judge()
		if advice != c.says.Remedy || strings.Join(statements, "\n") != strings.Join(c.says.SQL, ";\n")+";" {
			t.Errorf("%s: %s %q, the relay says %s %q", c.r.WALStatus, advice, statements, c.says.Remedy, c.says.SQL)
		}
	}
}

// A relay's login writes these, and so does who signals to it.
func TestRelaysSteerNoTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;owned\a\x1b[2Jx"
	var b strings.Builder
	err := WriteRelays(&b, []Relay{{Slot: evil, State: "paused", Advice: evil, RelayID: evil, WaitsFor: evil, Held: 1, HeldTopics: []string{evil}, SQL: []string{evil}}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\a") || strings.Count(b.String(), "owned") != 6 {
		t.Errorf("%q", b.String())
	}
}
