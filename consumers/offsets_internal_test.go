package consumers

import (
	"errors"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

// Partitions that are assigned after a failover do not take those of before onto
// the new timeline.
func TestLoadOnAnotherTimelineIsRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	c := Config{Pool: pool}.withDefaults()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := newOffsets(newEngine(&c, Consumer{Name: "effects"}, pool, m, newTrials()))
	before, after := partitionID{"t", 0}, partitionID{"t", 1}
	if _, err := o.load(t.Context(), []partitionID{before}); err != nil {
		t.Fatal(err)
	}
	o.timeline++ // as if this server were another
	if _, err := o.load(t.Context(), []partitionID{after}); !errors.Is(err, errWentBack) {
		t.Errorf("load: %v", err)
	}
	if err := o.save(t.Context(), map[partitionID]int64{before: 150}); !errors.Is(err, errWentBack) {
		t.Errorf("save: %v", err)
	}
}
