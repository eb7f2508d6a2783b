package connect

// Type of a Schema.
type Type uint8

// The types of org.apache.kafka.connect.data.Schema.Type that occur.
const (
	Boolean Type = iota + 1
	Int16
	Int32
	Int64
	Float32
	Float64
	String
	Bytes
	Array
	Map
	Struct
)

// names are those of JsonConverter.
var names = [...]string{
	Boolean: "boolean", Int16: "int16", Int32: "int32", Int64: "int64", Float32: "float", Float64: "double",
	String: "string", Bytes: "bytes", Array: "array", Map: "map", Struct: "struct",
}

// Schema says what a Value is. It is not changed once it is in use.
type Schema struct {
	Type       Type
	Optional   bool
	Name       string // the logical type's, or the struct's
	Version    int32  // 0 is none
	Doc        string
	Parameters []Parameter
	Default    *Value
	Fields     []Field // of a Struct
	Key        *Schema // of a Map
	Elem       *Schema // of an Array or a Map
}

// Parameter of a logical type.
type Parameter struct{ Name, Value string }

// Field of a Struct.
type Field struct {
	Name   string
	Schema *Schema
}

// DecimalName is the logical type of a Decimal, whose value is a DecimalKind.
const DecimalName = "org.apache.kafka.connect.data.Decimal"
