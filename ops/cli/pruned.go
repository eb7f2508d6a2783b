package cli

import (
	"reflect"
	"slices"
	"strings"
)

// pruned is the command line as far as args may be about it: a command whose name is not
// among them is there with its help, and without what is below it. Building all of them
// takes longer than most commands do before they first ask a server.
//
// The pointer is for kong; the globals are those in it.
func pruned(args []string) (any, *Globals) {
	v := reflect.New(prune(reflect.TypeFor[commands](), args))
	return v.Interface(), v.Elem().FieldByName("Globals").Addr().Interface().(*Globals)
}

// prune keeps a group whole of which no command is named: its help lists them, and a name
// that is misspelt is looked for among them.
func prune(group reflect.Type, args []string) reflect.Type {
	fields := slices.Collect(group.Fields())
	named := func(f reflect.StructField) bool {
		_, isCommand := f.Tag.Lookup("cmd")
		return isCommand && slices.Contains(args, strings.ToLower(f.Name))
	}
	if !slices.ContainsFunc(fields, named) {
		return group
	}
	for i, f := range fields {
		_, isCommand := f.Tag.Lookup("cmd")
		_, isDefault := f.Tag.Lookup("default") // of a command: it may be meant though another's name is among args
		switch {
		case named(f):
			fields[i].Type = prune(f.Type, args)
		case isCommand && !isDefault:
			fields[i].Type = reflect.TypeFor[struct{}]()
		}
	}
	return reflect.StructOf(fields)
}
