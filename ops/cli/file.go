package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// File is the configuration file of --config. Flags and environment override
// it.
type File struct {
	Version  int          `yaml:"version"`
	Kafka    KafkaFile    `yaml:"kafka,omitempty"`
	Registry RegistryFile `yaml:"registry,omitempty"`
	Relays   []RelayFile  `yaml:"relays"`
}

// KafkaFile is the part about the broker.
type KafkaFile struct {
	TLS     *TLSFile  `yaml:"tls,omitempty"` // {} turns it on
	SASL    *SASLFile `yaml:"sasl,omitempty"`
	Brokers []string  `yaml:"brokers,omitempty"`
}

// TLSFile names PEM files.
type TLSFile struct {
	CA         string `yaml:"ca,omitempty"`
	Cert       string `yaml:"cert,omitempty"`
	Key        string `yaml:"key,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
	Insecure   bool   `yaml:"insecure,omitempty"`
}

// SASLFile is how to show who one is. A password is in a file of its own.
type SASLFile struct {
	Mechanism    string `yaml:"mechanism"`
	User         string `yaml:"user,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
	TokenFile    string `yaml:"token_file,omitempty"`
}

// RegistryFile is the part about the schema registry.
type RegistryFile struct {
	TLS       *TLSFile `yaml:"tls,omitempty"`
	User      string   `yaml:"user,omitempty"`
	TokenFile string   `yaml:"token_file,omitempty"`
	URL       string   `yaml:"url"`
}

// RelayFile is one relay: a slot and the tables behind it.
type RelayFile struct {
	Name         string      `yaml:"name,omitempty"` // needed where there are several
	DatabaseURL  string      `yaml:"database_url,omitempty"`
	PasswordFile string      `yaml:"database_password_file,omitempty"` // of that URL's login
	Slot         string      `yaml:"slot,omitempty"`
	Publication  string      `yaml:"publication,omitempty"`
	Tables       []TableFile `yaml:"tables,omitempty"`

	State      string `yaml:"state,omitempty"` // auto, postgres or kafka
	StateTopic string `yaml:"state_topic,omitempty"`

	// SignalTable is no table of events: it must not be among Tables.
	SignalTable     string            `yaml:"signal_table,omitempty"`
	Heartbeat       *HeartbeatFile    `yaml:"heartbeat,omitempty"`
	OnFault         map[string]string `yaml:"on_fault,omitempty"`  // reason: block-key, skip or halt
	Retention       *age              `yaml:"retention,omitempty"` // of gapless.outbox: 7d, 0 keeps all
	MetricsDebezium string            `yaml:"metrics_debezium,omitempty"`
	DebeziumOffsets string            `yaml:"debezium_offsets,omitempty"`
	DebeziumTopics  bool              `yaml:"debezium_topics,omitempty"`
}

// cited is a value that does not fit, as YAML's errors have it. It may be a secret.
var cited = regexp.MustCompile("(!!\\w+) `[^`]*`")

// readFile reads and checks a configuration file. A key that the program does not
// know is an error: a mistyped option must not be an option unset.
func readFile(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var f File
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(cited.ReplaceAllString(err.Error(), "$1"))
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("version is %d; this program reads version: 1", f.Version)
	}
	first := map[string]int{}
	for i := range f.Relays {
		r := &f.Relays[i]
		if before, twice := first[r.Name]; twice {
			return nil, fmt.Errorf("relays[%d].name: %q is relays[%d]'s too: logs, metrics and --relay tell them apart by it", i, r.Name, before)
		}
		first[r.Name] = i
		if r.Name == "" && len(f.Relays) > 1 {
			return nil, fmt.Errorf("relays[%d].name: is missing: logs, metrics and --relay tell several apart by it", i)
		}
		if !slices.Contains([]string{"", "auto", "postgres", "kafka"}, r.State) {
			return nil, fmt.Errorf("relays[%d].state: %q is none of auto, postgres, kafka", i, r.State)
		}
		_, wrong := r.tables()
		if wrong == nil {
			_, wrong = r.messages()
		}
		if wrong != nil {
			return nil, fmt.Errorf("relays[%d].%w", i, wrong)
		}
	}
	return &f, nil
}

// choose leaves only the relay of that name.
func (f *File) choose(name string) error {
	var names []string
	for _, r := range f.Relays {
		if r.Name == name {
			f.Relays = []RelayFile{r}
			return nil
		}
		names = append(names, r.Name)
	}
	if name == "" {
		return fmt.Errorf("the file has %d relays: choose one with --relay: %s", len(names), strings.Join(names, ", "))
	}
	return fmt.Errorf("--relay: no relay is named %q there; these are: %s", name, strings.Join(names, ", "))
}

// one is the relay of a file that has one; else it says nothing.
func (f *File) one() *RelayFile {
	if f == nil || len(f.Relays) != 1 {
		return &RelayFile{}
	}
	return &f.Relays[0]
}

// relay is what the file says of the relay that a command is about.
func (e *env) relay() (*RelayFile, error) {
	if e.file != nil && len(e.file.Relays) > 1 {
		return nil, usageError{e.file.choose("")}
	}
	return e.file.one(), nil
}

// tables maps the relayed tables to their formats; nil means the relay's
// defaults.
func (r *RelayFile) tables() (map[string]format.Format, error) {
	if len(r.Tables) == 0 && r.SignalTable == "" {
		return nil, nil
	}
	tables := map[string]format.Format{}
	for i, t := range r.Tables {
		if t.Messages != "" {
			continue
		}
		schema, name, ok := strings.Cut(t.Table, ".")
		if !ok || schema == "" || name == "" {
			return nil, fmt.Errorf("tables[%d].table: %q is not schema.table", i, t.Table)
		}
		if _, twice := tables[t.Table]; twice {
			return nil, fmt.Errorf("tables[%d].table: %s is named twice", i, t.Table)
		}
		f, err := t.format()
		if err != nil {
			return nil, fmt.Errorf("tables[%d].%w", i, err)
		}
		tables[t.Table] = f
	}
	if s := r.SignalTable; s != "" {
		if _, twice := tables[s]; twice {
			return nil, fmt.Errorf("signal_table: %s is among the tables of events too", s)
		}
		tables[s] = nil
	}
	return tables, nil
}

// retentions are the tables' of one's own.
func (r *RelayFile) retentions() map[string]relay.TableRetention {
	all := map[string]relay.TableRetention{}
	for _, t := range r.Tables {
		if t.Retention != nil {
			all[t.Table] = relay.TableRetention{After: t.Retention.After.Duration, Column: t.Retention.Column}
		}
	}
	return all
}
