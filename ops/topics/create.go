package topics

import (
	"context"
	"slices"
)

// Create makes the topics that are missing and touches no other, whatever its
// partitions and settings: what a service may do by itself. It returns those
// that it has made; one that another service was faster with is not among them.
func Create(ctx context.Context, c Config) ([]string, error) {
	missing, err := Missing(ctx, c)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	c, err = c.withDefaults()
	if err != nil {
		return nil, err
	}
	admin, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	list := slices.DeleteFunc(c.wanted(), func(t topic) bool { return !slices.Contains(missing, t.name) })
	created, _, err := (&steps{create: list}).carryOut(ctx, admin, c)
	return created, err
}
