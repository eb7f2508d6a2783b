package debezium

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magiconair/properties"

	"github.com/gapless/gapless/relay/eventrouter"
)

// Plan is what a relay needs to take over.
type Plan struct {
	Name        string   // of the connector
	DatabaseURL string   // without a password
	Password    bool     // the file has one
	Slot        string   // default debezium
	Publication string   // default dbz_publication
	Tables      []string // schema.table
	Messages    []string // prefixes of logical messages
	Brokers     []string // where the file names them
	Router      eventrouter.Config
	Heartbeat   Heartbeat
	SignalTable string   // schema.table; "" is none
	Notes       []string // one for each option that was noted
}

// Heartbeat is what the connector sends beside the events.
type Heartbeat struct {
	Every  time.Duration // 0: none
	Prefix string        // of its topic; "" is Debezium's default
	Topic  string        // whole; "" is the prefix, a dot and topic.prefix
}

// Import reads a configuration. The error joins one line for each refusal.
func Import(text []byte) (Plan, error) {
	options, err := read(text)
	if err != nil {
		return Plan{}, err
	}
	i := importer{options: options}
	i.server()
	if v := i.take("connector.class"); v != "" && !strings.HasSuffix(v, "PostgresConnector") && !strings.HasSuffix(v, ".PostgresConnectorTask") {
		i.refuse("connector.class", v, "this relay reads Postgres")
	}
	i.connection()
	i.plan.Slot = i.taken("slot.name", "debezium")
	i.plan.Publication = i.taken("publication.name", "dbz_publication")
	if v := i.taken("plugin.name", "decoderbufs"); v != "pgoutput" {
		i.refuse("plugin.name", v, "the relay reads pgoutput; a slot of another plugin cannot be taken over, so make a new one with pgoutput")
	}
	i.tables()
	i.heartbeat()
	i.signals()
	for _, c := range []string{"key.converter", "value.converter"} {
		if i.options[c] == "" {
			i.refuse(c, "", "is not in the file; it is the worker's then, so write the worker's here, with the options that begin with it")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(i.options)) {
		if strings.HasPrefix(k, "transforms.") && strings.HasSuffix(k, ".predicate") {
			i.note(k, "is left out: every table that is named goes through the router; leave out those whose topics the predicate keeps from it")
		}
	}
	var rest map[string]string
	i.plan.Router, rest, err = eventrouter.FromConnector(i.options)
	if err != nil {
		i.faults = append(i.faults, err)
	}
	i.messages(rest)
	if i.plan.Heartbeat.Every > 0 && err == nil {
		if _, _, err := i.plan.Router.Heartbeat(time.Time{}); err != nil {
			i.refuse("heartbeat.interval.ms", strconv.FormatInt(i.plan.Heartbeat.Every.Milliseconds(), 10), err.Error())
		}
	}
	i.others(rest)
	return i.plan, errors.Join(i.faults...)
}

// read understands {"name":…,"config":{…}}, {…}, and properties.
func read(text []byte) (map[string]string, error) {
	if t := bytes.TrimSpace(text); len(t) > 0 && t[0] == '{' {
		var outer map[string]any
		d := json.NewDecoder(bytes.NewReader(t))
		d.UseNumber() // as they are written
		if err := d.Decode(&outer); err != nil {
			return nil, fmt.Errorf("the file is not JSON: %w", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, errors.New("the file is not JSON: more follows the object")
		}
		inner, ok := outer["config"].(map[string]any)
		if !ok {
			inner = outer
		} else if name, ok := outer["name"].(string); ok && inner["name"] == nil {
			inner["name"] = name
		}
		options := map[string]string{}
		for k, v := range inner {
			switch v := v.(type) {
			case string, bool, json.Number:
				options[k] = fmt.Sprint(v)
			default:
				return nil, fmt.Errorf("%s is neither text nor a number nor true or false", k)
			}
		}
		return options, nil
	}
	p, err := (&properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}).LoadBytes(text)
	if err != nil {
		return nil, fmt.Errorf("the file is neither JSON nor properties: %w", err)
	}
	return p.Map(), nil
}

type importer struct {
	plan    Plan
	options map[string]string
	faults  []error
}

func (i *importer) refuse(option, value, why string) {
	if value == "" {
		i.faults = append(i.faults, fmt.Errorf("%s: %s", option, why))
		return
	}
	i.faults = append(i.faults, fmt.Errorf("%s = %q: %s", option, value, why))
}

func (i *importer) note(option, why string) { i.plan.Notes = append(i.plan.Notes, option+": "+why) }

func (i *importer) take(option string) string {
	v := strings.TrimSpace(i.options[option])
	delete(i.options, option)
	return v
}

func (i *importer) taken(option, otherwise string) string {
	if v := i.take(option); v != "" {
		return v
	}
	return otherwise
}

// formats of Debezium Server, as converters.
var formats = map[string]string{
	"json": "org.apache.kafka.connect.json.JsonConverter", "jsonbytearray": "org.apache.kafka.connect.json.JsonConverter",
	"simplestring": "org.apache.kafka.connect.storage.StringConverter", "binary": "io.debezium.converters.BinaryDataConverter",
}

// server turns Debezium Server's options into a connector's.
func (i *importer) server() {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(i.options)), func(k string) bool { return strings.HasPrefix(k, "debezium.") }) {
		return
	}
	if v := i.take("debezium.sink.type"); v != "kafka" {
		i.refuse("debezium.sink.type", v, "the relay sends to Kafka")
	}
	connector := map[string]string{}
	for _, part := range []struct{ format, converter string }{{"key", "key.converter"}, {"value", "value.converter"}, {"header", "header.converter"}} {
		name := i.taken("debezium.format."+part.format, "json")
		class, ok := formats[strings.ToLower(name)]
		if !ok {
			i.refuse("debezium.format."+part.format, name, "known are json, jsonbytearray, simplestring and binary")
			continue
		}
		connector[part.converter] = class
	}
	for _, k := range slices.Sorted(maps.Keys(i.options)) {
		rest, ours := strings.CutPrefix(k, "debezium.")
		v := i.options[k]
		delete(i.options, k)
		switch {
		case !ours && (strings.HasPrefix(k, "quarkus.") || strings.HasPrefix(k, "%")):
			i.note(k, "a setting of the Java program")
		case !ours:
			i.refuse(k, "", "is no option of Debezium Server")
		case strings.HasPrefix(rest, "source."):
			connector[strings.TrimPrefix(rest, "source.")] = v
		case strings.HasPrefix(rest, "transforms"), strings.HasPrefix(rest, "predicates"):
			connector[rest] = v
		case strings.HasPrefix(rest, "format."):
			// debezium.format.value.schemas.enable and the like.
			part, option, _ := strings.Cut(strings.TrimPrefix(rest, "format."), ".")
			connector[part+".converter."+option] = v
		case strings.HasPrefix(rest, "sink.kafka.producer."):
			connector["producer.override."+strings.TrimPrefix(rest, "sink.kafka.producer.")] = v
		default:
			connector[rest] = v
		}
	}
	i.options = connector
}

