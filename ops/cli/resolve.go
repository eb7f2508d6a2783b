package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
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
	Name        string      `yaml:"name,omitempty"`
	DatabaseURL string      `yaml:"database_url,omitempty"`
	Slot        string      `yaml:"slot,omitempty"`
	Publication string      `yaml:"publication,omitempty"`
	Tables      []TableFile `yaml:"tables,omitempty"`

	PasswordFile string `yaml:"database_password_file,omitempty"` // of that URL's login

	OnFault   map[string]string `yaml:"on_fault,omitempty"`  // reason: block-key, skip or halt
	Retention string            `yaml:"retention,omitempty"` // of gapless.outbox: 7d, 0 keeps all
}

// aliases are the names that the ecosystem uses for three of our variables.
var aliases = map[string]string{
	"database-url": "DATABASE_URL",
	"brokers":      "KAFKA_BROKERS",
	"registry-url": "SCHEMA_REGISTRY_URL",
}

// commandLineOnly flags have the tag local: the demo writes roles and orders, and
// not into a database that happens to be in the environment.
func commandLineOnly(flag *kong.Flag) bool { return flag.Tag.Has("local") }

func variable(flag string) string {
	return "GAPLESS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// resolver answers flags that were not given on the command line.
type resolver struct {
	getenv func(string) string
	path   string
	file   *File
}

// Validate is part of kong.Resolver; the file was checked when it was loaded.
func (r *resolver) Validate(*kong.Application) error { return nil }

// Resolve is part of kong.Resolver: environment first, then file.
func (r *resolver) Resolve(k *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "help" || commandLineOnly(flag) {
		return nil, nil
	}
	if text, ok := strings.CutSuffix(flag.Name, "-file"); ok && given(k, text) {
		return nil, nil // --kafka-password on the command line wins over a file from elsewhere
	}
	for _, name := range []string{variable(flag.Name), aliases[flag.Name]} {
		if name == "" {
			continue
		}
		if v := r.getenv(name); v != "" {
			return v, nil
		}
		if path := r.getenv(name + "_FILE"); path != "" {
			text, err := inFile(path).read()
			if err != nil {
				return nil, fmt.Errorf("%s_FILE: %w", name, err)
			}
			if flag.Target.Type() == reflect.TypeFor[secret]() {
				return inFile(path), nil
			}
			return text, nil
		}
	}
	return r.fromFile(flag.Name), nil
}

// given tells whether a flag is on the command line.
func given(k *kong.Context, name string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

func (r *resolver) fromFile(flag string) any {
	if r.file == nil {
		return nil
	}
	var v string
	kafka, registry := r.file.Kafka, r.file.Registry
	switch flag {
	case "brokers":
		v = strings.Join(kafka.Brokers, ",")
	case "registry-url":
		v = registry.URL
	case "registry-user":
		v = registry.User
	case "registry-token-file":
		v = registry.TokenFile
	case "on-fault":
		if len(r.file.Relays) == 0 {
			return nil
		}
		var pairs []string
		for _, reason := range slices.Sorted(maps.Keys(r.file.Relays[0].OnFault)) {
			pairs = append(pairs, reason+"="+r.file.Relays[0].OnFault[reason])
		}
		v = strings.Join(pairs, ",")
	case "database-url", "database-password-file", "slot", "publication", "retention":
		if len(r.file.Relays) == 0 {
			return nil
		}
		v = map[string]string{
			"database-url": r.file.Relays[0].DatabaseURL,
			"slot":         r.file.Relays[0].Slot,
			"publication":  r.file.Relays[0].Publication,
			"retention":    r.file.Relays[0].Retention,

			"database-password-file": r.file.Relays[0].PasswordFile,
		}[flag]
	}
	if tls := kafka.TLS; tls != nil {
		v = cmp.Or(v, map[string]string{
			"kafka-tls": "true", "kafka-ca": tls.CA, "kafka-cert": tls.Cert, "kafka-key": tls.Key,
			"kafka-server-name": tls.ServerName, "kafka-tls-insecure": map[bool]string{true: "true"}[tls.Insecure],
		}[flag])
	}
	if sasl := kafka.SASL; sasl != nil {
		v = cmp.Or(v, map[string]string{
			"kafka-sasl": sasl.Mechanism, "kafka-user": sasl.User, "kafka-password-file": sasl.PasswordFile, "kafka-token-file": sasl.TokenFile,
		}[flag])
	}
	if tls := registry.TLS; tls != nil {
		v = cmp.Or(v, map[string]string{"registry-ca": tls.CA, "registry-cert": tls.Cert, "registry-key": tls.Key}[flag])
	}
	if v == "" {
		return nil
	}
	return v
}

// cited is a value that does not fit, as YAML's errors have it. It may be a secret.
var cited = regexp.MustCompile("(!!\\w+) `[^`]*`")

// load reads the file, if one is named. A key that the program does not know
// is an error: a mistyped option must not be an option unset.
func (r *resolver) load() error {
	if r.path == "" {
		return nil
	}
	text, err := os.ReadFile(r.path)
	if err != nil {
		return usage("--config: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	r.file = &File{}
	if err := d.Decode(r.file); err != nil && !errors.Is(err, io.EOF) {
		return usage("--config %s: %s", r.path, cited.ReplaceAllString(err.Error(), "$1"))
	}
	if r.file.Version != 1 {
		return usage("--config %s: version is %d; this program reads version: 1", r.path, r.file.Version)
	}
	if n := len(r.file.Relays); n > 1 {
		return usage("--config %s: relays has %d entries; a process runs one: give each a file and a process of its own", r.path, n)
	}
	if _, err := r.file.tables(); err != nil {
		return usage("--config %s: %w", r.path, err)
	}
	return nil
}

// tables maps the relayed tables to their formats; nil means the relay's
// defaults.
func (f *File) tables() (map[string]format.Format, error) {
	if f == nil || len(f.Relays) == 0 {
		return nil, nil
	}
	tables := map[string]format.Format{}
	for i, t := range f.Relays[0].Tables {
		schema, name, ok := strings.Cut(t.Table, ".")
		if !ok || schema == "" || name == "" {
			return nil, fmt.Errorf("relays[0].tables[%d].table: %q is not schema.table", i, t.Table)
		}
		if _, twice := tables[t.Table]; twice {
			return nil, fmt.Errorf("relays[0].tables[%d].table: %s is named twice", i, t.Table)
		}
		f, err := t.format()
		if err != nil {
			return nil, fmt.Errorf("relays[0].tables[%d].%w", i, err)
		}
		tables[t.Table] = f
	}
	return tables, nil
}

// retentions are the tables' of one's own.
func (f *File) retentions() map[string]relay.TableRetention {
	if f == nil || len(f.Relays) == 0 {
		return nil
	}
	all := map[string]relay.TableRetention{}
	for _, t := range f.Relays[0].Tables {
		if t.Retention != nil {
			all[t.Table] = relay.TableRetention{After: t.Retention.After.Duration, Column: t.Retention.Column}
		}
	}
	return all
}

// configPath finds --config before kong parses, because the file answers for
// flags that kong asks about while it parses.
func configPath(args []string, getenv func(string) string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if a == "--" {
			break
		}
	}
	return getenv("GAPLESS_CONFIG")
}
