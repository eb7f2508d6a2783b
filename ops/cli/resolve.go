package cli

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

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
	getenv      func(string) string
	path, relay string
	file        *File
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
	if r.file == nil {
		return nil, nil
	}
	if len(r.file.Relays) > 1 && slices.Contains(ofOneRelay, flag.Name) && k.Selected() != nil && k.Selected().Path() != runsRelays {
		return nil, r.file.choose("")
	}
	return r.fromFile(flag.Name), nil
}

// given tells whether a flag is on the command line.
func given(k *kong.Context, name string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

// runsRelays is the command that takes all relays of a file. Any other is for one
// database and one slot.
const runsRelays = "relay run"

// ofOneRelay are flags that only one relay can answer.
var ofOneRelay = []string{"database-url", "slot", "publication"}

func (r *resolver) fromFile(flag string) any {
	var v string
	one := r.file.one()
	kafka, registry := r.file.Kafka, r.file.Registry
	switch flag {
	case "on-fault":
		var pairs []string
		for _, reason := range slices.Sorted(maps.Keys(one.OnFault)) {
			pairs = append(pairs, reason+"="+one.OnFault[reason])
		}
		v = strings.Join(pairs, ",")
	case "retention":
		if one.Retention != nil {
			v = one.Retention.String()
		}
	default:
		v = map[string]string{
			"brokers":      strings.Join(kafka.Brokers, ","),
			"registry-url": registry.URL, "registry-user": registry.User, "registry-token-file": registry.TokenFile,
			"database-url": one.DatabaseURL, "database-password-file": one.PasswordFile, "slot": one.Slot, "publication": one.Publication,
			"metrics-debezium": one.MetricsDebezium, "debezium-offsets": one.DebeziumOffsets, "signal-table": one.SignalTable,
			"debezium-topics": map[bool]string{true: "true"}[one.DebeziumTopics],
			"state":           one.State, "state-topic": one.StateTopic,
		}[flag]
	}
	if h := one.Heartbeat; h != nil {
		v = cmp.Or(v, map[string]string{"heartbeat-interval": h.Interval, "heartbeat-prefix": h.Prefix, "heartbeat-topic": h.Topic}[flag])
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

// load reads the file, if one is named, and takes the one relay of --relay out of it.
func (r *resolver) load() error {
	if r.path == "" {
		if r.relay != "" {
			return usage("--relay: there is no --config with a relay of that name")
		}
		return nil
	}
	file, err := readFile(r.path)
	if err == nil && r.relay != "" {
		err = file.choose(r.relay)
	}
	if err != nil {
		return usage("--config %s: %w", r.path, err)
	}
	r.file = file
	return nil
}

// newResolver finds --config and --relay before kong parses, because the file
// answers for flags that kong asks about while it parses.
func newResolver(args []string, getenv func(string) string) *resolver {
	early := func(flag string) string {
		for i, a := range args {
			if v, ok := strings.CutPrefix(a, "--"+flag+"="); ok {
				return v
			}
			if a == "--"+flag && i+1 < len(args) {
				return args[i+1]
			}
			if a == "--" {
				break
			}
		}
		return getenv(variable(flag))
	}
	return &resolver{getenv: getenv, path: early("config"), relay: early("relay")}
}
