package eventrouter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FromConnector reads the options of a Debezium connector that bear on its records:
// those of its EventRouter and of its converters. rest are the options that it does
// not know, which are somebody else's to map or to refuse. The error names every
// option that has a value with no counterpart here.
func FromConnector(options map[string]string) (c Config, rest map[string]string, err error) {
	r := reader{left: maps.Clone(options)}
	c = Config{
		ServerName:      r.text("topic.prefix"),
		ExtendedHeaders: r.boolean("extended.headers.enabled", true),
		Decimals:        Decimals(r.one("decimal.handling.mode", "precise", "double", "string")),
		Binaries:        Binaries(r.one("binary.handling.mode", "bytes", "base64", "base64-url-safe", "hex")),
		Key:             r.converter("key.converter", "JsonConverter"),
		Value:           r.converter("value.converter", "JsonConverter"),
		Header:          r.converter("header.converter", "SimpleHeaderConverter"),
	}
	r.router(&c)
	if len(r.faults) == 0 {
		r.fault(c.Validate())
	}
	return c, r.left, errors.Join(r.faults...)
}

// reader takes options out of a map, so that what nobody took can be seen.
type reader struct {
	left   map[string]string
	faults []error
}

func (r *reader) fault(err error) {
	if err != nil {
		r.faults = append(r.faults, err)
	}
}

func (r *reader) refuse(option, value, why string) {
	r.fault(fmt.Errorf("%s = %q: %s", option, value, why))
}

// unknown does not tell the value: it may be a secret.
func (r *reader) unknown(option, why string) {
	delete(r.left, option)
	r.fault(fmt.Errorf("%s: %s", option, why))
}

func (r *reader) text(option string) string {
	v := strings.TrimSpace(r.left[option])
	delete(r.left, option)
	return v
}

func (r *reader) boolean(option string, otherwise bool) bool {
	switch v := r.text(option); strings.ToLower(v) {
	case "":
		return otherwise
	case "true":
		return true
	case "false":
		return false
	default:
		r.refuse(option, v, "is neither true nor false")
		return otherwise
	}
}

// one takes a choice; the first is Debezium's default, which "" stands for.
func (r *reader) one(option string, choices ...string) string {
	v := strings.ToLower(r.text(option))
	if v != "" && !slices.Contains(choices, v) {
		r.refuse(option, v, "known are "+strings.Join(choices, ", "))
	}
	return v
}

// converters by class, with and without their packages.
var converters = map[string]Class{
	"org.apache.kafka.connect.storage.StringConverter":          StringConverter,
	"org.apache.kafka.connect.json.JsonConverter":               JSONConverter,
	"org.apache.kafka.connect.converters.ByteArrayConverter":    BytesConverter,
	"io.debezium.converters.BinaryDataConverter":                BinaryConverter,
	"io.debezium.converters.ByteBufferConverter":                BinaryConverter,
	"org.apache.kafka.connect.storage.SimpleHeaderConverter":    SimpleConverter,
	"org.apache.kafka.connect.converters.SimpleHeaderConverter": SimpleConverter,
}

func classOf(name string) (Class, bool) {
	if c, ok := converters[name]; ok {
		return c, true
	}
	for full, c := range converters { // Connect takes a class's bare name too
		short := full[strings.LastIndexByte(full, '.')+1:]
		if name == short || name+"Converter" == short {
			return c, true
		}
	}
	return "", false
}

// converter takes the option and those that begin with it.
func (r *reader) converter(option, otherwise string) Converter {
	name := r.text(option)
	if name == "" {
		name = otherwise
	}
	class, ok := classOf(name)
	if !ok {
		r.refuse(option, name, "no such converter here; StringConverter, JsonConverter, BinaryDataConverter and ByteArrayConverter are")
		return Converter{}
	}
	c := Converter{Class: class}
	switch class {
	case JSONConverter:
		c.Schemas = r.boolean(option+".schemas.enable", true)
		c.NumericDecimals = r.one(option+".decimal.format", "base64", "numeric") == "numeric"
		// The router has put the default in place of null before a converter sees it.
		r.boolean(option+".replace.null.with.default", true)
		r.text(option + ".schemas.cache.size")
	case StringConverter:
		if v := r.text(option + ".converter.encoding"); v != "" && !strings.EqualFold(v, "UTF-8") && !strings.EqualFold(v, "UTF8") {
			r.refuse(option+".converter.encoding", v, "UTF-8 is the only one")
		}
		r.text(option + ".schemas.enable") // which users set, and which it does not read
	case BinaryConverter:
		if r.left[option+".delegate.converter.type"] != "" {
			d := r.converter(option+".delegate.converter.type", "")
			c.Delegate = &d
		}
		r.text(option + ".schemas.enable")
	default:
		r.text(option + ".schemas.enable")
	}
	for _, k := range slices.Sorted(maps.Keys(r.left)) {
		if strings.HasPrefix(k, option+".") {
			r.unknown(k, "no such option of the converter")
		}
	}
	return c
}

const routerClass = "io.debezium.transforms.outbox.EventRouter"

