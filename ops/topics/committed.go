package topics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// coordinatorWait is how long a broker may take to find a group's coordinator:
// the first question about any group makes the topic of offsets.
const coordinatorWait = 10 * time.Second

// Committed returns the offsets that a group has committed; none for one that
// never has.
func Committed(ctx context.Context, admin *kadm.Client, group string) (kadm.OffsetResponses, error) {
	for end := time.Now().Add(coordinatorWait); ; {
		offsets, err := admin.FetchOffsets(ctx, group)
		switch {
		case err == nil, errors.Is(err, kerr.GroupIDNotFound):
			return offsets, nil
		case !errors.Is(err, kerr.CoordinatorNotAvailable) || time.Now().After(end):
			return nil, fmt.Errorf("fetch offsets of group %s: %w", group, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fetch offsets of group %s: %w", group, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
