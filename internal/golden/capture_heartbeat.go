//go:build unix

package golden

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"golang.org/x/sync/errgroup"
)

// CaptureHeartbeats runs the connectors and returns them with the first heartbeat of each.
func (r Rig) CaptureHeartbeats(ctx context.Context, cases []Case) ([]Case, error) {
	admin, err := r.begin(ctx, cases)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	cases = slices.Clone(cases)
	g, ctx := errgroup.WithContext(ctx)
	for i := range cases {
		g.Go(func() error {
			if err := r.firstHeartbeat(ctx, admin, &cases[i]); err != nil {
				return fmt.Errorf("case %s: %w", cases[i].Name, err)
			}
			return nil
		})
	}
	return cases, g.Wait()
}

func (r Rig) firstHeartbeat(ctx context.Context, admin *kadm.Client, c *Case) error {
	if err := r.start(ctx, c); err != nil {
		return err
	}
	err := eventually(ctx, func() error {
		counts, err := r.counts(ctx, admin, []Case{*c})
		if err == nil && (counts == nil || counts[0] == 0) {
			err = errors.New("no heartbeat yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.judge(ctx, c); err != nil {
		return err
	}
	topics, err := topicsOf(ctx, admin, []Case{*c})
	if err != nil {
		return err
	}
	c.Records, err = ReadTopics(ctx, r.Brokers, slices.Sorted(maps.Keys(topics)))
	c.Records = c.Records[:min(1, len(c.Records))]
	return err
}
