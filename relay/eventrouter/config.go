package eventrouter

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/gapless/gapless/relay/format"
)

// Config has the options of Debezium's EventRouter, with the converters of the
// connector. The zero value is its defaults, with a converter for key and value that
// sends bytes as they are and all else as StringConverter does.
type Config struct {
	// Columns of the table.
	EventID       string // table.field.event.id; default id
	EventKey      string // table.field.event.key; default aggregateid
	Timestamp     string // table.field.event.timestamp; "" is the commit's time
	Payload       string // table.field.event.payload; default payload
	SchemaVersion string // table.field.event.schema.version; "" is none
	RouteBy       string // route.by.field; default aggregatetype
	TraceContext  string // tracing.span.context.field; "" sends none

	// TopicRegex and TopicReplacement make the topic of the routed value
	// (route.topic.regex, route.topic.replacement). A value that the expression
	// does not match as a whole is the topic itself.
	TopicRegex       string // of java.util.regex; default (?<routedByValue>.*)
	TopicReplacement string // default outbox.event.${routedByValue}
	// TopicPrefix is put before whatever came out.
	TopicPrefix string

	// Placements are table.fields.additional.placement, in its order.
	Placements []Placement
	// IgnoreMissing leaves out a placement whose column the table does not have
	// (table.field.additional.missing = ignore).
	IgnoreMissing bool

	// FatalUpdates stops the relay at an update of the table
	// (table.op.invalid.behavior = fatal); else an update is passed over with a
	// warning.
	FatalUpdates bool

	// TombstoneOnEmptyPayload is route.tombstone.on.empty.payload.
	TombstoneOnEmptyPayload bool

	// ExpandJSON is table.expand.json.payload.
	ExpandJSON bool
	// NullAsBytes is table.json.payload.null.behavior = optional_bytes.
	NullAsBytes bool
	// EmptyArrayAsString is table.json.payload.empty.array.behavior =
	// optional_string.
	EmptyArrayAsString bool
	// AvroNames is field.name.adjustment.mode = avro: field names of an expanded
	// payload get underscores for what Avro does not take.
	AvroNames bool

	// NullFields keeps the fields of a message that are null (fields.null.include of
	// DecodeLogicalDecodingMessageContent); else they are missing. Of rows it says nothing.
	NullFields bool

	// Key, Value and Header are the converters.
	Key, Value, Header Converter

	// ServerName is topic.prefix, which names the schema of an envelope.
	ServerName string
	// ExtendedHeaders adds the three __debezium.context headers, with ServerName
	// (extended.headers.enabled). Debezium's own default is true.
	ExtendedHeaders bool

	Decimals Decimals
	Binaries Binaries
}

// Placement puts a column's value into each record.
type Placement struct {
	Column string
	Where  Where
	Alias  string // default Column; without meaning for Partition
}

// Where a Placement puts the value.
type Where string

// The places.
const (
	Header    Where = "header"
	Envelope  Where = "envelope"
	Partition Where = "partition"
)

// ParsePlacements reads the text form: column:placement[:alias], with commas
// between. White space counts for nothing, nor does the case of the placement.
func ParsePlacements(text string) ([]Placement, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var all []Placement
	for entry := range strings.SplitSeq(text, ",") {
		parts := strings.Split(entry, ":")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		if len(parts) < 2 || len(parts) > 3 {
			return nil, fmt.Errorf("placement %q is not column:placement or column:placement:alias", entry)
		}
		p := Placement{Column: parts[0], Where: Where(strings.ToLower(parts[1]))}
		if len(parts) == 3 {
			p.Alias = parts[2]
		}
		all = append(all, p)
	}
	return all, nil
}

// Class of a Converter.
type Class string

// The converters. Simple is only for headers.
const (
	StringConverter Class = "string"
	JSONConverter   Class = "json"
	BinaryConverter Class = "binary" // Debezium's BinaryDataConverter
	BytesConverter  Class = "bytes"  // Connect's ByteArrayConverter
	SimpleConverter Class = "simple" // Connect's SimpleHeaderConverter
)

// Converter makes bytes of a value.
type Converter struct {
	// Class is by default a BinaryConverter that delegates to a StringConverter; of a
	// header it is SimpleConverter.
	Class Class
	// Schemas is schemas.enable of a JSONConverter, whose default in Connect is
	// true.
	Schemas bool
	// NumericDecimals is decimal.format = NUMERIC of a JSONConverter.
	NumericDecimals bool
	// Delegate converts what a BinaryConverter does not.
	Delegate *Converter
}

// Decimals is decimal.handling.mode.
type Decimals string

// Binaries is binary.handling.mode.
type Binaries string

// The modes; the zero values are PreciseDecimals and RawBinaries.
const (
	PreciseDecimals Decimals = "precise"
	DoubleDecimals  Decimals = "double"
	StringDecimals  Decimals = "string"

	RawBinaries       Binaries = "bytes"
	Base64Binaries    Binaries = "base64"
	Base64URLBinaries Binaries = "base64-url-safe"
	HexBinaries       Binaries = "hex"
)

