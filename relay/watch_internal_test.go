package relay

import (
	"testing"
	"time"
)

func TestOldestTransaction(t *testing.T) {
	t.Parallel()
	open := transactions{}
	start := time.Unix(1000, 0)
	for i, step := range []struct {
		after time.Duration
		held  []holder
		want  time.Duration
	}{
		{0, nil, 0},
		{10 * time.Second, []holder{{XID: "7"}}, 0}, // seen for the first time
		{20 * time.Second, []holder{{XID: "7"}, {XID: "8"}}, 10 * time.Second},
		{30 * time.Second, []holder{{XID: "8"}}, 10 * time.Second}, // known since 20 s
		{40 * time.Second, []holder{{XID: "8"}, {XID: "9", OpenSeconds: 3600}}, time.Hour},
		{50 * time.Second, []holder{{XID: "9"}}, time.Hour + 10*time.Second}, // what was known stays known
		{60 * time.Second, nil, 0},
		{70 * time.Second, []holder{{XID: "10"}}, 0},
	} {
		if got := open.oldest(start.Add(step.after), step.held); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	if len(open) != 1 {
		t.Errorf("%d are remembered", len(open))
	}
}