// connection makes the URL. The password stays where it was.
func (i *importer) connection() {
	host := i.taken("database.hostname", "localhost")
	u := url.URL{Scheme: "postgres", Host: host, Path: "/" + i.take("database.dbname")}
	if port := i.take("database.port"); port != "" {
		u.Host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") { // an address of IPv6
		u.Host = "[" + host + "]"
	}
	if user := i.take("database.user"); user != "" {
		u.User = url.User(user)
	}
	if i.take("database.password") != "" {
		i.plan.Password = true
		i.note("database.password", "is not copied; give it as PGPASSWORD, or the whole URL in a file that GAPLESS_DATABASE_URL_FILE names")
	}
	if u.Path == "/" {
		i.refuse("database.dbname", "", "is missing")
	}
	query := url.Values{}
	for option, parameter := range map[string]string{
		"database.sslmode": "sslmode", "database.sslcert": "sslcert", "database.sslkey": "sslkey", "database.sslrootcert": "sslrootcert",
	} {
		if v := i.take(option); v != "" {
			query.Set(parameter, v)
		}
	}
	if v := i.take("database.sslpassword"); v != "" {
		i.refuse("database.sslpassword", "", "a key with a passphrase is not read; give one without, readable by this user alone")
	}
	u.RawQuery = query.Encode()
	i.plan.DatabaseURL = u.String()
	i.plan.Name = i.take("name")
}

var plainTable = regexp.MustCompile(`^[\w$]+\\?\.[\w$]+$`)

// plainSchemas is a list of names; of expressions it is not known what they match.
var plainSchemas = regexp.MustCompile(`^[\w$]+( *, *[\w$]+)*$`)

// tables are regular expressions to Debezium; here they are names.
func (i *importer) tables() {
	list := i.take("table.include.list")
	if list == "" {
		list = i.take("table.whitelist")
	}
	if list == "" {
		i.refuse("table.include.list", "", "is missing: name the outbox tables")
	}
	if excluded := i.options["table.exclude.list"]; list != "" && strings.TrimSpace(excluded) != "" {
		i.refuse("table.exclude.list", excluded, "contradicts table.include.list, which Debezium does not take beside it")
	}
	schemas := strings.TrimSpace(i.options["schema.include.list"])
	for t := range strings.SplitSeq(list, ",") {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		if !plainTable.MatchString(t) {
			i.refuse("table.include.list", t, "is a regular expression; name the tables as schema.table")
			continue
		}
		name := strings.ReplaceAll(t, `\.`, ".")
		schema, _, _ := strings.Cut(name, ".")
		if plainSchemas.MatchString(schemas) && !slices.Contains(strings.FieldsFunc(schemas, func(r rune) bool { return r == ',' || r == ' ' }), schema) {
			i.refuse("schema.include.list", schemas, "leaves out "+t+", which table.include.list names: Debezium sends none of its rows")
			continue
		}
		i.plan.Tables = append(i.plan.Tables, name)
	}
	if len(i.plan.Tables) > 0 {
		i.note("table.include.list", "the relay sends the other tables of publication "+i.plan.Publication+" too, with EventRouter's defaults and without a prefix: where it has any, give the relay a publication of its own")
	}
}