// DecodeMessages is the class of the transform that turns logical messages into rows
// for the router behind it. [FromConnector] leaves it among the rest, as
// transforms.NAME.type, and makes the same of messages as of rows.
const DecodeMessages = "io.debezium.connector.postgresql.transforms.DecodeLogicalDecodingMessageContent"

// router takes the one transform, and what decodes messages for it.
func (r *reader) router(c *Config) {
	name, decodes := "", ""
	for t := range strings.SplitSeq(r.text("transforms"), ",") {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		class := r.text("transforms." + t + ".type")
		switch {
		case class == DecodeMessages && name == "":
			decodes = t
			continue
		case class == DecodeMessages:
			r.refuse("transforms", t, "decodes messages behind the event router, which has dropped them")
			continue
		case class != routerClass:
			r.refuse("transforms."+t+".type", class, "no such transform here, only "+routerClass+" is, and "+DecodeMessages)
			continue
		}
		if name != "" {
			r.refuse("transforms", t, "a second event router")
		}
		name = t
	}
	if name == "" {
		r.refuse("transforms", "", "none is "+routerClass)
		return
	}
	for _, t := range []string{name, decodes} {
		if t != "" {
			r.predicate("transforms." + t + ".")
		}
	}
	r.text("predicates")
	if decodes != "" {
		r.decodes("transforms."+decodes+".", c)
	}
	p := "transforms." + name + "."
	c.EventID = r.text(p + "table.field.event.id")
	c.EventKey = r.text(p + "table.field.event.key")
	r.text(p + "table.field.event.type") // which the router accepts and does not read
	c.Timestamp = r.text(p + "table.field.event.timestamp")
	c.Payload = r.text(p + "table.field.event.payload")
	c.SchemaVersion = r.text(p + "table.field.event.schema.version")
	c.RouteBy = r.text(p + "route.by.field")
	c.TopicRegex = r.text(p + "route.topic.regex")
	c.TopicReplacement = r.text(p + "route.topic.replacement")
	c.TombstoneOnEmptyPayload = r.boolean(p+"route.tombstone.on.empty.payload", false)
	c.ExpandJSON = r.boolean(p+"table.expand.json.payload", false)
	c.NullAsBytes = r.one(p+"table.json.payload.null.behavior", "ignore", "optional_bytes") == "optional_bytes"
	c.EmptyArrayAsString = r.one(p+"table.json.payload.empty.array.behavior", "ignore", "optional_string") == "optional_string"
	c.IgnoreMissing = r.one(p+"table.field.additional.missing", "error", "ignore") == "ignore"
	r.one("field.name.adjustment.mode", "none", "avro") // of the connector's own records
	// Of an expanded payload the transform's own option counts, and of nothing else.
	c.AvroNames = r.one(p+"field.name.adjustment.mode", "none", "avro") == "avro" && c.ExpandJSON
	// An update is never relayed, as with warn and error. fatal would stop for it.
	if v := r.one(p+"table.op.invalid.behavior", "warn", "error", "fatal"); v == "fatal" {
		c.FatalUpdates = true
	}
	var err error
	c.Placements, err = ParsePlacements(r.text(p + "table.fields.additional.placement"))
	r.fault(err)
	r.tracing(p, c)
	for _, k := range slices.Sorted(maps.Keys(r.left)) {
		if strings.HasPrefix(k, p) {
			r.unknown(k, "no such option of the event router")
		}
	}
}

// predicate keeps records of other tables away from a transform. Here only tables and
// prefixes that are named have one.
func (r *reader) predicate(p string) {
	v := r.text(p + "predicate")
	if v == "" {
		return
	}
	if _, known := r.left["predicates."+v+".type"]; known { // else it is the other transform's too
		if class := r.text("predicates." + v + ".type"); class != "org.apache.kafka.connect.transforms.predicates.TopicNameMatches" {
			r.refuse("predicates."+v+".type", class, "only TopicNameMatches can be left out: the tables are named instead")
		}
	}
	r.text("predicates." + v + ".pattern")
	if v := r.text(p + "negate"); strings.EqualFold(v, "true") {
		r.refuse(p+"negate", v, "name the tables instead")
	}
}

// decodes takes the options of DecodeMessages and puts its class back.
func (r *reader) decodes(p string, c *Config) {
	c.NullFields = r.boolean(p+"fields.null.include", false)
	r.one(p+"field.name.adjustment.mode", "none")
	for _, k := range slices.Sorted(maps.Keys(r.left)) {
		if strings.HasPrefix(k, p) {
			r.unknown(k, "no such option of the decoding of messages")
		}
	}
	r.left[p+"type"] = DecodeMessages
}

// tracing: without OpenTelemetry on its class path, which is how Connect comes, the
// router traces nothing. The context in the row is sent when its column is named.
func (r *reader) tracing(p string, c *Config) {
	c.TraceContext = r.text(p + "tracing.span.context.field")
	r.text(p + "tracing.operation.name") // of a span that is not made here
	r.boolean(p+"tracing.with.context.field.only", true)
}
