package eventrouter

import (
	"strings"

	"github.com/gapless/gapless/relay/format"
)

// Describe implements format.Describer.
func (c Config) Describe() format.Description {
	c = c.withDefaults()
	d := format.Description{
		Topic:     c.topicInWords(),
		Key:       "column " + c.EventKey + ", " + c.Key.inWords(),
		Value:     c.valueInWords(),
		Headers:   []string{"id: column " + c.EventID + ", " + c.Header.inWords()},
		Partition: "by the key, as the Java client does",
		Timestamp: "of the commit",
		Updates:   "passed over, with a warning",
		Sample: []format.Sample{
			format.UUIDSample(c.EventID), format.TextSample(c.RouteBy, "order"), format.TextSample(c.EventKey, "order-1"),
			format.TextSample("type", "OrderPlaced"), format.JSONSample(c.Payload, `{"order_id": "order-1"}`),
		},
	}
	if c.Timestamp != "" {
		d.Timestamp = "column " + c.Timestamp + "; where it is null, of the commit"
		d.Sample = append(d.Sample, format.TimeSample(c.Timestamp))
	}
	if c.SchemaVersion != "" {
		d.Sample = append(d.Sample, format.IntSample(c.SchemaVersion, 1))
	}
	for _, p := range c.Placements {
		sample := format.TextSample(p.Column, "a "+p.Column)
		switch p.Where {
		case Header:
			d.Headers = append(d.Headers, p.alias()+": column "+p.Column+", "+c.Header.inWords())
		case Partition:
			d.Partition = "column " + p.Column
			sample = format.IntSample(p.Column, 0)
		}
		d.Sample = append(d.Sample, sample)
	}
	if c.TraceContext != "" {
		d.Headers = append(d.Headers, "the trace context in column "+c.TraceContext)
		d.Sample = append(d.Sample, format.TextSample(c.TraceContext, "traceparent=00-00000000000000000000000000000001-0000000000000001-01\n"))
	}
	if c.ExtendedHeaders {
		d.Headers = append(d.Headers, "__debezium.context.…: connector, "+c.ServerName+", task")
	}
	if c.FatalUpdates {
		d.Updates = "the relay ends, exit code 3"
	}
	d.Sample = once(d.Sample)
	return d
}

// once keeps the first of the columns that an option names again.
func once(all []format.Sample) (kept []format.Sample) {
	seen := map[string]bool{}
	for _, s := range all {
		if !seen[s.Name] {
			kept = append(kept, s)
		}
		seen[s.Name] = true
	}
	return kept
}

func (p Placement) alias() string {
	if p.Alias != "" {
		return p.Alias
	}
	return p.Column
}

func (c *Config) topicInWords() string {
	column := "<" + c.RouteBy + ">"
	if c.TopicRegex == "(?<routedByValue>.*)" {
		return c.TopicPrefix + strings.ReplaceAll(c.TopicReplacement, "${routedByValue}", column)
	}
	return c.TopicPrefix + c.TopicReplacement + ", where " + c.TopicRegex + " matches " + column + "; else " + c.TopicPrefix + column
}

func (c *Config) valueInWords() string {
	text := "column " + c.Payload
	if c.ExpandJSON {
		text += ", JSON expanded"
	}
	if c.envelope() {
		fields := []string{"payload: " + text}
		for _, p := range c.Placements {
			if p.Where == Envelope {
				fields = append(fields, p.alias()+": column "+p.Column)
			}
		}
		text = "{" + strings.Join(fields, "; ") + "}"
	}
	text += ", " + c.Value.inWords()
	if c.TombstoneOnEmptyPayload {
		text += "; empty is a tombstone"
	}
	return text
}

// inWords names the converter.
func (c *Converter) inWords() string {
	switch c.Class {
	case JSONConverter:
		if c.Schemas {
			return "json with schemas"
		}
		return "json"
	case StringConverter:
		return "as text"
	case SimpleConverter:
		return "as simple text"
	case BytesConverter:
		return "bytes as they are, nothing else"
	}
	if c.Delegate == nil {
		return "bytes as they are, nothing else"
	}
	return "bytes as they are, else " + c.Delegate.inWords()
}