// messages are relayed where a transform decodes them, for which they have to be named.
func (i *importer) messages(rest map[string]string) {
	decoded := false
	for k, v := range rest {
		if strings.HasPrefix(k, "transforms.") && v == eventrouter.DecodeMessages {
			delete(rest, k)
			decoded = true
		}
	}
	const include, exclude = "message.prefix.include.list", "message.prefix.exclude.list"
	list, excluded := strings.TrimSpace(rest[include]), strings.TrimSpace(rest[exclude])
	delete(rest, include)
	delete(rest, exclude)
	switch {
	case !decoded && list+excluded != "":
		i.note("message.prefix.*", "no transform decodes messages for the router, so none is sent")
	case decoded && list == "":
		i.refuse(include, "", "is missing: name the prefixes of the messages that are events")
	case decoded && excluded != "":
		i.refuse(exclude, excluded, "name the prefixes in "+include)
	}
	for prefix := range strings.SplitSeq(list, ",") {
		if prefix = strings.TrimSpace(prefix); prefix == "" || !decoded {
			continue
		}
		if !plainPrefix.MatchString(prefix) {
			i.refuse(include, prefix, "is a regular expression; name the prefixes")
			continue
		}
		i.plan.Messages = append(i.plan.Messages, prefix)
	}
}

var plainPrefix = regexp.MustCompile(`^[\w$:/-]+$`)

// heartbeat takes what there is of heartbeats. The relay's slot needs none.
func (i *importer) heartbeat() {
	every := i.taken("heartbeat.interval.ms", "0")
	ms, err := strconv.ParseInt(every, 10, 32)
	if err != nil || ms < 0 {
		i.refuse("heartbeat.interval.ms", every, "is no number of milliseconds")
	}
	h := &i.plan.Heartbeat
	h.Every = time.Duration(ms) * time.Millisecond
	h.Prefix, h.Topic = i.take("topic.heartbeat.prefix"), i.take("topic.heartbeat.name")
	if older := i.take("heartbeat.topics.prefix"); older != "" {
		if h.Every > 0 && h.Prefix == "" && h.Topic == "" {
			i.refuse("heartbeat.topics.prefix", older, "is a name of before topic.heartbeat.prefix, which Debezium 3.6 does not read; say topic.heartbeat.prefix, with the prefix that is in use")
		} else {
			i.note("heartbeat.topics.prefix", "has no effect here, and none in Debezium 3.6")
		}
	}
	if i.take("heartbeat.action.query") != "" {
		i.note("heartbeat.action.query", "is not run: the slot moves by keepalives. If somebody reads what it writes, have it run by a job of your own")
	}
	if h.Every == 0 && (h.Prefix != "" || h.Topic != "") {
		i.note("topic.heartbeat.prefix", "heartbeat.interval.ms is 0, so there are no heartbeats")
	}
}

// signals takes the signal table, which is the one channel there is.
func (i *importer) signals() {
	channels := i.taken("signal.enabled.channels", "source")
	for c := range strings.SplitSeq(channels, ",") {
		if c = strings.TrimSpace(c); c != "" && c != "source" {
			i.refuse("signal.enabled.channels", channels, "signals come by the signal table alone, which is the channel source")
			break
		}
	}
	t := i.take("signal.data.collection")
	if t != "" && !plainTable.MatchString(t) {
		i.refuse("signal.data.collection", t, "is not schema.table")
		return
	}
	i.plan.SignalTable = strings.ReplaceAll(t, `\.`, ".")
	i.plan.Tables = slices.DeleteFunc(i.plan.Tables, func(table string) bool { return table == i.plan.SignalTable })
	if len(i.plan.Tables) == 0 && len(i.faults) == 0 {
		i.refuse("table.include.list", t, "names no outbox table, only the one for signals")
	}
}

// others judges what is left.
func (i *importer) others(rest map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(rest)) {
		v := strings.TrimSpace(rest[k])
		rule, ok := find(k)
		switch {
		case !ok:
			i.refuse(k, "", "is not known here") // of what is not known, the value may be a secret
		case k == "producer.override.bootstrap.servers" || k == "bootstrap.servers":
			for b := range strings.SplitSeq(v, ",") {
				i.plan.Brokers = append(i.plan.Brokers, strings.TrimSpace(b))
			}
		case rule.only != nil && !slices.Contains(rule.only, strings.ToLower(v)):
			i.refuse(k, v, rule.why)
		default:
			i.note(k, rule.why)
		}
	}
}
