package schema

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Compare returns every difference between two versions of a message and of
// what it holds, breaking ones marked. It judges both encodings: see the package
// comment.
func Compare(before, after protoreflect.MessageDescriptor, level Compatibility) []Change {
	c := comparison{level: level, seen: map[protoreflect.FullName]bool{}}
	c.messages(before, after)
	return c.changes
}

type comparison struct {
	level   Compatibility
	seen    map[protoreflect.FullName]bool
	changes []Change
}

func (c *comparison) breaks(d protoreflect.FullName, field protoreflect.Name, what, remedy string) {
	c.changes = append(c.changes, Change{Message: string(d), Field: string(field), What: what, Breaking: true, Remedy: remedy})
}

func (c *comparison) notes(d protoreflect.FullName, field protoreflect.Name, what string) {
	c.changes = append(c.changes, Change{Message: string(d), Field: string(field), What: what})
}

const newEvent = "or make a new event type and publish both for a while"

func (c *comparison) messages(before, after protoreflect.MessageDescriptor) {
	if c.seen[before.FullName()] {
		return // also: a message that holds itself
	}
	c.seen[before.FullName()] = true
	old, now := before.Fields(), after.Fields()
	for i := range old.Len() {
		was := old.Get(i)
		is := now.ByNumber(was.Number())
		byName := now.ByName(was.Name())
		switch {
		case byName != nil && byName.Number() != was.Number():
			c.breaks(before.FullName(), was.Name(), fmt.Sprintf("changes its number from %d to %d", was.Number(), byName.Number()),
				fmt.Sprintf("keep number %d, %s", was.Number(), newEvent))
		case is == nil:
			c.removed(before, after, was)
		default:
			c.fields(before.FullName(), was, is)
		}
	}
	for i := range now.Len() {
		is := now.Get(i)
		if old.ByNumber(is.Number()) == nil && old.ByName(is.Name()) == nil {
			c.added(before, is)
		}
	}
}

// removed judges a field that is gone. Readers pass over what they do not know;
// the danger is the next field that takes its number or its name.
func (c *comparison) removed(before, after protoreflect.MessageDescriptor, was protoreflect.FieldDescriptor) {
	if was.Cardinality() == protoreflect.Required && c.level == Full {
		c.breaks(before.FullName(), was.Name(), "is removed, and older readers require it", "keep the field, "+newEvent)
		return
	}
	if after.ReservedRanges().Has(was.Number()) && after.ReservedNames().Has(was.Name()) {
		c.notes(before.FullName(), was.Name(), fmt.Sprintf("is removed, its number %d and name reserved", was.Number()))
		return
	}
	c.breaks(before.FullName(), was.Name(), "is removed without reserving its number and name",
		fmt.Sprintf("add 'reserved %d; reserved %q;' to %s", was.Number(), was.Name(), before.Name()))
}

// added judges a field that old events do not have.
func (c *comparison) added(before protoreflect.MessageDescriptor, is protoreflect.FieldDescriptor) {
	switch {
	case before.ReservedRanges().Has(is.Number()) || before.ReservedNames().Has(is.Name()):
		c.breaks(before.FullName(), is.Name(), fmt.Sprintf("takes the number %d or the name of a removed field", is.Number()),
			"choose a number and a name that were never used")
	case required(is):
		c.breaks(before.FullName(), is.Name(), "is new and required, but events written before have no value for it",
			"make it optional and say what its absence means, "+newEvent)
	case is.Enum() != nil && !is.IsList() && !is.HasPresence() && !unspecified(is.Enum()):
		zero := is.Enum().Values().ByNumber(0)
		c.breaks(before.FullName(), is.Name(), fmt.Sprintf("is new, and events written before would read as %s", zero.Name()),
			fmt.Sprintf("give %s a zero value …_UNSPECIFIED, or make the field 'optional'", is.Enum().Name()))
	default:
		c.notes(before.FullName(), is.Name(), fmt.Sprintf("is new (%s = %d)", kindOf(is), is.Number()))
	}
}

// required reports whether a message without the field is invalid: by the
// language itself, or by an option of whatever validation library, as long as it
// is a bool named "required".
func required(fd protoreflect.FieldDescriptor) bool {
	if fd.Cardinality() == protoreflect.Required {
		return true
	}
	found := false
	fd.Options().ProtoReflect().Range(func(option protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !option.IsExtension() || option.IsList() || option.IsMap() {
			return true
		}
		switch {
		case option.Kind() == protoreflect.BoolKind && option.Name() == "required":
			found = v.Bool()
		case option.Message() != nil:
			inner := option.Message().Fields().ByName("required")
			found = inner != nil && inner.Kind() == protoreflect.BoolKind && !inner.IsList() && v.Message().Get(inner).Bool()
		}
		return !found
	})
	return found
}

