package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// TableFile is one relayed table. All but Table, Messages and Format are options of the format
// debezium; what is left out has EventRouter's default.
type TableFile struct {
	Table     string         `yaml:"table,omitempty"`
	Messages  string         `yaml:"messages,omitempty"` // in place of a table: logical messages with this prefix
	Format    string         `yaml:"format"`
	Columns   *ColumnsFile   `yaml:"columns,omitempty"`
	Route     *RouteFile     `yaml:"route,omitempty"`
	Placement []string       `yaml:"placement,omitempty"` // column:header, envelope or partition[:alias]
	Missing   string         `yaml:"missing,omitempty"`   // error or ignore
	Updates   string         `yaml:"updates,omitempty"`   // warn or fatal
	Key       *ConverterFile `yaml:"key,omitempty"`
	Value     *ConverterFile `yaml:"value,omitempty"`
	Header    *ConverterFile `yaml:"header,omitempty"`
	Expand    *ExpandFile    `yaml:"expand_json,omitempty"`
	Types     *TypesFile     `yaml:"types,omitempty"`

	Retention *RetentionFile `yaml:"retention,omitempty"` // of a table of one's own

	NullFields      bool   `yaml:"null_fields,omitempty"`      // of messages: a field that is null is not missing
	ServerName      string `yaml:"server_name,omitempty"`      // topic.prefix: names the schema of an envelope
	ExtendedHeaders bool   `yaml:"extended_headers,omitempty"` // the __debezium.context headers
}

// RetentionFile says when relayed rows are deleted.
type RetentionFile struct {
	After  age    `yaml:"after"`            // 0 deletes what is relayed
	Column string `yaml:"column,omitempty"` // from which after counts
}

// ColumnsFile names columns.
type ColumnsFile struct {
	ID            string `yaml:"id,omitempty"`
	Key           string `yaml:"key,omitempty"`
	Payload       string `yaml:"payload,omitempty"`
	Timestamp     string `yaml:"timestamp,omitempty"`
	SchemaVersion string `yaml:"schema_version,omitempty"`
	TraceContext  string `yaml:"trace_context,omitempty"`
}

// RouteFile says how a topic is made.
type RouteFile struct {
	By          string `yaml:"by,omitempty"`
	Regex       string `yaml:"regex,omitempty"`
	Replacement string `yaml:"replacement,omitempty"`
	TopicPrefix string `yaml:"topic_prefix,omitempty"`
	Tombstones  bool   `yaml:"tombstones,omitempty"` // for an empty payload
}

// ConverterFile is one converter.
type ConverterFile struct {
	Converter     string         `yaml:"converter"`
	Schemas       bool           `yaml:"schemas,omitempty"`
	DecimalFormat string         `yaml:"decimal_format,omitempty"` // base64 or numeric
	Delegate      *ConverterFile `yaml:"delegate,omitempty"`
}

// ExpandFile turns the expansion of JSON payloads on.
type ExpandFile struct {
	Nulls       string `yaml:"nulls,omitempty"`        // ignore or optional_bytes
	EmptyArrays string `yaml:"empty_arrays,omitempty"` // ignore or optional_string
	Names       string `yaml:"names,omitempty"`        // none or avro
}

// TypesFile is how some types are shown.
type TypesFile struct {
	Decimals string `yaml:"decimals,omitempty"` // precise, double or string
	Binaries string `yaml:"binaries,omitempty"` // bytes, base64, base64-url-safe or hex
}

// format makes the table's format. Errors name the key.
func (t *TableFile) format() (format.Format, error) {
	switch t.Format {
	case "native":
		if t.debezium() {
			return nil, errors.New("format: native takes no options")
		}
		return format.Native{}, nil
	case "debezium":
		return t.router()
	}
	return nil, fmt.Errorf("format: %q is neither native nor debezium", t.Format)
}

func (t *TableFile) debezium() bool {
	return t.Columns != nil || t.Route != nil || t.Placement != nil || t.Missing != "" || t.Updates != "" || t.Key != nil || t.Value != nil ||
		t.Header != nil || t.Expand != nil || t.Types != nil || t.ServerName != "" || t.ExtendedHeaders || t.NullFields
}

