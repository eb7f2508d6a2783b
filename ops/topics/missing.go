package topics

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Missing returns which of the topics that c asks for are not there, in order.
func Missing(ctx context.Context, c Config) ([]string, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	admin, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	details, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var missing []string
	for _, name := range c.Names() {
		if d, ok := details[name]; !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// Require returns a [*MissingError] when a topic that c asks for is not there.
func Require(ctx context.Context, c Config) error {
	missing, err := Missing(ctx, c)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &MissingError{missing}
	}
	return nil
}

// MissingError is a service's reason not to start.
type MissingError struct{ Topics []string }

func (e *MissingError) Error() string {
	const shown = 3
	list := strings.Join(e.Topics[:min(shown, len(e.Topics))], ", ")
	if more := len(e.Topics) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("topics are missing: %s: run 'gapless topics apply', or start with --create-topics", list)
}