func unspecified(e protoreflect.EnumDescriptor) bool {
	zero := e.Values().ByNumber(0)
	if zero == nil {
		return false
	}
	name := strings.ToUpper(string(zero.Name()))
	for _, suffix := range []string{"UNSPECIFIED", "UNKNOWN", "NONE", "NULL_VALUE"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// fields judges one number in both versions.
func (c *comparison) fields(in protoreflect.FullName, was, is protoreflect.FieldDescriptor) {
	if was.Name() != is.Name() {
		c.breaks(in, was.Name(), fmt.Sprintf("is renamed to %s, which events in JSON do not know", is.Name()),
			fmt.Sprintf("keep the name %s, %s", was.Name(), newEvent))
	} else if was.JSONName() != is.JSONName() {
		c.breaks(in, was.Name(), fmt.Sprintf("changes its JSON name from %s to %s", was.JSONName(), is.JSONName()),
			fmt.Sprintf("keep json_name = %q", was.JSONName()))
	}
	if was.IsList() != is.IsList() || was.IsMap() != is.IsMap() {
		c.breaks(in, was.Name(), fmt.Sprintf("changes from %s to %s", kindOf(was), kindOf(is)), "keep the label, "+newEvent)
		return
	}
	if was.Cardinality() != protoreflect.Required && required(is) && !required(was) {
		c.breaks(in, was.Name(), "becomes required, but events written before may have no value for it",
			"leave it optional and say what its absence means, "+newEvent)
	}
	if home(was) != home(is) {
		c.breaks(in, was.Name(), fmt.Sprintf("moves from %s to %s", home(was), home(is)), "leave it where it was, "+newEvent)
	}
	if !c.sameKind(was.Kind(), is.Kind()) {
		c.breaks(in, was.Name(), fmt.Sprintf("changes its type from %s to %s", kindOf(was), kindOf(is)),
			fmt.Sprintf("keep %s and add a field with a new number, %s", kindOf(was), newEvent))
		return
	}
	if was.Kind() != is.Kind() {
		c.notes(in, was.Name(), fmt.Sprintf("widens from %s to %s", was.Kind(), is.Kind()))
	}
	switch {
	case was.Message() != nil && is.Message() != nil:
		if was.Message().FullName() != is.Message().FullName() && !was.IsMap() {
			c.breaks(in, was.Name(), fmt.Sprintf("changes its type from %s to %s", was.Message().FullName(), is.Message().FullName()),
				fmt.Sprintf("keep %s and add a field with a new number, %s", was.Message().FullName(), newEvent))
			return
		}
		c.messages(was.Message(), is.Message())
	case was.Enum() != nil && is.Enum() != nil:
		c.enums(was.Enum(), is.Enum())
	}
}

// sameKind reports whether old values, in either encoding, can be read as the
// new kind; with Full in the other direction, too.
func (c *comparison) sameKind(was, is protoreflect.Kind) bool {
	if was == is {
		return true
	}
	if c.level == Full {
		return false
	}
	switch was {
	case protoreflect.Int32Kind:
		return is == protoreflect.Int64Kind
	case protoreflect.Uint32Kind:
		return is == protoreflect.Uint64Kind
	case protoreflect.Sint32Kind:
		return is == protoreflect.Sint64Kind
	}
	return false
}

func (c *comparison) enums(before, after protoreflect.EnumDescriptor) {
	if c.seen[before.FullName()] {
		return
	}
	c.seen[before.FullName()] = true
	for i := range before.Values().Len() {
		was := before.Values().Get(i)
		byName := after.Values().ByName(was.Name())
		is := after.Values().ByNumber(was.Number())
		switch {
		case byName != nil && byName.Number() == was.Number():
		case byName != nil:
			c.breaks(before.FullName(), was.Name(), fmt.Sprintf("changes its number from %d to %d", was.Number(), byName.Number()),
				fmt.Sprintf("keep number %d", was.Number()))
		case is != nil:
			c.breaks(before.FullName(), was.Name(), fmt.Sprintf("is renamed to %s, which events in JSON do not know", is.Name()),
				fmt.Sprintf("keep the name %s (allow_alias lets both stand)", was.Name()))
		default:
			c.breaks(before.FullName(), was.Name(), "is removed, but events written before hold it",
				"keep the value and mark it deprecated")
		}
	}
	for i := range after.Values().Len() {
		is := after.Values().Get(i)
		if before.Values().ByName(is.Name()) == nil && before.Values().ByNumber(is.Number()) == nil {
			c.notes(before.FullName(), is.Name(), fmt.Sprintf("is new (= %d)", is.Number()))
		}
	}
}

// home is where a field lives: its message, or a oneof of it.
func home(fd protoreflect.FieldDescriptor) string {
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return "oneof " + string(o.Name())
	}
	return "the message itself"
}

func kindOf(fd protoreflect.FieldDescriptor) string {
	kind := fd.Kind().String()
	switch {
	case fd.IsMap():
		return fmt.Sprintf("map<%s, %s>", kindOf(fd.MapKey()), kindOf(fd.MapValue()))
	case fd.Message() != nil:
		kind = string(fd.Message().FullName())
	case fd.Enum() != nil:
		kind = string(fd.Enum().FullName())
	}
	if fd.IsList() {
		return "repeated " + kind
	}
	return kind
}
