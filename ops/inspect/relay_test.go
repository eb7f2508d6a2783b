package inspect

import "testing"

// The worst thing is named first, and a relay that holds is not called streaming.
func TestStateOfARelay(t *testing.T) {
	t.Parallel()
	at := "0/1"
	for want, r := range map[string]Relay{
		"no slot":                     {WALStatus: "missing", ResumeLSN: &at},
		"lost":                        {WALStatus: "lost", Active: true, Paused: true},
		"never run":                   {WALStatus: "reserved"},
		"stopped":                     {WALStatus: "reserved", ResumeLSN: &at, LagSeconds: 99},
		"paused":                      {WALStatus: "reserved", ResumeLSN: &at, Active: true, Paused: true, LagSeconds: 99},
		"nearly lost":                 {WALStatus: "unreserved", ResumeLSN: &at, Active: true, LagSeconds: 99},
		"behind":                      {WALStatus: "reserved", ResumeLSN: &at, Active: true, LagSeconds: 99, Parked: 1},
		"streaming, with parked rows": {WALStatus: "reserved", ResumeLSN: &at, Active: true, Parked: 1},
		"streaming":                   {WALStatus: "reserved", ResumeLSN: &at, Active: true, LagSeconds: 1},
	} {
		got, advice := r.judge()
		if got != want || (advice == "") != (want == "streaming") {
			t.Errorf("%+v is %q (%s), want %q", r, got, advice, want)
		}
	}
}
