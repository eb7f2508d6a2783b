package schema_test

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"
)

// generator draws messages of any descriptor, with a taste for edges. Negative
// zero is left out (hence the sums with 0): Postgres' numbers have none.
type generator struct{ file protoreflect.FileDescriptor }

func (g generator) message(t *rapid.T, md protoreflect.MessageDescriptor, depth int) *dynamicpb.Message {
	m := dynamicpb.NewMessage(md)
	fields := md.Fields()
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		set(m, "seconds", protoreflect.ValueOfInt64(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds")))
		set(m, "nanos", protoreflect.ValueOfInt32(nanos(t)))
		return m
	case "google.protobuf.Duration":
		sign := rapid.SampledFrom([]int64{-1, 1}).Draw(t, "sign")
		set(m, "seconds", protoreflect.ValueOfInt64(sign*rapid.Int64Range(0, 315576000000).Draw(t, "seconds")))
		set(m, "nanos", protoreflect.ValueOfInt32(int32(sign)*nanos(t)))
		return m
	case "google.protobuf.FieldMask":
		list := m.Mutable(fields.ByName("paths")).List()
		for _, path := range rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,4}(_[a-z]{1,4}){0,2}(\.[a-z]{1,3}(_[a-z])?)?`), 0, 3).Draw(t, "paths") {
			list.Append(protoreflect.ValueOfString(path))
		}
		return m
	case "google.protobuf.Any":
		inner := rapid.SampledFrom([]protoreflect.FullName{"everything.First.Inner", "google.protobuf.Timestamp"}).Draw(t, "any")
		md := g.find(inner)
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(g.message(t, md, depth-1))
		if err != nil {
			t.Fatal(err)
		}
		set(m, "type_url", protoreflect.ValueOfString("type.googleapis.com/"+string(inner)))
		set(m, "value", protoreflect.ValueOfBytes(body))
		return m
	case "google.protobuf.Value":
		if depth <= 0 {
			set(m, "bool_value", protoreflect.ValueOfBool(true))
			return m
		}
		fd := rapid.SampledFrom([]protoreflect.Name{"null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value"}).Draw(t, "kind of value")
		m.Set(fields.ByName(fd), g.element(t, fields.ByName(fd), depth))
		return m
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !rapid.Bool().Draw(t, string(fd.Name())) || depth <= 0 && fd.Message() != nil {
			continue
		}
		switch {
		case fd.IsMap():
			entries := m.Mutable(fd).Map()
			for range rapid.IntRange(0, 3).Draw(t, "entries") {
				entries.Set(g.scalar(t, fd.MapKey()).MapKey(), g.element(t, fd.MapValue(), depth))
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range rapid.IntRange(0, 4).Draw(t, "elements") {
				list.Append(g.element(t, fd, depth))
			}
		default:
			m.Set(fd, g.element(t, fd, depth))
		}
	}
	return m
}

func (g generator) element(t *rapid.T, fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	if fd.Message() != nil {
		return protoreflect.ValueOfMessage(g.message(t, fd.Message(), depth-1).ProtoReflect())
	}
	return g.scalar(t, fd)
}

func (g generator) scalar(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		if fd.Enum().FullName() == "google.protobuf.NullValue" {
			return protoreflect.ValueOfEnum(0)
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.SampledFrom([]int32{0, 1, -7, 99, math.MinInt32}).Draw(t, "enum")))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(rapid.OneOf(rapid.Int32(), rapid.SampledFrom([]int32{0, -1, math.MinInt32, math.MaxInt32})).Draw(t, "int32"))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(rapid.OneOf(rapid.Uint32(), rapid.SampledFrom([]uint32{0, math.MaxUint32})).Draw(t, "uint32"))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, -1, math.MinInt64, math.MaxInt64})).Draw(t, "int64"))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1 << 63, math.MaxUint64})).Draw(t, "uint64"))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(0 + rapid.OneOf(rapid.Float32(), rapid.SampledFrom([]float32{0.1, float32(math.NaN()), float32(math.Inf(-1)), math.SmallestNonzeroFloat32, math.MaxFloat32})).Draw(t, "float"))
	case protoreflect.DoubleKind:
		edges := []float64{0.1, math.SmallestNonzeroFloat64, math.MaxFloat64, -1e-310}
		if fd.FullName() != "google.protobuf.Value.number_value" { // JSON numbers only
			edges = append(edges, math.NaN(), math.Inf(1))
		}
		return protoreflect.ValueOfFloat64(0 + rapid.OneOf(rapid.Float64(), rapid.SampledFrom(edges)).Draw(t, "double"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 120).Draw(t, "bytes"))
	default:
		return protoreflect.ValueOfString(rapid.StringOfN(rapid.RuneFrom([]rune(`aZ09_- "\/'é€𝄞`+"\n\t\x01\u2028")), 0, 20, -1).Draw(t, "string"))
	}
}

func nanos(t *rapid.T) int32 {
	return rapid.OneOf(rapid.Int32Range(0, 999_999_999), rapid.SampledFrom([]int32{0, 5_000_000, 120_000, 999_999_999})).Draw(t, "nanos")
}

func set(m *dynamicpb.Message, name protoreflect.Name, v protoreflect.Value) {
	m.Set(m.Descriptor().Fields().ByName(name), v)
}

func (g generator) find(name protoreflect.FullName) protoreflect.MessageDescriptor {
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		return d.(protoreflect.MessageDescriptor)
	}
	return g.file.Messages().ByName("First").Messages().ByName("Inner")
}

func registry(t testing.TB, file protoreflect.FileDescriptor) *protoregistry.Files {
	t.Helper()
	var files protoregistry.Files
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if _, err := files.FindFileByPath(f.Path()); err == nil {
			return
		}
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		if err := files.RegisterFile(f); err != nil {
			t.Fatal(err)
		}
	}
	add(file)
	return &files
}
