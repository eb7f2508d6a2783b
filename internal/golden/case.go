package golden

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

//go:embed cases.json
var cases []byte

// Case is one table with its connector, and what came of it.
type Case struct {
	Name  string `json:"name"`  // of the table; what is before its first _ is in the name of each of its topics, and of no other case's
	About string `json:"about"` // what it is about
	DDL   string `json:"ddl"`   // $T is the table
	// Options of the connector over those that every case has, see Base.
	Options map[string]string `json:"options"`
	// SQL is run while the connector streams. A list is one transaction.
	SQL []Statements `json:"sql"`

	TaskState string   `json:"task_state"` // RUNNING or FAILED
	TaskCause string   `json:"task_cause,omitempty"`
	Records   []Record `json:"records"`
}

// Statements are run in one transaction. In JSON, one alone is a string.
type Statements []string

// UnmarshalJSON takes a string or a list of strings.
func (s *Statements) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		*s = make(Statements, 1)
		return json.Unmarshal(b, &(*s)[0])
	}
	return json.Unmarshal(b, (*[]string)(s))
}

// MarshalJSON writes one statement as a string.
func (s Statements) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// Record is a record as it lies in the topic. nil bytes are Kafka's null.
type Record struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`
	// Timestamp in ms, where the case sets it.
	Timestamp int64 `json:"timestamp,omitempty"`
}

// Header is a name and a value; in JSON a pair.
type Header struct {
	Name  string
	Value []byte
}

// UnmarshalJSON reads [name, base64 or null].
func (h *Header) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&h.Name, &h.Value})
}

// MarshalJSON writes [name, base64 or null].
func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.Name, h.Value}) }

// Table puts the table's name in place of $T.
func (c Case) Table(text string) string { return strings.ReplaceAll(text, "$T", c.Name) }

// Tag is what the case's topics have in their names.
func (c Case) Tag() string {
	tag, _, _ := strings.Cut(c.Name, "_")
	return tag
}

// Timed tells whether the case is about the records' timestamps.
func (c Case) Timed() bool {
	return c.Options["transforms.outbox.table.field.event.timestamp"] != ""
}

// Base are the options that every case has.
func Base() map[string]string {
	return map[string]string{
		"connector.class":          "io.debezium.connector.postgresql.PostgresConnector",
		"tasks.max":                "1",
		"plugin.name":              "pgoutput",
		"snapshot.mode":            "no_data",
		"extended.headers.enabled": "false",
		"key.converter":            "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":          "org.apache.kafka.connect.storage.StringConverter",
		"transforms":               "outbox",
		"transforms.outbox.type":   "io.debezium.transforms.outbox.EventRouter",
	}
}

// Cases are those of this package.
func Cases() []Case {
	c, err := read(cases)
	if err != nil {
		panic(err) // embedded, and read by a test
	}
	return c
}

// Load reads cases from a file of the same shape.
func Load(path string) ([]Case, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return read(b)
}

func read(b []byte) ([]Case, error) {
	var c []Case
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return c, nil
}

// Prefix is that of the case's logical messages; "" where it has none.
func (c Case) Prefix() string { return c.Options["message.prefix.include.list"] }

// Inserts counts the rows and the messages that the statements write.
func (c Case) Inserts() int {
	n := 0
	for _, s := range c.SQL {
		for _, statement := range s {
			if strings.HasPrefix(statement, "insert into") || strings.HasPrefix(statement, "select pg_logical_emit_message") {
				n++
			}
		}
	}
	return n
}

// Sorted returns the records in the order of topic, partition and offset. A record
// without a key, for which Kafka's clients choose a partition at random, loses it and
// comes last.
func Sorted(records []Record) []Record {
	sorted := slices.Clone(records)
	for i, r := range sorted {
		if r.Key == nil {
			sorted[i].Partition, sorted[i].Offset = 0, 0
		}
	}
	slices.SortStableFunc(sorted, func(a, b Record) int {
		nulls := func(r Record) int { return map[bool]int{true: 1}[r.Key == nil] }
		return cmp.Or(cmp.Compare(nulls(a), nulls(b)), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition),
			cmp.Compare(a.Offset, b.Offset), bytes.Compare(a.Value, b.Value))
	})
	return sorted
}

// ServerBase are the options that every case of Debezium Server has.
func ServerBase() map[string]string {
	return map[string]string{
		"debezium.sink.type":                       "kafka",
		"debezium.source.connector.class":          "io.debezium.connector.postgresql.PostgresConnector",
		"debezium.source.plugin.name":              "pgoutput",
		"debezium.source.snapshot.mode":            "no_data",
		"debezium.source.extended.headers.enabled": "false",
		"debezium.transforms":                      "outbox",
		"debezium.transforms.outbox.type":          "io.debezium.transforms.outbox.EventRouter",
	}
}

//go:embed server.json
var serverCases []byte

// ServerCases are those of Debezium Server, which has other options for the same.
func ServerCases() []Case {
	c, err := read(serverCases)
	if err != nil {
		panic(err) // embedded, and read by a test
	}
	return c
}
