package contracts

import (
	"encoding/binary"
	"errors"
)

var (
	errFrameShort = errors.New("shorter than the Confluent wire format's header")
	errFrameMagic = errors.New("does not start with the Confluent wire format's zero byte")
	errFrameIndex = errors.New("message indexes of the Confluent wire format are malformed")
)

// maxIndexDepth bounds nesting of messages in a frame that may be garbage.
const maxIndexDepth = 32

// AppendFrame appends the Confluent wire format's header for Protobuf.
func AppendFrame(b []byte, id SchemaID) []byte {
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(id.ID))
	if len(id.Index) == 1 && id.Index[0] == 0 {
		return append(b, 0) // the short form of [0]
	}
	b = binary.AppendVarint(b, int64(len(id.Index)))
	for _, n := range id.Index {
		b = binary.AppendVarint(b, int64(n))
	}
	return b
}

// ParseFrame splits a payload in Confluent wire format into header and body,
// which is a view into payload.
func ParseFrame(payload []byte) (SchemaID, []byte, error) {
	if len(payload) < 6 {
		return SchemaID{}, nil, errFrameShort
	}
	if payload[0] != 0 {
		return SchemaID{}, nil, errFrameMagic
	}
	id := SchemaID{ID: int(binary.BigEndian.Uint32(payload[1:]))}
	rest := payload[5:]
	n, size := binary.Varint(rest)
	if size <= 0 || n < 0 || n > maxIndexDepth {
		return SchemaID{}, nil, errFrameIndex
	}
	rest = rest[size:]
	if n == 0 {
		id.Index = []int{0}
		return id, rest, nil
	}
	id.Index = make([]int, n)
	for i := range id.Index {
		v, size := binary.Varint(rest)
		if size <= 0 || v < 0 || v > 1<<20 {
			return SchemaID{}, nil, errFrameIndex
		}
		id.Index[i], rest = int(v), rest[size:]
	}
	return id, rest, nil
}
