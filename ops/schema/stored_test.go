package schema_test

import (
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/schema"
)

func TestAstray(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	protos, contracts := own(t)
	c := schema.Config{RegistryURL: registryURL(t), DB: pool, Protos: protos, Contracts: contracts}
	if _, err := schema.Register(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stored, err := schema.ReadStored(t.Context(), pool)
	if err != nil || len(stored) < len(contracts) {
		t.Fatalf("%d stored, %v", len(stored), err)
	}
	if astray, err := schema.Astray(t.Context(), c, stored); err != nil || len(astray) != 0 {
		t.Errorf("%v, %v; want none", astray, err)
	}
	renumbered, unknown := stored[0], stored[1]
	renumbered.SchemaID += 1000
	unknown.Subject += "x"
	astray, err := schema.Astray(t.Context(), c, []schema.Stored{renumbered, stored[2], unknown})
	if err != nil || len(astray) != 2 || astray[0].Subject != renumbered.Subject || astray[1].Subject != unknown.Subject {
		t.Errorf("%v, %v", astray, err)
	}
	for _, list := range [][]schema.Stored{nil, stored} {
		if _, err := schema.Astray(t.Context(), schema.Config{RegistryURL: "http://127.0.0.1:1"}, list); err == nil {
			t.Errorf("a registry that is away is taken for one that has all %d", len(list))
		}
	}
}