func (t *TableFile) router() (eventrouter.Config, error) {
	c := eventrouter.Config{ServerName: t.ServerName, ExtendedHeaders: t.ExtendedHeaders, NullFields: t.NullFields}
	var faults []error
	choice := func(key, value string, choices ...string) bool {
		for i, c := range choices {
			if value == c || value == "" && i == 0 {
				return value == choices[len(choices)-1]
			}
		}
		faults = append(faults, fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(choices, ", ")))
		return false
	}
	if v := t.Columns; v != nil {
		c.EventID, c.EventKey, c.Payload = v.ID, v.Key, v.Payload
		c.Timestamp, c.SchemaVersion, c.TraceContext = v.Timestamp, v.SchemaVersion, v.TraceContext
	}
	if v := t.Route; v != nil {
		c.RouteBy, c.TopicRegex, c.TopicReplacement, c.TopicPrefix = v.By, v.Regex, v.Replacement, v.TopicPrefix
		c.TombstoneOnEmptyPayload = v.Tombstones
	}
	var err error
	if c.Placements, err = eventrouter.ParsePlacements(strings.Join(t.Placement, ",")); err != nil {
		faults = append(faults, err)
	}
	c.IgnoreMissing = choice("missing", t.Missing, "error", "ignore")
	c.FatalUpdates = choice("updates", t.Updates, "warn", "fatal")
	if v := t.Expand; v != nil {
		c.ExpandJSON = true
		c.NullAsBytes = choice("expand_json.nulls", v.Nulls, "ignore", "optional_bytes")
		c.EmptyArrayAsString = choice("expand_json.empty_arrays", v.EmptyArrays, "ignore", "optional_string")
		c.AvroNames = choice("expand_json.names", v.Names, "none", "avro")
	}
	if v := t.Types; v != nil {
		c.Decimals, c.Binaries = eventrouter.Decimals(v.Decimals), eventrouter.Binaries(v.Binaries)
	}
	for _, v := range []struct {
		key  string
		file *ConverterFile
		to   *eventrouter.Converter
	}{{"key", t.Key, &c.Key}, {"value", t.Value, &c.Value}, {"header", t.Header, &c.Header}} {
		if v.file != nil {
			*v.to = v.file.converter()
			choice(v.key+".decimal_format", v.file.DecimalFormat, "base64", "numeric")
		}
	}
	if err := c.Validate(); err != nil {
		faults = append(faults, err)
	}
	return c, errors.Join(faults...)
}

func (f *ConverterFile) converter() eventrouter.Converter {
	c := eventrouter.Converter{Class: eventrouter.Class(f.Converter), Schemas: f.Schemas, NumericDecimals: f.DecimalFormat == "numeric"}
	if f.Delegate != nil {
		d := f.Delegate.converter()
		c.Delegate = &d
	}
	return c
}

// tableFile is the way back: the file's words for a router, without its defaults.
func tableFile(table string, c eventrouter.Config) TableFile {
	when := func(b bool, word string) string {
		if b {
			return word
		}
		return ""
	}
	t := TableFile{
		Table: table, Format: "debezium", ServerName: c.ServerName, ExtendedHeaders: c.ExtendedHeaders, NullFields: c.NullFields,
		Missing: when(c.IgnoreMissing, "ignore"), Updates: when(c.FatalUpdates, "fatal"),
		Key: converterFile(c.Key), Value: converterFile(c.Value), Header: converterFile(c.Header),
	}
	if v := (ColumnsFile{c.EventID, c.EventKey, c.Payload, c.Timestamp, c.SchemaVersion, c.TraceContext}); v != (ColumnsFile{}) {
		t.Columns = &v
	}
	if v := (RouteFile{c.RouteBy, c.TopicRegex, c.TopicReplacement, c.TopicPrefix, c.TombstoneOnEmptyPayload}); v != (RouteFile{}) {
		t.Route = &v
	}
	for _, p := range c.Placements {
		text := p.Column + ":" + string(p.Where)
		if p.Alias != "" {
			text += ":" + p.Alias
		}
		t.Placement = append(t.Placement, text)
	}
	if c.ExpandJSON {
		t.Expand = &ExpandFile{when(c.NullAsBytes, "optional_bytes"), when(c.EmptyArrayAsString, "optional_string"), when(c.AvroNames, "avro")}
	}
	if v := (TypesFile{string(c.Decimals), string(c.Binaries)}); v != (TypesFile{}) {
		t.Types = &v
	}
	return t
}

func converterFile(c eventrouter.Converter) *ConverterFile {
	if c.Class == "" {
		return nil
	}
	f := &ConverterFile{Converter: string(c.Class), Schemas: c.Schemas}
	if c.NumericDecimals {
		f.DecimalFormat = "numeric"
	}
	if c.Delegate != nil {
		f.Delegate = converterFile(*c.Delegate)
	}
	return f
}
