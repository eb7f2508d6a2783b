package contracts

import "embed"

// ProtoFS holds the .proto files under the paths by which they import each
// other, for example gapless/v1/order.proto, below the directory proto.
//
//go:embed proto
var ProtoFS embed.FS