func (c Config) withDefaults() Config {
	c.EventID = cmp.Or(c.EventID, "id")
	c.EventKey = cmp.Or(c.EventKey, "aggregateid")
	c.Payload = cmp.Or(c.Payload, "payload")
	c.RouteBy = cmp.Or(c.RouteBy, "aggregatetype")
	c.TopicRegex = cmp.Or(c.TopicRegex, "(?<routedByValue>.*)")
	c.TopicReplacement = cmp.Or(c.TopicReplacement, "outbox.event.${routedByValue}")
	for _, conv := range []*Converter{&c.Key, &c.Value} {
		if conv.Class == "" {
			*conv = Converter{Class: BinaryConverter, Delegate: &Converter{Class: StringConverter}}
		}
	}
	c.Header.Class = cmp.Or(c.Header.Class, SimpleConverter)
	c.Decimals = cmp.Or(c.Decimals, PreciseDecimals)
	c.Binaries = cmp.Or(c.Binaries, RawBinaries)
	return c
}

// Validate names every fault.
func (c Config) Validate() error {
	_, _, err := c.withDefaults().compile()
	return err
}

// RoutedBy is the column that names the topic.
func (c Config) RoutedBy() string { return c.withDefaults().RouteBy }

// Topics returns the topics that rows with these values of the column [Config.RoutedBy]
// go to, in their order. A value that makes no topic that Kafka takes is an error.
func (c Config) Topics(values ...string) ([]string, error) {
	c = c.withDefaults()
	re, to, err := c.compile()
	if err != nil {
		return nil, err
	}
	topics := make([]string, 0, len(values))
	for _, value := range values {
		topic, err := c.topic(re, to, value)
		if err != nil {
			return nil, fmt.Errorf("value %q of column %q: %w", value, c.RouteBy, err)
		}
		if err := format.CheckTopic(topic); err != nil {
			return nil, fmt.Errorf("value %q of column %q: %w", value, c.RouteBy, err)
		}
		topics = append(topics, topic)
	}
	return topics, nil
}

// topic is where a value leads.
func (c *Config) topic(re pattern, to replacement, value string) (string, error) {
	// As Connect's RegexRouter: what matches as a whole is searched again from its beginning,
	// and what is found then, which may be shorter, is replaced.
	_, ok, err := re.match(value)
	var found []*string
	if ok && err == nil {
		found, _, err = re.first.match(value)
	}
	if err != nil {
		return "", &format.Fault{Reason: format.BadTopic, Detail: fmt.Sprintf("route.topic.regex takes too long for the value of column %q", c.RouteBy)}
	}
	if ok {
		value = to.of(found) + value[len(*found[0]):]
	}
	return c.TopicPrefix + value, nil
}

// compile is for a Config with its defaults.
func (c Config) compile() (pattern, replacement, error) {
	var faults []error
	fault := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	re, err := compileJava(c.TopicRegex)
	var to replacement
	if err == nil {
		to, err = parseReplacement(c.TopicReplacement, re)
	}
	if err != nil {
		fault(fmt.Errorf("route of the topic: %w", err))
	}
	for _, p := range c.Placements {
		switch {
		case p.Column == "":
			fault(errors.New("a placement names no column"))
		case p.Where != Header && p.Where != Envelope && p.Where != Partition:
			fault(fmt.Errorf("placement %q of column %q: header, envelope and partition are known", p.Where, p.Column))
		}
	}
	fault(c.Key.validate("key", false))
	fault(c.Value.validate("value", false))
	fault(c.Header.validate("header", true))
	switch c.Decimals {
	case PreciseDecimals, DoubleDecimals, StringDecimals:
	default:
		fault(fmt.Errorf("decimals %q: precise, double and string are known", c.Decimals))
	}
	switch c.Binaries {
	case RawBinaries, Base64Binaries, Base64URLBinaries, HexBinaries:
	default:
		fault(fmt.Errorf("binaries %q: bytes, base64, base64-url-safe and hex are known", c.Binaries))
	}
	return re, to, errors.Join(faults...)
}

func (c Converter) validate(what string, header bool) error {
	switch c.Class {
	case StringConverter, JSONConverter, BytesConverter:
	case SimpleConverter:
		if !header {
			return fmt.Errorf("%s converter: %s is for headers alone", what, c.Class)
		}
	case BinaryConverter:
		if c.Delegate != nil {
			return c.Delegate.validate(what+" delegate", header)
		}
	default:
		return fmt.Errorf("%s converter %q: string, json, binary and bytes are known", what, c.Class)
	}
	return nil
}

func (c Config) envelope() bool {
	for _, p := range c.Placements {
		if p.Where == Envelope {
			return true
		}
	}
	return false
}
