package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/ops/schema"
)

func (e *exam) registry(ctx context.Context) (verdict, error) {
	if e.cfg.Registry == nil {
		return unknown("", "--registry-url is not set")
	}
	if _, err := schema.Astray(ctx, *e.cfg.Registry, nil); err != nil {
		return e.unreached(areaRegistry, err), nil
	}
	return well("%s answers", e.cfg.Registry.RegistryURL), nil
}

func (e *exam) schemaIDs(ctx context.Context) (verdict, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return verdict{}, err
	}
	var stored []schema.Stored
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		stored, err = schema.ReadStored(ctx, tx)
		return err
	})
	if err != nil {
		return verdict{}, err
	}
	if len(stored) == 0 {
		return well("none is stored: events are JSON"), nil
	}
	var missing []string
	for _, c := range schema.Catalogue() {
		if !slices.ContainsFunc(stored, func(s schema.Stored) bool { return s.Subject == c.Subject }) {
			missing = append(missing, c.Subject)
		}
	}
	if len(missing) > 0 {
		return fault("gapless schema register", "not stored, so that --encoding protobuf cannot start: %s", some(missing)), nil
	}
	if e.cfg.Registry == nil {
		return unknown("", "--registry-url is not set")
	}
	astray, err := schema.Astray(ctx, *e.cfg.Registry, stored)
	if err != nil {
		return verdict{}, err
	}
	names := make([]string, len(astray))
	for i, s := range astray {
		names[i] = fmt.Sprintf("%d (%s, version %d)", s.SchemaID, s.Subject, s.Version)
	}
	if len(astray) > 0 {
		return fault("name the registry that gave the ids in --registry-url, or restore its topic or database",
			"the registry does not have these ids: %s", some(names)), nil
	}
	return well("the registry has all %d stored versions", len(stored)), nil
}
