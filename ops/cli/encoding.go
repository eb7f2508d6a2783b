package cli

import (
	"context"

	"github.com/gapless/gapless/contracts"
)

// encoding is the flag of every service that writes events.
type encoding struct {
	Encoding string `help:"How events are written: json, or protobuf with the schema ids that 'schema register' stored." enum:"json,protobuf" default:"json"`
}

func (c encoding) codec(ctx context.Context, db contracts.Querier) (*contracts.Codec, error) {
	if c.Encoding == "protobuf" {
		return contracts.Load(ctx, db)
	}
	return contracts.NewJSON(), nil
}
