package schema

import (
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// flat is what gapless.schema_version.types holds; the migration that creates
// gapless.decode() describes it.
type flat struct {
	Index    map[string]string             `json:"index"`
	Messages map[string]flatMessage        `json:"messages"`
	Enums    map[string]map[string]*string `json:"enums"`
}

type flatMessage struct {
	Fields   map[string]flatField       `json:"fields"`
	Defaults map[string]json.RawMessage `json:"defaults,omitempty"`
}

type flatField struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Wire     int      `json:"wire"`
	Type     string   `json:"type,omitempty"`
	Repeated bool     `json:"repeated,omitempty"`
	Map      bool     `json:"map,omitempty"`
	Oneof    []string `json:"oneof,omitempty"`
}

// Flatten returns the descriptors of file and of every type that its messages
// reach, in the form that gapless.decode() reads.
func Flatten(file protoreflect.FileDescriptor) ([]byte, error) {
	f := flat{Index: map[string]string{}, Messages: map[string]flatMessage{}, Enums: map[string]map[string]*string{}}
	if err := f.index(file.Messages(), ""); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// index adds messages under their Confluent message indexes.
func (f *flat) index(list protoreflect.MessageDescriptors, prefix string) error {
	for i := range list.Len() {
		m := list.Get(i)
		path := prefix + strconv.Itoa(i)
		f.Index[path] = string(m.FullName())
		if err := f.add(m); err != nil {
			return err
		}
		if err := f.index(m.Messages(), path+"."); err != nil {
			return err
		}
	}
	return nil
}

func (f *flat) add(m protoreflect.MessageDescriptor) error {
	name := string(m.FullName())
	if _, known := f.Messages[name]; known {
		return nil
	}
	message := flatMessage{Fields: map[string]flatField{}}
	f.Messages[name] = message // before its fields: a message may hold itself
	fields := m.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		field := flatField{
			Name: jsonName(fd), Kind: fd.Kind().String(), Wire: wireType(fd.Kind()),
			Repeated: fd.Cardinality() == protoreflect.Repeated, Map: fd.IsMap(), Oneof: siblings(fd),
		}
		switch {
		case fd.Enum() != nil:
			field.Type = string(fd.Enum().FullName())
			f.addEnum(fd.Enum())
		case fd.Message() != nil:
			field.Type = string(fd.Message().FullName())
			if err := f.add(fd.Message()); err != nil {
				return err
			}
		}
		message.Fields[strconv.Itoa(int(fd.Number()))] = field
	}
	if !m.IsMapEntry() {
		return nil
	}
	message.Defaults = map[string]json.RawMessage{}
	for i := range fields.Len() {
		text, err := jsonDefault(fields.Get(i))
		if err != nil {
			return fmt.Errorf("default of %s: %w", fields.Get(i).FullName(), err)
		}
		message.Defaults[jsonName(fields.Get(i))] = text
	}
	f.Messages[name] = message
	return nil
}

func (f *flat) addEnum(e protoreflect.EnumDescriptor) {
	names := map[string]*string{}
	values := e.Values()
	for i := range values.Len() {
		number := strconv.Itoa(int(values.Get(i).Number()))
		if _, alias := names[number]; alias {
			continue // the first name is the one that JSON has
		}
		if e.FullName() == "google.protobuf.NullValue" {
			names[number] = nil
			continue
		}
		name := string(values.Get(i).Name())
		names[number] = &name
	}
	f.Enums[string(e.FullName())] = names
}

// jsonName is the name that protojson writes.
func jsonName(fd protoreflect.FieldDescriptor) string {
	if fd.Kind() == protoreflect.GroupKind && fd.ParentFile().Syntax() == protoreflect.Proto2 {
		return fd.TextName() // proto2 names a group field after its message
	}
	return fd.JSONName()
}

func siblings(fd protoreflect.FieldDescriptor) []string {
	oneof := fd.ContainingOneof()
	if oneof == nil || oneof.IsSynthetic() {
		return nil
	}
	var names []string
	for i := range oneof.Fields().Len() {
		if other := oneof.Fields().Get(i); other.Number() != fd.Number() {
			names = append(names, jsonName(other))
		}
	}
	return names
}

// wireType is that of a single value, not packed.
func wireType(kind protoreflect.Kind) int {
	switch kind {
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return 1
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return 2
	case protoreflect.GroupKind:
		return 3
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return 5
	default:
		return 0
	}
}

// jsonDefault is the JSON of a field that is not on the wire.
func jsonDefault(fd protoreflect.FieldDescriptor) (json.RawMessage, error) {
	if md := fd.Message(); md != nil {
		if md.FullName() == "google.protobuf.Value" {
			return json.RawMessage("null"), nil
		}
		text, err := protojson.Marshal(dynamicpb.NewMessage(md))
		if err != nil {
			return nil, err
		}
		return text, nil
	}
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return json.RawMessage(`""`), nil
	case protoreflect.BoolKind:
		return json.RawMessage(`false`), nil
	case protoreflect.EnumKind:
		if fd.Enum().FullName() == "google.protobuf.NullValue" {
			return json.RawMessage("null"), nil
		}
		return json.Marshal(string(fd.Enum().Values().ByNumber(fd.Default().Enum()).Name()))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind, protoreflect.Sfixed64Kind, protoreflect.Fixed64Kind:
		return json.RawMessage(`"0"`), nil
	default:
		return json.RawMessage(`0`), nil
	}
}
